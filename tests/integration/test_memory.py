"""What peers that do not play along can cost: memory is measured in processes of its own."""

from __future__ import annotations

import json
import time
from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from netlayer import DataPacket
from netlayer.errors import LinkLost
from netlayer.net.driver import TURN
from netlayer.wire.frames import encode_frame
from netlayer.wire.messages import (
    Ack,
    Goodbye,
    MessageType,
    NetAddress,
    Peers,
    Ping,
    Record,
    Register,
    Registered,
    RejectCode,
    encode_data,
    encode_message,
)
from tests.integration.network import HOST, MIB, NetworkTestCase, settings, turns, until
from tests.integration.processes import Script

#: A peer that links, and then reads nothing (deaf) or says nothing (mute). It prints its port.
HOSTILE = """
import sys
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory
from netlayer.wire.messages import Hello
from tests.integration.stranger import Stranger

class Hostile(Stranger):
    def handshakeCompleted(self):
        super().handshakeCompleted()
        Deferred.fromCoroutine(self.misbehave())

    def dataReceived(self, data):
        super().dataReceived(data)
        self.heard = [message for message in self.heard if type(message) is not bytes]

    async def misbehave(self):
        await self.next(Hello)
        self.say(self.welcome())
        await self.become_link()
        if sys.argv[1] == "deaf":
            self.transport.pauseProducing()

stranger = Hostile(9)
endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
listening = endpoint.listen(stranger.tls.secured(Factory.forProtocol(lambda: stranger), dials=False))
listening.addCallback(lambda port: print("port", port.getHost().port, flush=True))
reactor.callLater(60, reactor.stop)
reactor.run()
"""

#: A node that sends 400 MB to such a peer, and prints what that has cost.
SENDER = """
import json, sys
from pathlib import Path
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater, react
from netlayer import Node
from netlayer.errors import QueueFull

def memory(what):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) * 1024

async def main(reactor):
    node = Node(1, "localhost", 0, peers=[(9, "localhost", int(sys.argv[1]))], reactor=reactor)
    await node.start_node()
    assert node.get_peers(), "not linked"
    before, outcomes = memory("VmRSS"), {}

    def ended(result):
        name = type(getattr(result, "value", None)).__name__
        outcomes[name] = outcomes.get(name, 0) + 1

    full = None
    for number in range(400 * 16):
        sent = node.send_data(9, bytes([number % 256]) * 65536)
        if getattr(sent.result if sent.called else None, "type", None) is QueueFull and full is None:
            full = number
        sent.addBoth(ended)
        if number % 100 == 99:
            await deferLater(reactor, 0.01)
    queued = node.status.links[0].queued if node.status.links else None
    cost = memory("VmHWM") - before
    print(json.dumps({"cost": cost, "queued": queued, "outcomes": outcomes, "first refused": full}), flush=True)

react(lambda reactor: ensureDeferred(main(reactor)))
"""


class SenderMemoryTests(SynchronousTestCase):
    def measure(self, behaviour: str) -> None:
        hostile = Script(HOSTILE, command=("script.py", behaviour))
        self.addCleanup(hostile.kill)
        sender = Script(SENDER, command=("script.py", hostile.read(r"^port (\d+)$")[1]))
        self.addCleanup(sender.kill)
        told = json.loads(sender.read(r"^(\{.*\})$", within=40.0)[1])
        print(f"{behaviour}: {told}")
        self.assertGreater(told["outcomes"]["QueueFull"], 6000)  # of 6,400
        self.assertGreater(told["first refused"], 3.5 * 16)  # the half of the queue that is not for handlers
        self.assertLess(told["first refused"], 6 * 16)
        self.assertLess(told["cost"], 8 * MIB + 32 * MIB)

    def test_peer_that_does_not_read(self) -> None:
        """400 MB for a peer that stopped reading cost the queue limit and some, and the sender is told QueueFull."""
        self.measure("deaf")

    def test_peer_that_does_not_acknowledge(self) -> None:
        """400 MB for a peer that reads and never acknowledges cost no more."""
        self.measure("mute")


