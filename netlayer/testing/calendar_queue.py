"""What will happen when: a priority queue that stays fast with many timers that are due much later.

A heap of everything reaches all over the memory for each event. This is a calendar queue (R. Brown, 1988): time is cut
into slots, of which only the present slot is kept in order; what belongs to later ones waits unsorted
until its slot begins.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any, TypeAlias

__all__ = ["CalendarQueue", "Entry"]

#: When, the how-manieth entry it is, and what is called with which arguments.
Entry: TypeAlias = tuple[float, int, Callable[..., object], tuple[Any, ...]]

#: Slots a second: a power of two, so that slots have exact limits. A thousand nodes have a hundred entries in one.
_SLOTS = 128
#: What is due later than this, in seconds, is not told apart by slots.
_FAR = 2.0**40
_LAST = int(_FAR * _SLOTS)


class CalendarQueue:
    """Calls with their times; equal times come out in the order in which they were put in.

    :ivar pushed: how many entries were put in so far.
    """

    __slots__ = ("_horizon", "_later", "_numbers", "_present", "pushed")

    def __init__(self) -> None:
        self.pushed = 0
        self._present: list[Entry] = []  # a heap of what is due before the horizon
        self._horizon = 0.0
        self._later: dict[int, list[Entry]] = {}  # by number of slot
        self._numbers: list[int] = []  # a heap of them

    def push(self, when: float, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        """Have `function` come out at `when`, seconds that may be in the past."""
        self.pushed = pushed = self.pushed + 1
        entry = (when, pushed, function, args)
        if when < self._horizon:
            heappush(self._present, entry)
            return
        number = int(when * _SLOTS) if when < _FAR else _LAST
        slot = self._later.get(number)
        if slot is not None:
            slot.append(entry)
        else:
            self._later[number] = [entry]
            heappush(self._numbers, number)

    def pop(self, until: float) -> Entry | None:
        """Take out what is next, unless it is due after `until` or there is nothing."""
        present = self._present
        if not present:
            if not self._numbers:
                return None
            number = heappop(self._numbers)
            self._horizon = (number + 1) / _SLOTS
            self._present = present = self._later.pop(number)
            heapify(present)
        return heappop(present) if present[0][0] <= until else None
