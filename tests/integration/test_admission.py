"""Who gets in and who does not, over real TLS: each case ends in its code or error at both ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from netlayer import Identity, Node, PeerFactory
from netlayer.errors import ConfigurationError, JoinRefused, PeerIdentityMismatch, Rejected
from netlayer.sansio.link.proof import Channel
from netlayer.storage.admission import Admission
from netlayer.storage.identity import fingerprint_text
from netlayer.wire.messages import Hello, Reject, RejectCode, Welcome
from tests.directories import new_directory
from tests.integration.network import HOST, BootstrapMember, NetworkTestCase, reactor, settings, until
from tests.integration.stranger import Stranger

SECRET, OTHER = "the secret of this network", "the secret of another one"


class SecretTests(NetworkTestCase):
    """Nodes that ask for a secret."""

    async def secret_bootstrap(self, *secrets: str, **options: Any) -> Any:
        return await self.bootstrap(network_secret=secrets or SECRET, **options)

    async def refusal(self, bootstrap: Any, **options: Any) -> JoinRefused:
        """Return the error with which a node does not join, having seen that the bootstrap node tells the same."""
        refused = await self.expect(JoinRefused, self.make(5, bootstrap, **options).start_node())
        if isinstance(bootstrap, BootstrapMember):
            await until(lambda: self.logged("info", node=1, containing=f" rejected: {refused.code}"))
            self.assertEqual((bootstrap.get_peers(), bootstrap.hooks), ([], []))
        return refused

    async def test_joined(self) -> None:
        """Nodes that know the secret find each other, exchange packets, and are told nothing of it."""
        bootstrap = await self.secret_bootstrap()
        a, b = [await self.start(n, bootstrap, network_secret=SECRET.encode()) for n in (2, 3)]
        await until(lambda: a.peer_ids == {3} and b.peer_ids == {2})
        await a.send_data(3, "hello")
        self.assertEqual(b.data, ["hello"])
        told = repr([self.events, a.status, a.factory.local, a.factory.admission])
        self.assertNotIn(SECRET, told)

    async def test_wrong_secret(self) -> None:
        """Another secret is refused, in the same words at both ends; nobody is linked or listed."""
        bootstrap = await self.secret_bootstrap()
        refused = await self.refusal(bootstrap, network_secret=OTHER)
        self.assertEqual(refused.code, RejectCode.BAD_SECRET)

    async def test_retired_secret(self) -> None:
        """A secret that was replaced everywhere else is a wrong one."""
        bootstrap = await self.secret_bootstrap(OTHER)
        refused = await self.refusal(bootstrap, network_secret=SECRET)
        self.assertEqual(refused.code, RejectCode.BAD_SECRET)
        node = await self.start(5, bootstrap, network_secret=[OTHER, SECRET])
        self.assertTrue(node.status.joined)

    async def test_missing_secret(self) -> None:
        """A node without a secret is told that there is one."""
        bootstrap = await self.secret_bootstrap()
        refused = await self.refusal(bootstrap)
        self.assertEqual((refused.code, refused.text), (RejectCode.BAD_SECRET, "this network asks for a secret"))

    async def test_listener_without_secret(self) -> None:
        """A node that knows a secret links to nobody who does not, and both ends are told."""
        bootstrap = await self.bootstrap()
        refused = await self.refusal(bootstrap, network_secret=SECRET)
        self.assertEqual(refused.code, RejectCode.BAD_SECRET)
        self.assertIn("the listener has not proven", refused.text)
        self.assertTrue(self.logged("info", node=1, containing="has refused this node: rejected: bad-secret"))

    async def test_rotation(self) -> None:
        """A secret is replaced while the network runs: all accept the new one, then prove it, then drop the old."""
        bootstrap = await self.secret_bootstrap(SECRET, OTHER)
        for node_id, secrets in ((2, [SECRET]), (3, [SECRET, OTHER]), (4, [OTHER, SECRET]), (5, [OTHER])):
            node = await self.start(node_id, bootstrap, network_secret=secrets)
            self.assertTrue(node.status.joined)
        await until(lambda: len(bootstrap.get_peers()) == 4)

    async def test_other_network(self) -> None:
        """The same secret is good in its own network only."""
        bootstrap = await self.secret_bootstrap()
        refused = await self.refusal(bootstrap, network_secret=SECRET, network="another")
        self.assertEqual(refused.code, RejectCode.NETWORK)

    async def test_strangers_learn_nothing(self) -> None:
        """Whoever proves nothing hears a REJECT and nothing else: no id, no address, no agent, no other peer."""
        bootstrap = await self.secret_bootstrap()
        for changes in ({}, {"proof": bytes(32)}, {"proof": b"short"}, {"role": "bootstrap"}, {"node_id": 1}):
            stranger = await self.stranger(bootstrap)
            stranger.say(stranger.hello(**changes))
            await until(lambda stranger=stranger: stranger.closed)
            (reject,) = stranger.heard
            assert isinstance(reject, Reject)
            self.assertIn(reject.code, (RejectCode.BAD_SECRET, RejectCode.ID_TAKEN))
        self.assertEqual(reject.code, RejectCode.BAD_SECRET, "whether an id is taken is no stranger's business")

    async def test_replayed(self) -> None:
        """A proof that was overheard is good for nothing on another connection, nor by another key."""
        bootstrap = await self.secret_bootstrap()
        honest = await self.stranger(bootstrap)
        secrets = Admission.from_options("default", secret=SECRET).secrets
        channel = self.channel(honest)
        hello = honest.hello(proof=channel.dialer_proof(secrets[0], dialer_id=99))
        honest.say(hello)
        await honest.next(Welcome)
        for identity in (honest.identity, None):
            again = await self.stranger(bootstrap, identity=identity)
            again.say(hello)
            self.assertEqual((await again.refused()).code, RejectCode.BAD_SECRET)
        self.assertEqual(len(self.logged("info", node=1, containing="was rejected: bad-secret")), 2)

    async def test_relay(self) -> None:
        """Who sits between two nodes and passes their bytes on inside its own TLS convinces neither."""
        bootstrap = await self.secret_bootstrap()
        relay = await self.relay(bootstrap)
        refused = await self.expect(
            JoinRefused,
            self.make(5, (HOST, relay), network_secret=SECRET, settings=settings(retry_count=0)).start_node(),
        )
        self.assertEqual(refused.code, RejectCode.BAD_SECRET)
        self.assertTrue(self.logged("info", node=1, containing="was rejected: bad-secret"))
        self.assertEqual((bootstrap.get_peers(), bootstrap.hooks), ([], []))

    async def test_relay_with_pin(self) -> None:
        """Who dials a certain key finds the relay out by its key; without a secret, too, and before a HELLO is said."""
        for secret in (SECRET, None):
            bootstrap = await self.bootstrap(network_secret=secret)
            relay = await self.relay(bootstrap)
            dialer = PeerFactory(reactor, node_id=5, admission=Admission.from_options("default", secret=secret))
            self.addCleanup(dialer.stop)
            pinned = bootstrap.factory.identity.fingerprint
            attempt = dialer.connect(TCP4ClientEndpoint(reactor, HOST, relay), expected_fingerprints=[pinned])
            error = await self.expect(PeerIdentityMismatch, attempt)
            self.assertEqual(error.expected, fingerprint_text(pinned))
            (told,) = await until(lambda: self.logged("debug", node=1, containing="ended: "))
            self.assertIn("ended: the connection was closed", told)
            self.assertEqual((bootstrap.get_peers(), bootstrap.hooks), ([], []))
            self.events.clear()

    async def test_impostor_welcomes(self) -> None:
        """An impostor that welcomes everybody, with no proof, a made-up one or the dialer's own, is told that."""
        proofs: list[Callable[[Hello], bytes]] = [lambda _: b"", lambda _: bytes(32), lambda hello: hello.proof]
        for proof in proofs:
            heard: list[Reject] = []

            async def answer(stranger: Stranger, proof: Any = proof, heard: list[Reject] = heard) -> None:
                hello = await stranger.next(Hello)
                stranger.say(stranger.welcome(role="bootstrap", proof=proof(hello)))
                heard.append(await stranger.refused())

            port = await self.impostor(lambda stranger, answer=answer: Deferred.fromCoroutine(answer(stranger)))
            refused = await self.refusal((HOST, port), network_secret=SECRET)
            self.assertIn("the listener has not proven", refused.text)
            (reject, *_) = await until(lambda heard=heard: heard)
            self.assertEqual((reject.code, refused.code), (RejectCode.BAD_SECRET, RejectCode.BAD_SECRET))

    async def test_one_link_sends(self) -> None:
        """Peers that are named by address are asked for the secret, too."""
        a = await self.start(2, network_secret=SECRET, settings=settings(retry_count=0))
        b = await self.start(3, network_secret=OTHER)
        with self.assertRaises(Exception) as caught:
            await a.send_data(b.info, "x")
        self.assertIn("bad-secret", str(caught.exception))
        self.assertEqual((a.hooks, b.hooks), ([], []))

    def channel(self, stranger: Stranger) -> Any:
        """Return what proofs on a stranger's connection are about, as it sees it."""
        binding = stranger.transport.getHandle().export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
        return Channel(binding, stranger.identity.fingerprint, stranger.other, "default")

    async def relay(self, target: Any) -> int:
        """Have somebody listen who passes everything on to `target`, inside TLS of its own; return the port."""
        identity = Identity.generate()
        far = Stranger(0, identity=identity)

        class Half(Protocol):
            other: Any = None

            def connectionMade(self) -> None:
                self.waiting: list[bytes] = []

            def join(self, other: Any) -> None:
                self.other = other
                for data in self.waiting:
                    other.transport.write(data)

            def dataReceived(self, data: bytes) -> None:
                if self.other is None:
                    self.waiting.append(data)
                else:
                    self.other.transport.write(data)

            def connectionLost(self, reason: Failure = connectionDone) -> None:
                if self.other is not None:
                    self.other.transport.loseConnection()

        class Near(Half):
            def connectionMade(self) -> None:
                super().connectionMade()
                half = Half()
                endpoint = TCP4ClientEndpoint(reactor, HOST, target.port)
                dialed = endpoint.connect(far.tls.secured(Factory.forProtocol(lambda: half), dials=True))
                dialed.addCallback(lambda _: (half.join(self), self.join(half)))

        relaying = far.tls.secured(Factory.forProtocol(Near), dials=False)
        port = await TCP4ServerEndpoint(reactor, 0, interface=HOST).listen(relaying)
        self.addCleanup(lambda: port.stopListening())
        return int(port.getHost().port)


