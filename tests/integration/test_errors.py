"""Every way in which a packet or a node can fail, provoked; each ends in its own error and within its time."""

from __future__ import annotations

import random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.protocol import Factory, Protocol

from netlayer import DataPacket, Node
from netlayer.errors import (
    AlreadyStarted,
    ConfigurationError,
    DeliveryTimeout,
    HandlerFailed,
    InvalidPeer,
    JoinRefused,
    ListenError,
    NodeStopped,
    NotStarted,
    PacketTooLarge,
    PeerIdentityMismatch,
    PeerLost,
    PeerUnreachable,
    QueueFull,
    UnknownPeer,
    UnsupportedData,
)
from netlayer.storage.identity import fingerprint_text
from netlayer.wire.messages import Goodbye, MessageType, Reject, encode_data
from tests.integration.network import HOST, Member, NetworkTestCase, reactor, settings, turns, until
from tests.integration.stranger import Stranger


class Silent(Member):
    """A node whose handlers finish when the test says so."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.running: list[Deferred[None]] = []

    def handle_data(self, packet: DataPacket) -> Any:
        super().handle_data(packet)
        self.running.append(Deferred())
        return self.running[-1]

    def finish(self) -> None:
        """Let all handlers finish."""
        running, self.running = self.running, []
        for handler in running:
            handler.callback(None)


class HangsUp(Protocol):
    """Counts who comes, and hangs up."""

    factory: CountingFactory

    def connectionMade(self) -> None:
        self.factory.connections += 1
        self.transport.loseConnection()


class CountingFactory(Factory):
    protocol = HangsUp
    noisy = False
    connections = 0


class UnreachableTests(NetworkTestCase):
    async def test_unknown_peer(self) -> None:
        """An id of which no address is known."""
        node = await self.start(2)
        error = await self.expect(UnknownPeer, node.send_data(77, b"x"))
        self.assertEqual(error.peer_id, 77)

    async def test_nobody_listens(self) -> None:
        """Where nobody listens, one attempt and three retries are made: three warnings, one error."""
        node = await self.start(2)
        port = await self.free_port()
        error = await self.expect(PeerUnreachable, node.send_data((7, HOST, port), b"x"))
        self.assertEqual((error.peer_id, error.attempts), (7, 4))
        self.assertIn("refused", error.reason)
        warnings = self.logged("warn", containing=f"peer 7 at {HOST}:{port}")
        self.assertEqual([text.partition("; ")[2] for text in warnings], [f"retry {n} of 3" for n in (1, 2, 3)])
        self.assertEqual(len(self.logged("error", containing="after 4 attempts")), 1)
        self.assertEqual(len(self.logged("warn", containing="waits to be dialed")), 1)
        self.assertEqual((len(self.logged("warn")), len(self.logged("error"))), (4, 1))
        self.assertEqual(node.status.wanted, ())  # an address that was given is dialed for its packet only
        await self.expect(UnknownPeer, node.send_data(7, b"x"))

    async def test_attempts(self) -> None:
        """As many connections are opened as the error says, and `retry_count` decides how many."""
        for retries in (0, 2):
            counting = CountingFactory()
            port = await self.listen(counting)
            node = await self.start(2 + retries, settings=settings(retry_count=retries))
            error = await self.expect(PeerUnreachable, node.send_data((7, HOST, port), b"x"))
            self.assertEqual((counting.connections, error.attempts), (retries + 1, retries + 1))
            self.assertEqual(len(self.logged("warn", node=2 + retries, containing="; retry ")), retries)
            self.assertEqual(len(self.logged("warn", node=2 + retries)), retries + 1, "it waits to be dialed")
            self.assertEqual(len(self.logged("error", node=2 + retries)), 1)

    async def test_fails_at_once(self) -> None:
        """A host that can't exist is told like one that does not answer; each attempt fails as soon as it begins."""
        for retries, host in ((0, "a..b"), (2, "096..20.7")):
            node = await self.start(2 + retries, settings=settings(retry_count=retries))
            error = await self.expect(PeerUnreachable, node.send_data((7, host, 80), b"x"))
            self.assertEqual((error.attempts, error.reason), (retries + 1, f"invalid hostname: {host}"))
            self.assertEqual(node.status.wanted, ())

    async def test_all_fail_together(self) -> None:
        """All packets that wait for the same unreachable peer fail with the same last attempt."""
        counting = CountingFactory()
        port = await self.listen(counting)
        node = await self.start(2, settings=settings(retry_count=1))
        sent = [node.send_data((7, HOST, port), number) for number in range(5)]
        for deferred in sent:
            await self.expect(PeerUnreachable, deferred)
        self.assertEqual(counting.connections, 2)
        # a second round starts anew
        await self.expect(PeerUnreachable, node.send_data((7, HOST, port), b"again"))
        self.assertEqual(counting.connections, 4)

    async def test_accepts_and_says_nothing(self) -> None:
        """A port whose owner accepts and never speaks: each attempt ends after `timeout`."""
        port = await self.listen(Factory.forProtocol(Protocol))
        node = await self.start(2, settings=settings(timeout=0.1, retry_count=1))
        error = await self.expect(PeerUnreachable, node.send_data((7, HOST, port), b"x"))
        self.assertIn("0.1 s", error.reason)

    async def test_speaks_something_else(self) -> None:
        """A port with another protocol behind it."""

        class Greets(Protocol):
            def connectionMade(self) -> None:
                self.transport.write(b"220 mail.example.org ESMTP\r\n" * 20)

        port = await self.listen(Factory.forProtocol(Greets))
        node = await self.start(2, settings=settings(retry_count=0))
        error = await self.expect(PeerUnreachable, node.send_data((7, HOST, port), b"x"))
        self.assertIn("TLS failed", error.reason)

    async def test_wrong_id(self) -> None:
        """Another node than the one that was meant answers: it gets nothing, and the sender is told at once."""
        a, b = await self.start(2), await self.start(3)
        error = await self.expect(PeerIdentityMismatch, a.send_data((7, HOST, b.port), b"secret"))
        self.assertEqual((error.expected, error.found), ("node 7", "node 3"))
        self.assertEqual(b.data, [])
        self.assertEqual(len(self.logged("error", node=2)), 1)

    async def test_asked_to_wait(self) -> None:
        """A peer that has asked for a long wait is not dialed by each send: the sender is told its reason at once."""
        asked: list[object] = []

        def answer(stranger: Stranger) -> None:
            asked.append(stranger)
            stranger.say(Reject("protocol-violation", "you again"))

        port = await self.impostor(answer, 7)
        node = await self.start(2, peers=[(7, HOST, port)], settings=settings(refused_wait=30.0, retry_count=0))
        for _ in range(3):
            error = await self.expect(PeerUnreachable, node.send_data(7, b"x"))
            self.assertIn("you again", error.reason)
        self.assertEqual(len(asked), 1)

    async def test_own_id_at_another_address(self) -> None:
        """A node with the id of the sender answers: it refuses, and is not asked again."""
        a, b = await self.start(2), await self.start(2)
        error = await self.expect(PeerUnreachable, a.send_data((7, HOST, b.port), b"x"))
        self.assertEqual(error.attempts, 1)
        self.assertIn("id-taken", error.reason)

    async def test_address_is_not_used_when_linked(self) -> None:
        """Where an id is linked, the id decides; a wrong address does no harm."""
        _, a, b = await self.network(2)
        await a.send_data((b.node_id, "203.0.113.1", 9), "by id")
        await a.send_data((str(b.node_id), HOST, 1), "by id in decimal")
        await a.send_data(b.node_id, "by id alone")
        self.assertEqual(b.data, ["by id", "by id in decimal", "by id alone"])
        self.assertEqual(len(a.status.wanted) + len(b.status.wanted), 1)

    async def test_explicit_address(self) -> None:
        """A peer that nobody has told of is reached by its address, with one connection."""
        a, b = await self.start(2), await self.start(3)
        await a.send_data((3, HOST, b.port), "first")
        await a.send_data((3, HOST, b.port), "second")
        self.assertEqual(b.data, ["first", "second"])
        self.assertEqual((a.hooks, b.hooks), ([("joined", 3)], [("joined", 2)]))
        self.assertEqual([text for text in self.logged("warn") if "waits to be dialed" not in text], [])
        self.assertEqual(a.status.wanted, ())


