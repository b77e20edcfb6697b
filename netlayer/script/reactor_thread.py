"""The reactor for programs that have none: it runs in a daemon thread, and verbs block until their Deferred fires."""

from __future__ import annotations

import asyncio
import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.python.failure import Failure

from netlayer.errors import LocalProtocolError
from netlayer.logger import begin_script_logging, called_by_test, under_test_runner
from netlayer.net.forks import close_inherited, forked_error, require_own_reactor
from netlayer.script.monotonic import run_on_monotonic_time

__all__ = [
    "Stoppable",
    "Terminated",
    "block_on",
    "default_reactor",
    "end_asked_for",
    "end_at_sigterm",
    "in_reactor_thread",
    "keep_running",
    "require_blocking_allowed",
    "require_own_process",
    "stopped",
    "wait_for",
]

T = TypeVar("T")

#: Seconds that nodes get for their goodbyes when the program ends without having shut them down.
LAST_WORDS = 4.0
#: Seconds in which a reactor that is not held up does what it is asked to do.
ANSWER = 5.0
#: Whoever waits looks up this often, in seconds: on some platforms Ctrl-C interrupts no longer wait.
LOOK_UP = 0.5


class Stoppable(Protocol):
    """What runs on the thread and can be shut down."""

    def stop(self) -> Deferred[None]:
        """Shut down; fires when that is done."""


class Terminated(SystemExit):
    """SIGTERM ends the script. Whoever waits for the end ends as at Ctrl-C; what is busy leaves with this."""


