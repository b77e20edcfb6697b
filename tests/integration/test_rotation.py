"""Keys that take the place of others, over real TLS and real restarts: who keeps what, and who gets nothing by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from netlayer import Identity
from netlayer.sansio.trust.succession import Succession
from netlayer.storage.bindings.file import BindingFile
from netlayer.storage.bindings.sqlite import SQLiteStore
from netlayer.storage.certificate import self_signed
from netlayer.storage.identity import fingerprint_text
from netlayer.wire.messages import Hello, RejectCode, Welcome
from netlayer.wire.succession import MAX_SIZE, Former, encode_succession, statement
from tests.directories import new_directory
from tests.integration.network import HOST, settings, until
from tests.integration.stranger import Stranger
from tests.integration.test_ids import IdsTestCase, SlowStore


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
        self.assertEqual(bootstrap.driver(2).fingerprint, self.new.fingerprint)

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


class _NoMemory:
    """Stands for a memory of violations, so that one stranger after the other may commit one."""

    def note(self, offender: Any, now: float) -> bool:
        return False

    def refused_for(self, offender: Any, now: float) -> float:
        return 0.0