class HandlerTests(NetworkTestCase):
    async def check(self, handler: Any) -> str:
        a, b = await self.start(2), await self.start(3)
        b.handle_data = handler
        error = await self.expect(HandlerFailed, a.send_data(b.info, b"x"))
        self.assertEqual(error.peer_id, 3)
        self.flushLoggedErrors()
        self.assertEqual(len(self.logged("error", node=3, containing="failed on a packet of peer 2")), 1)
        b.handle_data = lambda packet: None
        await a.send_data(b.info, b"the link stands")
        self.assertEqual(len(a.hooks), 1)
        return error.text

    async def test_raises(self) -> None:
        """A handler that raises: the sender learns type and text, the log of the handler's node has the traceback."""

        def handler(packet: DataPacket) -> None:
            raise ValueError("no such order")

        self.assertEqual(await self.check(handler), "ValueError: no such order")

    async def test_deferred_fails(self) -> None:
        """A handler whose Deferred fails."""

        def handler(packet: DataPacket) -> Deferred[None]:
            failing: Deferred[None] = Deferred()
            reactor.callLater(0.001, failing.errback, KeyError("k"))
            return failing

        self.assertEqual(await self.check(handler), "KeyError: 'k'")

    async def test_coroutine_raises(self) -> None:
        """A handler that is a coroutine and raises after it has waited."""

        async def handler(packet: DataPacket) -> None:
            await turns(1)
            raise RuntimeError("späte Einsicht")

        self.assertEqual(await self.check(handler), "RuntimeError: späte Einsicht")

    async def test_system_exit(self) -> None:
        """A handler that calls sys.exit() takes neither the node nor the link down."""

        def handler(packet: DataPacket) -> None:
            raise SystemExit("bye")

        self.assertEqual(await self.check(handler), "SystemExit: bye")

    async def test_system_exit_in_coroutine(self) -> None:
        """So does one that calls it in a coroutine."""

        async def handler(packet: DataPacket) -> None:
            await turns(1)
            raise SystemExit(3)

        self.assertEqual(await self.check(handler), "SystemExit: 3")

    async def test_long_text(self) -> None:
        """A long text is cut."""

        def handler(packet: DataPacket) -> None:
            raise ValueError("x" * 100_000)

        self.assertEqual(len(await self.check(handler)), 200)

    async def test_text_that_is_no_unicode(self) -> None:
        """A text with a lone surrogate, such as a file name that was no UTF-8."""

        def handler(packet: DataPacket) -> None:
            raise OSError("no such file: \udcff")

        self.assertEqual(await self.check(handler), "OSError: no such file: ?")

    async def test_text_that_fails(self) -> None:
        """An exception that can't even be shown."""

        class Shy(Exception):
            def __str__(self) -> str:
                raise ValueError

        def handler(packet: DataPacket) -> None:
            raise Shy

        self.assertIn("Shy", await self.check(handler))

    async def test_broadcast(self) -> None:
        """The report of a broadcast names whose handlers failed."""
        _, a, b, c = await self.network(2 + 1)

        def handler(packet: DataPacket) -> None:
            raise ValueError("not here")

        c.handle_data = handler
        report = await a.broadcast_data(b"x")
        self.assertEqual((report.delivered, list(report.failed)), ({b.node_id}, [c.node_id]))
        self.assertIsInstance(report.failed[c.node_id], HandlerFailed)
        self.flushLoggedErrors()