class _Thread:
    """The one reactor thread of this process.

    :ivar pid: the process that the reactor was made in; in a forked child it is another one.
    :ivar running: what runs on it, and whether the script's end waits for that.
    :ivar changed: is notified when something runs no more.
    :ivar forks_watched: whether children get back what SIGTERM did before.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.pid: int | None = None
        self.thread: threading.Thread | None = None
        self.running: dict[Stoppable, bool] = {}
        self.changed = threading.Condition()
        self.forks_watched = False


_process = _Thread()
#: The signal mask of a thread that forks.
_fork = threading.local()


def default_reactor() -> Any:
    """Return the reactor of this process, without running it."""
    from twisted.internet import reactor

    if _process.pid is None:
        _process.pid = os.getpid()
    return reactor


def in_reactor_thread() -> bool:
    """Tell whether this is the reactor thread, as it is in a handler."""
    return _process.thread is threading.current_thread() and not _forked()


def block_on(function: Callable[[], Deferred[T]], *, timeout: float | None, patient: bool = False) -> T:
    """Call `function` in the reactor thread, which is started if need be, and wait for its Deferred.

    :param timeout: seconds after which the Deferred is cancelled; None to wait for ever.
    :param patient: whether to wait on after that for as long as the reactor answers within :data:`ANSWER` seconds, as
        the Deferred fires in any case then.
    :raises TimeoutError: when the Deferred did not fire in time.
    :raises LocalProtocolError: where blocking would stop an event loop, or there is no reactor to wait for.
    """
    require_blocking_allowed()
    _start()
    reactor = default_reactor()
    done = threading.Event()
    started: list[Deferred[T]] = []
    results: list[T] = []
    failures: list[Failure] = []

    def call() -> None:
        deferred = maybeDeferred(function)
        started.append(deferred)
        _ = deferred.addCallbacks(results.append, failures.append).addBoth(lambda _: done.set())

    def cancel() -> None:
        for deferred in started:
            deferred.cancel()

    reactor.callFromThread(call)
    try:
        while not wait_for(done, timeout=timeout):
            if not (patient and _answers()):
                raise TimeoutError(f"no answer within {timeout:g} s")
    except BaseException:  # Ctrl-C, or what a signal handler raises
        reactor.callFromThread(cancel)
        raise
    if results:
        return results.pop()
    error: Any = failures.pop().value
    if isinstance(error, CancelledError):
        raise TimeoutError("the call was cancelled")
    raise error


def wait_for(event: threading.Event, *, timeout: float | None = None) -> bool:
    """Wait for an event that the reactor thread sets, in a way that Ctrl-C can interrupt on every platform.

    :param timeout: seconds; None to wait for ever.
    :returns: whether the event was set in time.
    :raises LocalProtocolError: when the reactor stops meanwhile.
    """
    end = None if timeout is None else time.monotonic() + timeout
    while not event.wait(LOOK_UP if end is None else min(LOOK_UP, max(0.0, end - time.monotonic()))):
        if end is not None and time.monotonic() >= end:
            return event.is_set()
        if not _alive() and not event.is_set():
            raise LocalProtocolError("the reactor of this process was stopped")
    return True


def keep_running(what: Stoppable, caller: FrameType | None) -> None:
    """Note that `what` runs. If the script itself has started it, the script's end waits for its shutdown.

    :param caller: the frame that asked for the start.
    """
    with _process.changed:
        _process.running.setdefault(what, _by_script(caller))


def end_at_sigterm(caller: FrameType | None) -> None:
    """Let SIGTERM end the script that `caller` belongs to with a goodbye, unless it has a handler for it.

    Nothing is done for imported modules, tests, interactive sessions and children: they may mean something else by it.
    """
    mine = threading.current_thread() is threading.main_thread() and not hasattr(sys, "ps1")
    child = _is_started_by_multiprocessing() or _forked()
    if mine and not child and _by_script(caller) and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)
        if not _process.forks_watched and hasattr(os, "register_at_fork"):
            _process.forks_watched = True
            os.register_at_fork(before=_fork_begins, after_in_parent=_fork_over, after_in_child=_fork_is_child)


def end_asked_for() -> None:
    """Note that the user wants the program to end: its end waits for nothing that runs now."""
    with _process.changed:
        _process.running = dict.fromkeys(_process.running, False)


def stopped(what: Stoppable) -> None:
    """Note that `what` runs no more."""
    with _process.changed:
        _process.running.pop(what, None)
        _process.changed.notify_all()


def require_blocking_allowed() -> None:
    """Refuse where a blocking call would wait for ever, or would stop what it waits for.

    :raises LocalProtocolError: in a forked child, and in a thread that runs an asyncio loop.
    """
    require_own_process()
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise LocalProtocolError(
        "this call would block the running asyncio loop. Either install Twisted's asyncio reactor and give the node "
        "reactor=reactor, or call it through asyncio.to_thread()"
    )


def require_own_process() -> None:
    """Refuse in a forked child, where nothing runs that its parent has made.

    :raises LocalProtocolError: there.
    """
    if _forked():
        raise forked_error()


def _by_script(caller: FrameType | None) -> bool:
    """Tell whether a frame belongs to the script that this process runs, and no test has called it.

    A thread that does nothing but start a node counts as the script's; executors serve others, asyncio's loop say.
    """
    main = sys.modules.get("__main__")
    if caller is not None and caller.f_globals is vars(threading):
        return not under_test_runner()
    return caller is not None and main is not None and caller.f_globals is main.__dict__ and not called_by_test(caller)


def _terminate(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one finds no mercy
    end_asked_for()
    raise Terminated(128 + number)  # the exit code that shells give


def _fork_begins() -> None:
    """Block SIGTERM while a child is made: Python forgets the signals that a child gets in its first moments."""
    _fork.mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _fork_over() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _fork.mask)


def _fork_is_child() -> None:
    """Let SIGTERM end a child as it ends any process."""
    if signal.getsignal(signal.SIGTERM) is _terminate:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _fork_over()


def _leave_sockets() -> None:
    """Close what a child has inherited of the reactor thread's sockets: all are netlayer's there.

    A socket that the parent opens or gives up in the moment of the fork may escape.
    """
    if _process.thread is None:  # the reactor is the application's, or has never run
        return
    reactor = default_reactor()
    for several in (reactor.getReaders, reactor.getWriters):
        with suppress(KeyError):  # the reactor's thread was stopped in the midst of something
            for one in several():
                close_inherited(one)


def _answers() -> bool:
    """Return whether the reactor gets round to what it is asked to do."""
    answered = threading.Event()
    default_reactor().callFromThread(answered.set)
    return wait_for(answered, timeout=ANSWER)


def _forked() -> bool:
    return _process.pid not in (None, os.getpid())


def _alive() -> bool:
    return _process.thread is not None and _process.thread.is_alive()


def _start() -> None:
    with _process.lock:
        if _process.thread is not None:
            if not _process.thread.is_alive():
                raise LocalProtocolError("the reactor of this process was stopped and can't be started again")
            return
        reactor = default_reactor()
        require_own_reactor(reactor)
        if reactor.running or getattr(reactor, "_started", False):
            raise LocalProtocolError("a Twisted reactor runs already: give the node reactor=reactor")
        begin_script_logging()
        run_on_monotonic_time(reactor)
        # At exit no thread can be started any more, and name resolution needs some.
        reactor.getThreadPool().adjustPoolsize(4, 4)
        started = threading.Event()
        reactor.callWhenRunning(started.set)
        thread = threading.Thread(
            target=reactor.run, kwargs={"installSignalHandlers": False}, name="netlayer reactor", daemon=True
        )
        atexit.register(_at_exit)
        if _is_started_by_multiprocessing():  # where atexit's callbacks may never be called
            from multiprocessing.util import Finalize

            Finalize(None, _at_exit, exitpriority=0)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_leave_sockets)
        thread.start()
        _process.thread = thread
        wait_for(started)


def _is_started_by_multiprocessing() -> bool:
    """Return whether this process is a child of that module, which few programs load."""
    if "multiprocessing" not in sys.modules:
        return False
    from multiprocessing import parent_process

    return parent_process() is not None


def _at_exit() -> None:
    """Wait for the shutdown of the nodes that the script has started, then shut down what was left running."""
    if _forked() or not _alive() or not _process.running:
        return
    interactive = hasattr(sys, "ps1")
    died = getattr(sys, "last_value", None) is not None
    child = _is_started_by_multiprocessing()
    with suppress(KeyboardInterrupt, SystemExit):  # the latter from a signal handler of the script's
        if any(_process.running.values()) and not interactive and not died and not child:
            text = "netlayer: the script has ended, its nodes run on; stop them with Ctrl-C"
            print(text, file=sys.stderr, flush=True)
            _wait_until(lambda: not any(_process.running.values()))
    for node in list(_process.running):
        default_reactor().callFromThread(node.stop)
    with suppress(KeyboardInterrupt, SystemExit):
        _wait_until(lambda: not _process.running, timeout=LAST_WORDS)


def _wait_until(condition: Callable[[], bool], *, timeout: float | None = None) -> None:
    """Wait until `condition` holds for what is running, the time is over, or the reactor has stopped."""
    end = None if timeout is None else time.monotonic() + timeout
    with _process.changed:
        while not condition() and _alive() and (end is None or time.monotonic() < end):
            _process.changed.wait(LOOK_UP if end is None else min(LOOK_UP, max(0.0, end - time.monotonic())))
