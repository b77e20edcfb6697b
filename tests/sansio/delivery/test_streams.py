"""The numbered packets of both directions, and the receipts for them."""

from __future__ import annotations

import pickle
import random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netlayer.errors import RemoteProtocolError
from netlayer.sansio.delivery.load import PACKET_OVERHEAD
from netlayer.sansio.delivery.packet import OutgoingPacket
from netlayer.sansio.delivery.streams import IncomingStream, OutgoingStream
from netlayer.wire.messages import MAX_TEXT, Ack, Done, Nack, decode_message, encode_message

KEEP = 64 * 1024


def write(stream: OutgoingStream, *packets: OutgoingPacket, has_parts: bool = False) -> None:
    """Write packets whole."""
    for packet in packets:
        stream.begin(packet, has_parts=has_parts)
        stream.wrote(window=KEEP, now=0.0)


def sent(count: int, size: int = 0) -> OutgoingStream:
    """Return a stream of which `count` packets were written."""
    stream = OutgoingStream(7, probation=20.0)
    write(stream, *(OutgoingPacket(0, bytes(size)) for _ in range(count)))
    return stream


def settled(*packets: OutgoingPacket) -> None:
    """The callers of packets wait no longer."""
    for packet in packets:
        packet.settled = True


def received(count: int) -> IncomingStream:
    """Return a stream of which `count` packets have arrived."""
    stream = IncomingStream(7, first=1, keep=KEEP)
    for _ in range(count):
        stream.arrived(PACKET_OVERHEAD)
    return stream


