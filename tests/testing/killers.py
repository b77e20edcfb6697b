"""Packets that kill the process that handles them, and innocent ones with slow handlers around each.

Each seed has another course of handlers and restarts. The settings are the default ones, but that the sender takes a
peer that is being restarted for unreachable after 9 attempts instead of 4.

    python -m netlayer.testing tests.testing.killers:Killers --seeds 1-5 --jobs 2
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from netlayer import BootstrapService, DataPacket, PeerProtocol, PeerService, Settings
from netlayer.errors import QueueFull
from netlayer.testing import Scenario

__all__ = ["Killers"]


class Victim(PeerProtocol):
    """Dies of some packets, and handles the others slowly."""

    def packet_received(self, packet: DataPacket) -> Deferred[None] | None:
        """Die, or take some time."""
        host = self.factory.application
        kind, number = packet.data
        if kind == "kill":
            host.disk["deaths"][number] += 1
            host.internet.call_later(0.0, die, host)
            return Deferred()
        host.disk["begun"][number] += 1
        delay = host.rng.choice((0.01, 0.1, 0.5))
        return deferLater(self.factory.reactor, delay, host.disk["handled"].update, [number])


def die(host: Any) -> None:
    """Kill the process of a host, and start another one soon, as whatever supervises it does."""
    if host.is_running:
        host.crash()
        host.internet.call_later(host.internet.rng.uniform(0.1, 0.5), host.restart)


class Killers(Scenario):
    """One node sends, the other one dies; there is a bootstrap node."""

    nodes = 2
    killers, innocents = 200, 50
    seconds = 40_000.0
    peace = 400.0
    patience = 1000.0
    most_events = 50_000_000

    def node(self, host: Any) -> PeerService:
        """Return the sender or the victim."""
        service = PeerService(
            host.reactor,
            node_id=host.number,
            listen=(host.address, 8001),
            bootstraps=[(self.bootstrap_hosts[0].address, 8000)],
            identity=host.identity(),
            rng=host.rng,
            protocol=PeerProtocol if host is self.hosts[0] else Victim,
            settings=Settings(retry_count=8),
        )
        for name in ("deaths", "begun", "handled"):
            host.disk.setdefault(name, Counter())
        service.factory.application = host
        return service

    def bootstrap(self, host: Any) -> BootstrapService:
        """Return the bootstrap node."""
        return BootstrapService(
            host.reactor, node_id=host.number, listen=(host.address, 8000), identity=host.identity(), rng=host.rng
        )

    async def workload(self) -> None:
        """Send them all as plain packets, as fast as the queue takes them."""
        one, other = self.hosts
        await self.until(lambda: len(one.application.get_peers()) == 1, timeout=20.0)
        (protocol,) = [link for link in one.application.factory.links() if link.peer.node_id == other.number]
        for number in range(self.killers):
            packets = [["kill", number], *(["work", number * 1000 + n] for n in range(self.innocents))]
            for packet in packets:
                while True:
                    try:
                        protocol.send_packet(packet)
                        break
                    except QueueFull:
                        await self.internet.sleep(1.0)

    def settled(self) -> bool:
        """Return whether all innocent packets were handled."""
        return len(self.hosts[1].disk["handled"]) == self.killers * self.innocents

    async def check(self) -> None:
        """See that no packet has killed more than three processes, and that nothing is left."""
        disk = self.hosts[1].disk
        assert len(disk["deaths"]) == self.killers, f"{len(disk['deaths'])} have killed"
        assert max(disk["deaths"].values()) <= 3, disk["deaths"].most_common(3)
        assert max(disk["handled"].values()) <= 3, disk["handled"].most_common(3)
