"""Packets between two nodes, over connections that come and go."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import attrs
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from netlayer.config import Settings
from netlayer.errors import (
    DeliveryTimeout,
    HandlerFailed,
    LinkLost,
    NetlayerError,
    NodeStopped,
    PacketTooLarge,
    PeerLost,
    PeerUnreachable,
    QueueFull,
    RemoteProtocolError,
)
from netlayer.handlers import DataPacket
from netlayer.sansio.delivery.delivery import MAX_BREAKS, Delivery
from netlayer.sansio.delivery.load import PACKET_OVERHEAD, NodeLoad, SharedPayload
from netlayer.sansio.delivery.packet import OutgoingPacket
from netlayer.sansio.delivery.reassembly import PATIENCE, Reassembly
from netlayer.wire.messages import (
    MIN_MAX_FRAME,
    MIN_PART,
    Arriving,
    Flag,
    MessageType,
    Select,
    Selected,
    encode_data,
)

KIB = 1024
SMALL = Settings(buffer_size=KIB, window=64 * KIB, max_packet=32 * KIB)


class Party:
    """One process: a delivery, and what it was told and has received.

    :ivar running: packets whose handlers have not finished.
    """

    def __init__(
        self, boot: int, settings: Settings = SMALL, *, now: float = 0.0, load: NodeLoad | None = None
    ) -> None:
        self.boot, self.settings, self.now = boot, settings, now
        self.load = load or NodeLoad()
        self.delivery = Delivery(peer_id=7, settings=settings, load=self.load, rng=random.Random(boot), now=now)
        self.sent: list[OutgoingPacket] = []
        self.told: list[OutgoingPacket] = []
        self.arrived: list[DataPacket] = []
        self.running: list[DataPacket] = []

    def send(self, payload: bytes = b"", **options: Any) -> OutgoingPacket:
        """Queue a packet that somebody waits for."""
        packet = OutgoingPacket(0, payload, waiter=object(), **options)
        self.delivery.submit(packet)
        self.sent.append(packet)
        return packet

    def receive(self, frame: bytes, now: float = 0.0) -> None:
        """Take the frame of a packet or of a part."""
        last = frame[4] == MessageType.DATA
        packet = self.delivery.data_received(frame[5:], last=last, sender_id=7, now=now)
        if packet is not None:
            self.arrived.append(packet)
            self.running.append(packet)
            self.load.handlers += 1

    def finish(self, packet: DataPacket, failure: str | None = None) -> bool:
        """A handler has finished; return whether that interests anybody."""
        self.running = [other for other in self.running if other is not packet]  # equal ones are others
        self.load.handlers -= 1
        return self.delivery.handler_finished(packet, failure)

    def outcomes(self) -> list[object]:
        """Return the errors of what was settled since the last call; None for a success."""
        settled = self.delivery.take_settled()
        self.told += settled
        return [packet.error for packet in settled]

    def attach(self, other: Party) -> None:
        """Use a new connection to `other`."""
        limits = other.settings
        self.delivery.attach(
            boot=other.boot,
            window=limits.window,
            max_frame=max(MIN_MAX_FRAME, limits.buffer_size + 3),
            max_packet=limits.max_packet,
        )

    def detach(self) -> None:
        """The connection is gone."""
        self.delivery.detach(self.now)


def link(arbiter: Party, follower: Party, *, selected_arrives: bool = True) -> None:
    """Let two parties use a new connection."""
    arbiter.attach(follower)
    select = arbiter.delivery.state(Select)
    follower.attach(arbiter)
    before = follower.delivery.state(Selected)
    follower.delivery.resume(select)
    after = follower.delivery.state(Selected)
    if selected_arrives:
        told = Selected(after.stream, after.first, before.peer_stream, before.received, after.receipted)
        arbiter.delivery.resume(told)


def unlink(*parties: Party) -> None:
    """Break the connection."""
    for party in parties:
        party.detach()


def frames(sender: Party, most: int = 100_000) -> list[bytes]:
    """Return what a party writes now."""
    written: list[bytes] = []
    while len(written) < most and (frame := sender.delivery.next_frame(sender.now)) is not None:
        written.append(frame)
    return written


def carry(sender: Party, receiver: Party, most: int = 100_000) -> None:
    """Carry packets and parts."""
    for frame in frames(sender, most):
        receiver.receive(frame)


def receipts(receiver: Party, sender: Party) -> None:
    """Carry receipts."""
    for receipt in receiver.delivery.receipts():
        sender.delivery.receipt_received(receipt)


def finish_all(party: Party) -> None:
    """Let all handlers finish."""
    for packet in list(party.running):
        party.finish(packet)


class LinkedTestCase(SynchronousTestCase):
    """Two linked parties; `self.us` is the arbiter."""

    settings = SMALL

    def setUp(self) -> None:
        self.us, self.peer = Party(1, self.settings), Party(2, self.settings)
        link(self.us, self.peer)

    def relink(self, *, selected_arrives: bool = True) -> None:
        """Break the connection, and let another one follow."""
        unlink(self.us, self.peer)
        link(self.us, self.peer, selected_arrives=selected_arrives)

    def assertNothingLeft(self, *parties: Party) -> None:
        """Assert that nobody holds memory, and that every waiter was told exactly once."""
        for party in parties:
            load = party.load
            self.assertEqual((party.delivery.queued, load.queued, load.handlers, load.reassembling), (0, 0, 0, 0))
            party.outcomes()
            self.assertEqual(Counter(map(id, party.told)), Counter(map(id, party.sent)))


class QueueTests(SynchronousTestCase):
    """What waits for a link."""

    def setUp(self) -> None:
        self.us = Party(1)

    def test_numbers(self) -> None:
        """Each packet that is queued gets the next number."""
        self.assertEqual([self.us.send().number for _ in range(3)], [1, 2, 3])

    def test_charge(self) -> None:
        """A packet costs its bytes and an overhead, so that a flood of empty ones is bounded too."""
        self.us.send(bytes(100))
        self.assertEqual(self.us.delivery.queued, 100 + PACKET_OVERHEAD)
        self.assertEqual(self.us.load.queued, 100 + PACKET_OVERHEAD)

    def test_full(self) -> None:
        """A packet is taken while the queue stands below its limit; the next one is told that it is full."""
        us = Party(1, Settings(queue_limit=128 * KIB))
        for _ in range(64 * KIB // PACKET_OVERHEAD - 1):
            us.send()
        us.send(bytes(100 * KIB))
        error = self.assertRaises(QueueFull, us.send)
        self.assertEqual((error.queued, error.limit), (us.delivery.queued, 64 * KIB))
        self.assertEqual(us.delivery.take_settled(), [])

    def test_full_for_handlers(self) -> None:
        """Half of the queue is for what handlers send; when that is filled too, they are refused like anybody."""
        us = Party(1, Settings(queue_limit=128 * KIB))
        for _ in range(64):
            us.send(bytes(KIB - PACKET_OVERHEAD))
        self.assertRaises(QueueFull, us.send)
        for _ in range(64):
            us.send(bytes(KIB - PACKET_OVERHEAD), from_handler=True)
        error = self.assertRaises(QueueFull, us.send, from_handler=True)
        self.assertEqual((error.queued, error.limit), (128 * KIB, 128 * KIB))

    def test_full_when_linked(self) -> None:
        """A peer with a small window gets a small queue."""
        us, peer = Party(1, Settings()), Party(2)
        link(us, peer)
        with self.assertRaises(QueueFull) as caught:
            for _ in range(1000):
                us.send()
        self.assertEqual(caught.exception.limit, peer.settings.window)

    def test_full_before_link(self) -> None:
        """A peer that has not told its window is taken to have ours; one that has is still believed when it is away."""
        us, peer = Party(1, Settings(window=128 * KIB)), Party(2)
        self.assertEqual(us.delivery.queue_limit, 128 * KIB)
        link(us, peer)
        us.detach()
        self.assertEqual(us.delivery.queue_limit, peer.settings.window)

    def test_node_full(self) -> None:
        """When the node's memory is used up, only the peer with the longest queue is refused."""
        settings, load = Settings(queue_limit=128 * KIB, node_queue_limit=128 * KIB), NodeLoad()
        slow, fast = Party(1, settings, load=load), Party(2, settings, load=load)
        for _ in range(63):
            slow.send(bytes(KIB - PACKET_OVERHEAD))
        fast.send(bytes(KIB - PACKET_OVERHEAD))
        self.assertEqual(load.queued, 64 * KIB)
        error = self.assertRaises(QueueFull, slow.send)
        self.assertEqual((error.queued, error.limit), (64 * KIB, 64 * KIB))
        slow.send(from_handler=True)
        fast.send()

    def test_too_large(self) -> None:
        """A packet over our own limit is refused; so is one over the peer's while it is linked."""
        us, peer = Party(1, Settings(max_packet=64 * KIB)), Party(2)
        self.assertRaises(PacketTooLarge, us.send, bytes(64 * KIB + 1))
        link(us, peer)
        error = self.assertRaises(PacketTooLarge, us.send, bytes(32 * KIB + 1))
        self.assertEqual((error.size, error.limit), (32 * KIB + 1, 32 * KIB))
        unlink(us)
        us.send(bytes(64 * KIB))

    def test_too_large_for_this_peer(self) -> None:
        """A packet that was queued before the peer said what it takes fails by itself; others go on."""
        us, peer = Party(1, Settings(max_packet=64 * KIB)), Party(2)
        large, small = us.send(bytes(64 * KIB)), us.send(b"small")
        link(us, peer)
        carry(us, peer)
        self.assertEqual([packet.data for packet in peer.arrived], [b"small"])
        self.assertEqual(us.delivery.take_settled(), [large])
        self.assertIsInstance(large.error, PacketTooLarge)
        self.assertEqual(us.delivery.queued, small.charge)

    def test_timeout(self) -> None:
        """A packet that was not written within its time is withdrawn, and its sender knows that."""
        early, late = self.us.send(deadline=10.0), self.us.send(deadline=20.0)
        self.assertEqual(self.us.delivery.next_deadline(), 10.0)
        self.us.delivery.deadline_reached(9.99)
        self.assertEqual(self.us.outcomes(), [])
        self.us.delivery.deadline_reached(10.0)
        self.assertEqual(self.us.told, [])
        (error,) = self.us.outcomes()
        assert isinstance(error, DeliveryTimeout)
        self.assertFalse(error.written)
        self.assertEqual(self.us.told, [early])
        self.assertEqual(self.us.delivery.next_deadline(), 20.0)
        peer = Party(2)
        link(self.us, peer)
        carry(self.us, peer)
        self.assertEqual((len(peer.arrived), self.us.delivery.queued), (1, late.charge))

    def test_timeout_after_the_clock_was_set_back(self) -> None:
        """Who sends after the clock was set back does not wait for those who sent before."""
        before, after = self.us.send(deadline=20.0), self.us.send(deadline=15.0)
        self.assertEqual(self.us.delivery.next_deadline(), 15.0)
        self.us.delivery.deadline_reached(15.0)
        self.assertEqual(self.us.delivery.take_settled(), [after])
        self.us.delivery.deadline_reached(20.0)
        self.assertEqual(self.us.delivery.take_settled(), [before])

    def test_withdraw(self) -> None:
        """What is withdrawn costs nothing any more, not even its place, and is not sent."""
        packets = [self.us.send(b"%d" % n) for n in range(100)]
        for packet in packets[:99]:
            self.us.delivery.withdraw(packet, NodeStopped())
            self.us.delivery.withdraw(packet, LinkLost("again"))
        self.assertEqual([type(error) for error in self.us.outcomes()], [NodeStopped] * 99)
        self.assertEqual(self.us.delivery.queued, packets[99].charge)
        peer = Party(2)
        link(self.us, peer)
        carry(self.us, peer)
        self.assertEqual([packet.data for packet in peer.arrived], [b"99"])

    def test_nobody_waits(self) -> None:
        """A plain send is reported only if it fails."""
        peer = Party(2)
        link(self.us, peer)
        for _ in range(2):
            self.us.delivery.submit(OutgoingPacket(0, b""))
        carry(self.us, peer)
        peer.finish(peer.running[0])
        peer.finish(peer.running[0], "no")
        receipts(peer, self.us)
        (error,) = self.us.outcomes()
        self.assertIsInstance(error, HandlerFailed)

    def test_broadcast(self) -> None:
        """The payload of a broadcast is counted once for the node, and once for each queue that holds it."""
        load, shared = NodeLoad(), SharedPayload()
        parties = [Party(n, load=load) for n in range(3)]
        packets = [party.send(bytes(KIB), shared=shared) for party in parties]
        charge = KIB + PACKET_OVERHEAD
        self.assertEqual(([party.delivery.queued for party in parties], load.queued), ([charge] * 3, charge))
        for n, (party, packet) in enumerate(zip(parties, packets, strict=True)):
            self.assertEqual(load.queued, charge, n)
            party.delivery.withdraw(packet, NodeStopped())
            self.assertEqual(party.delivery.queued, 0)
        self.assertEqual(load.queued, 0)

    def test_fail_unwritten(self) -> None:
        """When a peer can't be reached, what was never written fails; what may have arrived stays for its session."""
        peer, successor = Party(2), Party(3)
        link(self.us, peer)
        written = self.us.send()
        carry(self.us, peer)
        unlink(self.us)
        link(self.us, successor, selected_arrives=False)  # a restart: the packet waits in the queue again
        unlink(self.us)
        unwritten = self.us.send()
        self.us.delivery.fail_unwritten(PeerUnreachable(7, 4, "refused"))
        self.assertIsInstance(unwritten.error, PeerUnreachable)
        self.assertEqual((written.settled, self.us.delivery.queued), (False, written.charge))

    def test_close(self) -> None:
        """When the node stops, everything ends: what was not written is not sent, what was is unknown."""
        peer = Party(2)
        link(self.us, peer)
        written = self.us.send(deadline=10.0)
        carry(self.us, peer)
        unwritten = self.us.send(deadline=10.0)
        self.us.delivery.close()
        self.assertIsInstance(written.error, PeerLost)
        self.assertIsInstance(unwritten.error, NodeStopped)
        self.assertEqual((self.us.load.queued, self.us.load.queues), (0, set()))
        self.assertEqual(len(self.us.outcomes()), 2)

    def test_idle(self) -> None:
        """A delivery may be dropped when it has neither a session nor packets."""
        self.assertTrue(self.us.delivery.idle)
        packet = self.us.send()
        self.assertFalse(self.us.delivery.idle)
        self.us.delivery.withdraw(packet, NodeStopped())
        self.assertTrue(self.us.delivery.idle)
        link(self.us, Party(2))
        self.assertFalse(self.us.delivery.idle)


