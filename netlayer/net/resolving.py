"""Looking names up in threads of their own.

Those of the reactor belong to the application: handlers that take long there would keep a node from finding others.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeAlias

from twisted.internet._resolver import GAIResolver  # it has no public name, and decides what the stock resolver is
from twisted.internet.interfaces import IHostnameResolver
from twisted.python.failure import Failure

__all__ = ["LookupThreads", "name_resolver"]

#: Look-ups of a process at once.
MOST = 4

_Task: TypeAlias = tuple[Callable[[bool, Any], object], Callable[..., Any], tuple[Any, ...]]


class LookupThreads:
    """A few threads that do not keep the process from ending, however long a look-up takes.

    It is as much of a :class:`twisted.python.threadpool.ThreadPool` as resolvers need.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._lock = threading.Lock()
        self._pid: int | None = None
        self._tasks: SimpleQueue[_Task] = SimpleQueue()

    def are_there(self) -> bool:
        """Start the threads if there are none, and return whether there are some.

        All begin with the first look-up: when a script has ended and its nodes run on, no thread can be started.
        """
        with self._lock:
            if self._pid == os.getpid():
                return True
            tasks: SimpleQueue[_Task] = SimpleQueue()  # threads don't survive a fork
            started = 0
            with suppress(RuntimeError):  # there are too many threads, or it is too late for another one
                for number in range(1, self._count + 1):
                    name = f"netlayer look-ups {number}"
                    threading.Thread(target=_work, args=(tasks,), name=name, daemon=True).start()
                    started = number
            if started:
                self._pid, self._tasks = os.getpid(), tasks
            return bool(started)

    def callInThreadWithCallback(
        self, onResult: Callable[[bool, Any], object], function: Callable[..., Any], *arguments: Any
    ) -> None:
        """Call a function in one of the threads, and then `onResult` with whether it has returned, and what."""
        self._tasks.put((onResult, function, arguments))


#: Threads belong to the process, whatever reactors it has.
_threads = LookupThreads(MOST)


def name_resolver(reactor: Any) -> IHostnameResolver:
    """Return what looks names up for a reactor: its own resolver if the application has chosen one."""
    resolver: IHostnameResolver = reactor.nameResolver
    if type(resolver) is GAIResolver and _threads.are_there():
        return GAIResolver(reactor, lambda: _threads, _addresses)  # type: ignore[arg-type, return-value]
    return resolver


def _addresses(*arguments: Any) -> Any:
    """Return what the system knows of a name; whatever else goes wrong, the look-up has an end."""
    try:
        return socket.getaddrinfo(*arguments)
    except (OSError, UnicodeError) as error:
        raise socket.gaierror(str(error)) from None


def _work(tasks: SimpleQueue[_Task]) -> None:
    while True:
        on_result, function, arguments = tasks.get()
        try:
            outcome: tuple[bool, Any] = True, function(*arguments)
        except Exception:
            outcome = False, Failure()
        with suppress(RuntimeError):  # the reactor's loop was closed meanwhile
            on_result(*outcome)
        del on_result, function, arguments, outcome
