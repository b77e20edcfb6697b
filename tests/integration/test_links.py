"""Links: who dials, which connection wins, what the hooks see, and how links come back."""

from __future__ import annotations

import contextlib
import gc
import weakref
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    UNIXClientEndpoint,
    UNIXServerEndpoint,
)
from twisted.internet.protocol import Factory, Protocol

from netlayer import DataPacket, PeerFactory, PeerProtocol
from netlayer.errors import (
    JoinRefused,
    LinkLost,
    LocalProtocolError,
    NodeStopped,
    PeerIdentityMismatch,
    QueueFull,
    Rejected,
)
from netlayer.wire.messages import Goodbye, Reject, RejectCode, Select, Welcome
from tests.directories import new_directory
from tests.integration.network import HOST, MIB, Member, NetworkTestCase, reactor, settings, turns, until


class Diary(PeerProtocol):
    """Writes down its hooks; ``factory.application`` is the diary."""

    def peer_ready(self) -> None:
        self.write("ready")

    def packet_received(self, packet: DataPacket) -> None:
        self.write(packet.data)

    def peer_lost(self, reason: LinkLost) -> None:
        self.write("lost", reason.goodbye)

    def sending_paused(self) -> None:
        self.write("paused")

    def sending_resumed(self) -> None:
        self.write("resumed")

    def write(self, *what: Any) -> None:
        assert self.peer is not None
        self.factory.application.append((self.peer.node_id, *what))


class FactoryTestCase(NetworkTestCase):
    """Bare factories, which listen and dial when a test says so."""

    async def factory(self, node_id: int, protocol: type[PeerProtocol] = Diary, **options: Any) -> PeerFactory:
        """Return a factory that listens; it is stopped after the test."""
        options.setdefault("settings", settings())
        factory = PeerFactory(reactor, node_id=node_id, protocol=protocol, **options)
        factory.application = []
        port = await factory.listen(TCP4ServerEndpoint(reactor, 0, interface=HOST))
        self.ports[factory] = port.getHost().port
        self.addCleanup(factory.stop)
        self.addCleanup(lambda: port.stopListening())
        return factory

    def setUp(self) -> None:
        super().setUp()
        self.ports: dict[PeerFactory, int] = {}

    def dial(self, a: PeerFactory, b: PeerFactory, **options: Any) -> Deferred[PeerProtocol]:
        """Have `a` dial `b`."""
        return a.connect(TCP4ClientEndpoint(reactor, HOST, self.ports[b]), **options)

    async def pair(self, **options: Any) -> tuple[PeerFactory, PeerFactory]:
        """Return two factories that are linked."""
        a, b = await self.factory(1, **options), await self.factory(2, **options)
        await self.link(a, b)
        return a, b

    async def link(self, a: PeerFactory, b: PeerFactory) -> None:
        """Link two factories, and wait until both know."""
        await self.dial(a, b)
        await until(lambda: a.remotes.is_linked(b.local.node_id) and b.remotes.is_linked(a.local.node_id))


class UNIXSocketTests(FactoryTestCase):
    async def test_link(self) -> None:
        """Two factories on one machine link over a UNIX socket."""
        a, b = await self.factory(2), await self.factory(3)
        path = str(new_directory(self) / "socket")
        port = await a.listen(UNIXServerEndpoint(reactor, path))
        self.addCleanup(lambda: port.stopListening())
        link = await b.connect(UNIXClientEndpoint(reactor, path), expected_id=2)
        await link.send_packet("over a file", confirm=True)
        self.assertEqual(a.application, [(3, "ready"), (3, "over a file")])


