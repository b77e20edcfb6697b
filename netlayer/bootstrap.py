"""The bootstrap role: a peer at a known address that binds ids to keys and introduces nodes to each other."""

from __future__ import annotations

from typing import Any

import attrs
import msgspec
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from netlayer.addresses import PeerInfo, carried
from netlayer.config import Settings
from netlayer.driver import Driver
from netlayer.errors import LinkLost
from netlayer.factory import PeerFactory
from netlayer.peer import PeerProtocol
from netlayer.sansio.registry import Registry
from netlayer.wire.messages import (
    MIN_MAX_FRAME,
    Peers,
    Register,
    Registered,
    RejectCode,
    Role,
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
        **options: Any,
    ) -> None:
        if settings is None:
            settings = attrs.evolve(Settings(), max_connections=BOOTSTRAP_CONNECTIONS)
        super().__init__(reactor, settings=settings, protocol=protocol, **options)
        self.registry = Registry(settings=self.settings, rng=self.rng)
        self._lease_timer: IDelayedCall | None = None

    def listed(self) -> list[PeerInfo]:
        """Return the nodes that hold a lease, longest first."""
        return [
            PeerInfo(record.node_id, record.addresses[0].host, record.addresses[0].port)
            for record in self.registry.records()
            if record.addresses
        ]

    # ---- what protocols report

    def introduced(self, protocol: Driver) -> None:
        """Refuse an id that another persistent key holds; otherwise do what every node does."""
        node_id = protocol.introduction.node_id
        owner = self.registry.bound_to(node_id)
        if owner is not None and owner != protocol.fingerprint:
            protocol._reject(RejectCode.ID_TAKEN, f"id {node_id} is bound to another key")
            return
        super().introduced(protocol)

    def news_received(self, protocol: Driver, news: Register | Registered | Peers) -> None:
        """List a node that registers, and answer with records of others."""
        if not isinstance(news, Register):
            super().news_received(protocol, news)
            return
        node_id = protocol.introduction.node_id
        addresses = carried(news.addresses, local=protocol.is_local)
        self.registry.register(msgspec.structs.replace(protocol.record, addresses=addresses))
        wanted = min(news.wanted, self.settings.records)
        answer = Registered(
            lease=self.settings.lease_grace,
            observed=protocol.observed,
            records=tuple(self.registry.sample(wanted, but=node_id, local=protocol.is_local)),
        )
        while len(encode_message(answer)) > MIN_MAX_FRAME:  # only if hosts have very long names
            answer = Registered(answer.lease, answer.observed, records=answer.records[: len(answer.records) // 2])
        protocol._say(answer)

    def link_lost(self, protocol: Driver, reason: LinkLost) -> None:
        """Let the lease of a lost node run out; end that of a node that said goodbye."""
        if reason.goodbye is not None:
            self.registry.forget(protocol.fingerprint)
        else:
            self.registry.link_lost(protocol.fingerprint, self.clock.seconds())
            self._arm_lease_timer()
        super().link_lost(protocol, reason)

    # ---- private

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
