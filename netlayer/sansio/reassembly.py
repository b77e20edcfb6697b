"""Packets out of DATA and DATA_PART messages: the parts of a large one are put together again, within the limits.

The packets of all connections share the memory for that. When it is short, those that have come for long already give
way to those that begin; otherwise a few senders that never finish could keep everybody else out.
"""

from __future__ import annotations

from netlayer.config import Settings
from netlayer.errors import LinkLost, RemoteProtocolError
from netlayer.sansio.load import NodeLoad
from netlayer.wire.messages import MIN_PART

__all__ = ["PATIENCE", "Reassembly"]

#: Seconds that a packet may take to arrive before it has to give way to others.
PATIENCE = 5.0


class Reassembly:
    """The packet of one connection that is arriving.

    :ivar begun_at: when its first part came, if one has.
    """

    def __init__(self, *, settings: Settings, load: NodeLoad) -> None:
        self._max_packet = settings.max_packet
        self._limit = settings.reassembly_limit
        self._load = load
        self._parts: list[bytes] = []
        self._size = 0
        self._gave_way = False
        self.begun_at = 0.0

    @property
    def size(self) -> int:
        """How many payload bytes have arrived of it."""
        return self._size

    @property
    def has_begun(self) -> bool:
        """Whether a part has arrived and more are to come."""
        return bool(self._parts)

    def add(self, payload: bytes, *, last: bool, now: float) -> bytes | None:
        """Take the payload of the next message; return that of the packet if it is complete.

        :raises RemoteProtocolError: when the packet is too large, or a part too small.
        :raises LinkLost: when this node has no memory left for parts; the packet starts over on the next connection.
        """
        if self._size + len(payload) > self._max_packet:
            raise RemoteProtocolError(f"a packet of more than {self._max_packet} bytes")
        if self._gave_way:
            raise LinkLost("half of a packet gave way to those of others, as it took too long; try again later")
        if last and not self._parts:
            return payload
        if not last and len(payload) < MIN_PART:
            raise RemoteProtocolError(f"a part of {len(payload)} bytes, the least is {MIN_PART}")
        if not self._find_room(len(payload), now):
            raise LinkLost(f"this node has {self._load.reassembling} bytes of half-received packets; try again later")
        if not self._parts:
            self.begun_at = now
            self._load.arriving[self] = None
        self._load.reassembling += len(payload)
        self._size += len(payload)
        self._parts.append(payload)
        if not last:
            return None
        whole = b"".join(self._parts)
        self.drop()
        return whole

    def drop(self) -> None:
        """Forget what has arrived of a packet; another one may begin."""
        self._load.reassembling -= self._size
        self._load.arriving.pop(self, None)
        self._size = 0
        self._parts = []
        self._gave_way = False

    def give_way(self) -> None:
        """Forget what has arrived of a packet, of which the rest will not be taken."""
        self.drop()
        self._gave_way = True

    def _find_room(self, size: int, now: float) -> bool:
        """Have the oldest packets give way until so many bytes more fit; return whether they do."""
        load, most = self._load, self._limit - size
        if load.reassembling > most:
            for oldest in list(load.arriving):
                if load.reassembling <= most or now - oldest.begun_at <= PATIENCE:
                    break
                if oldest is not self:
                    oldest.give_way()
        return load.reassembling <= most
