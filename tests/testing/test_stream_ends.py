"""How streams end: whatever happens to a connection, what has arrived is a beginning of what was written."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from netlayer.testing import SimulatedHost
from tests.testing.sockets import Notes, Pair

#: What each end writes, as far as it gets.
STREAM = b"".join(b"%07d\n" % number for number in range(8000))


class Writing(Notes):
    """Notes what comes, and writes the next piece of the stream whenever it is told to.

    :ivar written: how many bytes of the stream it has written.
    :ivar heard_late: whether bytes came after the end.
    """

    def __init__(self) -> None:
        super().__init__()
        self.written = 0
        self.heard_late = False

    def write(self, size: int) -> None:
        """Write the next bytes of the stream."""
        self.transport.write(STREAM[self.written : self.written + size])
        self.written += size

    def dataReceived(self, data: bytes) -> None:
        """Note it."""
        super().dataReceived(data)
        self.heard_late |= self.lost is not None


class Story:
    """Two hosts that write to each other while everything goes wrong, often at one and the same instant."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(f"{seed} story")
        self.client, self.server = Writing(), Writing()
        options: dict[str, Any] = {"jitter": rng.choice((0.0, 0.02)), "window": rng.choice((500, 5000, 262144))}
        options["bandwidth"] = rng.choice((None, 20_000.0))
        options["fragmentation"] = options["coalescing"] = rng.choice((0.0, 0.3))
        self.pair = pair = Pair(self.client, self.server, seed=seed, **options)
        self.internet = pair.internet
        self.told: list[str] = []
        for _ in range(rng.randint(5, 60)):
            self.later(self.write)
        for _ in range(rng.randint(1, 6)):
            self.later(self.go_wrong)

    def later(self, function: Callable[[], object]) -> None:
        """Call a function at one of few instants, which are as far apart as the path is long."""
        self.internet.call_later(self.rng.randint(0, 40) * 0.01, function)

    def write(self) -> None:
        """Have one end write something, now, or as the first thing after a stall."""
        host, end = self.rng.choice(((self.pair.one, self.client), (self.pair.two, self.server)))
        if host.is_running:
            host.reactor.callLater(0, end.write, self.rng.randint(1, 900))

    def go_wrong(self) -> None:
        """Do something to the connection, to an end of it, to a host or to the path."""
        rng, internet, connection = self.rng, self.internet, self.pair.connection
        hosts = [self.pair.one, self.pair.two]
        rng.shuffle(hosts)
        host, other = hosts
        end = connection.client if host is self.pair.one else connection.server
        faults: list[tuple[str, Callable[[], object]]] = [
            ("cut after", lambda: connection.cut_after(rng.randint(0, 2000), sender=host)),
            ("cut silently", lambda: connection.cut_after(rng.randint(0, 2000), sender=host, silently=True)),
            ("reset", connection.reset),
            ("reset of one end", end.reset),
            ("black hole", connection.black_hole),
            ("partition", lambda: internet.partition([[host], [other]])),
            ("one-way cut", lambda: internet.cut(host, other)),
            ("stall", lambda: host.stall(rng.choice((0.01, 0.1, 1.0)))),
            ("crash", host.crash),
            ("power loss", lambda: host.crash(silent=True)),
            ("restart", lambda: self.restart(host)),
            ("abort", end.abortConnection),
            ("close", end.loseConnection),
            ("half-close", end.loseWriteConnection),
            ("pause", end.pauseProducing),
            ("slow reader", lambda: host.read_slowly(2000)),
        ]
        name, fault = rng.choice(faults)
        self.told.append(f"{internet.now:.2f} {name} {host.name}")
        fault()
        for cure in (internet.heal, end.resumeProducing, lambda: self.restart(host)):
            if rng.random() < 0.7:
                self.later(cure)

    def restart(self, host: SimulatedHost) -> None:
        """Have the machine up again, with a process that knows nothing."""
        if not host.is_running:
            host.restart()

    def run(self) -> None:
        """Let it happen, and all that can still come of it."""
        self.internet.advance(2.0)
        self.internet.heal()
        self.internet.advance(300.0)


class AnyEndTests(SynchronousTestCase):
    def test_no_hole(self) -> None:
        """Whatever happens, and how much at one instant, no stream has a hole or goes on after its end."""
        for seed in range(1500):
            story = Story(seed)
            story.run()
            for end in (story.client, story.server):
                self.assertTrue(STREAM.startswith(end.received), f"seed {seed}: {story.told}")
                self.assertFalse(end.heard_late, f"seed {seed}: {story.told}")


