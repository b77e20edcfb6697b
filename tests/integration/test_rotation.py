"""Keys that take the place of others, over real TLS and real restarts: who keeps what, and who gets nothing by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from netlayer import Identity
from netlayer.addresses import Address
from netlayer.certificate import self_signed
from netlayer.errors import PeerIdentityMismatch
from netlayer.identity import fingerprint_text
from netlayer.known_peers import read_known_peers
from netlayer.sansio.succession import Succession
from netlayer.stores.file import BindingFile
from netlayer.stores.sqlite import SQLiteStore
from netlayer.wanted import client_endpoint
from netlayer.wire.messages import Hello, Record, Registered, RejectCode, Welcome
from netlayer.wire.succession import MAX_SIZE, Former, decode_succession, encode_succession, statement
from tests.directories import new_directory
from tests.integration.network import HOST, reactor, settings, until
from tests.integration.stranger import Stranger
from tests.integration.test_ids import IdsTestCase, SlowStore, register


def link(former: Identity, key: Identity, *, by: Identity | None = None, next_by: Identity | None = None) -> Former:
    """Return the statement that a key takes the place of another one, signed by them, or by others."""
    said = statement(former.fingerprint, key.fingerprint)
    return Former(former.public_key, (by or former).sign(said), (next_by or key).sign(said))


def showing(key: Identity, *formers: Former, content: bytes | None = None) -> Identity:
    """Return an identity whose certificate shows just these former keys, or just these bytes."""
    content = encode_succession(formers) if content is None else content
    return Identity(key.key, self_signed(key.key, Succession(key.public_key, content)), ephemeral=False)


class RotationTestCase(IdsTestCase):
    """A node, of id 2, whose key was replaced.

    :ivar former: its former key.
    :ivar new: the one that it has now.
    """

    def setUp(self) -> None:
        super().setUp()
        self.former = self.stored_identity()
        self.new = self.former.successor()

    def bound(self) -> Any:
        """Return the binding of id 2 by the file of the bootstrap node."""
        file = BindingFile(self.directory / "bindings.sqlite", network=None)
        (binding,) = [each for each in file.holdings().bindings if each.node_id == 2]
        file.close()
        return binding

    async def registered(self, bootstrap: Any, node_id: int = 2) -> Any:
        """Have the node register with its former key, and return what was bound."""
        await (await self.start(node_id, bootstrap, identity=self.former)).shutdown()
        return bootstrap.factory.registry.bound_to(node_id)

    async def code(self, where: Any, identity: Identity, node_id: int = 2, **said: Any) -> str | None:
        """Return the code with which a stranger is refused, or None if it is welcome."""
        where.factory._strangers._violations = _NoMemory()
        stranger = await self.stranger(where, node_id, identity=identity)
        stranger.say(stranger.hello(**{"ephemeral": False} | said))
        await until(lambda: stranger.closed or stranger.heard)
        heard = stranger.heard[0]
        stranger.leave()
        await until(lambda: stranger.closed)
        return None if isinstance(heard, Welcome) else heard.code


class BootstrapTests(RotationTestCase):
    """A bootstrap node whose nodes replace their keys."""

    async def test_binding_moves(self) -> None:
        """The new key has the id, since the same moment, in the file before the node has joined and ever after."""
        bootstrap = await self.start_bootstrap()
        before = await self.registered(bootstrap)
        node = await self.start(2, bootstrap, identity=self.new)
        self.assertEqual(self.bound(), attrs.evolve(before, fingerprint=self.new.fingerprint))
        self.assertEqual(node.factory.local.ticket.issued, before.issued)
        self.assertEqual(node.factory.local.ticket.fingerprint, self.new.fingerprint)
        (told,) = self.logged("info", node=1, containing="to which id 2 was bound")
        self.assertIn(fingerprint_text(self.former.fingerprint), told)
        await node.shutdown()
        await bootstrap.shutdown()
        again = await self.start_bootstrap()
        self.assertEqual(await self.code(again, self.former), RejectCode.ID_TAKEN)
        self.assertTrue((await self.start(2, again, identity=self.new)).status.joined)

    async def test_in_memory(self) -> None:
        """A bootstrap node without a data directory does the same while it lives."""
        bootstrap = await self.bootstrap()
        before = await self.registered(bootstrap)
        await self.start(2, bootstrap, identity=self.new)
        bound = bootstrap.factory.registry.bound_to(2)
        self.assertEqual(bound, attrs.evolve(before, fingerprint=self.new.fingerprint))
        for node_id in (2, 5):
            self.assertEqual(await self.code(bootstrap, self.former, node_id), RejectCode.ID_TAKEN)

    async def test_durable_first(self) -> None:
        """The node is told that it is registered when its new key is durably bound, and not before."""
        store = SlowStore()
        bootstrap = await self.bootstrap(store=store)
        for identity in (self.former, self.new):
            node = self.make(2, bootstrap, identity=identity, settings=settings(timeout=8.0))
            started = node.start_node()
            await until(lambda: store.waiting)
            self.assertFalse(node.status.joined)
            store.finish()
            await started
            await node.shutdown()

    async def test_former_key_is_linked(self) -> None:
        """A process that still runs with the former key is put out as soon as the new one has registered."""
        bootstrap = await self.start_bootstrap()
        left = await self.start(2, bootstrap, identity=self.former)
        node = await self.start(2, bootstrap, identity=self.new)
        await until(lambda: "id-taken" in str(left.status.bootstraps[0].last_error))
        self.assertTrue(node.status.joined)
        self.assertEqual(bootstrap.link(2).fingerprint, self.new.fingerprint)

    async def test_former_ticket(self) -> None:
        """The former key does not win the id back by the ticket that it still has, whichever fingerprint is less."""
        bootstrap = await self.start_bootstrap()
        for node_id in range(20, 26):
            former = self.stored_identity()
            left = await self.start(node_id, bootstrap, identity=former)
            ticket = left.factory.local.ticket
            await left.shutdown()
            node = await self.start(node_id, bootstrap, identity=former.successor())
            self.assertEqual(await self.code(bootstrap, former, node_id, ticket=ticket), RejectCode.ID_TAKEN)
            await node.shutdown()
            self.assertEqual(await self.code(bootstrap, former, node_id, ticket=ticket), RejectCode.ID_TAKEN)

    async def test_chain(self) -> None:
        """A bootstrap node that has missed some replacements follows all of them, up to eight."""
        bootstrap = await self.start_bootstrap()
        await self.registered(bootstrap)
        keys = [self.former]
        for _ in range(9):
            keys.append(keys[-1].successor())
        self.assertEqual(len(keys[8].formers), 8)
        self.assertEqual(keys[9].formers, (*keys[8].formers[1:], keys[8].fingerprint))
        await (await self.start(2, bootstrap, identity=keys[8])).shutdown()
        self.assertEqual(self.held(), {2: keys[8].fingerprint})
        await (await self.start(2, bootstrap, identity=keys[9])).shutdown()
        self.assertEqual(self.held(), {2: keys[9].fingerprint})
        for key in keys[:9]:
            self.assertEqual(await self.code(bootstrap, key), RejectCode.ID_TAKEN)

    async def test_too_many(self) -> None:
        """A bootstrap node that has missed more than eight replacements knows the key no more."""
        bootstrap = await self.start_bootstrap()
        await self.registered(bootstrap)
        key = self.former
        for _ in range(9):
            key = key.successor()
        self.assertEqual((await self.refusal(self.make(2, bootstrap, identity=key))).code, RejectCode.ID_TAKEN)

    async def test_first_seen(self) -> None:
        """Of two successors of one key, the one that comes first has the id; the other has nothing by it."""
        bootstrap = await self.start_bootstrap()
        await self.registered(bootstrap)
        await (await self.start(2, bootstrap, identity=self.new)).shutdown()
        for thief in (self.former.successor(), self.former.successor().successor()):
            self.assertEqual((await self.refusal(self.make(2, bootstrap, identity=thief))).code, RejectCode.ID_TAKEN)
        self.assertEqual(self.held(), {2: self.new.fingerprint})

    async def test_another_id(self) -> None:
        """A new key that takes another id gives up the one of the former key, which nobody has then."""
        bootstrap = await self.start_bootstrap()
        await self.registered(bootstrap)
        await (await self.start(3, bootstrap, identity=self.new)).shutdown()
        self.assertEqual(self.held(), {3: self.new.fingerprint})
        self.assertEqual(await self.code(bootstrap, self.former), RejectCode.ID_TAKEN)
        await self.start(2, bootstrap, identity=self.stored_identity())

    async def test_bans(self) -> None:
        """A ban of a key is one of its successors, before they were seen and after; a successor's is not the former's.

        The former key is refused for having been replaced.
        """
        bootstrap = await self.start_bootstrap()
        await self.registered(bootstrap)
        file = BindingFile(self.directory / "bindings.sqlite", network=None)
        self.addCleanup(file.close)
        registry = bootstrap.factory.registry
        file.ban(self.former.fingerprint)
        await until(lambda: registry._banned)
        for node_id in (2, 5):
            self.assertEqual(await self.code(bootstrap, self.new, node_id), RejectCode.BANNED)
        file.lift(self.former.fingerprint)
        await until(lambda: not registry._banned)
        node = await self.start(2, bootstrap, identity=self.new)
        file.ban(self.former.fingerprint)
        await until(lambda: "banned" in str(node.status.bootstraps[0].last_error))
        hidden = Identity(self.new.key, self_signed(self.new.key), ephemeral=False)  # shows nothing any more
        for each in (self.new, hidden, self.new.successor()):
            self.assertEqual(await self.code(bootstrap, each), RejectCode.BANNED)
        file.lift(self.former.fingerprint)
        file.ban(self.new.fingerprint)
        await until(lambda: registry._banned == {self.new.fingerprint})
        self.assertEqual(await self.code(bootstrap, self.new), RejectCode.BANNED)
        self.assertEqual(await self.code(bootstrap, self.former), RejectCode.ID_TAKEN)

    async def test_several_bootstraps(self) -> None:
        """Each bootstrap node learns of it from the node itself, with a common store or without."""
        shared = new_directory(self) / "shared.sqlite"
        one, two = [
            await self.bootstrap(node_id, store=SQLiteStore(shared), identity=self.stored_identity())
            for node_id in (1, 9)
        ]
        three = await self.bootstrap(10, identity=self.stored_identity())
        old = await self.start(2, one, two, three, identity=self.former)
        await until(lambda: all(each.factory.registry.bound_to(2) for each in (one, two, three)))
        await old.shutdown()
        await self.start(2, one, two, three, identity=self.new)
        for each in (one, two, three):
            await until(lambda: each.factory.registry.bound_to(2).fingerprint == self.new.fingerprint)  # noqa: B023
            self.assertEqual(await self.code(each, self.former), RejectCode.ID_TAKEN)

    async def test_allowlist(self) -> None:
        """A list of who may link names keys, and a new key does not stand on it by itself."""
        path = new_directory(self) / "list"
        path.write_text(f"2 {fingerprint_text(self.former.fingerprint)}\n")
        bootstrap = await self.start_bootstrap(admission="allowlist", allowlist=path)
        await self.registered(bootstrap)
        self.assertEqual(await self.code(bootstrap, self.new), RejectCode.NOT_ALLOWED)
        path.write_text(f"2 {fingerprint_text(self.new.fingerprint)} # since\n")
        self.assertTrue((await self.start(2, bootstrap, identity=self.new)).status.joined)


class ForgeryTests(RotationTestCase):
    """Successions that were not signed as they should be."""

    def wrong(self) -> dict[str, tuple[Identity, str]]:
        """Return what is shown, and what is said of it, by what is wrong with it."""
        former, middle, new, other = self.former, *(self.stored_identity() for _ in range(3))
        honest = link(former, new)
        return {
            "the former key's is forged": (showing(new, link(former, new, by=other)), "former key has not signed"),
            "the new key's is forged": (showing(new, link(former, new, next_by=other)), "new key has not signed"),
            "only the former key's": (
                showing(new, Former(former.public_key, honest.signature, b"")),
                "new key has not signed",
            ),
            "only the new key's": (
                showing(new, Former(former.public_key, b"", honest.next_signature)),
                "former key has not signed",
            ),
            "signatures swapped": (
                showing(new, Former(former.public_key, honest.next_signature, honest.signature)),
                "former key has not signed",
            ),
            "replayed by another key": (showing(other, honest), "former key has not signed"),
            "the wrong way round": (showing(former, link(former, new)), "a key comes twice"),
            "in the wrong order": (
                showing(new, link(middle, new), link(former, middle)),
                "former key has not signed",
            ),
            "a link is missing": (showing(new, link(former, middle)), "former key has not signed"),
            "a loop": (showing(former, link(former, new), link(new, former)), "a key comes twice"),
            "no key": (showing(new, Former(b"x", honest.signature, honest.next_signature)), "has not signed"),
            "too many": (showing(new, *[honest] * 9), "malformed succession"),
            "none": (showing(new), "malformed succession"),
            "too long": (showing(new, content=bytes(MAX_SIZE + 1)), "more than 4096 bytes"),
            "no octet string": (showing(new, content=b"\x05\x00"), "malformed succession"),
            "empty": (showing(new, content=b""), "malformed succession"),
            "of another kind": (showing(new, content=b"\x04\x02\x91\x07"), "malformed succession"),
        }

    async def test_dialer(self) -> None:
        """A dialer that shows one is told of a violation, by bootstrap nodes and all others, and has nothing by it."""
        bootstrap = await self.start_bootstrap()
        await self.registered(bootstrap)
        node = await self.start(5, bootstrap)
        for what, (identity, text) in self.wrong().items():
            for where in (bootstrap, node):
                where.factory._strangers._violations = _NoMemory()
                stranger = await self.stranger(where, 2, identity=identity)
                stranger.say(stranger.hello(ephemeral=False))
                reject = await stranger.refused()
                self.assertEqual((what, reject.code), (what, RejectCode.PROTOCOL_VIOLATION))
                self.assertIn(text, reject.text, what)
        self.assertEqual(self.held(), {2: self.former.fingerprint})
        self.assertTrue(self.logged("warn", node=5, containing="has not signed"))

    async def test_listener(self) -> None:
        """A listener that shows one is told of a violation, and where its former key was meant, nothing at all."""
        for what, (identity, text) in self.wrong().items():
            heard: list[Any] = []

            async def answer(stranger: Stranger, heard: list[Any] = heard) -> None:
                await until(lambda: stranger.closed or stranger.heard)
                if not stranger.closed:
                    await stranger.next(Hello)
                    stranger.say(stranger.welcome(ephemeral=False))
                    heard.append(await stranger.refused())
                else:
                    heard.append(stranger.heard)

            run: Callable[[Stranger], Any] = lambda stranger: Deferred.fromCoroutine(answer(stranger))  # noqa: E731
            port = await self.impostor(run, 2, identity=identity)
            node = await self.start(5, settings=settings(retry_count=0))
            error = await self.expect(Exception, self._failed(node.send_data((2, HOST, port), "x")))
            self.assertIn(text, str(error), what)
            await until(lambda: heard)  # noqa: B023
            self.assertEqual(heard[0].code, RejectCode.PROTOCOL_VIOLATION)
            await node.shutdown()

    async def test_ephemeral(self) -> None:
        """A key that says that it dies with its process is in nobody's place."""
        bootstrap = await self.start_bootstrap()
        await self.registered(bootstrap)
        self.assertEqual(await self.code(bootstrap, self.new, ephemeral=True), RejectCode.PROTOCOL_VIOLATION)

    async def test_foreign_id(self) -> None:
        """A succession gives the ids of its own former keys, and no other."""
        bootstrap = await self.start_bootstrap()
        await self.registered(bootstrap)
        await (await self.start(3, bootstrap, identity=self.stored_identity())).shutdown()
        self.assertEqual(await self.code(bootstrap, self.new, 3), RejectCode.ID_TAKEN)

    async def _failed(self, sent: Deferred[None]) -> None:
        try:
            await sent
        except Exception as error:
            raise Exception(str(error)) from None


