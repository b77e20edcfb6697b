"""Nodes in memory: real TLS and the real protocol on a reactor whose clock and network the test moves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.test.iosim import IOPump, connect, makeFakeClient, makeFakeServer
from twisted.trial.unittest import SynchronousTestCase

from netlayer import DataPacket, Identity, PeerFactory, PeerProtocol, Settings
from netlayer.errors import LinkLost

__all__ = ["Diary", "MemoryTestCase"]


class Diary(PeerProtocol):
    """Writes down its hooks; ``factory.application`` is the diary."""

    def peer_ready(self) -> Any:
        self.factory.application.append((self.peer.node_id, "ready"))

    def packet_received(self, packet: DataPacket) -> Any:
        self.factory.application.append((self.peer.node_id, packet.data))

    def peer_lost(self, reason: LinkLost) -> Any:
        self.factory.application.append((self.peer.node_id, "lost", str(reason)))


class MemoryTestCase(SynchronousTestCase):
    """Factories of node n listen on port 8000 + n.

    :ivar reactor: the clock and the network.
    :ivar pumps: the connections that were made, oldest first.
    """

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.pumps: list[IOPump] = []

    def factory(
        self, node_id: int, protocol: type[PeerProtocol] = Diary, identity: Identity | None = None, **changes: Any
    ) -> PeerFactory:
        """Return a factory that listens.

        :param identity: by default a new one.
        :param changes: settings other than the default ones.
        """
        settings = attrs.evolve(Settings(), **changes)
        factory = PeerFactory(self.reactor, node_id=node_id, protocol=protocol, settings=settings, identity=identity)
        factory.application = []
        self.successResultOf(factory.listen(self.listening_at(8000 + node_id)))
        return factory

    def identities(self) -> list[Identity]:
        """Return two identities, that of the arbiter last."""
        return sorted((Identity.generate() for _ in range(2)), key=lambda identity: identity.fingerprint)

    def listening_at(self, port: int) -> TCP4ServerEndpoint:
        """Return an endpoint of this network."""
        return TCP4ServerEndpoint(self.reactor, port, interface="127.0.0.1")

    def address(self, port: int) -> TCP4ClientEndpoint:
        """Return an endpoint of this network."""
        return TCP4ClientEndpoint(self.reactor, "127.0.0.1", port)

    def dial(self, a: PeerFactory, node_id: int, **expected: Any) -> Deferred[PeerProtocol | None]:
        """Have `a` dial a node; nothing travels yet."""
        return a.connect(self.address(8000 + node_id), **expected)

    def connect(self) -> IOPump:
        """Let the oldest attempt to connect succeed; nothing travels on the connection yet."""
        _, port, client, _, _ = self.reactor.tcpClients.pop(0)
        self.reactor.connectors.pop(0)
        server = next(factory for listening, factory, _, _ in self.reactor.tcpServers if listening == port)
        near, far = client.buildProtocol(None), server.buildProtocol(None)
        pump = connect(far, makeFakeServer(far), near, makeFakeClient(near), greet=False)
        self.pumps.append(pump)
        return pump

    def refuse(self) -> None:
        """Let the oldest attempt to connect fail."""
        _, _, client, _, _ = self.reactor.tcpClients.pop(0)
        client.clientConnectionFailed(self.reactor.connectors.pop(0), Failure(ConnectionRefusedError()))

    def link(self, a: PeerFactory, b: PeerFactory) -> IOPump:
        """Link two factories."""
        attempt = a.dial(self.address(8000 + b.local.node_id))
        pump = self.connect()
        self.settle()
        self.assertEqual([self.successResultOf(attempt)], a.link_drivers()[-1:])
        return pump

    def settle(self) -> None:
        """Carry bytes, and let the reactor go round, until nothing moves any more."""
        busy = True
        while busy:
            self.reactor.advance(0)
            busy = sum(pump.pump() for pump in self.pumps) > 0

    def pass_time(self, seconds: float, *, steps: int = 10) -> None:
        """Let time pass while bytes are carried."""
        for _ in range(steps):
            self.reactor.advance(seconds / steps)
            self.settle()

    def cut(self, pump: IOPump) -> None:
        """Break a connection at both ends."""
        self.pumps.remove(pump)
        for end, transport in ((pump.client, pump.clientIO), (pump.server, pump.serverIO)):
            transport.disconnecting = True
            end.connectionLost(Failure(ConnectionLost()))

    def assert_at_rest(self, factories: Iterable[PeerFactory] = ()) -> None:
        """Check that nothing is left of stopped factories."""
        for factory in factories:
            self.assertEqual((factory.link_drivers(), dict(factory._connections), list(factory.remotes)), ([], {}, []))
        self.assertEqual(self.reactor.getDelayedCalls(), [])