class AdoptTests(SynchronousTestCase):
    """A queue that was filled before it was known whose it is."""

    def test_adopt(self) -> None:
        """Everything that waits moves there, with its charge and its time."""
        load = NodeLoad()
        by_key, by_id = Party(1, load=load), Party(2, load=load)
        mine, late = by_key.send(b"mine", deadline=11.0), by_id.send(b"late", deadline=10.0)
        gone, plain = by_id.send(b"gone", deadline=10.5), by_id.send(b"plain")
        by_id.delivery.withdraw(gone, NodeStopped())
        total = load.queued
        by_key.delivery.adopt(by_id.delivery)
        self.assertEqual((by_id.delivery.queued, by_key.delivery.queued, load.queued), (0, total, total))
        self.assertEqual(len(load.queues), 1, "the other queue counts no longer")
        self.assertEqual(by_key.delivery.next_deadline(), 10.0)
        self.assertIsNot(by_id.delivery.next_deadline(), 10.0)
        self.assertGreater(by_key.send().number, plain.number)
        peer = Party(3)
        link(by_key, peer)
        carry(by_key, peer)
        self.assertEqual([packet.data for packet in peer.arrived], [b"mine", b"late", b"plain", b""])
        by_key.delivery.deadline_reached(10.0)
        self.assertEqual((late.settled, mine.settled), (True, False))

    def test_adopt_in_order(self) -> None:
        """What two queues of a peer hold is sent in the order in which it was submitted, whichever queue got it."""
        load = NodeLoad()
        by_key, by_id, peer = Party(1, load=load), Party(2, load=load), Party(3)
        for party, data in ((by_id, b"1"), (by_key, b"2"), (by_id, b"3"), (by_key, b"4")):
            party.send(data)
        by_key.delivery.adopt(by_id.delivery)
        link(by_key, peer)
        carry(by_key, peer)
        self.assertEqual([packet.data for packet in peer.arrived], [b"1", b"2", b"3", b"4"])

    def test_numbers(self) -> None:
        """No two packets of a node have one number: when queues are joined, their sender would mistake one of them."""
        load = NodeLoad()
        by_key, by_id = Party(1, load=load), Party(2, load=load)
        numbers = [party.send().number for party in (by_key, by_id, by_id, by_key)]
        by_key.delivery.adopt(by_id.delivery)
        self.assertEqual([*numbers, by_key.send().number], [1, 2, 3, 4, 5])

    def test_adopt_broadcast(self) -> None:
        """A payload that others hold too stays charged once."""
        load, shared = NodeLoad(), SharedPayload()
        by_key, by_id, other = (Party(n, load=load) for n in range(3))
        packet = by_id.send(bytes(KIB), shared=shared)
        other.send(bytes(KIB), shared=shared)
        by_key.delivery.adopt(by_id.delivery)
        self.assertEqual((load.queued, by_key.delivery.queued), (packet.charge, packet.charge))
        by_key.delivery.close()
        other.delivery.close()
        self.assertEqual(load.queued, 0)