class AllowListTests(NetworkTestCase):
    """Nodes that admit those on a list."""

    def write_list(self, *nodes: tuple[int, Identity]) -> str:
        path = new_directory(self) / "allowlist"
        path.write_text("".join(f"{node_id} {fingerprint_text(each.fingerprint)}\n" for node_id, each in nodes))
        return str(path)

    async def test_listed(self) -> None:
        """Who stands on the list links; another key, another id, and nobody's are refused with their code."""
        keys = {node_id: Identity.generate() for node_id in (1, 2, 3)}
        allowed = self.write_list(*keys.items())
        bootstrap = await self.bootstrap(allowlist=allowed, identity=keys[1])
        a, b = [await self.start(n, bootstrap, allowlist=allowed, identity=keys[n]) for n in (2, 3)]
        await until(lambda: a.peer_ids == {3} and b.peer_ids == {2})
        for node_id, identity in ((4, Identity.generate()), (2, Identity.generate()), (4, keys[2])):
            node = self.make(node_id, bootstrap, identity=identity)
            refused = await self.expect(JoinRefused, node.start_node())
            self.assertEqual(refused.code, RejectCode.NOT_ALLOWED)
            await until(lambda: self.logged("info", node=1, containing="was rejected: not-allowed"))
            self.events.clear()

    async def test_secret_too(self) -> None:
        """With a secret and a list, both are asked for: who lacks the one hears of that, and who has both is in."""
        keys = {node_id: Identity.generate() for node_id in (1, 2)}
        allowed = self.write_list(*keys.items())
        bootstrap = await self.bootstrap(allowlist=allowed, network_secret=SECRET, identity=keys[1])
        for identity, secret, code in (
            (keys[2], OTHER, RejectCode.BAD_SECRET),
            (keys[2], None, RejectCode.BAD_SECRET),
            (Identity.generate(), SECRET, RejectCode.NOT_ALLOWED),
        ):
            refused = await self.expect(
                JoinRefused, self.make(2, bootstrap, identity=identity, network_secret=secret).start_node()
            )
            self.assertEqual(refused.code, code)
            await until(lambda code=code: self.logged("info", node=1, containing=f"was rejected: {code}"))
            self.events.clear()
        node = await self.start(2, bootstrap, identity=keys[2], network_secret=SECRET, allowlist=allowed)
        self.assertTrue(node.status.joined)

    async def test_dialer_asks_too(self) -> None:
        """A node links to no bootstrap node that does not stand on its list."""
        identity = Identity.generate()
        bootstrap = await self.bootstrap()
        node = self.make(2, bootstrap, identity=identity, allowlist=self.write_list((2, identity)))
        refused = await self.expect(JoinRefused, node.start_node())
        self.assertEqual(refused.code, RejectCode.NOT_ALLOWED)
        await until(lambda: self.logged("info", node=1, containing="has refused this node: rejected: not-allowed"))
        self.assertEqual(bootstrap.get_peers(), [])

    async def test_damaged_list(self) -> None:
        """A list that is damaged or gone while the node runs admits nobody, and that is an ERROR in the log."""
        identity = Identity.generate()
        allowed = self.write_list((2, identity))
        bootstrap = await self.bootstrap(allowlist=allowed)
        for damage, words in (
            (lambda: Path(allowed).write_text("2 sha256:cut\n"), "line 1"),
            (lambda: Path(allowed).unlink(), "No such file"),
        ):
            damage()
            refused = await self.expect(JoinRefused, self.make(2, bootstrap, identity=identity).start_node())
            self.assertEqual(refused.code, RejectCode.NOT_ALLOWED)
            self.assertTrue(self.logged("error", node=1, containing=words))
            await until(lambda: self.logged("info", node=1, containing="was rejected: not-allowed"))
            self.events.clear()


