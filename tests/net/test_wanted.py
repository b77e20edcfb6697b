"""Who is dialed and for how long, and what the log says about it."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectionRefusedError
from twisted.logger import LogEvent, globalLogPublisher

from netlayer import PeerFactory
from netlayer.addresses import Address
from netlayer.errors import DeliveryError, PeerIdentityMismatch, PeerUnreachable, Rejected
from netlayer.net.bootstrap import BootstrapFactory
from netlayer.net.factory import LinkObserver
from netlayer.net.named import NameEndpoint
from netlayer.net.wanted import Reason, Wanted, client_endpoint, configured_peer
from netlayer.net.wanted_peers import WantedPeers
from netlayer.wire.messages import NetAddress
from tests.memory import MemoryTestCase


class Endpoint:
    """An endpoint whose attempts end when the test says so."""

    def __init__(self) -> None:
        self.attempts: list[Deferred[Any]] = []

    def connect(self, factory: object) -> Deferred[Any]:
        self.attempts.append(Deferred())
        return self.attempts[-1]

    def fail(self, error: Exception | None = None) -> None:
        self.attempts[-1].errback(error or ConnectionRefusedError())


class WantedTestCase(MemoryTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.unreachable: list[tuple[Wanted, DeliveryError]] = []
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self._keep)
        self.addCleanup(globalLogPublisher.removeObserver, self._keep)
        self.node = self.factory(1, backoff_first=1.0, backoff_cap=1.0, backoff_late_cap=1.0, retry_count=2)
        self.still_unreachable: list[tuple[Wanted, DeliveryError]] = []
        self.wanted = WantedPeers(
            self.reactor,
            self.node,
            unreachable=lambda wanted, error: self.unreachable.append((wanted, error)),
            still_unreachable=lambda wanted, error: self.still_unreachable.append((wanted, error)),
        )
        self.node.observer = Observer(self.wanted)

    def tearDown(self) -> None:
        self.wanted.stop()
        self.node.stop()
        self.settle()
        self.assert_at_rest([self.node])

    def add(self, reason: Reason, endpoint: Any = None, **options: Any) -> tuple[Wanted, Any]:
        endpoint = endpoint or Endpoint()
        until = options.pop("until", None)
        wanted = Wanted(reason, "somewhere:1", endpoint, **options)
        wanted.until = until
        return self.wanted.add(wanted, wanted), endpoint

    def exhaust(self, endpoint: Endpoint, error: type[Exception] = ConnectionRefusedError) -> None:
        """Let one attempt and both retries fail."""
        for _ in range(3):
            endpoint.fail(error())
            self.reactor.advance(1.0)

    def logged(self, level: str) -> list[str]:
        return [e["log_format"].format(**e) for e in self.events if e["log_level"].name == level]

    def _keep(self, event: LogEvent) -> None:
        if event.get("log_namespace") == "netlayer":
            self.events.append(event)


class Observer(LinkObserver):
    """Tells the wanted peers of links, as a service does."""

    def __init__(self, wanted: WantedPeers) -> None:
        self.link_ready = wanted.linked  # type: ignore[method-assign]
        self.link_lost = lambda protocol, reason: wanted.lost(protocol, reason)  # type: ignore[method-assign]


class LogTests(WantedTestCase):
    def test_exhausted(self) -> None:
        """Each retry is a warning, the end of all retries one error; what follows is silent until it is healed."""
        wanted, endpoint = self.add(Reason.CONFIGURED, expected_id=2)
        self.exhaust(endpoint)
        self.assertEqual([text.partition("; ")[2] for text in self.logged("warn")], ["retry 1 of 2", "retry 2 of 2"])
        (error,) = self.logged("error")
        self.assertIn("no link to peer 2 at somewhere:1 after 3 attempts", error)
        self.assertEqual([(w, type(e), e.attempts) for w, e in self.unreachable], [(wanted, PeerUnreachable, 3)])
        for _ in range(5):
            endpoint.fail()
            self.reactor.advance(1.0)
        self.assertEqual((len(self.logged("warn")), len(self.logged("error")), len(self.unreachable)), (2, 1, 1))
        self.assertEqual([(w, e.attempts) for w, e in self.still_unreachable], [(wanted, n) for n in range(4, 9)])
        self.assertEqual(wanted.status(self.reactor.seconds()).attempts, 8)

    def test_exhausted_again(self) -> None:
        """A send to a peer that was given up fails after another round, of which the log says nothing new."""
        wanted, endpoint = self.add(Reason.CONFIGURED, expected_id=2)
        self.exhaust(endpoint)
        wanted.dialer.wake()
        self.exhaust(endpoint)
        self.assertEqual([error.attempts for _, error in self.unreachable], [3, 3])
        self.assertEqual((len(self.logged("warn")), len(self.logged("error"))), (2, 1))

    def test_healed(self) -> None:
        """A peer that was reported and is linked again is reported again."""
        other = self.factory(2)
        wanted, endpoint = self.add(Reason.CONFIGURED, expected_id=2)
        self.exhaust(endpoint)
        self.link(self.node, other)
        self.assertEqual(len([text for text in self.logged("info") if text.startswith("node 1: healed: peer 2")]), 1)
        self.assertEqual(wanted.status(0.0).state, "linked")
        self.assertEqual((wanted.reported, wanted.dialer.attempts), (False, 0))
        other.stop()
        self.settle()

    def test_new_reason(self) -> None:
        """Another kind of reason is told of once in an outage: one that lasts by an error, others by a warning."""
        wrong_key = PeerIdentityMismatch("sha256:11", "sha256:22")
        for error, level in (
            (wrong_key, "error"),
            (Rejected("bad-secret", "no"), "error"),
            (Rejected("id-taken", "no", 5.0), "error"),
            (Rejected("full", "no"), "warn"),
        ):
            _, endpoint = self.add(Reason.CONFIGURED, expected_id=2)
            self.exhaust(endpoint)
            self.events.clear()
            for _ in range(50):
                for each in (error, ConnectionRefusedError(), Rejected("id-taken", "no", 5.0)):
                    endpoint.fail(each)
                    self.reactor.advance(60.0)
            texts = [text for text in self.logged(level) if text.endswith(f": {error}")]
            self.assertEqual(len(texts), 1, error)
            self.assertIn("no link to peer 2 at somewhere:1", texts[0])
            self.assertLess(len(self.events), 3)
            self.wanted.drop(self.wanted.of(2, None)[0])

    def test_many_codes(self) -> None:
        """Whoever refuses with ever new codes gets one line."""
        _, endpoint = self.add(Reason.CONFIGURED, expected_id=2)
        self.exhaust(endpoint)
        self.events.clear()
        for number in range(50):
            endpoint.fail(Rejected(f"code-{number}", "no"))
            self.reactor.advance(60.0)
        self.assertEqual(len(self.events), 1)

    def test_refused_later(self) -> None:
        """A refusal counts until something else is answered there; no answer is none."""
        wanted, endpoint = self.add(Reason.BOOTSTRAP)
        for error, refused in (
            (ConnectionRefusedError(), False),
            (Rejected("bad-secret", "no"), True),
            (ConnectionRefusedError(), True),
            (PeerIdentityMismatch("one", "another"), False),
            (Rejected("not-allowed", "no"), True),
            (Rejected("full", "no"), False),
        ):
            endpoint.fail(error)
            self.assertEqual(wanted.refused is not None, refused, error)
            self.reactor.advance(60.0)

    def test_bootstrap(self) -> None:
        """A bootstrap node is called that, with its id as soon as it is known."""
        other = BootstrapFactory(self.reactor, node_id=2)
        self.successResultOf(other.listen(self.listening_at(8002)))
        wanted, _ = self.add(Reason.BOOTSTRAP, self.address(8002))
        pump = self.connect()
        self.settle()
        wanted.endpoint = endpoint = Endpoint()
        self.cut(pump)
        self.reactor.advance(1.0)
        self.exhaust(endpoint)
        (error,) = self.logged("error")
        self.assertIn("no link to the bootstrap node (id 2) at somewhere:1 after 3 attempts: ", error)
        self.link(self.node, other)
        self.assertEqual(
            [text for text in self.logged("info") if "healed" in text],
            ["node 1: healed: the bootstrap node (id 2) at somewhere:1 is linked again"],
        )
        other.stop()
        self.settle()

    def test_hostile_text(self) -> None:
        """What a stranger says in its refusal is escaped and cut."""
        _, endpoint = self.add(Reason.CONFIGURED, expected_id=2)
        endpoint.fail(Rejected("not-ready", "\x1b[31m" + "x" * 1000))
        (warning,) = self.logged("warn")
        self.assertNotIn("\x1b", warning)
        self.assertLess(len(warning), 400)


class ReasonTests(WantedTestCase):
    def test_bootstrap(self) -> None:
        """Bootstrap nodes and configured peers are dialed for ever."""
        for reason in (Reason.BOOTSTRAP, Reason.CONFIGURED):
            wanted, endpoint = self.add(reason)
            for _ in range(50):
                endpoint.fail()
                self.reactor.advance(1.0)
            self.assertEqual(wanted.status(0.0).state, "dialing")

    def test_met(self) -> None:
        """A peer that was met is dialed until its time is over; then what waits for it fails."""
        wanted, endpoint = self.add(Reason.MET, expected_id=2, until=2.5)
        for _ in range(2):
            endpoint.fail()
            self.reactor.advance(1.0)
        self.assertEqual(list(self.wanted), [wanted])
        self.reactor.advance(1.0)
        endpoint.fail()
        self.assertEqual(list(self.wanted), [])
        self.assertEqual(
            next(str(error) for _, error in self.unreachable).partition(": ")[2], "it has been away for too long"
        )
        self.assertEqual(self.logged("error"), [])

    def test_met_and_lost(self) -> None:
        """Its time begins when its link is lost."""
        other = self.factory(2)
        wanted, _ = self.add(Reason.MET, expected_id=2, until=10.0)
        pump = self.link(self.node, other)
        self.pass_time(100, steps=100)
        self.cut(pump)
        settings = self.node.settings
        self.assertEqual(wanted.until, self.reactor.seconds() + settings.lease_grace + settings.lease_renewal)
        self.assertEqual(wanted.status(0.0).state, "waiting")
        other.stop()
        self.settle()

    def test_asked(self) -> None:
        """An address that was given with a packet is dialed for it, and dropped when it is exhausted."""
        self.node.submit(self.node.remotes.with_id(2), self.node.make_packet(b"x"))
        wanted, endpoint = self.add(Reason.ASKED, expected_id=2)
        self.exhaust(endpoint)
        self.assertEqual(list(self.wanted), [])
        self.assertEqual([w for w, _ in self.unreachable], [wanted])

    def test_asked_for_nothing(self) -> None:
        """It is dropped, silently, when nobody waits for it any more."""
        _, endpoint = self.add(Reason.ASKED, expected_id=2)
        endpoint.fail()
        self.assertEqual((list(self.wanted), self.unreachable, self.events), ([], [], []))

    def test_asked_and_linked(self) -> None:
        """It is dropped when it is linked; its link stays."""
        other = self.factory(2)
        sent = self.node.submit_confirmed(self.node.remotes.with_id(2), self.node.make_packet(b"x", confirm=True))
        self.add(Reason.ASKED, self.address(8002), expected_id=2)
        self.connect()
        self.settle()
        self.successResultOf(sent)
        self.assertEqual((list(self.wanted), len(self.node.link_drivers())), ([], 1))
        other.stop()
        self.settle()

    def test_wrong_id(self) -> None:
        """Another id at an address that was given is no reason to try again; at a configured one it is."""
        other = self.factory(3)
        self.node.submit(self.node.remotes.with_id(2), self.node.make_packet(b"x"))
        for reason, left in ((Reason.ASKED, 0), (Reason.CONFIGURED, 1)):
            self.add(reason, self.address(8003), expected_id=2)
            self.connect()
            self.settle()
            self.assertEqual(len(list(self.wanted)), left)
        self.assertEqual([type(error) for _, error in self.unreachable], [PeerIdentityMismatch])
        other.stop()
        self.settle()

    def test_oneself(self) -> None:
        """A node that finds itself at an address drops it, and says so once."""
        self.add(Reason.BOOTSTRAP, self.address(8001))
        self.connect()
        self.settle()
        self.assertEqual(list(self.wanted), [])
        self.assertEqual(self.logged("info"), ["node 1: somewhere:1 is this node itself"])
        self.assertEqual(len(self.unreachable), 1)

    def test_same_key_twice(self) -> None:
        """A peer that is wanted already is not dialed a second time."""
        one, endpoint = self.add(Reason.CONFIGURED)
        again = self.wanted.add(one, Wanted(Reason.CONFIGURED, "elsewhere:1", Endpoint()))
        self.assertIs(again, one)
        self.assertEqual((len(list(self.wanted)), len(endpoint.attempts)), (1, 1))

    def test_too_many(self) -> None:
        """Of too many peers that were met and are away the ones met first are forgotten; their packets fail."""
        self.node.settings = self.factory(9, max_wanted=3).settings
        lost: list[str] = []
        wanted = WantedPeers(self.reactor, self.node, unreachable=lambda wanted, error: lost.append(wanted.address))
        endpoints = [Endpoint() for _ in range(6)]
        for number, endpoint in enumerate(endpoints[:5]):
            wanted.add(number, Wanted(Reason.MET, f"somewhere:{number}", endpoint))
        wanted.add("configured", Wanted(Reason.CONFIGURED, "somewhere:5", endpoints[5]))
        self.assertEqual(len(list(wanted)), 6, "whoever is dialed for the first time may be there")
        for endpoint in endpoints:
            endpoint.fail()
        self.assertEqual([w.address for w in wanted], [f"somewhere:{number}" for number in (2, 3, 4, 5)])
        self.assertEqual(lost, ["somewhere:0", "somewhere:1"])
        wanted.stop()

    def test_stopped(self) -> None:
        """After the end nobody is dialed, whoever asks."""
        _, endpoint = self.add(Reason.CONFIGURED)
        self.wanted.stop()
        late, later = self.add(Reason.CONFIGURED)
        self.assertEqual((len(endpoint.attempts), len(later.attempts)), (1, 0))
        self.assertEqual((list(self.wanted), late.status(0.0).state), ([], "stopped"))
        late.dialer.wake()
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class ReentrancyTests(WantedTestCase):
    def test_send_again_at_once(self) -> None:
        """Who hears that a peer is unreachable may send to the same address again, which dials anew."""
        endpoint = Endpoint()

        def again(wanted: Wanted, error: DeliveryError) -> None:
            self.unreachable.append((wanted, error))
            if len(self.unreachable) == 1:
                self.wanted.add("asked", Wanted(Reason.ASKED, "somewhere:1", endpoint, expected_id=2))

        self.wanted._unreachable = again
        self.node.submit(self.node.remotes.with_id(2), self.node.make_packet(b"x"))
        self.wanted.add("asked", Wanted(Reason.ASKED, "somewhere:1", endpoint, expected_id=2))
        self.exhaust(endpoint)
        self.assertEqual(len(endpoint.attempts), 4)
        self.exhaust(endpoint)
        self.assertEqual((len(self.unreachable), list(self.wanted)), (2, []))

    def test_stop_at_once(self) -> None:
        """Or stop everything."""
        self.wanted._unreachable = lambda wanted, error: self.wanted.stop()
        _, endpoint = self.add(Reason.CONFIGURED)
        self.exhaust(endpoint)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class EndpointTests(MemoryTestCase):
    def test_kinds(self) -> None:
        """Literal addresses are dialed as they are, `localhost` is 127.0.0.1, other names are resolved."""
        for host, kind in (
            ("127.0.0.1", TCP4ClientEndpoint),
            ("localhost", TCP4ClientEndpoint),
            ("::1", TCP6ClientEndpoint),
            ("node.example.org", NameEndpoint),
        ):
            self.assertIsInstance(client_endpoint(self.reactor, Address(host, 1)), kind)
        client_endpoint(self.reactor, Address("localhost", 8000)).connect(PeerFactory(self.reactor, node_id=1))
        self.assertEqual(self.reactor.tcpClients[0][:2], ("127.0.0.1", 8000))

    def test_places(self) -> None:
        """A peer of the configuration is known to be dialed where a record says, however either of them spells it."""
        home = NetAddress("127.0.0.1", 8000)
        for where in (("127.0.0.1", 8000), ("localhost", 8000), "tcp:127.0.0.1:8000", "tcp:port=8000:host=localhost"):
            _, wanted = configured_peer(self.reactor, where)
            self.assertTrue(wanted.is_dialed_at([home]), where)
            self.assertTrue(wanted.is_dialed_at([NetAddress("10.0.0.1", 1), NetAddress("localhost", 8000)]), where)
            self.assertFalse(wanted.is_dialed_at([]), where)
            self.assertFalse(wanted.is_dialed_at([NetAddress("127.0.0.1", 8001)]), where)
        for where in ("unix:/run/node", ("node.example.org", 8000), (2, "10.0.0.1", 8000)):
            _, wanted = configured_peer(self.reactor, where)
            self.assertFalse(wanted.is_dialed_at([home]), where)
