"""How much of a link's packets may be on their way at once, so that control messages get through in time.

Deep buffers between two nodes take megabytes at once and let them out slowly. A PONG behind them is seconds late, on
this link and on every other one that shares the way. So an end keeps little in them: what the peer reads within
:data:`SPAN` seconds, and :data:`LEAST` more. A fast way opens up within a few round trips.

How fast the peer reads is measured as BBR does it (Cardwell and others, *BBR: Congestion-Based Congestion Control*, ACM
Queue 14, 2016): by what was read from the last PONG before a mark was written to the mark's own PONG, divided by the
time between the two PONGs or that in which it was written, whichever is longer. Either alone goes wrong when PONGs are
late and come all at once.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["LEAST", "SPAN", "Mark", "Pacing"]

#: Bytes that may always be on their way: one frame. At 15 kB/s they take 4.4 s, so that a PONG is never near death.
LEAST = 65536
#: Seconds of the way that are filled. More than any round trip, and little beside the time that silence takes to kill.
SPAN = 2.0
#: Marks that are under way at once, about. Fewer would let the way run dry between them.
_MARKS = 8
#: The shortest time that is measured, in seconds.
_SHORTEST = 0.0001


class Mark(NamedTuple):
    """How far a link was when a PING was written.

    :ivar written: bytes of packets before it.
    :ivar read: those of them that the peer was known to have read.
    :ivar read_at: since when that was known.
    :ivar read_sent: when the mark was written that had told it.
    :ivar sent: when this one was written.
    :ivar number: the last packet that was written whole before it.
    """

    written: int
    read: int
    read_at: float
    read_sent: float
    sent: float
    number: int


class Pacing:
    """Counts the bytes of packets that one end has written on a link, and how many of them the peer has read.

    A *mark* is a PING behind what was written: its PONG tells that all of that was read.

    :ivar written: bytes of packets so far.
    """

    def __init__(self) -> None:
        self.written = 0
        self._read = 0
        self._read_at = self._read_sent = 0.0
        self._marked = 0
        self._allowed = LEAST

    @property
    def room(self) -> int:
        """How many bytes more may be written; below 1 if none."""
        return self._allowed - (self.written - self._read)

    @property
    def is_mark_due(self) -> bool:
        """Whether a mark has to be written now. While there is no room, there always is one on its way."""
        unmarked = self.written - self._marked
        if unmarked >= max(LEAST, self._allowed // _MARKS):
            return True
        return unmarked > 0 and self._marked <= self._read and self.room <= 0

    def mark(self, number: int, now: float) -> Mark:
        """Return the mark of a PING that is written now.

        :param number: the last packet that was written whole.
        """
        if self._marked <= self._read:  # none is on its way: the time before tells nothing
            self._read_at = self._read_sent = now
        self._marked = self.written
        return Mark(self.written, self._read, self._read_at, self._read_sent, now, number)

    def confirmed(self, mark: Mark, now: float) -> None:
        """Note that the peer has read everything before a mark."""
        if mark.written > self._read:
            self._read, self._read_at, self._read_sent = mark.written, now, mark.sent
            took = max(now - mark.read_at, mark.sent - mark.read_sent, _SHORTEST)
            self._allowed = LEAST + int(SPAN * (mark.written - mark.read) / took)
