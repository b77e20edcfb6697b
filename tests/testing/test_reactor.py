"""The simulated reactor: what it promises to Twisted, its timers, names, ends and the threads that it has not."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, connectProtocol, serverFromString
from twisted.internet.error import (
    AlreadyCalled,
    AlreadyCancelled,
    CannotListenError,
    ConnectionRefusedError,
    DNSLookupError,
)
from twisted.internet.interfaces import (
    IConnector,
    IConsumer,
    IDelayedCall,
    IListeningPort,
    IPushProducer,
    IReactorCore,
    IReactorFromThreads,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
    ITCPTransport,
)
from twisted.internet.protocol import ClientFactory
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from netlayer import Identity
from netlayer.interfaces import IIdentity, ISecurity
from netlayer.testing import SeededIdentity, SimulatedInternet, SimulationError, SimulationTimeout
from tests.testing.sockets import Notes, Pair, factory_of


class InterfacesTests(SynchronousTestCase):
    def test_provided(self) -> None:
        """Whatever production code is given in a simulation is what Twisted says it is."""
        pair = Pair()
        for interface in (
            IReactorCore,
            IReactorTime,
            IReactorTCP,
            IReactorPluggableNameResolver,
            IReactorFromThreads,
        ):
            self.assertTrue(verifyObject(interface, pair.one.reactor))
        for interface in (ITCPTransport, IConsumer, IPushProducer):
            self.assertTrue(verifyObject(interface, pair.client.transport))
        self.assertTrue(verifyObject(IListeningPort, pair.port))
        self.assertTrue(verifyObject(IConnector, pair.one.reactor.connectTCP("two", 80, ClientFactory())))
        self.assertTrue(verifyObject(IDelayedCall, pair.one.reactor.callLater(1, int)))

    def test_identities(self) -> None:
        """Real and seeded identities can stand for each other."""
        reactor = SimulatedInternet().add_host("one").reactor
        for identity in (Identity.generate(), SeededIdentity("one")):
            self.assertTrue(verifyObject(IIdentity, identity))
            self.assertTrue(verifyObject(ISecurity, identity.security(reactor)))
            self.assertEqual(len(identity.fingerprint), 32)


class TimersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.internet = SimulatedInternet(seed=3)
        self.host = self.internet.add_host("one")
        self.reactor = self.host.reactor
        self.fired: list[tuple[str, float]] = []

    def fire(self, name: str) -> None:
        """Note that a timer has fired."""
        self.fired.append((name, self.internet.now))

    def test_order(self) -> None:
        """Timers fire at their times, those of one time in the order in which they were asked for."""
        for name, delay in (("b", 2.0), ("a", 1.0), ("c", 2.0), ("now", 0.0)):
            self.reactor.callLater(delay, self.fire, name)
        self.internet.advance(1.5)
        self.assertEqual(self.fired, [("now", 0.0), ("a", 1.0)])
        self.internet.advance(10.0)
        self.assertEqual(self.fired[2:], [("b", 2.0), ("c", 2.0)])
        self.assertEqual(self.internet.now, 11.5)

    def test_moved(self) -> None:
        """A timer can be made to fire earlier, later and earlier again, and fires once."""
        call = self.reactor.callLater(5.0, self.fire, "moved")
        call.reset(2.0)
        call.delay(7.0)
        call.reset(4.0)
        self.assertEqual(call.getTime(), self.reactor.seconds() + 4.0)
        self.internet.advance(60.0)
        self.assertEqual([name for name, _ in self.fired], ["moved"])
        self.assertAlmostEqual(self.fired[0][1], 4.0)
        self.assertRaises(AlreadyCalled, call.cancel)
        self.assertFalse(call.active())

    def test_cancelled(self) -> None:
        """A cancelled timer never fires and is no leftover."""
        call = self.reactor.callLater(5.0, self.fire, "cancelled")
        self.assertEqual(self.reactor.getDelayedCalls(), [call])
        self.assertEqual(len(self.internet.leftovers()), 1)
        call.cancel()
        self.internet.advance(60.0)
        self.assertEqual((self.fired, self.internet.leftovers()), ([], []))
        self.assertRaises(AlreadyCancelled, call.reset, 1.0)

    def test_clock(self) -> None:
        """When a timer fires, the clock shows that its time has come, whatever floats do; each host has its own."""
        due: list[bool] = []
        for number in range(1, 200):
            at = self.reactor.seconds() + number / 7
            self.reactor.callLater(number / 7, lambda at=at: due.append(self.reactor.seconds() >= at))
            self.internet.advance(0.1 / number)
        self.internet.advance(60.0)
        self.assertEqual(due, [True] * 199)
        self.assertNotEqual(self.internet.add_host("two").reactor.seconds(), self.reactor.seconds())

    def test_twisted(self) -> None:
        """What Twisted builds from timers works: looping calls, deferLater, timeouts of Deferreds."""
        loop = LoopingCall(self.fire, "loop")
        loop.clock = self.reactor
        _ = loop.start(0.25)
        self.assertEqual(self.internet.run(deferLater(self.reactor, 1.1, lambda: "late")), "late")
        loop.stop()
        self.assertEqual([time for _, time in self.fired], [0.0, 0.25, 0.5, 0.75, 1.0])
        timed = Deferred[None]().addTimeout(3.0, self.reactor)
        self.internet.advance(3.0)
        self.failureResultOf(timed)

    def test_error(self) -> None:
        """What a timer raises is logged as in a real reactor, and the others fire."""
        self.reactor.callLater(1.0, lambda: 1 // 0)
        self.reactor.callLater(2.0, self.fire, "next")
        self.internet.advance(3.0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.fired, [("next", 2.0)])

    def test_negative(self) -> None:
        """A timer in the past is a mistake."""
        self.assertRaises(ValueError, self.reactor.callLater, -1.0, int)
        self.assertRaises(ValueError, self.reactor.callLater, float("nan"), int)


class WaitingTests(SynchronousTestCase):
    def test_run(self) -> None:
        """The result or the error of a Deferred or of a coroutine is what waiting for it gives."""
        internet = SimulatedInternet(seed=5)

        async def scenario() -> float:
            await internet.sleep(2.5)
            return internet.now

        self.assertEqual(internet.run(scenario()), 2.5)

        async def fails() -> None:
            raise KeyError("why")

        self.assertRaises(KeyError, internet.run, fails())
        error = self.assertRaises(SimulationTimeout, internet.run, Deferred(), timeout=3.0)
        self.assertIn("seed 5", str(error))
        self.assertEqual(internet.now, 5.5)

    def test_run_until(self) -> None:
        """Time stands still as soon as it is true, and a simulation without any event ends too."""
        internet = SimulatedInternet(seed=5)
        internet.call_later(4.0, int)
        internet.run_until(lambda: internet.now >= 4.0)
        self.assertEqual(internet.now, 4.0)
        self.assertRaises(SimulationTimeout, internet.run_until, lambda: False, timeout=1.0)

    def test_inside(self) -> None:
        """Time can't be made to pass from inside the simulation."""
        internet = SimulatedInternet()
        raised: list[Exception] = []

        def inside() -> None:
            raised.append(self.assertRaises(SimulationError, internet.advance, 1.0))

        internet.add_host("one").reactor.callLater(0, inside)
        internet.advance(1.0)
        self.assertEqual(len(raised), 1)

    def test_reactor_does_not_run(self) -> None:
        """Whoever runs the reactor instead of the internet is told so."""
        reactor = SimulatedInternet().add_host("one").reactor
        for run in (reactor.run, reactor.iterate):
            self.assertIn("internet.advance", str(self.assertRaises(SimulationError, run)))