class LimitTests(NetworkTestCase):
    async def test_own_limit(self) -> None:
        """A packet over the sender's own limit."""
        a = await self.start(2, settings=settings(max_packet=100_000))
        b = await self.start(3)
        error = await self.expect(PacketTooLarge, a.send_data(b.info, b"x" * 100_001))
        self.assertEqual((error.size, error.limit), (100_001, 100_000))
        await a.send_data(b.info, b"x" * 100_000)

    async def test_limit_of_the_peer(self) -> None:
        """A packet over the peer's smaller limit, linked or not; others pass."""
        a = await self.start(2)
        b = await self.start(3, settings=settings(max_packet=100_000))
        sent = [a.send_data(b.info, b"x" * size) for size in (10, 200_000, 20)]
        error = await self.expect(PacketTooLarge, sent[1])
        self.assertEqual((error.size, error.limit), (200_000, 100_000))
        await gatherResults([sent[0], sent[2]])
        error = await self.expect(PacketTooLarge, a.send_data(b.info, b"x" * 200_000))
        self.assertEqual((error.size, error.limit), (200_000, 100_000))
        self.assertEqual([len(data) for data in b.data], [10, 20])

    async def test_queue_full(self) -> None:
        """A peer that handles nothing: packets are refused when its queue is full, and others' are not."""
        _, a, b = await self.network(2, settings=settings(queue_limit=512 * 1024, delivery_timeout=2.0))
        silent = await self.start(9, kind=Silent)
        await a.send_data(b.info, b"x")
        sent = [a.send_data(silent.info, b"x" * 50_000) for _ in range(5)]
        sent.append(a.send_data(silent.info, b"x" * 50_000))
        refused = a.send_data(silent.info, b"x")
        error = await self.expect(QueueFull, refused)
        self.assertEqual((error.peer_id, error.limit), (9, 256 * 1024))
        await a.send_data(b.info, b"x")
        while len(silent.packets) < 6:
            silent.finish()
            await turns()
        silent.finish()
        await gatherResults(sent)
        await until(lambda: a.factory.load.queued == 0)
        last = a.send_data(silent.info, b"fits again")
        await until(lambda: len(silent.packets) == 7)
        silent.finish()
        await last


