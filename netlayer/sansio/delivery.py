"""Delivery to one peer: the send queue, and the session that carries it over broken connections.

A *session* is the state towards one process of the peer (one boot): our stream, theirs, and all receipts. It outlives
connections; the rules by which two ends take it up again are those of ``docs/reference/wire-protocol.rst``, "Resume".
"""

from __future__ import annotations

import random
from collections import OrderedDict, deque
from typing import Any

from netlayer.config import Settings
from netlayer.errors import (
    DeliveryTimeout,
    HandlerFailed,
    LinkLost,
    NodeStopped,
    PacketTooLarge,
    PeerLost,
    PeerUnreachable,
    QueueFull,
    RemoteProtocolError,
)
from netlayer.handlers import DataPacket
from netlayer.sansio.load import PACKET_OVERHEAD, NodeLoad
from netlayer.sansio.streams import IncomingStream, OutgoingPacket, OutgoingStream
from netlayer.wire.messages import (
    DATA_HEADER_SIZE,
    MIN_MAX_FRAME,
    MIN_PART,
    MIN_WINDOW,
    Ack,
    Done,
    Flag,
    MessageType,
    Nack,
    Select,
    encode_data,
)
from netlayer.wire.payload import decode_value

__all__ = ["Delivery", "Session"]


#: The highest number that a peer's stream may begin with: nobody gets there, and numbers stay below 2^64.
MAX_FIRST = 2**63


class Session:
    """The state of delivery between this process and one process of the peer.

    :ivar boot: the boot number of the peer's process.
    :ivar peer_told: the id of the peer's stream as it was told last, or None before that.
    """

    def __init__(self, boot: int, stream_id: int) -> None:
        self.boot = boot
        self.outgoing = OutgoingStream(stream_id)
        self.incoming: IncomingStream | None = None
        self.peer_told: int | None = None


