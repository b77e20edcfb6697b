"""Connections that are reset before a process has taken them."""

from __future__ import annotations

from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from netlayer.testing import SimulatedConnection, SimulatedInternet


class Noting(Protocol):
    """Notes its beginning and its end."""

    def connectionMade(self) -> None:
        self.factory.happened.append("made")

    def connectionLost(self, reason: Failure) -> None:
        self.factory.happened.append("lost")


class EarlyResetTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.internet = SimulatedInternet(seed=1)
        client, self.server = self.internet.add_hosts(2)
        self.accepting = Factory.forProtocol(Noting)
        self.connecting = Factory.forProtocol(Noting)
        self.accepting.happened, self.connecting.happened = [], []
        self.server.reactor.listenTCP(80, self.accepting)
        self.dialed = TCP4ClientEndpoint(client.reactor, self.server.address, 80).connect(self.connecting)

    def established(self) -> SimulatedConnection:
        """Return the connection when the kernel of the server has accepted it, and nobody else knows."""
        self.internet.run_until(lambda: self.internet.connections)
        self.assertEqual((self.accepting.happened, self.connecting.happened), ([], []))
        return self.internet.connections[0]

    def test_client(self) -> None:
        """A client whose connection was reset before it knew of it has failed to connect."""
        self.established().client.reset()
        self.internet.advance(1.0)
        self.failureResultOf(self.dialed, ConnectError)
        self.assertEqual(self.connecting.happened, [])

    def test_server(self) -> None:
        """A server that accepts a connection which was reset already sees it come and go."""
        connection = self.established()
        connection.server.reset()
        connection.client.discard()
        self.internet.advance(1.0)
        self.failureResultOf(self.dialed, ConnectError)
        self.assertEqual(self.accepting.happened, ["made", "lost"])
        self.assertEqual(self.internet.connections, [])

    def test_server_stalled(self) -> None:
        """So does a server that was frozen when it came."""
        self.server.stall(5.0)
        connection = self.established()
        self.internet.advance(1.0)
        connection.reset()
        self.internet.advance(5.0)
        self.assertEqual(self.accepting.happened, ["made", "lost"])
        self.assertEqual(self.connecting.happened, ["made", "lost"])
        self.assertEqual(self.internet.connections, [])
