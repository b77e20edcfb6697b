"""The bootstrap role: a peer at a known address that binds ids to keys and introduces nodes to each other."""

from __future__ import annotations

from typing import Any

import attrs
import msgspec
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from netlayer.addresses import PeerInfo, believed, carried
from netlayer.config import Settings
from netlayer.errors import LinkLost, NodeStopped
from netlayer.interfaces import IBindingStore
from netlayer.net.driver import Driver
from netlayer.net.factory import PeerFactory
from netlayer.net.forks import require_own_reactor
from netlayer.peer import PeerProtocol
from netlayer.sansio.bootstrap.registry import REPLACED, Binding, Holdings, Registry
from netlayer.sansio.link.handshake import LocalNode
from netlayer.sansio.link.states import State
from netlayer.sansio.trust.tickets import CLOCK_TOLERANCE, MAX_SIGNERS, Claim, issue_ticket, needs_renewal
from netlayer.storage.bindings.memory import MemoryStore
from netlayer.storage.identity import fingerprint_text
from netlayer.wire.messages import (
    MIN_MAX_FRAME,
    GoodbyeCode,
    Peers,
    Record,
    Register,
    Registered,
    Reject,
    RejectCode,
    Role,
    Ticket,
    encode_message,
)

__all__ = ["BOOTSTRAP_CONNECTIONS", "BootstrapFactory", "BootstrapProtocol"]

#: Links that a bootstrap node holds at most, by default.
BOOTSTRAP_CONNECTIONS = 1024


class BootstrapProtocol(PeerProtocol):
    """One connection of a bootstrap node. It has the hooks and commands of every peer.

    :ivar factory: the :class:`BootstrapFactory`, whose registry this connection's node is listed in.
    """

    factory: BootstrapFactory


