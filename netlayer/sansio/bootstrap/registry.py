"""Who holds which id, as a bootstrap node knows it, and whom it tells newcomers of.

A *binding* gives an id to a key that lasts, first come, first served and for good; it is in effect when a store has
made it durable. A *lease* lists a node while its link lives and for a grace time after, and is all that an ephemeral
key has.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import attrs
import msgspec

from netlayer.addresses import carried
from netlayer.config import Settings
from netlayer.sansio.trust.succession import Successions
from netlayer.sansio.trust.tickets import Claim
from netlayer.wire.messages import Record, Reject, RejectCode

__all__ = ["Binding", "Holdings", "Lease", "Registry"]

#: What somebody is told whose key was replaced.
REPLACED = "another key has taken the place of this one"
#: Bindings, ids whose binding was ended and keys that were replaced, at most: some 300 MB of memory.
MAX_BINDINGS = 1_000_000


@attrs.frozen
class Binding:
    """A key that lasts holds an id.

    :ivar issued: since when, in seconds since 1970.
    """

    node_id: int
    fingerprint: bytes
    issued: int


@attrs.frozen
class Holdings:
    """All that a store of bindings holds.

    :ivar ended: ids and when the last binding of each was ended; what a ticket says of the time before is void.
    :ivar banned: the fingerprints that are kept out.
    :ivar signers: the public keys of the bootstrap nodes that use the store.
    :ivar successions: pairs of fingerprints: of a key that was replaced and of the one that has taken its place.
    """

    bindings: tuple[Binding, ...] = ()
    ended: tuple[tuple[int, int], ...] = ()
    banned: tuple[bytes, ...] = ()
    signers: tuple[bytes, ...] = ()
    successions: tuple[tuple[bytes, bytes], ...] = ()


@attrs.define
class Lease:
    """A node that is listed.

    :ivar abroad: its record as nodes of other machines are told it, or None if it means nothing to them.
    :ivar ends: when the listing ends, or None while the node is linked.
    """

    record: Record
    abroad: Record | None
    ends: float | None = None


class Registry:
    """The bindings and leases of one network, kept in memory.

    :param rng: where uniform samples come from.
    """

    def __init__(self, *, settings: Settings, rng: random.Random) -> None:
        self._settings = settings
        self._rng = rng
        self._bindings: dict[int, Binding] = {}  # for good
        self._bound: dict[bytes, int] = {}
        self._ended: dict[int, int] = {}
        self._banned: frozenset[bytes] = frozenset()
        self._successions = Successions()
        self._leases: dict[int, Lease] = {}

    # ---- bindings

    def load(self, holdings: Holdings) -> None:
        """Take over what a store holds, in place of what was known."""
        self._bindings = {binding.node_id: binding for binding in holdings.bindings}
        self._bound = {binding.fingerprint: binding.node_id for binding in holdings.bindings}
        self._ended = dict(holdings.ended)
        self._successions = Successions()
        self._successions.load(holdings.successions)
        heirs = (key for banned in holdings.banned for key in self._successions.successors(banned))
        self._banned = frozenset((*holdings.banned, *heirs))

    def bound_to(self, node_id: int) -> Binding | None:
        """Return the binding of an id, or None if no key that lasts holds it."""
        return self._bindings.get(node_id)

    def refusal(self, claim: Claim) -> Reject | None:
        """Return why somebody who claims an id is refused, or None if no binding and no ban stands against it.

        A ban of a key is one of those that take its place, too.
        """
        lineage = (*claim.formers, claim.fingerprint)
        if not self._banned.isdisjoint(lineage):
            return Reject(RejectCode.BANNED, "this key is banned")
        if self._successions.successor(claim.fingerprint) is not None:
            return Reject(RejectCode.ID_TAKEN, REPLACED)
        bound = self._bindings.get(claim.node_id)
        if bound is not None and bound.fingerprint not in lineage and not self._precedes(claim, bound):
            return Reject(RejectCode.ID_TAKEN, f"id {claim.node_id} is bound to another key")
        return None

    def binding_for(self, claim: Claim, now: float) -> Binding | None:
        """Return the binding to be made for somebody whom nothing stands against; None if it is made already.

        :param now: the time of day, in seconds since 1970.
        :raises LookupError: when there is no room for more.
        """
        bound = self._bindings.get(claim.node_id)
        is_known = self._successions.knows((*claim.formers, claim.fingerprint))
        if bound is not None and bound.fingerprint == claim.fingerprint and is_known:
            return None
        is_more = bound is None or not is_known
        if is_more and len(self._bindings) + len(self._ended) + len(self._successions) >= MAX_BINDINGS:
            raise LookupError("there is no room for more bindings")
        if bound is not None and bound.fingerprint in (claim.fingerprint, *claim.formers):
            return attrs.evolve(bound, fingerprint=claim.fingerprint)
        ended = self._ended.get(claim.node_id, -1)
        since = claim.persistent_since
        issued = since if since is not None and since > ended else max(int(now), ended + 1)
        return Binding(claim.node_id, claim.fingerprint, issued)

    def bind(self, binding: Binding, *, now: float, formers: tuple[bytes, ...] = ()) -> list[int]:
        """Note a binding that a store has made; return the ids that the key and those before it had, and that are free.

        :param now: the time of day, in seconds since 1970.
        :param formers: the keys that this one is in the place of, the oldest first.
        """
        freed = []
        self._successions.learn((*formers, binding.fingerprint))
        for fingerprint in (*formers, binding.fingerprint):
            former = self._bound.get(fingerprint)
            if former is not None and former != binding.node_id:
                del self._bindings[former], self._bound[fingerprint]
                self._ended[former] = int(now)
                freed.append(former)
        replaced = self._bindings.get(binding.node_id)
        if replaced is not None:
            del self._bound[replaced.fingerprint]
        self._bindings[binding.node_id] = binding
        self._bound[binding.fingerprint] = binding.node_id
        return freed

    def _precedes(self, claim: Claim, bound: Binding) -> bool:
        """Tell whether a ticket proves that somebody else was given an id before its present holder.

        That is how bootstrap nodes agree that have not known of each other, and how one whose store was lost, and that
        has bound ids anew since, gives them back.
        """
        since = claim.persistent_since
        if since is None or since <= self._ended.get(claim.node_id, -1):
            return False
        return (since, claim.fingerprint) < (bound.issued, bound.fingerprint)

    # ---- leases

    def register(self, record: Record) -> None:
        """List a linked node. The caller has made sure that it may have its id."""
        if self.lease(record.node_id, record.fingerprint) is None:
            self.forget(record.fingerprint)  # it may have had another id
            self._leases.pop(record.node_id, None)  # which goes to the end
        self._leases[record.node_id] = Lease(record, _told(record, zone=None))

    def lease(self, node_id: int, fingerprint: bytes) -> Lease | None:
        """Return the lease of a node, or None if it is not listed under that id."""
        lease = self._leases.get(node_id)
        return lease if lease is not None and lease.record.fingerprint == fingerprint else None

    def link_lost(self, fingerprint: bytes, now: float) -> None:
        """Note that a node's link broke: it stays listed for the grace time."""
        for lease in self._leases.values():
            if lease.record.fingerprint == fingerprint:
                lease.ends = now + self._settings.lease_grace

    def forget(self, fingerprint: bytes) -> None:
        """End the listing of a node, which has said goodbye."""
        for node_id, lease in self._leases.items():
            if lease.record.fingerprint == fingerprint:
                del self._leases[node_id]
                return

    def records(self) -> list[Record]:
        """Return the records of all listed nodes, longest listed first."""
        return [lease.record for lease in list(self._leases.values())]  # copied at once: other threads may ask

    def sample(self, count: int, *, but: int, local: bool, zone: str | None = None) -> list[Record]:
        """Return a uniform random sample of the listed nodes.

        :param count: how many records at most.
        :param but: the id of the node that asks.
        :param local: whether it is on this machine; others are not told loopback addresses.
        :param zone: of the node's link, if it is link-local; see :func:`~netlayer.addresses.carried`.
        """
        leases = (lease for node_id, lease in self._leases.items() if node_id != but)
        if local:
            told: Iterator[Record | None] = (lease.record for lease in leases)
        elif zone is None:
            told = (lease.abroad for lease in leases)
        else:
            told = (_told(lease.record, zone=zone) for lease in leases)
        others = [record for record in told if record is not None]
        return others if len(others) <= count else self._rng.sample(others, count)

    def next_deadline(self) -> float | None:
        """Return when :meth:`deadline_reached` has to be called, or None."""
        return min((lease.ends for lease in self._leases.values() if lease.ends is not None), default=None)

    def deadline_reached(self, now: float) -> None:
        """End the leases that are over."""
        over = [node_id for node_id, lease in self._leases.items() if lease.ends is not None and lease.ends <= now]
        for node_id in over:
            del self._leases[node_id]


def _told(record: Record, *, zone: str | None) -> Record | None:
    """Return a record as nodes of other machines are told it, or None if it means nothing to them."""
    addresses = carried(record.addresses, local=False, zone=zone)
    if addresses == record.addresses:
        return record if addresses else None
    return msgspec.structs.replace(record, addresses=addresses) if addresses else None
