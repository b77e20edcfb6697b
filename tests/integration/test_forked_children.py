"""What becomes of nodes in a forked child that outlives its killed parent, and that the parent works on until then."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from unittest import skipUnless

from tests.integration.processes import Script, ScriptTestCase, script, wait_until

#: Seconds in which a peer notices that a process was killed, if nothing else holds its sockets.
PROMPT = 2.0

#: What scripts import: ``ask`` and ``outlive`` for the child, ``run`` and ``beat`` for a parent with a reactor.
FAMILY = """
import os, socket, sys, time

def ask(**questions):
    for name, question in questions.items():
        say("asked", name, outcome(question))

def outcome(question):
    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    try:
        answer = question()
    except Exception as error:
        return "raises " + shown(error)
    if not isinstance(answer, Deferred):
        return f"answers {answer!r}"
    results = []
    answer.addBoth(results.append)
    if not results:
        return "never fires"
    return "fails with " + shown(results[0].value) if isinstance(results[0], Failure) else "fires"

def shown(error):
    return type(error).__name__ + (" as it was forked" if "forked" in str(error) else "")

def outlive(parent, port, directory):
    from netlayer.storage.data_directory import DataDirectory

    say("child lives")
    while os.getppid() == parent:
        time.sleep(0.01)
    soon(lambda: socket.create_server(("127.0.0.1", port)).close())
    say("port is free")
    soon(lambda: DataDirectory.open(directory).release())
    say("directory is free")
    time.sleep(60)
    os._exit(0)

def soon(call):
    for _ in range(50):  # the last threads of a process may end a moment later than it
        try:
            return call()
        except Exception as error:
            last = error
            time.sleep(0.01)
    raise last

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # in one piece, as the parent writes there, too

def verbs_of(node):
    return dict(
        start_node=node.start_node,
        send_data=lambda: node.send_data(1, "hello"),
        broadcast_data=lambda: node.broadcast_data("hello"),
        when_joined=node.when_joined,
        wait=node.wait,
        shutdown=node.shutdown,
    )

def answers_of(node):
    return dict(
        status=lambda: node.status, port=lambda: node.port, node_id=lambda: node.node_id, get_peers=node.get_peers
    )

def run(main):
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred

    Deferred.fromCoroutine(main()).addErrback(failed)
    reactor.run()

def failed(failure):
    failure.printTraceback(sys.stderr)
    os._exit(1)

def beat(send):
    from twisted.internet.task import LoopingCall

    LoopingCall(lambda: send(1, "beat").addCallback(lambda _: say("beat"))).start(0.05)
"""

VERBS = ("start_node", "send_data", "broadcast_data", "when_joined", "wait", "shutdown")
ANSWERS = ("status", "port", "node_id", "get_peers")
SERVICE_VERBS = ("start", "stop", "stopService", "send", "broadcast", "when_joined", "when_stopped")
FACTORY_VERBS = ("connect", "listen", "stop_factory")
SERVICE_ANSWERS = ("status", "listening", "get_peers", "unlinked_peers", "bind")
FACTORY_ANSWERS = ("links", "peers", "broadcast_by_factory")

APPLICATION = """
import multiprocessing, os, sys, time
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from netlayer import *
from family import *

"""

#: The same on the loop of asyncio.
ASYNCIO = """
from twisted.internet import asyncioreactor
asyncioreactor.install()
"""

NODE = (
    APPLICATION
    + """
async def main():
    node = Node(NODE, "localhost", 0, peers=[(1, "localhost", WITNESS)], data_dir="node", reactor=reactor)
    await node.start_node()
    say("port", node.port)
    port, parent = node.port, os.getpid()
    while not os.path.exists("go"):
        await deferToThread(time.sleep, 0.05)
    if os.fork() == 0:
        ask(**verbs_of(node), **answers_of(node))
        ask(
            start_another=Node(1000 + NODE, "localhost", 0, reactor=reactor).start_node,
            start_blocking=Node(2000 + NODE, "localhost", 0).start_node,
        )
        outlive(parent, port, "node")
    beat(node.send_data)