class OutgoingTests(SynchronousTestCase):
    """What was sent, until its receipt comes."""

    def assertStands(self, stream: OutgoingStream, *, first: int, next: int, in_flight: int) -> None:
        """Assert where the stream stands; the last is a number of packets."""
        found = (stream.first, stream.next, stream.in_flight)
        self.assertEqual(found, (first, next, in_flight * PACKET_OVERHEAD))

    def test_in_order(self) -> None:
        """An ACK settles everything up to its number, in order, and makes room in the window."""
        stream = sent(5)
        packets = stream.packets()
        self.assertEqual(stream.receipts_through(3), packets[:3])
        self.assertStands(stream, first=4, next=6, in_flight=2)
        self.assertEqual(stream.receipts_through(5), packets[3:])
        self.assertStands(stream, first=6, next=6, in_flight=0)
        self.assertEqual(len(stream), 0)

    def test_out_of_order(self) -> None:
        """A DONE or NACK settles one packet; an ACK over it settles the others, once."""
        stream = sent(4)
        one, two, three, four = stream.packets()
        self.assertIs(stream.receipt(3), three)
        self.assertIs(stream.receipt(1), one)
        self.assertStands(stream, first=2, next=5, in_flight=2)
        self.assertEqual(stream.receipts_through(4), [two, four])
        self.assertStands(stream, first=5, next=5, in_flight=0)

    def test_first_jumps(self) -> None:
        """When the oldest packet is settled last, everything that was settled before it is behind us at once."""
        stream = sent(3)
        stream.receipt(2)
        stream.receipt(3)
        self.assertStands(stream, first=1, next=4, in_flight=1)
        stream.receipt(1)
        self.assertStands(stream, first=4, next=4, in_flight=0)

    def test_again(self) -> None:
        """A receipt that comes again, as after a broken connection, settles nothing."""
        stream = sent(3)
        stream.receipts_through(2)
        self.assertIsNone(stream.receipt(1))
        self.assertEqual(stream.receipts_through(2), [])
        self.assertEqual(stream.receipts_through(0), [])
        self.assertStands(stream, first=3, next=4, in_flight=1)

    def test_not_sent(self) -> None:
        """A receipt for what was not sent is a violation, and settles nothing."""
        stream = sent(2)
        stream.begin(OutgoingPacket(0, b""), has_parts=True)  # not written whole
        for receipt in (stream.receipt, stream.receipts_through):
            for number in (3, 4, 2**64 - 1):
                self.assertRaises(RemoteProtocolError, receipt, number)
        self.assertRaises(RemoteProtocolError, stream.receipt, 0)
        self.assertEqual(len(stream), 3)

    def test_resume(self) -> None:
        """On a new link, writing goes on behind what the peer has, and only that counts as in flight."""
        stream = sent(5)
        stream.receipt(2)
        stream.resume_behind(3)
        self.assertStands(stream, first=1, next=4, in_flight=2)
        self.assertIs(stream.to_resend(), stream.packets()[2])
        self.assertRaises(RemoteProtocolError, stream.receipt, 4)  # not sent on this link yet
        for packet in stream.packets()[2:]:
            self.assertIs(stream.to_resend(), packet)
            write(stream, packet)
        self.assertIsNone(stream.to_resend())
        self.assertStands(stream, first=1, next=6, in_flight=4)

    def test_resume_everything(self) -> None:
        """A peer that has all of it gets nothing again; one that has nothing gets everything."""
        stream = sent(2)
        stream.resume_behind(2)
        self.assertIsNone(stream.to_resend())
        stream.resume_behind(0)
        self.assertStands(stream, first=1, next=1, in_flight=0)
        self.assertEqual(len(stream), 2)

    def test_resume_lies(self) -> None:
        """A peer can't have less than it has given receipts for, or more than was sent."""
        stream = sent(5)
        stream.receipts_through(2)
        stream.receipt(4)
        for number in (0, 1, 6, 2**64 - 1):
            self.assertRaises(RemoteProtocolError, stream.resume_behind, number)
        for number in (2, 3):  # it has given a receipt for packet 4
            self.assertRaises(RemoteProtocolError, stream.resume_behind, number)
        self.assertStands(stream, first=3, next=6, in_flight=2)
        stream.resume_behind(4)
        self.assertStands(stream, first=3, next=5, in_flight=1)
        for number in (3, 5):  # packet 5 was not sent on this link
            self.assertRaises(RemoteProtocolError, stream.resume_behind, number)

    def test_needed_no_more(self) -> None:
        """What nobody needs and the peer has not is left out on a new link; what follows takes its number."""
        stream = sent(6)
        packets = stream.packets()
        settled(packets[0], packets[2], packets[5])
        stream.resume_behind(1)  # the peer has the first, and will send a receipt for it
        settled(packets[3])  # while it waits to be written again
        for packet in (packets[1], packets[4]):
            self.assertIs(stream.to_resend(), packet)
            write(stream, packet)
        self.assertFalse(stream.has_begun)
        self.assertStands(stream, first=1, next=4, in_flight=3)
        self.assertIs(stream.receipt(3), packets[4])
        self.assertEqual(stream.receipts_through(2), packets[:2])

    def test_cut_while_writing(self) -> None:
        """What was not written whole is written again behind what was, and before what waited already."""
        stream = sent(3)
        one, two, three = stream.packets()
        stream.resume_behind(1)
        stream.begin(two, has_parts=True)
        self.assertTrue(two.underway)
        stream.resume_behind(1)
        self.assertFalse(two.underway)
        self.assertEqual(stream.packets(), [one, two, three])
        self.assertEqual([packet.sequence for packet in stream.packets()], [1, 0, 0])

    def test_breaks(self) -> None:
        """A break counts at the packet that a link began with, if it has parts and nothing came through."""
        stream = sent(1)
        large, small = OutgoingPacket(0, b""), OutgoingPacket(0, b"")
        stream.begin(large, has_parts=True)
        stream.resume_behind(1)  # the packet before it has come through
        self.assertEqual(large.breaks, 0)
        write(stream, large, has_parts=True)
        write(stream, small)
        stream.resume_behind(1)
        self.assertEqual((large.breaks, small.breaks), (1, 0))
        stream.resume_behind(1)  # that link has carried nothing
        self.assertEqual(large.breaks, 1)
        write(stream, large, has_parts=True)
        write(stream, small)
        stream.resume_behind(2)  # this time it has come through
        write(stream, small)
        stream.resume_behind(2)  # it has no parts: that is the path's chance
        self.assertEqual((large.breaks, small.breaks), (1, 0))

    def test_arrived(self) -> None:
        """What has arrived is known once, and never of what was not sent whole."""
        stream = sent(3)
        found = [stream.has_arrived(number) for number in (2, 2, 1, 4, 3)]
        self.assertEqual(found, [True, False, False, False, True])
        packet = OutgoingPacket(0, bytes(100))
        stream.begin(packet, has_parts=True)
        self.assertEqual(stream.most_arriving(4), packet.charge)
        for number in (0, 3, 5, 2**63):
            self.assertRaises(RemoteProtocolError, stream.most_arriving, number)

    def test_clear(self) -> None:
        """When the peer has forgotten everything, numbers go on from the first that had no receipt."""
        stream = sent(5)
        stream.receipts_through(2)
        lost = stream.packets()
        self.assertEqual(stream.clear(), lost)
        self.assertStands(stream, first=3, next=3, in_flight=0)