class BeyondLoopbackTests(NetworkTestCase):
    """Where a node may listen."""

    async def test_needs_a_rule(self) -> None:
        """Only nodes with a secret or a list may listen on all interfaces; others are told what to do."""
        with self.assertRaises(ConfigurationError) as caught:
            Node(7, "0.0.0.0", 0, reactor=reactor)
        self.assertIn("netlayer secret", str(caught.exception))
        node = Node(7, "0.0.0.0", 0, reactor=reactor, network_secret=SECRET)
        await node.start_node()
        self.addCleanup(node.shutdown)
        self.assertEqual(node.status.advertised, (f"127.0.0.1:{node.port}",))

    async def test_rejected_locally(self) -> None:
        """A dial that is refused for the secret is a Rejected with its code, whichever end refuses."""
        listener = PeerFactory(reactor, node_id=1, admission=Admission.from_options("default", secret=SECRET))
        dialer = PeerFactory(reactor, node_id=2)
        port = await listener.listen(TCP4ServerEndpoint(reactor, 0, interface=HOST))
        for cleanup in (listener.stop, dialer.stop, lambda: port.stopListening()):
            self.addCleanup(cleanup)
        attempt = dialer.connect(TCP4ClientEndpoint(reactor, HOST, port.getHost().port))
        self.assertEqual((await self.expect(Rejected, attempt)).code, RejectCode.BAD_SECRET)
