"""The protocol and its factory on a network in memory, with time under the test's control."""

from __future__ import annotations

import asyncio
import gc
import weakref
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from concurrent.futures import Future
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from netlayer import DataPacket, Identity, PeerFactory, PeerProtocol
from netlayer.errors import (
    ConfigurationError,
    DeliveryTimeout,
    HandlerFailed,
    LinkLost,
    LocalProtocolError,
    NodeStopped,
    PacketTooLarge,
    PeerLost,
    PeerUnreachable,
    Rejected,
)
from netlayer.net.bootstrap import BootstrapFactory
from netlayer.net.factory import LinkObserver
from netlayer.sansio.bootstrap.registry import Binding
from netlayer.sansio.link.connection import Connection
from netlayer.sansio.link.states import State
from netlayer.sansio.trust.tickets import Claim
from tests.memory import Diary, MemoryTestCase


class Demanding(PeerProtocol):
    """Can't be built without an argument."""

    def __init__(self, wish: str) -> None:
        self.wish = wish


class Content(PeerProtocol):
    """Can be built with an argument, and without."""

    def __init__(self, wish: str = "", *more: str, **others: str) -> None:
        self.wish = wish


class Abstract(PeerProtocol, ABC):
    """Can't be built at all."""

    @abstractmethod
    def wish(self) -> None:
        """Must be overridden."""


class Failing(PeerProtocol):
    """Fails when it is built."""

    def __init__(self) -> None:
        raise KeyError("no database")


class ConstructionTests(SynchronousTestCase):
    def test_nonsense(self) -> None:
        """Nonsense raises ConfigurationError where the factory is made."""
        for options in (
            {"node_id": "x"},
            {"node_id": 1, "network": ""},
            {"node_id": 1, "network": "a\nb"},
            {"node_id": 1, "network": "x" * 65},
            {"node_id": 1, "network": None},
            {"node_id": 1, "protocol": Protocol},
            {"node_id": 1, "protocol": lambda: None},
            {"node_id": 1, "protocol": Demanding},
            {"node_id": 1, "protocol": Abstract},
        ):
            with self.assertRaises(ConfigurationError):
                PeerFactory(MemoryReactorClock(), **options)

    def test_protocol(self) -> None:
        """A class that can't be built without arguments is named; one that needs none may have some."""
        for protocol, told in ((Demanding, "missing a required argument: 'wish'"), (Abstract, "is an abstract class")):
            error = self.assertRaises(
                ConfigurationError, PeerFactory, MemoryReactorClock(), node_id=1, protocol=protocol
            )
            self.assertIn(f"{__name__}.{protocol.__name__} ", str(error))
            self.assertIn(told, str(error))
        self.assertIs(PeerFactory(MemoryReactorClock(), node_id=1, protocol=Content).protocol, Content)

    def test_identity(self) -> None:
        """Without an identity a factory makes one of its own; a decimal id will do."""
        identity = Identity.generate()
        given = PeerFactory(MemoryReactorClock(), node_id="7", identity=identity)
        self.assertEqual((given.local.node_id, given.local.fingerprint), (7, identity.fingerprint))
        own = PeerFactory(MemoryReactorClock(), node_id=7)
        self.assertNotEqual(own.local.fingerprint, identity.fingerprint)
        self.assertTrue(own.local.ephemeral)