class BootstrapFactory(PeerFactory):
    """What all connections of a bootstrap node share. Takes the arguments of :class:`~netlayer.PeerFactory`.

    :param store: where it keeps who holds which id; by default in memory.

    :ivar registry: who holds which id, and who is listed.
    """

    role: Role = "bootstrap"
    id_taken_retry = None  # a bootstrap's word on ids is final

    def __init__(
        self,
        reactor: IReactorTime,
        *,
        settings: Settings | None = None,
        protocol: type[PeerProtocol] = BootstrapProtocol,
        store: IBindingStore | None = None,
        **options: Any,
    ) -> None:
        if settings is None:
            settings = attrs.evolve(Settings(), max_connections=BOOTSTRAP_CONNECTIONS)
        super().__init__(reactor, settings=settings, protocol=protocol, **options)
        self.registry = Registry(settings=self.settings, rng=self.rng)
        self.store = store if store is not None else MemoryStore()
        self._signers: tuple[bytes, ...] = ()
        self._told_vouched: frozenset[bytes] = frozenset()
        self._is_loaded = True
        self._lease_timer: IDelayedCall | None = None
        self.claims.trust(self.identity.fingerprint)
        self._own = Record(self.local.node_id, self.local.fingerprint, (), self.local.boot, self.local.ephemeral)
        now = self.claims.wall_seconds()
        self.show_ticket(issue_ticket(self.identity, self.local.network, self._own, issued=int(now), now=now))

    def listed(self) -> list[PeerInfo]:
        """Return the nodes that hold a lease, longest first."""
        require_own_reactor(self.reactor)
        return [
            PeerInfo(record.node_id, record.addresses[0].host, record.addresses[0].port)
            for record in self.registry.records()
            if record.addresses
        ]

    def show_ticket(self, ticket: Ticket) -> None:
        """Support this node's claim to its id by a ticket; whoever has given it is vouched for from now on."""
        super().show_ticket(ticket)
        self._tell_vouched()

    def local_on(self, protocol: Driver) -> LocalNode:
        """Return what this node says about itself on a connection, with a ticket of its own that is good."""
        own, now = self.local.ticket, self.claims.wall_seconds()
        is_mine = own is not None and own.signer == self.identity.public_key  # others renew theirs
        if own is not None and is_mine and needs_renewal(own, now):
            issued = own.issued if own.issued <= now + CLOCK_TOLERANCE else int(now)
            self.show_ticket(issue_ticket(self.identity, self.local.network, self._own, issued=issued, now=now))
        return super().local_on(protocol)

    # ---- what protocols report

    def introduced(self, protocol: Driver) -> None:
        """Let nobody in before it is known who may have which id; then do what every node does."""
        if not self._is_loaded:
            protocol.reject(RejectCode.NOT_READY, "the bindings of this network are not loaded yet")
            return
        super().introduced(protocol)

    def refusal(self, claim: Claim) -> Reject | None:
        """Return why somebody is refused: for a ban, or as another key is bound to the id or has replaced this one."""
        return self.registry.refusal(claim) or super().refusal(claim)

    def news_received(self, protocol: Driver, news: Register | Registered | Peers) -> None:
        """Bind the id of a node that registers, and then list it and answer with records of others."""
        if not isinstance(news, Register):
            super().news_received(protocol, news)
            return
        claim = self.claims.standing(protocol.record, protocol.succession)
        refusal = self.refusal(claim)
        if refusal is not None:
            self.evict(protocol, refusal.code, refusal.text)
        elif protocol.introduction.ephemeral:
            self._register(protocol, news)
        else:
            _ = self._bind(claim).addCallbacks(
                lambda binding: self._bound(protocol, news, binding), lambda failure: self._not_bound(protocol, failure)
            )

    def records_received(self, source: Driver, records: tuple[Record, ...]) -> None:
        """Bind the ids that another bootstrap node, whose word is taken, has bound."""
        for record in records:
            claim = self.claims.standing(record)
            if claim.persistent_since is not None and self.refusal(claim) is None:
                _ = self._bind(claim).addErrback(lambda failure: self._log_not_bound(failure))

    def link_lost(self, protocol: Driver, reason: LinkLost) -> None:
        """Let the lease of a lost node run out; end that of a node that said goodbye."""
        if reason.goodbye is not None and reason.goodbye != GoodbyeCode.ROOM:
            self.registry.forget(protocol.fingerprint)
        else:
            self.registry.link_lost(protocol.fingerprint, self.clock.seconds())
            self._arm_lease_timer()
        super().link_lost(protocol, reason)

    # ---- bindings

    def start_store(self) -> Deferred[None]:
        """Open the store of bindings; nobody is bound before.

        :raises ConfigurationError: through the Deferred, when it can't be used.
        """
        self._is_loaded = False
        started = self.store.start(
            self.reactor,
            network=self.local.network,
            signer=None if self.identity.ephemeral else self.identity.public_key,
            formers=self.identity.formers,
            changed=self._load,
            log=self.log,
        )
        return started.addCallback(self._load)

    def stop_store(self) -> Deferred[None]:
        """Close it."""
        return self.store.stop()

    # ---- private

    def _load(self, holdings: Holdings) -> None:
        """Take over what the store holds, and end the links that should not stand any more."""
        self._is_loaded = True
        self.registry.load(holdings)
        self.claims.successions.load(holdings.successions)
        self._signers = tuple(key for key in holdings.signers if key != self.identity.public_key)
        self.claims.trust(self.identity.fingerprint, self._signers)
        self._tell_vouched()
        for link in self.link_drivers():
            refusal = self.refusal(self.claims.standing(link.record, link.succession))
            if refusal is not None:
                self.registry.forget(link.fingerprint)
                self.evict(link, refusal.code, refusal.text)

    def _bind(self, claim: Claim) -> Deferred[Binding]:
        """Have the store bind an id, against which nothing stands; fires with the binding that is in effect then."""
        now = self.claims.wall_seconds()
        bound = self.registry.bound_to(claim.node_id)
        try:
            binding = self.registry.binding_for(claim, now)
        except LookupError as error:
            return fail(error)
        if binding is None:
            assert bound is not None
            return succeed(bound)
        replacing = None if bound is None else bound.fingerprint
        done = self.store.bind(binding, replacing=replacing, formers=claim.formers)
        return done.addCallback(self._take_effect, claim)

    def _take_effect(self, binding: Binding, claim: Claim) -> Binding:
        """The store has made a binding, for who has claimed the id or for whoever was quicker."""
        formers = claim.formers if binding.fingerprint == claim.fingerprint else ()
        loser = self.registry.bound_to(binding.node_id)
        for freed in self.registry.bind(binding, now=self.claims.wall_seconds(), formers=formers):
            self.log.warn(
                "id {id} is free: {key} had it, and has registered with id {other}",
                id=freed,
                key=fingerprint_text(binding.fingerprint),
                other=binding.node_id,
            )
        if loser is not None and loser.fingerprint in formers:
            self.log.info(
                "{key} has taken the place of {known}, to which id {id} was bound",
                key=fingerprint_text(binding.fingerprint),
                known=fingerprint_text(loser.fingerprint),
                id=binding.node_id,
            )
        why = dict.fromkeys(formers, REPLACED)
        if loser is not None and loser.fingerprint != binding.fingerprint:
            why.setdefault(loser.fingerprint, f"id {binding.node_id} was bound to another key before")
        for fingerprint, text in why.items():
            self.registry.forget(fingerprint)
            for connection in self.connections_to(fingerprint):
                self.evict(connection, RejectCode.ID_TAKEN, text)
        return binding

    def _bound(self, protocol: Driver, news: Register, binding: Binding) -> None:
        """The store has bound an id: to who wanted it, or somebody else was quicker."""
        if protocol.state is State.CLOSED:
            return
        if binding.fingerprint == protocol.fingerprint:
            self._register(protocol, news)
        else:
            self.evict(protocol, RejectCode.ID_TAKEN, f"id {binding.node_id} is bound to another key")

    def _not_bound(self, protocol: Driver, failure: Failure) -> None:
        self._log_not_bound(failure)
        protocol.reject(RejectCode.NOT_READY, "the id can't be bound now")

    def _log_not_bound(self, failure: Failure) -> None:
        if failure.check(NodeStopped) is None:
            self.log.error("an id can't be bound: {error}", error=failure.getErrorMessage())

    def _register(self, protocol: Driver, news: Register) -> None:
        """List a node that holds its id, and answer."""
        node_id = protocol.introduction.node_id
        addresses = believed(news.addresses, local=protocol.is_local, zone=protocol.zone)
        record = msgspec.structs.replace(protocol.record, addresses=addresses)
        record = msgspec.structs.replace(record, ticket=self._ticket(record))
        _ = self.claims.standing(record)  # the ticket counts on this link, too, which began without
        is_new = self.registry.lease(node_id, protocol.fingerprint) is None
        self.registry.register(record)
        wanted = min(news.wanted, self.settings.records)
        answer = Registered(
            lease=self.settings.lease_grace,
            observed=protocol.seen_at,
            ticket=record.ticket,
            vouched=self._vouched(),
            records=tuple(self.registry.sample(wanted, but=node_id, local=protocol.is_local, zone=protocol.zone)),
        )
        while len(encode_message(answer)) > MIN_MAX_FRAME:  # only if hosts have very long names
            answer = msgspec.structs.replace(answer, records=answer.records[: len(answer.records) // 2])
        protocol.say(answer)
        if is_new and not record.ephemeral:
            for link in self.link_drivers():
                if link.is_bootstrap and self.claims.has_ticket_of(link.fingerprint):
                    told = carried(addresses, local=link.is_local, zone=link.zone)
                    link.say(Peers((msgspec.structs.replace(record, addresses=told),)))

    def _ticket(self, record: Record) -> Ticket:
        """Return the ticket for a node that holds its id: the one that it has, until it is half spent."""
        now = self.claims.wall_seconds()
        lease = self.registry.lease(record.node_id, record.fingerprint)
        last = lease.record.ticket if lease is not None else record.ticket
        if last is not None and (last.signer, last.ephemeral) != (self.identity.public_key, record.ephemeral):
            last = None
        bound = self.registry.bound_to(record.node_id)
        since = bound or last
        issued = since.issued if since is not None else int(now)
        if issued > now + CLOCK_TOLERANCE:  # the clock was wrong then, and nobody would believe it
            issued = last.issued if last is not None and last.issued <= now + CLOCK_TOLERANCE else int(now)
        if last is not None and last.issued == issued and not needs_renewal(last, now):
            return last
        return issue_ticket(self.identity, self.local.network, record, issued=issued, now=now)

    def _vouched(self) -> tuple[bytes, ...]:
        """Return the keys of the bootstrap nodes that use the same store, or whose tickets this one believes."""
        keys = dict.fromkeys((*self._signers, *self.claims.signers()))
        keys.pop(self.identity.public_key, None)
        return tuple(keys)[:MAX_SIGNERS]

    def _tell_vouched(self) -> None:
        """Tell those who are registered of a bootstrap node that is newly vouched for: this one may die at any time."""
        vouched = self._vouched()
        is_news, self._told_vouched = not self._told_vouched.issuperset(vouched), frozenset(vouched)
        if not is_news:
            return
        for link in self.link_drivers():
            if self.registry.lease(link.introduction.node_id, link.fingerprint) is not None:
                link.say(Registered(self.settings.lease_grace, vouched=vouched))

    def _stopped_now(self) -> None:
        if self._lease_timer is not None:
            self._lease_timer.cancel()
            self._lease_timer = None
        super()._stopped_now()

    def _arm_lease_timer(self) -> None:
        deadline = self.registry.next_deadline()
        if deadline is not None and self._lease_timer is None and not self.stopping:
            self._lease_timer = self.clock.callLater(max(0.0, deadline - self.clock.seconds()), self._lease_ends)

    def _lease_ends(self) -> None:
        self._lease_timer = None
        self.registry.deadline_reached(self.clock.seconds())
        self._arm_lease_timer()
