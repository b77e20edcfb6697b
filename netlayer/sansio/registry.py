"""Who holds which id, as a bootstrap node knows it, and whom it tells newcomers of.

A *binding* gives an id to a key, first come, first served: for good if the key is persistent, for the lease if it is
ephemeral. A *lease* lists a node while its link lives and for a grace time after.
"""

from __future__ import annotations

import random

import attrs
import msgspec

from netlayer.addresses import carried
from netlayer.config import Settings
from netlayer.wire.messages import Record

__all__ = ["Lease", "Registry"]


@attrs.define
class Lease:
    """A node that is listed.

    :ivar ends: when the listing ends, or None while the node is linked.
    """

    record: Record
    ends: float | None = None


class Registry:
    """The bindings and leases of one network, kept in memory.

    :param rng: where uniform samples come from.
    """

    def __init__(self, *, settings: Settings, rng: random.Random) -> None:
        self._settings = settings
        self._rng = rng
        self._bindings: dict[int, bytes] = {}  # of persistent keys, for good
        self._bound: dict[bytes, int] = {}
        self._leases: dict[int, Lease] = {}

    def bound_to(self, node_id: int) -> bytes | None:
        """Return the fingerprint of the persistent key that holds an id for good, or None."""
        return self._bindings.get(node_id)

    def register(self, record: Record) -> None:
        """List a linked node, and bind its id. The caller has made sure that no other key holds it."""
        self.forget(record.fingerprint)
        if not record.ephemeral:
            former = self._bound.get(record.fingerprint)
            if former is not None:
                del self._bindings[former]
            self._bindings[record.node_id] = record.fingerprint
            self._bound[record.fingerprint] = record.node_id
        self._leases[record.node_id] = Lease(record)

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
        """Return the records of all listed nodes, in the order of their registration."""
        return [lease.record for lease in list(self._leases.values())]  # copied at once: other threads may ask

    def sample(self, count: int, *, but: int, local: bool) -> list[Record]:
        """Return a uniform random sample of the listed nodes.

        :param count: how many records at most.
        :param but: the id of the node that asks.
        :param local: whether it is on this machine; others are not told loopback addresses.
        """
        others = [lease.record for node_id, lease in self._leases.items() if node_id != but]
        if not local:
            others = [msgspec.structs.replace(each, addresses=carried(each.addresses, local=False)) for each in others]
            others = [each for each in others if each.addresses]
        return others if len(others) <= count else self._rng.sample(others, count)

    def next_deadline(self) -> float | None:
        """Return when :meth:`deadline_reached` has to be called, or None."""
        return min((lease.ends for lease in self._leases.values() if lease.ends is not None), default=None)

    def deadline_reached(self, now: float) -> None:
        """End the leases that are over."""
        over = [node_id for node_id, lease in self._leases.items() if lease.ends is not None and lease.ends <= now]
        for node_id in over:
            del self._leases[node_id]
