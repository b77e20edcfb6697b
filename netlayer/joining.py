"""Being part of a network: registration with the bootstrap nodes, and what their records are used for."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from netlayer.addresses import Address
from netlayer.directory import Directory
from netlayer.driver import Driver
from netlayer.errors import NodeStopped
from netlayer.peer import PeerFactory
from netlayer.wanted import Reason, Wanted, WantedPeers, client_endpoint
from netlayer.wire.messages import Peers, Record, Register, Registered

__all__ = ["Joining"]


class Joining:
    """Registers at every bootstrap node that is linked, and links the peers that they tell of.

    :param answered: is called with the peers to be linked, each time a bootstrap node has answered.
    """

    def __init__(
        self,
        factory: PeerFactory,
        wanted: WantedPeers,
        directory: Directory,
        *,
        answered: Callable[[list[Wanted]], None],
    ) -> None:
        self._factory = factory
        self._wanted = wanted
        self._directory = directory
        self._answered = answered
        self._renewals: dict[Driver, IDelayedCall] = {}  # of the bootstraps where this node is registered
        self._waiting: list[Deferred[None]] = []
        self._stopped = False

    @property
    def joined(self) -> bool:
        """Whether this node is registered at a bootstrap node that is linked."""
        return bool(self._renewals)

    def when_joined(self) -> Deferred[None]:
        """Return a Deferred that fires as soon as :attr:`joined` is true."""
        joined: Deferred[None] = Deferred(lambda d: self._waiting.remove(d))
        if self.joined:
            joined.callback(None)
        elif self._stopped:
            joined.errback(NodeStopped())
        else:
            self._waiting.append(joined)
        return joined

    def register(self, bootstrap: Driver) -> None:
        """Ask a bootstrap node that is linked to list this node."""
        local = self._factory.local
        bootstrap._say(Register(local.addresses, local.ephemeral, self._factory.settings.records))

    def news_received(self, bootstrap: Driver, news: Registered | Peers) -> None:
        """A bootstrap node has sent records."""
        if isinstance(news, Registered):
            self._renew_later(bootstrap)
            waiting, self._waiting = self._waiting, []
            for joined in waiting:
                joined.callback(None)
        wanted = [wanted for record in news.records if (wanted := self._learn(record)) is not None]
        self._answered(wanted)

    def lost(self, bootstrap: Driver) -> None:
        """The link to a bootstrap node is gone."""
        renewal = self._renewals.pop(bootstrap, None)
        if renewal is not None:
            renewal.cancel()

    def stop(self) -> None:
        """Register nowhere any more."""
        self._stopped = True
        for bootstrap in list(self._renewals):
            self.lost(bootstrap)
        waiting, self._waiting = self._waiting, []
        for joined in waiting:
            joined.errback(NodeStopped())

    def want_met(self, record: Record, *, delay: float = 0.0) -> Wanted | None:
        """Want the peer of a record from now on, for as long as peers that were met are wanted."""
        if not record.addresses:
            return None
        address = Address(record.addresses[0].host, record.addresses[0].port)
        endpoint = client_endpoint(self._factory.reactor, address)
        wanted = Wanted(Reason.MET, str(address), endpoint, expected_id=record.node_id)
        wanted.fingerprint, wanted.ephemeral = record.fingerprint, record.ephemeral
        wanted.until = self._wanted_until(record)
        return self._wanted.add(("met", record.node_id, record.fingerprint), wanted, delay=delay)

    # ---- private

    def _renew_later(self, bootstrap: Driver) -> None:
        before = self._renewals.pop(bootstrap, None)
        if before is not None:
            before.cancel()
        elif not self.joined:
            self._factory.log.info(
                "joined the network through the bootstrap node at {address}", address=bootstrap.address
            )
        settings, factory = self._factory.settings, self._factory
        delay = settings.lease_renewal * factory.rng.uniform(0.8, 1.2)
        self._renewals[bootstrap] = factory.clock.callLater(delay, self._renew, bootstrap)

    def _renew(self, bootstrap: Driver) -> None:
        self._renewals[bootstrap] = self._factory.clock.callLater(
            self._factory.settings.lease_renewal, self._renew, bootstrap
        )
        self.register(bootstrap)

    def _learn(self, record: Record) -> Wanted | None:
        """Use a record; return the peer if it is to be linked."""
        factory = self._factory
        if record.node_id == factory.local.node_id or record.fingerprint == factory.local.fingerprint:
            return None
        self._directory.learn(record)
        if factory.is_linked(record.node_id):
            return None
        known = self._wanted.of(record.node_id, record.fingerprint)
        for wanted in known:
            if wanted.reason is Reason.MET and wanted.fingerprint != record.fingerprint:
                self._wanted.drop(wanted)  # another key holds the id now
            elif wanted.reason is Reason.MET:
                wanted.until = self._wanted_until(record)
                return wanted
            else:
                return wanted
        if len(factory.links()) + len(list(self._wanted)) >= factory.settings.max_connections:
            return None
        return self.want_met(record)

    def _wanted_until(self, record: Record) -> float:
        settings = self._factory.settings
        away = settings.lease_grace + settings.lease_renewal if record.ephemeral else settings.wanted_for
        return self._factory.clock.seconds() + away