class SelectionTests(FactoryTestCase):
    async def test_both_dial_at_once(self) -> None:
        """Two nodes that dial each other at the same moment have one link, and both attempts end with it."""
        for _ in range(10):
            a, b = await self.factory(1), await self.factory(2)
            ab, ba = self.dial(a, b), self.dial(b, a)
            outcomes = await gatherResults([ab, ba])
            self.assertEqual(outcomes, [a.links()[0], b.links()[0]])
            self.assertEqual((len(a.link_drivers()), len(b.link_drivers())), (1, 1))
            await until(lambda a=a, b=b: len(a._connections) == len(b._connections) == 1)
            self.assertEqual((a.application, b.application), ([(2, "ready")], [(1, "ready")]))
            await gatherResults([a.stop(), b.stop()])

    async def test_both_nodes_want_each_other(self) -> None:
        """Nodes that are configured with each other start silently, and each finishes its start with the link."""
        for _ in range(5):
            ports = [await self.free_port(), await self.free_port()]
            nodes = [
                self.make(2 + n, port=ports[n], peers=[(3 - n, HOST, ports[1 - n])], settings=settings(retry_count=50))
                for n in (0, 1)
            ]
            linked = [
                node.start_node().addCallback(lambda _, node=node: node.broadcast_data(b"next line")) for node in nodes
            ]
            reports = await gatherResults(linked)
            # The one that started first may have found nobody; the other one has.
            self.assertIn(1, [len(report.delivered) for report in reports])
            await until(lambda nodes=nodes: all(len(node.get_peers()) == 1 for node in nodes))
            await gatherResults([node.shutdown() for node in nodes])
        self.assertEqual([text for text in self.logged("warn") if "refused" not in text], [])

    async def test_second_connection_is_refused(self) -> None:
        """A second connection of the same process is refused as a duplicate while the link answers."""
        node = await self.start(2)
        for above, below in (
            (node.factory.identity.fingerprint, b"\xff" * 33),
            (b"", node.factory.identity.fingerprint),
        ):
            first = await self.stranger(node, above=above, below=below)
            await first.link()
            await until(lambda: node.peer_ids == {99})
            second = await self.stranger(node, identity=first.identity)
            second.say(second.hello())
            await second.next(Welcome)
            if above:  # the stranger is the arbiter, and says so itself
                second.say(Reject(RejectCode.DUPLICATE))
                await until(lambda second=second: second.closed)
            else:
                self.assertEqual((await second.refused()).code, RejectCode.DUPLICATE)
            self.assertFalse(first.closed)
            await first.leave()
            await until(lambda: not node.get_peers())

    async def test_second_connection_wins_over_silence(self) -> None:
        """A second connection takes over when the link stays silent; packets in flight move to it."""
        node = await self.start(2)
        first = await self.stranger(node, below=node.factory.identity.fingerprint)
        await first.link()
        await until(lambda: node.peer_ids == {99})
        first.answers_pings = False
        sent = node.send_data(99, b"in flight")
        await first.next(bytes)
        second = await self.stranger(node, identity=first.identity)
        began = reactor.seconds()
        await second.link()
        self.assertGreater(reactor.seconds() - began, 0.2)
        self.assertEqual(await second.next(bytes), b"\x04\x00in flight")
        second.receipt(1)
        await sent
        self.assertTrue(first.closed)
        self.assertEqual(node.hooks, [("joined", 99), ("left", 99), ("joined", 99)])

    async def test_copied_key(self) -> None:
        """Two processes with the same key: the one that is linked stays, the other is told that its id is taken."""
        node = await self.start(2)
        first = await self.stranger(node, below=node.factory.identity.fingerprint)
        await first.link()
        await until(lambda: node.peer_ids == {99})
        second = await self.stranger(node, identity=first.identity)
        second.say(second.hello(boot=8))
        reject = await second.refused()
        self.assertEqual((reject.code, reject.retry_after), (RejectCode.ID_TAKEN, 2.0))
        await until(lambda: self.logged("info", node=2, containing="was rejected: id-taken"))
        self.assertFalse(first.closed)

    async def test_nothing_counts_on_a_losing_connection(self) -> None:
        """What arrives on a connection that another one has replaced has no effect."""
        node = await self.start(2)
        arbiter = node.factory.identity.fingerprint
        first = await self.stranger(node, above=arbiter)
        second = await self.stranger(node, identity=first.identity)
        for stranger in (first, second):
            stranger.say(stranger.hello())
            await stranger.next(Welcome)
        await second.become_link()
        await until(lambda: node.peer_ids == {99})
        first.say(Select(77, 1, 0, 0, 0))
        await until(lambda: first.closed)
        self.assertFalse(second.closed)
        sent = node.send_data(99, b"x")
        await second.next(bytes)
        second.receipt(1)
        await sent

    async def test_dials_itself(self) -> None:
        """A node that is told to dial its own address finds out."""
        a = await self.factory(1)
        error = await self.expect(Rejected, self.dial(a, a))
        self.assertEqual(error.code, RejectCode.SELF)
        await until(lambda: self.logged("debug", node=1, containing="ended: "))

    async def test_wrong_key(self) -> None:
        """Another key answers than the one that was expected: nothing is said to it."""
        a, b = await self.factory(1), await self.factory(2)
        error = await self.expect(PeerIdentityMismatch, self.dial(a, b, expected_fingerprints=[b"\x01" * 32]))
        self.assertIn("sha256:0101", error.expected)
        await until(lambda: self.logged("debug", node=2, containing="ended: "))
        self.assertEqual((a.application, b.application), ([], []))

    async def test_cancelled_attempt(self) -> None:
        """An attempt that is cancelled ends in each of its phases, and leaves no connection."""
        a, b = await self.factory(1), await self.factory(2)
        for pause in (0, 1, 2, 3, 4, 5):
            attempt = self.dial(a, b)
            await turns(pause)
            attempt.addErrback(lambda _: None)
            attempt.cancel()
            self.assertTrue(attempt.called)
            for link in a.links():
                link.disconnect()
            await until(lambda: not a._connections and not b._connections)

    async def test_attempt_times_out(self) -> None:
        """An address that never answers a TCP connection ends the attempt after `timeout`."""

        class Nowhere:
            def connect(self, factory: object) -> Deferred[Any]:
                return Deferred()

        a = await self.factory(1, settings=settings(timeout=0.1))
        error = await self.expect(LinkLost, a.connect(Nowhere()))  # type: ignore[arg-type]
        self.assertEqual(error.reason, "no connection within 0.1 s")

    async def test_stop_while_dialing(self) -> None:
        """A factory that stops gives up what it dials, and accepts nobody any more."""
        port = await self.listen(Factory.forProtocol(Protocol))
        a, b = await self.factory(1), await self.factory(2)
        attempt = a.connect(TCP4ClientEndpoint(reactor, HOST, port))
        early = a.connect(TCP4ClientEndpoint(reactor, HOST, port))
        await until(lambda: a._connections)
        stopped = a.stop()
        await self.expect(NodeStopped, attempt)
        await self.expect(NodeStopped, early)
        await stopped
        with self.assertRaises(LinkLost):
            await self.dial(b, a)  # its port still listens
        await self.expect(NodeStopped, self.dial(a, b))
        self.assertEqual(self.flushLoggedErrors(), [])


