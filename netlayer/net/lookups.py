"""Host names that others have told of: few of them are looked up at once.

A look-up takes one of few threads, for half a minute if the name's servers are silent, and whether anybody still waits
or not. The others are for the names that the application has configured itself.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IHostnameResolver, IHostResolution, IResolutionReceiver
from zope.interface import directlyProvides, implementer, providedBy

from netlayer.net.resolving import name_resolver

__all__ = ["FewLookups"]

#: Look-ups of a node at once.
MOST = 2


class FewLookups:
    """A reactor as it is given to endpoints of such names: it looks up few names at once, and further ones in vain.

    :param reactor: does everything.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._running = 0
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    @property
    def nameResolver(self) -> IHostnameResolver:
        """The resolver, as :class:`twisted.internet.interfaces.IReactorPluggableNameResolver` has it."""
        return _Resolver(self, name_resolver(self._reactor))

    def begin(self) -> bool:
        """Begin a look-up, or return False if there are too many."""
        if self._running >= MOST:
            return False
        self._running += 1
        return True

    def end(self) -> None:
        """A look-up has ended."""
        self._running -= 1


@implementer(IHostResolution)
class _NoResolution:
    """A look-up that is not made."""

    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        """Do nothing."""


@implementer(IHostnameResolver)
class _Resolver:
    """Looks names up, unless there are too many under way."""

    def __init__(self, lookups: FewLookups, resolver: Any) -> None:
        self._lookups = lookups
        self._resolver = resolver

    def resolveHostName(
        self, resolutionReceiver: IResolutionReceiver, hostName: str, *arguments: Any, **options: Any
    ) -> IHostResolution:
        """Look a name up, or find no address at once."""
        if not self._lookups.begin():
            nothing = _NoResolution(hostName)
            resolutionReceiver.resolutionBegan(nothing)
            resolutionReceiver.resolutionComplete()
            return nothing
        receiver = _Receiver(self._lookups, resolutionReceiver)
        found: IHostResolution = self._resolver.resolveHostName(receiver, hostName, *arguments, **options)
        return found


@implementer(IResolutionReceiver)
class _Receiver:
    """Notes the end of a look-up."""

    def __init__(self, lookups: FewLookups, receiver: IResolutionReceiver) -> None:
        self._lookups = lookups
        self.resolutionBegan = receiver.resolutionBegan
        self.addressResolved = receiver.addressResolved
        self._receiver = receiver

    def resolutionComplete(self) -> None:
        """The look-up has ended, whether anybody still waits for it or not."""
        self._lookups.end()
        self._receiver.resolutionComplete()
