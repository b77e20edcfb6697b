"""Whether the other end of a link lives: asked when somebody else claims its place."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["Probes"]


class Probes:
    """The questions to one peer that are under way; they are answered together.

    An answer to the last question is believed at once. Other bytes may be older than that, and the last ones of a
    process that is gone: they count if the link still stands when the time is over.

    :param timeout: seconds that the peer has.
    :ivar heard: whether any byte has come; set by the driver.
    """

    __slots__ = ("_asked", "_clock", "_timeout", "_timer", "_waiting", "heard")

    def __init__(self, clock: IReactorTime, timeout: float) -> None:
        self.heard = False
        self._clock = clock
        self._timeout = timeout
        self._timer: IDelayedCall | None = None
        self._asked = b""
        self._waiting: list[Deferred[bool]] = []

    def add(self, asked: bytes) -> Deferred[bool]:
        """Return a Deferred that fires with whether the peer lives.

        :param asked: the eight bytes of the PING that asks it.
        """
        self._asked = asked
        if self._timer is None:
            self.heard = False
            self._timer = self._clock.callLater(self._timeout, self._out_of_time)
        alive: Deferred[bool] = Deferred()
        self._waiting.append(alive)
        return alive

    def answered(self, opaque: bytes) -> None:
        """Take the eight bytes of a PONG; that to a PING of before the question says nothing."""
        if opaque >= self._asked:
            self.end(alive=True)

    def end(self, alive: bool) -> None:
        """Answer all questions that are under way."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(alive)

    def _out_of_time(self) -> None:
        self.end(self.heard)