class PeerTests(RotationTestCase):
    """Peers that know the former key."""

    def setUp(self) -> None:
        super().setUp()
        self.home = new_directory(self) / "node"

    def known(self) -> dict[int | str, bytes]:
        """Return what the node has written down, when it has stopped."""
        return read_known_peers(self.home / "known_peers").get("default", {})

    async def met(self, bootstrap: Any, **options: Any) -> Any:
        """Return a node that is linked to the one with the former key, and remembers it."""
        node = await self.start(5, bootstrap, data_dir=self.home, **options)
        self.left = await self.start(2, bootstrap, identity=self.former)
        await until(lambda: node.peer_ids == {2})
        return node

    async def test_comes_back(self) -> None:
        """A node that comes back with a new key is linked, gets what waited for it, and is remembered by that key."""
        bootstrap = await self.start_bootstrap()
        node = await self.met(bootstrap, settings=settings(retry_count=100))
        await self.left.kill()
        await until(lambda: node.peer_ids == set())
        sent = node.send_data(2, "waits")
        back = await self.start(2, bootstrap, identity=self.new)
        await sent
        self.assertEqual(back.data, ["waits"])
        await node.send_data(back.info, "x")
        self.assertEqual(self.logged("warn", node=5, containing="is refused"), [])
        await node.shutdown()
        self.assertEqual(self.known()[2], self.new.fingerprint)

    async def test_while_away(self) -> None:
        """A node that was away when a key was replaced believes the new one when it meets it, told of it or not."""
        bootstrap = await self.start_bootstrap()
        node = await self.met(bootstrap)
        await node.shutdown()
        await self.left.shutdown()
        back = await self.start(2, bootstrap, identity=self.new)
        node = await self.start(5, bootstrap, data_dir=self.home)
        await until(lambda: node.peer_ids == {2})
        self.assertEqual(self.logged("warn", node=5, containing="is refused"), [])
        await node.shutdown()
        await back.shutdown()
        self.assertEqual(self.known()[2], self.new.fingerprint)

    async def test_not_replaced(self) -> None:
        """A node that is told of a key which has not replaced the known one dials it once, and never again."""
        bootstrap = await self.start_bootstrap()
        node = await self.met(bootstrap)
        await node.shutdown()
        await self.left.shutdown()
        file = BindingFile(self.directory / "bindings.sqlite", network=None)
        file.end(2, now=5)
        file.close()
        await until(lambda: bootstrap.factory.registry.bound_to(2) is None)
        other = await self.start(2, bootstrap, identity=self.stored_identity())
        node = await self.start(5, bootstrap, data_dir=self.home)
        await until(lambda: self.logged("debug", node=2, containing="ended"))
        renewed: list[Any] = []
        bootstrap.factory.registry.register = _counted(bootstrap.factory.registry.register, renewed)
        await until(lambda: len(renewed) > 8)
        self.assertEqual((len(self.logged("debug", node=2, containing="ended")), other.hooks), (1, []))
        self.assertEqual(len(self.logged("warn", node=5, containing="peer 2 is refused: it is known by")), 1)
        self.assertEqual(node.status.wanted, ())

    async def test_same_address(self) -> None:
        """Who dials an address and expects the former key there takes its successor, and nobody else."""
        bootstrap = await self.start_bootstrap()
        node = await self.met(bootstrap)
        await bootstrap.shutdown()
        port = self.left.port
        await self.left.kill()
        other = await self.start(2, identity=self.stored_identity(), port=port)
        await self.expect(PeerIdentityMismatch, node.send_data((2, HOST, port), "x"))
        await other.shutdown()
        back = await self.start(2, identity=self.new, port=port)
        await until(lambda: node.peer_ids == {2})
        await node.send_data(2, "x")
        self.assertEqual(back.data, ["x"])

    async def test_former_key_comes(self) -> None:
        """Who has seen the new key refuses the former one, as dialer and as listener, also after a restart."""
        bootstrap = await self.start_bootstrap()
        node = await self.met(bootstrap)
        ticket = self.left.factory.local.ticket
        await self.left.shutdown()
        back = await self.start(2, bootstrap, identity=self.new)
        await until(lambda: node.peer_ids == {2})
        self.assertEqual(await self.code(node, self.former, ticket=ticket), RejectCode.ID_TAKEN)
        await back.shutdown()
        await until(lambda: node.peer_ids == set())
        self.assertEqual(await self.code(node, self.former, ticket=ticket), RejectCode.ID_TAKEN)
        await node.shutdown()
        node = await self.start(5, data_dir=self.home, settings=settings(retry_count=0))
        self.assertEqual(await self.code(node, self.former, ticket=ticket), RejectCode.ID_TAKEN)
        left = await self.start(2, identity=self.former)
        await self.expect(PeerIdentityMismatch, node.send_data(left.info, "x"))

    async def test_provisional_holder(self) -> None:
        """A node that remembers nothing gives the id of a linked former key to the new one at once."""
        node = await self.start(5)
        former = await self.linked_stranger(node, 2, identity=self.former, said={"ephemeral": False})
        new = await self.stranger(node, 2, identity=self.new)
        await new.link(ephemeral=False)
        self.assertEqual((await former.refused()).code, RejectCode.ID_TAKEN)
        await until(lambda: node.peer_ids == {2} and node.link(2).fingerprint == self.new.fingerprint)
        self.assertEqual(await self.code(node, self.former), RejectCode.ID_TAKEN)

    async def test_second_successor_is_dialed(self) -> None:
        """Who expects a former key, and knows its successor, does not take another successor at its address."""
        bootstrap = await self.start_bootstrap()
        node = await self.start(5, bootstrap)
        self.left = await self.start(2, bootstrap, identity=self.former)
        await until(lambda: node.peer_ids == {2})
        await self.left.kill()
        stranger = await self.linked_stranger(node, 2, identity=self.new, said={"ephemeral": False, "addresses": ()})
        thief = await self.start(2, identity=self.former.successor(), port=self.left.port)
        endpoint = client_endpoint(reactor, Address(HOST, thief.port))
        for expected in (self.former.fingerprint, self.new.fingerprint):
            dialed = node.factory.connect(endpoint, expected_fingerprint=expected)
            await self.expect(PeerIdentityMismatch, dialed)
        self.assertFalse(stranger.closed)

    async def test_own_former_key(self) -> None:
        """A node does not link to who has its own former key, whatever id that claims."""
        node = await self.start(2, identity=self.new)
        self.assertEqual(await self.code(node, self.former, 9), RejectCode.ID_TAKEN)

    async def test_bootstrap_rotates(self) -> None:
        """Nodes that know a bootstrap node follow it to its new key; what the former key signs is worth nothing."""
        bootstrap = await self.start_bootstrap()
        port = bootstrap.port
        node = await self.start(5, bootstrap, data_dir=self.home)
        await node.shutdown()
        staying = await self.start(6, bootstrap)
        await bootstrap.shutdown()
        former, new = Identity.replace(self.directory / "identity.pem")
        self.assertEqual((former.fingerprint, new.formers), (self.key.fingerprint, (self.key.fingerprint,)))
        again = await self.start_bootstrap(port=port)
        self.assertEqual(again.factory.identity.fingerprint, new.fingerprint)
        node = await self.start(5, again, data_dir=self.home)
        await until(lambda: node.status.joined and staying.status.joined and node.peer_ids == {6})
        holder = self.stored_identity()
        for signer, counts in ((former, False), (new, True)):
            record = Record(7, holder.fingerprint, (), 1, False, self.ticket(holder, signer=signer))
            for each in (again, node, staying):
                self.assertEqual(each.factory.claims.judge(record).ticket is not None, counts)
        await node.shutdown()
        self.assertEqual({self.known()[1], self.known()[f"{HOST}:{port}"]}, {new.fingerprint})

    async def test_shared_store(self) -> None:
        """When one of two bootstrap nodes with one file has replaced its key, the other vouches for the new one."""
        shared = new_directory(self) / "shared.sqlite"
        one, two = [
            await self.bootstrap(node_id, store=SQLiteStore(shared), identity=identity)
            for node_id, identity in ((1, self.former), (9, self.key))
        ]
        await one.shutdown()
        await self.bootstrap(1, store=SQLiteStore(shared), identity=self.new)
        await until(lambda: two.factory._vouched() == (self.new.public_key,))

    async def test_registered_by_hand(self) -> None:
        """What is shown in TLS is enough: no message of the wire is different."""
        bootstrap = await self.start_bootstrap()
        await self.registered(bootstrap)
        stranger = await self.stranger(bootstrap, 2, identity=self.new)
        await stranger.link(ephemeral=False)
        stranger.say(register())
        ticket = (await stranger.next(Registered)).ticket
        assert ticket is not None
        self.assertEqual(ticket.fingerprint, self.new.fingerprint)
        self.assertEqual(len(decode_succession(bootstrap.link(2).succession.content)), 1)


def _counted(function: Callable[..., Any], calls: list[Any]) -> Callable[..., Any]:
    """Return a function that also notes its calls."""

    def noting(*arguments: Any) -> Any:
        calls.append(arguments)
        return function(*arguments)

    return noting


class _NoMemory:
    """Stands for a memory of violations, so that one stranger after the other may commit one."""

    def note(self, offender: Any, now: float) -> bool:
        return False

    def is_refused(self, offender: Any, now: float) -> bool:
        return False
