"""Paths that break each connection, after so many bytes or so many seconds: tried again ever more slowly, told once.

Everything has its default settings. Each seed has another path, sends other packets, and runs for an hour. On the
paths of even seeds a connection hardly lives until it is a link, or not even that long.

    python -m netlayer.testing tests.testing.policed:Policed --seeds 1-50 --jobs 2
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from netlayer import BootstrapService, DataPacket, PeerProtocol, PeerService
from netlayer.errors import QueueFull
from netlayer.testing import Scenario

__all__ = ["Policed"]

#: Seconds between two connections, on average, and log lines of a node in an hour.
LEAST_APART, MOST_LINES = 10.0, 20


class Receiver(PeerProtocol):
    """Notes what was received."""

    def packet_received(self, packet: DataPacket) -> None:
        """Note it."""
        self.factory.application[packet.data[:8]] += 1


@implementer(ILogObserver)
class Lines:
    """The lines that each node logs, from INFO on."""

    def __init__(self) -> None:
        self.of: dict[int, list[str]] = {}

    def __call__(self, event: LogEvent) -> None:
        """Count an event."""
        if event.get("log_level") is not None and event["log_level"].name != "debug" and "node" in event:
            self.of.setdefault(event["node"], []).append(formatEvent(event))


class Policed(Scenario):
    """Two nodes on a path that breaks each connection between them; both can dial, and either may be the arbiter."""

    nodes = 2
    seconds = 3600.0
    peace = 120.0
    most_events = 50_000_000

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        rng = random.Random(f"{self.seed} path")
        by_bytes = rng.random() < 0.5
        self.most_bytes = int(10_000 * 100 ** rng.random()) if by_bytes else None
        self.most_seconds = None if by_bytes else 0.5 * 10 ** rng.random()
        self.silently = rng.random() < 0.3
        if self.seed % 2 == 0:  # few handshakes are through in so short a time, or none
            self.most_bytes, self.most_seconds = None, 0.05 * 10 ** rng.random()
        self.lines = Lines()
        self.connections = 0
        self.sent: list[bytes] = []
        self.policed: set[Any] = set()

    def node(self, host: Any) -> PeerService:
        """Return a node that counts what it receives."""
        service = PeerService(
            host.reactor,
            node_id=host.number,
            listen=(host.address, 8001),
            bootstraps=[(self.bootstrap_hosts[0].address, 8000)],
            identity=host.identity(),
            rng=host.rng,
            protocol=Receiver,
        )
        service.factory.application = host.disk.setdefault("received", Counter())
        return service

    def bootstrap(self, host: Any) -> BootstrapService:
        """Return the bootstrap node."""
        return BootstrapService(
            host.reactor, node_id=host.number, listen=(host.address, 8000), identity=host.identity(), rng=host.rng
        )

    def police(self) -> None:
        """See to each new connection between the two."""
        one, other = self.hosts
        for connection in self.internet.connections:
            if connection in self.policed or not connection.between(one, other):
                continue
            self.policed.add(connection)
            self.connections += 1
            if self.most_bytes is not None:
                connection.cut_after(self.most_bytes, sender=one, silently=self.silently)
            elif self.silently:
                self.internet.call_later(self.most_seconds, connection.black_hole)
            else:
                self.internet.call_later(self.most_seconds, connection.reset)
        if self.internet.now < self.seconds:
            self.internet.call_later(0.01, self.police)

    async def workload(self) -> None:
        """Send plain packets of up to one frame, now and then, and count connections and lines for an hour."""
        one, other = self.hosts
        await self.until(lambda: one.application.get_peers() and other.application.get_peers(), timeout=20.0)
        (protocol,) = [link for link in one.application.factory.links() if link.peer.node_id == other.number]
        globalLogPublisher.addObserver(self.lines)
        try:
            self.policed = {c for c in self.internet.connections if c.between(one, other)}
            for connection in self.policed:
                connection.reset()
            self.police()
            began = self.internet.now
            largest = min(60_000, (self.most_bytes or 60_000) // 3)
            while self.internet.now < self.seconds - 10.0:
                self.send(protocol, self.rng.randint(8, largest))
                await self.sleep(self.rng.choice((0.1, 1.0, 30.0, 60.0)))
        finally:
            globalLogPublisher.removeObserver(self.lines)
        apart = (self.internet.now - began) / max(1, self.connections)
        assert apart >= LEAST_APART, f"a connection each {apart:.1f} s, {self.connections} in all"
        for node_id, lines in self.lines.of.items():
            assert len(lines) <= MOST_LINES, (
                f"node {node_id} has logged {len(lines)} lines: {Counter(lines).most_common(5)}"
            )

    def sleep(self, seconds: float) -> Deferred[None]:
        """Let time pass."""
        over: Deferred[None] = self.internet.sleep(seconds)
        return over

    def send(self, protocol: PeerProtocol, size: int) -> None:
        """Send a plain packet, if there is room for it."""
        data = b"%08d" % len(self.sent)
        try:
            protocol.send_packet(data.ljust(size))
        except QueueFull:
            return
        self.sent.append(data)

    def settled(self) -> bool:
        """Return whether everything has arrived, now that the path is whole."""
        return len(self.hosts[1].disk["received"]) == len(self.sent)

    async def check(self) -> None:
        """See that it has come once."""
        assert self.hosts[1].disk["received"] == Counter(self.sent)
