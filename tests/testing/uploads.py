"""Many nodes send a large packet to one node at the same time: all are delivered, in the order in which there is room.

Everything has its default settings; each node sends 16 MB at 1 MB/s. The seed chooses how many nodes there are.

    python -m netlayer.testing tests.testing.uploads:Uploads --seeds 1-6 --jobs 2
"""

from __future__ import annotations

import math

from tests.testing.slow_paths import SlowPaths

__all__ = ["SENDERS", "Uploads"]

#: How many send at once.
SENDERS = (4, 16, 64)


class Uploads(SlowPaths):
    """So many nodes and their uploads; the bootstrap node is the one that they all send to."""

    nodes = max(SENDERS)
    size = 16_000_000
    rate = 1_000_000
    buffers = 262_144
    at_once = 4

    @property
    def senders(self) -> int:
        """How many nodes send."""
        return SENDERS[self.seed % len(SENDERS)]

    @property
    def limit(self) -> float:
        """Seconds that it may take: there is room for so many at a time."""
        return 1.2 * math.ceil(self.senders / self.at_once) * self.size / self.rate

    @property
    def seconds(self) -> float:  # type: ignore[override]
        """Seconds of a run."""
        return self.limit + 10.0

    async def workload(self) -> None:
        """Have everybody send at once, and see in which time all are told of success."""
        await self.until(lambda: all(service.status.joined for service in self.running), timeout=10.0)
        sink = self.bootstrap_hosts[0]
        began = self.internet.now
        data = bytes(self.size)
        for sent in [host.application.send(sink.number, data) for host in self.hosts[: self.senders]]:
            await sent
        took = self.internet.now - began
        assert took <= self.limit, f"{self.senders} uploads took {took:.1f} s, more than {self.limit:.1f} s"

    def settled(self) -> bool:
        """Return whether everything has arrived."""
        return self.bootstrap_hosts[0].disk["noted"] == [self.size] * self.senders

    async def check(self) -> None:
        """See that no link was lost."""
        noted = {host.name: host.disk["noted"] for host in self.hosts if host.disk["noted"]}
        assert not noted, noted
