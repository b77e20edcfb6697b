"""Who holds which id, who is listed for how long, and whom newcomers are told of."""

from __future__ import annotations

import random
from collections import Counter

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from netlayer import Settings
from netlayer.sansio.registry import Registry
from netlayer.wire.messages import NetAddress, Record

GRACE = 15.0


def record(node_id: int, key: int | None = None, *, ephemeral: bool = True) -> Record:
    """Return the record of a node; its key is that of its id unless said otherwise."""
    fingerprint = bytes([key if key is not None else node_id]) * 32
    return Record(node_id, fingerprint, (NetAddress("127.0.0.1", 8000 + node_id),), 1, ephemeral)


class RegistryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.registry = Registry(settings=Settings(lease_grace=GRACE), rng=random.Random(1))

    def ids(self) -> list[int]:
        return [record.node_id for record in self.registry.records()]

    def test_listed(self) -> None:
        """Nodes are listed in the order of their registration; who registers again takes its last place."""
        for node_id in (3, 1, 2, 3):
            self.registry.register(record(node_id))
        self.assertEqual(self.ids(), [1, 2, 3])

    def test_lease(self) -> None:
        """A node whose link broke is listed for the grace time; if it registers again, until its next loss."""
        for node_id in (1, 2):
            self.registry.register(record(node_id))
        self.assertIsNone(self.registry.next_deadline())
        self.registry.link_lost(record(1).fingerprint, now=100.0)
        self.registry.link_lost(record(2).fingerprint, now=101.0)
        self.assertEqual(self.registry.next_deadline(), 100.0 + GRACE)
        self.registry.register(record(2))
        self.registry.deadline_reached(100.0 + GRACE - 0.1)
        self.assertEqual(self.ids(), [1, 2])
        self.registry.deadline_reached(100.0 + GRACE)
        self.assertEqual(self.ids(), [2])
        self.assertIsNone(self.registry.next_deadline())

    def test_goodbye(self) -> None:
        """A node that said goodbye is not listed any more; one that is not listed may say it too."""
        self.registry.register(record(1))
        self.registry.forget(record(1).fingerprint)
        self.registry.forget(record(1).fingerprint)
        self.assertEqual(self.ids(), [])

    def test_ephemeral(self) -> None:
        """An ephemeral key binds no id: another one may take it, and its predecessor's end does not touch it."""
        self.registry.register(record(1, key=7))
        self.assertIsNone(self.registry.bound_to(1))
        self.registry.register(record(1, key=8))
        self.registry.link_lost(record(1, key=7).fingerprint, now=0.0)
        self.registry.forget(record(1, key=7).fingerprint)
        self.assertEqual((self.ids(), self.registry.next_deadline()), ([1], None))

    def test_persistent(self) -> None:
        """A stored key holds its id for good, listed or not, until it registers with another one."""
        self.registry.register(record(1, key=7, ephemeral=False))
        self.registry.forget(record(1, key=7).fingerprint)
        self.assertEqual(self.registry.bound_to(1), record(1, key=7).fingerprint)
        self.registry.register(record(2, key=7, ephemeral=False))
        self.assertEqual((self.registry.bound_to(1), self.registry.bound_to(2)), (None, record(2, key=7).fingerprint))
        self.assertEqual(self.ids(), [2])

    def test_sample(self) -> None:
        """A sample leaves out who asks, is never longer than asked for, and prefers nobody."""
        for node_id in range(20):
            self.registry.register(record(node_id))
        self.assertEqual(len(self.registry.sample(64, but=3, local=True)), 19)
        self.assertEqual(len(self.registry.sample(64, but=99, local=True)), 20)
        self.assertEqual(self.registry.sample(0, but=3, local=True), [])
        seen: Counter[int] = Counter()
        for _ in range(2000):
            sample = self.registry.sample(5, but=3, local=True)
            self.assertEqual(len({record.node_id for record in sample}), 5)
            seen.update(record.node_id for record in sample)
        self.assertEqual(set(seen), set(range(20)) - {3})
        self.assertLess(max(seen.values()), 1.3 * min(seen.values()))

    def test_loopback_stays_at_home(self) -> None:
        """A node elsewhere is told of no loopback address, and not of a node that has no other."""
        self.registry.register(record(1))
        both = (NetAddress("127.0.0.1", 8002), NetAddress("192.0.2.2", 8002))
        self.registry.register(msgspec.structs.replace(record(2), addresses=both))
        self.assertEqual({each.node_id for each in self.registry.sample(64, but=9, local=True)}, {1, 2})
        (told,) = self.registry.sample(64, but=9, local=False)
        self.assertEqual((told.node_id, told.addresses), (2, (NetAddress("192.0.2.2", 8002),)))
