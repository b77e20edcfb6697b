"""Handlers: in which order they start, what they may wait for, and what they can't break."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks
from twisted.internet.task import deferLater

from netlayer import DataPacket, Node, PeerProtocol, PeerService
from netlayer.errors import DeliveryTimeout, HandlerFailed, LinkLost, QueueFull
from tests.integration.network import HOST, KIB, MIB, NetworkTestCase, reactor, settings, turns, until

#: A window that few packets fill.
SMALL = settings(window=64 * KIB)


async def deliver(node: Any, peer: int, values: list[Any], *, most: int = 8 * MIB) -> None:
    """Send packets, as many at once as the queue takes, or `most` bytes, and wait for all receipts."""

    def taken(value: Any) -> bool:
        refusals: list[Any] = []
        done = node.send_data(peer, value).addErrback(lambda failure: refusals.append(failure.trap(QueueFull)))
        sent.extend([] if refusals else [done])
        return not refusals

    sent: list[Deferred[None]] = []
    for value in values:
        await until(lambda: node.driver(peer).queued < most)
        while not taken(value):
            await turns(1)
    await gatherResults(sent, consumeErrors=True)


class EchoTests(NetworkTestCase):
    """A handler sends back to its sender and waits for the receipt, in both directions at once, all windows full."""

    async def check(self, bind: Callable[[Any], Callable[[DataPacket], Any]], *, settings: Any = SMALL) -> None:
        a = await self.start(2, settings=settings)
        b = await self.start(3, settings=settings, peers=[a.info])
        echoed: dict[int, list[int]] = {2: [], 3: []}

        def receives(node: Any) -> Callable[[DataPacket], Any]:
            echo = bind(node)

            def handler(packet: DataPacket) -> Any:
                number, kind, _ = packet.data
                if kind == "echo":
                    echoed[node.node_id].append(number)
                    return None
                return echo(DataPacket(packet.sender_id, [number, "echo", b"e" * 50]))

            return handler

        a.handle_data, b.handle_data = receives(a), receives(b)
        requests = [[number, "request", b"r" * 6000] for number in range(120)]
        await gatherResults([Deferred.fromCoroutine(deliver(*to, requests)) for to in ((a, 3), (b, 2))])
        await until(lambda: all(len(heard) == len(requests) for heard in echoed.values()))
        self.assertEqual(echoed, {2: list(range(120)), 3: list(range(120))})
        self.assertEqual((a.factory.load.handlers, b.factory.load.handlers), (0, 0))
        self.assertEqual(len(a.hooks) + len(b.hooks), 2)

    async def test_deferred(self) -> None:
        """The handler returns the Deferred of its own send."""
        await self.check(lambda node: lambda packet: node.send_data(packet.sender_id, packet.data))

    async def test_coroutine(self) -> None:
        """The handler is a coroutine that awaits its own send."""

        def bind(node: Any) -> Callable[[DataPacket], Any]:
            async def handler(packet: DataPacket) -> None:
                await node.send_data(packet.sender_id, packet.data)

            return handler

        await self.check(bind)

    async def test_inline_callbacks(self) -> None:
        """The handler is decorated by inlineCallbacks."""

        def bind(node: Any) -> Callable[[DataPacket], Any]:
            @inlineCallbacks
            def handler(packet: DataPacket) -> Any:
                yield node.send_data(packet.sender_id, packet.data)

            return handler

        await self.check(bind)

    async def test_plain(self) -> None:
        """The handler sends and waits for nothing."""

        def bind(node: Any) -> Callable[[DataPacket], Any]:
            def handler(packet: DataPacket) -> None:
                node.link(packet.sender_id).send_packet(packet.data)

            return handler

        await self.check(bind)

    async def test_default_window(self) -> None:
        """The same with the windows that nodes have."""
        await self.check(lambda node: lambda packet: node.send_data(packet.sender_id, packet.data), settings=settings())

    async def test_ring(self) -> None:
        """Four nodes in a ring: each handler passes the packet on and waits; every window between them is full."""
        _, *nodes = await self.network(4, settings=SMALL)
        done: list[int] = []

        def passes_on(node: Any, following: int) -> Callable[[DataPacket], Any]:
            def handler(packet: DataPacket) -> Any:
                number, hops, _ = packet.data
                if hops == 0:
                    done.append(number)
                    return None
                return node.send_data(following, [number, hops - 1, b""])

            return handler

        for at, node in enumerate(nodes):
            node.handle_data = passes_on(node, nodes[(at + 1) % 4].node_id)
        sent = []
        for at, node in enumerate(nodes):
            values = [[at * 100 + number, 6, b"x" * 4000] for number in range(25)]
            sent.append(Deferred.fromCoroutine(deliver(node, nodes[(at + 1) % 4].node_id, values, most=48 * KIB)))
        await gatherResults(sent, consumeErrors=True)
        self.assertEqual(sorted(done), sorted(at * 100 + number for at in range(4) for number in range(25)))


class SlowHandlerTests(NetworkTestCase):
    async def test_others_are_not_held_up(self) -> None:
        """A handler that takes its time holds up no other packet of its sender, and no receipt."""
        a, b = await self.start(2), await self.start(3)
        slow: Deferred[None] = Deferred()
        b.handle_data = lambda packet: slow if packet.data == "slow" else None
        waiting = a.send_data(b.info, "slow")
        for number in range(20):
            await a.send_data(b.info, number)
        await a.broadcast_data("all")
        self.assertFalse(waiting.called)
        slow.callback(None)
        await waiting

    async def test_liveness(self) -> None:
        """A handler that takes longer than `dead_after` does not make its node look dead."""
        quick = settings(ping_after=0.1, dead_after=0.3)
        a, b = await self.start(2, settings=quick), await self.start(3, settings=quick)
        b.handle_data = lambda packet: deferLater(reactor, 0.8)
        await a.send_data(b.info, "x")
        self.assertEqual((a.hooks, b.hooks), ([("joined", 3)], [("joined", 2)]))

    async def test_start_in_order_and_overlap(self) -> None:
        """Handlers start in the order of sending, whenever each of them finishes."""
        a, b = await self.start(2), await self.start(3)
        started: list[int] = []
        finished: list[int] = []
        rng = random.Random(7)

        async def handler(packet: DataPacket) -> None:
            started.append(packet.data)
            await deferLater(reactor, rng.uniform(0.0, 0.03))
            finished.append(packet.data)
            if packet.data % 7 == 3:
                raise ValueError(packet.data)

        b.handle_data = handler
        sent = [a.send_data(b.info, number) for number in range(200)]
        failed = [number for number, deferred in enumerate(sent) if not await self.succeeds(deferred)]
        self.assertEqual(started, list(range(200)))
        self.assertNotEqual(finished, started)
        self.assertEqual(failed, [number for number in range(200) if number % 7 == 3])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), len(failed))

    async def succeeds(self, deferred: Deferred[None]) -> bool:
        try:
            await deferred
        except HandlerFailed:
            return False
        return True

    async def test_blocking(self) -> None:
        """A handler that holds the reactor for too long is named in a warning; a quick one is not."""
        quick = settings(blocking_handler=0.3)
        a, b = await self.start(2), await self.start(3, settings=quick)

        def holds_the_reactor(packet: DataPacket) -> None:
            time.sleep(packet.data)

        b.handle_data = holds_the_reactor
        await a.send_data(b.info, 0.0)
        self.assertEqual(self.logged("warn", containing="held"), [])
        await a.send_data(b.info, 0.4)
        (warning,) = self.logged("warn", node=3, containing="held")
        self.assertIn("test_blocking.<locals>.holds_the_reactor held the reactor for 0.", warning)
        self.assertIn("deferToThread", warning)

    async def test_blocking_in_a_protocol(self) -> None:
        """The handler of an application's own protocol is named by its class, also when it fails after that."""

        class Chat(PeerProtocol):
            def packet_received(self, packet: DataPacket) -> None:
                time.sleep(0.03)
                raise ValueError

        service = PeerService(
            reactor, node_id=3, listen=(HOST, 0), protocol=Chat, settings=settings(blocking_handler=0.02)
        )
        self.addCleanup(service.stop)
        await service.start()
        assert service.listening is not None
        a = await self.start(2)
        await self.expect(HandlerFailed, a.send_data((3, *service.listening), b"x"))
        self.assertEqual(len(self.logged("warn", node=3, containing="Chat.packet_received held the reactor")), 1)
        self.assertIn("Chat.packet_received failed on a packet of peer 2", self.logged("error", node=3)[0])
        self.flushLoggedErrors(ValueError)