class LinkTests(LinkedTestCase):
    """Delivery over one link."""

    def test_delivered(self) -> None:
        """A packet arrives as it was sent, and its sender is told when its handler has finished."""
        self.us.send(b"data", flags=Flag.BROADCAST | Flag.RECEIPT_NOW)
        carry(self.us, self.peer)
        (packet,) = self.peer.arrived
        self.assertEqual(packet, DataPacket(7, b"data", broadcast=True))
        self.assertEqual(self.us.outcomes(), [])
        self.peer.finish(packet)
        self.assertFalse(self.us.delivery.drained)
        receipts(self.peer, self.us)
        self.assertEqual(self.us.outcomes(), [None])
        self.assertTrue(self.us.delivery.drained and self.peer.delivery.drained)
        self.assertNothingLeft(self.us, self.peer)

    def test_failed(self) -> None:
        """A handler that fails tells the sender why."""
        self.us.send()
        carry(self.us, self.peer)
        self.peer.finish(self.peer.running[0], "ValueError: no")
        receipts(self.peer, self.us)
        (error,) = self.us.outcomes()
        assert isinstance(error, HandlerFailed)
        self.assertEqual((error.peer_id, error.text), (7, "ValueError: no"))

    def test_drained(self) -> None:
        """A party is not done while a handler runs or a receipt is not told."""
        self.us.send()
        carry(self.us, self.peer)
        self.assertFalse(self.peer.delivery.drained)
        finish_all(self.peer)
        self.assertFalse(self.peer.delivery.drained)
        receipts(self.peer, self.us)
        self.assertTrue(self.peer.delivery.drained)

    def test_timeout(self) -> None:
        """A packet that was written times out as unknown. It costs nothing any more, but counts in the window."""
        packet = self.us.send(b"some", deadline=10.0)
        carry(self.us, self.peer)
        self.us.delivery.deadline_reached(10.0)
        (error,) = self.us.outcomes()
        assert isinstance(error, DeliveryTimeout)
        self.assertTrue(error.written)
        self.assertEqual((self.us.delivery.queued, self.us.load.queued, packet.payload), (0, 0, b""))
        assert self.us.delivery.session is not None
        self.assertEqual(self.us.delivery.session.outgoing.in_flight, packet.charge)
        finish_all(self.peer)
        receipts(self.peer, self.us)
        self.assertNothingLeft(self.us, self.peer)

    def test_timeout_in_mid_packet(self) -> None:
        """A packet of which a part was written is finished, or the stream would be broken; its sender is told."""
        packet = self.us.send(bytes(10 * KIB), deadline=10.0)
        carry(self.us, self.peer, 3)
        self.us.delivery.withdraw(packet, NodeStopped())
        self.us.send(b"next")
        carry(self.us, self.peer)
        self.assertEqual([len(packet.data) for packet in self.peer.arrived], [10 * KIB, 4])

    def test_progress(self) -> None:
        """The sender of a large packet waits as long as the socket takes more of it, or more of it arrives."""
        self.us.send(bytes(10 * KIB), deadline=10.0, patience=10.0)
        carry(self.us, self.peer, 3)
        self.us.now = 8.0
        carry(self.us, self.peer, 1)
        self.us.delivery.deadline_reached(17.9)
        self.us.delivery.arriving_received(Arriving(1, 4 * KIB), 17.0)
        self.us.delivery.deadline_reached(26.9)
        self.us.delivery.arriving_received(Arriving(1, 4 * KIB), 26.0)  # no more than before
        self.assertEqual(self.us.outcomes(), [])
        self.us.delivery.deadline_reached(27.0)
        self.assertIsInstance(self.us.outcomes()[0], DeliveryTimeout)

    def test_progress_behind(self) -> None:
        """What was written behind a packet that arrives slowly is on its way, too; what has arrived is not."""
        for _ in range(3):
            self.us.send(bytes(3 * KIB), deadline=10.0, patience=10.0)
        carry(self.us, self.peer)
        self.us.delivery.arriving_received(Arriving(2, KIB), 9.0)  # so the first is there
        self.us.delivery.deadline_reached(10.0)
        self.us.outcomes()
        self.assertEqual(self.us.told, self.us.sent[:1])
        self.us.delivery.deadline_reached(18.9)
        self.us.delivery.arrived(3, 18.0)
        self.assertEqual(self.us.outcomes(), [])
        self.us.delivery.deadline_reached(28.0)
        self.us.outcomes()
        self.assertEqual(self.us.told, self.us.sent)

    def test_no_progress(self) -> None:
        """That the peer has become known, and is linked, while a caller waits is no progress of the packet."""
        us, peer = Party(1, now=5.0), Party(2, now=5.0)
        packet = us.send(b"some", deadline=10.0, patience=10.0)
        link(us, peer)
        carry(us, peer)
        us.delivery.deadline_reached(10.0)
        self.assertEqual(us.delivery.take_settled(), [packet])

    def test_bounded(self) -> None:
        """A caller who has chosen the time waits no longer, whatever makes progress."""
        self.us.send(bytes(10 * KIB), deadline=10.0)
        carry(self.us, self.peer, 3)
        self.us.delivery.arriving_received(Arriving(1, KIB), 9.0)
        self.us.delivery.deadline_reached(10.0)
        self.assertIsInstance(self.us.outcomes()[0], DeliveryTimeout)

    def test_arriving_more(self) -> None:
        """A peer can't make the sender wait for ever by telling of more bytes than the packet has."""
        self.us.send(bytes(3 * KIB), deadline=10.0, patience=10.0)
        carry(self.us, self.peer)
        now = 0.0
        for size in range(3 * KIB, 2**63 - 1, 2**60):
            self.us.delivery.arriving_received(Arriving(1, size), now)
            now += 9.0
            self.us.delivery.deadline_reached(now)
        self.assertLess(self.us.outcomes()[0].seconds, 30.0)

    def test_arriving_before(self) -> None:
        """While a packet arrives that its sender has given up, what was written behind it is on its way, too."""
        given_up = self.us.send(bytes(10 * KIB), deadline=1.0)
        behind = self.us.send(b"behind", deadline=10.0, patience=10.0)
        carry(self.us, self.peer)
        self.us.delivery.deadline_reached(1.0)
        self.assertTrue(given_up.settled)
        for size in range(1, 10):
            self.us.delivery.arriving_received(Arriving(1, size * KIB), size * 9.0)
            self.us.delivery.deadline_reached(size * 9.0 + 1.0)
        self.assertFalse(behind.settled)

    def test_arriving_lies(self) -> None:
        """What was not begun can't arrive, and what has arrived doesn't any more."""
        self.us.send(bytes(10 * KIB))
        self.assertRaises(RemoteProtocolError, self.us.delivery.arriving_received, Arriving(1, 0), 0.0)
        carry(self.us, self.peer, 3)
        for number in (0, 2, 2**63 - 1):
            self.assertRaises(RemoteProtocolError, self.us.delivery.arriving_received, Arriving(number, 0), 0.0)
        carry(self.us, self.peer)
        self.us.delivery.arrived(1, 0.0)
        self.assertRaises(RemoteProtocolError, self.us.delivery.arriving_received, Arriving(1, 0), 0.0)

    def test_order(self) -> None:
        """Packets arrive in the order in which they were sent, large ones among small ones."""
        sizes = [0, 1, KIB, KIB + 1, 5 * KIB, 3, 2 * KIB]
        for size in sizes:
            self.us.send(bytes(size))
        carry(self.us, self.peer)
        self.assertEqual([len(packet.data) for packet in self.peer.arrived], sizes)

    def test_parts(self) -> None:
        """A large packet travels in parts of the agreed size, the last of which is a DATA."""
        self.us.send(bytes(range(256)) * 10)
        written = frames(self.us)
        self.assertEqual([frame[4] for frame in written], [MessageType.DATA_PART] * 2 + [MessageType.DATA])
        self.assertEqual([len(frame) - 7 for frame in written], [KIB, KIB, 512])
        for frame in written:
            self.assertEqual(self.peer.arrived, [])
            self.peer.receive(frame)
        self.assertEqual(self.peer.arrived[0].data, bytes(range(256)) * 10)
        self.assertEqual(self.peer.load.reassembling, 0)

    def test_exact_parts(self) -> None:
        """A packet of exactly one part is not cut."""
        self.us.send(bytes(KIB))
        self.assertEqual(len(frames(self.us)), 1)

    def test_window(self) -> None:
        """No packet is begun while a whole window is without receipts; a receipt makes room."""
        for number in range(64 + 20):
            self.us.send(bytes(KIB - PACKET_OVERHEAD), from_handler=number >= 64)
        carry(self.us, self.peer)
        self.assertEqual(len(self.peer.arrived), 64)
        self.peer.finish(self.peer.running[0])
        receipts(self.peer, self.us)
        carry(self.us, self.peer)
        self.assertEqual(len(self.peer.arrived), 65)

    def test_window_for_replies(self) -> None:
        """While a handler of ours runs, twice the window may be used: its replies don't wait behind requests."""
        for number in range(127):
            self.us.send(bytes(KIB - PACKET_OVERHEAD), from_handler=number >= 64)
        self.us.load.handlers = 1
        carry(self.us, self.peer)
        self.assertEqual(len(self.peer.arrived), 127)
        self.us.send(from_handler=True)
        self.us.send(from_handler=True)
        carry(self.us, self.peer)
        self.assertEqual(len(self.peer.arrived), 129)
        self.assertRaises(QueueFull, self.us.send, from_handler=True)
        self.us.load.handlers = 0
        finish_all(self.peer)
        receipts(self.peer, self.us)
        self.assertNothingLeft(self.us, self.peer)

    def test_window_violated(self) -> None:
        """A peer that sends more than twice the window is stopped."""
        packet = encode_data(MessageType.DATA, 0, 0, bytes(KIB - PACKET_OVERHEAD))
        for _ in range(128):
            self.peer.receive(packet)
        self.assertRaises(RemoteProtocolError, self.peer.receive, packet)
        finish_all(self.peer)
        self.assertRaises(RemoteProtocolError, self.peer.receive, packet)  # handled, and not receipted
        self.peer.delivery.receipts()
        self.peer.receive(packet)

    def test_large_packet_in_small_window(self) -> None:
        """A packet larger than the window is sent when nothing is in flight, and alone; but for replies."""
        settings = attrs.evolve(SMALL, max_packet=256 * KIB)
        us, peer = Party(1, settings), Party(2, settings)
        link(us, peer)
        us.send(bytes(200 * KIB))
        carry(us, peer)
        us.send(from_handler=True)
        carry(us, peer)
        self.assertEqual([len(packet.data) for packet in peer.arrived], [200 * KIB])
        us.load.handlers = 1
        carry(us, peer)
        self.assertEqual([len(packet.data) for packet in peer.arrived], [200 * KIB, 0])
        us.load.handlers = 0
        finish_all(peer)
        receipts(peer, us)
        self.assertNothingLeft(us, peer)

    def test_too_large(self) -> None:
        """A packet over our limit is a violation, in one piece or as soon as its parts exceed it."""
        whole = encode_data(MessageType.DATA, 0, 0, bytes(32 * KIB + 1))
        self.assertRaises(RemoteProtocolError, self.peer.receive, whole)
        part = encode_data(MessageType.DATA_PART, 0, 0, bytes(16 * KIB))
        self.peer.receive(part)
        self.peer.receive(part)
        self.assertRaises(RemoteProtocolError, self.peer.receive, encode_data(MessageType.DATA, 0, 0, b"1"))
        self.assertEqual(self.peer.arrived, [])

    def test_tiny_parts(self) -> None:
        """Parts can't be smaller than what they cost us; the last one can."""
        tiny = encode_data(MessageType.DATA_PART, 0, 0, bytes(MIN_PART - 1))
        self.assertRaises(RemoteProtocolError, self.peer.receive, tiny)
        self.peer.receive(encode_data(MessageType.DATA_PART, 0, 0, bytes(MIN_PART)))
        self.peer.receive(encode_data(MessageType.DATA, 0, 0, b""))
        self.assertEqual(len(self.peer.arrived[0].data), MIN_PART)

    def test_malformed(self) -> None:
        """Flags and tags that nobody knows are violations, and so is a value that nobody could have sent."""
        for body in (b"", b"\0", b"\x08\0", b"\x80\0", b"\0\x03", b"\0\x01\xff", b"\0\x02\xc1", b"\0\x02"):
            receive = self.peer.delivery.data_received
            self.assertRaises(RemoteProtocolError, receive, body, last=True, sender_id=7, now=0.0)
        self.assertEqual(self.peer.delivery.drained, True)

    def test_reassembly_limit(self) -> None:
        """Half-received packets can't take more than their share of memory: the connection ends, the packet waits."""
        settings = Settings(reassembly_limit=64 * KIB, max_packet=64 * KIB, buffer_size=32 * KIB)
        us, peer = Party(1, settings), Party(2, settings)
        link(us, peer)
        us.send(bytes(60 * KIB))
        peer.load.reassembling = 20 * KIB  # of other peers
        self.assertRaises(LinkLost, carry, us, peer)
        unlink(us, peer)
        self.assertEqual((peer.load.reassembling, peer.arrived), (20 * KIB, []))
        peer.load.reassembling = 0
        link(us, peer)
        carry(us, peer)
        self.assertEqual((peer.load.reassembling, len(peer.arrived)), (0, 1))

    def test_packets_give_way(self) -> None:
        """A packet that has come for long gives way to another one, one that has just begun does not."""
        settings = Settings(reassembly_limit=64 * KIB, max_packet=64 * KIB)
        load = NodeLoad()
        first, second, third = (Reassembly(settings=settings, load=load) for _ in range(3))
        half = bytes(30 * KIB)
        first.add(half, last=False, now=0.0)
        second.add(half, last=False, now=1.0)
        self.assertRaises(LinkLost, third.add, half, last=False, now=PATIENCE)
        self.assertEqual((load.reassembling, list(load.arriving)), (60 * KIB, [first, second]))
        third.add(half, last=False, now=PATIENCE + 0.5)  # the first one gives way, and that is enough
        self.assertEqual((load.reassembling, list(load.arriving)), (60 * KIB, [second, third]))
        self.assertEqual(second.add(b"end", last=True, now=60.0), half + b"end")
        for rest in (half, b""):
            self.assertRaises(LinkLost, first.add, rest, last=not rest, now=60.0)
        first.drop()  # as the next connection begins
        self.assertIsNone(first.add(half, last=False, now=61.0))
        self.assertEqual(first.add(b"", last=True, now=61.0), half)
        third.drop()
        self.assertEqual((load.reassembling, list(load.arriving)), (0, []))

    def test_no_way_to_itself(self) -> None:
        """A packet does not give way to its own next part."""
        load = NodeLoad()
        load.reassembling = 20 * KIB  # of somebody else, who has just begun
        reassembly = Reassembly(settings=Settings(reassembly_limit=64 * KIB, max_packet=64 * KIB), load=load)
        reassembly.add(bytes(40 * KIB), last=False, now=0.0)
        self.assertRaises(LinkLost, reassembly.add, bytes(20 * KIB), last=False, now=60.0)
        self.assertEqual(load.reassembling, 60 * KIB)

    def test_stop_sending(self) -> None:
        """At a goodbye nothing new is begun: what waits fails at once, what was begun is finished."""
        begun = self.us.send(bytes(5 * KIB))
        waiting = self.us.send()
        carry(self.us, self.peer, 2)
        self.assertTrue(self.us.delivery.has_begun)
        self.us.delivery.stop_sending(PeerUnreachable(7, 0, "bye"))
        self.assertIsInstance(waiting.error, PeerUnreachable)
        self.assertFalse(begun.settled)
        later = self.us.send()
        carry(self.us, self.peer)
        self.assertEqual([len(packet.data) for packet in self.peer.arrived], [5 * KIB])
        self.assertFalse(self.us.delivery.has_begun)
        self.assertFalse(later.settled)  # it waits for the next link


