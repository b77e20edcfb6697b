"""Whether the other end of a connection is alive, and how far away it is."""

from __future__ import annotations

from enum import Enum
from struct import Struct

__all__ = ["FrameTimer", "Liveness", "Pings", "Verdict"]

_OPAQUE = Struct(">Q")

#: PINGs that are remembered: a peer that answers none must not make us remember all.
_REMEMBERED = 16

#: A timer this late means that we were frozen, and that the peer's bytes may wait unread in our own socket.
LATE = 1.0


class Verdict(Enum):
    """What a passed deadline means."""

    ALIVE = "alive"
    ASK = "ask"
    DEAD = "dead"


class FrameTimer:
    """Give each frame some time to arrive whole: who sends it a byte at a time is alive, and holds memory.

    :param timeout: seconds from the first byte of a frame that has not arrived whole.
    :ivar deadline: when :meth:`is_over` has to be asked, or None.
    """

    def __init__(self, timeout: float) -> None:
        self.deadline: float | None = None
        self._timeout = timeout
        self._begins = -1

    def received(self, begins: int, waiting: int, now: float) -> None:
        """Note how far the stream is.

        :param begins: where in it the frame begins that has not arrived whole; another place means another frame.
        :param waiting: how many bytes of it there are.
        """
        if waiting == 0:
            self.deadline = None
        elif begins != self._begins or self.deadline is None:
            self._begins = begins
            self.deadline = now + self._timeout

    def is_over(self, now: float) -> bool:
        """Tell whether the time is over. If we are late ourselves, the rest may wait unread: it gets a second more."""
        if self.deadline is None or now < self.deadline:
            return False
        late = now - self.deadline > LATE
        self.deadline = now + LATE if late else None
        return not late


class Liveness:
    """Watch one connection: silence leads to a PING, more silence to a verdict.

    :param ping_after: seconds of silence after which the peer is asked for a sign of life.
    :param dead_after: seconds of silence after which it is dead.
    :ivar deadline: when to call :meth:`deadline_reached`; calling it earlier does no harm.
    """

    def __init__(self, now: float, *, ping_after: float, dead_after: float) -> None:
        self._ping_after = ping_after
        self._dead_after = dead_after
        self._heard = now
        self._asked = False
        self.deadline = now + ping_after

    def heard(self, now: float) -> None:
        """Note that bytes came."""
        self._heard = now
        if self._asked:
            self._asked = False
            self.deadline = now + self._ping_after

    def deadline_reached(self, now: float) -> Verdict:
        """Judge the silence so far, and set the next deadline."""
        late = now - self.deadline > LATE
        ask_at, dead_at = self._heard + self._ping_after, self._heard + self._dead_after
        if now < ask_at:
            self.deadline = ask_at
            return Verdict.ALIVE
        if late:
            self._asked = True
            self.deadline = now + LATE
            return Verdict.ASK
        if now >= dead_at:
            return Verdict.DEAD
        verdict = Verdict.ALIVE if self._asked else Verdict.ASK
        self._asked = True
        self.deadline = dead_at
        return verdict


class Pings:
    """The PINGs of one connection, and the time that their answers take.

    :ivar round_trip: seconds that the last answered one took, or None.
    """

    def __init__(self) -> None:
        self.round_trip: float | None = None
        self._count = 0
        self._sent: dict[bytes, float] = {}

    def next(self, now: float) -> bytes:
        """Return the eight bytes of a new PING, which its PONG will carry."""
        self._count += 1
        opaque = _OPAQUE.pack(self._count)
        if len(self._sent) >= _REMEMBERED:
            self._sent.clear()
        self._sent[opaque] = now
        return opaque

    def answered(self, opaque: bytes, now: float) -> bool:
        """Take the eight bytes of a PONG; return whether they answer a PING of ours."""
        sent = self._sent.pop(opaque, None)
        if sent is None:
            return False
        self.round_trip = now - sent
        return True
