"""Connections that were accepted, up to their first byte: a node can bear thousands that never send one.

The dialer speaks first. Until it does, a connection costs a socket and a small object, neither TLS nor the state of a
peer: accepting it takes a quarter of the time.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from netlayer.errors import LinkLost
from netlayer.net.driver import Driver
from netlayer.net.tls import socket_of, why_lost

if TYPE_CHECKING:
    from netlayer.net.factory import PeerFactory
    from netlayer.net.strangers import Strangers

__all__ = ["AcceptedConnection", "Acceptor"]


class Acceptor(Factory):
    """What listens for a node.

    :param peers: the node; its drivers speak on the connections.
    :param strangers: decides which connections are kept.
    """

    noisy = False

    def __init__(self, peers: PeerFactory, strangers: Strangers) -> None:
        self.peers = peers
        self.strangers = strangers
        self.secured = peers.security.secured(_Drivers(peers), dials=False)

    def logPrefix(self) -> str:
        """Return how Twisted's log calls it when the port opens and closes."""
        return type(self.peers).__name__

    def buildProtocol(self, addr: IAddress | None) -> AcceptedConnection | None:
        """Accept a connection, or have it closed at once."""
        if self.peers.stopping or not self.strangers.admits(self.peers.connection_count):
            return None
        return AcceptedConnection(self, addr)


class AcceptedConnection(Protocol):
    """A connection that was accepted. From the first byte on, TLS has it.

    :ivar address: where it comes from.
    :ivar counted_host: the host of that, or None where no limit for one address holds.
    :ivar since: when it was accepted, by the clock's seconds: the time for its handshake runs from there.
    """

    transport: Any

    def __init__(self, acceptor: Acceptor, address: IAddress | None) -> None:
        self.address = address
        self.counted_host = acceptor.strangers.counted_host(address)
        self.began_at = 0.0  # when the first bytes came; of no meaning before that
        self.since = acceptor.peers.clock.seconds()
        self._secured: Any = None  # the driver and what is around it, once something has come
        self._dropped = False  # before there was one
        self._acceptor = acceptor

    @property
    def is_silent(self) -> bool:
        """Whether nothing has come, nor waits in the socket: in a flood a turn of the reactor is long."""
        return self._secured is None and not _has_unread(self.transport)

    def abort(self, reason: LinkLost) -> None:
        """Close the connection at once."""
        if self._secured is not None:
            self._secured.wrappedProtocol.abort(reason)
            return
        self._dropped = True
        self._acceptor.strangers.dropped(self, reason)
        self.transport.abortConnection()

    def connectionMade(self) -> None:
        """TCP stands."""
        self._acceptor.strangers.opened(self, self._acceptor.peers.connection_count)

    def dataReceived(self, data: bytes) -> None:
        """Bytes came."""
        if self._dropped or (self._secured is None and not self._begin()):
            return
        self._secured.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The transport is gone."""
        if self._secured is not None:
            self._secured.connectionLost(reason)
            return
        self._acceptor.strangers.closed(self, LinkLost(why_lost(reason)))
        self._acceptor.peers.stranger_gone()

    def _begin(self) -> bool:
        self.began_at = self._acceptor.peers.clock.seconds()
        if not self._acceptor.strangers.may_begin(self):
            self.abort(LinkLost("too many violations came from this address: it has one handshake a second"))
            return False
        self._secured = secured = cast(Any, self._acceptor.secured).buildProtocol(self.address)
        driver: Driver = secured.wrappedProtocol
        driver.accepted = self
        self._acceptor.strangers.spoke(self)
        secured.makeConnection(self.transport)
        return True


class _Drivers(Factory):
    """Builds the drivers of connections that were accepted, for TLS to be put around them."""

    noisy = False

    def __init__(self, peers: PeerFactory) -> None:
        self._peers = peers

    def buildProtocol(self, addr: IAddress | None) -> Driver:
        """Build a driver."""
        return Driver(self._peers)


def _has_unread(transport: Any) -> bool:
    raw = socket_of(transport)
    try:
        return raw is not None and bool(raw.recv(1, socket.MSG_PEEK))
    except OSError:  # nothing is there, or never will be
        return False
