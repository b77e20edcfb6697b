"""Who holds which id, who is listed for how long, and whom newcomers are told of."""

from __future__ import annotations

import random
from collections import Counter

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from netlayer import Settings
from netlayer.sansio.bootstrap.registry import Binding, Holdings, Registry
from netlayer.sansio.trust.tickets import Claim
from netlayer.wire.messages import NetAddress, Record, Ticket

GRACE = 15.0


def record(node_id: int, key: int | None = None, *, ephemeral: bool = True) -> Record:
    """Return the record of a node; its key is that of its id unless said otherwise."""
    fingerprint = bytes([key if key is not None else node_id]) * 32
    return Record(node_id, fingerprint, (NetAddress("127.0.0.1", 8000 + node_id),), 1, ephemeral)


def claim(node_id: int, key: int, *, since: int | None = None, ephemeral: bool = False) -> Claim:
    """Return a claim to an id, with a ticket if `since` says when it was issued."""
    fingerprint = bytes([key]) * 32
    ticket = None
    if since is not None:
        ticket = Ticket("default", node_id, fingerprint, ephemeral, since, since + 1000, b"", b"")
    return Claim(node_id, fingerprint, ticket)


class RegistryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.registry = Registry(settings=Settings(lease_grace=GRACE), rng=random.Random(1))

    def ids(self) -> list[int]:
        return [record.node_id for record in self.registry.records()]

    def test_listed(self) -> None:
        """Nodes are listed, the longest listed first: who registers again keeps its place, unless by another key."""
        for node_id in (3, 1, 2, 3):
            self.registry.register(record(node_id))
        self.assertEqual(self.ids(), [3, 1, 2])
        self.registry.register(record(3, key=9))
        self.assertEqual(self.ids(), [1, 2, 3])
        self.registry.register(record(4, key=1))
        self.assertEqual(self.ids(), [2, 3, 4])

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

    # ---- bindings

    def bind(self, node_id: int, key: int, *, since: int | None = None, now: float = 1000.0) -> Binding:
        """Bind an id as a bootstrap node does, and return the binding."""
        claimed = claim(node_id, key, since=since)
        self.assertIsNone(self.registry.refusal(claimed))
        binding = self.registry.binding_for(claimed, now)
        assert binding is not None
        self.freed = self.registry.bind(binding, now=now)
        return binding

    def code(self, node_id: int, key: int, *, since: int | None = None, ephemeral: bool = False) -> str | None:
        """Return the code with which a claim is refused."""
        refusal = self.registry.refusal(claim(node_id, key, since=since, ephemeral=ephemeral))
        return refusal.code if refusal is not None else None

    def test_first_wins(self) -> None:
        """The first key has the id for good, whether it is listed or not; it is bound once."""
        self.assertEqual(self.bind(1, 7), Binding(1, bytes([7]) * 32, 1000))
        self.assertIsNone(self.registry.binding_for(claim(1, 7), 2000.0))
        self.assertEqual((self.code(1, 7), self.code(1, 8), self.code(2, 8)), (None, "id-taken", None))

    def test_another_id(self) -> None:
        """A key that registers with another id gives up the one that it had."""
        self.bind(1, 7)
        self.assertEqual(self.freed, [])
        self.bind(2, 7)
        self.assertEqual((self.registry.bound_to(1), self.code(2, 8), self.freed), (None, "id-taken", [1]))
        self.assertEqual(self.bind(1, 8, now=1000.0).issued, 1001, "later than what a ticket of the former can say")

    def test_earlier_ticket(self) -> None:
        """Who proves to have been given the id before its holder gets it; a later or an ephemeral one does not."""
        self.bind(1, 7, since=500)
        for since, ephemeral, code in ((501, False, "id-taken"), (400, True, "id-taken"), (499, False, None)):
            self.assertEqual(self.code(1, 8, since=since, ephemeral=ephemeral), code)
        self.assertEqual((self.code(1, 6, since=500), self.code(1, 8, since=500)), (None, "id-taken"), "by fingerprint")
        self.assertEqual(self.bind(1, 8, since=499).issued, 499)
        self.assertEqual(self.code(1, 7, since=500), "id-taken")

    def test_ended(self) -> None:
        """A ticket from before the end of a binding wins nothing back."""
        holdings = Holdings((Binding(1, bytes([8]) * 32, 900),), ended=((1, 800),))
        self.registry.load(holdings)
        self.assertEqual(self.code(1, 7, since=700), "id-taken")
        self.assertIsNone(self.code(1, 7, since=801))

    def test_banned(self) -> None:
        """Who is banned is refused whatever id it claims, its own too."""
        binding = self.bind(1, 7)
        self.registry.load(Holdings((binding,), banned=(binding.fingerprint,)))
        self.assertEqual([self.code(node_id, 7) for node_id in (1, 2)], ["banned", "banned"])
        self.assertEqual(self.code(1, 8), "id-taken")

    def succeeded(self, *keys: int, node_id: int = 1) -> Claim:
        """Return the claim of the last of some keys, each of which has replaced the one before."""
        *formers, key = (bytes([each]) * 32 for each in keys)
        return Claim(node_id, key, formers=tuple(formers))

    def test_replaced(self) -> None:
        """A new key has what the former one had, since then; that one, and all between, are out."""
        before = self.bind(1, 7)
        claimed = self.succeeded(7, 8, 9)
        self.assertIsNone(self.registry.refusal(claimed))
        binding = self.registry.binding_for(claimed, 5000.0)
        self.assertEqual(binding, Binding(1, bytes([9]) * 32, before.issued))
        assert binding is not None
        self.registry.bind(binding, now=5000.0, formers=claimed.formers)
        self.assertIsNone(self.registry.binding_for(claimed, 6000.0))
        self.assertEqual([self.code(1, key, since=before.issued) for key in (7, 8, 9)], ["id-taken", "id-taken", None])
        self.assertEqual((self.code(2, 7), self.code(2, 8)), ("id-taken", "id-taken"), "whatever it claims")
        for late in (self.succeeded(7, 6), self.succeeded(8, 6), self.succeeded(7, 8, 6)):
            refusal = self.registry.refusal(late)
            self.assertEqual(refusal.code if refusal is not None else None, "id-taken")

    def test_replaced_elsewhere(self) -> None:
        """A key that was bound before its succession was seen keeps its id, and the former key is out by then."""
        self.bind(1, 8)
        claimed = self.succeeded(7, 8)
        binding = self.registry.binding_for(claimed, 5000.0)
        self.assertEqual(binding, self.registry.bound_to(1))
        assert binding is not None
        self.registry.bind(binding, now=5000.0, formers=claimed.formers)
        self.assertEqual((self.registry.bound_to(1), self.code(2, 7)), (binding, "id-taken"))

    def test_banned_lineage(self) -> None:
        """A ban of a key is one of those in its place, whether they say so or a store does."""
        a, b, c = (bytes([key]) * 32 for key in (7, 8, 9))
        self.registry.load(Holdings(banned=(a,)))
        self.assertEqual([self.code(1, key) for key in (7, 8)], ["banned", None])
        for claimed in (self.succeeded(7, 8), self.succeeded(7, 8, 9)):
            refusal = self.registry.refusal(claimed)
            self.assertEqual(refusal.code if refusal is not None else None, "banned")
        self.registry.load(Holdings(banned=(a,), successions=((b, c), (a, b))))
        self.assertEqual([self.code(1, key) for key in (7, 8, 9, 6)], ["banned", "banned", "banned", None])
        self.registry.load(Holdings(banned=(c,), successions=((b, c), (a, b))))
        self.assertEqual([self.code(1, key) for key in (7, 8, 9)], ["id-taken", "id-taken", "banned"])

    def test_clock_set_back(self) -> None:
        """A clock that was set back takes no id from anybody."""
        self.bind(1, 7, now=1000.0)
        self.assertEqual(self.code(1, 8), "id-taken")

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

    def test_link_local_stays_on_its_segment(self) -> None:
        """Only nodes that are linked over the same segment are told of link-local addresses, and of no zone."""
        near = (NetAddress("fe80::1%7", 8001),)
        both = (NetAddress("fe80::2%8", 8002), NetAddress("169.254.1.2", 8002), NetAddress("192.0.2.2", 8002))
        self.registry.register(msgspec.structs.replace(record(1), addresses=near))
        self.registry.register(msgspec.structs.replace(record(2), addresses=both))

        def told(*, local: bool = False, zone: str | None = None) -> dict[int, list[str]]:
            sample = self.registry.sample(64, but=9, local=local, zone=zone)
            return {each.node_id: [address.host for address in each.addresses] for each in sample}

        self.assertEqual(told(), {2: ["192.0.2.2"]})
        self.assertEqual(told(zone=""), {2: ["169.254.1.2", "192.0.2.2"]})
        self.assertEqual(told(zone="7"), {1: ["fe80::1"], 2: ["169.254.1.2", "192.0.2.2"]})
        self.assertEqual(told(zone="8"), {2: ["fe80::2", "169.254.1.2", "192.0.2.2"]})
        self.assertEqual(set(told(local=True)), {1, 2})