class LostTests(NetworkTestCase):
    async def test_killed_with_packets_in_flight(self) -> None:
        """A peer dies with packets in flight: their outcome is unknown, those not yet written are unreachable."""
        quick = settings(session_timeout=0.5, window=256 * 1024, retry_count=1)
        a = await self.start(2, settings=quick)
        b = await self.start(3, kind=Silent, settings=quick)
        sent = [a.send_data(b.info, b"x" * 30_000) for _ in range(3)]
        await until(lambda: len(b.packets) == 3)
        written = len(sent)
        await b.kill()
        sent += [a.send_data(b.info, b"x" * 30_000) for _ in range(3)]
        began = reactor.seconds()
        for at, deferred in enumerate(sent):
            await self.expect(PeerLost if at < written else PeerUnreachable, deferred)
        self.assertLess(reactor.seconds() - began, 2.0)

    async def test_timeout_in_flight(self) -> None:
        """A peer dies, and the caller's patience ends before the session does."""
        a = await self.start(2, settings=settings(session_timeout=30.0, delivery_timeout=0.3))
        b = await self.start(3, kind=Silent)
        sent = a.send_data(b.info, b"x")
        await until(lambda: b.packets)
        await b.kill()
        error = await self.expect(DeliveryTimeout, sent)
        self.assertEqual((error.peer_id, error.seconds, error.written), (3, 0.3, True))

    async def test_handler_never_finishes(self) -> None:
        """A handler that never finishes, on a link that lives: the caller hears of it, whichever way it addressed."""
        a = await self.start(2, settings=settings(delivery_timeout=0.2))
        b = await self.start(3, kind=Silent)
        for peer in (b.info, 3):
            error = await self.expect(DeliveryTimeout, a.send_data(peer, b"x"))
            self.assertTrue(error.written)
        b.finish()
        self.assertEqual(a.hooks, [("joined", 3)])

    async def test_timeout_before_writing(self) -> None:
        """Nobody answers before the caller's patience ends: the packet is withdrawn, and nobody is dialed any more."""
        port = await self.listen(Factory.forProtocol(Protocol))
        node = await self.start(2, settings=settings(delivery_timeout=0.2, timeout=0.5))
        error = await self.expect(DeliveryTimeout, node.send_data((7, HOST, port), b"x"))
        self.assertFalse(error.written)
        await until(lambda: not node.status.wanted)
        self.assertEqual(self.logged("error"), [])

    async def test_frozen_peer(self) -> None:
        """A peer that stops to answer on an open connection is gone after `dead_after`."""
        node = await self.start(2, settings=settings(ping_after=0.1, dead_after=0.3, session_timeout=0.2))
        stranger = await self.stranger(node)
        stranger.answers_pings = False
        await stranger.link()
        await until(lambda: node.peer_ids == {99})
        began = reactor.seconds()
        await self.expect(PeerLost, node.send_data(99, b"x"))
        self.assertEqual(node.get_peers(), [])
        self.assertEqual(node.lost[0].reason, "silent for 0.3 s")
        self.assertLess(reactor.seconds() - began, 1.5)

    async def test_goodbye_with_packets_waiting(self) -> None:
        """A peer says goodbye: what was not begun fails at once, and what is in flight gets its receipt."""
        node = await self.start(2)
        stranger = await self.linked_stranger(node, said={"window": 65536})
        sent = [node.send_data(99, b"x" * 65_200)]
        await until(lambda: len([body for body in stranger.heard if type(body) is bytes]) == 1)
        node.handle_data = lambda packet: sent.extend(node.send_data(99, b"more") for _ in range(2))
        stranger.say(encode_data(MessageType.DATA, 0, 0, b"send more"))
        await until(lambda: len(sent) == 3)
        stranger.say(Goodbye("disconnect"))
        for deferred in sent[1:]:
            error = await self.expect(PeerUnreachable, deferred)
            self.assertIn("disconnect", error.reason)
        await stranger.next(Goodbye)
        stranger.receipt(1)
        await sent[0]
        await until(lambda: stranger.closed)
        self.assertEqual(node.lost[0].goodbye, "disconnect")

    async def test_protocol_violation_with_packets_in_flight(self) -> None:
        """A peer that breaks the rules with packets in flight."""
        node = await self.start(2, settings=settings(session_timeout=0.2))
        stranger = await self.linked_stranger(node)
        sent = node.send_data(99, b"x")
        await stranger.next(bytes)
        stranger.receipt(1000)
        self.assertEqual((await stranger.refused()).code, "protocol-violation")
        await self.expect(PeerLost, sent)


