"""One attempt to link a peer: dial an endpoint, build the driver, and end in exactly one outcome."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress, IProtocol, IReactorTime
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from netlayer.errors import LinkLost
from netlayer.net.named import StillLookingUp

if TYPE_CHECKING:
    from netlayer.net.driver import Driver

__all__ = ["Attempt"]


class Attempt(Factory):
    """Who is dialed, and who wants to know what became of it.

    :param build: makes the driver of a connection of this attempt.
    :param expected_id: the node id that has to answer, if one was meant.
    :param expected_fingerprints: the keys of which one has to answer; any may if there are none.
    :ivar reached: the addresses at which TCP stood.
    :param connected: is called when a connection of this attempt stands, before its handshake.
    :ivar outcome: fires with the driver of the link; cancelling it gives up, unless the link stands already.
    """

    noisy = False

    def __init__(
        self,
        build: Callable[[Attempt], Driver],
        *,
        expected_id: int | None = None,
        expected_fingerprints: Collection[bytes] = (),
        connected: Callable[[], None] = lambda: None,
    ) -> None:
        self.expected_id = expected_id
        self.expected_fingerprints = expected_fingerprints
        self.outcome: Deferred[Any] = Deferred(lambda _: self.give_up(CancelledError()))
        self._build = build
        self.reached: list[IAddress] = []
        self._connected = connected
        self._made: list[Driver] = []  # an endpoint of a host name may try several addresses at once
        self._connecting: Deferred[IProtocol] | None = None

    def start(self, connect: Callable[[Attempt], Deferred[IProtocol]], *, clock: IReactorTime, timeout: float) -> None:
        """Connect, for which there are `timeout` seconds; the handshake has a time of its own."""

        def late(result: object, seconds: float) -> Failure:
            is_named = isinstance(result, Failure) and result.check(StillLookingUp)
            why = f": {result.value}" if isinstance(result, Failure) and is_named else ""
            return Failure(LinkLost(f"no connection within {seconds:g} s{why}"))

        self._connecting = connect(self)
        _ = self._connecting.addTimeout(timeout, clock, late).addErrback(self.failed)

    def succeeded(self, link: Driver) -> None:
        """The link stands."""
        if not self.outcome.called:
            self.outcome.callback(link)

    def failed(self, reason: Failure | Exception) -> None:
        """There will be no link."""
        if not self.outcome.called:
            self.outcome.errback(reason)

    def fail_after(self, seconds: float, clock: IReactorTime, reason: Exception) -> None:
        """Wait no longer than that for what another connection may bring."""
        late = clock.callLater(seconds, self.failed, reason)

        def over(result: Any) -> Any:
            if late.active():
                late.cancel()
            return result

        _ = self.outcome.addBoth(over)

    def give_up(self, error: Exception) -> None:
        """Wait no longer; a link that stands by now, at either end, stays."""
        for driver in self._made:
            if not driver.is_chosen:
                driver.abort(error)
        self.failed(error)
        if self._connecting is not None:
            self._connecting.cancel()

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Build the driver of a connection of this attempt."""
        driver = self._build(self)
        self._made.append(driver)
        if addr is not None:
            self.reached.append(addr)
        self._connected()
        return driver
