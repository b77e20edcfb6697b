"""Delayed calls of a simulated process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall
from twisted.python.reflect import fullyQualifiedName
from zope.interface import implementer

if TYPE_CHECKING:
    from netlayer.testing.reactor import SimulatedReactor

__all__ = ["CALLED", "CANCELLED", "PENDING", "SimulatedCall"]

PENDING, CALLED, CANCELLED = range(3)


@implementer(IDelayedCall)
class SimulatedCall:
    """One delayed call.

    The internet's queue keeps an entry for it even when it was cancelled or moved; the reactor looks when it comes up.

    :ivar time: when it is due, in seconds of the process's clock.
    :ivar state: whether it is pending, was called, or was cancelled.
    """

    __slots__ = ("_reactor", "args", "func", "kw", "state", "time")

    def __init__(
        self,
        reactor: SimulatedReactor,
        time: float,
        func: Callable[..., object],
        args: tuple[Any, ...],
        kw: dict[str, Any],
    ) -> None:
        self.time = time
        self.func = func
        self.args = args
        self.kw = kw
        self._reactor = reactor
        self.state = PENDING

    def __repr__(self) -> str:
        state = ("due", "called", "cancelled")[self.state]
        return f"<SimulatedCall {state} at {self.time:.6f} s, {named(self.func)}>"

    def getTime(self) -> float:
        """Return when the call is due, in seconds of the process's clock."""
        return self.time

    def active(self) -> bool:
        """Tell whether the call is neither made nor cancelled."""
        return self.state == PENDING

    def cancel(self) -> None:
        """Do not make the call."""
        self._require_pending()
        self.state = CANCELLED
        self._reactor._forget_call(self)

    def delay(self, secondsLater: float) -> None:
        """Make the call later than planned."""
        self._require_pending()
        self._move(self.time + secondsLater)

    def reset(self, secondsFromNow: float) -> None:
        """Make the call so many seconds from now."""
        self._require_pending()
        self._move(self._reactor.seconds() + secondsFromNow)

    def _move(self, time: float) -> None:
        earlier, self.time = time < self.time, time
        if earlier:
            self._reactor._schedule(self)

    def _require_pending(self) -> None:
        if self.state == CALLED:
            raise AlreadyCalled
        if self.state == CANCELLED:
            raise AlreadyCancelled


def named(function: object) -> str:
    """Return what people call a function."""
    try:
        return str(fullyQualifiedName(function))
    except AttributeError:
        return repr(function)