class CutTests(SynchronousTestCase):
    def test_same_instant(self) -> None:
        """What is due at the instant of a cut does not arrive behind it, whichever way it goes."""
        for seed in range(50):
            for count in (0, 2, 3, 4):
                pair = Pair(seed=seed)
                pair.connection.cut_after(count, sender=pair.one)
                for piece in (b"one", b"two", b"six"):
                    pair.internet.call_later(0.0, pair.client.transport.write, piece)
                pair.internet.advance(1.0)
                self.assertEqual(pair.server.received, b"onetwosix"[:count])
                self.assertEqual((pair.client.end, pair.server.end), ("ConnectionLost", "ConnectionLost"))

    def test_in_a_retransmission(self) -> None:
        """A cut inside of what comes again after an outage ends the stream there, silently or not."""
        for silently in (False, True):
            pair = Pair()
            pair.internet.partition([[pair.one]])
            for number in range(5):
                pair.internet.call_later(number * 0.01, pair.client.transport.write, b"piece %d" % number)
            pair.internet.advance(1.0)
            pair.connection.cut_after(10, sender=pair.one, silently=silently)
            pair.internet.heal()
            pair.internet.advance(300.0)
            self.assertEqual(pair.server.received, b"piece 0pie")

    def test_stalled(self) -> None:
        """A frozen process whose connection was cut finds what came before the cut, and nothing that came later."""
        for seed in range(20):
            pair = Pair(seed=seed)
            pair.two.stall(5.0)
            pair.connection.cut_after(6, sender=pair.one)
            for number in range(5):
                pair.internet.call_later(number * 0.1, pair.client.transport.write, b"%d, " % number)
            pair.internet.advance(6.0)
            self.assertIn(pair.server.received, (b"", b"0, 1, "))
            self.assertEqual((pair.client.end, pair.server.end), ("ConnectionLost", "ConnectionLost"))


class ResetTests(SynchronousTestCase):
    def test_stalled(self) -> None:
        """What comes after a reset is not taken in, though the process was frozen and has not noticed it yet."""
        for seed in range(20):
            pair = Pair(seed=seed)
            pair.two.stall(5.0)
            pair.client.transport.write(b"before")
            pair.internet.advance(0.1)
            pair.connection.server.reset()
            pair.internet.advance(0.1)
            pair.client.transport.write(b"after")
            pair.internet.advance(0.1)
            self.assertEqual(pair.client.end, "ConnectionLost")
            pair.internet.advance(10.0)
            self.assertIn(pair.server.received, (b"", b"before"))
            self.assertEqual(pair.server.end, "ConnectionLost")

    def test_written_before_it_is_noticed(self) -> None:
        """What a process writes to a connection that was reset while it was frozen goes nowhere."""
        pair = Pair()
        pair.internet.cut(pair.two, pair.one)
        pair.server.transport.write(b"swallowed")
        pair.internet.advance(0.1)
        pair.two.reactor.callLater(1.0, pair.server.transport.write, b"written late")
        pair.two.stall(5.0)
        pair.connection.server.reset()
        pair.internet.advance(1.0)
        pair.internet.heal()
        pair.internet.advance(300.0)
        self.assertEqual((pair.client.received, pair.server.end), (b"", "ConnectionLost"))

    def test_forgets_what_was_swallowed(self) -> None:
        """A kernel that has lost a connection sends nothing again, however it has lost it."""
        for how in ("reset", "abort", "unread", "raised", "crash", "power loss", "closed, then power loss"):
            pair = Pair()
            if how == "unread":
                pair.client.transport.pauseProducing()
                pair.server.transport.write(b"unread")
                pair.internet.advance(0.1)
            pair.internet.cut(pair.one, pair.two)
            pair.client.transport.write(b"swallowed")
            pair.internet.advance(0.1)
            if how == "reset":
                pair.connection.client.reset()
            elif how == "abort":
                pair.client.transport.abortConnection()
            elif how == "unread":
                pair.client.transport.loseConnection()
            elif how == "raised":
                pair.client.dataReceived = lambda data: 1 // 0  # type: ignore[method-assign,assignment,return-value]
                pair.server.transport.write(b"x")
            elif how == "crash":
                pair.client.transport.pauseProducing()
                pair.server.transport.write(b"unread")
                pair.internet.advance(0.1)
                pair.one.crash()
            else:
                if how != "power loss":
                    pair.client.transport.loseConnection()
                pair.internet.advance(0.1)
                pair.one.crash(silent=True)
                pair.one.restart()
            pair.internet.advance(0.1)
            pair.internet.heal()
            pair.internet.advance(300.0)
            self.assertEqual(pair.server.received, b"", how)
            if how == "raised":
                self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            self.assertIn(pair.server.end, (None, "ConnectionLost"), how)
            pair.server.transport.write(b"is anybody there?")
            pair.internet.advance(300.0)
            self.assertEqual(pair.server.end, "ConnectionLost", how)

    def test_swallowed_behind_a_reset(self) -> None:
        """What the path swallows when its sender has forgotten it already does not come again either."""
        pair = Pair()
        pair.client.transport.write(b"under way")
        pair.internet.advance(0.0)
        pair.connection.client.reset()
        pair.internet.cut(pair.one, pair.two)
        pair.internet.advance(1.0)
        pair.internet.heal()
        pair.internet.advance(300.0)
        self.assertEqual((pair.client.end, pair.server.received), ("ConnectionLost", b""))


