"""Who has which id, over real TLS: bindings that last, tickets that prove them, and who claims what is not theirs."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from netlayer import Identity
from netlayer.errors import ConfigurationError, JoinRefused, PeerIdentityMismatch
from netlayer.interfaces import IBindingStore
from netlayer.sansio.bootstrap.registry import Binding, Holdings
from netlayer.sansio.trust.tickets import CLOCK_TOLERANCE, LIFETIME, issue_ticket
from netlayer.storage.bindings.file import BindingFile
from netlayer.storage.bindings.sqlite import SQLiteStore
from netlayer.storage.identity import fingerprint_text
from netlayer.storage.known_peers import Entries, read_known_peers
from netlayer.wire.messages import Hello, Record, Register, Registered, RejectCode, Ticket, Welcome
from tests.directories import new_directory
from tests.integration.network import HOST, BootstrapMember, NetworkTestCase, settings, until
from tests.integration.stranger import Stranger


class IdsTestCase(NetworkTestCase):
    """A bootstrap node with a directory of its own.

    :ivar directory: its data directory.
    :ivar key: its identity.
    """

    def setUp(self) -> None:
        super().setUp()
        self.directory = new_directory(self) / "bootstrap"
        self.key = Identity.in_directory(self.directory)

    async def start_bootstrap(self, **options: Any) -> Any:
        """Return the bootstrap node; the one before it has stopped."""
        return await self.bootstrap(data_dir=self.directory, **options)

    async def refusal(self, node: Any) -> JoinRefused:
        """Return the error with which a node does not join."""
        return await self.expect(JoinRefused, node.start_node())

    def held(self) -> dict[int, bytes]:
        """Return which key holds which id by the file of the bootstrap node."""
        file = BindingFile(self.directory / "bindings.sqlite", network=None)
        holdings = file.holdings()
        file.close()
        return {binding.node_id: binding.fingerprint for binding in holdings.bindings}

    def ticket(
        self,
        holder: Identity,
        node_id: int = 7,
        *,
        signer: Identity | None = None,
        network: str = "default",
        ephemeral: bool = False,
        issued: float | None = None,
        now: float | None = None,
    ) -> Ticket:
        """Return a ticket of the bootstrap node, or of another signer."""
        now = time.time() if now is None else now
        record = Record(node_id, holder.fingerprint, (), 1, ephemeral)
        signer = signer if signer is not None else self.key
        return issue_ticket(signer, network, record, issued=int(now if issued is None else issued), now=now)


class BindingTests(IdsTestCase):
    """Bindings in the data directory of a bootstrap node."""

    async def test_kept(self) -> None:
        """An id is its key's before and after the bootstrap node starts again, linked or not."""
        keys = [self.stored_identity() for _ in range(3)]
        bootstrap = await self.start_bootstrap()
        for node_id, key in ((2, keys[0]), (3, keys[1])):
            node = await self.start(node_id, bootstrap, identity=key)
            self.assertEqual(self.held()[node_id], key.fingerprint, "it is durable before the node has joined")
            await node.shutdown()
        self.assertEqual((await self.refusal(self.make(2, bootstrap, identity=keys[2]))).code, RejectCode.ID_TAKEN)
        await bootstrap.shutdown()
        again = await self.start_bootstrap()
        for key in (keys[1], keys[2], Identity.generate()):
            self.assertEqual((await self.refusal(self.make(2, again, identity=key))).code, RejectCode.ID_TAKEN)
        self.assertTrue((await self.start(2, again, identity=keys[0])).status.joined)
        self.assertEqual(set(self.held()), {2, 3})

    async def test_ephemeral(self) -> None:
        """Nothing is kept of a key that dies with its process."""
        bootstrap = await self.start_bootstrap()
        await (await self.start(2, bootstrap)).shutdown()
        self.assertEqual(self.held(), {})
        self.assertTrue((await self.start(2, bootstrap)).status.joined)

    async def test_durable_first(self) -> None:
        """A node is told that it is registered when its binding is durable, and not before."""
        store = SlowStore()
        bootstrap = await self.bootstrap(store=store)
        node = self.make(2, bootstrap, identity=self.stored_identity(), settings=settings(timeout=8.0))
        started = node.start_node()
        await until(lambda: store.waiting)
        await (await self.start(3, bootstrap)).shutdown()  # others are served meanwhile
        self.assertFalse(node.status.joined)
        self.assertNotIn(2, {peer.node_id for peer in bootstrap.get_peers()})
        store.finish()
        await started
        self.assertTrue(node.status.joined)

    async def test_other_was_quicker(self) -> None:
        """When another bootstrap node has bound the id in the shared store meanwhile, the node hears `id-taken`."""
        store = SlowStore()
        bootstrap = await self.bootstrap(store=store)
        started = self.make(2, bootstrap, identity=self.stored_identity()).start_node()
        await until(lambda: store.waiting)
        store.finish(Binding(2, bytes(32), 5))
        self.assertEqual((await self.expect(JoinRefused, started)).code, RejectCode.ID_TAKEN)
        self.assertTrue(self.logged("warn", node=1, containing="peer 2 is refused"))

    async def test_disk_full(self) -> None:
        """A binding that can't be written is not acknowledged; the node tries again, and joins when it can be."""
        store = SlowStore()
        bootstrap = await self.bootstrap(store=store)
        started = self.make(2, bootstrap, identity=self.stored_identity()).start_node()
        await until(lambda: store.waiting)
        store.fail(OSError("no space left"))
        await until(lambda: store.waiting)
        self.assertEqual(self.logged("error", node=1), ["node 1: an id can't be bound: no space left"])
        store.finish()
        await started

    async def test_not_loaded(self) -> None:
        """While the store is being opened nobody is let in, as nobody knows who may have which id."""
        store = SlowStore(slow_start=True)
        bootstrap = self.make_bootstrap(store=store)
        bootstrap._service.privilegedStartService()
        started = bootstrap.start_node()
        stranger = await self.stranger(int(bootstrap._service.listening.port))
        stranger.say(stranger.hello())
        self.assertEqual((await stranger.refused()).code, RejectCode.NOT_READY)
        store.finish_start()
        await started
        await self.start(2, bootstrap)

    async def test_store_of_another_network(self) -> None:
        """A bootstrap node does not start with the bindings of another network."""
        await (await self.start_bootstrap()).shutdown()
        other = self.make_bootstrap(data_dir=self.directory, network="another")
        error = await self.expect(ConfigurationError, other.start_node())
        self.assertIn("network 'default'", str(error))

    async def test_shared_store(self) -> None:
        """Two bootstrap nodes with one file know the same ids, and each vouches for the other's tickets."""
        directories = [new_directory(self) for _ in range(2)]
        identities = [Identity.in_directory(directory) for directory in directories]
        shared = new_directory(self) / "shared.sqlite"
        one, two = [
            await self.bootstrap(node_id, identity=identity, store=SQLiteStore(shared))
            for node_id, identity in zip((1, 9), identities, strict=True)
        ]
        key = self.stored_identity()
        node = await self.start(2, one, identity=key)
        await node.shutdown()
        await until(lambda: two.factory.registry.bound_to(2) is not None)
        self.assertEqual((await self.refusal(self.make(2, two))).code, "id-taken")
        a, b = await self.start(2, one, identity=key), await self.start(3, two)
        self.assertEqual(a.factory.local.ticket.signer, identities[0].public_key)
        record = Record(2, key.fingerprint, (), 1, False, a.factory.local.ticket)
        await until(lambda: one.factory._signers == (identities[1].public_key,))
        self.assertIsNotNone(b.factory.claims.judge(record).ticket)

    async def test_removed(self) -> None:
        """When the operator frees an id, a new key gets it, and the former one does not get it back by its ticket."""
        bootstrap = await self.start_bootstrap()
        former, latter = self.stored_identity(), self.stored_identity()
        await (await self.start(2, bootstrap, identity=former)).shutdown()
        file = BindingFile(self.directory / "bindings.sqlite", network=None)
        file.end(2, now=int(time.time()))
        file.close()
        await until(lambda: bootstrap.factory.registry.bound_to(2) is None)
        await (await self.start(2, bootstrap, identity=latter)).shutdown()
        stranger = await self.stranger(bootstrap, 2, identity=former)
        stranger.say(stranger.hello(ephemeral=False, ticket=self.ticket(former, 2, issued=time.time() - 60)))
        self.assertEqual((await stranger.refused()).code, RejectCode.ID_TAKEN)

    async def test_banned(self) -> None:
        """A ban ends the link of a key, and refuses it until it is lifted; its id stays its own."""
        bootstrap = await self.start_bootstrap()
        key, late = self.stored_identity(), self.stored_identity()
        node = await self.start(2, bootstrap, identity=key)
        registering = await self.stranger(bootstrap, 6, identity=late)
        await registering.link(ephemeral=False)
        file = BindingFile(self.directory / "bindings.sqlite", network=None)
        for banned in (key, late):
            file.ban(banned.fingerprint)
        registering.say(register())
        self.assertEqual((await registering.refused()).code, RejectCode.BANNED)
        await until(lambda: not node.status.joined)
        self.assertEqual(bootstrap.get_peers(), [])
        await until(lambda: "banned" in str(node.status.bootstraps[0].last_error))
        for node_id in (2, 6):
            self.assertTrue(self.logged("warn", node=1, containing=f"peer {node_id} is refused: this key is banned"))
        await until(lambda: self.logged("info", node=1, containing="was rejected: banned"))
        self.assertEqual((await self.refusal(self.make(2, bootstrap))).code, RejectCode.ID_TAKEN)
        self.assertEqual((await self.refusal(self.make(5, bootstrap, identity=key))).code, RejectCode.BANNED)
        file.lift(key.fingerprint)
        file.close()
        await until(lambda: node.status.joined)

    async def test_lost_store(self) -> None:
        """A bootstrap node that has lost its file gives an id back to who has a ticket, even if it was taken since."""
        bootstrap = await self.start_bootstrap()
        # Of bindings of the same second the fingerprints decide.
        key, taker = sorted((self.stored_identity() for _ in range(2)), key=lambda each: each.fingerprint)
        node = await self.start(2, bootstrap, identity=key)
        await bootstrap.shutdown()
        for path in self.directory.glob("bindings.sqlite*"):
            path.unlink()
        await node.kill()
        again = await self.start_bootstrap()
        thief = await self.start(2, again, identity=taker)
        self.assertEqual(self.held(), {2: taker.fingerprint})
        stranger = await self.stranger(again, 2, identity=key)
        await stranger.link(ephemeral=False, ticket=node.factory.local.ticket)
        stranger.say(register())
        await stranger.next(Registered)
        self.assertEqual(self.held(), {2: key.fingerprint})
        await until(lambda: "id-taken" in str(thief.status.bootstraps[0].last_error))

    def make_bootstrap(self, **options: Any) -> Any:
        return self.make(1, kind=BootstrapMember, **options)


