"""Faults of hosts and paths: each does what its name says, and nothing else."""

from __future__ import annotations

import math
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectionRefusedError, TimeoutError
from twisted.trial.unittest import SynchronousTestCase

from netlayer.testing import SimulatedHost, SimulatedInternet, SimulationError
from tests.testing.sockets import Notes, Pair, factory_of

MIB = 1024 * 1024


def dial(pair: Pair, *, timeout: float = 30) -> Deferred[Any]:
    """Connect from ``one`` to ``two`` once more."""
    notes = Notes()
    notes.internet = pair.internet
    endpoint = TCP4ClientEndpoint(pair.one.reactor, pair.two.address, 80, timeout=timeout)
    connecting: Deferred[Any] = endpoint.connect(factory_of(notes))
    return connecting


class PathTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.pair = Pair()
        self.internet = self.pair.internet

    def exchange(self) -> tuple[bytes, bytes]:
        """Have each end send its name; return what has arrived new at ``one`` and at ``two`` within a second."""
        client, server = self.pair.client, self.pair.server
        before = len(client.received), len(server.received)
        client.transport.write(b"from one")
        server.transport.write(b"from two")
        self.internet.advance(1.0)
        return client.received[before[0] :], server.received[before[1] :]

    def test_one_way_cut(self) -> None:
        """A cut is one-way: the other direction goes on, as long as the window allows."""
        self.internet.cut(self.pair.one, self.pair.two)
        self.assertEqual(self.exchange(), (b"from two", b""))
        self.internet.advance(600.0)
        self.assertEqual(self.pair.server.received, b"")
        self.internet.mend(self.pair.one, self.pair.two)
        self.internet.advance(130.0)
        self.assertEqual(self.pair.server.received, b"from one")
        self.assertEqual(self.exchange(), (b"from two", b"from one"))

    def test_cut_fills_window(self) -> None:
        """Where acknowledgements do not come back, a sender stops when its window is full."""
        self.internet.cut(self.pair.two, self.pair.one)
        self.pair.client.transport.write(bytes(MIB))
        self.internet.advance(60.0)
        self.assertEqual(len(self.pair.server.received), self.internet.window)
        self.internet.heal()
        self.internet.advance(130.0)
        self.assertEqual(len(self.pair.server.received), MIB)

    def test_names(self) -> None:
        """Hosts may be named; what is no host of this internet is refused with its name, and nothing is done."""
        internet, one, two = self.internet, self.pair.one, self.pair.two
        internet.partition([[one.name], [two]])
        self.assertFalse(internet.reachable(one, two))
        stranger = SimulatedInternet().add_host(two.name)
        for call, told in (
            (lambda: internet.partition([[one], [stranger]]), "is no host of this internet"),
            (lambda: internet.partition([["nobody"]]), "no host 'nobody'"),
            (lambda: internet.partition([[5]]), "5 is no host"),
            (lambda: internet.partition([one, two]), f"a list of hosts, not {one!r}"),
            (lambda: internet.partition([one.name]), f"a list of hosts, not {one.name!r}"),
            (lambda: internet.partition(one), f"a list of groups, and a group a list of hosts, not {one!r}"),
            (lambda: internet.cut(one, "nobody"), "no host 'nobody'"),
            (lambda: internet.host("nobody"), "no host 'nobody'"),
        ):
            self.assertIn(told, str(self.assertRaises(SimulationError, call)))
            self.assertFalse(internet.reachable(one, two))
        internet.heal()
        internet.cut(one.name, two)
        self.assertEqual((internet.reachable(one, two), internet.reachable(two, one)), (False, True))
        internet.mend(one, two.name)
        self.assertTrue(internet.reachable(one, two))
        internet.set_latency(one.name, two.name, 1.0)
        self.assertEqual(internet.latency(one, two), 1.0)

    def test_two_groups(self) -> None:
        """A host can't be on two sides of a partition, and nothing is done then."""
        internet, one, two = self.internet, self.pair.one, self.pair.two
        for groups in ([[one], [one]], [[one, two], [two.name]]):
            error = self.assertRaises(SimulationError, internet.partition, groups)
            self.assertRegex(str(error), "^<SimulatedHost (one|two) .*> can't be in two groups of a partition$")
            self.assertTrue(internet.reachable(one, two))
        internet.partition([[one, one.name], [two]])
        self.assertFalse(internet.reachable(one, two))

    def test_partition(self) -> None:
        """Hosts of different groups hear nothing of each other, those of one group do; those not named are a group."""
        three = self.internet.add_host("three")
        self.internet.partition([[self.pair.one], [self.pair.two]])
        self.assertEqual(self.exchange(), (b"", b""))
        self.internet.partition([[three]])
        self.internet.advance(10.0)
        self.assertEqual(self.pair.server.received, b"from one")
        self.assertEqual(self.exchange(), (b"from two", b"from one"))
        self.internet.partition([[self.pair.one], [three]])
        self.internet.heal()
        self.assertEqual(self.exchange(), (b"from two", b"from one"))

    def test_retransmission(self) -> None:
        """What an outage has swallowed comes after it, whole and in order, and the later the longer it took."""
        late = []
        for outage in (1.0, 30.0, 600.0):
            pair = Pair()
            pair.internet.partition([[pair.one]])
            for number in range(5):
                pair.internet.call_later(number * 0.1, pair.client.transport.write, b"%d" % number)
            pair.internet.advance(outage)
            pair.internet.heal()
            healed = pair.internet.now
            pair.internet.advance(0.05)
            pair.client.transport.write(b"5")
            pair.internet.advance(130.0)
            self.assertEqual(pair.server.received, b"012345")
            late.append(pair.server.times[0] - healed)
        self.assertTrue(0.0 < late[0] < 1.0, late)
        self.assertTrue(1.0 < late[1] < 30.0, late)
        self.assertTrue(late[1] < late[2] <= 120.0, late)

    def test_connect(self) -> None:
        """A request that gets lost is repeated; without a path there is a timeout."""
        self.internet.partition([[self.pair.one]])
        self.assertRaises(TimeoutError, self.internet.run, dial(self.pair, timeout=10))
        connecting = dial(self.pair)
        self.internet.advance(4.0)
        self.internet.heal()
        healed = self.internet.now
        self.internet.run(connecting)
        self.assertTrue(1.0 < self.internet.now - healed < 4.0)

    def test_connect_kernel_timeout(self) -> None:
        """Without a timeout of its own, a request is given up by the kernel after two minutes."""
        self.internet.cut(self.pair.two, self.pair.one)
        began = self.internet.now
        reactor: Any = self.pair.one.reactor
        lost: list[float] = []

        class Factory:
            def __getattr__(self, name: str) -> Any:
                return lambda *_: None

            def clientConnectionFailed(self, connector: object, reason: object) -> None:
                lost.append(reactor.host.internet.now - began)

        reactor.connectTCP(self.pair.two.address, 80, Factory(), timeout=None)
        self.internet.advance(300.0)
        self.assertTrue(60.0 < lost[0] < 180.0, lost)

    def test_latency(self) -> None:
        """A path can become longer or shorter, both ways."""
        self.internet.set_latency(self.pair.one, self.pair.two, 0.4)
        began = self.internet.now
        self.exchange()
        self.assertAlmostEqual(self.pair.server.times[-1] - began, 0.4)
        self.assertAlmostEqual(self.pair.client.times[-1] - began, 0.4)
        self.internet.set_latency(self.pair.one, self.pair.two, 0.001)
        began = self.internet.now
        self.exchange()
        self.assertAlmostEqual(self.pair.client.times[-1] - began, 0.001)


class HostTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.pair = Pair()
        self.internet = self.pair.internet
        self.fired: list[str] = []

    def test_crash(self) -> None:
        """A process that dies on a living machine: peers see the end, connects are refused, nothing more is done."""
        self.pair.two.reactor.callLater(1.0, self.fired.append, "timer")
        self.pair.client.transport.write(b"x")
        self.pair.two.crash()
        self.internet.advance(2.0)
        self.assertEqual((self.pair.client.end, self.pair.server.end), ("ConnectionDone", None))
        self.assertEqual((self.fired, self.pair.server.received), ([], b""))
        self.assertRaises(ConnectionRefusedError, self.internet.run, dial(self.pair))

    def test_silent_crash(self) -> None:
        """A machine without power says nothing: peers wait for ever, connects time out."""
        self.pair.two.crash(silent=True)
        self.pair.client.transport.write(b"x")
        self.internet.advance(600.0)
        self.assertEqual((self.pair.client.end, self.pair.server.received), (None, b""))
        self.assertRaises(TimeoutError, self.internet.run, dial(self.pair, timeout=10))

    def test_reset_after_reboot(self) -> None:
        """When the machine is up again, it resets what it knows nothing of any more."""
        self.pair.two.crash(silent=True)
        self.pair.client.transport.write(b"x")
        self.internet.advance(5.0)
        self.pair.two.restart()
        self.internet.advance(20.0)
        self.assertEqual(self.pair.client.end, "ConnectionLost")

    def test_dead_code(self) -> None:
        """Code of a dead process that is called all the same has no effect."""
        reactor: Any = self.pair.two.reactor
        server: Any = self.pair.server.transport
        self.pair.two.crash(silent=True)
        reactor.callLater(0.0, self.fired.append, "timer")
        server.write(b"ghost")
        server.loseConnection()
        server.abortConnection()
        reactor.connectTCP(self.pair.one.address, 80, factory_of(None))
        self.pair.two.restart()
        self.internet.advance(60.0)
        self.assertEqual((self.fired, self.pair.client.received), ([], b""))

    def test_restart(self) -> None:
        """A restarted host runs its program again, in another process; its disk and identity stay, unless lost too."""
        host = self.internet.add_host("three")

        def program(host: SimulatedHost) -> Service:
            host.disk["starts"] = host.disk.get("starts", 0) + 1
            service = Service()
            service.setName(f"started {host.disk['starts']}")
            return service

        self.assertEqual(host.run(program).name, "started 1")
        reactor, identity, ephemeral = host.reactor, host.identity().fingerprint, host.identity(ephemeral=True)
        self.assertEqual(host.restart().name, "started 2")
        self.assertIsNot(host.reactor, reactor)
        self.assertEqual(host.identity().fingerprint, identity)
        self.assertNotEqual(host.identity(ephemeral=True).fingerprint, ephemeral.fingerprint)
        self.assertEqual(host.restart(disk=False).name, "started 1")
        self.assertNotEqual(host.identity().fingerprint, identity)
        self.assertEqual(host.application.name, "started 1")

    def test_stall(self) -> None:
        """A stalled host fires its timers late, before it reads what has come; its peers see a living connection."""
        events: list[tuple[str, float]] = []
        now = self.internet.now
        for delay in (2.0, 1.0, 9.0):
            self.pair.two.reactor.callLater(delay, lambda d=delay: events.append((f"{d:g}", self.internet.now - now)))
        self.pair.server.dataReceived = (  # type: ignore[method-assign]
            lambda data: events.append((data.decode(), self.internet.now - now))
        )
        self.pair.two.stall(5.0)
        self.internet.call_later(0.5, self.pair.client.transport.write, b"early")
        self.internet.call_later(1.5, self.pair.client.transport.write, b", late")
        self.internet.advance(4.0)
        self.assertEqual(events, [])
        connecting = dial(self.pair)
        self.internet.run(connecting, timeout=0.1)  # by the kernel
        self.internet.advance(10.0)
        self.assertEqual(events[:3], [("1", 5.0), ("2", 5.0), ("early, late", 5.0)])
        self.assertAlmostEqual(events[3][1], 9.0)

    def test_stall_shows_on_the_clock(self) -> None:
        """Code that was frozen can see on its clock that it was."""
        began = self.pair.two.reactor.seconds()
        self.pair.two.reactor.callLater(
            1.0, lambda: self.fired.append(f"{self.pair.two.reactor.seconds() - began:.1f}")
        )
        self.pair.two.stall(7.0)
        self.internet.advance(10.0)
        self.assertEqual(self.fired, ["7.0"])

    def test_jump_forward(self) -> None:
        """A clock set forward fires the timers that it has passed."""
        reactor = self.pair.two.reactor
        for delay in (1800.0, 3700.0):
            reactor.callLater(delay, self.fired.append, f"{delay:g}")
        before = reactor.seconds()
        self.pair.two.jump_clock(3600.0)
        self.assertAlmostEqual(reactor.seconds() - before, 3600.0)
        self.internet.advance(0.0)
        self.assertEqual(self.fired, ["1800"])
        self.internet.advance(101.0)
        self.assertEqual(self.fired, ["1800", "3700"])

    def test_jump_back(self) -> None:
        """A clock set back holds all timers up."""
        self.pair.two.reactor.callLater(10.0, self.fired.append, "timer")
        self.pair.two.jump_clock(-3600.0)
        self.internet.advance(3605.0)
        self.assertEqual(self.fired, [])
        self.internet.advance(6.0)
        self.assertEqual(self.fired, ["timer"])

    def test_slow_reader(self) -> None:
        """A process that reads slowly gets so many bytes a second, all its connections together."""
        self.pair.two.read_slowly(10_000)
        self.pair.client.transport.write(bytes(MIB))
        began = self.internet.now
        self.internet.advance(20.0)
        self.assertTrue(195_000 < len(self.pair.server.received) < 205_000, len(self.pair.server.received))
        self.assertGreater(len([time for time in self.pair.server.times if time < began + 10.0]), 100)
        self.pair.two.read_slowly(None)
        self.internet.advance(2.0)
        self.assertEqual(len(self.pair.server.received), MIB)

    def test_mistaken_numbers(self) -> None:
        """A number that makes no sense is refused with what does, and nothing is done."""
        host, internet = self.pair.two, self.internet
        slow, jump = "a number of bytes a second, more than 0, or None", "a number of seconds, forward or back"
        for call, values, told in (
            (host.read_slowly, (0, -5, math.nan, math.inf, "5", True), slow),
            (host.stall, (-1, math.nan, "1", None), "a stall is a number of seconds, 0 or more"),
            (host.jump_clock, (math.nan, -math.inf, "x", None, 10**400), jump),
            (host.jump_wall_clock, (math.nan, math.inf, "x", None), jump),
            (lambda value: internet.set_latency("one", "two", value), (-1, math.nan, math.inf, "1"), "latency between"),
        ):
            for value in values:
                error = self.assertRaises(SimulationError, call, value)
                self.assertIn(told, str(error))
                self.assertIn(f"not {value!r}"[:100], str(error))
        clock = host.reactor.seconds()
        self.pair.client.transport.write(bytes(MIB))
        internet.advance(2.0)
        self.assertEqual(len(self.pair.server.received), MIB)
        self.assertAlmostEqual(host.reactor.seconds() - clock, 2.0)

    def test_stall_for_ever(self) -> None:
        """A process may be frozen until it is restarted."""
        self.pair.two.stall(math.inf)
        self.pair.client.transport.write(b"x")
        self.internet.advance(3600.0)
        self.assertEqual(self.pair.server.received, b"")

    def test_shutdown_when_down(self) -> None:
        """A host that is down has ended, even if it had connections and went down while it was shutting down."""
        never: Deferred[None] = Deferred()
        self.pair.one.reactor.addSystemEventTrigger("before", "shutdown", lambda: never)
        self.pair.two.crash()
        self.assertIsNone(self.successResultOf(self.pair.two.shutdown()))
        ends = [self.pair.one.shutdown(), self.pair.one.shutdown()]
        self.internet.advance(60.0)
        for ended in ends:
            self.assertNoResult(ended)
        again = ends[0].addCallback(lambda _: self.pair.one.shutdown())
        self.pair.one.restart()
        self.internet.advance(0.0)
        self.assertIsNone(self.successResultOf(ends[1]))
        self.assertIsNone(self.successResultOf(again))
        self.assertFalse(self.pair.one.is_running)
        self.assertEqual(self.internet.leftovers(), [])

    def test_refused_accepts(self) -> None:
        """New connections are refused, and what stands is not touched."""
        self.pair.two.refuse_accepts()
        self.assertRaises(ConnectionRefusedError, self.internet.run, dial(self.pair))
        self.pair.client.transport.write(b"still here")
        self.internet.advance(1.0)
        self.assertEqual(self.pair.server.received, b"still here")
        self.pair.two.refuse_accepts(False)
        self.internet.run(dial(self.pair))


class BacklogTests(SynchronousTestCase):
    def test_full(self) -> None:
        """When a process accepts nothing, so many connections wait for it, and further ones do not come about."""
        internet = SimulatedInternet(seed=1)
        one, two = internet.add_hosts(2)
        two.reactor.listenTCP(80, factory_of(None), backlog=3)
        two.stall(60.0)
        outcomes: list[object] = []
        for _ in range(6):
            endpoint = TCP4ClientEndpoint(one.reactor, two.address, 80, timeout=20)
            _ = endpoint.connect(factory_of(Notes())).addBoth(outcomes.append)
        internet.advance(30.0)
        self.assertEqual(len([outcome for outcome in outcomes if isinstance(outcome, Notes)]), 4)
        self.assertEqual(len(outcomes), 6)