run(main)
"""
)

posix = skipUnless(hasattr(os, "fork"), "processes fork on POSIX only")


def bound(path: Path) -> list[int]:
    """Return the ids that stand in a file of bindings, which nobody may hold up."""
    with closing(sqlite3.connect(path, timeout=0.0, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        ids = [row[0] for row in database.execute("SELECT node_id FROM bindings ORDER BY 1")]
        database.execute("ROLLBACK")
        return ids


@posix
class ForkTestCase(ScriptTestCase):
    """Scripts that fork while their node runs."""

    def read_child(self, *lines: str) -> None:
        """Wait until the child has printed lines, whatever has become of the script itself."""
        for line in lines:
            _ = wait_until(lambda line=line: f"{line}\n" in self.script.out, lambda: str(self.script), within=10.0)

    def assert_refused(self, names: tuple[str, ...], how: str) -> None:
        """The child was refused what it has asked for."""
        self.read_child("child lives")
        answers = [re.findall(rf"(?m)^asked {name} (.*)$", self.script.out) for name in names]
        self.assertEqual(answers, [[f"{how} LocalProtocolError as it was forked"]] * len(names), self.script)

    def assert_undisturbed(self, port: int) -> None:
        """The parent's link works after the fork as before, and its port accepts."""
        self.read_child("child lives")
        with socket.create_connection(("127.0.0.1", port), 5.0) as stranger:
            stranger.sendall(b"this is no TLS\r\n\r\n" * 4)
            while stranger.recv(1024):  # the parent says so, and closes the connection
                pass
        self.beats_on()
        self.assertNotRegex(self.witness.log, rf"peer {self.node_id} lost: ")

    def beats_on(self) -> None:
        """Wait until the parent has sent some more packets."""
        beats = self.beats
        _ = wait_until(lambda: self.beats > beats + 5, lambda: str(self.script), within=10.0)

    def assert_left(self) -> None:
        """Peers notice at once that the parent is killed, although its child lives, and others can take its place."""
        self.script.process.kill()
        self.script.process.wait()
        self.witness.read(rf"peer {self.node_id} lost: ", within=PROMPT, stream="log")
        self.read_child("port is free", "directory is free")

    @property
    def beats(self) -> int:
        """How many packets the parent has sent."""
        return self.script.out.count("beat\n")

    @property
    def port(self) -> int:
        """The port of the parent's node, which it has printed."""
        return int(self.script.read(r"^port (\d+)$")[1])


