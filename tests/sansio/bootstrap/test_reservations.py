"""Room for large packets that were announced."""

from __future__ import annotations

import random

from twisted.trial.unittest import SynchronousTestCase

from netlayer.config import Settings
from netlayer.errors import LinkLost, RemoteProtocolError
from netlayer.sansio.bootstrap.reservations import CHECKED_AFTER, TRICKLE, Reservation, Reservations
from netlayer.sansio.delivery.load import NodeLoad
from netlayer.sansio.delivery.reassembly import Reassembly
from netlayer.wire.messages import MAX_UNANNOUNCED, Announce, Go

MIB = 1024 * 1024
LIMIT = 64 * MIB


class ReservationsTests(SynchronousTestCase):
    """Who has room, and who waits."""

    def setUp(self) -> None:
        self.reservations = Reservations()
        self.asked = 0

    def ask(self, size: int) -> Reservation:
        """Ask for room."""
        self.asked += 1
        reservation = Reservation(self.asked, size)
        self.reservations.ask(reservation, limit=LIMIT)
        return reservation

    def test_in_order(self) -> None:
        """Room is given whole, in the order in which it was asked for; nobody passes who needs less."""
        first, second, third, small = self.ask(40 * MIB), self.ask(20 * MIB), self.ask(20 * MIB), self.ask(1)
        self.assertEqual([r.is_granted for r in (first, second, third, small)], [True, True, False, False])
        self.assertTrue(self.reservations.take_news())
        self.assertFalse(self.reservations.take_news())
        self.reservations.release(second)
        self.assertTrue(third.is_granted and small.is_granted)
        self.assertTrue(self.reservations.take_news())
        self.assertEqual(self.reservations.reserved, 60 * MIB + 1)

    def test_released_while_waiting(self) -> None:
        """Who waits and is gone holds up nobody."""
        first, second, third = self.ask(60 * MIB), self.ask(60 * MIB), self.ask(4 * MIB)
        self.reservations.release(second)
        self.assertTrue(third.is_granted)
        for reservation in (first, second, third, first):
            self.reservations.release(reservation)
        self.assertEqual(self.reservations.reserved, 0)

    def test_trickle(self) -> None:
        """A packet that trickles gives way when others wait, one that makes progress never does."""
        fast, slow, waiting = self.ask(32 * MIB), self.ask(32 * MIB), self.ask(32 * MIB)
        self.reservations.check(0.0)
        fast.arrived, slow.arrived = int(TRICKLE * CHECKED_AFTER), int(TRICKLE * CHECKED_AFTER) - 1
        self.reservations.check(CHECKED_AFTER - 1.0)
        self.assertFalse(slow.has_given_way)
        self.reservations.check(CHECKED_AFTER)
        self.assertEqual([r.has_given_way for r in (fast, slow)], [False, True])
        self.assertTrue(waiting.is_granted)
        self.reservations.check(10 * CHECKED_AFTER)  # nobody waits any more
        self.assertFalse(fast.has_given_way)

    def test_any_course(self) -> None:
        """However they come and go, no more than the limit is given, and somebody has room as long as anybody waits."""
        rng = random.Random(1)
        live: list[Reservation] = []
        for _ in range(2000):
            if live and rng.random() < 0.5:
                self.reservations.release(live.pop(rng.randrange(len(live))))
            else:
                live.append(self.ask(rng.choice((1, MIB, 16 * MIB, LIMIT))))
            held = [reservation for reservation in live if reservation.is_granted]
            self.assertEqual(self.reservations.reserved, sum(reservation.size for reservation in held))
            self.assertLessEqual(self.reservations.reserved, LIMIT)
            self.assertEqual(bool(held), bool(live))


