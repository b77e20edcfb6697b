"""The protocol that applications subclass: one link to a peer."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, overload

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol

from netlayer.addresses import PeerInfo
from netlayer.errors import InvalidArgument, LinkLost, LocalProtocolError
from netlayer.handlers import DataPacket
from netlayer.net.link import Link
from netlayer.sansio.delivery.timeouts import Until

__all__ = ["PeerProtocol"]


class PeerProtocol(Protocol):
    """One link to a peer. Subclass it and override the hooks.

    The factory builds it when a link stands, so never for somebody who has proven nothing. The hooks are called between
    :meth:`peer_ready` and :meth:`peer_lost`, in this order. The object belongs to one link. Delivery does not: packets
    that were sent on a link that broke arrive over the next one.

    It holds the link, which is its ``transport`` as well, and shares nothing else with what works below: a subclass may
    use any other name for its own. Packets come to :meth:`packet_received`; ``dataReceived`` is never called.

    :cvar with_bootstraps: whether the links to bootstrap nodes have such a protocol, too. If not, what a bootstrap
        node's application sends is refused.
    :ivar link: the link, which tells what is known of the peer, from the time on when it stands.
    :ivar peer: who the peer is: its id and where it listens, likewise.
    :ivar is_bootstrap: whether it is a bootstrap node, likewise.
    :ivar factory: the factory that built this protocol.
    """

    with_bootstraps: ClassVar[bool] = False
    factory: Any
    link: Link = None  # type: ignore[assignment] # both are set when the hooks are called
    peer: PeerInfo = None  # type: ignore[assignment]
    is_bootstrap = False

    def makeConnection(self, transport: Any) -> None:
        """Begin with a link that stands. Twisted's ``connectionMade`` is called, then :meth:`peer_ready`."""
        self.link, self.peer, self.is_bootstrap = transport, transport.peer, transport.is_bootstrap
        super().makeConnection(transport)

    # ---- commands

    @overload
    def send_packet(self, data: Any, *, confirm: Literal[False] = ...) -> int: ...

    @overload
    def send_packet(
        self, data: Any, *, confirm: Literal[True], timeout: float | None = ..., until: Until | None = ...
    ) -> Deferred[None]: ...

    def send_packet(
        self, data: Any, *, confirm: bool = False, timeout: float | None = None, until: Until | None = None
    ) -> int | Deferred[None]:
        """Send a packet to the peer; on a connection that was lost, over whichever link comes next.

        :param data: bytes, str, None, bool, int, float, or a list or dict of these.
        :param confirm: whether to return a Deferred that fires when the peer's handler has finished. It is three
            times as expensive as a plain send, of which only failures are told, by the log and by :meth:`peer_lost`.
        :param timeout: seconds that the Deferred waits at most; by default ``delivery_timeout`` of the settings.
        :param until: ``"link"`` to end the wait as soon as the peer is not linked and nothing listens where it is
            dialed; see :meth:`netlayer.PeerService.send`.
        :returns: the number of the packet, which no other packet of this node has, or the Deferred.
        :raises UnsupportedData: when `data` can't be carried.
        :raises InvalidArgument: when `timeout` or `until` makes no sense, as it does for a plain send.
        :raises PacketTooLarge: when it is over the limit of either end.
        :raises QueueFull: when the peer takes packets more slowly than they are sent.
        :raises PeerIdentityMismatch: when the peer is gone and another key answers for its id.
        :raises LocalProtocolError: before :meth:`peer_ready`.
        :raises NodeStopped: after the node was shut down.
        """
        link = _standing(self)
        if confirm:
            return link.send_confirmed(data, timeout=timeout, until=until)
        if timeout is not None:
            raise InvalidArgument("timeout", timeout, "nobody waits for a plain send; use confirm=True")
        if until is not None:
            raise InvalidArgument("until", until, "nobody waits for a plain send; use confirm=True")
        return link.send(data)

    def when_drained(self) -> Deferred[None]:
        """Return a Deferred that fires when nothing is queued or in flight any more, whatever its outcome was."""
        return _standing(self).when_drained()

    def disconnect(self) -> None:
        """Say goodbye: packets in flight get their receipts, then the connection closes. It ends the session.

        It keeps nobody out: both ends forget where the other one is, until a bootstrap node tells of it again or
        somebody sends to its address. A configured peer and a bootstrap node are dialed again soon.
        """
        _standing(self).disconnect()

    # ---- hooks, for subclasses

    def peer_ready(self) -> Any:
        """The peer is proven and this connection is the link to it. Packets can be sent from now on."""

    def packet_received(self, packet: DataPacket) -> Any:
        """A packet has arrived.

        :returns: anything; if it is a Deferred or a coroutine, the sender's receipt waits for its end. An exception
            makes the sender's receipt a :class:`~netlayer.errors.HandlerFailed`.
        """

    def peer_lost(self, reason: LinkLost) -> Any:
        """This connection carries no packets any more. What it has received was handed over before.

        :param reason: why; its ``unknown`` are the numbers of plain sends whose outcome nobody will know.
        """

    def sending_paused(self) -> Any:
        """Stop sending to this peer for a while, or see QueueFull soon.

        Its send queue is three quarters full; or all queues of the node together are, and this one holds its share.
        """

    def sending_resumed(self) -> Any:
        """Go on sending: the queues have room again, half of them at least, after :meth:`sending_paused`."""

    def handler_name(self) -> str:
        """Return what the log calls the handler of packets."""
        return f"{type(self).__qualname__}.packet_received"


def _standing(protocol: PeerProtocol) -> Link:
    link: Link | None = protocol.link
    if link is None:
        raise LocalProtocolError("this connection is not ready: wait for peer_ready()")
    return link