class ShutdownTests(NetworkTestCase):
    async def test_sender_stops(self) -> None:
        """A node that stops waits for receipts; what was not sent fails with NodeStopped."""
        a = await self.start(2, settings=settings(window=65536))
        b = await self.start(3, kind=Silent, settings=settings(window=65536))
        sent = [a.send_data(b.info, b"x" * 40_000) for _ in range(2)]
        await until(lambda: len(b.packets) == 2)
        written = len(b.packets)
        a.handle_data = lambda packet: sent.extend(a.send_data(3, b"too late") for _ in range(2))
        await b.send_data(a.info, "go on")
        stopped = a.shutdown()
        for deferred in sent[written:]:
            await self.expect(NodeStopped, deferred)
        self.assertFalse(stopped.called)
        b.finish()
        await gatherResults(sent[:written])
        await stopped
        self.assertEqual(len(b.packets), written)
        self.assertEqual(b.lost[0].goodbye, "shutdown")

    async def test_receiver_stops(self) -> None:
        """A node that stops finishes its handlers and sends their receipts."""
        a = await self.start(2)
        b = await self.start(3, kind=Silent)
        sent = a.send_data(b.info, b"x")
        await until(lambda: b.packets)
        stopped = b.shutdown()
        await turns(5)
        self.assertFalse(stopped.called)
        b.finish()
        await sent
        await stopped

    async def test_handler_never_finishes(self) -> None:
        """A handler that never finishes can't keep either node from stopping; the sender's error says unknown."""
        for who in (0, 1):
            quick = settings(goodbye_timeout=0.2)
            a = await self.start(2 + 2 * who, settings=quick)
            b = await self.start(3 + 2 * who, kind=Silent, settings=quick)
            sent = a.send_data(b.info, b"x")
            await until(lambda b=b: b.packets)
            began = reactor.seconds()
            stopped = (a, b)[who].shutdown()
            await self.expect(PeerLost, sent)
            await stopped
            self.assertLess(reactor.seconds() - began, 1.5)

    async def test_peer_never_closes(self) -> None:
        """A peer that ignores the goodbye, and everything else, delays a shutdown by its limits only."""
        quick = settings(goodbye_timeout=0.1, abort_after=0.1, shutdown_timeout=1.0)
        for linked in (True, False):
            node = await self.start(2, settings=quick)
            stranger = await self.stranger(node)
            if linked:
                await stranger.link()
            stranger.transport.pauseProducing()
            began = reactor.seconds()
            await node.shutdown()
            self.assertLess(reactor.seconds() - began, 0.9)
            stranger.transport.resumeProducing()

    async def test_while_dialing(self) -> None:
        """A node stops while it dials: the packet fails with NodeStopped, at once."""
        port = await self.listen(Factory.forProtocol(Protocol))
        node = await self.start(2)
        sent = node.send_data((7, HOST, port), b"x")
        await turns(5)
        began = reactor.seconds()
        await node.shutdown()
        await self.expect(NodeStopped, sent)
        self.assertLess(reactor.seconds() - began, 0.5)

    async def test_while_starting(self) -> None:
        """A node stops while it starts: start_node() fails with NodeStopped, in every phase of it."""
        silent = await self.listen(Factory.forProtocol(Protocol))
        bootstrap = await self.bootstrap()
        dead = await self.free_port()
        await self.start(5, bootstrap, advertise=(HOST, dead))
        for bootstraps, peers in (
            ([(HOST, silent)], []),
            ([], [(7, HOST, silent)]),
            ([bootstrap], [(7, HOST, silent)]),
        ):
            for pause in (0, 1, 5, 12):
                node = self.make(2, *bootstraps, peers=peers)
                started = node.start_node()
                await turns(pause)
                stopped = node.shutdown()
                await self.expect(NodeStopped, started)
                await stopped
                self.assertEqual(node.status.state, "stopped")
                self.assertEqual(node.status.wanted, ())

    async def test_shutdown_in_callback_of_start(self) -> None:
        """A node that is stopped again from every Deferred that its stop fires stops once."""
        silent = await self.listen(Factory.forProtocol(Protocol))
        node = self.make(2, (HOST, silent))
        stops = []
        started = node.start_node().addErrback(lambda _: stops.append(node.shutdown()))
        joined = node.when_joined().addErrback(lambda _: stops.append(node.shutdown()))
        await turns(3)
        stops.append(node.shutdown())
        await gatherResults([started, joined])
        await gatherResults(stops)
        self.assertEqual(len(self.logged("info", node=2, containing="stopped")), 1)