class TicketTests(IdsTestCase):
    """Tickets, as bootstrap nodes and others take them."""

    async def joined(self) -> tuple[Any, Any]:
        """Return the bootstrap node and a node that has joined."""
        bootstrap = await self.start_bootstrap()
        return bootstrap, await self.start(5, bootstrap)

    async def said(self, node: Any, identity: Identity, ticket: Ticket | None, **changes: Any) -> Stranger:
        """Return a stranger that has introduced itself with a ticket."""
        stranger = await self.stranger(node, 7, identity=identity)
        stranger.say(stranger.hello(**{"ephemeral": False, "ticket": ticket} | changes))
        return stranger

    async def test_issued(self) -> None:
        """Nodes show the ticket that they were given, and keep it when they register again."""
        bootstrap = await self.start_bootstrap()
        key = self.stored_identity()
        for identity in (key, Identity.generate()):
            node = await self.start(2, bootstrap, identity=identity)
            ticket = node.factory.local.ticket
            self.assertEqual((ticket.node_id, ticket.fingerprint), (2, identity.fingerprint))
            self.assertEqual((ticket.signer, ticket.ephemeral), (self.key.public_key, identity.ephemeral))
            registered = bootstrap.factory.registry.lease(2, identity.fingerprint)
            await until(
                lambda: bootstrap.factory.registry.lease(2, identity.fingerprint) is not registered  # noqa: B023
            )
            self.assertEqual(node.factory.local.ticket, ticket)
            await node.shutdown()
            if not identity.ephemeral:
                bootstrap.factory.registry.bind(Binding(3, key.fingerprint, 5), now=0)  # which frees the id

    async def test_wrong_tickets(self) -> None:
        """A ticket that is forged or somebody else's is a violation at bootstrap nodes and at all others."""
        bootstrap, node = await self.joined()
        key = self.stored_identity()
        honest = self.ticket(key)
        wrong = {
            "another network": self.ticket(key, network="another"),
            "another id": self.ticket(key, 8),
            "another key": self.ticket(Identity.generate()),
            "another kind of key": self.ticket(key, ephemeral=True),
            "forged": msgspec.structs.replace(honest, signature=bytes(70)),
            "extended": msgspec.structs.replace(honest, expires=honest.expires + 1),
            "backdated": msgspec.structs.replace(honest, issued=honest.issued - 1000),
            "signed by another": msgspec.structs.replace(
                self.ticket(key, signer=Identity.generate()), signer=self.key.public_key
            ),
        }
        for what, ticket in wrong.items():
            for where in (bootstrap, node):
                stranger = await self.said(where, key, ticket)
                reject = await stranger.refused()
                self.assertEqual((what, reject.code), (what, RejectCode.PROTOCOL_VIOLATION))
                self.assertIn("a ticket that", reject.text)
            bootstrap.factory._strangers._violations = node.factory._strangers._violations = _NoMemory()
        self.assertTrue(self.logged("warn", node=1, containing="bad data from"))
        self.assertTrue(self.logged("warn", node=5, containing="a ticket that its signer has not signed"))
        self.assertEqual(self.held(), {})
        await (await self.said(node, key, honest)).next(Welcome)

    async def test_worthless_tickets(self) -> None:
        """A ticket that has expired, comes from the future or has an unknown signer is as good as none."""
        bootstrap, node = await self.joined()
        key, holder = self.stored_identity(), self.stored_identity()
        now = time.time()
        worthless = [
            self.ticket(key, now=now - LIFETIME - CLOCK_TOLERANCE - 10),
            self.ticket(key, issued=now + CLOCK_TOLERANCE + 10),
            self.ticket(key, signer=Identity.generate()),
            None,
        ]
        for ticket in worthless:
            for where in (bootstrap, node):
                stranger = await self.said(where, key, ticket)
                await stranger.next(Welcome)
                await stranger.leave()
        proven = await self.linked_stranger(
            node, 7, said={"ephemeral": False, "ticket": self.ticket(holder)}, identity=holder
        )
        for ticket in worthless:
            stranger = await self.said(node, key, ticket)
            self.assertEqual((await stranger.refused()).code, RejectCode.ID_TAKEN)
        self.assertFalse(proven.closed)

    async def test_gives_way(self) -> None:
        """Who has the id without a ticket loses it at once to who has one, and is told so."""
        _, node = await self.joined()
        provisional = await self.linked_stranger(node, 7)
        key = self.stored_identity()
        proven = await self.stranger(node, 7, identity=key)
        await proven.link(ephemeral=False, ticket=self.ticket(key))
        self.assertEqual((await provisional.refused()).code, RejectCode.ID_TAKEN)
        await until(lambda: node.driver(7).fingerprint == key.fingerprint)
        self.assertEqual(node.peer_ids, {7})
        self.assertTrue(self.logged("warn", node=5, containing="peer 7 is refused"))

    async def test_earlier_wins(self) -> None:
        """Of two keys with tickets the one that was given the id first has it, whoever comes first."""
        _, node = await self.joined()
        early, late = self.stored_identity(), self.stored_identity()
        now = int(time.time())
        shown = {
            early.fingerprint: self.ticket(early, issued=now - 10),
            late.fingerprint: self.ticket(late, issued=now - 5),
        }

        async def link(key: Identity) -> Stranger:
            stranger = await self.stranger(node, 7, identity=key)
            await stranger.link(ephemeral=False, ticket=shown[key.fingerprint])
            await until(lambda: node.peer_ids == {7} and node.driver(7).fingerprint == key.fingerprint)
            return stranger

        second = await link(late)
        first = await link(early)
        self.assertEqual((await second.refused()).code, RejectCode.ID_TAKEN)
        again = await self.said(node, late, shown[late.fingerprint])
        self.assertEqual((await again.refused()).code, RejectCode.ID_TAKEN)
        self.assertFalse(first.closed)

    async def test_impostor(self) -> None:
        """A listener with a forged ticket is not linked: both ends see a violation."""
        bootstrap = await self.start_bootstrap()
        heard: list[Any] = []

        async def answer(stranger: Stranger) -> None:
            await stranger.next(Hello)
            forged = msgspec.structs.replace(self.ticket(stranger.identity, 98), signature=bytes(70))
            stranger.say(stranger.welcome(ephemeral=False, ticket=forged))
            heard.append(await stranger.refused())

        port = await self.impostor(lambda stranger: Deferred.fromCoroutine(answer(stranger)))
        node = await self.start(5, bootstrap)
        with self.assertRaises(Exception) as caught:
            await node.send_data((98, HOST, port), "x")
        self.assertIn("a ticket that its signer has not signed", str(caught.exception))
        await until(lambda: heard)
        self.assertEqual(heard[0].code, RejectCode.PROTOCOL_VIOLATION)

    async def test_own_id(self) -> None:
        """Nobody else has a node's own id, as dialer or as listener, with a ticket or without."""
        bootstrap, node = await self.joined()
        key = self.stored_identity()
        for where, own in ((bootstrap, 1), (node, 5)):
            for ticket in (None, self.ticket(key, own)):
                stranger = await self.stranger(where, own, identity=key)
                stranger.say(stranger.hello(ephemeral=False, ticket=ticket))
                self.assertEqual((await stranger.refused()).code, RejectCode.ID_TAKEN)

        async def answer(stranger: Stranger) -> None:
            await stranger.next(Hello)
            stranger.say(stranger.welcome())

        port = await self.impostor(lambda stranger: Deferred.fromCoroutine(answer(stranger)), 5)
        with self.assertRaises(PeerIdentityMismatch) as caught:
            await node.send_data((98, HOST, port), "x")
        self.assertIn("id of this node", str(caught.exception))

    async def test_bootstraps_agree(self) -> None:
        """Bootstrap nodes that are told of each other learn of bindings, and believe each other's tickets."""
        identities = {1: self.stored_identity(), 9: self.stored_identity()}
        ports = {node_id: await self.free_port() for node_id in identities}
        one, nine = [
            await self.bootstrap(node_id, (HOST, ports[10 - node_id]), identity=key, port=ports[node_id])
            for node_id, key in identities.items()
        ]
        await until(lambda: one.status.joined and nine.status.joined)
        key = self.stored_identity()
        node = await self.start(2, one, identity=key)
        await until(lambda: nine.factory.registry.bound_to(2) is not None)
        self.assertEqual(nine.factory.registry.bound_to(2), one.factory.registry.bound_to(2))
        self.assertEqual((await self.refusal(self.make(2, nine))).code, RejectCode.ID_TAKEN)
        other = await self.start(3, nine)
        record = Record(2, key.fingerprint, (), 1, False, node.factory.local.ticket)
        self.assertIsNotNone(other.factory.claims.judge(record).ticket, "the one vouches for the other")