class ApplicationTests(ForkTestCase):
    """Nodes that run in an application's own reactor."""

    @script(NODE, modules={"family.py": FAMILY})
    def test_node(self) -> None:
        """A child of os.fork holds nothing of the node's, is refused everything, and does not disturb it."""
        self.assert_alone()

    @script(ASYNCIO + NODE, modules={"family.py": FAMILY})
    def test_asyncio(self) -> None:
        """It is the same on asyncio's loop."""
        self.assert_alone()

    def assert_alone(self) -> None:
        """The node that :data:`NODE` makes is its process's alone."""
        with socket.create_connection(("127.0.0.1", self.port), 5.0) as silent:
            (self.script.directory / "go").touch()
            self.assert_refused((*VERBS, "start_another"), "fails with")
            self.assert_refused((*ANSWERS, "start_blocking"), "raises")
            self.assert_undisturbed(self.port)
            self.assertEqual(self.script.err, "")
            silent.setblocking(False)
            self.assertRaises(BlockingIOError, silent.recv, 1)
            silent.settimeout(PROMPT)
            self.assert_left()
            self.assertEqual(silent.recv(1), b"")

    @script(
        APPLICATION
        + """
def in_child(node, port, parent):
    ask(**verbs_of(node), **answers_of(node))
    outlive(parent, port, "bootstrap")

async def main():
    bootstrap = BootstrapNode(
        NODE, "localhost", 0, peers=[(1, "localhost", WITNESS)], data_dir="bootstrap", reactor=reactor
    )
    await bootstrap.start_bootstrap_node()
    say("port", bootstrap.port)
    arguments = (bootstrap, bootstrap.port, os.getpid())
    await deferToThread(multiprocessing.get_context("fork").Process(target=in_child, args=arguments).start)
    beat(bootstrap.send_data)
    for number in range(3):
        name = f"member-{number}"
        member = Node(
            2000 + number, "localhost", 0, ("localhost", bootstrap.port), data_dir=name, reactor=reactor
        )
        status = await member.start_node()
        say(name, "joined", status.joined)

run(main)
""",
        modules={"family.py": FAMILY},
    )
    def test_bootstrap_node(self) -> None:
        """A child of multiprocessing neither uses nor locks the bindings, which its parent goes on writing."""
        self.assert_refused(VERBS, "fails with")
        self.assert_refused(ANSWERS, "raises")
        self.assert_undisturbed(self.port)
        self.script.read("^member-2 joined True$")
        self.assert_left()
        directory = self.script.directory / "bootstrap"
        self.assertEqual(bound(directory / "bindings.sqlite"), [2000, 2001, 2002])
        self.assert_restarts(directory, self.port)

    def assert_restarts(self, directory: Path, port: int) -> None:
        """A bootstrap node takes the place of the killed one, with its directory and its port."""
        source = f"""
            from netlayer import BootstrapNode
            node = BootstrapNode({self.node_id}, "localhost", {port}, data_dir={str(directory)!r})
            print("state", node.start_bootstrap_node().state)
            node.shutdown()
            """
        again = Script(source)
        self.addCleanup(again.kill)
        again.read("^state running$")
        self.assertEqual(again.wait(), 0, again)

    @script(
        APPLICATION
        + """
from twisted.application.service import MultiService

links = []

class Protocol(PeerProtocol):
    def peer_ready(self):
        links.append(self)

def verbs(service):
    return dict(
        start=service.start,
        stop=service.stop,
        stopService=service.stopService,
        send=lambda: service.send(1, "hello"),
        broadcast=lambda: service.broadcast("hello"),
        when_joined=service.when_joined,
        when_stopped=service.when_stopped,
        connect=lambda: service.factory.connect(None),
        listen=lambda: service.factory.listen(None),
        stop_factory=service.factory.stop,
    )

def answers(service):
    return dict(
        status=lambda: service.status,
        listening=lambda: service.listening,
        get_peers=service.get_peers,
        unlinked_peers=service.unlinked_peers,
        bind=service.privilegedStartService,
        links=service.factory.links,
        peers=service.factory.peers,
        broadcast_by_factory=lambda: service.factory.broadcast("hello"),
    )

def packets(link):
    return dict(
        send_packet=lambda: link.send_packet("hello"),
        send_confirmed=lambda: link.send_packet("hello", confirm=True),
        disconnect=link.disconnect,
        when_drained=link.when_drained,
    )

def prefixed(prefix, questions):
    return {prefix + name: question for name, question in questions.items()}

async def main():
    application = MultiService()
    peers, options = [("127.0.0.1", WITNESS)], dict(listen="tcp:0:interface=127.0.0.1", protocol=Protocol)
    node = PeerService(reactor, node_id=NODE, peers=peers, data_dir="node", **options)
    bootstrap = BootstrapService(reactor, node_id=1000 + NODE, peers=peers, data_dir="bootstrap", **options)
    idle = PeerService(reactor, node_id=2000 + NODE, data_dir="idle", **options)
    for service in node, bootstrap:
        service.setServiceParent(application)
    application.privilegedStartService()
    application.startService()
    while len(links) < 2:
        await deferToThread(time.sleep, 0.01)
    ports, parent = [service.listening.port for service in (node, bootstrap)], os.getpid()
    say("port", ports[0])
    if os.fork() == 0:
        for prefix, service in dict(node_=node, bootstrap_=bootstrap, idle_=idle).items():
            ask(**prefixed(prefix, verbs(service)), **prefixed(prefix, answers(service)))
        ask(**packets(links[0]))
        outlive(parent, ports[0], "node")
    beat(node.send)

run(main)
""",
        modules={"family.py": FAMILY},
    )
    def test_services(self) -> None:
        """Services refuse the same, whether they were started or not, and so do their factories and links."""
        self.read_child("child lives")
        for prefix in "node_", "bootstrap_", "idle_":
            self.assert_refused(tuple(prefix + name for name in (*SERVICE_VERBS, *FACTORY_VERBS)), "fails with")
            self.assert_refused(tuple(prefix + name for name in (*SERVICE_ANSWERS, *FACTORY_ANSWERS)), "raises")
        self.assert_refused(("send_packet", "send_confirmed", "disconnect", "when_drained"), "raises")
        self.assert_undisturbed(self.port)
        self.assert_left()
        self.witness.read(rf"peer {1000 + self.node_id} lost: ", within=PROMPT, stream="log")

    @script(
        APPLICATION
        + """
async def main():
    node = Node(NODE, "localhost", 0, peers=[(1, "localhost", WITNESS)], data_dir="node", reactor=reactor)
    started = node.start_node()
    parent = os.getpid()
    if os.fork():
        os._exit(0)
    status = await started
    assert status.state == "running" and len(node.get_peers()) == 1
    say("port", node.port)
    await node.send_data(1, "hello")
    await node.shutdown()
    say("daemon has ended")
    reactor.stop()

run(main)
""",
        modules={"family.py": FAMILY},
    )
    def test_daemon(self) -> None:
        """Before the reactor runs, a process may become a daemon with all that it has: the child works on."""
        self.assertEqual(self.script.wait(), 0)
        self.read_child("daemon has ended")
        self.assert_goodbye()
        self.assertEqual(self.script.err, "")


