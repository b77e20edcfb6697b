"""Packets out of DATA and DATA_PART messages: the parts of a large one are put together again, within the limits.

A packet that was announced has its room before its first part comes. Smaller ones, and those of peers that announce
nothing, share what is left; when that is short, those that have come for long already give way to those that begin.
Otherwise a few senders that never finish could keep everybody else out.
"""

from __future__ import annotations

from netlayer.config import Settings
from netlayer.errors import LinkLost, RemoteProtocolError
from netlayer.sansio.bootstrap.reservations import CHECKED_AFTER, TRICKLE, Reservation
from netlayer.sansio.delivery.load import NodeLoad
from netlayer.wire.messages import MAX_UNANNOUNCED, MIN_PART, Announce, Go

__all__ = ["PATIENCE", "Reassembly"]

#: Seconds that a packet may take to arrive before it has to give way to others.
PATIENCE = 5.0
#: The share of the room that announced packets can't take.
_SHARE = 4


class Reassembly:
    """The packet of one connection that is arriving.

    :ivar announces: whether the peer announces large packets.
    :ivar deadline: when to call :meth:`deadline_reached`, or None. There is one while an announced packet waits.
    """

    def __init__(self, *, settings: Settings, load: NodeLoad) -> None:
        self.announces = False
        self.deadline: float | None = None
        self._max_packet = settings.max_packet
        self._limit = settings.reassembly_limit
        self._load = load
        self._parts: list[bytes] = []
        self._size = 0
        self._gave_way = False
        self._begun_at = 0.0
        self._reservation: Reservation | None = None
        self._announced = 0  # how often, on this link

    @property
    def size(self) -> int:
        """How many payload bytes have arrived of it."""
        return self._size

    @property
    def has_begun(self) -> bool:
        """Whether a part has arrived and more are to come."""
        return bool(self._parts)

    def announced(self, message: Announce, now: float) -> None:
        """Make room for the packet that comes next, as soon as there is enough; or for none, if its size is 0.

        :raises RemoteProtocolError: when it comes in the middle of another one, or is too large.
        """
        if not self.announces or self._parts or message.number != self._announced + 1:
            raise RemoteProtocolError(f"announcement {message.number} out of its place")
        if message.size > self._max_packet:
            raise RemoteProtocolError(f"a packet of {message.size} bytes is announced, the most is {self._max_packet}")
        self._announced = message.number
        self._drop_reservation()
        if message.size:
            self._reservation = Reservation(message.number, message.size)
            self._load.reservations.ask(self._reservation, limit=self._limit)
            if not self._reservation.is_granted:
                self.deadline = now

    @property
    def go_is_due(self) -> bool:
        """Whether the peer has to be told that there is room for the packet that it has announced."""
        reservation = self._reservation
        return reservation is not None and reservation.is_granted and not reservation.is_told

    def take_go(self) -> Go:
        """Return what to tell the peer, once."""
        assert self._reservation is not None
        self._reservation.is_told = True
        self.deadline = None
        return Go(self._reservation.number)

    def deadline_reached(self, now: float) -> None:
        """See that nobody holds room for nothing while a packet waits for it."""
        if self.deadline is not None and self.deadline <= now:
            self._load.reservations.check(now)
            self.deadline = now + CHECKED_AFTER / 2

    def add(self, payload: bytes, *, last: bool, now: float) -> bytes | None:
        """Take the payload of the next message; return that of the packet if it is complete.

        :raises RemoteProtocolError: when the packet is too large or was not announced as it is, or a part too small.
        :raises LinkLost: when this node has no memory left for parts; the packet starts over on the next connection.
        """
        if self._size + len(payload) > self._max_packet:
            raise RemoteProtocolError(f"a packet of more than {self._max_packet} bytes")
        if self._gave_way or (self._reservation is not None and self._reservation.has_given_way):
            raise LinkLost("half of a packet gave way to those of others, as it took too long; try again later")
        if last and not self._parts:
            self._drop_reservation()
            return payload
        if not last and len(payload) < MIN_PART:
            raise RemoteProtocolError(f"a part of {len(payload)} bytes, the least is {MIN_PART}")
        self._take_room(len(payload), last=last, now=now)
        self._size += len(payload)
        self._parts.append(payload)
        if not last:
            return None
        whole = b"".join(self._parts)
        self.drop()
        return whole

    def drop(self) -> None:
        """Forget what has arrived of a packet, and what was announced; another one may begin."""
        if self in self._load.arriving:
            self._load.reassembling -= self._size
            del self._load.arriving[self]
        self._drop_reservation()
        self._size = 0
        self._parts = []
        self._gave_way = False

    def begin(self, *, announces: bool) -> None:
        """Begin with a new link.

        :param announces: whether both ends speak of large packets before they send them.
        """
        self.drop()
        self.announces = announces
        self._announced = 0

    # ---- for other connections of the node

    def may_give_way(self, now: float) -> bool:
        """Return whether it has taken its time already. A peer that announces large packets need only make progress."""
        taken = now - self._begun_at
        return taken > PATIENCE and (not self.announces or self._size < TRICKLE * taken)

    def give_way(self) -> None:
        """Forget what has arrived of a packet, of which the rest will not be taken."""
        self.drop()
        self._gave_way = True

    # ---- private

    def _take_room(self, size: int, *, last: bool, now: float) -> None:
        """Take room for the next part out of what was reserved for it, or out of what is left.

        :raises RemoteProtocolError: when the packet was not announced as it is.
        :raises LinkLost: when there is none.
        """
        reservation, whole = self._reservation, self._size + size
        if reservation is not None and reservation.is_told:
            if whole > reservation.size or (last and whole != reservation.size):
                raise RemoteProtocolError(f"a packet of another size than the {reservation.size} bytes announced")
            reservation.arrived = whole
            return
        self._drop_reservation()
        if self.announces and whole > MAX_UNANNOUNCED:
            raise RemoteProtocolError(f"a packet of more than {MAX_UNANNOUNCED} bytes that was not announced")
        if not self._find_room(size, now):
            raise LinkLost(f"this node has {self._load.reassembling} bytes of half-received packets; try again later")
        if not self._parts:
            self._begun_at = now
            self._load.arriving[self] = None
        self._load.reassembling += size

    def _find_room(self, size: int, now: float) -> bool:
        """Have the oldest packets give way until so many bytes more fit; return whether they do."""
        load = self._load
        most = max(self._limit - load.reservations.reserved, self._limit // _SHARE) - size
        if load.reassembling > most:
            for oldest in list(load.arriving):
                if load.reassembling <= most:
                    break
                if oldest is not self and oldest.may_give_way(now):
                    oldest.give_way()
        return load.reassembling <= most

    def _drop_reservation(self) -> None:
        reservation, self._reservation = self._reservation, None
        self.deadline = None
        if reservation is not None:
            self._load.reservations.release(reservation)
