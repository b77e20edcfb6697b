"""Simulated TCP connections: the stream, the window, half-closes, FIN, RST and the faults of single connections."""

from __future__ import annotations

from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from netlayer.testing import SimulationError
from tests.testing.sockets import Notes, Pair, factory_of

MIB = 1024 * 1024


@implementer(IPushProducer)
class Producer:
    """Writes pieces until it is paused.

    :ivar calls: what the transport has asked for.
    """

    def __init__(self, transport: Any, pieces: int, size: int = 16 * 1024) -> None:
        self.calls: list[str] = []
        self.left = pieces
        self.paused = False
        self.transport = transport
        self.size = size
        transport.registerProducer(self, True)
        self.produce()

    def produce(self) -> None:
        """Write until paused, or done."""
        while self.left and not self.paused:
            self.left -= 1
            self.transport.write(bytes([self.left % 256]) * self.size)
        if not self.left:
            self.transport.unregisterProducer()

    def pauseProducing(self) -> None:
        """The transport is full."""
        self.calls.append("pause")
        self.paused = True

    def resumeProducing(self) -> None:
        """There is room."""
        self.calls.append("resume")
        self.paused = False
        self.produce()

    def stopProducing(self) -> None:
        """The connection is gone."""
        self.calls.append("stop")
        self.paused = True


@implementer(IHalfCloseableProtocol)
class HalfNotes(Notes):
    """Keeps its own direction open when the other one was closed.

    :ivar closed: which directions are closed, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.closed: list[str] = []

    def readConnectionLost(self) -> None:
        """The other end sends no more."""
        self.closed.append("read")

    def writeConnectionLost(self) -> None:
        """This end sends no more."""
        self.closed.append("write")


class StreamTests(SynchronousTestCase):
    def test_latency(self) -> None:
        """A byte takes as long as the path is, and what one turn writes arrives as one piece."""
        pair = Pair()
        began = pair.internet.now
        pair.client.transport.writeSequence([b"a", b"b"])
        pair.client.transport.write(b"c")
        pair.internet.advance(1.0)
        self.assertEqual(pair.server.pieces, [b"abc"])
        self.assertAlmostEqual(pair.server.times[0] - began, 0.01)

    def test_refragmented(self) -> None:
        """With fragmentation, pieces do not arrive as they were written; no byte is lost, doubled or out of place."""
        pair = Pair(fragmentation=0.5, jitter=0.02)
        sent = [bytes([number % 256]) * (1 + number % 50) for number in range(300)]
        for number, piece in enumerate(sent):
            pair.internet.call_later(number * 0.003, pair.client.transport.write, piece)
        pair.internet.advance(5.0)
        self.assertEqual(pair.server.received, b"".join(sent))
        cut_inside = [piece for piece in pair.server.pieces if piece not in sent]
        self.assertGreater(len(cut_inside), 50)
        self.assertGreater(len(pair.server.pieces), len(sent))

    def test_coalesced(self) -> None:
        """With coalescing, several writes arrive as one piece now and then."""
        pair = Pair(coalescing=0.5)
        for number in range(300):
            pair.internet.call_later(number * 0.003, pair.client.transport.write, b"%04d" % number)
        pair.internet.advance(5.0)
        self.assertEqual(pair.server.received, b"".join(b"%04d" % number for number in range(300)))
        self.assertLess(len(pair.server.pieces), 270)
        self.assertGreater(max(map(len, pair.server.pieces)), 4)

    def test_unchanged(self) -> None:
        """With neither, each turn's writes arrive as they were written."""
        pair = Pair()
        for number in range(300):
            pair.internet.call_later(number * 0.003, pair.client.transport.write, b"%04d" % number)
        pair.internet.advance(5.0)
        self.assertEqual(pair.server.pieces, [b"%04d" % number for number in range(300)])

    def test_bandwidth(self) -> None:
        """A host sends no more than its uplink carries, all its connections together."""
        pair = Pair(bandwidth=100_000.0)
        other = Notes()
        other.internet = pair.internet
        pair.two.reactor.listenTCP(81, factory_of(other))
        began = pair.internet.now
        second = Notes()
        second.internet = pair.internet
        pair.internet.run(TCP4ClientEndpoint(pair.one.reactor, pair.two.address, 81).connect(factory_of(second)))
        for protocol in (pair.client, second):
            protocol.transport.write(bytes(100_000))
        pair.internet.advance(30.0)
        self.assertEqual((len(pair.server.received), len(other.received)), (100_000, 100_000))
        last = max(pair.server.times[-1], other.times[-1]) - began
        self.assertTrue(2.0 <= last < 2.2, last)

    def test_only_bytes(self) -> None:
        """Text is no bytes, as Twisted has it."""
        self.assertRaises(TypeError, Pair().client.transport.write, "text")


