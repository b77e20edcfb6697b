"""Who may have which id, as one node sees it: the tickets that it has, and what it thinks of those of others."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any

import attrs

from netlayer.errors import RemoteProtocolError
from netlayer.interfaces import IIdentity, IWallClock
from netlayer.sansio.trust.succession import Succession, Successions, former_fingerprints
from netlayer.sansio.trust.tickets import Claim, Tickets, key_fingerprint
from netlayer.storage.known_peers import KnownPeers
from netlayer.wire.messages import Record, Ticket

__all__ = ["Claims"]

#: Tickets of others that are remembered, for those who have shown none of their own yet.
MAX_TICKETS = 4096
#: Keys that were replaced and that are remembered, and successions whose signatures are not checked again.
MAX_SUCCESSIONS, MAX_CHECKED = 16384, 1024


class Claims:
    """Judges claims to ids.

    :param reactor: tells the time of day if it provides :class:`~netlayer.interfaces.IWallClock`.
    :ivar known_peers: the keys that the node has met before.
    :ivar successions: the keys of others that were replaced, as far as the node has been shown that.
    """

    def __init__(
        self, reactor: Any, *, network: str, node_id: int, identity: IIdentity, known_peers: KnownPeers
    ) -> None:
        self.known_peers = known_peers
        self.wall_seconds = reactor.wall_seconds if IWallClock.providedBy(reactor) else time.time
        self._network = network
        self._node_id = node_id
        self._identity = identity
        self._tickets = Tickets(network, identity)
        self._own: dict[bytes, Ticket] = {}  # by the fingerprint of who has signed
        self._known: OrderedDict[tuple[int, bytes], Ticket] = OrderedDict()
        self.successions = Successions(limit=MAX_SUCCESSIONS)
        self.successions.learn((*identity.formers, identity.fingerprint))
        self._checked: OrderedDict[Succession, tuple[bytes, ...]] = OrderedDict()

    # ---- of others

    def trust(self, bootstrap: bytes, vouched: Iterable[bytes] = ()) -> None:
        """Believe the tickets of a bootstrap node.

        :param bootstrap: its fingerprint.
        :param vouched: the public keys of those whose tickets are good by its word.
        """
        self._tickets.trust(bootstrap, vouched)

    def judge(self, record: Record, succession: Succession | None = None) -> Claim:
        """Return the claim that a participant makes, supported by the best ticket that is known of it.

        :param succession: what it has shown of its former keys.
        :raises RemoteProtocolError: when it shows a ticket or a succession that no honest node would.
        """
        claim = self._supported(record)
        if succession is not None:
            if record.ephemeral:
                raise RemoteProtocolError("a succession of an ephemeral key")
            formers = self._formers(succession)
            if not self.successions.learn((*formers, record.fingerprint)):
                formers = ()  # another key took that place before
            return attrs.evolve(claim, formers=formers)
        return attrs.evolve(claim, formers=self.successions.formers(record.fingerprint))

    def standing(self, record: Record, succession: Succession | None = None) -> Claim:
        """Return the claim that a participant makes; a ticket or a succession that means nothing supports nothing."""
        try:
            return self.judge(record, succession)
        except RemoteProtocolError:
            return Claim(record.node_id, record.fingerprint)

    def knows(self, fingerprint: bytes) -> bool:
        """Return whether a key, or one in whose place it is, is known by a ticket that it has shown, or from before."""
        keys = {fingerprint, *self.successions.formers(fingerprint)}
        return any(map(self.known_peers.knows, keys)) or any(key in keys for _, key in self._known)

    def is_beaten(self, record: Record, other: Record) -> bool:
        """Tell whether another claim to the id of a record, by another key, is better."""
        return record.fingerprint != other.fingerprint and self.standing(other).beats(self.standing(record))

    def has_replaced(self, former: bytes, fingerprint: bytes, succession: Succession | None) -> bool:
        """Tell whether a key has taken the place of another one.

        :param succession: what the one has shown of its former keys.
        """
        try:
            if succession is not None:
                self.successions.learn((*self._formers(succession), fingerprint))
        except RemoteProtocolError:
            return False
        return former in self.successions.formers(fingerprint)

    def linked(self, claim: Claim) -> None:
        """A peer is linked: what was remembered of the keys before its own is now said of this one."""
        for former in claim.formers:
            self.known_peers.replace(former, claim.fingerprint)
            self._tickets.distrust(former)
            self._own.pop(former, None)

    # ---- of this node

    def ticket_received(self, bootstrap: bytes, ticket: Ticket) -> Ticket:
        """Take a ticket for this node; return the one to show from now on, which is the oldest.

        :param bootstrap: the fingerprint of the bootstrap node that it came from.
        :raises RemoteProtocolError: when it is not from there, or not for this node.
        """
        identity = self._identity
        told = (ticket.network, ticket.node_id, ticket.fingerprint, ticket.ephemeral, key_fingerprint(ticket.signer))
        if told != (self._network, self._node_id, identity.fingerprint, identity.ephemeral, bootstrap):
            raise RemoteProtocolError("a ticket that is somebody else's")
        if not self._tickets.is_signed(ticket):
            raise RemoteProtocolError("a ticket that its signer has not signed")
        self._own[bootstrap] = ticket
        now = self.wall_seconds()
        good = {signer: each for signer, each in self._own.items() if each.expires > now or each is ticket}
        self._own = good
        return min(good.values(), key=lambda each: (each.issued, each.signer))

    def has_ticket_of(self, bootstrap: bytes) -> bool:
        """Tell whether a bootstrap node, whose fingerprint is given, has given this node a ticket."""
        return bootstrap in self._own

    def signers(self) -> Iterator[bytes]:
        """Return the public keys of the bootstrap nodes that have given this node tickets."""
        return (ticket.signer for ticket in self._own.values())

    # ---- private

    def _supported(self, record: Record) -> Claim:
        claim = self._tickets.claim(record, self.wall_seconds())
        who = record.node_id, record.fingerprint
        if claim.ticket is not None:
            self._known[who] = claim.ticket
            self._known.move_to_end(who)
            if len(self._known) > MAX_TICKETS:
                self._known.popitem(last=False)
        elif who in self._known and self._known[who].ephemeral == record.ephemeral:
            return self._tickets.claim(
                Record(*who, (), record.boot, record.ephemeral, self._known[who]), self.wall_seconds()
            )
        return claim

    def _formers(self, succession: Succession) -> tuple[bytes, ...]:
        formers = self._checked.get(succession)
        if formers is None:
            formers = self._checked[succession] = former_fingerprints(succession, self._identity)
            if len(self._checked) > MAX_CHECKED:
                self._checked.popitem(last=False)
        return formers
