"""Running what applications write: handlers of packets, whose end makes a receipt, and hooks."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.logger import LogLevel
from twisted.python.failure import Failure

from netlayer.errors import NodeStopped
from netlayer.handlers import DataPacket

if TYPE_CHECKING:
    from netlayer.net.driver import Driver
    from netlayer.net.factory import PeerFactory

__all__ = ["call_hook", "in_handler", "run_handler"]


@attrs.define
class Handling:
    """One run of a handler, which its coroutines have in their contexts.

    :ivar factory: whose handler it is, or None when it has finished.
    :ivar is_running: whether the handler is running right now, instead of waiting for something.
    :ivar passes_on: whether another run waits for the result of the same Deferred, behind this one.
    :ivar failure: how its Deferred has failed, which does not tell it any more; in words, as the error may hold it.
    """

    factory: PeerFactory | None = None
    is_running: bool = True
    passes_on: bool = False
    failure: str | None = None


_handling: ContextVar[Handling] = ContextVar("netlayer_handling", default=Handling())  # noqa: B039 - never changed
#: The last run that waits for a Deferred of the application's: a handler may return one for many packets.
_last_runs: WeakKeyDictionary[Deferred[Any], Handling] = WeakKeyDictionary()


def in_handler(factory: PeerFactory) -> bool:
    """Tell whether it is a handler of this node that calls, and that has not finished.

    The context tells that of a coroutine, also when some other handler has woken it. But asyncio's timers and sockets
    inherit the context that they were armed in, and with it the handler; there it has to be running, too.
    """
    run = _handling.get()
    return run.factory is factory and (run.is_running or not _in_asyncio())


def run_handler(protocol: Driver, packet: DataPacket) -> None:
    """Have a protocol handle a packet, and tell it when the handler has finished.

    Whatever the handler raises goes no further than the log.
    """
    factory = protocol.factory
    clock = factory.clock
    run = Handling(factory)
    factory.load.handlers += 1
    began = clock.seconds()
    token = _handling.set(run)
    failure, awaited = None, None
    try:
        result = protocol.packet_received(packet)
        if result is not None:  # most return nothing, and to ask what it is takes long
            awaited = _awaited(result, run)
    except BaseException:  # even SystemExit: a handler never takes the node down
        failure = Failure()
    run.is_running = False
    if awaited is not None:
        _ = awaited.addBoth(_handler_finished, run, protocol, packet)
    else:
        _handler_finished(failure, run, protocol, packet)
    _handling.reset(token)
    held = clock.seconds() - began
    if held > factory.settings.blocking_handler:
        factory.log.warn(
            "{handler} held the reactor for {held:.1f} s; blocking work belongs in deferToThread",
            handler=protocol._handler_name(),
            held=held,
        )


def _in_asyncio() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _awaited(result: object, run: Handling) -> Deferred[Any] | None:
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


def _steps(coroutine: Coroutine[Any, Any, Any], run: Handling) -> Generator[Any, Any, Any]:
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


def _handler_finished(result: object, run: Handling, protocol: Driver, packet: DataPacket) -> object:
    run.factory = None
    protocol.factory.load.handlers -= 1
    protocol._handled(packet, _handler_failed(protocol, packet, result) if isinstance(result, Failure) else None)
    if run.passes_on:
        return result
    if isinstance(result, Failure):
        run.failure = _words(result)
    return None


def _handler_failed(protocol: Driver, packet: DataPacket, failure: Failure) -> str:
    if not _is_shutdown(protocol, failure):
        protocol.factory.log.failure(
            "{handler} failed on a packet of peer {peer}",
            failure,
            handler=protocol._handler_name(),
            peer=packet.sender_id,
            level=LogLevel.error,
        )
    return _words(failure)


def _words(failure: Failure) -> str:
    return f"{type(failure.value).__name__}: {failure.getErrorMessage()}"


def call_hook(protocol: Driver, hook: Callable[[], Any]) -> None:
    """Call a hook of a protocol; what it raises is logged and goes no further."""

    def failed(failure: Failure) -> None:
        name = type(protocol).__qualname__
        if not _is_shutdown(protocol, failure):
            protocol.factory.log.failure("a hook of {name} failed", failure, name=name, level=LogLevel.error)

    try:
        result = hook()
    except BaseException:
        failed(Failure())
        return
    if isinstance(result, Coroutine):
        result = Deferred.fromCoroutine(result)
    if isinstance(result, Deferred):
        _ = result.addErrback(failed)


def _is_shutdown(protocol: Driver, failure: Failure) -> bool:
    """Tell whether something has failed as the node shuts down and sends nothing more, which is nobody's error."""
    return protocol.factory.stopping and failure.check(NodeStopped) is not None
