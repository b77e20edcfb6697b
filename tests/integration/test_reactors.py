"""One scenario in each way of holding a node: blocking, in a Twisted application, in task.react, in an asyncio loop.

And what asyncio's loop does otherwise: its timers and sockets inherit the context of the handler that has armed them.
"""

from __future__ import annotations

import json
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.processes import Script

#: What each way has to print: what the nodes received, the report of the broadcast, and how each mistake ended.
EXPECTED = {
    "joined": [True, True],
    "peers": [[3], [2]],
    "received": [2, "AAT/", "", 42, None, 1.5, [{"k": "deep"}], 1048576],
    "echoed": ["to 2"],
    "broadcast": [[2], []],
    "errors": [
        "UnknownPeer",
        "PeerUnreachable",
        "PeerIdentityMismatch",
        "InvalidPeer",
        "UnsupportedData",
        "HandlerFailed",
        "PacketTooLarge",
        "AlreadyStarted",
    ],
    "after": ["NodeStopped", []],
}

#: The scenario, with WAIT where a Deferred is waited for, or nothing where a call blocks.
SCENARIO = """
    MAKE
    received, echoed = [], []

    class Echo(Node):
        def handle_data(self, packet):
            if packet.data == "fail":
                raise ValueError("on purpose")
            if packet.data == "echo":
                return self.send_data(packet.sender_id, f"to {packet.sender_id}")
            received.append(packet.data)

    quick = Settings(backoff_first=0.01, max_packet=2 * 1024 * 1024)
    bootstrap = BootstrapNode(1, "localhost", 0, **options)
    WAIT bootstrap.start_bootstrap_node()
    address = ("localhost", bootstrap.port)
    one = Node(2, "localhost", 0, address, settings=quick, **options)
    one.handle_data = lambda packet: echoed.append(packet.data)
    two = Echo(3, "localhost", 0, address, **options)
    statuses = [WAIT one.start_node(), WAIT two.start_node()]
    WAIT one.when_joined()
    told = {"joined": [status.joined for status in statuses]}
    told["peers"] = [[peer.node_id for peer in node.get_peers()] for node in (one, two)]

    for value in (2, b"\\x00\\x04\\xff", "", 42, None, 1.5, [{"k": "deep"}], b"m" * 1048576):
        WAIT one.send_data((3, "localhost", two.port), value)
    WAIT one.send_data(3, "echo")
    received[-1] = len(received[-1])
    told["received"] = [base64.b64encode(v).decode() if type(v) is bytes else v for v in received]
    told["echoed"] = echoed[:]
    report = WAIT two.broadcast_data("all")
    told["broadcast"] = [sorted(report.delivered), sorted(report.failed)]

    told["errors"] = []
    for attempt in (
        lambda: one.send_data(99, "x"),
        lambda: one.send_data((99, "localhost", 1), "x"),
        lambda: one.send_data((99, "localhost", two.port), "x"),
        lambda: one.send_data(2, "to myself"),
        lambda: one.send_data(3, (1, 2)),
        lambda: one.send_data(3, "fail"),
        lambda: one.send_data(3, b"x" * 3 * 1024 * 1024),
        lambda: one.start_node(),
    ):
        try:
            WAIT attempt()
        except NetlayerError as error:
            told["errors"].append(type(error).__name__)
    for node in (one, two, bootstrap):
        WAIT node.shutdown()
    WAIT one.shutdown()
    try:
        WAIT one.send_data(3, "late")
    except NetlayerError as error:
        told["after"] = [type(error).__name__, one.get_peers()]
    print(json.dumps(told), flush=True)
"""

IMPORTS = """
import base64, json
from netlayer import BootstrapNode, Node, Settings
from netlayer.errors import NetlayerError
"""


def scenario(*, make: str, wait: str) -> str:
    return SCENARIO.replace("MAKE", make).replace("WAIT ", wait)


WAITING = "async def main(reactor):\n" + scenario(make="options = {'reactor': reactor}", wait="await ")

WAYS = {
    "blocking": IMPORTS + "if True:\n" + scenario(make="options = {}", wait=""),
    "react": IMPORTS
    + WAITING
    + """
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import react
react(lambda reactor: ensureDeferred(main(reactor)))
""",
    "application": IMPORTS
    + WAITING
    + """
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
ended = lambda failure: (failure.printTraceback(), reactor.stop())
reactor.callWhenRunning(lambda: ensureDeferred(main(reactor)).addCallback(lambda _: reactor.stop()).addErrback(ended))
reactor.run()
""",
    "asyncio": "import asyncio\nfrom twisted.internet import asyncioreactor\n"
    + "loop = asyncio.new_event_loop()\nasyncio.set_event_loop(loop)\nasyncioreactor.install(loop)\n"
    + IMPORTS
    + WAITING
    + """
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred

async def in_asyncio():
    reactor.startRunning()
    await ensureDeferred(main(reactor)).asFuture(loop)

loop.run_until_complete(in_asyncio())
""",
}

