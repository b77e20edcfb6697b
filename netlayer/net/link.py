"""The link to a peer, as an application sees it: what is known of it, and what can be done with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, ITransport
from zope.interface import implementer

from netlayer.addresses import PeerInfo
from netlayer.errors import LinkLost, NodeStopped, PeerIdentityMismatch
from netlayer.net.forks import require_own_reactor
from netlayer.net.remote import Remote
from netlayer.sansio.delivery.timeouts import Until
from netlayer.storage.identity import fingerprint_text

if TYPE_CHECKING:
    from netlayer.net.driver import Driver

__all__ = ["Link"]


@implementer(ITransport)
class Link:
    """The link to a peer, which is also the transport of its :class:`~netlayer.PeerProtocol`.

    It stays what it was when the link is lost: what is sent on it goes over whichever link comes next.

    :ivar peer: who the peer is: its id and where it listens.
    """

    def __init__(self, driver: Driver, peer: PeerInfo) -> None:
        self.peer = peer
        self._driver = driver
        self._node = driver.node

    def __repr__(self) -> str:
        return f"<Link to {self.peer} at {self.address}>"

    # ---- what is known of it

    @property
    def is_up(self) -> bool:
        """Whether it stands."""
        return self._driver.is_link

    @property
    def is_bootstrap(self) -> bool:
        """Whether the peer is a bootstrap node."""
        return self._driver.is_bootstrap

    @property
    def fingerprint(self) -> bytes:
        """The 32 bytes that name the peer's key, which the peer has proven to hold."""
        return self._driver.fingerprint

    @property
    def address(self) -> str:
        """Where the other end of the connection is; a dialer's port is none that it listens at."""
        return self._driver.address

    @property
    def dialed(self) -> bool:
        """Whether this end has dialed."""
        return self._driver.dialed

    @property
    def since(self) -> float:
        """Seconds since it began."""
        return self._node.clock.seconds() - self._driver.linked_at

    @property
    def round_trip(self) -> float | None:
        """Seconds that the last PING and its answer took; None before the first answer."""
        return self._driver.connection.round_trip

    @property
    def queued(self) -> int:
        """Bytes to the peer that are unsent or without a receipt, overhead included."""
        return self._driver.queued

    # ---- what can be done with it

    def send(self, data: Any) -> int:
        """Send a packet, of which only a failure is told; see :meth:`netlayer.PeerProtocol.send_packet`.

        :returns: the number of the packet.
        """
        require_own_reactor(self._node.reactor)
        packet = self._node.make_packet(data)
        return self._node.submit(self._remote(), packet)

    def send_confirmed(self, data: Any, *, timeout: float | None = None, until: Until | None = None) -> Deferred[None]:
        """Send a packet; see :meth:`netlayer.PeerProtocol.send_packet`.

        :returns: fires when the peer's handler has finished.
        """
        require_own_reactor(self._node.reactor)
        wait = self._node.wait(timeout, until)
        packet = self._node.make_packet(data, confirm=True)
        return self._node.submit_confirmed(self._remote(), packet, wait)

    def when_drained(self) -> Deferred[None]:
        """Return a Deferred that fires when nothing is queued or in flight any more, whatever its outcome was."""
        require_own_reactor(self._node.reactor)
        remotes = self._node.remotes
        remote = remotes.find_key(self.fingerprint) or remotes.find(self.peer.node_id)
        return remote.when_drained() if remote is not None else succeed(None)

    def disconnect(self) -> None:
        """Say goodbye and end the session, as :meth:`netlayer.PeerProtocol.disconnect` does."""
        require_own_reactor(self._node.reactor)
        self._driver.say_goodbye("disconnect")

    # ---- ITransport

    def write(self, data: bytes) -> None:
        """Send bytes as a packet."""
        self.send(bytes(data))

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send pieces as one packet."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Do what :meth:`disconnect` does."""
        self.disconnect()

    def abortConnection(self) -> None:
        """Close the connection at once. The session goes on, on the next link."""
        self._driver.abort(LinkLost("this application has closed the connection"))

    def getPeer(self) -> IAddress:
        """Return the address of the other end."""
        address: IAddress = self._driver.transport.getPeer()
        return address

    def getHost(self) -> IAddress:
        """Return the address of this end."""
        address: IAddress = self._driver.transport.getHost()
        return address

    # ---- private

    def _remote(self) -> Remote:
        """Return the peer, or, when nothing is left of it, whoever answers for its id next."""
        driver, node = self._driver, self._node
        if driver.is_link and driver.remote is not None:
            return driver.remote
        remote = node.remotes.find_key(self.fingerprint)
        if remote is not None:
            return remote
        if node.stopping:
            raise NodeStopped
        remote = node.remotes.with_id(self.peer.node_id)
        if remote.link is not None and remote.fingerprint is not None:
            raise PeerIdentityMismatch(fingerprint_text(self.fingerprint), fingerprint_text(remote.fingerprint))
        return remote
