"""The store of a bootstrap node without a data directory: it lives as long as the process."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from netlayer.interfaces import IBindingStore
from netlayer.log import NodeLog
from netlayer.sansio.bootstrap.registry import Binding, Holdings

__all__ = ["MemoryStore"]


@implementer(IBindingStore)
class MemoryStore:
    """Keeps nothing beyond what its bootstrap node knows anyway."""

    def start(
        self,
        reactor: IReactorTime,
        *,
        network: str,
        signer: bytes | None,
        formers: tuple[bytes, ...] = (),
        changed: Callable[[Holdings], object],
        log: NodeLog,
    ) -> Deferred[Holdings]:
        """Begin with nothing."""
        return succeed(Holdings())

    def bind(self, binding: Binding, *, replacing: bytes | None, formers: tuple[bytes, ...] = ()) -> Deferred[Binding]:
        """Let the node have its way: nobody else makes bindings here."""
        return succeed(binding)

    def stop(self) -> Deferred[None]:
        """Do nothing."""
        return succeed(None)