class LifeCycleTests(NetworkTestCase):
    async def test_port_taken(self) -> None:
        """The port is taken: ListenError names the address and the reason, and the node is stopped."""
        a = await self.start(2)
        b = self.make(3, port=a.port)
        error = await self.expect(ListenError, b.start_node())
        self.assertEqual(error.address, f"{HOST}:{a.port}")
        self.assertIn("in use", error.reason)
        self.assertEqual(b.status.state, "stopped")
        await self.expect(NodeStopped, b.start_node())

    async def test_order(self) -> None:
        """Each verb used too early or too late has its error."""
        node = self.make(2)
        await self.expect(NotStarted, node.send_data((3, HOST, 1), b""))
        await self.expect(NotStarted, node.broadcast_data(b""))
        self.assertEqual((node.status.state, node.get_peers()), ("new", []))
        started = node.start_node()
        await self.expect(AlreadyStarted, node.start_node())
        await started
        await self.expect(AlreadyStarted, node.start_node())
        await node.shutdown()
        await node.shutdown()
        for verb in (node.start_node, lambda: node.send_data((3, HOST, 1), b""), lambda: node.broadcast_data(b"")):
            await self.expect(NodeStopped, verb())
        await self.expect(NodeStopped, node.when_joined())
        await node.wait()
        self.assertEqual((node.status.state, node.get_peers()), ("stopped", []))

    async def test_shutdown_before_start(self) -> None:
        """A node that was never started can be shut down; then it can't be started."""
        node = self.make(2)
        await node.shutdown()
        await self.expect(NodeStopped, node.start_node())

    async def test_invalid_peer(self) -> None:
        """What is no peer is refused at the caller; so is the node itself."""
        node = await self.start(2)
        port = await self.free_port()
        malformed: list[Any] = [
            (2, HOST, node.port),
            2,
            "2",
            None,
            1.5,
            True,
            b"3",
            "three",
            "-1",
            -1,
            2**63,
            (3,),
            (3, HOST),
            (3, HOST, 0),
            (3, HOST, 65536),
            (3, "", port),
            (3, None, port),
            (None, HOST, port),
            (3, HOST, port, 1),
            {"id": 3},
        ]
        for peer in malformed:
            error = await self.expect(InvalidPeer, node.send_data(peer, b"x"))
            self.assertEqual(error.peer, peer)
        self.assertEqual(node.status.wanted, ())
        await self.expect(UnsupportedData, node.send_data((3, HOST, port), object()))
        self.assertEqual(node.status.wanted, ())

    async def test_configuration(self) -> None:
        """Nonsense in the description of a node raises where the node is made."""
        for arguments, options in (
            ((-1, HOST, 0), {}),
            ((2, HOST, -1), {}),
            ((2, HOST, 70000), {}),
            ((2, "0.0.0.0", 0), {}),
            ((2, "", 0), {}),
            ((2, HOST, 0, ("127.0.0.1",)), {}),
            ((2, HOST, 0), {"bootstraps": ["tcp"]}),
            ((2, HOST, 0), {"bootstraps": ["nonsense:1"]}),
            ((2, HOST, 0), {"peers": [(3, HOST, "x")]}),
            ((2, HOST, 0), {"peers": "127.0.0.1"}),
            ((2, HOST, 0), {"network": ""}),
            ((2, HOST, 0), {"admission": "everybody"}),
        ):
            with self.assertRaises(ConfigurationError):
                Node(*arguments, reactor=reactor, **options)


class CancelTests(NetworkTestCase):
    async def test_before_writing(self) -> None:
        """A send that is cancelled before its peer is linked is never delivered; nobody is dialed for it any more."""
        port = await self.free_port()
        a = await self.start(2, settings=settings(retry_count=1000))
        cancelled, kept = a.send_data((3, HOST, port), "cancelled"), a.send_data((3, HOST, port), "kept")
        await until(lambda: a.status.wanted[0].attempts > 1)
        cancelled.cancel()
        await self.expect(CancelledError, cancelled)
        b = await self.start(3, port=port)
        await kept
        self.assertEqual(b.data, ["kept"])

    async def test_only_packet(self) -> None:
        """When the last packet for an address is cancelled, it is not dialed any more."""
        counting = CountingFactory()
        port = await self.listen(counting)
        node = await self.start(2, settings=settings(retry_count=1000))
        sent = node.send_data((7, HOST, port), b"x")
        await until(lambda: counting.connections >= 2)
        sent.cancel()
        await self.expect(CancelledError, sent)
        await until(lambda: not node.status.wanted)
        self.assertEqual(self.logged("error"), [])

    async def test_in_flight(self) -> None:
        """A send that is cancelled in flight ends for its caller; the packet may be handled, others are unharmed."""
        a = await self.start(2, settings=settings(delivery_timeout=0.5))
        b = await self.start(3, kind=Silent)
        sent = [a.send_data(b.info, number) for number in range(3)]
        await until(lambda: len(b.packets) == 3)
        sent[1].cancel()
        await self.expect(CancelledError, sent[1])
        b.finish()
        await gatherResults([sent[0], sent[2]])
        await until(lambda: a.factory.load.queued == 0)
        await self.expect(DeliveryTimeout, a.send_data(b.info, "later"))
        self.assertEqual(b.data, [0, 1, 2, "later"])
        b.finish()

    async def test_start(self) -> None:
        """A start that is cancelled leaves a node that can be shut down."""
        silent = await self.listen(Factory.forProtocol(Protocol))
        node = self.make(2, (HOST, silent))
        started = node.start_node()
        await turns(3)
        started.cancel()
        await self.expect(CancelledError, started)
        await node.shutdown()

    async def test_when_joined(self) -> None:
        """Waiting can be given up."""
        node = await self.start(2)
        joined = node.when_joined()
        joined.cancel()
        await self.expect(CancelledError, joined)


