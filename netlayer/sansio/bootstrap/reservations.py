"""Room for large packets that were announced: given whole, in the order in which it was asked for.

If each sender could begin at once, and whoever has come for long gave way when memory is short, many senders together
would finish nothing: each would be thrown out before its end. Here the first ones finish, then the next.
"""

from __future__ import annotations

__all__ = ["CHECKED_AFTER", "TRICKLE", "Reservation", "Reservations"]

#: Bytes a second below which an arriving packet trickles. A tenth of a second of any modem, or somebody who holds room.
TRICKLE = 4096
#: Seconds over which that is measured, so that even a slow way brings several parts.
CHECKED_AFTER = 30.0


class Reservation:
    """Room for one packet.

    :param number: of the announcement, on its link.
    :param size: payload bytes of the packet.
    :ivar is_granted: whether it has the room.
    :ivar is_told: whether the sender knows that.
    :ivar has_given_way: whether it had the room and lost it.
    :ivar arrived: bytes of the packet that have come.
    """

    __slots__ = ("arrived", "has_given_way", "is_granted", "is_told", "number", "seen_arrived", "seen_at", "size")

    def __init__(self, number: int, size: int) -> None:
        self.number = number
        self.size = size
        self.is_granted = self.is_told = self.has_given_way = False
        self.arrived = 0
        self.seen_at: float | None = None  # when it was looked at, and what had come by then
        self.seen_arrived = 0


class Reservations:
    """All reservations of one node.

    :ivar reserved: bytes for packets that may arrive.
    :ivar has_news: whether room was given since :meth:`take_news`.
    """

    def __init__(self) -> None:
        self.reserved = 0
        self.has_news = False
        self._limit = 0
        self._held: dict[Reservation, None] = {}
        self._waiting: dict[Reservation, None] = {}  # in the order in which they came

    def ask(self, reservation: Reservation, *, limit: int) -> None:
        """Give room to a packet, now or when those before it have left enough.

        :param limit: bytes that all may take; one packet gets room if nothing else has any.
        """
        self._limit = limit
        self._waiting[reservation] = None
        self._give()

    def release(self, reservation: Reservation) -> None:
        """Take back the room of a packet that has arrived, or will not."""
        self._waiting.pop(reservation, None)
        if reservation in self._held:
            del self._held[reservation]
            self.reserved -= reservation.size
        self._give()

    def take_news(self) -> bool:
        """Return whether room was given since the last call."""
        has_news, self.has_news = self.has_news, False
        return has_news

    def check(self, now: float) -> None:
        """Take back the room of packets that trickle, if others wait. Called every now and then while any do."""
        if not self._waiting:
            return
        for reservation in list(self._held):
            seen = reservation.seen_at
            if seen is not None and now - seen < CHECKED_AFTER:
                continue
            if seen is not None and reservation.arrived - reservation.seen_arrived < TRICKLE * (now - seen):
                reservation.has_given_way = True
                self.release(reservation)
            reservation.seen_at, reservation.seen_arrived = now, reservation.arrived

    def _give(self) -> None:
        while self._waiting:
            reservation = next(iter(self._waiting))
            if self._held and self.reserved + reservation.size > self._limit:
                return
            del self._waiting[reservation]
            self._held[reservation] = None
            self.reserved += reservation.size
            reservation.is_granted = self.has_news = True