class ResumeTests(LinkedTestCase):
    """Delivery over several links."""

    def data(self) -> list[bytes]:
        """Return what the peer has received."""
        return [packet.data for packet in self.peer.arrived]

    def settle(self) -> None:
        """Carry everything to its end."""
        for _ in range(5):
            carry(self.us, self.peer)
            carry(self.peer, self.us)
            finish_all(self.us)
            finish_all(self.peer)
            receipts(self.us, self.peer)
            receipts(self.peer, self.us)

    def test_cut(self) -> None:
        """What was written and did not arrive is sent again, once and in order; nobody notices."""
        for n in range(5):
            self.us.send(b"%d" % n)
        written = frames(self.us)
        for frame in written[:2]:
            self.peer.receive(frame)
        self.relink()
        self.us.send(b"5")
        self.settle()
        self.assertEqual(self.data(), [b"0", b"1", b"2", b"3", b"4", b"5"])
        self.assertFalse(any(packet.redelivered for packet in self.peer.arrived))
        self.assertEqual(self.us.outcomes(), [None] * 6)
        self.assertNothingLeft(self.us, self.peer)

    def test_cut_while_handled(self) -> None:
        """A handler that runs while the connection breaks runs once, and its receipt comes over the next one."""
        self.us.send(b"slow")
        carry(self.us, self.peer)
        unlink(self.us, self.peer)
        self.assertTrue(self.peer.finish(self.peer.running[0], "no"))
        link(self.us, self.peer)
        self.settle()
        self.assertEqual(self.data(), [b"slow"])
        self.assertIsInstance(self.us.outcomes()[0], HandlerFailed)

    def test_receipts_lost(self) -> None:
        """Receipts that a connection swallowed are told again."""
        for _ in range(3):
            self.us.send()
        carry(self.us, self.peer)
        for packet, failure in zip(list(self.peer.running), (None, "no", None), strict=True):
            self.peer.finish(packet, failure)
        self.peer.delivery.receipts()
        self.relink()
        receipts(self.peer, self.us)
        self.assertEqual([type(error) for error in self.us.outcomes()], [HandlerFailed, type(None), type(None)])

    def test_cut_in_mid_packet(self) -> None:
        """A packet of which parts have arrived starts over, and the memory of its parts is free."""
        self.us.send(bytes(10 * KIB))
        carry(self.us, self.peer, 4)
        self.assertEqual(self.peer.load.reassembling, 4 * KIB)
        self.relink()
        self.assertEqual(self.peer.load.reassembling, 0)
        self.settle()
        self.assertEqual([len(data) for data in self.data()], [10 * KIB])

    def test_nobody_needs_it(self) -> None:
        """A packet whose sender was told an outcome is not sent again; what follows goes on, plain sends too."""
        self.us.send(b"has arrived", deadline=10.0)
        carry(self.us, self.peer)
        for n in range(3):
            self.us.send(b"%d" % n, deadline=10.0)
        self.us.delivery.submit(OutgoingPacket(0, b"plain"))
        frames(self.us)  # lost
        self.us.delivery.withdraw(self.us.sent[2], NodeStopped())
        self.relink()
        self.us.delivery.withdraw(self.us.sent[1], NodeStopped())
        self.settle()
        self.assertEqual(self.data(), [b"has arrived", b"2", b"plain"])
        self.us.outcomes()
        self.assertEqual([packet.error for packet in self.us.told[-2:]], [None, None])
        self.assertNothingLeft(self.us, self.peer)

    def test_nobody_needs_the_large_one(self) -> None:
        """A large packet that has timed out frees its place in the queue at once, and nobody sends it again."""
        large = self.us.send(bytes(10 * KIB), deadline=10.0)
        small = self.us.send(b"small")
        carry(self.us, self.peer, 4)
        self.us.delivery.deadline_reached(10.0)
        self.assertEqual(self.us.delivery.queued, large.charge + small.charge)  # it is being written
        unlink(self.us, self.peer)
        self.assertEqual((self.us.delivery.queued, large.payload), (small.charge, b""))
        link(self.us, self.peer)
        self.settle()
        self.assertEqual(self.data(), [b"small"])
        self.assertNothingLeft(self.us, self.peer)

    def test_path_breaks(self) -> None:
        """A packet that three links in a row break inside of ends: it was not handled. What is behind it goes on."""
        large = self.us.send(bytes(10 * KIB))
        self.us.send(b"small")
        for n in range(MAX_BREAKS):
            self.assertIsNone(large.error, f"after {n} breaks")
            carry(self.us, self.peer, 8)
            self.relink()
        error = large.error
        assert isinstance(error, PeerUnreachable)
        self.assertIn("the path breaks inside packets of 10240 bytes", str(error))
        self.settle()
        self.assertEqual(self.data(), [b"small"])
        self.assertNothingLeft(self.us, self.peer)

    def test_path_breaks_elsewhere(self) -> None:
        """Breaks of a link that has brought something through don't count, nor those at a packet of one frame."""
        large = self.us.send(bytes(10 * KIB))
        carry(self.us, self.peer, 8)
        self.relink()
        for n in range(5):
            self.us.send(b"%d" % n)
        carry(self.us, self.peer, 11)  # the large one comes through, and one more
        for _ in range(5):
            self.relink()
            frames(self.us)
        self.relink()
        self.settle()
        self.assertEqual(large.breaks, 1)
        self.assertEqual(self.data(), [bytes(10 * KIB), b"0", b"1", b"2", b"3", b"4"])

    def test_path_breaks_after_a_restart(self) -> None:
        """If an earlier process of the peer may have handled it, nobody can say that it was not."""
        large = self.us.send(bytes(10 * KIB))
        carry(self.us, self.peer)
        unlink(self.us)
        self.peer = Party(3)
        link(self.us, self.peer)
        for _ in range(MAX_BREAKS):
            carry(self.us, self.peer, 8)
            self.relink()
        self.assertIsInstance(large.error, PeerLost)

    def test_killer(self) -> None:
        """A packet that kills each process that handles it kills three at most; those around it are handled, once."""
        killers = []
        for n in range(6):
            killers.append(self.us.send(b"killer %d" % n))
            for m in range(5):
                self.us.send(b"%d %d" % (n, m))
        deaths: Counter[bytes] = Counter()
        handled: list[bytes] = []
        for boot in range(3, 100):
            carry(self.us, self.peer)
            killer = next((packet.data for packet in self.peer.running if packet.data.startswith(b"killer")), None)
            if killer is None:
                handled += [packet.data for packet in self.peer.running]
                finish_all(self.peer)
                receipts(self.peer, self.us)
                continue
            deaths[killer] += 1
            unlink(self.us)
            self.peer = Party(boot)
            link(self.us, self.peer)
        self.assertEqual(set(deaths), {b"killer %d" % n for n in range(6)})
        self.assertEqual(max(deaths.values()), 3)
        self.assertEqual(sorted(handled), sorted(b"%d %d" % (n, m) for n in range(6) for m in range(5)))
        for killer in killers:
            assert isinstance(killer.error, PeerLost)
            self.assertEqual(killer.error.processes, 3)
        self.us.outcomes()
        self.assertEqual(self.us.delivery.queued, 0)

    def test_selected_lost(self) -> None:
        """A connection that dies between SELECT and SELECTED loses and doubles nothing, however often."""
        self.us.send(b"ours")
        self.peer.send(b"theirs")
        for _ in range(3):
            self.relink(selected_arrives=False)
            self.peer.delivery.next_frame(0.0)  # written, and lost with the connection
        self.relink()
        self.settle()
        self.assertEqual((self.data(), [packet.data for packet in self.us.arrived]), ([b"ours"], [b"theirs"]))
        self.assertNothingLeft(self.us, self.peer)

    def test_never_saw(self) -> None:
        """Packets that were written to a peer that never had any of them are sent again without a flag."""
        for n in range(3):
            self.us.send(b"%d" % n)
        frames(self.us)
        self.relink()
        self.settle()
        self.assertEqual(self.data(), [b"0", b"1", b"2"])
        self.assertFalse(any(packet.redelivered for packet in self.peer.arrived))

    def test_peer_forgot(self) -> None:
        """If the peer has forgotten the session, what was written is lost, and its sender knows that nobody knows."""
        lost = self.us.send(b"lost")
        carry(self.us, self.peer)
        unlink(self.us, self.peer)
        kept = self.us.send(b"kept")
        self.peer.delivery.end_session("too long")
        old = self.peer.running[0]
        link(self.us, self.peer)
        self.assertIsInstance(lost.error, PeerLost)
        self.assertFalse(self.peer.finish(old))  # its receipt would be another packet's
        self.settle()
        self.assertEqual(self.data(), [b"lost", b"kept"])
        self.assertIsNone(kept.error)
        self.assertNothingLeft(self.us, self.peer)

    def test_we_forgot(self) -> None:
        """If we have forgotten the session, new packets start a new one, and what still runs for the old is ignored."""
        lost = self.us.send(b"lost")
        carry(self.us, self.peer)
        unlink(self.us, self.peer)
        self.us.delivery.end_session("too long")
        self.assertIsInstance(lost.error, PeerLost)
        link(self.us, self.peer)
        self.us.send(b"new")
        carry(self.us, self.peer)
        self.assertFalse(self.peer.finish(self.peer.running[0]))
        self.settle()
        self.assertEqual(self.data(), [b"lost", b"new"])
        self.assertNothingLeft(self.us, self.peer)

    def test_both_forgot(self) -> None:
        """Two nodes that have both forgotten begin anew."""
        self.us.send(b"lost")
        carry(self.us, self.peer)
        unlink(self.us, self.peer)
        for party in (self.us, self.peer):
            party.delivery.end_session("too long")
        self.peer.running.clear()
        self.peer.load.handlers = 0
        link(self.us, self.peer)
        self.us.send(b"new")
        self.settle()
        self.assertEqual(self.data(), [b"lost", b"new"])

    def test_restart(self) -> None:
        """A new process of the peer gets first, in order and flagged, what the old one may have handled."""
        for n in range(4):
            self.us.send(b"%d" % n)
        carry(self.us, self.peer, 3)
        self.peer.finish(self.peer.running[0])
        receipts(self.peer, self.us)
        unlink(self.us)
        self.us.send(b"4")
        self.peer = Party(3)
        link(self.us, self.peer)
        self.settle()
        self.assertEqual(
            [(packet.data, packet.redelivered) for packet in self.peer.arrived],
            [(b"1", True), (b"2", True), (b"3", False), (b"4", False)],
        )
        self.assertNothingLeft(self.us, self.peer)

    def test_restart_twice(self) -> None:
        """What waits for a third process because the second died early stays flagged and in front."""
        for n in range(3):
            self.us.send(b"%d" % n)
        carry(self.us, self.peer, 2)
        unlink(self.us)
        second = Party(3)
        link(self.us, second)
        carry(self.us, second, 1)
        unlink(self.us)
        self.peer = Party(4)
        link(self.us, self.peer)
        self.settle()
        self.assertEqual(
            [(packet.data, packet.redelivered) for packet in self.peer.arrived],
            [(b"0", True), (b"1", True), (b"2", False)],
        )

    def test_restart_after_timeout(self) -> None:
        """What has timed out is not handed to a new process: its sender may have sent it again."""
        self.us.send(b"old", deadline=10.0)
        carry(self.us, self.peer)
        self.us.delivery.deadline_reached(10.0)
        unlink(self.us)
        self.peer = Party(3)
        link(self.us, self.peer)
        self.us.send(b"new")
        self.settle()
        self.assertEqual(self.data(), [b"new"])
        self.assertNothingLeft(self.us, self.peer)

    def test_restart_withdraw(self) -> None:
        """A packet that waits to be redelivered can still be withdrawn."""
        packet = self.us.send(deadline=10.0)
        carry(self.us, self.peer)
        unlink(self.us)
        link(self.us, Party(3), selected_arrives=False)
        self.us.delivery.deadline_reached(10.0)
        (error,) = self.us.outcomes()
        assert isinstance(error, DeliveryTimeout)
        self.assertTrue(error.written)
        self.assertEqual((packet.settled, self.us.delivery.queued), (True, 0))

    def test_restart_with_smaller_limit(self) -> None:
        """If the new process takes no packets of that size, nobody knows what became of one that was written."""
        packet = self.us.send(bytes(20 * KIB))
        carry(self.us, self.peer)
        unlink(self.us)
        self.peer = Party(3, attrs.evolve(SMALL, max_packet=10 * KIB))
        link(self.us, self.peer)
        carry(self.us, self.peer)
        self.assertIsInstance(packet.error, PeerLost)

    def test_lies(self) -> None:
        """A peer that claims to have what was never sent is found out, and nothing has changed by that."""
        self.us.send(b"data")
        carry(self.us, self.peer)
        truth = self.peer.delivery.state(Select)
        for lie in (
            Select(0, truth.first, truth.peer_stream, truth.received, truth.receipted),
            Select(truth.stream, 0, truth.peer_stream, truth.received, truth.receipted),
            Select(truth.stream, 2**63 + 1, truth.peer_stream, truth.received, truth.receipted),
            Select(truth.stream, truth.first, truth.peer_stream, truth.received + 1, truth.receipted),
            Select(truth.stream, truth.first, truth.peer_stream, 2**64 - 1, truth.receipted),
        ):
            self.assertRaises(RemoteProtocolError, self.us.delivery.judge, lie, boot=2)
            self.assertRaises(RemoteProtocolError, self.us.delivery.resume, lie)
        finish_all(self.peer)
        receipts(self.peer, self.us)
        self.assertEqual(self.us.outcomes(), [None])

    def test_large_numbers(self) -> None:
        """A peer may begin to count anywhere that honest peers can; what we tell it can be sent."""
        unlink(self.us, self.peer)
        self.peer.delivery.end_session("forgotten")
        self.us.attach(self.peer)
        self.us.delivery.resume(Selected(9, 2**63, 0, 0, 0))
        for _ in range(2):
            self.us.receive(encode_data(MessageType.DATA, 0, 0, b""))
        finish_all(self.us)
        (ack,) = self.us.delivery.receipts()
        self.assertEqual(ack.through, 2**63 + 1)


