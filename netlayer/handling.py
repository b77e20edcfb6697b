"""Running what applications write: handlers of packets, whose end makes a receipt, and hooks."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel
from twisted.python.failure import Failure

from netlayer.handlers import DataPacket

if TYPE_CHECKING:
    from netlayer.driver import Driver
    from netlayer.factory import PeerFactory

__all__ = ["Handling", "call_hook", "handling", "run_handler"]


@attrs.define
class Handling:
    """One run of a handler. What a coroutine of it calls finds it in :data:`handling`, as long as it runs."""

    factory: PeerFactory | None = None


handling: ContextVar[Handling] = ContextVar("netlayer_handling", default=Handling())  # noqa: B039 - never changed


def run_handler(protocol: Driver, packet: DataPacket) -> None:
    """Have a protocol handle a packet, and tell it when the handler has finished.

    Whatever the handler raises goes no further than the log.
    """
    factory = protocol.factory
    clock = factory.clock
    run = Handling(factory)
    factory.load.handlers += 1
    began = clock.seconds()
    token = handling.set(run)
    failure, awaited = None, None
    try:
        result = protocol.packet_received(packet)
        if result is not None:  # most return nothing, and to ask what it is takes long
            awaited = _awaited(result)
    except BaseException:  # even SystemExit: a handler never takes the node down
        failure = Failure()
    if awaited is not None:
        _ = awaited.addBoth(_handler_finished, run, protocol, packet)
    else:
        _handler_finished(failure, run, protocol, packet)
    handling.reset(token)
    held = clock.seconds() - began
    if held > factory.settings.blocking_handler:
        factory.log.warn(
            "{handler} held the reactor for {held:.1f} s; blocking work belongs in deferToThread",
            handler=protocol._handler_name(),
            held=held,
        )


def _awaited(result: object) -> Deferred[Any] | None:
    """Return what to wait for when a handler has returned something, or None if that is nothing to wait for."""
    if isinstance(result, Coroutine):
        return Deferred.fromCoroutine(result)
    if isinstance(result, Generator):
        raise TypeError("a handler with yield does nothing: make it async def, or decorate it")
    return result if isinstance(result, Deferred) else None


def _handler_finished(result: object, run: Handling, protocol: Driver, packet: DataPacket) -> None:
    run.factory = None
    protocol.factory.load.handlers -= 1
    protocol._handled(packet, _handler_failed(protocol, packet, result) if isinstance(result, Failure) else None)


def _handler_failed(protocol: Driver, packet: DataPacket, failure: Failure) -> str:
    protocol.factory.log.failure(
        "{handler} failed on a packet of peer {peer}",
        failure,
        handler=protocol._handler_name(),
        peer=packet.sender_id,
        level=LogLevel.error,
    )
    return f"{type(failure.value).__name__}: {failure.getErrorMessage()}"


def call_hook(protocol: Driver, hook: Callable[[], Any]) -> None:
    """Call a hook of a protocol; what it raises is logged and goes no further."""

    def failed(failure: Failure) -> None:
        name = type(protocol).__qualname__
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
