"""The deadlines of a send queue: each passes at its time, and what has ended leaves nothing behind."""

from __future__ import annotations

import random
import tracemalloc
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from netlayer.errors import DeliveryTimeout
from netlayer.sansio.delivery.load import NodeLoad
from netlayer.sansio.delivery.packet import OutgoingPacket
from netlayer.sansio.delivery.queue import SendQueue


class DeadlinesTests(SynchronousTestCase):
    """Callers wait for different times, and their deadlines may move."""

    def setUp(self) -> None:
        self.queue = SendQueue(NodeLoad())
        self.count = 0

    def add(self, deadline: float | None, *, queue: SendQueue | None = None, **options: Any) -> OutgoingPacket:
        """Queue a packet."""
        self.count += 1
        packet = OutgoingPacket(0, options.pop("payload", b""), waiter=object(), deadline=deadline, **options)
        packet.number = self.count
        (queue or self.queue).append(packet)
        return packet

    def end(self, packet: OutgoingPacket) -> None:
        """Let the receipt of a packet come."""
        self.queue.take(packet)
        self.queue.settle(packet, None)
        self.queue.take_settled()

    def test_each_in_its_time(self) -> None:
        """Whoever waits for a shorter time gives up earlier, in whichever order the packets were queued."""
        late, early, plain, middle = self.add(30.0), self.add(10.0), self.add(None), self.add(20.0)
        self.assertEqual(self.queue.next_deadline(), 10.0)
        self.assertEqual(self.queue.take_overdue(9.9), [])
        self.assertEqual(self.queue.take_overdue(10.0), [early])
        self.assertEqual(self.queue.take_overdue(10.0), [])
        self.assertEqual(self.queue.take_overdue(99.0), [middle, late])
        self.assertIsNone(self.queue.next_deadline())
        self.assertFalse(plain.settled)

    def test_one_time(self) -> None:
        """Of those that give up at the same time the first one does so first."""
        packets = [self.add(10.0) for _ in range(9)]
        self.assertEqual(self.queue.take_overdue(10.0), packets)

    def test_moved(self) -> None:
        """A deadline that has moved to a later time does not pass before, however often it has moved."""
        moved, other = self.add(10.0), self.add(15.0)
        moved.deadline = 12.0
        moved.deadline = 20.0
        self.assertEqual(self.queue.take_overdue(14.0), [])
        self.assertEqual(self.queue.next_deadline(), 15.0)
        self.assertEqual(self.queue.take_overdue(19.0), [other])
        moved.deadline = 25.0
        self.assertEqual(self.queue.take_overdue(24.0), [])
        self.assertEqual(self.queue.take_overdue(25.0), [moved])

    def test_ended(self) -> None:
        """What has ended passes no deadline, and moving that changes nothing."""
        ended, other = self.add(10.0), self.add(20.0)
        self.end(ended)
        ended.deadline = 12.0
        self.assertEqual(self.queue.next_deadline(), 20.0)
        self.assertEqual(self.queue.take_overdue(15.0), [])
        self.end(other)
        self.assertIsNone(self.queue.next_deadline())

    def test_overdue_and_withdrawn(self) -> None:
        """A packet whose caller has given up is withdrawn; the others are waited for as before."""
        packets = [self.add(float(second)) for second in range(1, 6)]
        for packet in self.queue.take_overdue(2.0):
            self.queue.withdraw(packet, DeliveryTimeout(7, packet.waited, packet.written))
        self.assertEqual([packet.settled for packet in packets], [True, True, False, False, False])
        self.assertEqual(self.queue.take_overdue(5.0), packets[2:])

    def test_adopted(self) -> None:
        """Packets that another queue adopts give up by that one's time, once."""
        other = SendQueue(NodeLoad())
        mine, theirs, ended = self.add(11.0), self.add(10.0, queue=other), self.add(9.0, queue=other)
        other.withdraw(ended, ValueError())
        self.queue.adopt(other)
        self.assertIsNone(other.next_deadline())
        self.assertEqual(self.queue.take_overdue(20.0), [theirs, mine])

    def test_any_order(self) -> None:
        """Random deadlines that move, end and pass are what a list of them would say."""
        rng = random.Random(1)
        alive: list[OutgoingPacket] = []
        for step in range(3000):
            now = step / 10
            match rng.randrange(4):
                case 0 | 1:
                    alive.append(self.add(now + rng.choice((0.5, 5.0, 50.0))))
                case 2 if alive:
                    moved = rng.choice(alive)
                    assert moved.deadline is not None
                    moved.deadline += rng.uniform(0.0, 9.0)
                case 3 if alive:
                    self.queue.withdraw(alive.pop(rng.randrange(len(alive))), ValueError())
            overdue = self.queue.take_overdue(now)
            due = [packet for packet in alive if packet.deadline is not None and packet.deadline <= now]
            self.assertEqual(overdue, sorted(due, key=lambda packet: (packet.deadline, packet.number)))
            for packet in overdue:
                self.queue.withdraw(packet, ValueError())
            alive = [packet for packet in alive if packet not in overdue]
            first = min((packet.deadline for packet in alive if packet.deadline is not None), default=None)
            self.assertEqual(self.queue.next_deadline(), first)

    def test_nothing_is_left(self) -> None:
        """A caller that waits for long does not keep what is sent and handled meanwhile in memory."""
        waiting = self.add(1e6)
        self.queue.take(waiting)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before = tracemalloc.get_traced_memory()[0]
        for second in range(2000):
            self.end(self.add(float(second), payload=bytes(10_000)))
        grown = tracemalloc.get_traced_memory()[0] - before
        self.assertLess(grown, 50_000)


class WaitTests(SynchronousTestCase):
    """How long a caller waits."""

    def test_chosen(self) -> None:
        """A time that the caller has chosen is a hard bound."""
        packet = OutgoingPacket(0, b"")
        packet.wait(0.3, 1000.1)
        self.assertEqual((packet.waited, packet.patience), (0.3, None))

    def test_patient(self) -> None:
        """By default a caller waits for as long again after each progress, and is told how long that was in all."""
        packet = OutgoingPacket(0, b"")
        packet.wait(10.0, 100.0, patient=True)
        self.assertEqual((packet.deadline, packet.patience), (110.0, 10.0))
        packet.deadline = 125.0
        self.assertEqual(packet.waited, 25.0)
