"""Running what applications write: handlers of packets, whose end makes a receipt, and hooks."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.logger import LogLevel
from twisted.python.failure import Failure

from netlayer.errors import NodeStopped, shown
from netlayer.handlers import DataPacket
from netlayer.log import NodeLog
from netlayer.sansio.delivery.load import NodeLoad

__all__ = ["Handlers"]


@attrs.define
class _Run:
    """One run of a handler, which its coroutines have in their contexts.

    :ivar handlers: whose handler it is, or None when it has finished.
    :ivar is_running: whether the handler is running right now, instead of waiting for something.
    :ivar passes_on: whether another run waits for the result of the same Deferred, behind this one.
    :ivar failure: how its Deferred has failed, which does not tell it any more; in words, as the error may hold it.
    """

    handlers: Handlers | None = None
    is_running: bool = True
    passes_on: bool = False
    failure: str | None = None


_run: ContextVar[_Run] = ContextVar("netlayer_handler", default=_Run())  # noqa: B039 - never changed
#: The last run that waits for a Deferred of the application's: a handler may return one for many packets.
_last_runs: WeakKeyDictionary[Deferred[Any], _Run] = WeakKeyDictionary()


class Handlers:
    """Runs what the application of one node has written; what that raises goes no further than the log.

    :param load: counts the handlers that run.
    :param blocking: seconds for which a handler may hold the reactor until the log tells of it.
    :ivar is_stopping: whether the node shuts down: that something can't be sent any more is nobody's error then.
    """

    def __init__(self, clock: IReactorTime, log: NodeLog, *, load: NodeLoad, blocking: float) -> None:
        self.is_stopping = False
        self._clock = clock
        self._log = log
        self._load = load
        self._blocking = blocking

    def are_calling(self) -> bool:
        """Return whether it is a handler of this node that calls, and that has not finished.

        The context tells that of a coroutine, also when some other handler has woken it. But asyncio's timers and
        sockets inherit the context that they were armed in, and with it the handler; there it has to be running, too.
        """
        run = _run.get()
        return run.handlers is self and (run.is_running or not _in_asyncio())

    def run(
        self,
        handler: Callable[[DataPacket], Any],
        packet: DataPacket,
        finished: Callable[[DataPacket, str | None], object],
        *,
        name: Callable[[], str],
    ) -> None:
        """Have a packet handled.

        :param finished: is told when the handler has finished, and what the sender is told if it has failed.
        :param name: returns what the log calls the handler.
        """
        clock = self._clock
        run = _Run(self)
        self._load.handlers += 1
        began = clock.seconds()
        token = _run.set(run)
        failure, awaited = None, None
        try:
            result = handler(packet)
            if result is not None:  # most return nothing, and to ask what it is takes long
                awaited = _awaited(result, run)
        except BaseException:  # even SystemExit: a handler never takes the node down
            failure = Failure()
        run.is_running = False
        if awaited is not None:
            _ = awaited.addBoth(self._finished, run, packet, finished, name)
        else:
            self._finished(failure, run, packet, finished, name)
        _run.reset(token)
        held = clock.seconds() - began
        if held > self._blocking:
            self._log.warn(
                "{handler} held the reactor for {held:.1f} s; blocking work belongs in deferToThread",
                handler=name(),
                held=held,
            )

    def call(self, hook: Callable[..., Any], *arguments: Any) -> None:
        """Call a hook, which is a method of the application's protocol."""

        def failed(failure: Failure) -> None:
            owner = getattr(hook, "__self__", None)
            name = type(owner).__qualname__ if owner is not None else shown(hook)
            if not self._is_shutdown(failure):
                self._log.failure("a hook of {name} failed", failure, name=name, level=LogLevel.error)

        try:
            result = hook(*arguments)
        except BaseException:
            failed(Failure())
            return
        if isinstance(result, Coroutine):
            result = Deferred.fromCoroutine(result)
        if isinstance(result, Deferred):
            _ = result.addErrback(failed)

    # ---- private

    def _finished(
        self,
        result: object,
        run: _Run,
        packet: DataPacket,
        finished: Callable[[DataPacket, str | None], object],
        name: Callable[[], str],
    ) -> object:
        run.handlers = None
        self._load.handlers -= 1
        finished(packet, self._told(packet, name, result) if isinstance(result, Failure) else None)
        if run.passes_on:
            return result
        if isinstance(result, Failure):
            run.failure = _words(result)
        return None

    def _told(self, packet: DataPacket, name: Callable[[], str], failure: Failure) -> str:
        """Log that a handler has failed, and return what the sender is told."""
        if not self._is_shutdown(failure):
            self._log.failure(
                "{handler} failed on a packet of peer {peer}",
                failure,
                handler=name(),
                peer=packet.sender_id,
                level=LogLevel.error,
            )
        return _words(failure)

    def _is_shutdown(self, failure: Failure) -> bool:
        """Return whether something has failed as the node shuts down and sends nothing more."""
        return self.is_stopping and failure.check(NodeStopped) is not None


def _in_asyncio() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _awaited(result: object, run: _Run) -> Deferred[Any] | None:
    """Return what to wait for when a handler has returned something, or None if that is nothing to wait for.

    :raises TypeError: when it is work that nobody would wait for, so that its end would be told as success.
    """
    if isinstance(result, Coroutine):
        return Deferred.fromCoroutine(_steps(result, run))
    if isinstance(result, Failure):
        return fail(result)
    if asyncio.isfuture(result) and _in_asyncio():
        return Deferred.fromFuture(result)
    if isinstance(result, (Generator, AsyncGenerator)):
        raise TypeError("a handler with yield does nothing: make it async def without yield, or decorate it")
    if asyncio.isfuture(result) or isinstance(result, concurrent.futures.Future):
        raise TypeError("a handler's work in another thread is waited for by deferToThread, which returns a Deferred")
    if not isinstance(result, Deferred):
        return None
    before = _last_runs.get(result)
    if before is not None and before.failure is not None:
        return fail(RuntimeError(f"the Deferred has failed before: {before.failure}"))
    if before is not None:
        before.passes_on = True
    _last_runs[result] = run
    return result


def _steps(coroutine: Coroutine[Any, Any, Any], run: _Run) -> Generator[Any, Any, Any]:
    """Run a coroutine step by step, and note when it runs and when it waits."""
    result: Any = None
    error: BaseException | None = None
    while True:
        run.is_running = True
        try:
            awaited = coroutine.send(result) if error is None else coroutine.throw(error)
        except StopIteration as stop:
            return stop.value
        finally:
            run.is_running = False
        error = None
        try:
            result = yield awaited
        except GeneratorExit:  # what it waits for is forgotten
            coroutine.close()
            raise
        except BaseException as raised:
            error = raised


def _words(failure: Failure) -> str:
    return f"{type(failure.value).__name__}: {failure.getErrorMessage()}"