class HookTests(FactoryTestCase):
    async def test_order(self) -> None:
        """Ready, packets, lost; and packets that came before the end are handed over before it."""
        a, b = await self.pair()
        link = a.links()[0]
        for number in range(50):
            link.send_packet(number)
        await turns(1)
        link.disconnect()
        await until(lambda: not a.link_drivers() and not b.link_drivers())
        self.assertEqual(a.application, [(2, "ready"), (2, "lost", "disconnect")])
        packets = [(1, number) for number in range(50)]
        self.assertEqual(b.application, [(1, "ready"), *packets, (1, "lost", "disconnect")])

    async def test_disconnect_before_writing(self) -> None:
        """What was queued in the turn of a disconnect() is not sent, and the log says so."""
        a, b = await self.pair()
        confirmed = a.links()[0].send_packet("x" * 3 * MIB, confirm=True)
        await until(lambda: a.link_drivers()[0].connection.bytes_sent > 70_000)
        a.links()[0].send_packet("not begun")
        a.links()[0].disconnect()
        await confirmed  # it was begun
        await until(lambda: not a.link_drivers())
        self.assertEqual(len(self.logged("warn", node=1, containing="the link ends: disconnect")), 1)
        self.assertEqual(len(b.application), 3)

    async def test_replaced_link(self) -> None:
        """When a new connection replaces the link, the old one's peer_lost comes before the new one's peer_ready."""
        a, b = await self.pair(settings=settings(probe_timeout=0.1))
        for _ in range(3):
            old = (a.link_drivers()[0], b.link_drivers()[0])
            for link in old:  # it stays open, and nothing passes any more
                link.dataReceived = lambda data: None  # type: ignore[method-assign]
            await self.dial(a, b)
            await until(lambda old=old: a.link_drivers()[0] is not old[0] and b.link_drivers()[0] is not old[1])
        for diary, peer in ((a.application, 2), (b.application, 1)):
            self.assertEqual(diary, [(peer, "ready"), *[(peer, "lost", None), (peer, "ready")] * 3])

    async def test_send_on_replaced_protocol(self) -> None:
        """A protocol whose connection broke sends over the next link, in order with what it sent before."""
        a, b = await self.pair()
        first = a.links()[0]
        numbers = [first.send_packet(number) for number in range(3)]
        first.transport.abortConnection()
        await until(lambda: not a.link_drivers() and not b.link_drivers())
        numbers += [first.send_packet(number) for number in range(3, 6)]
        confirmed = first.send_packet(6, confirm=True)
        drained = first.when_drained()
        await self.link(b, a)
        numbers.append(first.send_packet(7))
        await confirmed
        await drained
        await until(lambda: (1, 7) in b.application)
        self.assertEqual([entry[1] for entry in b.application if type(entry[1]) is int], list(range(8)))
        self.assertEqual(numbers, sorted(set(numbers)))
        self.assertIsNot(a.link_drivers()[0], first)

    async def test_before_ready(self) -> None:
        """Before peer_ready() nothing can be sent."""
        reached: list[object] = []

        class Hasty(PeerProtocol):
            def __init__(self) -> None:
                for verb in (
                    lambda: self.send_packet(b""),
                    lambda: self.send_packet(b"", confirm=True),
                    self.when_drained,
                ):
                    with contextlib.suppress(LocalProtocolError):
                        verb()
                        reached.append(verb)

        a, b = await self.factory(1), await self.factory(2, protocol=Hasty)
        await self.link(a, b)
        self.assertEqual(reached, [])

    async def test_after_stop(self) -> None:
        """After the node has stopped its protocols refuse to send."""
        a, _ = await self.pair()
        link = a.links()[0]
        await a.stop()
        self.assertRaises(NodeStopped, link.send_packet, b"")
        self.assertRaises(NodeStopped, link.send_packet, b"", confirm=True)
        await link.when_drained()

    async def test_when_drained(self) -> None:
        """when_drained() fires when every packet has its outcome, at once if none is under way; it can be cancelled."""
        a, b = await self.pair()
        link = a.links()[0]
        await link.when_drained()
        for _ in range(100):
            link.send_packet(b"x" * 10_000)
        first, second, cancelled = link.when_drained(), link.when_drained(), link.when_drained()
        self.assertFalse(first.called)
        cancelled.addErrback(lambda _: None).cancel()
        await first
        await second
        self.assertEqual(len(b.application), 101)
        self.assertEqual(link.link.queued, 0)

    async def test_drained_though_never_linked(self) -> None:
        """Plain sends to a peer that never comes back fail, and when_drained() fires, when the session has ended."""
        a, b = await self.pair(settings=settings(session_timeout=0.2))
        link = a.links()[0]
        await b.stop()
        await until(lambda: not a.link_drivers())
        link.send_packet(b"nobody is there")
        await link.when_drained()
        self.assertEqual(len(self.logged("warn", node=1, containing="packet 1 to peer 2 failed")), 1)

    async def test_pausing(self) -> None:
        """sending_paused() comes at three quarters of the queue, sending_resumed() at half, QueueFull after both."""
        a, _ = await self.pair(settings=settings(queue_limit=512 * 1024))
        link = a.links()[0]
        sent = 0
        while (2, "paused") not in a.application:
            link.send_packet(b"x" * 10_000)
            sent += 1
        self.assertTrue(0 <= link.link.queued - 192 * 1024 < 11_000)
        with self.assertRaises(QueueFull):
            while True:
                link.send_packet(b"x" * 10_000)
        self.assertTrue(0 <= link.link.queued - 256 * 1024 < 11_000)
        await until(lambda: (2, "resumed") in a.application)
        self.assertLess(link.link.queued, 128 * 1024 + 11_000)
        await link.when_drained()
        self.assertEqual(a.application, [(2, "ready"), (2, "paused"), (2, "resumed")])

    async def test_pausing_with_a_small_window(self) -> None:
        """The queue of a peer with a small window is short; its application is warned all the same."""
        a, b = await self.factory(1), await self.factory(2, settings=settings(window=65536))
        await self.link(a, b)
        link = a.links()[0]
        with self.assertRaises(QueueFull):
            while True:
                link.send_packet(b"x" * 1000)
        await link.when_drained()
        self.assertEqual(a.application, [(2, "ready"), (2, "paused"), (2, "resumed")])

    async def test_pausing_at_the_limit_of_the_node(self) -> None:
        """With many peers it is the limit of the node that pauses, before it refuses, and lets all go on later."""
        small = settings(queue_limit=1024 * 1024, node_queue_limit=2 * 1024 * 1024)
        a = await self.factory(1, settings=small)
        for number in range(2, 12):
            await self.link(a, await self.factory(number))
        links = a.links()
        paused: set[int] = set()
        while len(paused) < len(links):
            for number, link in enumerate(links):
                if number not in paused:
                    link.send_packet(b"x" * 10_000)  # which is not refused
            paused = {node_id - 2 for node_id, hook in a.application if hook == "paused"}
        self.assertTrue(700 * 1024 < a.load.queued < 1024 * 1024)
        for link in links:
            await link.when_drained()
        for node_id in range(2, 12):
            told = [hook for node, hook in a.application if node == node_id]
            self.assertEqual(told, ["ready", "paused", "resumed"])

    async def test_paused_across_links(self) -> None:
        """A queue that is nearly full when the link breaks pauses the protocol of the next link."""
        a, b = await self.pair(settings=settings(queue_limit=512 * 1024))
        link = a.links()[0]
        link.transport.abortConnection()
        await until(lambda: not a.link_drivers() and not b.link_drivers())
        for _ in range(20):
            link.send_packet(b"x" * 10_000)
        await self.link(a, b)
        await a.links()[0].when_drained()
        self.assertEqual(a.application, [(2, "ready"), (2, "lost", None), (2, "ready"), (2, "paused"), (2, "resumed")])

    async def test_paused_by_the_limits_of_the_peer(self) -> None:
        """What has waited for a peer may be more than its small window allows: that is told with the new link."""
        a, b = await self.factory(1), await self.factory(2, settings=settings(window=65536))
        remote = a.remotes.with_id(2)
        for _ in range(20):
            a.submit(remote, a.make_packet(b"x" * 10_000))
        self.assertFalse(remote.sending_paused)
        await self.link(a, b)
        await a.links()[0].when_drained()
        self.assertEqual(a.application, [(2, "ready"), (2, "paused"), (2, "resumed")])

    async def test_paused_by_what_waited_for_an_id(self) -> None:
        """What was sent to an id before its key was known counts, and hooks come after peer_ready() all the same."""
        a, b = await self.factory(1, settings=settings(queue_limit=512 * 1024)), await self.factory(2)
        for _ in range(22):
            a.submit(a.remotes.with_id(2), a.make_packet(b"x" * 10_000))
        await self.link(a, b)
        await a.links()[0].when_drained()
        self.assertEqual(a.application, [(2, "ready"), (2, "paused"), (2, "resumed")])

    async def test_paused_by_its_first_packets(self) -> None:
        """A protocol that fills its queue when it is ready is asked to pause once."""

        class Eager(Diary):
            def peer_ready(self) -> None:
                super().peer_ready()
                for _ in range(22):
                    self.send_packet(b"x" * 10_000)

        a = await self.factory(1, protocol=Eager, settings=settings(queue_limit=512 * 1024))
        await self.link(a, await self.factory(2))
        await a.links()[0].when_drained()
        self.assertEqual(a.application, [(2, "ready"), (2, "paused"), (2, "resumed")])

    async def test_room_by_plain_sends(self) -> None:
        """A peer that hangs goes on, too, when others have handled what made the node full."""

        class Hung(PeerProtocol):
            def packet_received(self, packet: DataPacket) -> Any:
                return Deferred()

        a = await self.factory(1, settings=settings(queue_limit=1024 * 1024, node_queue_limit=1024 * 1024))
        await self.link(a, await self.factory(2, protocol=Hung, settings=settings(goodbye_timeout=0.1)))
        for number in range(3, 9):
            await self.link(a, await self.factory(number))
        hung, *others = a.links()
        for link in [hung] * 9 + others * 5:
            link.send_packet(b"x" * 10_000)
        self.assertEqual(a.application[-1], (2, "paused"))
        await others[-1].when_drained()
        await until(lambda: (2, "resumed") in a.application)
        self.assertEqual([node for node, hook in a.application if hook == "paused"], [2])

    async def test_unknown(self) -> None:
        """When the session ends with the link, peer_lost() has the numbers of plain sends without a receipt."""
        reasons: list[LinkLost] = []

        class Sends(PeerProtocol):
            def peer_lost(self, reason: LinkLost) -> None:
                reasons.append(reason)

        class Stuck(PeerProtocol):
            def packet_received(self, packet: DataPacket) -> Any:
                return None if packet.data == "quick" else Deferred()

        quick = settings(goodbye_timeout=0.1)
        a = await self.factory(1, protocol=Sends, settings=quick)
        b = await self.factory(2, protocol=Stuck, settings=quick)
        await self.link(a, b)
        link = a.links()[0]
        numbers = {data: link.send_packet(data) for data in ("quick", "slow", "slower")}
        await until(lambda: b.load.handlers == 2)
        link.disconnect()
        await until(lambda: reasons)
        self.assertEqual(reasons[0].unknown, (numbers["slow"], numbers["slower"]))
        self.assertIsNone(reasons[0].goodbye if reasons[0].goodbye != "disconnect" else None)
        self.assertEqual(len(self.logged("warn", node=1, containing="the outcome of 2 packets")), 1)

    async def test_goodbye_of_a_peer(self) -> None:
        """peer_lost() has the code of the peer's goodbye, and none if it said none."""
        node = await self.start(2)
        stranger = await self.linked_stranger(node)
        stranger.say(Goodbye("room", "we are full"))
        await stranger.next(Goodbye)
        await until(lambda: node.lost)
        self.assertEqual((node.lost[0].goodbye, str(node.lost[0])), ("room", "goodbye: room"))
        stranger = await self.linked_stranger(node, 98)
        await stranger.leave()
        await until(lambda: len(node.lost) == 2)
        self.assertEqual((node.lost[1].goodbye, node.lost[1].unknown), (None, ()))

    async def test_hooks_that_raise(self) -> None:
        """Hooks that raise, at once or later, are logged, and break nothing."""

        class Faulty(PeerProtocol):
            def peer_ready(self) -> None:
                raise ValueError("ready")

            async def peer_lost(self, reason: LinkLost) -> None:
                await turns(1)
                raise SystemExit("lost")

            def sending_paused(self) -> Any:
                raise KeyboardInterrupt

        a, _ = await self.pair(protocol=Faulty, settings=settings(queue_limit=65536))
        link = a.links()[0]
        for _ in range(4):
            link.send_packet(b"x" * 10_000)
        await link.when_drained()
        link.disconnect()
        await until(lambda: len(self.logged("error", containing="a hook of")) == 5)
        self.assertEqual(len(self.flushLoggedErrors()), 5)

    async def test_hooks_that_do_everything(self) -> None:
        """Hooks may send, disconnect and stop the node; each event still comes once and in order."""
        for what in ("send", "disconnect", "abort", "stop"):

            class Busy(Diary):
                def peer_ready(self, what: str = what) -> None:
                    super().peer_ready()
                    if self.factory.local.node_id == 1:
                        self.do(what)

                def packet_received(self, packet: DataPacket, what: str = what) -> None:
                    super().packet_received(packet)
                    if self.factory.local.node_id == 2:
                        self.do(what)

                def peer_lost(self, reason: LinkLost) -> None:
                    super().peer_lost(reason)
                    if not self.factory.stopping:
                        self.send_packet("from peer_lost")
                        self.disconnect()

                def do(self, what: str) -> None:
                    if what == "send":
                        for number in range(3):
                            self.send_packet(number)
                        self.when_drained().addCallback(lambda _: self.disconnect())
                    elif what == "disconnect":
                        self.send_packet("last words")
                        self.disconnect()
                    elif what == "abort":
                        self.transport.abortConnection()
                        self.send_packet("too late")
                    else:
                        self.factory.stop()

            a, b = await self.factory(1, protocol=Busy), await self.factory(2, protocol=Busy)
            attempt = self.dial(a, b)
            attempt.addErrback(lambda _: None)
            await until(lambda a=a, b=b: a.application and not a._connections and not b._connections)
            for diary in (a.application, b.application):
                names = [entry[1] for entry in diary]
                if names:
                    self.assertEqual((names[0], names[-1]), ("ready", "lost"), what)
                    self.assertEqual((names.count("ready"), names.count("lost")), (1, 1), what)
            await gatherResults([a.stop(), b.stop()])
        self.assertEqual(self.flushLoggedErrors(), [])


