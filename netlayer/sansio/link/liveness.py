"""Whether the other end of a connection is alive, and how far away it is."""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum
from struct import Struct

from netlayer.sansio.link.pacing import Mark

__all__ = ["FrameTimer", "Liveness", "Pings", "Verdict"]

_OPAQUE = Struct(">Q")

#: PINGs that are remembered: a peer that answers none must not make us remember all. Of several it may answer the last.
_REMEMBERED = 16

#: A timer this late means that we were frozen, and that the peer's bytes may wait unread in our own socket.
LATE = 1.0


class Verdict(Enum):
    """What a passed deadline means."""

    ALIVE = "alive"
    ASK = "ask"
    SPEAK = "speak"
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
    """Watch one connection: silence of the peer leads to a PING and then to a verdict, our own to a sign of life.

    :param ping_after: seconds of silence after which the peer is asked for a sign of life, or is given one, if it says
        something meanwhile.
    :param dead_after: seconds of silence after which it is dead.
    """

    def __init__(self, now: float, *, ping_after: float, dead_after: float) -> None:
        self._ping_after = ping_after
        self._dead_after = dead_after
        self._heard = self._spoke = now
        self._asked = False
        self._judge_at = now + ping_after
        self._speak_at = now  # when to see whether it is our turn to say something, if the peer was heard since

    @property
    def deadline(self) -> float:
        """When to call :meth:`deadline_reached`; calling it earlier does no harm."""
        if self._heard > self._spoke and self._speak_at < self._judge_at:
            return self._speak_at
        return self._judge_at

    def heard(self, now: float) -> None:
        """Note that bytes came."""
        if self._heard <= self._spoke:
            self._speak_at = self._spoke + self._ping_after / 2
        self._heard = now
        if self._asked:
            self._asked = False
            self._judge_at = now + self._ping_after

    def spoke(self, now: float) -> None:
        """Note that bytes were written."""
        self._spoke = now

    def deadline_reached(self, now: float, *, arriving: bool = False) -> Verdict:
        """Judge the silence so far, and set the next deadline.

        :param arriving: whether a packet is arriving, of which not all has come: its sender, who can only wait, is
            given a sign of life after half the time.
        """
        late = now - self._judge_at > LATE
        ask_at, dead_at = self._heard + self._ping_after, self._heard + self._dead_after
        if now < ask_at:
            self._judge_at = ask_at
            return self._look_at_ourselves(now, arriving)
        if now >= dead_at and not late:
            return Verdict.DEAD
        verdict = Verdict.ALIVE if self._asked and not late else Verdict.ASK
        self._judge_at = now + LATE if late else dead_at
        self._asked = True
        if verdict is Verdict.ASK:
            self._spoke = now
        return verdict

    def _look_at_ourselves(self, now: float, arriving: bool) -> Verdict:
        """Return whether it is our turn to say something, as the peer does and hears nothing."""
        if self._heard <= self._spoke:
            return Verdict.ALIVE
        half_at, whole_at = self._spoke + self._ping_after / 2, self._spoke + self._ping_after
        if now >= (half_at if arriving else whole_at):
            self._spoke = now  # it is said as soon as the transport takes it
            return Verdict.SPEAK
        self._speak_at = half_at if now < half_at else whole_at
        return Verdict.ALIVE


class Pings:
    """The PINGs of one connection, what was written before them, and the time that their answers take.

    :ivar round_trip: seconds that the last answered one took, or None.
    """

    def __init__(self) -> None:
        self.round_trip: float | None = None
        self._count = 0
        self._sent: OrderedDict[bytes, tuple[float, Mark]] = OrderedDict()

    def next(self, now: float, mark: Mark) -> bytes:
        """Return the eight bytes of a new PING, which its PONG will carry.

        :param mark: what the PONG will confirm.
        """
        self._count += 1
        opaque = _OPAQUE.pack(self._count)
        if len(self._sent) >= _REMEMBERED:
            self._sent.popitem(last=False)
        self._sent[opaque] = now, mark
        return opaque

    def answered(self, opaque: bytes, now: float) -> Mark | None:
        """Take the eight bytes of a PONG; return what it confirms, or None if it answers no PING of ours."""
        if opaque not in self._sent:
            return None
        sent, mark = self._sent.pop(opaque)
        self.round_trip = now - sent
        return mark
