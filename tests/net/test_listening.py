"""Where a node may listen, what it says when it can't, and what it tells others to dial."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from netlayer import PeerFactory, Settings
from netlayer.errors import ConfigurationError, ListenError
from netlayer.net.listening import Listening


class Reactor(MemoryReactorClock):
    """Binds to the interface that it was asked to bind to."""

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        listening = super().listenTCP(port, factory, backlog, interface)
        listening._hostAddress = IPv4Address("TCP", interface, port)
        return listening


class ListeningTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor: Any = Reactor()
        self.factory = PeerFactory(self.reactor, node_id=1)

    def listening(self, where: object, *, loopback_only: bool = True) -> Listening:
        return Listening(self.reactor, where, Settings(), loopback_only=loopback_only)

    def test_beyond_loopback(self) -> None:
        """With an admission rule any address will do; on all of them, others are told the loopback one at first."""
        for where, told in (
            (("192.0.2.1", 8000), "192.0.2.1:8000"),
            ("tcp:8000:interface=192.0.2.1", "192.0.2.1:8000"),
            (("0.0.0.0", 8001), "127.0.0.1:8001"),
            ("tcp:8002:interface=0.0.0.0", "127.0.0.1:8002"),
        ):
            listening = self.listening(where, loopback_only=False)
            listening.bind(self.factory)
            self.assertEqual(str(listening.advertised), told)
            self.assertEqual(listening.on_all_interfaces, told.startswith("127."))

    def test_refused(self) -> None:
        """Without a secret, all that is known not to be loopback is refused before anything is bound."""
        for where in (
            ("0.0.0.0", 0),
            ("192.0.2.1", 8000),
            ("::", 8000),
            ("node.example.org", 8000),
            "tcp:8000",
            "tcp:8000:interface=0.0.0.0",
            "tcp6:8000:interface=\\:\\:",
            "tcp:8000:interface=",
        ):
            with self.assertRaises(ConfigurationError) as caught:
                self.listening(where)
            self.assertIn("loopback", str(caught.exception))
        self.assertEqual(self.reactor.tcpServers, [])

    def test_nonsense(self) -> None:
        """What is no endpoint string is quoted in the error, with an example."""
        for where in ("", "tcp", "nonsense:8000", "tcp:x", "tcp:8000:what=1"):
            with self.assertRaises(ConfigurationError) as caught:
                self.listening(where)
            self.assertIn(repr(where), str(caught.exception))

    def test_loopback(self) -> None:
        """Loopback addresses are bound with a long backlog, and advertised as they were configured."""
        for where, bound, advertised in (
            (("127.0.0.1", 8000), "127.0.0.1", "127.0.0.1"),
            (("127.9.9.9", 8000), "127.9.9.9", "127.9.9.9"),
            (("localhost", "8000"), "127.0.0.1", "localhost"),
            ("tcp:8000:interface=127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ):
            self.setUp()
            listening = self.listening(where)
            self.assertIsNone(listening.address)
            listening.bind(self.factory)
            listening.bind(self.factory)
            ((port, _, backlog, interface),) = self.reactor.tcpServers
            self.assertEqual((port, backlog, interface), (8000, 1024, bound))
            self.assertEqual(listening.advertised, (advertised, 8000))
            self.successResultOf(listening.close())
            self.successResultOf(listening.close())

    def test_own_backlog(self) -> None:
        """An endpoint string may say its own backlog."""
        self.listening("tcp:8000:interface=127.0.0.1:backlog=7").bind(self.factory)
        self.assertEqual(self.reactor.tcpServers[0][2], 7)

    def test_taken(self) -> None:
        """A taken port is a ListenError with the address and the system's own words."""

        @implementer(IStreamServerEndpoint)
        class Taken:
            def listen(self, factory: object) -> Deferred[Any]:
                return fail(CannotListenError("", 8000, OSError(98, "Address already in use")))

            def __repr__(self) -> str:
                return "the taken port"

        listening = self.listening(Taken())
        with self.assertRaises(ListenError) as caught:
            listening.bind(self.factory)
        self.assertEqual(str(caught.exception), "cannot listen on the taken port: Address already in use")

    def test_given_endpoint(self) -> None:
        """An endpoint that is not loopback is found out when it is bound, and closed again."""
        closed: list[object] = []

        class Port:
            def getHost(self) -> Any:
                return None

            def stopListening(self) -> None:
                closed.append(self)

        @implementer(IStreamServerEndpoint)
        class Odd:
            def listen(self, factory: object) -> Deferred[Any]:
                listening: Deferred[Any] = Deferred()
                listening.callback(Port())
                return listening

        listening = self.listening(Odd())
        self.assertRaises(ConfigurationError, listening.bind, self.factory)
        self.assertEqual(len(closed), 1)
        self.assertIsNone(listening.address)
        good = self.listening(TCP4ServerEndpoint(self.reactor, 8000, interface="127.0.0.1"))
        good.bind(self.factory)
        self.assertEqual(good.advertised, ("127.0.0.1", 8000))

    def test_slow_endpoint(self) -> None:
        """An endpoint that takes its time is refused, and told to stop."""
        cancelled: list[object] = []

        @implementer(IStreamServerEndpoint)
        class Slow:
            def listen(self, factory: object) -> Deferred[Any]:
                return Deferred(cancelled.append)

        with self.assertRaises(ListenError) as caught:
            self.listening(Slow()).bind(self.factory)
        self.assertIn("does not bind at once", str(caught.exception))
        self.assertEqual(len(cancelled), 1)
