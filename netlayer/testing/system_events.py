"""System events of one process among several in one interpreter: what is to be done before it ends, and the doing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.logger import Logger

__all__ = ["SystemEvents"]

_PHASES = ("before", "during", "after")
_Trigger: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class SystemEvents:
    """The part of a reactor that knows how its process ends.

    :param process: what the log calls the process.
    """

    _log = Logger()

    def __init__(self, process: str) -> None:
        self.running = True
        self._process = process
        self._triggers: dict[tuple[str, str], list[_Trigger]] = {}
        self._stopping: Deferred[None] | None = None

    def fireSystemEvent(self, eventType: str) -> None:
        """Call the triggers of a system event."""
        _ = self._fire_triggers(eventType)

    def addSystemEventTrigger(
        self, phase: str, eventType: str, callable: Callable[..., Any], *args: object, **kw: object
    ) -> tuple[Any, ...]:
        """Have a function called in a phase (before, during, after) of a system event, such as ``shutdown``.

        :returns: what :meth:`removeSystemEventTrigger` takes.
        :raises KeyError: when there is no such phase.
        """
        if phase not in _PHASES:
            raise KeyError(f"a phase is one of {', '.join(_PHASES)}, not {phase!r}")
        trigger = (callable, args, kw)
        self._triggers.setdefault((phase, eventType), []).append(trigger)
        return (phase, eventType, trigger)

    def removeSystemEventTrigger(self, triggerID: Any) -> None:
        """Forget a trigger; one that was called already may be named too."""
        phase, event, trigger = triggerID
        triggers = self._triggers.get((phase, event), [])
        if trigger in triggers:
            triggers.remove(trigger)

    def callWhenRunning(self, callable: Callable[..., Any], *args: object, **kw: object) -> None:
        """Call a function at once, as such a process always runs."""
        callable(*args, **kw)

    def stop(self) -> None:
        """End the process in good order, as Ctrl-C would: the triggers for ``shutdown`` are called."""
        _ = self.shut_down()

    def shut_down(self) -> Deferred[None]:
        """Call the triggers for ``shutdown``.

        :returns: fires when those before and during it are through.
        """
        if self._stopping is None:
            self.running = False
            self._stopping = self._fire_triggers("shutdown")
        over: Deferred[None] = Deferred()
        _ = self._stopping.addBoth(lambda _: over.callback(None))
        return over

    def failed(self, where: str) -> None:
        """Log what has escaped from code of the process."""
        self._log.failure("unhandled error on {host}, {where}", host=self._process, where=where)

    def log_failure(self, text: str, failure: Any) -> None:
        """Log the failure of something that was begun for the process."""
        self._log.failure("{host} {text}", failure, host=self._process, text=text)

    # ---- private

    def _fire_triggers(self, event: str) -> Deferred[None]:
        def rest(_: object) -> None:
            for phase in _PHASES[1:]:
                _ = self._call_triggers(phase, event)

        return DeferredList(self._call_triggers(_PHASES[0], event)).addCallback(rest)

    def _call_triggers(self, phase: str, event: str) -> list[Deferred[Any]]:
        called, triggers = [], self._triggers.get((phase, event), [])
        while triggers:  # each may remove others
            called.append(self._trigger(*triggers.pop(0)))
        return called

    def _trigger(self, function: Callable[..., Any], args: tuple[Any, ...], kw: dict[str, Any]) -> Deferred[Any]:
        def log(failure: Any) -> None:
            self._log.failure("a system event trigger failed on {host}", failure, host=self._process)

        return maybeDeferred(function, *args, **kw).addErrback(log)
