"""Peers and bootstrap nodes that know a former key take the one in its place, over real TLS and real restarts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netlayer import Identity
from netlayer.addresses import Address
from netlayer.errors import PeerIdentityMismatch
from netlayer.net.wanted import client_endpoint
from netlayer.storage.bindings.file import BindingFile
from netlayer.storage.bindings.sqlite import SQLiteStore
from netlayer.storage.known_peers import Entries, read_known_peers
from netlayer.wire.messages import Record, Registered, RejectCode
from netlayer.wire.succession import decode_succession
from tests.directories import new_directory
from tests.integration.network import HOST, reactor, settings, until
from tests.integration.test_ids import register
from tests.integration.test_rotation import RotationTestCase


class PeerTests(RotationTestCase):
    """Peers that know the former key."""

    def setUp(self) -> None:
        super().setUp()
        self.home = new_directory(self) / "node"

    def known(self) -> Entries:
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
        await until(lambda: node.peer_ids == {2} and node.driver(2).fingerprint == self.new.fingerprint)
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
            dialed = node.factory.connect(endpoint, expected_fingerprints=[expected])
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
        self.assertEqual(len(decode_succession(bootstrap.driver(2).succession.content)), 1)


def _counted(function: Callable[..., Any], calls: list[Any]) -> Callable[..., Any]:
    """Return a function that also notes its calls."""

    def noting(*arguments: Any) -> Any:
        calls.append(arguments)
        return function(*arguments)

    return noting