class ForgetTests(LinkedTestCase):
    """A session ends when its peer stays away."""

    def test_forget(self) -> None:
        """After a minute without a link, what was written ends as unknown; the rest goes on waiting for a dialer."""
        written = self.us.send()
        carry(self.us, self.peer)
        self.us.now = 100.0
        unlink(self.us)
        unwritten = self.us.send()
        self.us.delivery.can_dial = True
        self.assertEqual(self.us.delivery.next_deadline(), 160.0)
        self.us.delivery.deadline_reached(159.9)
        self.assertFalse(written.settled)
        self.us.delivery.deadline_reached(160.0)
        self.assertIsInstance(written.error, PeerLost)
        self.assertFalse(unwritten.settled)

    def test_proven(self) -> None:
        """While the process introduces itself again and again, it lives, though no connection becomes the link."""
        written = self.us.send()
        carry(self.us, self.peer)
        unlink(self.us)
        for now in range(50, 500, 50):
            self.us.delivery.proven(self.peer.boot, float(now))
            self.us.delivery.deadline_reached(now + 49.9)
        self.us.delivery.proven(self.peer.boot + 1, 500.0)  # another process says nothing of the former one
        self.assertFalse(written.settled)
        self.us.delivery.deadline_reached(510.0)
        self.assertIsInstance(written.error, PeerLost)

    def test_no_address(self) -> None:
        """Without an address of the peer, nothing will ever send the rest: it ends too."""
        unlink(self.us)
        unwritten = self.us.send()
        self.us.delivery.deadline_reached(60.0)
        self.assertIsInstance(unwritten.error, PeerUnreachable)

    def test_never_linked(self) -> None:
        """That holds for a peer that was never linked, and for what is sent later."""
        us = Party(1)
        early = us.send()
        self.assertEqual(us.delivery.next_deadline(), 60.0)
        us.delivery.deadline_reached(60.0)
        late = us.send()
        self.assertEqual(us.delivery.next_deadline(), 120.0)
        us.delivery.deadline_reached(120.0)
        self.assertEqual([type(packet.error) for packet in (early, late)], [PeerUnreachable] * 2)

    def test_not_while_attached(self) -> None:
        """Time stands still from the selection of a connection until it is lost, even if it never becomes the link."""
        self.us.send()
        carry(self.us, self.peer)
        self.assertIsNone(self.us.delivery.next_deadline())
        self.us.now = 10.0
        unlink(self.us)
        self.us.attach(self.peer)
        self.assertIsNone(self.us.delivery.next_deadline())
        self.us.now = 12.0
        unlink(self.us)
        self.assertEqual(self.us.delivery.next_deadline(), 72.0)

    def test_earliest(self) -> None:
        """The next deadline is the earliest one, of a packet or of the session."""
        unlink(self.us)
        self.us.send(deadline=70.0)
        self.assertEqual(self.us.delivery.next_deadline(), 60.0)
        self.us.send(deadline=80.0)
        link(self.us, self.peer)
        self.assertEqual(self.us.delivery.next_deadline(), 70.0)

    def test_redelivery_ends(self) -> None:
        """What waits for a third process ends as unknown when none comes."""
        packet = self.us.send()
        carry(self.us, self.peer)
        unlink(self.us)
        link(self.us, Party(3), selected_arrives=False)
        unlink(self.us)
        self.us.delivery.can_dial = True
        self.us.delivery.deadline_reached(60.0)
        self.assertIsInstance(packet.error, PeerLost)
        self.assertNothingLeft(self.us)