class KnownPeersTests(IdsTestCase):
    """What a node with a data directory remembers of those it has met."""

    def setUp(self) -> None:
        super().setUp()
        self.home = new_directory(self) / "node"

    def known(self) -> Entries:
        """Return what the node has written down, when it has stopped."""
        return read_known_peers(self.home / "known_peers").get("default", {})

    async def test_remembered(self) -> None:
        """Lasting keys are remembered if a ticket proves their id or the node was told to dial them; no others."""
        bootstrap = await self.start_bootstrap()
        keys = {node_id: self.stored_identity() for node_id in (2, 3, 4)}
        ephemeral = await self.start(6, bootstrap)
        proven = await self.start(2, bootstrap, identity=keys[2])
        configured = await self.start(3, identity=keys[3])
        node = await self.start(5, bootstrap, data_dir=self.home, peers=[configured.info])
        await self.linked_stranger(node, 4, identity=keys[4], said={"ephemeral": False})
        await until(lambda: node.peer_ids == {2, 3, 4, 6})
        await node.shutdown()
        where = f"{HOST}:{bootstrap.port}"
        expected = {1: self.key, where: self.key, 2: proven.factory.identity, 3: keys[3]}
        self.assertEqual(self.known(), {who: key.fingerprint for who, key in expected.items()})
        self.assertNotIn(ephemeral.factory.identity.fingerprint, self.known().values())

    async def met(self) -> tuple[Any, Any]:
        """Return a peer, of id 2, and a node that knows it from before; the bootstrap node is gone."""
        bootstrap = await self.start_bootstrap()
        peer = await self.start(2, bootstrap, identity=self.stored_identity())
        node = await self.start(5, bootstrap, data_dir=self.home)
        await until(lambda: node.peer_ids == {2})
        for each in (node, bootstrap):
            await each.shutdown()
        return peer, await self.start(5, data_dir=self.home, settings=settings(retry_count=0))

    async def test_another_key_comes(self) -> None:
        """Who comes by the id of a known peer with another key is refused, with a ticket, too, and the log tells."""
        peer, node = await self.met()
        key = self.stored_identity()
        for ticket in (None, self.ticket(key, 2)):
            stranger = await self.stranger(node, 2, identity=key)
            stranger.say(stranger.hello(ephemeral=False, ticket=ticket))
            reject = await stranger.refused()
            self.assertEqual((reject.code, reject.retry_after), (RejectCode.ID_TAKEN, 2.0))
        (told,) = self.logged("warn", node=5, containing="peer 2 is refused: it is known by the key")
        self.assertIn(fingerprint_text(key.fingerprint), told)
        await node.send_data(peer.info, "x")
        self.assertEqual(peer.data, ["x"])

    async def test_another_key_is_dialed(self) -> None:
        """A send to the address of another key is a mismatch that names both, and nothing is said to that key."""
        peer, node = await self.met()
        impostor = await self.start(2, identity=self.stored_identity())
        error = await self.expect(PeerIdentityMismatch, node.send_data(impostor.info, "x"))
        keys = (peer.factory.identity, impostor.factory.identity)
        self.assertEqual((error.expected, error.found), tuple(fingerprint_text(key.fingerprint) for key in keys))
        await until(lambda: self.logged("debug", node=2, containing="ended: "))
        self.assertEqual((impostor.hooks, impostor.data), ([], []))

    async def test_another_bootstrap_node(self) -> None:
        """At the address of a bootstrap node that is known, another key is not joined, though it has the same id."""
        bootstrap = await self.start_bootstrap()
        port = bootstrap.port
        await (await self.start(5, bootstrap, data_dir=self.home)).shutdown()
        await bootstrap.shutdown()
        other = await self.bootstrap(identity=self.stored_identity(), port=port)
        node = await self.start(5, other, data_dir=self.home)
        self.assertFalse(node.status.joined)
        self.assertIn(fingerprint_text(self.key.fingerprint), str(node.status.bootstraps[0].last_error))
        self.assertTrue(self.logged("error", node=5, containing="expected sha256:"))
        self.assertTrue(self.logged("debug", node=1, containing="ended: "))
        self.assertEqual(other.get_peers(), [])
        await other.shutdown()
        await self.start_bootstrap(port=port)
        await until(lambda: node.status.joined)

    async def test_unknown_address(self) -> None:
        """A bootstrap node at a new address that has the id of a known peer is a mismatch."""
        _, node = await self.met()
        await node.shutdown()
        other = await self.bootstrap(2)
        node = await self.start(5, other, data_dir=self.home, settings=settings(retry_count=0))
        self.assertFalse(node.status.joined)
        self.assertIn("expected sha256:", str(node.status.bootstraps[0].last_error))

    async def test_told_by_bootstrap(self) -> None:
        """What a bootstrap node tells of another key for a known id is not believed."""
        _, node = await self.met()
        await node.shutdown()
        bootstrap = await self.bootstrap(9, identity=self.stored_identity())
        other = await self.start(2, bootstrap)
        node = await self.start(5, bootstrap, data_dir=self.home)
        self.assertTrue(node.status.joined)
        self.assertEqual((node.peer_ids, other.peer_ids), (set(), set()))
        self.assertTrue(self.logged("warn", node=5, containing="peer 2 is refused"))

    async def test_damaged(self) -> None:
        """With a damaged file the node starts, says so, and learns anew."""
        _, node = await self.met()
        await node.shutdown()
        (self.home / "known_peers").write_text("nonsense")
        await self.start(5, data_dir=self.home)
        self.assertTrue(self.logged("error", node=5, containing="known_peers is damaged"))


