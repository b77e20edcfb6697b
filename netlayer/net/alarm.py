"""One thing's timer: it goes off at the earliest of several deadlines, or earlier, when it asks what is due."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["Alarm"]

#: Calls that are under way at once. Deadlines that come one before the other would make more and more of them.
MOST = 8


class Alarm:
    """Calls a function at the earliest of the deadlines that were set, or earlier; it is set again then.

    Deadlines mostly move away while nothing happens, so calls that are under way are never moved: one that comes too
    early costs less than moving it each time. For an earlier deadline there is one call more, and the later one stays
    for afterwards.

    :param ring: what is called.
    :ivar next: when it is called next, by the clock's seconds; never, if that is infinity.
    """

    __slots__ = ("_calls", "_clock", "_ring", "next")

    def __init__(self, clock: IReactorTime, ring: Callable[[], object]) -> None:
        self._clock = clock
        self._ring = ring
        self._calls: list[tuple[float, IDelayedCall]] = []  # the next one last, with the deadlines they were made for
        self.next = inf

    def set(self, deadline: float) -> None:
        """Make sure that the function is called at `deadline`, by the clock's seconds, or earlier."""
        if deadline < self.next:
            self.next = deadline
            delay = max(0.0, deadline - self._clock.seconds())
            self._calls.append((deadline, self._clock.callLater(delay, self._due)))
            if len(self._calls) > MOST:  # the function sets the alarm again, so a later one can be spared
                _, latest = self._calls.pop(0)
                if latest.active():
                    latest.cancel()

    def cancel(self) -> None:
        """Call nothing until it is set again."""
        self.next = inf
        for _, call in self._calls:
            if call.active():
                call.cancel()
        self._calls.clear()

    def _due(self) -> None:
        calls = self._calls
        while calls and not calls[-1][1].active():  # a rounded time may have let a later one overtake
            calls.pop()
        self.next = calls[-1][0] if calls else inf
        self._ring()
