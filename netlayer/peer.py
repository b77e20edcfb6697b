"""The protocol that applications subclass: one connection to a peer."""

from __future__ import annotations

from typing import Any, Literal, overload

from twisted.internet.defer import Deferred, succeed

from netlayer.addresses import PeerInfo
from netlayer.errors import InvalidArgument, LinkLost, LocalProtocolError, NodeStopped, PeerIdentityMismatch
from netlayer.handlers import DataPacket
from netlayer.net.driver import Driver
from netlayer.net.forks import require_own_reactor
from netlayer.net.remote import Remote
from netlayer.sansio.delivery.timeouts import Until
from netlayer.storage.identity import fingerprint_text

__all__ = ["PeerProtocol"]


class PeerProtocol(Driver):
    """One connection to a peer. Subclass it and override the hooks.

    The hooks are called between :meth:`peer_ready` and :meth:`peer_lost`, in this order; ``peer`` is set in all
    of them. The object belongs to one connection. Delivery does not: packets that were sent on a connection that
    broke arrive over the next one.

    :ivar peer: who the peer is, from :meth:`peer_ready` on.
    :ivar factory: the factory that built this protocol.
    """

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
        peer = self._proven_peer()
        if not confirm:
            for name, value in (("timeout", timeout), ("until", until)):
                if value is not None:
                    raise InvalidArgument(name, value, "nobody waits for a plain send; use confirm=True")
            packet = self.factory.make_packet(data)
            return self.factory.submit(self._session(peer), packet)
        wait = self.factory.wait(timeout, until)
        packet = self.factory.make_packet(data, confirm=True)
        return self.factory.submit_confirmed(self._session(peer), packet, wait)

    def when_drained(self) -> Deferred[None]:
        """Return a Deferred that fires when nothing is queued or in flight any more, whatever its outcome was."""
        remotes, peer = self.factory.remotes, self._proven_peer()
        remote = remotes.find_key(self.fingerprint) or remotes.find(peer.node_id)
        return remote.when_drained() if remote is not None else succeed(None)

    def disconnect(self) -> None:
        """Say goodbye: packets in flight get their receipts, then the connection closes. It ends the session.

        It keeps nobody out: both ends forget where the other one is, until a bootstrap node tells of it again or
        somebody sends to its address. A configured peer and a bootstrap node are dialed again soon.
        """
        require_own_reactor(self.factory.reactor)
        self._goodbye("disconnect")

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

    def _session(self, peer: PeerInfo) -> Remote:
        """Return the peer, or, when nothing is left of it, whoever answers for its id next."""
        if self._ready and self._remote is not None:
            return self._remote
        remotes = self.factory.remotes
        remote = remotes.find_key(self.fingerprint)
        if remote is not None:
            return remote
        if self.factory.stopping:
            raise NodeStopped
        remote = remotes.with_id(peer.node_id)
        if remote.link is not None and remote.fingerprint is not None:
            raise PeerIdentityMismatch(fingerprint_text(self.fingerprint), fingerprint_text(remote.fingerprint))
        return remote

    def _proven_peer(self) -> PeerInfo:
        require_own_reactor(self.factory.reactor)
        if self.peer is None:
            raise LocalProtocolError("this connection is not ready: wait for peer_ready()")
        return self.peer