class Delivery:
    """Everything that is under way to and from one peer.

    Packets that end are collected; :meth:`take_settled` hands them over, and the driver tells whoever waits.

    :ivar queued: charged bytes that are unsent or without a receipt.
    :ivar can_dial: whether this node has an address of the peer. Without one, what was never written fails when the
        session ends.
    """

    def __init__(
        self, *, peer_id: int | None, settings: Settings, load: NodeLoad, rng: random.Random, now: float
    ) -> None:
        self.peer_id = peer_id
        self.queued = 0
        self.can_dial = False
        self.session: Session | None = None
        self._settings = settings
        self._load = load
        self._rng = rng
        self._queue: deque[OutgoingPacket] = deque()
        self._withdrawn = 0  # settled packets that still stand in the queue
        self._number = 0
        self._deadlines: OrderedDict[OutgoingPacket, float] = OrderedDict()
        self._settled: list[OutgoingPacket] = []
        # the present link
        self._attached = False
        self._accepts_new = False
        self._forget_at: float | None = now + settings.session_timeout
        self._window = MIN_WINDOW
        self._max_packet = settings.max_packet
        self._part_size = settings.buffer_size
        self._part_from = 0  # how much of the packet at the cursor was written
        self._parts: list[bytes] = []  # of the packet that is arriving
        self._parts_size = 0
        load.queues.add(self)

    # ---- the sender's side

    def submit(self, packet: OutgoingPacket) -> int:
        """Queue a packet and return its number.

        :raises QueueFull: when the queue is at its limit, or is the longest while the node is at its own.
        :raises PacketTooLarge: when the peer takes no packets of this size.
        """
        if len(packet.payload) > self._max_packet:
            raise PacketTooLarge(len(packet.payload), self._max_packet)
        limit = self.queue_limit
        if self.queued >= limit:
            raise QueueFull(self.peer_id, self.queued, limit)
        node_limit = self._settings.node_queue_limit
        if self._load.queued >= node_limit and self._load.is_longest(self):
            raise QueueFull(self.peer_id, self._load.queued, node_limit)
        self._number += 1
        packet.number = self._number
        packet.delivery = self
        self._charge(packet)
        self._queue.append(packet)
        if packet.deadline is not None:
            self._deadlines[packet] = packet.deadline
        return packet.number

    def withdraw(self, packet: OutgoingPacket, error: Exception) -> None:
        """Settle a packet whose caller waits no longer. It is not sent, unless some of it was written before."""
        if packet.settled:
            return
        if not packet.queued:  # the stream holds it: its number has to be sent, and its receipt will come
            self._settle(packet, error, charged=True)
            return
        self._settle(packet, error)
        packet.payload = b""
        self._withdrawn += 1
        if self._withdrawn * 2 > len(self._queue):
            self._queue = deque(queued for queued in self._queue if not queued.settled)
            self._withdrawn = 0

    def adopt(self, other: Delivery) -> None:
        """Take over what waits in the queue of `other`, which was made before it was known whose queue it is."""
        for packet in other._take_queue():
            other._uncharge(packet)
            self._charge(packet)
            packet.delivery = self
            self._number += 1
            self._queue.append(packet)
            if packet.deadline is not None:
                del other._deadlines[packet]
                self._deadlines[packet] = packet.deadline
        self._deadlines = OrderedDict(sorted(self._deadlines.items(), key=lambda item: item[1]))
        other.close()

    def next_frame(self) -> bytes | None:
        """Return the next frame of packets, or None while there is nothing to send or no room in the window."""
        session = self.session
        if session is None or not self._attached:
            return None
        outgoing = session.outgoing
        if self._part_from == 0:
            if not self._accepts_new and outgoing.cursor == outgoing.next:
                return None
            room = self._window * 2 if self._load.handlers else self._window
            if outgoing.in_flight >= room:
                return None
        packet = outgoing.to_resend() or self._take_from_queue(outgoing)
        if packet is None:
            return None
        packet.written = True
        start, payload = self._part_from, packet.payload
        end = start + self._part_size
        if end < len(payload):
            self._part_from = end
            return encode_data(MessageType.DATA_PART, packet.flags, packet.tag, payload[start:end])
        self._part_from = 0
        outgoing.wrote(packet)
        return encode_data(MessageType.DATA, packet.flags, packet.tag, payload[start:] if start else payload)

    @property
    def has_begun(self) -> bool:
        """Whether packets that were begun, on this link or an earlier one, are not written whole yet."""
        outgoing = self.session.outgoing if self.session else None
        return outgoing is not None and outgoing.cursor < outgoing.next

    def receipt_received(self, message: Ack | Done | Nack) -> None:
        """Settle the packets that a receipt names.

        :raises RemoteProtocolError: when the receipt names a packet that was not sent.
        """
        assert self.session is not None  # receipts are legal on a link only, and a link has a session
        outgoing = self.session.outgoing
        if isinstance(message, Ack):
            for packet in outgoing.receipts_through(message.through):
                self._settle(packet, None)
            return
        named = outgoing.receipt(message.number)
        if named is not None:
            error = HandlerFailed(self.peer_id, message.text) if isinstance(message, Nack) else None
            self._settle(named, error)

    def take_settled(self) -> list[OutgoingPacket]:
        """Return the packets that have ended since the last call, and that somebody waits for or that failed."""
        settled, self._settled = self._settled, []
        return settled

    # ---- the receiver's side

    def data_received(self, body: bytes, *, last: bool, sender_id: int) -> DataPacket | None:
        """Take the body of a DATA or DATA_PART message; return the packet if this completes one.

        :raises RemoteProtocolError: when the body is malformed, or the packet exceeds a limit.
        :raises LinkLost: when this node has no memory left for parts; the packet starts over on the next connection.
        """
        assert self.session is not None and self.session.incoming is not None  # as there is a link
        incoming = self.session.incoming
        settings = self._settings
        if len(body) < DATA_HEADER_SIZE:
            raise RemoteProtocolError("a DATA message without flags and tag")
        flags, tag = body[0], body[1]
        if flags & ~7:
            raise RemoteProtocolError(f"unknown flags {flags:#x} in a DATA message")
        if not self._parts and incoming.unreceipted >= 2 * settings.window:
            raise RemoteProtocolError(f"{incoming.unreceipted} bytes without a receipt, window {settings.window}")
        payload = body[DATA_HEADER_SIZE:]
        if self._parts or not last:
            self._add_part(payload, last=last)
            if not last:
                return None
            payload = b"".join(self._parts)
            self._drop_parts()
        elif len(payload) > settings.max_packet:
            raise RemoteProtocolError(f"a packet of {len(payload)} bytes, limit {settings.max_packet}")
        value = decode_value(tag, payload)
        return DataPacket(
            sender_id,
            value,
            flags & Flag.BROADCAST != 0,
            flags & Flag.REDELIVERED != 0,
            incoming,
            incoming.arrived(len(payload) + PACKET_OVERHEAD),
            flags & Flag.RECEIPT_NOW != 0,
        )

    def handler_finished(self, packet: DataPacket, failure: str | None) -> bool:
        """Note that the handler of a packet finished; return whether its session still lives.

        :param failure: what the sender is told if the handler failed.
        """
        session = self.session
        if session is None or session.incoming is None or session.incoming is not packet._stream:
            return False
        session.incoming.finished(packet._number, failure)
        return True

    def receipts(self) -> list[Ack | Done | Nack]:
        """Return the receipts to send now."""
        return self.session.incoming.receipts() if self.session and self.session.incoming else []

    @property
    def untold(self) -> int:
        """Charged bytes of packets that are handled and not receipted."""
        return self.session.incoming.untold if self.session and self.session.incoming else 0

    @property
    def drained(self) -> bool:
        """Whether nothing is in flight: our packets have their receipts, the peer's are handled and receipted."""
        session = self.session
        return session is None or (
            not session.outgoing and (session.incoming is None or session.incoming.unreceipted == 0)
        )

    # ---- links come and go

    def attach(self, *, boot: int, window: int, max_frame: int, max_packet: int) -> None:
        """Begin to use a connection that was selected, with the limits that its peer announced."""
        self._detach_parts()
        self._attached = False
        self._accepts_new = True
        self._forget_at = None
        self._window = window
        self._max_packet = min(max_packet, self._settings.max_packet)
        self._part_size = min(self._settings.buffer_size, max(max_frame, MIN_MAX_FRAME) - 1 - DATA_HEADER_SIZE)
        if self.session is None:
            self.session = Session(boot, self._new_stream_id())
        elif self.session.boot != boot:
            self._replace_session(boot)

    def state(self, message: type[Any] = Select) -> Any:
        """Return the SELECT or SELECTED that says where our streams stand."""
        assert self.session is not None
        outgoing, incoming = self.session.outgoing, self.session.incoming
        held = (incoming.id, incoming.received) if incoming is not None and incoming.confirmed else (0, 0)
        return message(outgoing.id, outgoing.first, *held, outgoing.first - 1)

    def judge(self, told: Select, *, boot: int) -> None:
        """Raise if what the peer tells can't be. Nothing has changed then, and another link is not disturbed.

        :raises RemoteProtocolError: when the peer claims what can't be.
        """
        if told.stream == 0 or not 1 <= told.first <= MAX_FIRST:
            raise RemoteProtocolError(f"stream {told.stream} can't begin with packet {told.first}")
        session = self.session
        if session is not None and session.boot == boot:
            received = self._last_received(session, told)
            if received is not None:
                session.outgoing.judge_resume(received)

    def resume(self, told: Select) -> None:
        """Apply the state that the peer has told in its SELECT or SELECTED; packets may flow from now on.

        :raises RemoteProtocolError: when the peer claims what can't be.
        """
        session = self.session
        assert session is not None
        self.judge(told, boot=session.boot)
        outgoing, incoming = session.outgoing, session.incoming
        received = self._last_received(session, told)
        if received is not None:
            outgoing.resume_behind(received)
        else:
            reason = "the peer has forgotten the session"
            for packet in outgoing.clear():
                self._settle(packet, PeerLost(self.peer_id, reason))
        session.peer_told = told.stream
        if incoming is not None and incoming.confirmed and incoming.id == told.stream:
            incoming.repeat_receipts(told.receipted)
        else:
            keep = 2 * self._settings.window + self._settings.max_packet + PACKET_OVERHEAD
            session.incoming = IncomingStream(told.stream, first=told.first, keep=keep)
        self._attached = True

    def stop_sending(self, error: Exception) -> None:
        """Begin no further packet on this link; fail those that were not begun."""
        self._accepts_new = False
        self._fail_queue(error, lost="the session has ended")

    def detach(self, now: float) -> None:
        """Note that the connection in use is gone. The session is kept for a while."""
        self._detach_parts()
        self._attached = False
        self._accepts_new = False
        self._max_packet = self._settings.max_packet
        self._forget_at = now + self._settings.session_timeout

    def end_session(self, reason: str) -> None:
        """Forget the session: what was written without a receipt ends in PeerLost."""
        session, self.session = self.session, None
        self._attached = False
        if session is not None:
            for packet in session.outgoing.clear():
                self._settle(packet, PeerLost(self.peer_id, reason))
        for packet in self._take_queue():
            if packet.written:
                self._settle(packet, PeerLost(self.peer_id, reason))
            else:
                self._queue.append(packet)

    def fail_unwritten(self, error: Exception) -> None:
        """Fail the packets that were never written: the peer can't be reached."""
        for packet in self._take_queue():
            if packet.written:
                self._queue.append(packet)
            else:
                self._settle(packet, error)

    def close(self, error: Exception | None = None) -> None:
        """End everything; the object is not used again."""
        self._fail_queue(error or NodeStopped(), lost="this node was shut down")
        self.end_session("this node was shut down")
        self._detach_parts()
        self._load.queues.discard(self)

    @property
    def queue_limit(self) -> int:
        """Bytes from which on packets are refused; two windows of the peer at most, as no more can be in flight."""
        return min(self._settings.queue_limit, 2 * self._window) if self._attached else self._settings.queue_limit

    @property
    def idle(self) -> bool:
        """Whether nothing would be lost if this object were dropped."""
        return self.session is None and not self.queued

    # ---- time

    def next_deadline(self) -> float | None:
        """Return when :meth:`deadline_reached` has to be called, or None."""
        first = next(iter(self._deadlines.values()), None)
        if self._forget_at is None or (first is not None and first < self._forget_at):
            return first
        return self._forget_at

    def deadline_reached(self, now: float) -> None:
        """Time out packets, and forget a session that had no link for too long."""
        while self._deadlines:
            packet, deadline = next(iter(self._deadlines.items()))
            if deadline > now:
                break
            del self._deadlines[packet]
            self.withdraw(packet, DeliveryTimeout(self.peer_id, self._settings.delivery_timeout, packet.written))
        if self._forget_at is not None and self._forget_at <= now:
            self.end_session(f"no connection for {self._settings.session_timeout:g} s")
            if not self.can_dial:
                reason = "no connection came, and no address is known"
                self.fail_unwritten(PeerUnreachable(self.peer_id, 0, reason))
            self._forget_at = now + self._settings.session_timeout

    # ---- private

    def _take_from_queue(self, outgoing: OutgoingStream) -> OutgoingPacket | None:
        while self._queue:
            packet = self._queue.popleft()
            if packet.settled:
                self._withdrawn -= 1
                continue
            if len(packet.payload) > self._max_packet:  # queued before this peer said what it takes
                too_large = PacketTooLarge(len(packet.payload), self._max_packet)
                self._settle(packet, PeerLost(self.peer_id, str(too_large)) if packet.written else too_large)
                continue
            packet.queued = False
            outgoing.append(packet)
            return packet
        return None

    def _add_part(self, payload: bytes, *, last: bool) -> None:
        size = self._parts_size + len(payload)
        if size > self._settings.max_packet:
            raise RemoteProtocolError(f"a packet of more than {self._settings.max_packet} bytes")
        if not last and len(payload) < MIN_PART:
            raise RemoteProtocolError(f"a part of {len(payload)} bytes, the least is {MIN_PART}")
        if self._load.reassembling + len(payload) > self._settings.reassembly_limit:
            raise LinkLost(f"this node has {self._load.reassembling} bytes of half-received packets; try again later")
        self._load.reassembling += len(payload)
        self._parts_size = size
        self._parts.append(payload)

    def _drop_parts(self) -> None:
        self._load.reassembling -= self._parts_size
        self._parts_size = 0
        self._parts = []

    def _detach_parts(self) -> None:
        self._drop_parts()
        self._part_from = 0

    def _last_received(self, session: Session, told: Select) -> int | None:
        """Return the last packet of ours that the peer has, or None if it has forgotten what it had."""
        if told.peer_stream == session.outgoing.id:
            return told.received
        if told.stream == session.peer_told:
            return session.outgoing.first - 1  # the same process, which never had a packet of ours
        return None

    def _replace_session(self, boot: int) -> None:
        """The peer's process was replaced: what it left without a receipt goes to the new one first, flagged."""
        assert self.session is not None
        old, self.session = self.session, Session(boot, self._new_stream_id())
        for packet in reversed(old.outgoing.clear()):
            if packet.settled:  # its caller was told that the outcome is unknown
                self._uncharge(packet)
            else:
                packet.flags |= Flag.REDELIVERED
                packet.queued = True
                self._queue.appendleft(packet)

    def _new_stream_id(self) -> int:
        return self._rng.randrange(1, 2**64)

    def _take_queue(self) -> list[OutgoingPacket]:
        waiting = [packet for packet in self._queue if not packet.settled]
        self._queue.clear()
        self._withdrawn = 0
        return waiting

    def _fail_queue(self, error: Exception, *, lost: str) -> None:
        for packet in self._take_queue():
            self._settle(packet, PeerLost(self.peer_id, lost) if packet.written else error)

    def _charge(self, packet: OutgoingPacket) -> None:
        self.queued += packet.charge
        if packet.shared is not None:
            packet.shared.holders += 1
            if packet.shared.holders > 1:
                return
        self._load.queued += packet.charge

    def _uncharge(self, packet: OutgoingPacket) -> None:
        self.queued -= packet.charge
        if packet.shared is not None:
            packet.shared.holders -= 1
            if packet.shared.holders > 0:
                return
        self._load.queued -= packet.charge

    def _settle(self, packet: OutgoingPacket, error: Exception | None, *, charged: bool = False) -> None:
        """Give a packet its outcome, once; it stays `charged` while the stream still holds it."""
        if not charged:
            self._uncharge(packet)
        if packet.settled:
            return
        packet.settled = True
        packet.error = error
        if packet.deadline is not None:
            self._deadlines.pop(packet, None)
        if packet.waiter is not None or error is not None:
            self._settled.append(packet)