class HandlerEndTests(NetworkTestCase):
    async def test_finishes_on_another_link(self) -> None:
        """A handler that finishes after its connection broke: its receipt takes the next one, once."""
        a, b = await self.start(2), await self.start(3)
        running: list[Deferred[None]] = []

        def handler(packet: DataPacket) -> Deferred[None]:
            running.append(Deferred())
            return running[-1]

        b.handle_data = handler
        first, second = a.send_data(b.info, "between"), a.send_data(b.info, "after")
        await until(lambda: len(running) == 2)
        b._service._membership.redials_met = a._service._membership.redials_met = False
        a.cut(3)
        await until(lambda: not a.peer_ids and not b.peer_ids)
        running[0].callback(None)
        third = a.send_data(b.info, "third")
        await first
        self.assertFalse(second.called)
        running[1].errback(ValueError("late"))
        error = await self.expect(HandlerFailed, second)
        self.assertEqual(error.text, "ValueError: late")
        await until(lambda: len(running) == 3)
        running[2].callback(None)
        await third
        self.flushLoggedErrors(ValueError)

    async def test_finishes_after_the_session(self) -> None:
        """A handler that finishes when its session is long forgotten harms nobody."""
        quick = settings(session_timeout=0.1, delivery_timeout=0.2, goodbye_timeout=0.1)
        a, b = await self.start(2, settings=quick), await self.start(3, settings=quick)
        slow: Deferred[None] = Deferred()
        b.handle_data = lambda packet: slow
        sent = a.send_data(b.info, "x")
        await until(lambda: b.factory.load.handlers)
        await self.expect(DeliveryTimeout, sent)
        await a.shutdown()
        await until(lambda: not b.peer_ids and not b.factory.remotes)
        a = await self.start(2, peers=[b.info])
        slow.callback(None)
        b.handle_data = lambda packet: None
        await a.send_data(3, "y")
        self.assertEqual(b.factory.load.handlers, 0)

    async def test_shuts_its_node_down(self) -> None:
        """A handler that shuts its node down, and waits for that or not, gets its receipt out, and nothing hangs."""
        sender = await self.start(2)
        for number, waits in enumerate((False, True)):
            node = await self.start(3 + number)

            async def handler(packet: DataPacket, node: Any = node, waits: bool = waits) -> None:
                if waits:
                    await node.shutdown()
                else:
                    node.shutdown()

            node.handle_data = handler
            began = reactor.seconds()
            await sender.send_data(node.info, "stop")
            await node.wait()
            self.assertLess(reactor.seconds() - began, 1.0)
            self.assertEqual(sender.lost[-1].goodbye, "shutdown")

    async def test_disconnects(self) -> None:
        """A handler that disconnects: packets that came with the same bytes are handled all the same."""
        handled: list[Any] = []

        class Curt(PeerProtocol):
            def packet_received(self, packet: DataPacket) -> None:
                handled.append(packet.data)
                self.disconnect()

            def peer_lost(self, reason: LinkLost) -> None:
                handled.append("lost")

        service = PeerService(reactor, node_id=3, listen=(HOST, 0), protocol=Curt, settings=settings())
        self.addCleanup(service.stop)
        await service.start()
        assert service.listening is not None
        a = await self.start(2)
        sent = [a.send_data((3, *service.listening), number) for number in range(3)]
        await gatherResults(sent)
        await until(lambda: "lost" in handled)
        self.assertEqual(handled, [0, 1, 2, "lost"])

    async def test_rebound(self) -> None:
        """handle_data can be bound anew at any time, as the examples do; what it returns does not matter."""
        a, b = await self.start(2), await self.start(3)

        def handle_data(self: Any, packet: DataPacket) -> str:
            self.noted = (self.node_id, str(packet))
            return "whatever"

        b.handle_data = handle_data.__get__(b, Node)
        await a.send_data(b.info, "x")
        self.assertEqual(b.noted, (3, "2: x"))

    async def test_hooks_of_a_node(self) -> None:
        """peer_joined and peer_left may send; a packet that peer_joined sends arrives."""
        a = self.make(2)
        b = await self.start(3)
        a.peer_joined = lambda peer: a.send_data(peer, "hello")
        a.peer_left = lambda peer, reason: a.send_data(peer, "too late").addErrback(lambda _: None)
        await a.start_node()
        await b.send_data(a.info, "x")
        await until(lambda: b.data == ["hello"])
        await b.shutdown()


