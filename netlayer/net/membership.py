"""Staying in a network: what follows from links that come and go, and from what bootstrap nodes tell."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from math import inf

from twisted.internet.defer import CancelledError, DeferredList
from twisted.internet.interfaces import IDelayedCall

from netlayer.addresses import Address, believed, is_link_local, literal_address
from netlayer.errors import DeliveryError, LinkLost, PeerUnreachable, Rejected
from netlayer.net.dialing import Dialer, is_full
from netlayer.net.driver import Driver
from netlayer.net.factory import LinkObserver, PeerFactory
from netlayer.net.joining import FirstAnswer, Joining
from netlayer.net.listening import Listening
from netlayer.net.remote import Remote
from netlayer.net.seeking import Seeking
from netlayer.net.wanted import Reason, Wanted, client_endpoint
from netlayer.net.wanted_peers import WantedPeers
from netlayer.sansio.overlay.directory import Directory
from netlayer.sansio.overlay.flapping import FLAPPING, LASTS, Breaks
from netlayer.wire.messages import GoodbyeCode, NetAddress, Peers, Referral, Registered

__all__ = ["Membership"]

#: For how many renewals of its lease a node knows of a peer that it has heard of. That is two answers of a bootstrap
#: node, and some: it tells no more of a node that has left, and, if it has many, of others each time.
KNOWN_FOR = 2.5


class Membership(LinkObserver):
    """Links one node to its network, and keeps it there until it is stopped.

    :param factory: is observed from now on.
    :param bootstraps: the bootstrap nodes to register with, by what makes them different from each other.
    :param peers: the configured peers, likewise.
    :param listening: where this node is reached.
    :param advertise: what others are told instead, or None.
    :ivar factory: what it was given.
    :ivar wanted: whom this node dials.
    :ivar directory: the peers that it knows of.
    :ivar joining: its registrations.
    :ivar seeking: what becomes of the peers for which there is no room.
    :ivar redials_met: whether peers that were linked once are dialed when their links are lost.
    """

    def __init__(
        self,
        factory: PeerFactory,
        *,
        bootstraps: Mapping[Hashable, Wanted],
        peers: Mapping[Hashable, Wanted],
        listening: Listening,
        advertise: Address | None,
    ) -> None:
        self.factory = factory
        self.wanted = WantedPeers(
            factory.reactor,
            factory,
            unreachable=self._peer_unreachable,
            still_unreachable=self._fail_packets,
            refused=self._peer_refused,
            discovered=self._discovered,
            flaps=self._flaps,
        )
        self.directory = Directory()
        self.joining = Joining(
            factory,
            self.wanted,
            self.directory,
            seek=lambda: self.seeking.look(),
            answered=self._bootstrap_answered,
            silent=self._bootstrap_silent,
            seen_at=self._seen_at,
        )
        self.seeking = Seeking(factory, self.wanted, self.directory, want=self.joining.want_met)
        # Nodes dial their bootstrap nodes, for ever: those need not dial back.
        self.redials_met = factory.role != "bootstrap"
        self._bootstraps = bootstraps
        self._peers = peers
        self._listening = listening
        self._advertise = advertise
        self._first_answer: FirstAnswer | None = None
        # Where this node was seen, and by which bootstrap node, if that is linked still; by whether it is link-local.
        self._views: dict[bool, tuple[Driver | None, str]] = {}
        self._stopped = False
        self._breaks = Breaks()
        self._standing: dict[Driver, IDelayedCall] = {}  # links to peers that flap, until it is known that they last
        factory.observer = self

    async def start(self, *, patient: bool) -> None:
        """Dial the bootstrap nodes and the configured peers.

        It is done when each of the peers that the first answering bootstrap node tells of was tried, and the configured
        ones too; if no bootstrap node answers, when all of them were given up for now.

        :param patient: whether to go on trying even when a bootstrap node refuses this node for good.
        :raises JoinRefused: when every bootstrap node failed and one refused this node for good.
        :raises NodeStopped: when :meth:`stop` was called meanwhile.
        """
        address = self._advertise or self._listening.advertised
        self.factory.announce((NetAddress(address.host, address.port),))
        if self.factory.role != "bootstrap" and not self._bootstraps and not self._peers:
            self.factory.log.warn("this node waits to be dialed: it has no bootstrap node and no peer to dial")
        to_try = [self.wanted.add(key, wanted) for key, wanted in self._peers.items()]
        if self._bootstraps:
            self._first_answer = FirstAnswer(self._bootstraps.values(), patient=patient)
            for key, wanted in self._bootstraps.items():
                self.wanted.add(key, wanted)
            try:
                to_try += await self._first_answer.outcome
            finally:
                self._first_answer = None  # later answers and failures mean nothing to a start
        tried = await DeferredList([wanted.dialer.when_tried() for wanted in to_try], consumeErrors=True)
        if not all(done for done, _ in tried):  # a cancelled list of Deferreds fires as if nothing had happened
            raise CancelledError

    def stop(self) -> None:
        """Dial nobody any more."""
        self._stopped = True
        if self._first_answer is not None:
            self._first_answer.stop()
        self.wanted.stop()
        self.joining.stop()
        self.seeking.stop()
        for timer in self._standing.values():
            timer.cancel()
        self._standing.clear()

    def missing(self) -> frozenset[int]:
        """Return the ids of the peers that are known and wanted, and not linked. Bootstrap nodes are not among them."""
        now, joining = self.factory.clock.seconds(), self.joining
        since = now - KNOWN_FOR * self.factory.settings.lease_renewal if joining.joined else -inf
        known = self.directory.heard_since(since)
        known.update(peer.node_id for peer in self.factory.listed())
        known.update(self.seeking.unlinked())
        links = self.factory.link_drivers()
        others = {link.introduction.node_id for link in links if not link.gives_way}
        known.update(link.introduction.node_id for link in links if link.gives_way)
        others.update(self.directory.bootstraps)
        for wanted in self.wanted:
            if wanted.node_id is None:
                continue
            if wanted.reason in (Reason.CONFIGURED, Reason.MET):
                known.add(wanted.node_id)
            elif wanted.reason is Reason.BOOTSTRAP and not wanted.is_mistaken:
                others.add(wanted.node_id)
        return frozenset(known - others)

    # ---- what the factory reports

    def link_ready(self, protocol: Driver) -> None:
        """A link stands."""
        said = protocol.introduction
        if not said.ephemeral and self._is_remembered(protocol):
            self.factory.claims.known_peers.learn(said.node_id, protocol.fingerprint)
        self.directory.linked(said.node_id, is_bootstrap=protocol.is_bootstrap)
        if not self._flaps(protocol.fingerprint):
            self.factory.log.info("peer {peer} linked at {address}", peer=said.node_id, address=protocol.address)
        elif not self._stopped:
            self._standing[protocol] = self.factory.clock.callLater(LASTS, self._stands, protocol)
        self.wanted.linked(protocol)
        if not protocol.is_bootstrap:
            self.directory.learn(self.factory.dialable(protocol.record, protocol), self.factory.clock.seconds())
        self.seeking.linked(protocol)
        for wanted in self.wanted.of_link(protocol):
            self._discovered(wanted, protocol)

    def link_lost(self, protocol: Driver, reason: LinkLost) -> None:
        """A link is gone. A peer that did not say goodbye is wanted back."""
        record = protocol.record
        self._tell_lost(protocol, reason)
        unused = None if self.joining.is_registered(protocol) else reason
        self.joining.lost(protocol)
        self._views = {
            kind: (bootstrap if bootstrap is not protocol else None, host)
            for kind, (bootstrap, host) in self._views.items()
        }
        if self._stopped:
            return
        self.seeking.lost(protocol, reason)
        self.wanted.lost(protocol, reason, unused=unused, retry_after=reason.retry_after)
        met = [wanted for wanted in self.wanted.of_link(protocol) if wanted.reason is Reason.MET]
        latest = self.directory.get(record.node_id)
        lost = [self.factory.dialable(record, protocol)] if reason.goodbye is None and not met else []
        if latest is not None and latest.fingerprint != record.fingerprint:
            lost.append(latest)  # we were told of it while the old link seemed to stand
        elif reason.goodbye is not None and reason.goodbye != GoodbyeCode.ROOM:
            self.directory.forget(record.node_id)
        if reason.goodbye is not None:
            for wanted in met:
                self.wanted.drop(wanted)
        if not protocol.is_bootstrap and self.redials_met:
            for each in lost:
                delay = self.factory.rng.uniform(0.0, self.factory.settings.backoff_first)
                self.joining.want_met(each, delay=delay)
        for remote in self.factory.remotes.unlinked(record.node_id, protocol.fingerprint):
            if remote.delivery.awaits_link and not self._dialers(remote):
                self._ask_for(record.node_id)
            self._link_ended(remote, reason)

    def packets_wait(self, remote: Remote) -> None:
        """Somebody sends to a peer that has no link."""
        dialers = self._dialers(remote)
        if not dialers:
            refusal = self.seeking.refusal(remote.node_id, remote.fingerprint)
            record = self.directory.get(remote.node_id)
            if refusal is not None:
                remote.fail_unwritten(refusal)
            elif record is not None and remote.fingerprint in (None, record.fingerprint):
                _ = self.joining.want_met(record)
            return
        for dialer in dialers:
            dialer.wake()
        refusals = [dialer.refusal for dialer in dialers]
        if refusals and None not in refusals:
            remote.fail_unwritten(PeerUnreachable(remote.node_id, 0, str(refusals[0])))

    def is_dialed(self, remote: Remote) -> bool:
        """Tell whether a peer is wanted."""
        return bool(self._dialers(remote))

    def has_no_room(self, protocol: Driver) -> None:
        """A peer is refused for lack of room: it is known, and not linked."""
        if not protocol.is_bootstrap:
            self.directory.heard_of(protocol.introduction.node_id, self.factory.clock.seconds())

    def is_configured(self, protocol: Driver) -> bool:
        """Tell whether a connection leads to a bootstrap node or a peer of the node's configuration."""
        return self.wanted.is_configured(protocol)

    def news_received(self, protocol: Driver, news: Registered | Peers) -> None:
        """A bootstrap node has sent records."""
        if not self._stopped:
            self.joining.news_received(protocol, news)

    def reserved(self) -> int:
        """Return how many places are kept for the nodes of the configuration."""
        return self.wanted.configured_count()

    def refused(self, protocol: Driver, reason: Rejected) -> None:
        """The other end of a connection has refused this node."""
        self.seeking.refused(protocol, reason)

    def make_room(self, protocol: Driver) -> Driver | None:
        """Part from somebody so that a connection can become a link; return whose link ends, or None if none does."""
        return self.seeking.make_room(protocol) if not self._stopped else None

    def referrals(self, protocol: Driver) -> tuple[Referral, ...]:
        """Return whom somebody is referred to that this node has no room for."""
        return self.seeking.referrals(protocol)

    # ---- private

    def _tell_lost(self, protocol: Driver, reason: LinkLost) -> None:
        """Say that a link is lost; of a peer that flaps that is said once, until a link to it has lasted."""
        peer, key = protocol.introduction.node_id, protocol.fingerprint
        timer = self._standing.pop(protocol, None)
        if timer is not None:
            timer.cancel()
        if reason.goodbye is not None or not self._flaps(key):
            self.factory.log.info("peer {peer} lost: {reason}", peer=peer, reason=reason)
        if reason.goodbye is None and self._breaks.lost(key, self.factory.clock.seconds()):
            self.factory.log.warn(
                "the link to peer {peer} breaks again and again: {reason}; {count} times lately",
                peer=peer,
                reason=reason,
                count=FLAPPING,
            )

    def _flaps(self, fingerprint: bytes | None) -> bool:
        return self._breaks.is_flapping(fingerprint, self.factory.clock.seconds())

    def _stands(self, protocol: Driver) -> None:
        """A link to a peer whose links did not last has lasted."""
        del self._standing[protocol]
        self._breaks.lasts(protocol.fingerprint)
        peer = protocol.introduction.node_id
        self.factory.log.info("healed: the link to peer {peer} at {address} lasts", peer=peer, address=protocol.address)

    def _link_ended(self, remote: Remote, reason: LinkLost) -> None:
        """See to the packets that were sent while a link ended."""
        dialers = self._dialers(remote)
        if not (dialers or remote.connections or remote.delivery.session):
            error = PeerUnreachable(remote.node_id, 0, str(reason))
            remote.fail_unwritten(error, plain=False)  # nobody waits for the others, and the peer may come back
        elif remote.delivery.queued and (not dialers or any(dialer.exhausted for dialer in dialers)):
            self.packets_wait(remote)  # the peer is not dialed otherwise, or we had given up to dial before

    def _ask_for(self, node_id: int) -> None:
        """Dial a peer that would not be dialed otherwise, as long as somebody sends to it."""
        record = self.directory.get(node_id)
        if record is not None and record.addresses:
            address = Address(record.addresses[0].host, record.addresses[0].port)
            endpoint = client_endpoint(self.factory.hearsay_reactor, address)
            wanted = Wanted(Reason.ASKED, str(address), endpoint, expected_id=node_id)
            self.wanted.add(("asked", node_id, address), wanted)

    def _dialers(self, remote: Remote) -> list[Dialer]:
        return [wanted.dialer for wanted in self.wanted.of(remote.node_id, remote.fingerprint)]

    def _is_remembered(self, protocol: Driver) -> bool:
        """Tell whether the key of a peer is known by its id from now on.

        A bootstrap node has its bindings for that, which tell of everybody but those that it dials itself.
        """
        if self.wanted.is_meant(protocol):
            return True
        claims = self.factory.claims
        return self.factory.role != "bootstrap" and claims.standing(protocol.record).ticket is not None

    def _discovered(self, wanted: Wanted, link: Driver) -> None:
        """A link leads to a wanted peer. Anybody may call itself a bootstrap node; only one that is wanted is asked."""
        if wanted.reason is not Reason.BOOTSTRAP:
            return
        if link.is_bootstrap:
            self.joining.register(link)
            return
        if wanted.is_news("no bootstrap node"):
            self.factory.log.error("the node at {address} is no bootstrap node", address=wanted.address)
        self._give_up(wanted)

    def _seen_at(self, bootstrap: Driver, host: str) -> bool:
        """Advertise the address that a bootstrap node sees this node at, if it listens on all of them.

        If several see it at different ones, the first counts for as long as it is linked. A link-local address and
        another one stand beside each other, as each is told over other links.
        """
        if self._advertise is not None or not self._listening.on_all_interfaces or literal_address(host) is None:
            return False
        local = self._listening.advertised
        # A connection within this machine may be a forwarder's, to which other addresses mean other things.
        seen = believed((NetAddress(host, local.port),), local=False, zone=bootstrap.zone)
        if not seen:
            return False
        kind = is_link_local(host)
        first, _ = self._views.get(kind, (None, ""))
        if first not in (None, bootstrap):
            return False
        self._views[kind] = bootstrap, seen[0].host
        hosts = [self._views[kind][1] for kind in (False, True) if kind in self._views]
        addresses = tuple(NetAddress(each, local.port) for each in (*hosts, local.host))
        if addresses == self.factory.local.addresses:
            return False
        self.factory.announce(addresses)
        self.factory.log.info("others see this node at {address}", address=Address(seen[0].host, local.port))
        return True

    def _bootstrap_answered(self, peers: list[Wanted]) -> None:
        if self._first_answer is not None:
            self._first_answer.came(peers)

    def _bootstrap_silent(self, protocol: Driver) -> None:
        """A bootstrap node is linked and does not answer."""
        for wanted in self.wanted.of_link(protocol):
            self._give_up(wanted)

    def _peer_unreachable(self, wanted: Wanted, error: DeliveryError) -> None:
        """One attempt and all its retries have failed."""
        if wanted.reason is Reason.CONFIGURED and wanted.node_id is not None and self.redials_met:
            record = self.directory.get(wanted.node_id)
            if record is not None and record.fingerprint == wanted.fingerprint:
                self.joining.want_met(record)  # it may be elsewhere
        self._fail_packets(wanted, error)
        is_gone = wanted.reason is Reason.MET and wanted not in self.wanted and not is_full(wanted.dialer.last_error)
        if is_gone and wanted.node_id is not None:
            self.directory.doubt(wanted.node_id, wanted.fingerprint)
            self.seeking.gone(wanted.fingerprint)
        self._give_up(wanted)

    def _fail_packets(self, wanted: Wanted, error: DeliveryError) -> None:
        """Fail what waits for a peer that can't be reached. Packets go on to wait if it is tried elsewhere, too.

        Plain ones also wait while the session lives, or while connections stand and break: the peer may live.
        """
        for remote in self.factory.remotes.unlinked(wanted.node_id, wanted.fingerprint):
            others = self.wanted.of(remote.node_id, remote.fingerprint)
            if not any(other.may_answer for other in others if other is not wanted):
                waits = remote.delivery.session or any(dialer.connects for dialer in self._dialers(remote))
                remote.fail_unwritten(error, plain=not waits)

    def _peer_refused(self, wanted: Wanted) -> None:
        """Nothing listens where a peer was dialed. Nobody waits for its link in vain if it is dialed nowhere else."""
        for remote in self.factory.remotes.unlinked(wanted.node_id, wanted.fingerprint):
            dialers = self._dialers(remote)
            if all(dialer.was_refused for dialer in dialers):
                remote.refused(wanted.dialer.attempts, str(wanted.dialer.last_error).rstrip("."))

    def _give_up(self, wanted: Wanted) -> None:
        """Let the start wait no longer for a bootstrap node."""
        if self._first_answer is not None:
            self._first_answer.give_up(wanted)