class ScriptTests(ForkTestCase):
    """Nodes that run in a reactor of netlayer's own."""

    @script(
        """
        import multiprocessing, os, time
        from netlayer import BootstrapNode, Node
        from family import *

        def in_child(node, port, parent):
            ask(**verbs_of(node), **answers_of(node))
            outlive(parent, port, "bootstrap")

        if __name__ == "__main__":
            bootstrap = BootstrapNode(NODE, "localhost", 0, peers=[(1, "localhost", WITNESS)], data_dir="bootstrap")
            bootstrap.start_bootstrap_node()
            say("port", bootstrap.port)
            arguments = (bootstrap, bootstrap.port, os.getpid())
            multiprocessing.get_context("fork").Process(target=in_child, args=arguments).start()
            for number in range(3):
                member = Node(2000 + number, "localhost", 0, ("localhost", bootstrap.port), data_dir=f"member-{number}")
                say("member", number, member.start_node().joined)
            while True:
                bootstrap.send_data(1, "beat")
                say("beat")
                time.sleep(0.05)
        """,
        modules={"family.py": FAMILY},
    )
    def test_bootstrap_node(self) -> None:
        """It is the same without an application's reactor."""
        self.assert_refused((*VERBS, *ANSWERS), "raises")
        self.assert_undisturbed(self.port)
        self.script.read("^member 2 True$")
        self.assert_left()
        self.assertEqual(bound(self.script.directory / "bootstrap" / "bindings.sqlite"), [2000, 2001, 2002])

    @script(
        """
        import os, sqlite3, sys, threading, time
        from netlayer import BootstrapNode, Node

        bootstrap = BootstrapNode(NODE, "localhost", 0, data_dir="bootstrap")
        bootstrap.start_bootstrap_node()
        database = sqlite3.connect("bootstrap/bindings.sqlite", isolation_level=None)
        database.execute("BEGIN IMMEDIATE")  # holds up the change by which the node binds an id
        member = Node(2000, "localhost", 0, ("localhost", bootstrap.port), data_dir="member")
        joining = threading.Thread(target=member.start_node)
        joining.start()
        while not {"_transaction"} <= {frame.f_code.co_name for frame in sys._current_frames().values()}:
            time.sleep(0.001)
        child = os.fork()
        if child == 0:
            sys.exit(7)
        database.execute("ROLLBACK")
        joining.join()
        print("joined", member.status.joined)
        print("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        member.shutdown()
        bootstrap.shutdown()
        """
    )
    def test_end_in_a_change(self) -> None:
        """A child ends as any, although its parent was just writing the bindings, which are none of its business."""
        self.script.read("^joined True\nchild 7$", within=15.0)
        self.assertEqual(self.script.wait(), 0, self.script)
        self.assertEqual(bound(self.script.directory / "bootstrap" / "bindings.sqlite"), [2000])
        self.assert_no_traceback()