class ThreadsTests(SynchronousTestCase):
    def test_call_in_thread(self) -> None:
        """Code that would leave the thread says at once that it can't be simulated; Twisted's own ways included."""
        reactor = SimulatedInternet().add_host("one").reactor
        self.assertIn("thread", str(self.assertRaises(SimulationError, reactor.callInThread, int)))
        self.assertRaises(SimulationError, lambda: deferToThreadPool(reactor, reactor.getThreadPool(), int))

    def test_call_from_thread(self) -> None:
        """Code that would return to the thread is in it already, and runs in the next turn."""
        internet = SimulatedInternet()
        called: list[int] = []
        internet.add_host("one").reactor.callFromThread(called.append, 1)
        self.assertEqual(called, [])
        internet.advance(0.0)
        self.assertEqual(called, [1])


class NamesTests(SynchronousTestCase):
    def test_endpoint_strings(self) -> None:
        """Endpoint strings work, by name and by address; a name can be moved to another host, and away."""
        internet = SimulatedInternet(seed=1)
        one, two = internet.add_hosts(2)
        server = Notes()
        server.internet = internet
        internet.run(serverFromString(two.reactor, f"tcp:80:interface={two.address}").listen(factory_of(server)))
        for where in ("host2", two.address, "www.example"):
            internet.set_name("www.example", two.address)
            client = Notes()
            client.internet = internet
            internet.run(connectProtocol(clientFromString(one.reactor, f"tcp:{where}:80"), client))
            assert client.transport is not None
            self.assertEqual(client.transport.getPeer().host, two.address)
            client.transport.loseConnection()
            internet.advance(1.0)
        internet.set_name("www.example", None)
        unknown = connectProtocol(clientFromString(one.reactor, "tcp:www.example:80"), Notes())
        self.assertRaises(DNSLookupError, internet.run, unknown)
        self.assertRaises(DNSLookupError, internet.run, one.reactor.resolve("www.example"))
        self.assertEqual(internet.run(one.reactor.resolve("host2")), two.address)

    def test_localhost(self) -> None:
        """Every host has its own localhost."""
        internet = SimulatedInternet(seed=1)
        one, two = internet.add_hosts(2)
        for host in (one, two):
            server = Notes()
            server.internet = internet
            internet.run(serverFromString(host.reactor, "tcp:80:interface=localhost").listen(factory_of(server)))
            internet.run(connectProtocol(clientFromString(host.reactor, "tcp:localhost:80"), Notes()))
            self.assertIs(internet.connections[-1].server.host, host)
        refused = connectProtocol(clientFromString(one.reactor, "tcp:host2:80"), Notes())
        self.assertRaises(ConnectionRefusedError, internet.run, refused)


