"""Dialing a host by its name: it is looked up for each attempt, and may stand for several machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IProtocol,
    IProtocolFactory,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from zope.interface import directlyProvides, implementer, providedBy

from netlayer.net.resolving import name_resolver
from netlayer.sansio.overlay.rotation import Rotation

__all__ = ["NameEndpoint", "StillLookingUp"]

#: Seconds after which a look-up counts as lost, and its answer as old. That of a system with three silent name servers
#: takes up to a minute.
LOOKUP_SERVES = 120.0


class StillLookingUp(ConnectError):
    """An attempt was given up before its name was looked up."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def __str__(self) -> str:
        return f"still looking the name up: {self.name}"


@implementer(IStreamClientEndpoint)
class NameEndpoint:
    """Dials a host by its name.

    Of the addresses that the name has at the time, those are raced that have not failed behind TCP, as
    :class:`twisted.internet.endpoints.HostnameEndpoint` does.

    :param options: of that endpoint.
    :ivar hosts: the addresses that the last look-up has found.
    """

    def __init__(self, reactor: Any, host: str, port: int, **options: Any) -> None:
        self._reactor = reactor
        self._host = host
        self._port = port
        self._options = options
        self.hosts: Sequence[str] = ()
        self._rotation = Rotation()
        self._lookup: _Lookup | None = None

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Look the name up and connect. A look-up that outlives its attempt serves the next one."""
        try:
            _ = self._host.encode("idna")
        except UnicodeError:  # resolvers raise it where nobody expects it
            return fail(ValueError(f"invalid hostname: {self._host}"))
        now = self._reactor.seconds()
        if self._lookup is None or now - self._lookup.began > LOOKUP_SERVES:
            self._lookup = _Lookup(self._host, began=now)
            resolver = name_resolver(self._reactor)
            _ = resolver.resolveHostName(self._lookup, self._host, portNumber=self._port)
        return self._lookup.wait().addCallback(lambda found: self._connect(found, protocolFactory))

    def attempt_failed(self, reached: Sequence[IAddress]) -> None:
        """Begin with another address next time, if there is one.

        :param reached: where TCP stood in an attempt that has failed.
        """
        self._rotation.failed(getattr(address, "host", "") for address in reached)

    def _connect(self, found: Sequence[IAddress], factory: IProtocolFactory) -> Deferred[IProtocol]:
        self._lookup = None
        by_host = {getattr(address, "host", ""): address for address in found}
        self.hosts = list(by_host)
        chosen = [by_host[host] for host in self._rotation.choose(self.hosts)]
        racing = HostnameEndpoint(_Answered(self._reactor, chosen), self._host, self._port, **self._options)
        connected: Deferred[IProtocol] = racing.connect(factory)
        return connected


@implementer(IResolutionReceiver)
class _Lookup:
    """One look-up of a name: whoever waits may give up, and its answer is kept for the next one who asks."""

    def __init__(self, name: str, *, began: float) -> None:
        self.began = began
        self._name = name
        self._found: list[IAddress] = []
        self._is_over = False
        self._waiting: list[Deferred[list[IAddress]]] = []

    def wait(self) -> Deferred[list[IAddress]]:
        """Return a Deferred that fires with all addresses; fails with StillLookingUp when it is cancelled."""
        waiting: Deferred[list[IAddress]] = Deferred(self._give_up)
        if self._is_over:
            waiting.callback(self._found)
        else:
            self._waiting.append(waiting)
        return waiting

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """It has begun."""

    def addressResolved(self, address: IAddress) -> None:
        """The name has this address."""
        self._found.append(address)

    def resolutionComplete(self) -> None:
        """There are no more."""
        self._is_over = True
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(self._found)

    def _give_up(self, waiting: Deferred[list[IAddress]]) -> None:
        self._waiting.remove(waiting)
        waiting.errback(StillLookingUp(self._name))


class _Answered:
    """A reactor as it is given to an endpoint whose name was looked up already."""

    def __init__(self, reactor: Any, addresses: Sequence[IAddress]) -> None:
        self._reactor = reactor
        self.nameResolver = _Answer(addresses)
        directlyProvides(self, providedBy(reactor), IReactorPluggableNameResolver)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)


@implementer(IHostnameResolver, IHostResolution)
class _Answer:
    """Resolves the one name, at once."""

    name = ""

    def __init__(self, addresses: Sequence[IAddress]) -> None:
        self._addresses = addresses

    def resolveHostName(
        self, resolutionReceiver: IResolutionReceiver, hostName: str, *arguments: Any, **options: Any
    ) -> IHostResolution:
        """Tell of all addresses."""
        resolutionReceiver.resolutionBegan(self)
        for address in self._addresses:
            resolutionReceiver.addressResolved(address)
        resolutionReceiver.resolutionComplete()
        return self

    def cancel(self) -> None:
        """Do nothing."""