class IncomingTests(SynchronousTestCase):
    """What has arrived, and what its sender is told."""

    def test_in_order(self) -> None:
        """Packets that are handled in order have one receipt together."""
        stream = received(3)
        for number in (1, 2, 3):
            stream.finished(number, None)
        self.assertEqual(stream.untold, 3 * PACKET_OVERHEAD)
        self.assertEqual(stream.receipts(), [Ack(3)])
        self.assertEqual((stream.untold, stream.unreceipted), (0, 0))
        self.assertEqual(stream.receipts(), [])

    def test_out_of_order(self) -> None:
        """A packet that is handled early has its own receipt, and a cumulative one once nothing is missing."""
        stream = received(4)
        stream.finished(3, None)
        stream.finished(2, None)
        self.assertEqual(stream.receipts(), [Done(3), Done(2)])
        self.assertEqual(stream.unreceipted, 2 * PACKET_OVERHEAD)
        stream.finished(1, None)
        self.assertEqual(stream.receipts(), [Ack(3)])
        stream.finished(4, None)
        self.assertEqual(stream.receipts(), [Ack(4)])

    def test_runs_merge(self) -> None:
        """Runs that were handled early join into one when the gaps between them are filled, in any order."""
        for order in ((2, 4, 3, 1), (4, 2, 3, 1), (3, 2, 4, 1), (2, 3, 4, 1), (4, 3, 2, 1)):
            stream = received(5)
            for number in order:
                stream.finished(number, None)
            self.assertEqual(stream.receipts(), [Ack(4)], order)

    def test_failure_first(self) -> None:
        """A failure is told before the receipt that covers it, or its sender would take it for a success."""
        stream = received(3)
        for number, failure in ((1, None), (2, "no"), (3, None)):
            stream.finished(number, failure)
        self.assertEqual(stream.receipts(), [Nack(2, "no"), Ack(3)])

    def test_failure_early(self) -> None:
        """A failure out of order has no DONE besides."""
        stream = received(2)
        stream.finished(2, "no")
        self.assertEqual(stream.receipts(), [Nack(2, "no")])
        stream.finished(1, None)
        self.assertEqual(stream.receipts(), [Ack(2)])

    def test_failure_text(self) -> None:
        """Whatever text an exception has, it can be sent."""
        stream = received(2)
        stream.finished(1, "é" * 1000)
        stream.finished(2, "no such file: '/tmp/\udcff'")  # what the name of a file may look like
        texts = []
        for receipt in stream.receipts():
            frame = encode_message(receipt)
            texts.append(getattr(decode_message(frame[4], frame[5:]), "text", None))
        self.assertEqual(texts, ["é" * MAX_TEXT, "no such file: '/tmp/?'", None])

    def test_repeat(self) -> None:
        """On a new link, every receipt above the last that its receiver knows is told again."""
        stream = received(6)
        for number, failure in ((1, None), (2, "two"), (4, None), (6, "six")):
            stream.finished(number, failure)
        told = [Nack(2, "two"), Nack(6, "six"), Ack(2), Done(4)]
        self.assertEqual(stream.receipts(), told)
        for _ in range(3):
            stream.repeat_receipts(0)
            self.assertEqual(sorted(map(str, stream.receipts())), sorted(map(str, told)))
        stream.repeat_receipts(2)
        self.assertEqual(stream.receipts(), [Nack(6, "six"), Done(4)])
        stream.repeat_receipts(1)
        self.assertEqual(stream.receipts(), [Nack(6, "six"), Ack(2), Done(4)])

    def test_repeat_with_new(self) -> None:
        """What finished while there was no link is told together with what is repeated."""
        stream = received(3)
        stream.finished(3, "three")
        stream.receipts()
        stream.finished(1, "one")
        stream.repeat_receipts(0)
        stream.finished(2, None)
        self.assertEqual(stream.receipts(), [Nack(1, "one"), Nack(3, "three"), Ack(3)])

    def test_keep(self) -> None:
        """A failure is kept until so much has arrived behind it that its receipt must have, and no longer."""
        stream = received(1)
        stream.finished(1, "no")
        stream.receipts()
        for _ in range(KEEP // PACKET_OVERHEAD - 1):
            stream.finished(stream.arrived(PACKET_OVERHEAD), None)
        stream.receipts()
        stream.repeat_receipts(0)
        self.assertEqual(stream.receipts()[0], Nack(1, "no"))  # told again: the bytes count from now on
        for _ in range(KEEP // PACKET_OVERHEAD):
            stream.finished(stream.arrived(PACKET_OVERHEAD), None)
        stream.receipts()
        stream.repeat_receipts(0)
        self.assertEqual(stream.receipts(), [Ack(stream.received)])

    def test_memory(self) -> None:
        """One handler that never finishes costs no memory for the thousands that finish behind it."""
        stream = received(1)
        for _ in range(100):
            for _ in range(1000):
                stream.finished(stream.arrived(PACKET_OVERHEAD), None)
            stream.receipts()
        self.assertEqual(stream.received, 100_001)
        self.assertEqual(stream.unreceipted, PACKET_OVERHEAD)
        self.assertLess(len(pickle.dumps(stream)), 16 * 1024)

    def test_memory_backwards(self) -> None:
        """Handlers that finish in any order leave nothing behind."""
        stream = received(5000)
        numbers = list(range(1, 5001))
        random.Random(5).shuffle(numbers)
        for number in numbers:
            stream.finished(number, None)
        self.assertEqual(stream.receipts(), [Ack(5000)])
        self.assertLess(len(pickle.dumps(stream)), 1024)


class BothEndsTests(SynchronousTestCase):
    """The stream of one end and its counterpart at the other."""

    @settings(deadline=None, max_examples=100)
    @given(st.data())
    def test_outcomes(self, data: st.DataObject) -> None:
        """However handlers finish and connections break, each packet has the one outcome that its handler had."""
        outgoing, incoming = OutgoingStream(7, probation=20.0), IncomingStream(7, first=1, keep=2**20)
        outcomes: dict[OutgoingPacket, str | None] = {}
        numbers: dict[int, OutgoingPacket] = {}
        running: list[int] = []

        def tell(receipts: list[Ack | Done | Nack]) -> None:
            for receipt in receipts:
                if isinstance(receipt, Ack):
                    outcomes.update(dict.fromkeys(outgoing.receipts_through(receipt.through)))
                elif (packet := outgoing.receipt(receipt.number)) is not None:
                    outcomes[packet] = getattr(receipt, "text", None)

        def send(count: int, arriving: int) -> None:
            for n in range(count):
                packet = outgoing.to_resend()
                if packet is None:
                    packet = OutgoingPacket(0, b"")
                    numbers[outgoing.next] = packet
                write(outgoing, packet)
                if n < arriving:
                    running.append(incoming.arrived(packet.charge))

        def reconnect() -> None:
            outgoing.resume_behind(incoming.received)
            incoming.repeat_receipts(outgoing.first - 1)

        for _ in range(data.draw(st.integers(1, 20))):
            written = data.draw(st.integers(0, 5))
            arriving = data.draw(st.integers(0, written))
            send(written, arriving)
            for _ in range(data.draw(st.integers(0, len(running)))):
                number = running.pop(data.draw(st.integers(0, len(running) - 1)))
                incoming.finished(number, f"failed {number}" if number % 3 == 0 else None)
            receipts = incoming.receipts()
            heard = data.draw(st.integers(0, len(receipts)))
            tell(receipts[:heard])
            if heard < len(receipts) or arriving < written or data.draw(st.booleans()):
                reconnect()
        while outgoing.has_begun:
            send(1, 1)
        for number in running:
            incoming.finished(number, f"failed {number}" if number % 3 == 0 else None)
        tell(incoming.receipts())
        self.assertEqual(outcomes, {packet: f"failed {n}" if n % 3 == 0 else None for n, packet in numbers.items()})
        self.assertEqual((len(outgoing), outgoing.in_flight, incoming.unreceipted), (0, 0, 0))
