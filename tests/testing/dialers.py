"""Two nodes that dial each other while everything between them breaks, and which connection becomes the link.

Both ends have to agree about that again, without any other connection left, when nothing has gone wrong for a while.
More seeds than the tests run:

    python -m netlayer.testing tests.testing.dialers:TwoDialers --seeds 1-20000 --jobs 2
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred

from netlayer import PeerService
from netlayer.testing import (
    BlackHole,
    Crash,
    Fault,
    OneWayCut,
    Partition,
    RefusedAccepts,
    Reset,
    Scenario,
    SlowLink,
    Stall,
)

__all__ = ["TwoDialers"]

#: What goes wrong, and how often in proportion to the others.
KINDS: dict[type[Fault], int] = {
    Partition: 4,  # of two hosts: the cable is pulled
    Reset: 6,
    Crash: 5,
    OneWayCut: 2,
    BlackHole: 2,
    Stall: 2,
    SlowLink: 2,
    RefusedAccepts: 1,
}


class TwoDialers(Scenario):
    """Two nodes, each of which is told to stay linked to the other."""

    nodes = 2
    bootstraps = 0
    seconds = 40.0
    quiet = 0.0
    peace = 45.0

    def node(self, host: Any) -> PeerService:
        """Return a service that dials the other host."""
        chance = random.Random(f"{self.seed} {host.name} kind")
        return PeerService(
            host.reactor,
            node_id=host.number,
            listen=(host.address, 8000),
            peers=[(other.number, other.address, 8000) for other in self.internet.hosts if other is not host],
            identity=host.identity(ephemeral=chance.random() < 0.3),
            rng=host.rng,
        )

    def timeline(self, rng: random.Random) -> Iterable[Fault]:
        """Return a dozen faults at most, many of them short, often soon after each other."""
        kinds, weights = list(KINDS), list(KINDS.values())
        begins = rng.uniform(0.0, 15.0)
        for _ in range(rng.randint(1, 12)):
            kind = rng.choices(kinds, weights)[0]
            longest = rng.choice([0.1, 1.0, 5.0, 20.0])
            within = (begins, self.seconds) if rng.random() < 0.5 else (begins, min(self.seconds, begins + longest))
            lasts = (0.0, min(longest, kind.lasts[1]))
            yield kind.draw(rng, self.host_names, between=within, seconds=lasts)

    async def workload(self) -> None:
        """Have both send a packet now and then; what becomes of them is judged elsewhere."""
        while self.now < self.seconds:
            await self.sleep(self.rng.expovariate(0.5))
            service, other = self.rng.choice([(0, 1), (1, 0)])
            if self.hosts[service].is_running:
                sent: Deferred[None] = self.hosts[service].application.send(self.hosts[other].number, "a packet")
                sent.addErrback(lambda failure: None)

    def settled(self) -> bool:
        """Tell whether both ends hold the same connection for the link, and whether it is the only one."""
        return self.disagreement() is None

    async def check(self) -> None:
        """Ask both ends again after a while, and have them send each other something."""
        await self.sleep(self.peace_begins + self.peace + 5.0 - self.now)
        disagreement = self.disagreement()
        assert disagreement is None, disagreement
        for host, other in (self.hosts, reversed(self.hosts)):
            await host.application.send(other.number, "in the end")

    def disagreement(self) -> str | None:
        """Tell what is wrong with what both ends hold for the link, if anything is."""
        one, other = ([_ends(link) for link in host.application.factory.link_drivers()] for host in self.hosts)
        if len(one) != 1 or [end[::-1] for end in one] != other:
            return f"the links of one are {one}, those of the other {other}"
        if len(self.internet.connections) != 1:
            return f"there are connections besides the link: {self.internet.connections}"
        return None


def _ends(link: Any) -> tuple[str, str]:
    """Return which connection a link is: the addresses of its ends, this one first."""
    return tuple(f"{end.host}:{end.port}" for end in (link.transport.getHost(), link.transport.getPeer()))
