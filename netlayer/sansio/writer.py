"""What of the packets for one peer is written next, on the link that stands.

Packets that an earlier link has begun come first, then those of the queue. A large one travels in parts, so that
control messages never wait behind all of it.
"""

from __future__ import annotations

import attrs

from netlayer.errors import PacketTooLarge, PeerLost
from netlayer.sansio.load import NodeLoad
from netlayer.sansio.send_queue import SendQueue
from netlayer.sansio.streams import OutgoingPacket, OutgoingStream
from netlayer.wire.messages import MessageType, encode_data

__all__ = ["PacketWriter", "Terms"]

# Members of an IntEnum are slow to find and to pack, and packets are many.
_DATA, _DATA_PART = int(MessageType.DATA), int(MessageType.DATA_PART)


@attrs.frozen(kw_only=True)
class Terms:
    """What both ends of a link have agreed on.

    :ivar window: bytes without a receipt that the peer takes.
    :ivar max_packet: the longest payload that both ends allow.
    :ivar part_size: payload bytes that fit one frame.
    """

    window: int
    max_packet: int
    part_size: int


class PacketWriter:
    """Turns the packets for one peer into frames, for as long as one connection is the link.

    :param peer_id: for errors.
    :param terms: what both ends have agreed on.
    :ivar heard_at: when bytes of the peer came last.
    :ivar is_open: whether frames may be written: not before both ends know where the streams stand.
    """

    def __init__(
        self, *, peer_id: int | None, outgoing: OutgoingStream, queue: SendQueue, load: NodeLoad, terms: Terms
    ) -> None:
        self.terms = terms
        self.heard_at = 0.0
        self.is_open = False
        self._peer_id = peer_id
        self._outgoing = outgoing
        self._queue = queue
        self._load = load
        self._payload = b""  # of the packet that is being written
        self._written = 0  # how much of it

    def has_frames(self, *, accepts_new: bool) -> bool:
        """Return whether there is something to write, with room in the window or without.

        :param accepts_new: whether packets may be taken from the queue.
        """
        return self.is_open and (self._outgoing.has_begun or (accepts_new and bool(self._queue.waiting)))

    def next_frame(self, now: float, *, accepts_new: bool) -> bytes | None:
        """Return the next frame, or None while there is nothing to write, or nothing may be begun."""
        if not self.is_open:
            return None
        outgoing = self._outgoing
        packet = outgoing.writing
        if packet is None:
            packet = self._begin(accepts_new, now)
            if packet is None:
                return None
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

    def interrupt(self) -> None:
        """Note that the link is gone."""
        self.is_open = False
        packet = self._outgoing.writing
        self._outgoing.interrupt()
        if packet is not None:
            self._queue.release(packet)

    # ---- private

    def _begin(self, accepts_new: bool, now: float) -> OutgoingPacket | None:
        """Begin the next packet if there is one, and room for it in the window."""
        outgoing, queue = self._outgoing, self._queue
        room = self.terms.window * 2 if self._load.handlers else self.terms.window
        if outgoing.in_flight >= room:
            return None
        packet = outgoing.to_resend()
        is_new = packet is None
        if packet is None and accepts_new:
            packet = self._next_in_queue()
        if packet is None or not outgoing.may_begin(packet, now=now, heard=self.heard_at):
            return None
        if is_new:
            queue.take(packet)
        outgoing.begin(packet, has_parts=len(packet.payload) > self.terms.part_size)
        packet.written = True
        self._payload, self._written = packet.payload, 0
        return packet

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
