"""The facade: how a node is described, what its verbs return, and its hooks."""

from __future__ import annotations

import contextlib
import io
import math
import os
import threading
from typing import Any, Literal, TypeAlias

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.testing import MemoryReactorClock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from netlayer import BootstrapNode, BroadcastReport, DataPacket, Node, NodeStatus, PeerInfo, Settings
from netlayer.errors import (
    AlreadyStarted,
    ConfigurationError,
    DeliveryError,
    DeliveryTimeout,
    InvalidArgument,
    InvalidPeer,
    LinkLost,
    ListenError,
    NodeStopped,
    NotStarted,
    UnknownPeer,
    UnsupportedData,
)
from netlayer.script import reactor_thread

Blocking: TypeAlias = Literal["blocking"]
Twisted: TypeAlias = Literal["twisted"]


class DescriptionTests(SynchronousTestCase):
    def node(self, *arguments: Any, **options: Any) -> Node[Any]:
        """Describe a node; nothing is started."""
        return Node(*arguments, reactor=MemoryReactorClock(), **options)

    def test_seed(self) -> None:
        """A node is described by its id and address, by position or by name."""
        for node in (
            self.node(2, "localhost", 8001, ("localhost", 8000)),
            self.node(node_id=2, host="localhost", port=8001, bootstrap_address=("localhost", 8000)),
            self.node("2", "localhost", 8001),
        ):
            self.assertEqual((node.node_id, node.host, node.port), (2, "localhost", 8001))
            self.assertEqual(repr(node), "<Node 2 at localhost:8001>")
            self.assertEqual(node.get_peers(), [])
            self.assertEqual(node.status.state, "new")
        self.assertEqual(
            repr(BootstrapNode(1, "127.0.0.1", 8000, reactor=MemoryReactorClock()))[:15], "<BootstrapNode "
        )

    def test_wrong(self) -> None:
        """A description that makes no sense is refused with the value that is wrong; nothing is started."""
        for wrong, arguments, options in (
            ("-1", (-1, "localhost", 8001), {}),
            ("'two'", ("two", "localhost", 8001), {}),
            ("70000", (2, "localhost", 70000), {}),
            ("'8001x'", (2, "localhost", "8001x"), {}),
            ("192.0.2.1", (2, "192.0.2.1", 8001), {}),
            ("0.0.0.0", (2, "0.0.0.0", 8001), {}),
            ("None", (2, None, 8001), {}),
            ("'localhost:8000'", (2, "localhost", 8001, "localhost:8000"), {}),
            ("0", (2, "localhost", 8001, ("localhost", 0)), {}),
            ("'nonsense'", (2, "localhost", 8001), {"bootstraps": ["nonsense"]}),
            ("(3,)", (2, "localhost", 8001), {"peers": [(3,)]}),
            ("a peer is (peer_id, host, port), (host, port) or", (2, "localhost", 8001), {"peers": [(3, "localhost")]}),
            ("'trust me'", (2, "localhost", 8001), {"admission": "trust me"}),
            ("''", (2, "localhost", 8001), {"network": ""}),
            ("/dev/null", (2, "localhost", 8001), {"data_dir": "/dev/null/here"}),
            ("''", (2, "localhost", 8001), {"data_dir": ""}),
            ("5", (2, "localhost", 8001), {"data_dir": 5}),
            ("null", (2, "localhost", 8001), {"data_dir": "a\0b"}),
            ("'select'", (2, "localhost", 8001, ("example.org", 8000)), {"reactor": "select"}),
            ("'dice'", (2, "localhost", 8001), {"rng": "dice"}),
        ):
            with self.assertRaises(ConfigurationError) as caught:
                Node(*arguments, **{"reactor": MemoryReactorClock(), **options})
            self.assertIn(wrong, str(caught.exception))

    def test_unknown_argument(self) -> None:
        """An argument that a node does not take is refused in its own name; a bootstrap node takes one more."""
        for name in ("foo", "listen", "protocol", "store"):
            error = self.assertRaises(TypeError, self.node, 2, "localhost", 8001, **{name: None})
            self.assertEqual(str(error), f"Node() takes no argument {name!r}")
        error = self.assertRaises(TypeError, self.node, 2, "localhost", 8001, max_connections=5)
        advice = "it is a setting, so give settings=Settings(max_connections=...)"
        self.assertEqual(str(error), f"Node() takes no argument 'max_connections': {advice}")
        node = BootstrapNode(1, "localhost", 8000, reactor=MemoryReactorClock(), store=None)  # type: ignore[call-overload]
        self.assertEqual(node.node_id, 1)

    def test_hooks(self) -> None:
        """What can't be called is refused where it is bound as a hook."""
        node = self.node(2, "localhost", 8001)
        for name in ("handle_data", "peer_joined", "peer_left"):
            error = self.assertRaises(ConfigurationError, setattr, node, name, 5)
            self.assertEqual(str(error), f"{name} has to be something that can be called, not 5")
        node.handle_data = print
        self.assertIs(node.handle_data, print)

    def test_one_bootstrap(self) -> None:
        """A single endpoint string will do as a list of bootstraps."""
        one = self.node(2, "localhost", 8001, bootstraps="tcp:127.0.0.1:8000")
        self.assertEqual(repr(one), repr(self.node(2, "localhost", 8001, bootstraps=["tcp:127.0.0.1:8000"])))