class GeneratorTests(NetworkTestCase):
    async def test_forgotten_decorator(self) -> None:
        """A handler with ``yield`` that is not decorated does nothing, and its sender is told so."""
        a = await self.start(2)
        b = await self.start(3, peers=[(2, HOST, a.port)])

        def handler(packet: DataPacket) -> Any:
            yield

        b.handle_data = handler
        failed = await self.expect(HandlerFailed, a.send_data(3, "x"))
        self.assertIn("yield", failed.text)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)


class ShutdownTests(NetworkTestCase):
    async def test_waits_for_its_own_end(self) -> None:
        """A handler may wait for the end of its own node, as it would of any; its sender still gets the receipt."""
        a = await self.start(2)
        b = await self.start(3, peers=[(2, HOST, a.port)])
        b.handle_data = lambda packet: b._service.stop()
        await a.send_data(3, "stop")
        await b.wait()
        self.assertEqual(b.status.state, "stopped")

    async def test_what_a_handler_has_begun(self) -> None:
        """A task that a handler has begun, and that goes on without it, waits for the shutdown like anybody."""
        a = await self.start(2)
        b = await self.start(3, peers=[(2, HOST, a.port)])
        states: list[str] = []

        async def stop_later() -> None:
            await deferLater(reactor, 0.01)
            await b.shutdown()
            states.append(b.status.state)

        def begin(packet: DataPacket) -> None:
            Deferred.fromCoroutine(stop_later())

        b.handle_data = begin
        await a.send_data(3, "stop soon")
        await until(lambda: states)
        self.assertEqual(states, ["stopped"])

    async def test_inline_callbacks(self) -> None:
        """A handler decorated by inlineCallbacks does not wait for itself either, when it has waited before."""
        a = await self.start(2)
        b = await self.start(3, peers=[(2, HOST, a.port)])

        @inlineCallbacks
        def stop_later(packet: DataPacket) -> Any:
            yield deferLater(reactor, 0.01)
            yield b.shutdown()

        b.handle_data = stop_later
        await a.send_data(3, "stop")
        await b.wait()

    async def test_whom_a_handler_wakes(self) -> None:
        """A coroutine that a handler wakes, and that shuts the node down then, waits for that like anybody."""
        a = await self.start(2)
        b = await self.start(3, peers=[(2, HOST, a.port)])
        asked: Deferred[None] = Deferred()

        async def stop_when_asked() -> str:
            await asked
            await b.shutdown()
            return str(b.status.state)

        async def handler(packet: DataPacket) -> None:
            await turns(1)
            asked.callback(None)

        b.handle_data = handler
        state = Deferred.fromCoroutine(stop_when_asked())
        await a.send_data(3, "stop")
        self.assertEqual(await state, "stopped")