#: Two nodes in an asyncio loop, and a packet whose handler has armed the loop's timer when MEANWHILE is called by it.
SLOW_HANDLER = """
import json
from twisted.internet import asyncioreactor
asyncioreactor.install()
from twisted.internet import reactor, task
from twisted.internet.defer import ensureDeferred
from netlayer import PeerProtocol, PeerService, Settings

told = {}

class Slow(PeerProtocol):
    async def packet_received(self, packet):
        for _ in range(30):
            await task.deferLater(reactor, 0.01)
        told["handled"] = "sent" not in told
        IN_HANDLER

class Sender(PeerProtocol):
    def peer_lost(self, reason):
        told["lost"] = str(reason)

settings = Settings(goodbye_timeout=20.0, shutdown_timeout=30.0)
one = PeerService(reactor, node_id=1, listen=("localhost", 0), protocol=Slow, settings=settings)
two = PeerService(reactor, node_id=2, listen=("localhost", 0), protocol=Sender, settings=settings)
two.stops_with_reactor = False  # it would wait for its receipt

def meanwhile():
    MEANWHILE

def stopped(_):
    told["stopped"] = one.status.state
    reactor.stop()

async def main():
    await one.start()
    await two.start()
    sent = two.send((1, "localhost", one.listening.port), "x")
    reactor.callLater(0.2, meanwhile)
    await sent
    told["sent"] = True

def note():
    told.setdefault("stopped", one.status.state)
    print(json.dumps(told), flush=True)

reactor.addSystemEventTrigger("during", "shutdown", note)
reactor.callWhenRunning(lambda: ensureDeferred(main()))
reactor.run()
"""


class ReactorTests(SynchronousTestCase):
    """All scripts are started together, by the first test."""

    scripts: ClassVar[dict[str, Script]] = {}

    def check(self, way: str) -> None:
        if not self.scripts:
            self.scripts.update({name: Script(source) for name, source in WAYS.items()})
        script = self.scripts[way]
        self.addCleanup(script.kill)
        script.wait()
        self.assertNotIn("Unhandled", script.err)
        self.assertEqual(json.loads(script.read(r"^(\{.*\})$")[1]), EXPECTED, str(script))
        self.assertEqual(script.process.returncode, 0)

    def test_blocking(self) -> None:
        """In a plain script, where every verb blocks."""
        self.check("blocking")

    def test_react(self) -> None:
        """In a coroutine under ``task.react``."""
        self.check("react")

    def test_application(self) -> None:
        """In a program that runs the reactor itself."""
        self.check("application")

    def test_asyncio(self) -> None:
        """In an asyncio loop, under Twisted's asyncio reactor."""
        self.check("asyncio")


class AsyncioContextTests(SynchronousTestCase):
    """What timers do in an asyncio loop while a handler waits that has armed the one timer of the loop."""

    def check(self, meanwhile: str = "pass", *, in_handler: str = "pass", source: str = SLOW_HANDLER) -> None:
        script = Script(source.replace("MEANWHILE", meanwhile).replace("IN_HANDLER", in_handler))
        self.addCleanup(script.kill)
        script.wait()
        told = json.loads(script.read(r"^(\{.*\})$")[1])
        expected = {"handled": True, "sent": True, "lost": "goodbye: shutdown", "stopped": "stopped"}
        self.assertEqual(told, expected, script)
        self.assertEqual(script.err, "")

    def test_reactor_stops(self) -> None:
        """A reactor that a timer stops waits for the handler and the goodbyes."""
        self.check("reactor.stop()")

    def test_service_stops(self) -> None:
        """The Deferred of a stop that a timer asks for fires when the node has stopped, as everywhere."""
        self.check("one.stop().addCallback(stopped)")

    def test_shutdown_in_handler(self) -> None:
        """A handler itself still does not wait for its own end."""
        self.check(in_handler="await one.stop(); one.when_stopped().addCallback(stopped)")

    def test_future(self) -> None:
        """A handler may return a task of asyncio's: the receipt waits for its end."""
        source = SLOW_HANDLER.replace("task.deferLater(reactor, 0.01)", "asyncio.sleep(0.01)")
        source = source.replace("import json", "import asyncio, json").replace(
            "    async def packet_received(self, packet):",
            "    def packet_received(self, packet):\n"
            "        return asyncio.ensure_future(self.work())\n\n"
            "    async def work(self):",
        )
        self.check("reactor.callLater(0.5, lambda: one.stop().addCallback(stopped))", source=source)