class LinkTests(MemoryTestCase):
    def test_life(self) -> None:
        """A link is made, carries packets, and ends with the factory; nothing is left."""
        a, b = self.factory(1), self.factory(2)
        self.link(a, b)
        a.links()[0].send_packet("plain")
        confirmed = a.links()[0].send_packet("confirmed", confirm=True)
        self.settle()
        self.successResultOf(confirmed)
        stopped = a.stop()
        self.settle()
        self.successResultOf(stopped)
        self.successResultOf(b.stop())
        self.assertEqual(b.application[:3], [(1, "ready"), (1, "plain"), (1, "confirmed")])
        self.assertEqual(b.application[3:], [(1, "lost", "goodbye: shutdown")])
        self.assert_at_rest([a, b])

    def test_no_protocol(self) -> None:
        """A protocol class that raises when it is built is told of as a failure of the application, at either end."""
        a, b = self.factory(1, Failing), self.factory(2)
        attempt = self.dial(a, 2)
        self.connect()
        self.settle()
        lost = self.failureResultOf(attempt, LinkLost).value
        self.assertEqual(str(lost), "Failing() of this application has failed")
        _ = self.dial(b, 1).addErrback(lambda failure: failure.trap(LinkLost))
        self.connect()
        self.settle()
        self.assertEqual((a.links(), b.links()), ([], []))
        self.assertEqual([str(error.value) for error in self.flushLoggedErrors(KeyError)], ["'no database'"] * 2)
        self.assertEqual((a.connection_count, b.connection_count), (0, 0))

    def test_idle(self) -> None:
        """An idle link stays, as both ends ask for signs of life."""
        a, b = self.factory(1), self.factory(2)
        self.link(a, b)
        self.pass_time(3600, steps=3600)
        self.assertEqual((len(a.link_drivers()), len(b.link_drivers())), (1, 1))

    def test_frozen(self) -> None:
        """A peer of which nothing is heard for 15 s is dead; its connection is aborted."""
        a, b = self.factory(1), self.factory(2)
        pump = self.link(a, b)
        self.pumps.clear()  # nothing travels any more
        for second in range(14):
            self.reactor.advance(1)
            self.assertEqual(len(a.link_drivers()), 1, second)
        self.reactor.advance(1.5)
        self.assertEqual(a.application[1:], [(2, "lost", "silent for 15 s")])
        self.assertTrue(pump.clientIO.disconnecting)

    def test_own_pause(self) -> None:
        """A process that was frozen itself gives its peers time to show that they live."""
        a, b = self.factory(1), self.factory(2)
        self.link(a, b)
        self.reactor.advance(300)
        self.settle()
        self.pass_time(20)
        self.assertEqual((len(a.link_drivers()), len(b.link_drivers())), (1, 1))

    def test_stopped_at_any_moment(self) -> None:
        """A peer that has a link hears goodbye, in whichever phase of the handshake the other end shuts down."""
        heard = set()
        for rounds in range(8):
            for stops in (0, 1):
                self.setUp()
                nodes = self.factory(1), self.factory(2)
                attempt = self.dial(nodes[0], 2)
                attempt.addErrback(lambda _: None)
                pump = self.connect()
                for _ in range(rounds):
                    pump.pump()
                stopped = nodes[stops].stop()
                self.settle()
                self.successResultOf(stopped)
                told = nodes[1 - stops].application
                heard.add(len(told))
                self.assertIn(told, ([], [(stops + 1, "ready"), (stops + 1, "lost", "goodbye: shutdown")]))
                self.successResultOf(nodes[1 - stops].stop())
                self.assert_at_rest(nodes)
        self.assertEqual(heard, {0, 2})

    def test_handshake_too_slow(self) -> None:
        """Where no end has a link 5 s after connecting, both give up, whichever phase they were in."""
        for rounds in range(6):
            self.setUp()
            a, b = self.factory(1), self.factory(2)
            attempt = self.dial(a, 2)
            pump = self.connect()
            for _ in range(rounds):
                pump.pump()
            if a.link_drivers() or b.link_drivers():
                attempt.addErrback(lambda _: None)
                break
            self.reactor.advance(5.1)
            self.failureResultOf(attempt, LinkLost)
            self.assertEqual((a.application, b.application), ([], []))
            self.settle()
            self.pass_time(70)  # a session that had begun is kept for a minute
            self.assert_at_rest([a, b])
        else:
            self.fail("no link was made in so many rounds")

    def test_tcp_never_answers(self) -> None:
        """An address that never answers is given up after `timeout`."""
        a = self.factory(1)
        attempt = self.dial(a, 2)
        self.reactor.advance(4.9)
        self.assertNoResult(attempt)
        self.reactor.advance(0.2)
        self.assertEqual(str(self.failureResultOf(attempt, LinkLost).value), "no connection within 5 s")
        self.assert_at_rest([a])

    def test_blocking_handler(self) -> None:
        """A handler that holds the reactor for more than a second is warned of."""

        class Blocks(PeerProtocol):
            def packet_received(self, packet: DataPacket) -> None:
                self.factory.clock.advance(packet.data)  # type: ignore[attr-defined]

        a, b = self.factory(1), self.factory(2, Blocks)
        warnings: list[str] = []
        b.log.warn = lambda format, **fields: warnings.append(format.format(**fields))  # type: ignore[method-assign, assignment]
        self.link(a, b)
        for seconds in (0.5, 1.5):
            a.links()[0].send_packet(seconds)
            self.settle()
        self.assertEqual(len(warnings), 1)
        self.assertIn("Blocks.packet_received held the reactor for 1.5 s", warnings[0])

    def test_one_write_a_turn(self) -> None:
        """Packets of one turn of the reactor travel together."""
        a, b = self.factory(1), self.factory(2)
        pump = self.link(a, b)
        writes: list[bytes] = []
        transport = a.link_drivers()[0].transport
        write = transport.write
        transport.write = lambda data: (writes.append(data), write(data))
        for number in range(100):
            a.links()[0].send_packet(number)
        self.assertEqual(writes, [])
        self.settle()
        self.assertEqual(len(writes), 1)
        self.assertEqual([entry[1] for entry in b.application[1:]], list(range(100)))
        self.assertIn(pump, self.pumps)

    def test_full_transport(self) -> None:
        """While the transport is full nothing is written, and packets wait where they are bounded."""
        a, b = self.factory(1), self.factory(2)
        self.link(a, b)
        driver = a.link_drivers()[0]
        driver.pauseProducing()
        sent = driver.connection.bytes_sent
        for _ in range(20):
            a.links()[0].send_packet(b"x" * 100_000)
        self.settle()
        self.assertEqual(driver.connection.bytes_sent, sent)
        driver.resumeProducing()
        self.settle()
        self.assertEqual(len(b.application), 21)

    def test_close_that_hangs(self) -> None:
        """A connection that does not close within `abort_after` is aborted."""
        a, b = self.factory(1), self.factory(2)
        pump = self.link(a, b)
        self.pumps.clear()
        stopped = a.stop()
        self.reactor.advance(5.1)  # the goodbye is not answered
        self.assertEqual(a.application[-1], (2, "lost", "goodbye: shutdown"))
        self.assertFalse(pump.clientIO.disconnecting)
        self.reactor.advance(3.1)
        self.assertTrue(pump.clientIO.disconnecting)
        self.pumps.append(pump)
        self.settle()
        self.successResultOf(stopped)

    def test_shutdown_takes_no_longer(self) -> None:
        """A factory has stopped after `shutdown_timeout`, whatever its peers do."""
        a, b = self.factory(1, goodbye_timeout=60.0, shutdown_timeout=2.0), self.factory(2, Stuck)
        pump = self.link(a, b)
        waiting = a.links()[0].send_packet("x", confirm=True)
        self.settle()
        stopped = a.stop()
        self.pass_time(1.0)
        self.assertNoResult(stopped)
        self.pass_time(1.0)
        self.failureResultOf(waiting, PeerLost)
        self.successResultOf(stopped)
        self.assertIsNotNone(pump)

    def test_close_that_hangs_in_a_shutdown(self) -> None:
        """A connection that is over, and that the other end does not close, makes a shutdown no longer either."""
        a, b = self.factory(1, goodbye_timeout=0.5, abort_after=30.0, shutdown_timeout=2.0), self.factory(2)
        pump = self.link(a, b)
        self.pumps.clear()
        stopped = a.stop()
        self.reactor.advance(0.6)
        self.assertEqual(a.application[-1], (2, "lost", "goodbye: shutdown"))
        self.assertFalse(pump.clientIO.disconnecting)
        self.reactor.advance(1.4)
        self.assertTrue(pump.clientIO.disconnecting)
        self.pumps.append(pump)
        self.settle()
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_one_deferred_for_many_packets(self) -> None:
        """A handler may return one Deferred for several packets: each of them has its result."""
        for node_id, error in ((1, None), (3, ValueError("the disk is full"))):
            a, b = self.factory(node_id), self.factory(node_id + 1, Batch)
            self.link(a, b)
            sent = [a.links()[0].send_packet(number, confirm=True) for number in range(3)]
            self.settle()
            b.links()[0].written.callback(Failure(error) if error is not None else None)
            self.settle()
            for each in sent:
                if error is None:
                    self.successResultOf(each)
                else:
                    self.failureResultOf(each, HandlerFailed)
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 0 if error is None else 3)
            stopped = [a.stop(), b.stop()]
            self.settle()
            for each in stopped:
                self.successResultOf(each)

    def test_deferred_that_has_failed(self) -> None:
        """A handler may return a Deferred again that has failed: the next sender is told, too."""
        a, b = self.factory(1), self.factory(2, Batch)
        self.link(a, b)
        for number in range(3):
            sent = a.links()[0].send_packet(number, confirm=True)
            self.settle()
            if number == 0:
                b.links()[0].written.errback(ValueError("the disk is full"))
                self.settle()
            self.assertIn("ValueError: the disk is full", str(self.failureResultOf(sent, HandlerFailed).value))
        self.assertEqual(len(self.flushLoggedErrors(ValueError, RuntimeError)), 3)

    def test_failed_deferreds_are_forgotten(self) -> None:
        """Nothing is kept of a Deferred that has failed once nobody has it, whatever its error holds."""

        class Failing(Diary):
            def packet_received(self, packet: DataPacket) -> Deferred[None]:
                handled: Deferred[None] = Deferred()
                handled.addErrback(lambda failure: failure)  # the error's traceback holds the Deferred
                returned.append(weakref.ref(handled))
                self.factory.clock.callLater(0.1, self.break_down, handled)
                return handled

            def break_down(self, handled: Deferred[None]) -> None:
                try:
                    raise ValueError("the disk is full")
                except ValueError:
                    handled.errback()

        returned: list[weakref.ref[Deferred[None]]] = []
        a, b = self.factory(1), self.factory(2, Failing)
        self.patch(b.log, "failure", lambda *args, **fields: None)  # Twisted keeps what it logs until somebody reads it
        self.link(a, b)
        sent = [a.links()[0].send_packet(number, confirm=True) for number in range(3)]
        self.pass_time(1.0)
        for each in sent:
            self.failureResultOf(each, HandlerFailed)
        gc.collect()
        self.assertEqual([reference() for reference in returned], [None] * 3)

    def test_results_that_are_none(self) -> None:
        """What a handler returns for work whose end nobody would see is an error of its own, not success."""

        async def steps() -> AsyncIterator[int]:
            yield 1

        class Odd(Diary):
            def packet_received(self, packet: DataPacket) -> object:
                return results[packet.data]

        loop = asyncio.new_event_loop()  # in no thread of ours
        self.addCleanup(loop.close)
        results: dict[str, object] = {
            "future": Future(),
            "future of another loop": loop.create_future(),
            "generator": (number for number in ()),
            "async generator": steps(),
            "failure": Failure(ValueError("the disk is full")),
        }
        a, b = self.factory(1), self.factory(2, Odd)
        self.link(a, b)
        for name in results:
            sent = a.links()[0].send_packet(name, confirm=True)
            self.settle()
            error = str(self.failureResultOf(sent, HandlerFailed).value)
            self.assertIn("ValueError" if name == "failure" else "TypeError", error)
        self.assertEqual(len(self.flushLoggedErrors(ValueError, TypeError)), len(results))

    def test_own_init(self) -> None:
        """An application's class may have an ``__init__`` that calls no other, as Twisted's protocols need none."""

        class Named(Diary):
            def __init__(self) -> None:
                self.name = "named"

        a, b = self.factory(1, Named), self.factory(2, Named)
        self.link(a, b)
        sent = a.links()[0].send_packet("x", confirm=True)
        self.settle()
        self.successResultOf(sent)
        self.assertEqual(b.application, [(1, "ready"), (1, "x")])

    def test_former_sign_of_life(self) -> None:
        """A PONG that was under way when a peer was asked for a sign of life is none, if the peer is gone by then."""
        a, b = self.factory(1), self.factory(2)
        pump = self.link(a, b)
        link = a.link_drivers()[0]
        link.connection.ping(self.reactor.seconds())
        link.send_soon()
        self.reactor.advance(0)
        pump.pump()
        self.reactor.advance(0)
        answer = pump.serverIO.getOutBuffer()
        self.assertTrue(answer)
        alive = link.probe()
        pump.clientIO.getOutBuffer()  # nobody is there any more
        pump.client.dataReceived(answer)
        self.assertNoResult(alive)
        self.cut(pump)
        self.assertFalse(self.successResultOf(alive))

    def test_evicted_before_hello(self) -> None:
        """A key that loses its id loses every connection, also one that has proven it and said nothing yet."""
        bootstrap = BootstrapFactory(self.reactor, node_id=1)
        self.successResultOf(bootstrap.listen(self.listening_at(8001)))
        former, new = Identity.generate(), Identity.generate()
        loser = self.factory(6, identity=former)
        self.dial(loser, 1)
        self.connect()
        self.settle()
        self.patch(Connection, "_say", lambda connection, message: None)
        _ = self.dial(loser, 1).addErrback(lambda failure: None)
        self.connect()
        self.settle()
        states = {protocol.state for protocol in bootstrap.connections_to(former.fingerprint)}
        self.assertEqual(states, {State.LINKED, State.AWAITING_HELLO})
        bootstrap.registry.bind(Binding(6, former.fingerprint, 1000), now=1000)
        bound = self.successResultOf(bootstrap._bind(Claim(6, new.fingerprint, None, (former.fingerprint,))))
        self.assertEqual(bound.fingerprint, new.fingerprint)
        states = {protocol.state for protocol in bootstrap.connections_to(former.fingerprint)}
        self.assertEqual(states, {State.CLOSED})

    def test_stop_cancelled(self) -> None:
        """Whoever waits for the end of a factory may give up; it ends all the same, and whoever asks again waits."""
        a, b = self.factory(1), self.factory(2, Batch)
        pump = self.link(a, b)
        sent = a.links()[0].send_packet("x", confirm=True)
        self.settle()
        a.stop().addErrback(lambda failure: failure.trap(CancelledError)).cancel()
        again = a.stop()
        self.assertNoResult(again)
        self.cut(pump)
        self.settle()
        self.successResultOf(again)
        self.failureResultOf(sent, PeerLost)
        self.successResultOf(a.stop())
        self.assertEqual(list(a.remotes), [])

    def test_too_large_for_the_peer(self) -> None:
        """Who has sent what a peer takes no packets of, before that could be known, is told with the link."""
        a = self.factory(1)
        self.factory(2, max_packet=2048, buffer_size=2048)
        sent = a.submit_confirmed(a.remotes.with_id(2), a.make_packet(b"x" * 3000, confirm=True))
        self.dial(a, 2)
        pump = self.connect()
        while not a.link_drivers():
            self.reactor.advance(0)
            pump.pump()
        self.assertEqual(self.failureResultOf(sent, PacketTooLarge).value.limit, 2048)

    def test_confirmed_and_cancelled(self) -> None:
        """A caller that cancels another send of its own when one has failed is not told of that as of a plain one."""
        a, b = self.factory(1, Unsure), self.factory(2, Stuck)
        self.link(a, b)
        link = a.links()[0]
        confirmed, other = [link.send_packet(number, confirm=True) for number in range(2)]
        plain = link.send_packet("plain")
        self.settle()
        confirmed.addErrback(lambda failure: other.cancel())
        stopped = b.stop()
        self.pass_time(9.0)
        self.successResultOf(stopped)
        self.successResultOf(confirmed)
        self.failureResultOf(other, CancelledError)
        self.assertEqual(a.application, [(plain,)])
        self.successResultOf(a.stop())

    def test_handler_that_waits_for_ever(self) -> None:
        """A handler that nothing will wake any more is cleared away without a word, and may clean up."""
        a, b = self.factory(1), self.factory(2, Waiting)
        self.link(a, b)
        a.links()[0].send_packet("x")
        self.settle()
        self.assertEqual(b.application, ["waits"])
        noted = b.application
        stopped = [a.stop(), b.stop()]
        self.pass_time(10.0)
        for each in stopped:
            self.successResultOf(each)
        del a, b
        self.pumps.clear()
        self.reactor.tcpServers.clear()
        gc.collect()
        self.assertEqual(noted, ["waits", "cleaned up"])


