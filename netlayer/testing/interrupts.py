"""Ctrl-C while code runs that somebody else calls."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

__all__ = ["interrupts_held", "interrupts_ignored", "interrupts_noted"]


@contextmanager
def interrupts_noted(told: Callable[[], None] = lambda: None) -> Iterator[Callable[[], None]]:
    """Give a function that raises KeyboardInterrupt if there was a Ctrl-C since.

    Python raises it by itself, too; but when it does so in code that Twisted calls, it ends in a Failure. Where
    somebody else handles Ctrl-C already, nothing is changed.

    :param told: called at once, before Python raises it.
    """
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield lambda: None
        return
    noted = False

    def note(number: int, frame: FrameType | None) -> NoReturn:
        nonlocal noted
        noted = True
        told()
        raise KeyboardInterrupt

    def look() -> None:
        if noted:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, note)
    try:
        yield look
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Have a Ctrl-C wait: processes that are started meanwhile never see one, so they need not be ready for it."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    usual = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, usual)


def interrupts_ignored() -> None:
    """Have nothing come of Ctrl-C from now on: there was one, and this process is about to end."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