class WindowTests(SynchronousTestCase):
    def test_pauses_producer(self) -> None:
        """A reader that does not read fills the window; the writer is paused, and goes on when it reads."""
        pair = Pair()
        pair.server.transport.pauseProducing()
        producer = Producer(pair.client.transport, pieces=128)
        pair.internet.advance(10.0)
        self.assertEqual(producer.calls[-1], "pause")
        written = (128 - producer.left) * producer.size
        self.assertTrue(pair.internet.window < written < pair.internet.window + 128 * 1024, written)
        self.assertEqual(pair.server.pieces, [])
        pair.server.transport.resumeProducing()
        pair.internet.advance(10.0)
        self.assertEqual(producer.left, 0)
        self.assertEqual(len(pair.server.received), 128 * producer.size)
        self.assertEqual(producer.calls.count("resume"), producer.calls.count("pause"))

    def test_limits_throughput(self) -> None:
        """No more than a window travels in a round trip."""
        pair = Pair(window=10_000)
        pair.client.transport.write(bytes(100_000))
        pair.internet.advance(0.1)
        self.assertEqual(len(pair.server.received), 50_000)  # 10 ms there, 10 ms back
        pair.internet.advance(0.2)
        self.assertEqual(len(pair.server.received), 100_000)

    def test_pull_producer(self) -> None:
        """A producer that does not stream is asked for each piece."""
        pair = Pair()
        transport: Any = pair.client.transport
        pieces = [b"one", b"two", b"three"]

        class Pull:
            def resumeProducing(self) -> None:
                if pieces:
                    transport.write(pieces.pop(0))
                else:
                    transport.unregisterProducer()

        transport.registerProducer(Pull(), False)
        pair.internet.advance(1.0)
        self.assertEqual(pair.server.received, b"onetwothree")

    def test_producer_of_dead_connection(self) -> None:
        """A producer is told to stop when the connection is gone, and at once if it was."""
        pair = Pair()
        pair.server.transport.pauseProducing()
        producer = Producer(pair.client.transport, pieces=128)
        transport = pair.client.transport
        transport.abortConnection()
        pair.internet.advance(1.0)
        self.assertEqual(producer.calls[-1], "stop")
        late = Producer(transport, pieces=0)
        self.assertEqual(late.calls, ["stop"])


