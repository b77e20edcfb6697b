"""What of the packets for one peer is written next, on the link that stands.

Packets that an earlier link has begun come first, then those of the queue. A large one travels in parts, so that
control messages never wait behind all of it.
"""

from __future__ import annotations

import attrs

from netlayer.errors import PacketTooLarge, PeerLost, RemoteProtocolError
from netlayer.sansio.delivery.load import NodeLoad
from netlayer.sansio.delivery.packet import OutgoingPacket
from netlayer.sansio.delivery.queue import SendQueue
from netlayer.sansio.delivery.streams import OutgoingStream
from netlayer.wire.messages import MAX_UNANNOUNCED, Announce, MessageType, encode_data, encode_message

__all__ = ["PacketWriter", "Terms"]

#: Seconds after which a link has brought the receipts that the link before has lost.
SETTLED_AFTER = 1.0

# Members of an IntEnum are slow to find and to pack, and packets are many.
_DATA, _DATA_PART = int(MessageType.DATA), int(MessageType.DATA_PART)


@attrs.frozen(kw_only=True)
class Terms:
    """What both ends of a link have agreed on.

    :ivar window: bytes without a receipt that the peer takes.
    :ivar max_packet: the longest payload that both ends allow.
    :ivar part_size: payload bytes that fit one frame.
    :ivar announces: whether large packets are announced, and wait until the peer has room.
    """

    window: int
    max_packet: int
    part_size: int
    announces: bool


class PacketWriter:
    """Turns the packets for one peer into frames, for as long as one connection is the link.

    :param peer_id: for errors.
    :param terms: what both ends have agreed on.
    :ivar is_open: whether frames may be written: not before both ends know where the streams stand.
    """

    def __init__(
        self, *, peer_id: int | None, outgoing: OutgoingStream, queue: SendQueue, load: NodeLoad, terms: Terms
    ) -> None:
        self.terms = terms
        self._heard_first: float | None = None
        self._heard_last = 0.0
        self.is_open = False
        self._peer_id = peer_id
        self._outgoing = outgoing
        self._queue = queue
        self._load = load
        self._payload = b""  # of the packet that is being written
        self._written = 0  # how much of it
        self._announced: OutgoingPacket | None = None  # the packet that waits for GO, or has it and was not begun
        self._has_go = False
        self._announcements = 0

    def heard(self, now: float) -> None:
        """Note that bytes of the peer came. The first second does not count: receipts may be on their way again."""
        if self._heard_first is None:
            self._heard_first = now
        if now - self._heard_first >= SETTLED_AFTER:
            self._heard_last = now

    def has_frames(self, *, accepts_new: bool) -> bool:
        """Return whether there is something to write, with room in the window or without.

        :param accepts_new: whether packets may be taken from the queue.
        """
        if not self.is_open:
            return False
        waits = accepts_new and bool(self._queue.waiting)
        return waits or self._outgoing.has_begun or self._announced is not None

    @property
    def must_take_back(self) -> bool:
        """Whether a packet was announced that nobody needs any more: what is behind it could be written."""
        return self._announced is not None and self._announced.settled

    def is_awaiting_go(self, packet: OutgoingPacket) -> bool:
        """Return whether the peer has not made room yet for a packet that was announced."""
        return packet is self._announced and not self._has_go

    def go_received(self, number: int, now: float) -> None:
        """Note that the peer has room for the packet of an announcement, unless that was taken back.

        :raises RemoteProtocolError: when there was no such announcement.
        """
        if not 1 <= number <= self._announcements:
            raise RemoteProtocolError(f"GO for announcement {number}, which was not made")
        packet = self._announced
        if packet is not None and number == self._announcements:
            self._has_go = True
            if packet.patience is not None:
                packet.deadline = now + packet.patience

    def next_frame(self, now: float, *, accepts_new: bool) -> bytes | None:
        """Return the next frame, or None while there is nothing to write, or nothing may be begun."""
        if not self.is_open:
            return None
        outgoing = self._outgoing
        packet = outgoing.writing
        if packet is None:
            packet = self._next(accepts_new)
            if packet is None or packet is not self._announced:
                announcement = self._announcement(packet)
                if announcement is not None or packet is None or not self._may_begin():
                    return announcement
            elif not self._has_go:
                return None
            self._begin(packet)
        elif packet.patience is not None:
            packet.deadline = now + packet.patience  # the socket has taken the part before
        start, payload = self._written, self._payload
        end = start + self.terms.part_size
        if end < len(payload):
            self._written = end
            return encode_data(_DATA_PART, packet.flags, packet.tag, payload[start:end])
        outgoing.wrote(window=self.terms.window, now=now)
        self._payload = b""
        if packet.settled:
            self._queue.release(packet)
        return encode_data(_DATA, packet.flags, packet.tag, payload[start:] if start else payload)

    def left(self) -> None:
        """Note that GOODBYE was said: that has taken back what was announced; nothing is said of it any more."""
        self._announced = None

    def interrupt(self) -> None:
        """Note that the link is gone."""
        self.is_open = False
        self._announced = None
        packet = self._outgoing.writing
        self._outgoing.interrupt()
        if packet is not None:
            self._queue.release(packet)

    # ---- private

    def _next(self, accepts_new: bool) -> OutgoingPacket | None:
        """Return the packet that has to be begun next, if there is one."""
        packet = self._outgoing.to_resend()
        if packet is None and accepts_new:
            packet = self._next_in_queue()
        return packet

    def _may_begin(self) -> bool:
        """Return whether there is room in the window, and nothing in flight that has to go alone."""
        room = self.terms.window * 2 if self._load.handlers else self.terms.window
        return self._outgoing.in_flight < room and self._outgoing.may_begin(self._heard_last)

    def _announcement(self, packet: OutgoingPacket | None) -> bytes | None:
        """Announce the next packet if it is large and may be begun, or take back what was announced before."""
        is_large = packet is not None and len(packet.payload) > max(self.terms.part_size, MAX_UNANNOUNCED)
        size = 0
        if is_large and self.terms.announces and packet is not None and self._may_begin():
            size = len(packet.payload)
        if not size and self._announced is None:
            return None
        self._announced, self._has_go = (packet if size else None), False
        self._announcements += 1
        return encode_message(Announce(self._announcements, size))

    def _begin(self, packet: OutgoingPacket) -> None:
        if packet.queued:
            self._queue.take(packet)
        self._announced = None
        self._outgoing.begin(packet, has_parts=len(packet.payload) > self.terms.part_size)
        packet.written = True
        self._payload, self._written = packet.payload, 0

    def _next_in_queue(self) -> OutgoingPacket | None:
        """Return the next packet that the peer takes; it may have told its limit after others were queued."""
        queue, limit = self._queue, self.terms.max_packet
        while (packet := queue.peek()) is not None:
            if len(packet.payload) <= limit:
                return packet
            queue.take(packet)
            too_large = PacketTooLarge(len(packet.payload), limit)
            queue.settle(packet, PeerLost(self._peer_id, str(too_large)) if packet.written else too_large)
        return None