class BrokenConnectionTests(NetworkTestCase):
    """Nothing lost, nothing twice, in order, over any number of broken connections.

    Of three connections in a row one brings something through: a large packet in which three break is given up.
    """

    async def check(self, sizes: Callable[[random.Random], int], count: int, cuts: int) -> None:
        a, b = await self.start(2), await self.start(3)
        await a.send_data(b.info, [-1, b""])
        received: list[int] = []
        b.handle_data = lambda packet: received.append(packet.data[0])
        link, rng = a.link(3), random.Random(11)
        confirmed = []
        cut_after = set(rng.sample(range(count), cuts))
        cut_at: list[int] = []  # how many had been received at each cut
        for number in range(count):
            await until(lambda: link.link.queued < 2**22)
            value = [number, b"x" * sizes(rng)]
            if number % 50:
                link.send_packet(value)
            else:
                confirmed.append(link.send_packet(value, confirm=True))
            if number in cut_after:
                await deferLater(reactor, rng.choice((0.0, 0.001, 0.003)))
                node, peer = rng.choice(((a, 3), (b, 2)))
                await until(lambda: len(cut_at) < 2 or len(received) > cut_at[-2])
                await until(lambda node=node: node.peer_ids)
                cut_at.append(len(received))
                node.cut(peer)
        await gatherResults(confirmed)
        await link.when_drained()
        self.assertEqual(received, list(range(count)))
        self.assertGreater(len([hook for hook in a.hooks if hook[0] == "left"]), cuts / 2)
        self.assertEqual(self.logged("error"), [])

    async def test_small_packets(self) -> None:
        """Thousands of small packets."""
        await self.check(lambda rng: rng.randrange(100), count=4000, cuts=20)

    async def test_large_packets(self) -> None:
        """Packets that travel in parts, and are cut in their middle."""
        await self.check(lambda rng: rng.choice((10, 70_000, 400_000)), count=60, cuts=10)

    async def test_both_directions(self) -> None:
        """Both ends send, with slow and failing handlers; every sender learns the truth about each packet."""
        a, b = await self.start(2), await self.start(3, peers=[])
        await a.send_data(b.info, "link")
        rng = random.Random(5)
        handled: dict[int, list[int]] = {2: [], 3: []}

        def receives(node: Any) -> Callable[[DataPacket], Any]:
            async def handler(packet: DataPacket) -> None:
                handled[node.node_id].append(packet.data)
                await deferLater(reactor, rng.uniform(0.0, 0.01))
                if packet.data % 5 == 0:
                    raise ValueError(packet.data)

            return handler

        a.handle_data, b.handle_data = receives(a), receives(b)
        outcomes: dict[int, dict[int, bool]] = {2: {}, 3: {}}

        def note(peer: int, number: int, succeeded: bool) -> None:
            outcomes[peer][number] = succeeded

        waiting = []
        for number in range(150):
            for node, peer in ((a, 3), (b, 2)):
                sent = node.send_data(peer, number)
                sent.addCallback(lambda _, peer=peer, number=number: note(peer, number, True))
                sent.addErrback(lambda f, peer=peer, number=number: f.trap(HandlerFailed) and note(peer, number, False))
                waiting.append(sent)
            await turns(1)
            if number % 20 == 10 and a.peer_ids and b.peer_ids:
                rng.choice((lambda: a.cut(3), lambda: b.cut(2)))()
        await gatherResults(waiting)
        expected = {number: number % 5 != 0 for number in range(150)}
        self.assertEqual(outcomes, {2: expected, 3: expected})
        self.assertEqual(handled, {2: list(range(150)), 3: list(range(150))})
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 60)