class AnnouncedTests(SynchronousTestCase):
    """Packets that are announced before their parts come."""

    size = MAX_UNANNOUNCED + 100_000

    def setUp(self) -> None:
        self.load = NodeLoad()
        self.ours = self.reassembly()

    def reassembly(self) -> Reassembly:
        """Return what puts the packets of one peer together."""
        settings = Settings(reassembly_limit=MIB, max_packet=MIB)
        reassembly = Reassembly(settings=settings, load=self.load)
        reassembly.begin(announces=True)
        return reassembly

    def fill(self) -> Reassembly:
        """Have another peer take all room."""
        other = self.reassembly()
        other.announced(Announce(1, MIB), 0.0)
        self.assertEqual(other.take_go(), Go(1))
        return other

    def test_whole(self) -> None:
        """There is room at once, and the packet comes in parts."""
        self.ours.announced(Announce(1, self.size), 0.0)
        self.assertTrue(self.ours.go_is_due)
        self.assertEqual(self.ours.take_go(), Go(1))
        self.assertFalse(self.ours.go_is_due)
        self.assertIsNone(self.ours.add(bytes(300_000), last=False, now=1.0))
        whole = self.ours.add(bytes(self.size - 300_000), last=True, now=2.0)
        self.assertEqual(len(whole or b""), self.size)
        self.assertEqual((self.load.reservations.reserved, self.load.reassembling), (0, 0))

    def test_waits(self) -> None:
        """It waits for the room that others have, and is told as soon as they are gone."""
        other = self.fill()
        self.ours.announced(Announce(1, self.size), 0.0)
        self.assertFalse(self.ours.go_is_due)
        other.drop()
        self.assertTrue(self.ours.go_is_due)
        self.assertTrue(self.load.reservations.take_news())

    def test_waits_for_one_that_trickles(self) -> None:
        """Somebody who holds room and sends next to nothing loses it, and the connection with the next part."""
        other = self.fill()
        other.add(bytes(2000), last=False, now=0.0)
        self.ours.announced(Announce(1, self.size), 0.0)
        while not self.ours.go_is_due:
            assert self.ours.deadline is not None
            self.assertLess(self.ours.deadline, 3 * CHECKED_AFTER)
            self.ours.deadline_reached(self.ours.deadline)
        self.assertRaises(LinkLost, other.add, bytes(2000), last=False, now=100.0)
        other.begin(announces=True)
        self.assertIsNone(other.add(bytes(2000), last=False, now=101.0))

    def test_taken_back(self) -> None:
        """An announcement may be taken back, or replaced by another one."""
        self.ours.announced(Announce(1, self.size), 0.0)
        self.ours.announced(Announce(2, 0), 0.0)
        self.assertEqual((self.ours.go_is_due, self.load.reservations.reserved), (False, 0))
        self.ours.announced(Announce(3, self.size), 0.0)
        self.ours.announced(Announce(4, MIB), 0.0)
        self.assertEqual(self.ours.take_go(), Go(4))
        self.assertEqual(self.load.reservations.reserved, MIB)
        self.ours.drop()
        self.assertEqual(self.load.reservations.reserved, 0)

    def test_small_ones(self) -> None:
        """What needs no announcement comes at any time, and takes the place of what was announced."""
        other = self.fill()
        self.ours.announced(Announce(1, self.size), 0.0)
        self.assertEqual(self.ours.add(b"small", last=True, now=0.0), b"small")
        self.assertIsNone(self.ours.add(bytes(100_000), last=False, now=0.0))
        self.assertEqual(len(self.ours.add(bytes(100_000), last=True, now=0.0) or b""), 200_000)
        other.drop()
        self.assertEqual((self.load.reservations.reserved, self.load.reassembling), (0, 0))

    def test_violations(self) -> None:
        """A peer that announces packets has to announce each large one, with its size, in its place."""
        for message in (Announce(2, 10), Announce(0, 10), Announce(1, MIB + 1)):
            self.assertRaises(RemoteProtocolError, self.ours.announced, message, 0.0)
        too_much = bytes(MAX_UNANNOUNCED + 1)
        self.assertRaises(RemoteProtocolError, self.ours.add, too_much, last=False, now=0.0)
        self.fill()
        self.ours.announced(Announce(1, MIB), 0.0)  # for which there is no room
        self.assertRaises(RemoteProtocolError, self.ours.add, too_much, last=False, now=0.0)
        for count in (99_999, 100_001):
            ours = Reassembly(settings=Settings(), load=NodeLoad())
            ours.begin(announces=True)
            ours.announced(Announce(1, self.size), 0.0)
            ours.take_go()
            ours.add(bytes(MAX_UNANNOUNCED), last=False, now=0.0)
            self.assertRaises(RemoteProtocolError, ours.announced, Announce(2, 0), 0.0)
            self.assertRaises(RemoteProtocolError, ours.add, bytes(count), last=True, now=0.0)

    def test_older_peers(self) -> None:
        """A peer that does not speak of announcements sends its parts as before."""
        ours = Reassembly(settings=Settings(), load=self.load)
        ours.begin(announces=False)
        self.assertRaises(RemoteProtocolError, ours.announced, Announce(1, 10), 0.0)
        self.assertIsNone(ours.add(bytes(MAX_UNANNOUNCED * 2), last=False, now=0.0))

    def test_small_ones_make_progress(self) -> None:
        """A packet that needs no announcement gives way only if it trickles; the newcomer comes again."""
        self.fill()
        slow, fast, newcomer = self.reassembly(), self.reassembly(), self.reassembly()
        slow.add(bytes(2000), last=False, now=0.0)
        fast.add(bytes(150_000), last=False, now=0.0)
        newcomer.add(bytes(112_000), last=False, now=10.0)  # the slow one gives way
        self.assertRaises(LinkLost, slow.add, bytes(2000), last=False, now=10.0)
        self.assertRaises(LinkLost, self.reassembly().add, bytes(100_000), last=False, now=10.0)
        self.assertEqual(len(fast.add(b"end", last=True, now=10.0) or b""), 150_003)