class Stuck(PeerProtocol):
    """A handler that never finishes."""

    def packet_received(self, packet: DataPacket) -> Any:
        return Deferred()


class Batch(PeerProtocol):
    """Writes all packets at once, later."""

    def __init__(self) -> None:
        super().__init__()
        self.written: Deferred[None] = Deferred()

    def packet_received(self, packet: DataPacket) -> Deferred[None]:
        return self.written


class Unsure(PeerProtocol):
    """Notes of which sends the outcome is unknown."""

    def peer_lost(self, reason: LinkLost) -> None:
        self.factory.application.append(reason.unknown)


class Waiting(PeerProtocol):
    """A handler that waits for what nobody else knows."""

    async def packet_received(self, packet: DataPacket) -> None:
        noted = self.factory.application
        noted.append("waits")
        try:
            await Deferred()
        finally:
            noted.append("cleaned up")


class SessionTests(MemoryTestCase):
    def factory(self, node_id: int, protocol: type[PeerProtocol] | None = None, **changes: Any) -> PeerFactory:
        return super().factory(node_id, protocol or Remembers, **changes)

    def setUp(self) -> None:
        super().setUp()
        Remembers.protocols = []

    def test_kept(self) -> None:
        """A session is kept for a minute without a link: packets arrive once, and the numbers go on."""
        a, b = self.factory(1), self.factory(2)
        pump = self.link(a, b)
        link = a.links()[0]
        first = link.send_packet("before")
        self.settle()
        self.cut(pump)
        second = link.send_packet("between")
        self.pass_time(50)
        self.link(b, a)
        self.assertEqual([entry[1] for entry in b.application], ["ready", "before", "lost", "ready", "between"])
        self.assertEqual(second, first + 1)

    def test_forgotten(self) -> None:
        """After a minute it is forgotten: what was written is lost, what was not is unreachable."""
        a, b = self.factory(1, delivery_timeout=1000.0), self.factory(2, Stuck)
        pump = self.link(a, b)
        link = a.links()[0]
        written = link.send_packet("written", confirm=True)
        self.settle()
        self.cut(pump)
        waiting = link.send_packet("waiting", confirm=True)
        plain = link.send_packet("plain")
        drained = link.when_drained()
        self.reactor.advance(59)
        self.assertNoResult(written)
        self.reactor.advance(2)
        self.failureResultOf(written, PeerLost)
        self.failureResultOf(waiting, PeerUnreachable)
        self.successResultOf(drained)
        self.assertEqual(plain, 3)
        self.successResultOf(a.stop())
        self.successResultOf(b.stop())
        self.assert_at_rest([a, b])

    def test_send_to_a_forgotten_peer(self) -> None:
        """A protocol of a peer that was forgotten takes packets, for as long as a session would be kept."""
        a, b = self.factory(1), self.factory(2)
        self.cut(self.link(a, b))
        self.reactor.advance(61)
        self.assertEqual(list(a.remotes), [])
        protocol = Remembers.protocols[0]
        protocol.send_packet("nobody comes")
        drained = protocol.when_drained()
        self.reactor.advance(59)
        self.assertNoResult(drained)
        self.reactor.advance(2)
        self.successResultOf(drained)
        self.successResultOf(a.stop())
        self.successResultOf(b.stop())
        self.assert_at_rest([a, b])

    def test_timeout(self) -> None:
        """A confirmed packet whose handler never finishes ends in DeliveryTimeout, linked or not."""
        a, b = self.factory(1), self.factory(2, Stuck)
        pump = self.link(a, b)
        one = a.links()[0].send_packet("one", confirm=True)
        self.settle()
        self.pass_time(9.5)
        two = a.links()[0].send_packet("two", confirm=True)
        self.settle()
        self.cut(pump)
        self.reactor.advance(1)
        self.assertTrue(self.failureResultOf(one, DeliveryTimeout).value.written)
        self.assertNoResult(two)
        self.reactor.advance(9)
        self.assertTrue(self.failureResultOf(two, DeliveryTimeout).value.written)

    def test_timeout_of_an_adopted_packet(self) -> None:
        """A packet that waited for an id before its key was known times out, can be cancelled, and drains."""
        a, b = self.factory(1), self.factory(2, Stuck)
        unknown = a.remotes.with_id(2)
        sent = [a.submit_confirmed(unknown, a.make_packet(number, confirm=True)) for number in range(3)]
        drained = unknown.when_drained()
        self.link(a, b)
        self.assertNoResult(drained)
        sent[1].addErrback(lambda _: None).cancel()
        self.pass_time(10.5)
        for deferred in (sent[0], sent[2]):
            self.failureResultOf(deferred, DeliveryTimeout)
        self.assertEqual(a.load.handlers, 0)
        stopped = a.stop()
        self.pass_time(10)
        self.successResultOf(stopped)
        self.successResultOf(drained)

    def test_stop_without_links(self) -> None:
        """A factory that stops while packets wait for nobody in particular fails them, and is at rest."""
        a = self.factory(1)
        waiting = a.submit_confirmed(a.remotes.with_id(9), a.make_packet(b"x", confirm=True))
        plain = a.submit(a.remotes.with_id(8), a.make_packet(b"x"))
        attempt = self.dial(a, 2)
        self.successResultOf(a.stop())
        self.failureResultOf(waiting, NodeStopped)
        self.failureResultOf(attempt, NodeStopped)
        self.assertEqual(plain, 2)
        self.assert_at_rest([a])