class HealingTests(NetworkTestCase):
    async def test_cut(self) -> None:
        """A connection that breaks is replaced; nobody else notices."""
        _, a, b, c = await self.network(3)
        for _ in range(3):
            a.cut(b.node_id)
            await until(lambda: b.node_id not in a.peer_ids and a.node_id not in b.peer_ids)
            await until(lambda: b.node_id in a.peer_ids and a.node_id in b.peer_ids)
            await a.send_data(b.info, "still there")
        self.assertEqual(
            c.hooks, [("joined", 2), ("joined", 3)] if c.hooks[0][1] == 2 else [("joined", 3), ("joined", 2)]
        )
        self.assertEqual(self.logged("error"), [])

    async def test_redialed_long_after_it_was_learned(self) -> None:
        """A peer is redialed from when it was lost, however long before it was met."""
        bootstrap = await self.bootstrap()
        quick = settings(lease_grace=0.1, lease_renewal=0.1)
        a = await self.start(2, bootstrap, settings=quick)
        b = await self.start(3, bootstrap, settings=quick)
        a._service._membership.redials_met = False  # b has learned of it from the bootstrap node, and has to redial
        began = reactor.seconds()
        await until(lambda: reactor.seconds() - began > 0.4)
        b.cut(a.node_id)
        await until(lambda: not b.peer_ids)
        await until(lambda: b.peer_ids and a.peer_ids, within=3.0)

    async def test_goodbye_is_not_redialed(self) -> None:
        """A peer that was shut down is not wanted any more."""
        _, a, b = await self.network(2)
        await b.shutdown()
        await until(lambda: not a.peer_ids)
        await turns(20)
        self.assertEqual(a.status.wanted, ())
        self.assertEqual(a.lost[0].goodbye, "shutdown")
        self.assertEqual(self.logged("warn"), [])

    async def test_killed_ephemeral_node_is_forgotten(self) -> None:
        """An ephemeral peer that was killed is dialed until its lease has ended."""
        _, a, b = await self.network(2)
        await b.kill()
        await until(lambda: a.status.wanted)
        await until(lambda: not a.status.wanted, within=3.0)

    async def test_nothing_is_left_of_forgotten_peers(self) -> None:
        """Of a peer that could not be reached, and is wanted no longer, no object stays behind."""
        bootstrap = await self.bootstrap()
        node = await self.start(2, bootstrap, settings=settings(retry_count=0))
        peer = await self.start(3, bootstrap)
        await until(lambda: node.peer_ids == {3})
        await peer.kill()
        (dialer,) = await until(lambda: [weakref.ref(each.dialer) for each in node._service._membership.wanted][1:])
        await until(lambda: self.logged("error", node=2, containing="no link to peer 3"))
        await until(lambda: not node.status.wanted)
        gc.collect()
        self.assertIsNone(dialer())

    async def test_killed_and_restarted(self) -> None:
        """A node that was killed and starts again, with another key and the same id and port, is linked by all."""
        bootstrap, a, b, c = await self.network(3)
        for _ in range(2):
            await b.kill()
            b = await self.start(b.node_id, bootstrap, port=b.port)
            await until(lambda b=b: b.peer_ids == {2, 4} and all(3 in node.peer_ids for node in (a, c)))
            self.assertEqual((await a.broadcast_data("x")).delivered, {3, 4})
            self.assertEqual(b.data, ["x"])
        self.assertEqual(sorted(bootstrap.get_peers()), sorted([a.info, b.info, c.info]))

    async def test_killed_with_identity(self) -> None:
        """A node with a stored key gets the packets that its killed predecessor left, flagged as redelivered."""
        bootstrap = await self.bootstrap()
        identity = self.stored_identity()
        a = await self.start(2, bootstrap)

        class Stuck(Member):
            def handle_data(self, packet: DataPacket) -> Any:
                return Deferred()

        b = await self.start(3, bootstrap, kind=Stuck, identity=identity)
        sent = a.send_data(b.info, "unfinished")
        await until(lambda: b.factory.load.handlers)
        await b.kill()
        b = await self.start(3, bootstrap, port=b.port, identity=identity)
        await sent
        self.assertEqual([(packet.data, packet.redelivered) for packet in b.packets], [("unfinished", True)])

    async def test_bootstrap_restarts(self) -> None:
        """A bootstrap node that comes back with another key on the same port has all nodes again, and new ones meet."""
        bootstrap, a, b = await self.network(2)
        port = bootstrap.port
        await bootstrap.kill()
        await until(lambda: not a.status.joined and not b.status.joined)
        self.assertEqual((a.peer_ids, b.peer_ids), ({3}, {2}))  # the network outlives it
        joined = a.when_joined()
        bootstrap = await self.bootstrap(port=port)
        await joined
        await until(lambda: len(bootstrap.get_peers()) == 2)
        c = await self.start(4, bootstrap)
        self.assertEqual(c.peer_ids, {2, 3})

    async def test_node_before_bootstrap(self) -> None:
        """Nodes that start before their bootstrap node join it later, and find each other through it."""
        port = await self.free_port()
        quick = settings(retry_count=0)
        a = await self.start(2, (HOST, port), settings=quick)
        b = await self.start(3, (HOST, port), settings=quick)
        joined = gatherResults([a.when_joined(), b.when_joined()])
        self.assertFalse(joined.called)
        await self.bootstrap(port=port)
        await joined
        self.assertTrue(a.status.joined)
        await until(lambda: a.peer_ids == {3} and b.peer_ids == {2})
        self.assertEqual(len(self.logged("info", containing="healed")), 2)
        await a.when_joined()

    async def test_two_bootstraps(self) -> None:
        """Of two bootstrap nodes one is dead: nothing waits for it. When it comes, the nodes register there too."""
        port = await self.free_port()
        silent = await self.listen(Factory.forProtocol(Protocol))
        one = await self.bootstrap()
        began = reactor.seconds()
        a = await self.start(2, (HOST, port), (HOST, silent), one)
        b = await self.start(3, (HOST, port), one)
        self.assertLess(reactor.seconds() - began, 1.0)
        self.assertTrue(a.status.joined and b.status.joined)
        two = await self.bootstrap(9, port=port)
        await until(lambda: len(two.get_peers()) == 2)
        await one.shutdown()
        await until(lambda: len(a.factory.link_drivers()) == 2)
        self.assertTrue(a.status.joined)
        c = await self.start(4, (HOST, one.port), two)
        self.assertEqual(c.peer_ids, {2, 3})

    async def test_same_bootstrap_by_two_names(self) -> None:
        """A bootstrap node that is configured under two names is one bootstrap node, and nothing is logged of it."""
        bootstrap = await self.bootstrap()
        node = await self.start(2, bootstrap, ("localhost", bootstrap.port))
        await until(lambda: [wanted.state for wanted in node.status.bootstraps] == ["linked"] * 2)
        self.assertEqual((self.logged("warn"), self.logged("error")), ([], []))
        self.assertEqual(len(node.factory.link_drivers()), 1)

    async def test_own_address_as_bootstrap(self) -> None:
        """A list of bootstrap nodes may be the same everywhere: a bootstrap node that is named in it skips itself."""
        ports = [await self.free_port(), await self.free_port()]
        everybody = [(HOST, port) for port in ports]
        one = await self.bootstrap(1, *everybody, port=ports[0])
        two = await self.bootstrap(2, *everybody, port=ports[1])
        await until(lambda: len(one.factory.link_drivers()) == len(two.factory.link_drivers()) == 1)
        await until(lambda: len(self.logged("info", containing="is this node itself")) == 2)
        self.assertEqual([text for text in self.logged("error") if f":{ports[1]}" not in text], [])

    async def test_stranger_at_the_address(self) -> None:
        """Whatever a stranger says at the address of a bootstrap node that is away, it is dialed on, and soon."""
        for code in (RejectCode.SELF, RejectCode.BANNED, RejectCode.VERSION):
            bootstrap = await self.bootstrap()
            port = bootstrap.port
            node = await self.start(2, bootstrap, settings=settings(refused_wait=60.0))
            await bootstrap.kill()
            impostor = await self.impostor(lambda stranger, code=code: stranger.say(Reject(code)), port=port)
            self.assertEqual(impostor, port)
            await until(lambda node=node: node.status.bootstraps[0].attempts > 2)
            await self.silence()
            await self.bootstrap(port=port)
            await until(lambda node=node: node.status.joined, within=2.0)
            await node.shutdown()

    async def test_only_itself_as_bootstrap(self) -> None:
        """A node whose only bootstrap node is itself starts."""
        port = await self.free_port()
        node = await self.bootstrap(1, (HOST, port), port=port)
        self.assertFalse(node.status.joined)
        self.assertEqual((self.logged("warn"), self.logged("error")), ([], []))

    async def test_configured_peers(self) -> None:
        """Configured peers are linked at the start, redialed after a goodbye, and may be named without an id."""
        a, b = await self.start(2), await self.start(3)
        c = await self.start(4, peers=[(2, HOST, a.port), f"tcp:{HOST}:{b.port}"])
        self.assertEqual(c.peer_ids, {2, 3})
        for node in (a, b):
            await node.shutdown()
        await until(lambda: not c.peer_ids)
        await self.start(2, port=a.port)
        await self.start(3, port=b.port)
        await until(lambda: c.peer_ids == {2, 3})

    async def test_configured_peer_with_wrong_id(self) -> None:
        """A configured peer with another id than its configuration says is reported and not linked."""
        a = await self.start(2, settings=settings(retry_count=0))
        b = await self.start(3, peers=[(7, HOST, a.port)], settings=settings(retry_count=0))
        self.assertEqual(b.peer_ids, set())
        self.assertIn("found node 2", self.logged("error", node=3)[0])
        self.assertIn("found node 2", b.status.wanted[0].last_error)

    async def test_send_wakes_dialer(self) -> None:
        """A send to a peer that is waited for dials at once."""
        port = await self.free_port()
        slow = settings(backoff_first=60.0, backoff_cap=60.0, backoff_late_cap=60.0)
        a = await self.start(2, peers=[(3, HOST, port)], settings=slow)
        self.assertGreater(a.status.wanted[0].next_attempt_in, 0.0)
        b = await self.start(3, port=port)
        began = reactor.seconds()
        await a.send_data(3, "now")
        self.assertLess(reactor.seconds() - began, 1.0)
        self.assertEqual(b.data, ["now"])

    async def test_plain_send_wakes_dialer(self) -> None:
        """So does a plain send of a protocol whose link is gone."""
        a, b = await self.start(2, settings=settings(backoff_first=60.0, backoff_cap=60.0, backoff_late_cap=60.0)), None
        b = await self.start(3)
        await a.send_data(b.info, "first")
        link = a.link(3)
        b._service._membership.redials_met = False
        b.cut(2)
        await until(lambda: not a.peer_ids)
        link.send_packet("second")
        await until(lambda: b.data == ["first", "second"], within=2.0)