class FloodTests(NetworkTestCase):
    async def test_pings_unread(self) -> None:
        """A peer that asks for signs of life and does not read the answers is owed one answer, not all."""
        node = await self.start(1, settings=settings(dead_after=10.0))
        stranger = await self.stranger(node)
        await stranger.link()
        await until(lambda: node.peer_ids == {99})
        link = node.driver(99)
        stranger.transport.pauseProducing()
        for _ in range(20):
            stranger.say(*[Ping(b"unheard!")] * 1000)
            await turns(1)
        await until(lambda: link.connection.bytes_received > 20 * 1000 * 13)
        self.assertLess(sum(map(len, link.connection._control)), 1000)
        self.assertEqual(node.peer_ids, {99})

    async def test_registrations_unread(self) -> None:
        """A peer that registers again and again and does not read the answers loses its link."""
        bootstrap = await self.bootstrap()
        await self.start(2, bootstrap)
        stranger = await self.stranger(bootstrap)
        await stranger.link()
        stranger.transport.pauseProducing()

        def stranger_is_gone() -> bool:
            return all(link.introduction.node_id != 99 for link in bootstrap.factory.link_drivers())

        for _ in range(200):
            stranger.say(*[Register((), True)] * 500)
            await turns(1)
            if stranger_is_gone():
                break
        await until(stranger_is_gone)

    async def test_small_packets(self) -> None:
        """However many packets come at once, others have their turns meanwhile; none is lost and none overtakes."""
        node = await self.start(1)
        stranger = await self.stranger(node)
        await stranger.link()
        await until(lambda: node.peer_ids == {99})
        turn, handled = 0, []

        def handler(packet: DataPacket) -> None:
            handled.append((turn, packet.data))
            ends = time.perf_counter() + TURN / 50
            while time.perf_counter() < ends:
                pass

        node.handle_data = handler
        packets = [encode_data(MessageType.DATA, 0, 0, b"%d" % number) for number in range(2000)]
        stranger.say(b"".join(packets[:1000]))
        while len(handled) < 1000:
            turn += 1
            await turns(1)
        self.assertLessEqual(max(Counter(turn for turn, _ in handled).values()), 200)
        await until(lambda: any(message == Ack(1000) for message in stranger.heard))
        stranger.say(b"".join(packets[1000:]))
        stranger.transport.loseConnection()
        await until(lambda: node.lost)
        self.assertEqual([data for _, data in handled], [b"%d" % number for number in range(2000)])

    async def test_garbage(self) -> None:
        """Bytes that are no message end the link with a reason for both ends, and nothing else."""
        node = await self.start(1)
        for garbage in (
            b"GET / HTTP/1.1\r\n\r\n",
            encode_frame(99, b"unknown"),
            encode_frame(MessageType.ACK, b"\x91\xff"),
            encode_frame(MessageType.DATA, b""),
            b"\xff\xff\xff\xff\x10",
        ):
            stranger = await self.stranger(node)
            await stranger.link()
            await until(lambda: node.peer_ids == {99})
            stranger.say(garbage)
            self.assertEqual((await stranger.refused()).code, RejectCode.PROTOCOL_VIOLATION)
            await until(lambda: not node.peer_ids)
        self.assertEqual(self.logged("error"), [])

    async def test_many_strangers(self) -> None:
        """Of many connections that say nothing, only the newest are kept, and an honest node is linked all the same."""
        node = await self.start(1, settings=settings(max_handshakes=20))
        strangers = [await self.stranger(node) for _ in range(60)]
        await until(lambda: sum(not stranger.closed for stranger in strangers) <= 20)
        self.assertFalse(strangers[-1].closed)
        await self.start(2, peers=[(1, HOST, node.port)])
        await until(lambda: node.peer_ids == {2})

    async def test_self_appointed_bootstrap(self) -> None:
        """Who calls itself a bootstrap node, and is none that this node was given, is told and believed nothing."""
        node = await self.start(1)
        stranger = await self.stranger(node)
        await stranger.link(role="bootstrap")
        invented = Record(5, b"f" * 32, (NetAddress(HOST, 1),), 1, True)
        lies = Peers((invented,)), Registered(15.0, records=(invented,))
        await until(lambda: node.factory.link_drivers())
        before, size = node.driver(99).connection.bytes_received, sum(len(encode_message(lie)) for lie in lies)
        stranger.say(*lies)
        await until(lambda: node.driver(99).connection.bytes_received >= before + size)
        self.assertEqual((node.status.wanted, node.status.joined), ((), False))
        self.assertFalse([message for message in stranger.heard if isinstance(message, Register)])

    async def test_addresses_elsewhere(self) -> None:
        """A node without a secret dials nobody beyond this machine because somebody says so."""
        bootstrap = await self.bootstrap()
        stranger = await self.stranger(bootstrap)
        await stranger.link()
        stranger.say(Register((NetAddress("192.0.2.1", 80),), True))
        await stranger.next(Registered)
        node = await self.start(2, bootstrap)
        self.assertEqual(node.status.wanted, ())

    async def test_slow_goodbye(self) -> None:
        """A peer that says goodbye and never closes is closed."""
        node = await self.start(1)
        stranger = await self.stranger(node)
        await stranger.link()
        stranger.say(Goodbye("shutdown"))
        await stranger.next(Goodbye)
        await until(lambda: stranger.closed)
        self.assertIsInstance(node.lost[0], LinkLost)
        self.assertEqual(node.lost[0].goodbye, "shutdown")