class JoinTests(NetworkTestCase):
    async def test_bootstrap_dials_first(self) -> None:
        """A node joins even if its bootstrap node has linked it before, so that its own connection is superfluous."""

        class Longest(random.Random):
            def uniform(self, a: float, b: float) -> float:
                return b

        port = await self.free_port()
        slow = settings(backoff_first=0.5, backoff_cap=0.5, backoff_late_cap=0.5)
        node = self.make(2, (HOST, port), settings=slow, rng=Longest())
        started = node.start_node()
        await until(lambda: node.status.bootstraps[0].attempts)
        bootstrap = await self.bootstrap(port=port, peers=[(2, HOST, node.port)])
        await until(lambda: node.factory.link_drivers())
        self.assertFalse(node.status.joined)
        await started
        self.assertTrue(node.status.joined)
        (told,) = self.logged("info", node=2, containing="joined the network")
        self.assertIn(f"the bootstrap node at {HOST}:{port}", told, "not the port from which that has dialed")
        self.assertEqual([peer.node_id for peer in bootstrap.get_peers()], [2])

    async def test_id_taken(self) -> None:
        """Two nodes claim one id at a bootstrap node: the second is refused, the first is left alone."""
        bootstrap = await self.bootstrap()
        first = await self.start(2, bootstrap)
        second = self.make(2, bootstrap)
        error = await self.expect(JoinRefused, second.start_node())
        self.assertEqual((error.code, error.address), ("id-taken", f"{HOST}:{bootstrap.port}"))
        await until(lambda: self.logged("info", node=1, containing="was rejected: id-taken"))
        self.assertEqual(second.status.state, "stopped")
        self.assertTrue(first.status.joined)
        self.assertEqual(bootstrap.get_peers(), [first.info])
        await first.send_data(1, b"still here")

    async def test_one_id_at_the_same_moment(self) -> None:
        """Several nodes claim one id at the same moment: exactly one gets it and keeps it."""
        bootstrap = await self.bootstrap()
        nodes = [self.make(2, bootstrap) for _ in range(5)]
        outcomes = []
        for node in nodes:
            _ = node.start_node().addCallbacks(lambda _: outcomes.append(None), lambda f: outcomes.append(f.value))
        await until(lambda: len(outcomes) == 5)
        refused = [error for error in outcomes if isinstance(error, JoinRefused)]
        self.assertEqual({error.code for error in refused}, {"id-taken"})
        winner = [node for node in nodes if node.status.joined]
        self.assertEqual((len(winner), len(refused)), (1, 4))
        self.assertEqual(bootstrap.get_peers(), [winner[0].info])
        self.assertEqual(len(bootstrap.hooks), 1)

    async def test_id_free_again(self) -> None:
        """The id of a node that was shut down is free at once, for another key too."""
        bootstrap = await self.bootstrap()
        for _ in range(3):
            node = await self.start(2, bootstrap)
            await node.shutdown()

    async def test_id_of_the_bootstrap(self) -> None:
        """A node with the id of its bootstrap node."""
        bootstrap = await self.bootstrap()
        error = await self.expect(JoinRefused, self.make(1, bootstrap).start_node())
        self.assertEqual(error.code, "id-taken")
        await until(lambda: self.logged("info", containing="was rejected: id-taken"))

    async def test_other_network(self) -> None:
        """A bootstrap node of another network."""
        bootstrap = await self.bootstrap(network="staging")
        error = await self.expect(JoinRefused, self.make(2, bootstrap).start_node())
        self.assertEqual(error.code, "network")
        self.assertIn("network", str(error))
        await until(lambda: self.logged("info", node=1, containing="was rejected: network"))

    async def test_other_version(self) -> None:
        """A bootstrap node that speaks other versions only."""
        port = await self.impostor(lambda stranger: stranger.say(Reject("version", "this node speaks version 9")))
        error = await self.expect(JoinRefused, self.make(2, (HOST, port)).start_node())
        self.assertEqual((error.code, error.text), ("version", "this node speaks version 9"))

    async def test_refused_by_one_of_two(self) -> None:
        """One of two bootstrap nodes refuses: the other one is enough."""
        port = await self.impostor(lambda stranger: stranger.say(Reject("not-allowed")))
        bootstrap = await self.bootstrap()
        node = await self.start(2, (HOST, port), bootstrap)
        self.assertTrue(node.status.joined)

    async def test_away(self) -> None:
        """A bootstrap node that is away is no error of the start: it is logged, and the status says so."""
        port = await self.free_port()
        node = await self.start(2, (HOST, port))
        self.assertFalse(node.status.joined)
        self.assertEqual(node.status.state, "running")
        self.assertEqual((len(self.logged("warn")), len(self.logged("error"))), (3, 1))
        self.assertEqual(node.status.bootstraps[0].address, f"{HOST}:{port}")
        self.assertIn("refused", node.status.bootstraps[0].last_error)

    async def test_same_bootstrap_twice(self) -> None:
        """A bootstrap node that is named twice and is away delays the start no longer than one."""
        port = await self.free_port()
        node = await self.start(2, (HOST, port), (HOST, port))
        self.assertFalse(node.status.joined)
        self.assertEqual(len(node.status.bootstraps), 1)

    async def test_is_no_bootstrap(self) -> None:
        """The bootstrap address is that of an ordinary node: the start ends, and the log says what is wrong."""
        other = await self.start(3)
        node = await self.start(2, other)
        self.assertFalse(node.status.joined)
        self.assertEqual(len(self.logged("error", node=2, containing="is no bootstrap node")), 1)
        (status,) = node.status.bootstraps
        self.assertEqual((status.state, status.node_id), ("mistaken", 3))
        self.assertEqual(status.last_error, "node 3 answers there, which is no bootstrap node")
        await node.send_data(3, b"x")

    async def test_is_no_bootstrap_for_long(self) -> None:
        """It goes on when another outage ends in such a node; a bootstrap node that comes there in the end is taken."""
        port, identity = await self.free_port(), self.stored_identity()
        node = await self.start(2, (HOST, port), settings=settings(retry_count=0))
        for _ in range(2):
            other = await self.start(3, port=port, identity=identity)
            await until(lambda: node.status.bootstraps[0].state == "mistaken")
            await other.shutdown()
            await until(lambda: node.status.bootstraps[0].state != "mistaken")
        self.assertEqual(len(self.logged("error", node=2, containing="is no bootstrap node")), 1)
        self.assertEqual(self.logged("info", node=2, containing="healed: the bootstrap node"), [])
        await self.bootstrap(1, port=port)
        await node.when_joined()
        self.assertEqual([wanted.state for wanted in node.status.bootstraps], ["linked"])
        self.assertEqual(len(self.logged("info", node=2, containing="healed: the bootstrap node (id 1) at")), 1)

    async def test_bootstrap_is_another(self) -> None:
        """A bootstrap node that is lost while the node runs, and another one in its place: an ERROR names both keys."""
        first, second = self.stored_identity(), self.stored_identity()
        bootstrap = await self.bootstrap(1, identity=first)
        node = await self.start(2, bootstrap, settings=settings(retry_count=0))
        await bootstrap.shutdown()
        await until(lambda: self.logged("error", node=2, containing="no link to the bootstrap node (id 1) at"))
        await self.bootstrap(1, port=bootstrap.port, identity=second)
        keys = [fingerprint_text(identity.fingerprint) for identity in (first, second)]
        await until(lambda: self.logged("error", node=2, containing=f"expected {keys[0]} there, but found {keys[1]}"))
        attempts = node.status.bootstraps[0].attempts
        await until(lambda: node.status.bootstraps[0].attempts > attempts + 2)
        self.assertEqual(len(self.logged("error", node=2)), 2)

    async def test_refused_later(self) -> None:
        """A bootstrap node that comes later than the node, and refuses it: both tell why."""
        port = await self.free_port()
        node = await self.start(2, (HOST, port), settings=settings(retry_count=0))
        await self.bootstrap(1, port=port, network_secret="a secret of this network")
        await until(lambda: self.logged("error", node=2, containing="rejected: bad-secret"))
        key = fingerprint_text(node.factory.identity.fingerprint)
        await until(lambda: self.logged("info", node=1, containing=f"with the key {key} was rejected: bad-secret"))

    async def test_mute_bootstrap(self) -> None:
        """A bootstrap node that never answers a registration: the start ends all the same."""

        def answer(stranger: Stranger) -> None:
            async def speak() -> None:
                stranger.say(stranger.welcome(role="bootstrap"))
                await stranger.become_link()

            _ = Deferred.fromCoroutine(speak()).addErrback(lambda _: None)

        port = await self.impostor(answer)
        node = await self.start(2, (HOST, port), settings=settings(timeout=0.3, goodbye_timeout=0.1))
        self.assertFalse(node.status.joined)
        self.assertEqual(len(self.logged("warn", containing="has not answered")), 1)
