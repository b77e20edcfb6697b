"""Large packets over slow paths with deep buffers, both ways at once: delivered, told, and no link lost on the way.

Everything has its default settings. Each seed has another path, and another choice of what is sent: one large packet
each way, or one to everybody by a broadcast.

    python -m netlayer.testing tests.testing.slow_paths:SlowPaths --seeds 1-50 --jobs 2
"""

from __future__ import annotations

from typing import Any

from netlayer import BootstrapService, DataPacket, PeerProtocol, PeerService, Settings
from netlayer.errors import LinkLost
from netlayer.testing import Scenario

__all__ = ["BUFFERS", "RATES", "SlowPaths"]

KIB = 1024
#: Bytes a second of each uplink.
RATES = (250_000, 50_000, 15_000)
#: Bytes that the way takes before anything of them has arrived.
BUFFERS = (64 * KIB, 256 * KIB, 1024 * KIB, 8192 * KIB)
#: How much longer than the bare bytes a transfer may take, and the seconds that it has besides.
SHARE, BESIDES = 1.6, 30.0


class Noting(PeerProtocol):
    """Notes what was received, and which links were lost."""

    def packet_received(self, packet: DataPacket) -> None:
        """Note it."""
        self.factory.application.append(len(packet.data))

    def peer_lost(self, reason: LinkLost) -> None:
        """Note it, unless the peer has said goodbye."""
        if reason.goodbye is None:
            self.factory.application.append(str(reason))


class SlowPaths(Scenario):
    """Two nodes and a bootstrap node on one kind of path."""

    nodes = 2
    most_events = 50_000_000
    size = 16_000_000
    settings: Settings | None = None

    @property
    def rate(self) -> int:
        """Bytes a second that each host can send."""
        return RATES[self.seed % len(RATES)]

    @property
    def buffers(self) -> int:
        """Bytes that may be on the way."""
        return BUFFERS[self.seed // len(RATES) % len(BUFFERS)]

    @property
    def network(self) -> dict[str, Any]:  # type: ignore[override] # each seed has its own
        """What the internet is like."""
        return {"bandwidth": float(self.rate), "window": self.buffers}

    @property
    def seconds(self) -> float:  # type: ignore[override] # likewise
        """How long it may take."""
        return self.size / self.rate * SHARE + BESIDES

    def node(self, host: Any) -> PeerService:
        """Return a node that notes what happens to it."""
        service = PeerService(
            host.reactor,
            node_id=host.number,
            listen=(host.address, 8001),
            bootstraps=[(self.bootstrap_hosts[0].address, 8000)],
            identity=host.identity(),
            rng=host.rng,
            protocol=Noting,
            settings=self.settings,
        )
        service.factory.application = host.disk.setdefault("noted", [])
        return service

    def bootstrap(self, host: Any) -> BootstrapService:
        """Return the bootstrap node, whose links share the uplinks of the nodes."""
        service = BootstrapService(
            host.reactor,
            node_id=host.number,
            listen=(host.address, 8000),
            identity=host.identity(),
            rng=host.rng,
            protocol=Noting,
            settings=self.settings,
        )
        service.factory.application = host.disk.setdefault("noted", [])
        return service

    async def workload(self) -> None:
        """Send to each other at once, and see that both are told of success."""
        await self.until(lambda: all(len(service.get_peers()) == 1 for service in self.running), timeout=20.0)
        one, other = self.hosts
        data = bytes(self.size)
        if self.seed % 2:
            sent = [one.application.broadcast(data), other.application.broadcast(data)]
            for report, peer in zip([await each for each in sent], (other, one), strict=True):
                assert report.delivered == {peer.number}, f"failed: {report.failed}"
        else:
            sent = [one.application.send(other.number, data), other.application.send(one.number, data)]
            for each in sent:
                await each

    def settled(self) -> bool:
        """Return whether everything has arrived."""
        return all(self.size in host.disk["noted"] for host in self.hosts)

    async def check(self) -> None:
        """See that each packet has come once, and that no link was lost, to the bootstrap node neither."""
        noted = {host.name: host.disk["noted"] for host in [*self.hosts, *self.bootstrap_hosts]}
        assert noted == {"node1": [self.size], "node2": [self.size], "bootstrap1": []}, noted