class Recorder(Node[Twisted]):
    """Keeps what its hooks are told."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.told: list[Any] = []

    def handle_data(self, packet: DataPacket) -> None:
        """Keep a packet."""
        self.told.append(packet)

    def peer_joined(self, peer: PeerInfo) -> None:
        """Keep a peer."""
        self.told.append(("joined", peer))

    def peer_left(self, peer: PeerInfo, reason: LinkLost) -> None:
        """Keep a peer and why it left."""
        self.told.append(("left", peer, reason.goodbye))


class TwistedTests(TestCase):
    """Nodes that were given a reactor."""

    async def start(self, kind: type[Any], node_id: int, *arguments: Any, **options: Any) -> Any:
        """Start a node, which is shut down at the end."""
        node = kind(node_id, "localhost", 0, *arguments, reactor=reactor, **options)
        self.addCleanup(node.shutdown)
        status = await node.start_node()
        self.assertIsInstance(status, NodeStatus)
        self.assertEqual(status.state, "running")
        return node

    async def test_life(self) -> None:
        """A node starts, tells its port, and ends; whoever waits for its end is told."""
        node = await self.start(Recorder, 2)
        self.assertNotEqual(node.port, 0)
        self.assertEqual(node.status.listening, f"127.0.0.1:{node.port}")
        ended = node.wait()
        self.assertNoResult(ended)
        await node.shutdown()
        self.successResultOf(ended)
        self.assertEqual(node.status.state, "stopped")
        await node.shutdown()

    async def test_verbs(self) -> None:
        """Every verb returns a Deferred, whatever the matter is; nothing is raised at the caller."""
        node = Recorder(2, "localhost", 0, reactor=reactor)
        for verb in lambda: node.send_data(3, "early"), lambda: node.broadcast_data("early"):
            self.failureResultOf(verb(), NotStarted)
        other = await self.start(Recorder, 3)
        started = node.start_node()
        self.assertIsInstance(started, Deferred)
        self.failureResultOf(node.start_node(), AlreadyStarted)
        await started
        for peer in None, (3,), "three", 2, -1:
            error = self.failureResultOf(node.send_data(peer, "hello"), InvalidPeer).value
            self.assertIsInstance(error, DeliveryError)
        self.failureResultOf(node.send_data(99, "hello"), UnknownPeer)
        self.failureResultOf(node.broadcast_data(object()), UnsupportedData)
        await node.send_data(("3", "localhost", other.port), "hello")
        self.assertIsInstance(await node.broadcast_data("hello"), BroadcastReport)
        await node.shutdown()
        for verb in lambda: node.send_data(3, "late"), lambda: node.broadcast_data("late"):
            self.failureResultOf(verb(), NodeStopped)
        self.failureResultOf(node.start_node(), NodeStopped)

    async def test_taken_port(self) -> None:
        """A taken port is an error that names it; the node is over then."""
        first = await self.start(Recorder, 2)
        second = Recorder(3, "localhost", first.port, reactor=reactor)
        ended = second.wait()
        error = self.failureResultOf(second.start_node(), ListenError).value
        self.assertEqual(str(error), f"cannot listen on localhost:{first.port}: Address already in use")
        self.successResultOf(ended)

    async def test_hooks(self) -> None:
        """Hooks of a subclass are told of peers and packets in their order; bootstrap nodes are no peers."""
        bootstrap = await self.start(BootstrapNode, 1)
        where = ("localhost", bootstrap.port)
        old, new = await self.start(Recorder, 2, where), await self.start(Recorder, 3, where)
        self.assertEqual(new.get_peers(), [(2, "localhost", old.port)])
        self.assertEqual(bootstrap.get_peers(), [(2, "localhost", old.port), (3, "localhost", new.port)])
        await new.when_joined()
        await new.send_data(2, "to one")
        report = await new.broadcast_data("to all")
        self.assertEqual(report, BroadcastReport(frozenset({2}), {}))
        await new.shutdown()
        newcomer = PeerInfo(3, "localhost", new.port)
        packets = [DataPacket(3, "to one"), DataPacket(3, "to all", broadcast=True)]
        while len(old.told) < 4:
            await _turn()
        self.assertEqual(old.told, [("joined", newcomer), *packets, ("left", newcomer, "shutdown")])

    async def test_rebinding(self) -> None:
        """Hooks can be bound anew while the node runs."""
        receiver = await self.start(Node, 2)
        sender = await self.start(Node, 3)
        where = (2, "localhost", receiver.port)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            await sender.send_data(where, "first")
            handled: list[Any] = []

            def handle(self: Node[Any], packet: DataPacket) -> None:
                handled.append((self.node_id, packet.sender_id, packet.data))

            receiver.handle_data = handle.__get__(receiver, Node)
            await sender.send_data(where, "second")
        self.assertEqual(printed.getvalue(), "Node 2 received data: 3: first\n")
        self.assertEqual(handled, [(2, 3, "second")])

    async def test_shutdown_in_handler(self) -> None:
        """A handler that waits for the shutdown of its own node does not wait for itself."""

        class Stopping(Node[Twisted]):
            async def handle_data(self, packet: DataPacket) -> None:
                """Stop."""
                await _turn()
                await self.shutdown()

        stopping = await self.start(Stopping, 2)
        sender = await self.start(Node, 3)
        ended = stopping.wait()
        await sender.send_data((2, "localhost", stopping.port), "stop")
        await ended


class BlockingTests(TestCase):
    """Nodes that were not given a reactor; the one of the tests stands in for the one that they would start."""

    def setUp(self) -> None:
        """Adopt the reactor."""
        process = reactor_thread._Thread()
        process.pid, process.thread = os.getpid(), threading.current_thread()
        self.patch(reactor_thread, "_process", process)

    async def test_script(self) -> None:
        """In a thread verbs block and return results; in a handler they return Deferreds."""
        answers: list[Any] = []

        class Echo(Node[Blocking]):
            def handle_data(self, packet: DataPacket) -> Any:
                """Send it back; the receipt waits for that of the echo."""
                return self.send_data(packet.sender_id, packet.data)

        def script() -> None:
            echo = Echo(2, "localhost", 0)
            echo.start_node()
            node = Node(3, "localhost", 0, peers=[(2, "localhost", echo.port)])
            node.handle_data = lambda packet: answers.append(packet.data)
            self.assertEqual(node.start_node().state, "running")
            self.assertIsNone(node.send_data(2, "hello"))
            self.assertEqual(answers, ["hello"])
            self.assertEqual(node.broadcast_data("hello").delivered, {2})
            self.assertRaises(AlreadyStarted, node.start_node)
            self.assertRaises(UnknownPeer, node.send_data, 99, "hello")
            node.shutdown()
            echo.shutdown()
            self.assertIsNone(node.wait())
            self.assertRaises(NodeStopped, node.send_data, 2, "late")

        await deferToThread(script)

    async def test_timeouts(self) -> None:
        """The verbs block no longer than their caller has chosen, or than it takes if that is more than the default."""

        def script() -> None:
            quick = Settings(delivery_timeout=0.3, goodbye_timeout=0.1)
            worker = Node(2, "localhost", 0, settings=quick)
            worker.handle_data = lambda packet: deferLater(reactor, packet.data) if packet.data < 100 else Deferred()
            worker.start_node()
            node = Node(3, "localhost", 0, peers=[(2, "localhost", worker.port)], settings=quick)
            node.start_node()
            error = self.assertRaises(DeliveryTimeout, node.send_data, 2, 100, timeout=0.1)
            self.assertEqual((error.seconds, error.written), (0.1, True))
            error = self.assertRaises(DeliveryTimeout, node.send_data, 2, 100)
            self.assertEqual(error.seconds, 0.3)
            self.assertIsNone(node.send_data(2, 0.6, timeout=10.0))
            report = node.broadcast_data(100, timeout=0.2)
            self.assertEqual({peer: error.seconds for peer, error in report.failed.items()}, {2: 0.2})
            self.assertEqual(node.broadcast_data(0.6, timeout=10.0, until="link").delivered, {2})
            value: Any
            for value in (0, "1", math.nan):
                self.assertRaises(InvalidArgument, node.send_data, 2, 0, timeout=value)
                self.assertRaises(InvalidArgument, node.broadcast_data, 0, timeout=value)
                self.assertRaises(InvalidArgument, node.send_data, 2, 0, until=value)
            for each in node, worker:
                each.shutdown()

        await deferToThread(script)

    async def test_not_started(self) -> None:
        """What would wait for ever before the start raises NotStarted."""
        node = Node(2, "localhost", 0)
        for verb in node.wait, node.when_joined:
            with self.assertRaises(NotStarted):
                await deferToThread(verb)


def _turn() -> Deferred[None]:
    """Return a Deferred that fires after one turn of the reactor."""
    turned: Deferred[None] = Deferred()
    reactor.callLater(0, turned.callback, None)
    return turned
