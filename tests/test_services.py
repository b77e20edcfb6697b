"""Nodes as services of a Twisted application: parents, privileges, races between start and stop."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.internet.defer import CancelledError, fail
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from netlayer import BootstrapService, Node, PeerProtocol, PeerService
from netlayer.errors import AlreadyStarted, ConfigurationError, ListenError, NodeStopped
from netlayer.storage.bindings.memory import MemoryStore
from netlayer.testing import SimulatedInternet
from tests.directories import new_directory
from tests.integration.network import HOST, NetworkTestCase, reactor, settings, turns, until


class ServiceTests(NetworkTestCase):
    def service(self, node_id: int, *, kind: type[PeerService] = PeerService, port: int = 0, **options: Any) -> Any:
        options.setdefault("settings", settings())
        service = kind(reactor, node_id=node_id, listen=f"tcp:{port}:interface={HOST}", **options)
        self.addCleanup(service.stop)
        return service

    async def test_application(self) -> None:
        """A bootstrap node and two nodes in one application find each other, and stop with it."""
        application = MultiService()
        bootstrap = self.service(1, kind=BootstrapService)
        bootstrap.setServiceParent(application)
        application.privilegedStartService()
        address = bootstrap.listening
        nodes = [self.service(2 + n, bootstraps=[f"tcp:{HOST}:{address.port}"]) for n in (0, 1)]
        application.startService()
        for node in nodes:
            self.assertTrue(verifyObject(IService, node))
            node.setServiceParent(application)
        await until(lambda: all(len(node.get_peers()) == 1 for node in nodes))
        await nodes[0].send(3, b"x")
        self.assertEqual({peer.node_id for peer in bootstrap.get_peers()}, {2, 3})
        await application.stopService()
        self.assertEqual({service.status.state for service in (bootstrap, *nodes)}, {"stopped"})
        self.assertEqual(self.logged("warn") + self.logged("error"), [])

    async def test_empty_allowlist(self) -> None:
        """Whoever starts a node with an allowlist of nobody is warned."""
        path = new_directory(self) / "allowlist"
        path.write_text("# nobody yet\n")
        await self.service(2, allowlist=path).start()
        nobody = "node 2: the allowlist names nobody: no node can link until it does"
        waits = "node 2: this node waits to be dialed: it has no bootstrap node and no peer to dial"
        self.assertEqual(self.logged("warn"), [nobody, waits])

    async def test_privileged(self) -> None:
        """The port is bound by privilegedStartService, once, and serves after startService."""
        service = self.service(1)
        service.privilegedStartService()
        bound = service.listening
        self.assertEqual((service.status.state, service.status.listening), ("bound", str(bound)))
        service.startService()
        await until(lambda: service.status.state == "running")
        self.assertEqual(service.listening, bound)
        await service.stopService()

    async def test_bound_and_never_started(self) -> None:
        """A service that was only bound lets go of its port when it is stopped."""
        service = self.service(1)
        service.privilegedStartService()
        port = service.listening.port
        await service.stopService()
        again = self.service(1, port=port)
        await again.start()

    async def test_port_taken(self) -> None:
        """A taken port raises where the port is bound; a service that is started is stopped by it, and says so."""
        one = self.service(1)
        await one.start()
        two = self.service(2, port=one.listening.port)
        self.assertRaises(ListenError, two.privilegedStartService)
        two.startService()
        await until(lambda: two.status.state == "stopped")
        (error,) = self.logged("error", node=2)
        self.assertIn("could not start: cannot listen on", error)

    async def test_start_twice(self) -> None:
        """A service is started once."""
        service = self.service(1)
        await service.start()
        await self.expect(AlreadyStarted, service.start())
        await service.stop()
        await self.expect(NodeStopped, service.start())

    async def test_started_after_its_end(self) -> None:
        """A service that was stopped does not start again, and says so."""
        service = self.service(1)
        service.startService()
        await service.stopService()
        service.startService()
        (error,) = self.logged("error", node=1)
        self.assertIn("could not start: a service that was stopped stays so; make a new one", error)
        self.assertIsInstance(service.start_error, NodeStopped)

    async def test_failing_store(self) -> None:
        """A store of the application's that fails to start, or to stop, leaves no service half alive."""

        class Failing(MemoryStore):
            def start(self, *args: Any, **options: Any) -> Any:
                return fail(OSError("no database")) if fails == "start" else super().start(*args, **options)

            def stop(self) -> Any:
                return fail(OSError("no database"))

        for fails in ("start", "stop"):
            service = self.service(1, kind=BootstrapService, store=Failing())
            ended = service.when_stopped()
            if fails == "start":
                await self.expect(OSError, service.start())
            else:
                await service.start()
                await service.stop()
            await ended
            self.assertEqual(service.status.state, "stopped")
            self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    async def test_stopped_in_every_turn_of_its_start(self) -> None:
        """However far a start has come, a stop ends it, and leaves no connection, timer or port."""
        silent = await self.listen(Factory.forProtocol(Protocol))
        bootstrap = self.service(1, kind=BootstrapService)
        await bootstrap.start()
        other = self.service(2, bootstraps=[tuple(bootstrap.listening)])
        await other.start()
        for pause in range(25):
            service = self.service(3, bootstraps=[tuple(bootstrap.listening)], peers=[(9, HOST, silent)])
            started = service.start().addBoth(lambda result: result)
            stopped_again = service.when_stopped()
            await turns(pause)
            await service.stop()
            await stopped_again
            await self.expect(NodeStopped, started)
            self.assertEqual((service.status.links, service.status.wanted, service.get_peers()), ((), (), []))
            self.assertEqual(dict(service.factory._connections), {})
        await until(lambda: other.get_peers() == [])
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_stopped_by_its_own_hooks(self) -> None:
        """A protocol's hooks may stop the service; every Deferred of it still ends."""

        class Stops(PeerProtocol):
            with_bootstraps = True

            def peer_ready(self) -> None:
                ended.append(service.stop())

            def peer_lost(self, reason: Any) -> None:
                ended.append(service.stop())

        for node_id, options in ((5, {"bootstraps": True}), (6, {"peers": True})):
            ended: list[Any] = []
            other = self.service(1, kind=BootstrapService)
            await other.start()
            where = {name: [tuple(other.listening)] for name in options}
            service = self.service(node_id, protocol=Stops, **where)
            started = service.start()
            joined = service.when_joined()
            await self.expect(NodeStopped, started)
            await self.expect(NodeStopped, joined)
            await service.when_stopped()
            self.assertGreaterEqual(len(ended), 1)
            for deferred in ended:
                await deferred
            await other.stop()

    async def test_one_of_several_waits_is_cancelled(self) -> None:
        """Who has waited for the join, or the end, may cancel the waits of others then."""
        bootstrap = self.service(1, kind=BootstrapService)
        await bootstrap.start()
        service = self.service(3, bootstraps=[tuple(bootstrap.listening)])
        for verb, begin in ((service.when_joined, service.start), (service.when_stopped, service.stop)):
            first, second, third = verb(), verb(), verb()
            first.addCallback(lambda _, second=second: second.cancel())
            begin()
            await first
            await self.expect(CancelledError, second)
            await third

    async def test_stopped_when_joined(self) -> None:
        """Who waits for when_joined() may stop the service at once: peers it was just told of are not dialed."""
        bootstrap = self.service(1, kind=BootstrapService)
        await bootstrap.start()
        other = self.service(2, bootstraps=[tuple(bootstrap.listening)])
        await other.start()
        service = self.service(3, bootstraps=[tuple(bootstrap.listening)])
        stopped = service.when_joined().addCallback(lambda _: service.stop())
        await self.expect(NodeStopped, service.start())
        await stopped
        self.assertEqual(service.status.wanted, ())
        self.assertEqual(list(service._membership.wanted), [])

    async def test_nonsense(self) -> None:
        """Nonsense raises where the service is made."""
        for options in (
            {"listen": "tcp:0"},
            {"listen": (HOST, 0), "bootstraps": "tcp:127.0.0.1:1"},
            {"listen": (HOST, 0), "bootstraps": [7]},
            {"listen": (HOST, 0), "peers": [(1, 2)]},
            {"listen": (HOST, 0), "peers": [("x", HOST, 1)]},
            {"listen": (HOST, 0), "advertise": (HOST, 0)},
            {"listen": (HOST, 0), "data_dir": "/dev/null/nowhere"},
        ):
            with self.assertRaises(ConfigurationError):
                PeerService(reactor, node_id=1, **options)

    async def test_stored_identity(self) -> None:
        """With a data directory a node keeps its key."""
        directory = os.path.join(tempfile.mkdtemp(), "made")
        self.addCleanup(shutil.rmtree, os.path.dirname(directory))
        fingerprints = set()
        for _ in range(2):
            service = self.service(1, data_dir=directory)
            await service.start()
            fingerprints.add(service.status.fingerprint)
            await service.stop()
        self.assertEqual(len(fingerprints), 1)