class Remembers(Diary):
    """Can be found after its end."""

    protocols: list[PeerProtocol] = []  # noqa: RUF012 - replaced by each test

    def peer_ready(self) -> Any:
        super().peer_ready()
        Remembers.protocols.append(self)


class Eager(Diary):
    """Sends as soon as it may, in one write: a small packet and one in parts. ``results`` has what became of them."""

    results: list[Any] = []  # noqa: RUF012 - replaced by each test

    def peer_ready(self) -> None:
        super().peer_ready()
        if not Eager.results:
            Eager.results = [self.send_packet(data, confirm=True) for data in ("small", bytes(40_000))]


class Replies(Diary):
    """Sends from its hook and from its handler."""

    def peer_ready(self) -> None:
        super().peer_ready()
        self.send_packet("hello")

    def packet_received(self, packet: DataPacket) -> None:
        super().packet_received(packet)
        self.send_packet("reply")


class Tells(Diary):
    """Writes down which packets have become unknown."""

    def packet_received(self, packet: DataPacket) -> Any:
        return Deferred()

    def peer_lost(self, reason: LinkLost) -> None:
        self.factory.application.append((self.peer.node_id, "lost", reason.unknown))


class FirstChunkTests(MemoryTestCase):
    """What comes together with the beginning of a link, and what ends it at once."""

    def pair(self, arbiter: int) -> tuple[PeerFactory, PeerFactory]:
        """Return a receiver that takes parts of 64 KiB at most, and a sender; number `arbiter` is that."""
        ours, theirs = self.identities() if arbiter == 2 else reversed(self.identities())
        receiver = self.factory(1, Diary, ours, max_packet=65536, reassembly_limit=65536)
        return receiver, self.factory(2, Eager, theirs, max_packet=65536, buffer_size=8192)

    def test_no_memory(self) -> None:
        """A packet is handled when the one behind it ends the link; that one is sent again on the next link."""
        for arbiter in (1, 2):
            self.setUp()
            Eager.results = []
            receiver, sender = self.pair(arbiter)
            receiver.load.reassembling = 65_000  # of others
            attempt = self.dial(sender, 1)
            attempt.addErrback(lambda _: None)
            self.connect()
            self.settle()
            small, large = Eager.results
            self.assertEqual(receiver.application[:2], [(2, "ready"), (2, "small")])
            self.assertIn("half-received", receiver.application[2][2])
            self.assertNoResult(large)
            receiver.load.reassembling = 0
            self.link(sender, receiver)
            self.pass_time(1.0)
            self.successResultOf(small)
            self.successResultOf(large)
            self.assertEqual(receiver.application[3:], [(2, "ready"), (2, bytes(40_000))])

    def test_stopping(self) -> None:
        """What comes while the node shuts down is handled; that hooks and handlers can't send any more is no error."""
        Eager.results = []
        receiver, sender = self.pair(arbiter=1)
        receiver.protocol = Replies
        attempt = self.dial(sender, 1)
        attempt.addErrback(lambda _: None)
        pump = self.connect()
        while not Eager.results:
            pump.pump()
        stopped = receiver.stop()
        self.settle()
        self.successResultOf(stopped)
        self.assertEqual(
            receiver.application,
            [(2, "ready"), (2, "small"), (2, bytes(40_000)), (2, "lost", "goodbye: shutdown")],
        )
        small, large = Eager.results
        for sent in (small, large):
            self.assertIn("NodeStopped", str(self.failureResultOf(sent, HandlerFailed).value))
        self.assertEqual(self.flushLoggedErrors(), [])


