"""Sending by id: a peer that is not linked is looked up and dialed."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, DeferredList

from netlayer.addresses import Address, parse_peer
from netlayer.errors import InvalidPeer, UnknownPeer
from netlayer.net.membership import Membership
from netlayer.net.remote import Remote
from netlayer.net.wanted import Reason, Wanted, client_endpoint
from netlayer.sansio.delivery.timeouts import Until
from netlayer.status import BroadcastReport

__all__ = ["Sending"]


class Sending:
    """Sends packets to whoever is named, for one running node.

    :param membership: knows whom it can reach.
    """

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self._factory = membership.factory
        self._wanted = membership.wanted
        self._directory = membership.directory
        self._joining = membership.joining
        self._seeking = membership.seeking

    def send(self, peer: Any, data: Any, *, timeout: float | None = None, until: Until | None = None) -> Deferred[None]:
        """Send a packet to one peer; parameters as in :meth:`netlayer.PeerService.send`.

        :returns: fires when the peer's handler has finished.
        :raises InvalidPeer: when `peer` is malformed, or this node itself.
        :raises UnknownPeer: when no address of it is known.
        :raises PeerUnreachable: when it has just refused this node, as it has no room.
        :raises UnsupportedData: when `data` can't be carried.
        :raises InvalidArgument: when `timeout` or `until` makes no sense.
        """
        node_id, address = parse_peer(peer)
        if node_id == self._factory.local.node_id:
            raise InvalidPeer(peer, "it is this node itself")
        wait = self._factory.wait(timeout, until)
        packet = self._factory.make_packet(data, confirm=True)
        return self._factory.submit_confirmed(self._reachable(node_id, address), packet, wait)

    def broadcast(
        self, data: Any, *, timeout: float | None = None, until: Until | None = None
    ) -> Deferred[BroadcastReport]:
        """Send a packet to all linked peers; parameters as in :meth:`netlayer.PeerService.broadcast`.

        :returns: fires when all of them have answered or failed.
        :raises UnsupportedData: when `data` can't be carried.
        :raises InvalidArgument: when `timeout` or `until` makes no sense.
        """
        confirmed = self._factory.broadcast(data, timeout=timeout, until=until)
        missed = self._membership.missing().difference(confirmed)
        outcomes = DeferredList(list(confirmed.values()), consumeErrors=True)

        def report(results: list[tuple[bool, Any]]) -> BroadcastReport:
            outcome = list(zip(confirmed, results, strict=True))
            return BroadcastReport(
                delivered=frozenset(peer for peer, (done, _) in outcome if done),
                failed={peer: failure.value for peer, (done, failure) in outcome if not done},
                missed=missed,
            )

        return outcomes.addCallback(report)

    def _reachable(self, node_id: int, address: Address | None) -> Remote:
        """Return the peer of an id, having made sure that it is linked or dialed."""
        remote = self._factory.remotes.find(node_id)
        if remote is not None and remote.link is not None and not remote.link.is_parting:
            return remote
        wanted = self._wanted.of(node_id, remote.fingerprint if remote is not None else None)
        refusal = self._seeking.refusal(node_id, remote.fingerprint if remote is not None else None)
        if refusal is not None and not wanted:
            raise refusal
        is_leaving = remote is not None and remote.link is not None  # whom nobody has configured is not wanted then
        record = self._directory.get(node_id)
        if not wanted and record is not None and record.addresses:
            wanted = [w for w in [self._joining.want_met(record)] if w is not None]
        dialed = [w.address for w in wanted if w.reason is not Reason.MET or not is_leaving]
        if address is not None and str(address) not in dialed:
            endpoint = client_endpoint(self._factory.reactor, address)
            asked = Wanted(Reason.ASKED, str(address), endpoint, expected_id=node_id)
            # The packet wakes the dialer: an attempt may fail at once, and nobody would wait for it yet.
            wanted = [*wanted, self._wanted.add(("asked", node_id, address), asked, delay=0.0)]
        if not wanted and (remote is None or remote.delivery.session is None):
            raise UnknownPeer(node_id)  # with a session, the peer itself may come back
        return self._factory.remotes.with_id(node_id)