class _NoMemory:
    """Stands for a memory of violations, so that one stranger after the other may commit one."""

    def note(self, offender: Any, now: float) -> bool:
        return False

    def refused_for(self, offender: Any, now: float) -> float:
        return 0.0


def register() -> Any:
    """Return a registration."""
    return Register((), False)


@implementer(IBindingStore)
class SlowStore:
    """A store that finishes when the test says so.

    :ivar waiting: what it was asked for.
    """

    def __init__(self, *, slow_start: bool = False) -> None:
        self.waiting: list[tuple[Binding, Deferred[Binding]]] = []
        self._starting: Deferred[Holdings] | None = Deferred() if slow_start else None

    def start(self, reactor: Any, **options: Any) -> Any:
        return self._starting if self._starting is not None else succeed(Holdings())

    def bind(self, binding: Binding, *, replacing: bytes | None, formers: tuple[bytes, ...] = ()) -> Deferred[Binding]:
        self.waiting.append((binding, Deferred()))
        return self.waiting[-1][1]

    def stop(self) -> Deferred[None]:
        return succeed(None)

    def finish_start(self) -> None:
        assert self._starting is not None
        self._starting.callback(Holdings())

    def finish(self, held: Binding | None = None) -> None:
        binding, done = self.waiting.pop(0)
        done.callback(held if held is not None else binding)

    def fail(self, error: Exception) -> None:
        _, done = self.waiting.pop(0)
        done.errback(error)