class AccountsTests(SynchronousTestCase):
    """The books are in order after every step."""

    def test_any_course(self) -> None:
        """Whatever happens, memory is charged for what is held, and every waiter is told the truth once."""
        chosen = hypothesis_settings(deadline=None, max_examples=80, stateful_step_count=40)
        run_state_machine_as_test(Courses, settings=chosen)


class Courses(RuleBasedStateMachine):
    """Two parties, of which we keep the books of one; a mistake is an AssertionError."""

    def __init__(self) -> None:
        super().__init__()
        self.boots = 2
        self.us, self.peer = Party(1), Party(2)
        self.other = Party(99, load=self.us.load)  # another peer of the same node
        self.wire: list[bytes] = []
        self.linked = False
        self.shared: dict[OutgoingPacket, OutgoingPacket] = {}

    # ---- what may happen

    @rule(
        size=st.sampled_from((0, 100, KIB, 3 * KIB, 20 * KIB)),
        timeout=st.booleans(),
        broadcast=st.booleans(),
        from_handler=st.booleans(),
    )
    def send(self, size: int, timeout: bool, broadcast: bool, from_handler: bool) -> None:
        broadcast = broadcast and self.other.delivery.queued < self.other.delivery.queue_limit  # that peer never reads
        shared = SharedPayload() if broadcast else None
        deadline = self.us.now + 10.0 if timeout else None
        try:
            packet = self.us.send(bytes(size), deadline=deadline, shared=shared, from_handler=from_handler)
        except QueueFull:
            assert self.us.delivery.queued >= min(SMALL.queue_limit // 2, SMALL.window) * (1 + from_handler)
            return
        if broadcast:
            self.shared[packet] = self.other.send(bytes(size), shared=shared)

    @rule(most=st.integers(1, 30))
    def write(self, most: int) -> None:
        self.wire += frames(self.us, most)

    @rule(most=st.integers(1, 30))
    def arrive(self, most: int) -> None:
        for frame in self.wire[:most]:
            self.peer.receive(frame)
        del self.wire[:most]

    @precondition(lambda self: self.peer.running)
    @rule(data=st.data(), fails=st.booleans())
    def finish(self, data: st.DataObject, fails: bool) -> None:
        packet = data.draw(st.sampled_from(range(len(self.peer.running))))
        self.peer.finish(self.peer.running[packet], "no" if fails else None)

    @precondition(lambda self: self.linked)
    @rule(arrive=st.booleans())
    def tell(self, arrive: bool) -> None:
        told = self.peer.delivery.receipts()
        for receipt in told if arrive else ():
            self.us.delivery.receipt_received(receipt)
        if told and not arrive:
            self.cut()

    @precondition(lambda self: self.linked)
    @rule()
    def cut(self) -> None:
        self.linked = False
        self.wire.clear()
        unlink(self.us, self.peer)

    @rule(we_select=st.booleans(), selected_arrives=st.booleans())
    def select(self, we_select: bool, selected_arrives: bool) -> None:
        self.wire.clear()
        self.linked = selected_arrives
        ends = (self.us, self.peer) if we_select else (self.peer, self.us)
        link(*ends, selected_arrives=selected_arrives)
        if not selected_arrives:
            unlink(*ends)

    @precondition(lambda self: not self.linked)
    @rule()
    def restart(self) -> None:
        self.boots += 1
        self.peer = Party(self.boots, now=self.us.now)

    @precondition(lambda self: not self.linked)
    @rule(ours=st.booleans())
    def forget(self, ours: bool) -> None:
        (self.us if ours else self.peer).delivery.end_session("too long")

    @rule(seconds=st.sampled_from((1.0, 10.0, 60.0)))
    def wait(self, seconds: float) -> None:
        self.us.now += seconds
        self.us.delivery.deadline_reached(self.us.now)

    @precondition(lambda self: self.us.sent)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, len(self.us.sent) - 1))
        self.us.delivery.withdraw(self.us.sent[number], NodeStopped())

    @rule()
    def give_up(self) -> None:
        self.us.delivery.fail_unwritten(PeerUnreachable(7, 4, "refused"))

    @precondition(lambda self: self.linked)
    @rule()
    def goodbye(self) -> None:
        self.us.delivery.stop_sending(PeerUnreachable(7, 0, "bye"))

    @rule()
    def adopt(self) -> None:
        """Somebody has sent by id before the link stood."""
        by_id = Party(98, now=self.us.now, load=self.us.load)
        self.us.sent.append(by_id.send(b"by id"))
        self.us.delivery.adopt(by_id.delivery)

    # ---- what has to be true

    @invariant()
    def books(self) -> None:
        session = self.us.delivery.session
        streamed = session.outgoing.packets() if session is not None else []
        waiting = [packet for packet in self.us.sent if packet.queued and not packet.settled]
        assert len({*streamed, *waiting}) == len(streamed) + len(waiting)
        held = [packet for packet in streamed if not packet.settled or packet.underway] + waiting
        assert self.us.delivery.queued == sum(packet.charge for packet in held)
        unshared = sum(packet.charge for packet in held if packet not in self.shared)
        broadcasts = sum(packet.charge for packet in self.shared.values())
        assert self.us.load.queued == unshared + broadcasts
        assert all(packet.settled or packet in held for packet in self.us.sent), "a packet was lost silently"
        if session is not None:
            whole = session.outgoing.whole()
            assert session.outgoing.in_flight == sum(packet.share for packet in whole)
            assert session.outgoing.excess == sum(packet.charge - packet.share for packet in whole)
            assert [packet for packet in streamed if packet.sequence] == whole

    @invariant()
    def told_once(self) -> None:
        self.us.outcomes()
        assert Counter(map(id, self.us.told)) == Counter(id(packet) for packet in self.us.sent if packet.settled)

    @invariant()
    def order(self) -> None:
        for packet in self.us.told:
            if isinstance(packet.error, (PeerUnreachable, PacketTooLarge)):
                assert not packet.written or packet.breaks == MAX_BREAKS
            elif packet.error is None or isinstance(packet.error, HandlerFailed):
                assert packet.written

    def teardown(self) -> None:
        """After all that, a link that works brings every packet to its end."""
        if self.linked:
            self.cut()
        link(self.us, self.peer)
        for _ in range(10):
            carry(self.us, self.peer)
            finish_all(self.peer)
            receipts(self.peer, self.us)
        self.us.outcomes()
        assert Counter(map(id, self.us.told)) == Counter(map(id, self.us.sent))
        assert all(packet.error is None or isinstance(packet.error, NetlayerError) for packet in self.us.told)
        self.other.delivery.close()
        assert (self.us.delivery.queued, self.us.load.queued, self.peer.load.reassembling) == (0, 0, 0)