class SignsOfLifeTests(MemoryTestCase):
    """What the other end has to say to be believed."""

    def test_no_answer(self) -> None:
        """Who dials gets its link when the other end lives, even if it never answers the first PING."""
        a, b = (self.factory(node_id, identity=identity) for node_id, identity in enumerate(self.identities(), 1))
        attempt = self.dial(a, 2)
        pump = self.connect()
        while not b.link_drivers():
            pump.pump()
        self.pumps.clear()
        self.reactor.advance(4.9)
        self.assertNoResult(attempt)
        self.reactor.advance(0.2)
        self.assertEqual([self.successResultOf(attempt)], a.links())
        self.pumps.append(pump)
        self.settle()
        stopped = [factory.stop() for factory in (a, b)]
        self.settle()
        self.assertEqual([self.successResultOf(each) for each in stopped], [None, None])
        self.assert_at_rest([a, b])

    def test_late_bytes(self) -> None:
        """Bytes that are no answer are no proof that the holder of an id lives: its process may have ended since."""
        for ends in (True, False):
            self.setUp()
            a, b, again = self.factory(1), self.factory(2), self.factory(1)
            pump = self.link(a, b)
            self.pumps.clear()  # the network is away
            a.links()[0].send_packet("late")
            self.reactor.advance(0)
            attempt = again.connect(self.address(8002))
            self.connect()
            self.settle()
            self.assertNoResult(attempt)
            pump.server.dataReceived(pump.clientIO.getOutBuffer())
            self.settle()
            self.assertNoResult(attempt)
            if ends:
                self.cut_server(pump)
                self.pass_time(0.1)
                self.assertEqual([self.successResultOf(attempt)], again.links())
            else:
                self.pass_time(2.1)
                self.assertEqual(self.failureResultOf(attempt, Rejected).value.code, "id-taken")

    def cut_server(self, pump: Any) -> None:
        """Break a connection at the listener's end."""
        pump.serverIO.disconnecting = True
        pump.server.connectionLost(Failure(ConnectionLost()))


