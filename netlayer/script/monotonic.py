"""The clock that nodes run by: monotonic time, which nobody sets.

By themselves Twisted's reactors follow the time of day. There, a clock that is set forward makes every peer silent for
too long, and one that is set back holds up all timers.
"""

from __future__ import annotations

import time
from typing import Any

__all__ = ["run_on_monotonic_time"]


def run_on_monotonic_time(reactor: Any) -> None:
    """Have a reactor follow monotonic time from now on. Calls that wait already are made when they were due.

    :param reactor: one of Twisted's, whose own process this is.
    """
    if reactor.seconds is time.monotonic:
        return
    now = reactor.seconds()
    waiting = [(call, call.getTime() - now) for call in reactor.getDelayedCalls()]
    reactor.seconds = time.monotonic
    for call, left in waiting:
        call.seconds = time.monotonic
        call.reset(max(0.0, left))
