"""The store of a bootstrap node with a data directory: a file of bindings, written in a thread.

A durable change takes some 10 ms, in which the reactor has other things to do; what is asked for meanwhile becomes one
change. Where there are no threads, as in simulations, it waits.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from zope.interface import implementer

from netlayer.errors import NodeStopped
from netlayer.interfaces import IBindingStore, IWallClock
from netlayer.log import NodeLog
from netlayer.sansio.bootstrap.registry import Binding, Holdings
from netlayer.storage.bindings.file import BindingFile, DamagedFile, WantedBinding, move_aside

__all__ = ["SQLiteStore"]

T = TypeVar("T")

#: Seconds between looks at what others have changed: an operator's command is noticed that fast.
LOOK_EVERY = 1.0


@implementer(IBindingStore)
class SQLiteStore:
    """Keeps bindings in a file, which several bootstrap nodes of one machine may share.

    :param path: of the file, which is made if there is none.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._reactor: Any = None
        self._file: BindingFile
        self._changed: Callable[[Holdings], object]
        self._wanted: list[tuple[WantedBinding, Deferred[Binding]]] = []
        self._busy = False
        self._look: IDelayedCall | None = None
        self._stopping: Deferred[None] | None = None
        self._complaint = ""
        self._log: NodeLog

    def start(
        self,
        reactor: Any,
        *,
        network: str,
        signer: bytes | None,
        formers: tuple[bytes, ...] = (),
        changed: Callable[[Holdings], object],
        log: NodeLog,
    ) -> Deferred[Holdings]:
        """Open the file. One that is damaged is moved aside, which is an ERROR in the log.

        :raises ConfigurationError: through the Deferred, when the file can't be used or is another network's.
        """
        self._reactor = reactor
        self._changed = changed
        self._log = log
        return maybeDeferred(self._start, network, signer, formers)

    def bind(self, binding: Binding, *, replacing: bytes | None, formers: tuple[bytes, ...] = ()) -> Deferred[Binding]:
        """Give an id to a key; what is asked for while a change is under way becomes the next one."""
        done: Deferred[Binding] = Deferred()
        if self._reactor is None or self._stopping is not None:
            done.errback(NodeStopped())
            return done
        self._wanted.append((WantedBinding(binding, replacing, formers), done))
        self._go_on()
        return done

    def stop(self) -> Deferred[None]:
        """Close the file behind the last change."""
        if self._stopping is None:
            self._stopping = Deferred()
            if self._look is not None:
                self._look.cancel()
                self._look = None
            self._go_on()
        stopped: Deferred[None] = Deferred()
        _ = self._stopping.chainDeferred(stopped)
        return stopped

    # ---- private

    def _start(self, network: str, signer: bytes | None, formers: tuple[bytes, ...]) -> Holdings:
        try:
            self._file = BindingFile(self.path, network=network)
        except DamagedFile as damage:
            aside = move_aside(self.path)
            self._log.error(
                "{path} is damaged ({damage}) and is now {aside}; all ids are free until their holders show tickets",
                path=str(self.path),
                damage=str(damage),
                aside=str(aside),
            )
            self._file = BindingFile(self.path, network=network)
        if signer is not None:
            self._file.add_signer(signer, formers=formers)
        holdings = self._file.holdings()
        self._look = self._reactor.callLater(LOOK_EVERY, self._look_around)
        return holdings

    def _go_on(self) -> None:
        """Begin the next change, or close the file, unless a change is under way."""
        if self._busy:
            return
        if self._wanted:
            wanted, self._wanted = self._wanted, []
            changes = [change for change, _ in wanted]
            made = self._in_thread(lambda: self._file.bind(changes, now=self._now()))
            _ = made.addCallbacks(self._bound, self._not_bound, callbackArgs=(wanted,), errbackArgs=(wanted,))
        elif self._stopping is not None and not self._stopping.called:
            if self._reactor is not None and hasattr(self, "_file"):
                self._file.close()
            self._stopping.callback(None)

    def _bound(self, bindings: list[Binding], wanted: list[tuple[WantedBinding, Deferred[Binding]]]) -> None:
        for (_, done), binding in zip(wanted, bindings, strict=True):
            done.callback(binding)
        self._go_on()

    def _not_bound(self, failure: Failure, wanted: list[tuple[WantedBinding, Deferred[Binding]]]) -> None:
        for _, done in wanted:
            done.errback(failure.value)
        self._go_on()

    def _look_around(self) -> None:
        self._look = self._reactor.callLater(LOOK_EVERY, self._look_around)
        if not self._busy:
            _ = self._in_thread(self._file.changes).addCallbacks(self._seen, self._not_seen)

    def _seen(self, holdings: Holdings | None) -> None:
        if holdings is not None and self._stopping is None:
            self._complaint = ""
            self._changed(holdings)
        self._go_on()

    def _not_seen(self, failure: Failure) -> None:
        complaint = failure.getErrorMessage()
        if complaint != self._complaint:  # once, not each second
            self._log.error("{path} can't be read any more: {error}", path=str(self.path), error=complaint)
            self._complaint = complaint
        self._go_on()

    def _in_thread(self, function: Callable[[], T]) -> Deferred[T]:
        """Run something in a thread, where there are threads; the file is used by one at a time."""
        self._busy = True

        def over(result: T) -> T:
            self._busy = False
            return result

        if IReactorThreads.providedBy(self._reactor):
            done: Deferred[T] = deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function)
        else:
            done = maybeDeferred(function)
        return done.addBoth(over)

    def _now(self) -> int:
        wall_clock = self._reactor.wall_seconds if IWallClock.providedBy(self._reactor) else time.time
        return int(wall_clock())