class KilledTests(SynchronousTestCase):
    """A process that is killed on a machine that lives on: its kernel closes what it had open."""

    def test_read(self) -> None:
        """Who had read everything: the other end gets what was written, then the end in good order."""
        for seed in range(20):
            pair = Pair(seed=seed, jitter=0.01)
            pair.client.transport.write(b"question")
            pair.internet.advance(1.0)
            pair.server.transport.write(b"answer")
            pair.internet.advance(0.0)
            pair.two.crash()
            pair.internet.advance(1.0)
            self.assertEqual((pair.client.received, pair.client.end), (b"answer", "ConnectionDone"))
            self.assertEqual((pair.server.end, pair.internet.connections), (None, []))

    def test_unread(self) -> None:
        """Who had not: the other end finds the connection reset."""
        for frozen in (False, True):
            pair = Pair()
            if frozen:
                pair.two.stall(5.0)
            else:
                pair.server.transport.pauseProducing()
            pair.client.transport.write(b"question")
            pair.internet.advance(1.0)
            pair.two.crash()
            pair.internet.advance(1.0)
            self.assertEqual((pair.client.end, pair.server.end), ("ConnectionLost", None))

    def test_what_its_kernel_had_taken(self) -> None:
        """Bytes that its kernel had taken are still sent, however long that takes; those it had not are lost."""
        pair = Pair(window=10_000, bandwidth=1000.0)
        pair.server.transport.write(bytes(50_000))
        pair.internet.advance(1.0)
        pair.two.crash()
        pair.internet.advance(60.0)
        self.assertEqual((len(pair.client.received), pair.client.end), (10_000, "ConnectionDone"))
        self.assertTrue(any(time > 9.0 for time in pair.client.times), pair.client.times)

    def test_in_an_outage(self) -> None:
        """Its kernel sends again what a path has swallowed, the end included."""
        pair = Pair()
        pair.internet.cut(pair.two, pair.one)
        pair.server.transport.write(b"last words")
        pair.internet.advance(1.0)
        pair.two.crash()
        pair.internet.advance(10.0)
        self.assertEqual((pair.client.received, pair.client.end), (b"", None))
        pair.internet.heal()
        pair.internet.advance(300.0)
        self.assertEqual((pair.client.received, pair.client.end), (b"last words", "ConnectionDone"))

    def test_sent_to_the_dead(self) -> None:
        """What comes for a dead process is answered by a reset."""
        for seed in range(20):
            pair = Pair(seed=seed)
            pair.client.transport.write(b"question")
            pair.internet.advance(0.0)
            pair.two.crash()
            pair.internet.advance(0.015)
            self.assertEqual(pair.client.end, "ConnectionDone")
            pair = Pair(seed=seed)
            pair.internet.cut(pair.two, pair.one)
            pair.two.crash()
            pair.internet.advance(1.0)
            pair.internet.heal()
            pair.client.transport.write(b"question")
            pair.internet.advance(0.03)
            self.assertEqual(pair.client.end, "ConnectionLost")

    def test_half_closed(self) -> None:
        """A direction that was closed before is not closed again."""
        pair = Pair()
        pair.server.transport.loseWriteConnection()
        pair.internet.advance(0.0)
        pair.two.crash()
        pair.internet.advance(1.0)
        self.assertEqual(pair.client.end, "ConnectionDone")

    def test_not_accepted(self) -> None:
        """A connection that the process had not accepted yet is reset."""
        pair = Pair()
        pair.two.stall(5.0)
        pair.client = Notes()
        pair.client.internet = pair.internet
        pair.connect()
        self.assertIsNone(pair.client.end)
        pair.two.crash()
        pair.internet.advance(1.0)
        self.assertEqual(pair.client.end, "ConnectionLost")

    def test_reset_before(self) -> None:
        """A process whose connection was reset, and that did not notice, says nothing more when it is killed."""
        pair = Pair()
        pair.two.stall(5.0)
        pair.connection.server.reset()
        pair.internet.advance(1.0)
        pair.two.crash()
        pair.internet.advance(1.0)
        self.assertIsNone(pair.client.end)
        pair.client.transport.write(b"is anybody there?")
        pair.internet.advance(1.0)
        self.assertEqual(pair.client.end, "ConnectionLost")

    def test_shut_down_with_connections(self) -> None:
        """So it goes with the connections that a process leaves behind when it ends by itself."""
        pair = Pair()
        pair.server.transport.write(b"last words")
        pair.internet.advance(0.0)
        ended = pair.two.shutdown()
        pair.internet.advance(1.0)
        self.successResultOf(ended)
        self.assertEqual((pair.client.received, pair.client.end), (b"last words", "ConnectionDone"))
        self.assertEqual(len(pair.two.leftovers()), 2)