class ReactorStopTests(SynchronousTestCase):
    """The process ends while a node is being shut down."""

    def test_goodbye_is_said(self) -> None:
        """A program that shuts its node down and stops the reactor on the next line still takes leave."""
        internet = SimulatedInternet(seed=1)
        one, two = internet.add_hosts(2)
        left: list[str | None] = []
        witness = Node(1, one.address, 8001, reactor=one.reactor, rng=one.rng, identity=one.identity())
        witness.peer_left = lambda peer, reason: left.append(reason.goodbye)
        node = Node(2, two.address, 8001, reactor=two.reactor, rng=two.rng, identity=two.identity())
        internet.run(witness.start_node())
        internet.run(node.start_node())
        internet.run(node.send_data((1, one.address, 8001), "hello"))
        _ = node.shutdown()
        internet.run(two.shutdown())
        self.assertEqual(node.status.state, "stopped")
        internet.advance(1.0)
        self.assertEqual((left, two.leftovers()), (["shutdown"], []))
        internet.shutdown()
        self.assertEqual(internet.leftovers(), [])


class CancelledStartTests(SynchronousTestCase):
    """Somebody waits no longer for the start of a node."""

    def test_while_bootstraps_are_dialed(self) -> None:
        """The node is shut down, as by every other start that fails; it does not stay half started."""
        self.check_shut_down(bootstraps=[("127.1.9.9", 8000)])

    def test_while_peers_are_dialed(self) -> None:
        """It is, too, if the start waits for attempts to link peers."""
        self.check_shut_down(peers=[("127.1.9.9", 8001), (7, "127.1.9.8", 8001)])

    def check_shut_down(self, **options: Any) -> None:
        internet = SimulatedInternet(seed=1)
        host = internet.add_host("one")
        options |= {"rng": host.rng, "identity": host.identity()}
        node = Node(1, host.address, 8001, reactor=host.reactor, **options)
        starting = node.start_node()
        joining = node.when_joined()
        internet.advance(1.0)
        self.assertNoResult(starting)
        starting.cancel()
        internet.advance(1.0)
        self.failureResultOf(starting, CancelledError)
        self.failureResultOf(joining, NodeStopped)
        self.assertEqual((node.status.state, host.leftovers()), ("stopped", []))