class CloseTests(SynchronousTestCase):
    def test_fin(self) -> None:
        """What was written before a close arrives, then the other end finds the connection closed in good order."""
        pair = Pair()
        pair.client.transport.write(bytes(MIB))
        pair.client.transport.loseConnection()
        pair.internet.advance(10.0)
        self.assertEqual(len(pair.server.received), MIB)
        self.assertEqual((pair.client.end, pair.server.end), ("ConnectionDone", "ConnectionDone"))
        self.assertEqual(pair.internet.connections, [])

    def test_close_resets_unread(self) -> None:
        """Who closes with bytes unread resets the connection, as kernels do."""
        pair = Pair()
        pair.server.transport.pauseProducing()
        pair.client.transport.write(b"unread")
        pair.internet.advance(1.0)
        pair.server.transport.loseConnection()
        pair.internet.advance(1.0)
        self.assertEqual((pair.client.end, pair.server.end), ("ConnectionLost", "ConnectionDone"))

    def test_half_close(self) -> None:
        """One direction can be closed while the other goes on."""
        client, server = HalfNotes(), HalfNotes()
        pair = Pair(client, server)
        client.transport.write(b"question")
        client.transport.loseWriteConnection()
        pair.internet.advance(1.0)
        client.transport.write(b"too late")
        server.transport.write(b"answer")
        pair.internet.advance(1.0)
        self.assertEqual((server.received, client.received), (b"question", b"answer"))
        self.assertEqual((client.closed, server.closed), (["write"], ["read"]))
        self.assertEqual((client.end, server.end), (None, None))
        server.transport.loseConnection()
        pair.internet.advance(1.0)
        self.assertEqual((client.closed, server.end), (["write", "read"], "ConnectionDone"))

    def test_abort(self) -> None:
        """An abort is a reset for the other end, and its own end hears of it in the next turn."""
        pair = Pair()
        pair.client.transport.abortConnection()
        self.assertIs(pair.client.end, None)
        pair.internet.advance(1.0)
        self.assertEqual((pair.client.end, pair.server.end), ("ConnectionAborted", "ConnectionLost"))

    def test_abort_may_lose(self) -> None:
        """What was under way before a reset gets lost in some runs and arrives in others."""
        outcomes = set()
        for seed in range(20):
            pair = Pair(seed=seed)
            pair.client.transport.write(b"last words")
            pair.internet.advance(0.0)
            pair.client.transport.abortConnection()
            pair.internet.advance(1.0)
            outcomes.add(pair.server.received)
            self.assertEqual(pair.server.end, "ConnectionLost")
        self.assertEqual(outcomes, {b"", b"last words"})

    def test_no_hole(self) -> None:
        """What a path has swallowed of a dead sender never comes, and so what was written after it does not either."""
        for seed in range(20):
            for die in ("abort", "power loss"):
                pair = Pair(seed=seed)
                pair.internet.cut(pair.one, pair.two)
                pair.client.transport.write(b"swallowed")
                pair.internet.advance(0.05)
                pair.client.transport.write(b"under way")
                pair.internet.advance(0.0)
                if die == "abort":
                    pair.client.transport.abortConnection()
                else:
                    pair.one.crash(silent=True)
                pair.internet.heal()
                pair.internet.advance(300.0)
                self.assertEqual(pair.server.received, b"", f"seed {seed}, {die}")

    def test_error_in_protocol(self) -> None:
        """A protocol that raises loses its connection, and the log says why."""
        pair = Pair()
        pair.server.dataReceived = lambda data: 1 // 0  # type: ignore[method-assign,assignment,return-value]
        pair.client.transport.write(b"x")
        pair.internet.advance(1.0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((pair.server.end, pair.client.end), ("ZeroDivisionError", "ConnectionLost"))

    def test_after_the_end(self) -> None:
        """Whatever is asked of a connection that is gone does nothing."""
        pair = Pair()
        transport: Any = pair.client.transport
        transport.abortConnection()
        pair.internet.advance(1.0)
        for ask in (transport.loseConnection, transport.abortConnection, transport.loseWriteConnection):
            ask()
        transport.write(b"x")
        transport.resumeProducing()
        pair.internet.advance(1.0)
        self.assertEqual((pair.client.end, pair.server.received), ("ConnectionAborted", b""))


class FaultTests(SynchronousTestCase):
    """Faults that are done to one connection."""

    def test_reset(self) -> None:
        """Both ends find the connection reset; another one can be made at once."""
        pair = Pair()
        pair.connection.reset()
        pair.internet.advance(0.0)
        self.assertEqual((pair.client.end, pair.server.end), ("ConnectionLost", "ConnectionLost"))
        pair.connect()
        pair.client.transport.write(b"again")
        pair.internet.advance(1.0)
        self.assertEqual(pair.server.received, b"again")

    def test_black_hole(self) -> None:
        """Nothing arrives any more, not even the end, and neither end is told."""
        pair = Pair()
        pair.connection.black_hole()
        pair.client.transport.write(b"x")
        pair.server.transport.write(b"y")
        pair.internet.advance(3600.0)
        self.assertEqual((pair.client.received, pair.server.received), (b"", b""))
        self.assertEqual((pair.client.end, pair.server.end), (None, None))
        pair.client.transport.abortConnection()
        pair.internet.advance(3600.0)
        self.assertEqual((pair.client.end, pair.server.end), ("ConnectionAborted", None))
        pair.connect()
        pair.client.transport.write(b"another connection")
        pair.internet.advance(1.0)
        self.assertEqual(pair.server.received, b"another connection")

    def test_cut_after(self) -> None:
        """Exactly so many bytes arrive, wherever pieces end, then both ends find the connection reset."""
        for count in (0, 1, 99, 100, 101, 250):
            pair = Pair()
            pair.connection.cut_after(count, sender=pair.one)
            for number in range(10):
                pair.internet.call_later(number * 0.1, pair.client.transport.write, bytes([number]) * 50)
            pair.internet.advance(5.0)
            self.assertEqual(len(pair.server.received), count)
            self.assertEqual((pair.client.end, pair.server.end), ("ConnectionLost", "ConnectionLost"))

    def test_cut_after_by_name(self) -> None:
        """The sender may be named; a host that is at no end of the connection is refused, and so is a wrong count."""
        pair = Pair()
        three = pair.internet.add_host("three")
        for count, sender, told in (
            (10, three, "three 127.1.0.3> sends nothing on <SimulatedConnection one -> two>"),
            (10, "three", "three 127.1.0.3> sends nothing on <SimulatedConnection one -> two>"),
            (10, "nobody", "there is no host 'nobody'"),
            (-1, "one", "a whole number of bytes, 0 or more, not -1"),
            (1.5, "one", "a whole number of bytes, 0 or more, not 1.5"),
            ("10", "one", "a whole number of bytes, 0 or more, not '10'"),
        ):
            error = self.assertRaises(SimulationError, pair.connection.cut_after, count, sender=sender)
            self.assertIn(told, str(error))
        pair.connection.cut_after(10, sender="one")
        pair.server.transport.write(bytes(20))
        pair.internet.advance(1.0)
        pair.client.transport.write(bytes(20))
        pair.internet.advance(1.0)
        self.assertEqual((len(pair.client.received), len(pair.server.received)), (20, 10))
        self.assertEqual((pair.client.end, pair.server.end), ("ConnectionLost", "ConnectionLost"))

    def test_between(self) -> None:
        """Whether a connection is one of two hosts can be asked by their names, too."""
        pair = Pair()
        pair.internet.add_host("three")
        self.assertTrue(pair.connection.between("two", pair.one))
        self.assertFalse(pair.connection.between("one", "three"))
        self.assertRaises(SimulationError, pair.connection.between, "one", "nobody")

    def test_cut_after_silently(self) -> None:
        """The same without the reset: both ends believe that the connection stands."""
        pair = Pair()
        pair.connection.cut_after(120, sender=pair.two, silently=True)
        for number in range(10):
            pair.internet.call_later(number * 0.1, pair.server.transport.write, bytes([number]) * 50)
        pair.internet.advance(3600.0)
        self.assertEqual(len(pair.client.received), 120)
        self.assertEqual((pair.client.end, pair.server.end), (None, None))