class IdTests(NetworkTestCase):
    async def test_contention(self) -> None:
        """Of two live nodes with one id, who is linked stays linked; the other is refused until the first has gone."""
        a = await self.start(2)
        first = await self.start(3, peers=[(2, HOST, a.port)])
        second = await self.start(3, peers=[(2, HOST, a.port)])
        await until(lambda: "id-taken" in (second.status.wanted[0].last_error or ""))
        self.assertEqual((first.peer_ids, second.peer_ids), ({2}, set()))
        await a.send_data(3, "to the first")
        await first.shutdown()
        await until(
            lambda: [link.fingerprint for link in a.factory.link_drivers()] == [second.factory.identity.fingerprint]
        )
        await a.send_data(3, "to the second")
        self.assertEqual((first.data, second.data), (["to the first"], ["to the second"]))

    async def test_silent_holder(self) -> None:
        """The holder of an id that does not answer loses it to another key, after `probe_timeout`."""
        a = await self.start(2)
        stranger = await self.linked_stranger(a, 3)
        stranger.answers_pings = False
        began = reactor.seconds()
        await self.start(3, peers=[(2, HOST, a.port)])
        self.assertLess(reactor.seconds() - began, 1.4)
        await until(lambda: stranger.closed)
        await a.send_data(3, "x")

    async def test_many_claims_at_once(self) -> None:
        """However many claim the id of a live node in the same moment, it keeps its link."""
        a = await self.start(2, settings=settings(timeout=30.0))  # so many handshakes take their time
        holder = await self.start(3, peers=[(2, HOST, a.port)])
        strangers = [await self.stranger(a, 3) for _ in range(40)]
        for stranger in strangers:
            stranger.say(stranger.hello())
        for stranger in strangers:
            self.assertEqual((await stranger.refused()).code, RejectCode.ID_TAKEN)
        self.assertEqual(holder.hooks, [("joined", 2)])

    async def test_persistent_key_keeps_its_id(self) -> None:
        """An id that was registered with a stored key belongs to it, linked or not; the bootstrap refuses others."""
        bootstrap = await self.bootstrap()
        identity = self.stored_identity()
        node = await self.start(2, bootstrap, identity=identity)
        await node.shutdown()
        error = await self.expect(JoinRefused, self.make(2, bootstrap).start_node())
        self.assertEqual(error.code, "id-taken")
        await until(lambda: self.logged("info", node=1, containing="was rejected: id-taken"))
        await self.start(2, bootstrap, identity=identity)

    async def test_other_id_of_the_same_key(self) -> None:
        """A key that comes back with another id is not found under its old one any more."""
        a = await self.start(2)
        identity = self.stored_identity()
        b = await self.start(3, peers=[(2, HOST, a.port)], identity=identity)
        await b.kill()
        b = await self.start(4, peers=[(2, HOST, a.port)], identity=identity)
        await until(lambda: a.peer_ids == {4})
        await a.send_data(4, "new id")
        self.assertIsNone(a.factory.remotes.find(3))
        self.assertEqual(b.data, ["new id"])

    async def test_successor_while_predecessor_says_goodbye(self) -> None:
        """A node that starts while its predecessor is still saying goodbye is not refused for good."""
        bootstrap = await self.bootstrap()

        class Stuck(Member):
            def handle_data(self, packet: DataPacket) -> Any:
                return Deferred()

        quick = settings(goodbye_timeout=0.3)
        old = await self.start(2, bootstrap, kind=Stuck, settings=quick)
        _ = bootstrap.send_data(2, b"never handled").addErrback(lambda _: None)
        await until(lambda: old.factory.load.handlers)
        stopped = old.shutdown()
        await until(lambda: bootstrap.driver(2).is_parting)
        new = await self.start(2, bootstrap)
        await stopped
        self.assertTrue(new.status.joined)


