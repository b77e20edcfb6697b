"""Those who wait for something to happen, each of whom may cancel the wait at any time."""

from __future__ import annotations

from twisted.internet.defer import Deferred

__all__ = ["Waiters"]


class Waiters:
    """The Deferreds that fire when something happens, but for those that were cancelled, if only by a callback."""

    def __init__(self) -> None:
        self._waiting: dict[Deferred[None], None] = {}  # in the order of their making

    def add(self) -> Deferred[None]:
        """Return a Deferred that waits from now on."""
        waiter: Deferred[None] = Deferred(lambda waiter: self._waiting.pop(waiter, None))
        self._waiting[waiter] = None
        return waiter

    def fire(self) -> None:
        """It has happened. Who begins to wait now waits for the next time."""
        for waiter in self._take():
            if not waiter.called:
                waiter.callback(None)

    def fail(self, error: Exception) -> None:
        """It will not happen any more."""
        for waiter in self._take():
            if not waiter.called:
                waiter.errback(error)

    def _take(self) -> list[Deferred[None]]:
        waiting = list(self._waiting)
        self._waiting.clear()
        return waiting
