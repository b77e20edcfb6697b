"""Name resolution inside the simulated internet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IAddress, IHostnameResolver, IHostResolution, IResolutionReceiver
from zope.interface import implementer

if TYPE_CHECKING:
    from netlayer.testing.reactor import SimulatedReactor

__all__ = ["SimulatedResolver"]

#: Seconds that a look-up takes.
_LOOKUP = 0.001


@implementer(IHostResolution)
class _Resolution:
    """One look-up that is under way."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


@implementer(IHostnameResolver)
class SimulatedResolver:
    """Knows the hosts of the internet by their names, and the names that were given to addresses besides."""

    def __init__(self, reactor: SimulatedReactor) -> None:
        self._reactor = reactor

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """Look a name up. A name that nobody has gives no address, as everywhere."""
        reactor = self._reactor
        resolution = _Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)

        def answer() -> None:
            if resolution.cancelled:
                return
            if addressTypes is None or IPv4Address in addressTypes:
                for address in reactor.host.internet.lookup(reactor.host, hostName):
                    resolutionReceiver.addressResolved(IPv4Address("TCP", address, portNumber))
            resolutionReceiver.resolutionComplete()

        internet = reactor.host.internet
        internet.push(internet.now + _LOOKUP, reactor.turn, b"resolve", answer)  # it is no timer of the process
        return resolution