class RoomTests(NetworkTestCase):
    async def test_full(self) -> None:
        """A node whose links are all taken refuses with `full`, and accepts when there is room again."""
        a = await self.start(2, settings=settings(max_connections=2))
        strangers = [await self.linked_stranger(a, 90 + n) for n in (0, 1)]
        third = await self.stranger(a, 92)
        third.say(third.hello())
        self.assertEqual((await third.refused()).code, RejectCode.FULL)
        b = await self.start(3, peers=[(2, HOST, a.port)])
        self.assertIn("full", b.status.wanted[0].last_error)
        await strangers[0].leave()
        await until(lambda: b.peer_ids == {2})
        await until(lambda: len(a.factory.link_drivers()) == 2)

    async def test_full_with_many_at_once(self) -> None:
        """However many come in the same moment, there are never more links than `max_connections`."""
        a = await self.start(2, settings=settings(max_connections=3))
        strangers = [await self.stranger(a, 50 + n) for n in range(12)]
        for stranger in strangers:
            stranger.say(stranger.hello())
        attempts = [Deferred.fromCoroutine(stranger.next(Welcome)).addErrback(lambda _: None) for stranger in strangers]
        welcomed = [s for s, got in zip(strangers, await gatherResults(attempts), strict=True) if got]
        self.assertEqual(len(welcomed), 3)
        for stranger in welcomed:
            await stranger.become_link()
        await until(lambda: len(a.factory.link_drivers()) == 3)

    async def test_full_mesh_up_to_the_limit(self) -> None:
        """Nodes link to as many peers as they have room for, the bootstrap node included; a newcomer is let in."""
        bootstrap = await self.bootstrap()
        nodes = [await self.start(2 + n, bootstrap, settings=settings(max_connections=5)) for n in range(5)]
        await until(lambda: all(len(node.factory.link_drivers()) == 5 for node in nodes))
        last = await self.start(9, bootstrap, settings=settings(max_connections=5))
        await until(lambda: len(last.peer_ids) >= 2)
        self.assertTrue(last.status.joined)
        self.assertLessEqual(max(len(node.factory.link_drivers()) for node in (*nodes, last)), 5)

    async def test_handshake_table(self) -> None:
        """Strangers that never introduce themselves push each other out, not those who do."""
        a = await self.start(2, settings=settings(max_handshakes=3, timeout=5.0))
        b = await self.start(3, peers=[(2, HOST, a.port)])
        strangers = [await self.stranger(a) for _ in range(5)]
        await until(lambda: [stranger.closed for stranger in strangers] == [True, True, False, False, False])
        await self.start(4, peers=[(2, HOST, a.port)])
        self.assertEqual(a.peer_ids, {3, 4})
        self.assertEqual(b.hooks, [("joined", 2)])


class StatusTests(NetworkTestCase):
    async def test_status(self) -> None:
        """The status of a node has the figures of its links."""
        _, a, b = await self.network(2)
        await a.send_data(b.info, b"x" * 100_000)
        await until(lambda: all(link.round_trip is not None for link in a.status.links))
        link = next(link for link in a.status.links if not link.bootstrap)
        self.assertEqual((link.peer, link.packets_sent, link.packets_received, link.queued), (b.info, 1, 0, 0))
        self.assertGreater(link.bytes_sent, 100_000)
        self.assertLess(link.round_trip, 1.0)
        self.assertGreaterEqual(link.since, 0.0)
