"""The reactor for programs that have none: it runs in a daemon thread, and verbs block until their Deferred fires."""

from __future__ import annotations

import asyncio
import atexit
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from types import FrameType
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.python.failure import Failure

from netlayer.errors import LocalProtocolError
from netlayer.logger import begin_script_logging

__all__ = ["Stoppable", "block_on", "default_reactor", "in_reactor_thread", "keep_running", "stopped"]

T = TypeVar("T")

#: Seconds that nodes get for their goodbyes when the program ends without having shut them down.
LAST_WORDS = 4.0


class Stoppable(Protocol):
    """What runs on the thread and can be shut down."""

    def stop(self) -> Deferred[None]: ...


class _Thread:
    """The one reactor thread of this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.pid = os.getpid()
        self.thread: threading.Thread | None = None
        self.running: set[Stoppable] = set()
        self.idle = threading.Event()
        self.wait_at_exit = False


_process = _Thread()


def default_reactor() -> Any:
    """Return the reactor of this process, without running it."""
    from twisted.internet import reactor

    return reactor


def in_reactor_thread() -> bool:
    """Tell whether this is the reactor thread, as it is in a handler."""
    return _process.thread is threading.current_thread()


def block_on(function: Callable[[], Deferred[T]], *, timeout: float | None) -> T:
    """Call `function` in the reactor thread, which is started if need be, and wait for its Deferred.

    :param timeout: seconds after which the Deferred is cancelled; None to wait for ever.
    :raises TimeoutError: when the Deferred did not fire in time.
    :raises LocalProtocolError: where blocking would stop an event loop, or there is no reactor to wait for.
    """
    _require_blocking_allowed()
    _start()
    reactor = default_reactor()
    outcome: Future[T] = Future()
    started: list[Deferred[T]] = []

    def failed(failure: Failure) -> None:
        outcome.set_exception(failure.value)

    def call() -> None:
        deferred = maybeDeferred(function)
        started.append(deferred)
        _ = deferred.addCallbacks(outcome.set_result, failed)

    def cancel() -> None:
        for deferred in started:
            deferred.cancel()

    reactor.callFromThread(call)
    try:
        return outcome.result(timeout)
    except FutureTimeout:
        if outcome.done():  # the Deferred failed with a TimeoutError of its own
            raise
        reactor.callFromThread(cancel)
        raise TimeoutError(f"no answer within {timeout:g} s") from None
    except KeyboardInterrupt:
        reactor.callFromThread(cancel)
        raise
    except CancelledError:
        raise TimeoutError("the call was cancelled") from None


def keep_running(what: Stoppable, caller: FrameType | None) -> None:
    """Note that `what` runs. If the script itself has started it, the script's end waits for its shutdown.

    :param caller: the frame that asked for the start.
    """
    main = sys.modules.get("__main__")
    if caller is not None and main is not None and caller.f_globals is main.__dict__:
        _process.wait_at_exit = True
    _process.running.add(what)
    _process.idle.clear()


def stopped(what: Stoppable) -> None:
    """Note that `what` runs no more."""
    _process.running.discard(what)
    if not _process.running:
        _process.idle.set()


def wait_until_stopped(event: threading.Event) -> None:
    """Wait for an event in a way that Ctrl-C can interrupt on every platform."""
    while not event.wait(0.5):
        pass


def _require_blocking_allowed() -> None:
    if _process.pid != os.getpid():
        raise LocalProtocolError("this process was forked while nodes were running: make its nodes in the child itself")
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise LocalProtocolError(
        "this call would block the running asyncio loop. Either install Twisted's asyncio reactor and give the node "
        "reactor=reactor, or call it through asyncio.to_thread()"
    )


def _start() -> None:
    with _process.lock:
        if _process.thread is not None:
            if not _process.thread.is_alive():
                raise LocalProtocolError("the reactor of this process was stopped and can't be started again")
            return
        reactor = default_reactor()
        if reactor.running or getattr(reactor, "_started", False):
            raise LocalProtocolError("a Twisted reactor runs already: give the node reactor=reactor")
        begin_script_logging()
        reactor.seconds = time.monotonic  # a changed wall clock must fire no timer
        # At exit no thread can be started any more, and name resolution needs some.
        reactor.getThreadPool().adjustPoolsize(4, 4)
        started = threading.Event()
        reactor.callWhenRunning(started.set)
        _process.thread = threading.Thread(
            target=reactor.run, kwargs={"installSignalHandlers": False}, name="netlayer reactor", daemon=True
        )
        _process.thread.start()
        started.wait()
        atexit.register(_at_exit)


def _at_exit() -> None:
    """Wait for the shutdown of the nodes that the script has started, or shut down what was left running."""
    if _process.pid != os.getpid() or not _process.running:
        return
    interactive = hasattr(sys, "ps1")
    died = getattr(sys, "last_value", None) is not None
    child = multiprocessing.parent_process() is not None
    if _process.wait_at_exit and not interactive and not died and not child:
        print("netlayer: the script has ended, its nodes run on; stop them with Ctrl-C", file=sys.stderr, flush=True)
        with suppress(KeyboardInterrupt):
            wait_until_stopped(_process.idle)
            return
    reactor = default_reactor()
    for node in list(_process.running):
        reactor.callFromThread(node.stop)
    with suppress(KeyboardInterrupt):
        _process.idle.wait(LAST_WORDS)