class UnknownTests(MemoryTestCase):
    def test_replaced(self) -> None:
        """Packets of which a new link has made the outcome unknown are told of by the end of the former one."""
        nodes = [self.factory(1, Tells), self.factory(2, Tells)]
        pump = self.link(*nodes)
        follower, arbiter = sorted(nodes, key=lambda node: node.local.fingerprint)
        number = follower.links()[0].send_packet("in flight")
        self.settle()
        self.pumps.clear()
        self.assertIsNotNone(pump)
        arbiter.links()[0].disconnect()
        self.reactor.advance(5.1)  # nobody answers the goodbye: the session is forgotten at this end
        self.link(arbiter, follower)
        self.assertEqual(follower.application[1:], [(arbiter.node_id, "lost", (number,)), (arbiter.node_id, "ready")])


class ObserverTests(MemoryTestCase):
    def test_reports(self) -> None:
        """An observer hears of links and of packets that wait; a plain one hears nothing and harms nothing."""
        heard: list[Any] = []

        class Hears(LinkObserver):
            def link_ready(self, protocol: Any) -> None:
                heard.append("ready")

            def link_lost(self, protocol: Any, reason: LinkLost) -> None:
                heard.append(str(reason))

            def packets_wait(self, remote: Any) -> None:
                heard.append(remote.node_id)

        a, b = self.factory(1), self.factory(2)
        a.observer = Hears()
        pump = self.link(a, b)
        link = a.links()[0]
        link.send_packet("linked")
        self.settle()
        self.cut(pump)
        link.send_packet("not linked")
        self.assertEqual(heard, ["ready", a.application[-1][2], 2])

    def test_introduction(self) -> None:
        """What the other end has said can be asked for from the introduction on."""
        a, b = self.factory(1), self.factory(2)
        self.dial(a, 2).addErrback(lambda _: None)
        self.connect()
        (protocol,) = a._connections
        self.assertRaises(LocalProtocolError, lambda: protocol.introduction)
        self.settle()
        self.assertEqual((protocol.introduction.node_id, protocol.record.node_id), (2, 2))
        self.assertEqual(protocol.record.fingerprint, b.local.fingerprint)
