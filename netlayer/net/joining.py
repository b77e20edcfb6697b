"""Being part of a network: registration with the bootstrap nodes, and what their records are used for."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall

from netlayer.addresses import Address
from netlayer.errors import NodeStopped, RemoteProtocolError
from netlayer.net.driver import Driver
from netlayer.net.factory import PeerFactory
from netlayer.net.waiters import Waiters
from netlayer.net.wanted import Reason, Wanted, client_endpoint, met_key
from netlayer.net.wanted_peers import WantedPeers
from netlayer.sansio.overlay.directory import Directory
from netlayer.sansio.trust.tickets import Claim, key_fingerprint
from netlayer.wire.messages import Peers, Record, Register, Registered, Ticket

__all__ = ["FirstAnswer", "Joining"]


class FirstAnswer:
    """What a start waits for: the first answer of a bootstrap node, or that none can be expected.

    :param bootstraps: the bootstrap nodes that are dialed.
    :param patient: whether a refusal for good is no reason to give up.
    :ivar outcome: fires with the peers that the first answer tells of, or with none; fails with JoinRefused when all
        bootstrap nodes have failed and one has refused this node for good, with NodeStopped when the node is stopped.
    """

    def __init__(self, bootstraps: Iterable[Wanted], *, patient: bool) -> None:
        self.outcome: Deferred[list[Wanted]] = Deferred()
        self._bootstraps = list(bootstraps)
        self._hopeless: set[Wanted] = set()
        self._patient = patient

    def came(self, peers: list[Wanted]) -> None:
        """A bootstrap node has answered."""
        if not self.outcome.called:
            self.outcome.callback(peers)

    def give_up(self, bootstrap: Wanted) -> None:
        """Wait no longer for one of the bootstrap nodes; others may still answer."""
        self._hopeless.add(bootstrap)
        if self.outcome.called or not self._hopeless.issuperset(self._bootstraps):
            return
        refused = next((wanted.refused for wanted in self._bootstraps if wanted.refused is not None), None)
        if refused is not None and not self._patient:
            self.outcome.errback(refused)
        else:
            self.outcome.callback([])

    def stop(self) -> None:
        """Wait for nobody."""
        if not self.outcome.called:
            self.outcome.errback(NodeStopped())


class Joining:
    """Registers at every bootstrap node that is linked, and links the peers that they tell of.

    :param seek: dials those peers for whom there is room, and returns them.
    :param answered: is called with the peers to be linked, each time a bootstrap node has answered.
    :param silent: is told of a bootstrap node that is linked and has not answered in time.
    :param seen_at: is told by which bootstrap node this node is seen, and by which address; returns whether this node
        advertises something else from now on.
    """

    def __init__(
        self,
        factory: PeerFactory,
        wanted: WantedPeers,
        directory: Directory,
        *,
        seek: Callable[[], list[Wanted]],
        answered: Callable[[list[Wanted]], None],
        silent: Callable[[Driver], None],
        seen_at: Callable[[Driver, str], bool],
    ) -> None:
        self._factory = factory
        self._seen_at = seen_at
        self._wanted = wanted
        self._directory = directory
        self._seek = seek
        self._answered = answered
        self._silent = silent
        self._registered: set[Driver] = set()  # the bootstraps that list this node
        self._corrected: set[Driver] = set()  # those that were told another address since the last renewal
        self._timers: dict[Driver, IDelayedCall] = {}  # of all that are linked
        self._waiting = Waiters()  # to be joined
        self._stopped = False

    @property
    def joined(self) -> bool:
        """Whether this node is registered at a bootstrap node that is linked."""
        return bool(self._registered)

    def when_joined(self) -> Deferred[None]:
        """Return a Deferred that fires as soon as :attr:`joined` is true."""
        if self.joined:
            return succeed(None)
        if self._stopped:
            return fail(NodeStopped())
        return self._waiting.add()

    def register(self, bootstrap: Driver) -> None:
        """Ask a bootstrap node that has been linked to list this node, now and again and again."""
        if not self._stopped and bootstrap not in self._timers:  # one may be wanted at two addresses
            self._factory.claims.trust(bootstrap.fingerprint)
            self._set_timer(bootstrap, self._factory.settings.timeout, self._not_answered)
            self._ask(bootstrap)

    def news_received(self, bootstrap: Driver, news: Registered | Peers) -> None:
        """A bootstrap node has sent records; those of one that was not asked mean nothing."""
        if self._stopped or bootstrap not in self._timers:
            return
        if isinstance(news, Registered):
            self._factory.claims.trust(bootstrap.fingerprint, news.vouched)
            self._wanted.vouched(bootstrap, [key_fingerprint(key) for key in news.vouched])
            self._take_ticket(bootstrap, news.ticket)
        self._factory.records_received(bootstrap, news.records)
        records = [self._factory.dialable(record, bootstrap) for record in news.records]
        wanted = [wanted for record in records if (wanted := self._learn(record)) is not None]
        if isinstance(news, Registered):
            self._directory.news_received(self._factory.clock.seconds())
        wanted += self._seek()
        if isinstance(news, Registered):
            self._renew_later(bootstrap)
            is_news = news.observed is not None and self._seen_at(bootstrap, news.observed.host)
            if is_news and bootstrap not in self._corrected:  # at once, but once only until the next renewal
                self._corrected.add(bootstrap)
                self._ask(bootstrap)
        self._answered(wanted)
        if self._registered:
            self._waiting.fire()

    def is_registered(self, bootstrap: Driver) -> bool:
        """Tell whether a bootstrap node has answered on a link."""
        return bootstrap in self._registered

    def lost(self, bootstrap: Driver) -> None:
        """The link to a bootstrap node is gone."""
        self._registered.discard(bootstrap)
        self._corrected.discard(bootstrap)
        timer = self._timers.pop(bootstrap, None)
        if timer is not None:
            timer.cancel()

    def stop(self) -> None:
        """Register nowhere any more."""
        self._stopped = True
        for bootstrap in list(self._timers):
            self.lost(bootstrap)
        self._waiting.fail(NodeStopped())

    def want_met(self, record: Record, *, delay: float | None = None) -> Wanted | None:
        """Want the peer of a record from now on, for as long as peers that were met are wanted.

        :param record: with the addresses that may be dialed; see :meth:`netlayer.PeerFactory.dialable`.
        """
        configured = self._wanted.stands_for(record)
        if configured is not None or not record.addresses:
            return configured
        address = Address(record.addresses[0].host, record.addresses[0].port)
        endpoint = client_endpoint(self._factory.hearsay_reactor, address)
        wanted = Wanted(Reason.MET, str(address), endpoint, expected_id=record.node_id)
        wanted.fingerprint, wanted.ephemeral = record.fingerprint, record.ephemeral
        wanted.until = self._wanted.wanted_until(ephemeral=record.ephemeral)
        return self._wanted.add(met_key(record.node_id, record.fingerprint), wanted, delay=delay)

    # ---- private

    def _ask(self, bootstrap: Driver) -> None:
        local = self._factory.local_on(bootstrap)
        bootstrap.say(Register(local.addresses, local.ephemeral, self._factory.settings.records))

    def _take_ticket(self, bootstrap: Driver, ticket: Ticket | None) -> None:
        if ticket is None:
            return
        try:
            self._factory.show_ticket(self._factory.claims.ticket_received(bootstrap.fingerprint, ticket))
        except RemoteProtocolError as error:
            self._factory.log.warn(
                "the bootstrap node at {address} sent {error}", address=bootstrap.address, error=error
            )

    def _not_answered(self, bootstrap: Driver) -> None:
        settings = self._factory.settings
        self._factory.log.warn(
            "the bootstrap node at {address} has not answered for {seconds:g} s",
            address=bootstrap.address,
            seconds=settings.timeout,
        )
        self._set_timer(bootstrap, settings.lease_renewal, self._renew)
        self._silent(bootstrap)

    def _renew_later(self, bootstrap: Driver) -> None:
        if not self.joined:
            address = bootstrap.address
            if not bootstrap.dialed:  # that is a port at which nobody listens
                address = next((wanted.address for wanted in self._wanted.of_link(bootstrap)), address)
            self._factory.log.info("joined the network through the bootstrap node at {address}", address=address)
        self._registered.add(bootstrap)
        delay = self._factory.settings.lease_renewal * self._factory.rng.uniform(0.8, 1.2)
        self._set_timer(bootstrap, delay, self._renew)

    def _renew(self, bootstrap: Driver) -> None:
        self._set_timer(bootstrap, self._factory.settings.lease_renewal, self._renew)
        self._corrected.discard(bootstrap)
        self._ask(bootstrap)

    def _set_timer(self, bootstrap: Driver, delay: float, call: Callable[[Driver], None]) -> None:
        before = self._timers.pop(bootstrap, None)
        if before is not None and before.active():
            before.cancel()
        self._timers[bootstrap] = self._factory.clock.callLater(delay, call, bootstrap)

    def _learn(self, record: Record) -> Wanted | None:
        """Use a record; return the peer if it is to be linked."""
        factory = self._factory
        if record.node_id == factory.local.node_id or record.fingerprint == factory.local.fingerprint:
            return None
        before = self._directory.get(record.node_id)
        try:
            if before is not None and factory.claims.is_beaten(record, before):
                return None
            claim = factory.claims.judge(record)
        except RemoteProtocolError as error:
            factory.log.warn("a record of peer {peer} is refused: {error}", peer=record.node_id, error=error)
            return None
        known = factory.claims.known_peers.key_of(record.node_id)
        is_another = known not in (None, record.fingerprint, *claim.formers)
        if is_another and not self._may_have_replaced(claim):
            factory.claims.known_peers.contradicts(record.node_id, record.fingerprint)  # which is said in the log
            return None
        if not is_another:
            self._directory.learn(record, factory.clock.seconds())
            self._directory.heard_of(record.node_id, factory.clock.seconds())
        if factory.remotes.is_linked(record.node_id):
            return None
        for wanted in self._wanted.of(record.node_id, record.fingerprint):
            if is_another and wanted.fingerprint != record.fingerprint:
                continue  # this key may have replaced the one that is known, as only its holder can show
            if wanted.reason is Reason.MET and wanted.fingerprint != record.fingerprint:
                self._wanted.drop(wanted)  # another key holds the id now
            elif wanted.reason is Reason.MET:
                wanted.until = self._wanted.wanted_until(ephemeral=record.ephemeral)
                if wanted.dialer.attempts:  # it is not where it was
                    self._wanted.follow(wanted, record)
                return wanted
            elif wanted.reason is Reason.CONFIGURED and wanted.dialer.exhausted:
                return self.want_met(record)  # it may have moved
            elif wanted.reason is not Reason.ASKED:  # whoever has asked may have had enough before it is linked
                return wanted
        is_sought = not is_another and factory.role == "peer"  # as all that are in the directory
        return self.want_met(record) if not is_sought and factory.has_room() else None

    def _may_have_replaced(self, claim: Claim) -> bool:
        """Tell whether it is worth a dial to see if a key has taken the place of the one that is known with its id."""
        known_peers = self._factory.claims.known_peers
        return claim.persistent_since is not None and not known_peers.has_refused(claim.node_id, claim.fingerprint)