class PortsTests(SynchronousTestCase):
    def test_taken(self) -> None:
        """A port can be listened at once, at addresses of the host only, and again after it was closed."""
        internet = SimulatedInternet()
        host = internet.add_host("one")
        port = host.reactor.listenTCP(80, factory_of(None))
        taken = self.assertRaises(CannotListenError, host.reactor.listenTCP, 80, factory_of(None))
        self.assertIn("in use", str(taken))
        self.assertRaises(CannotListenError, host.reactor.listenTCP, 81, factory_of(None), interface="127.9.9.9")
        internet.run(port.stopListening())
        host.reactor.listenTCP(80, factory_of(None))
        free = host.reactor.listenTCP(0, factory_of(None))
        self.assertGreater(free.getHost().port, 1024)

    def test_no_protocol(self) -> None:
        """A factory that builds nothing refuses by closing."""
        pair = Pair()
        pair.two.reactor.listenTCP(81, factory_of(None))
        client = Notes()
        client.internet = pair.internet
        endpoint = clientFromString(pair.one.reactor, "tcp:two:81")
        pair.internet.run(connectProtocol(endpoint, client))
        pair.internet.advance(1.0)
        self.assertEqual(client.end, "ConnectionDone")


class EndsTests(SynchronousTestCase):
    def test_shutdown_triggers(self) -> None:
        """A shutdown waits for what is to be done before it, then does the rest; nothing of the process runs after."""
        internet = SimulatedInternet()
        host = internet.add_host("one")
        reactor, calls = host.reactor, []
        before: Deferred[None] = Deferred()
        reactor.addSystemEventTrigger("after", "shutdown", calls.append, "after")
        reactor.addSystemEventTrigger("during", "shutdown", calls.append, "during")
        reactor.addSystemEventTrigger("before", "shutdown", lambda: before)
        removed = reactor.addSystemEventTrigger("before", "shutdown", calls.append, "removed")
        reactor.removeSystemEventTrigger(removed)
        reactor.callLater(20.0, calls.append, "timer")
        ended = host.shutdown()
        internet.advance(5.0)
        self.assertEqual((calls, reactor.running), ([], False))
        before.callback(None)
        internet.run(ended)
        self.assertEqual(calls, ["during", "after"])
        self.assertIn("due at", host.leftovers()[0])
        internet.advance(60.0)
        self.assertEqual(calls, ["during", "after"])
        self.assertFalse(host.is_running)
