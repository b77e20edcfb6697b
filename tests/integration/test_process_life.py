"""How programs with nodes live and end: scripts, interactive sessions, test runs, children, threads and signals."""

from __future__ import annotations

import signal
import subprocess

from tests.integration.processes import Script, ScriptTestCase, script, wait_until

#: What a script says on stderr when it has ended and waits for its nodes.
WAITS = r"^netlayer: the script has ended, its nodes run on; stop them with Ctrl-C$"

#: Seconds in which whatever ends has to end.
PROMPT = 3.0

NODE = """
import sys, threading, time
from netlayer import Node

node = Node(NODE, "localhost", 0, peers=[(1, "localhost", WITNESS)])

def soon_ready():
    threading.Timer(0.1, print, ["ready"]).start()  # when the next statement waits

"""


class EndTests(ScriptTestCase):
    """Ends of scripts whose node runs."""

    @script(NODE + "node.start_node(); print('ready')")
    def test_end(self) -> None:
        """A script at its end waits for Ctrl-C, says so, and then ends within moments, as successful."""
        self.script.read(WAITS, stream="err")
        self.assertIsNone(self.script.process.poll())
        self.script.interrupt()
        self.assertEqual(self.script.wait(within=PROMPT), 0)
        self.assertRegex(self.script.err, rf"\A{WAITS[1:-1]}\n\Z")
        self.assert_goodbye()

    @script(NODE + "t = threading.Thread(target=node.start_node); t.start(); t.join()")
    def test_end_after_a_thread(self) -> None:
        """A node that a thread was told to start is the script's, too."""
        self.script.read(WAITS, stream="err")
        self.assertIsNone(self.script.process.poll())
        self.script.interrupt()
        self.assertEqual(self.script.wait(within=PROMPT), 0)
        self.assert_goodbye()

    @script(NODE + "node.start_node(); node.shutdown(); print('done')")
    def test_shutdown(self) -> None:
        """A script that shuts its node down ends by itself, silently."""
        self.assertEqual(self.script.wait(), 0)
        self.assertEqual(self.script.err, "")
        self.assert_goodbye()

    @script(NODE + "node.start_node(); raise ValueError('the script is broken')")
    def test_exception(self) -> None:
        """A script that dies of an exception ends at once, its nodes with a goodbye; only that exception is shown."""
        self.witness.read(rf"^joined {self.node_id}$")
        self.assertEqual(self.script.wait(within=PROMPT), 1)
        self.assertEqual(self.script.err.count("Traceback"), 1)
        self.assertNotIn("netlayer:", self.script.err)
        self.assertRegex(self.script.err, r"ValueError: the script is broken\n\Z")
        self.assert_goodbye()

    @script(NODE + "node.start_node(); sys.exit(3)")
    def test_exit(self) -> None:
        """sys.exit() waits too; the exit code is what it was given."""
        self.script.read(WAITS, stream="err")
        self.script.interrupt()
        self.assertEqual(self.script.wait(within=PROMPT), 3)
        self.assert_no_traceback()
        self.assert_goodbye()

    @script(NODE + "node.start_node(); print('ready'); time.sleep(60)")
    def test_interrupted(self) -> None:
        """Ctrl-C in a script that is busy ends it as Ctrl-C ends any script, its nodes with a goodbye."""
        self.script.read("^ready$")
        self.script.interrupt()
        self.assertEqual(self.script.wait(within=PROMPT), -signal.SIGINT)
        self.assertEqual(self.script.err.count("Traceback"), 1)
        self.assert_goodbye()

    @script(
        """
        import socket
        from netlayer import Node

        silent = socket.create_server(("127.0.0.1", 0))
        node = Node(NODE, "localhost", 0, silent.getsockname())
        node.start_node()
        """
    )
    def test_interrupted_start(self) -> None:
        """Ctrl-C in start_node() that waits for a bootstrap node ends the script."""
        self.script.read(r"started at 127\.0\.0\.1:\d+$", stream="log")
        self.script.interrupt()
        self.assertEqual(self.script.wait(within=PROMPT), -signal.SIGINT)
        self.assertRegex(self.script.err, r"\nKeyboardInterrupt\n\Z")
        self.assertRegex(self.script.log, r"node \d+: stopped\n\Z")

    @script(NODE + "node.start_node()")
    def test_terminated(self) -> None:
        """SIGTERM ends a script that waits as Ctrl-C does: with a goodbye, as successful."""
        self.script.read(WAITS, stream="err")
        self.script.process.terminate()
        self.assertEqual(self.script.wait(within=PROMPT), 0)
        self.assertRegex(self.script.err, rf"\A{WAITS[1:-1]}\n\Z")
        self.assert_goodbye()

    @script(NODE + "node.start_node(); print('ready'); time.sleep(60)")
    def test_terminated_at_work(self) -> None:
        """SIGTERM ends a script that is busy with a goodbye and the exit code that shells give for it."""
        self.script.read("^ready$")
        self.script.process.terminate()
        self.assertEqual(self.script.wait(within=PROMPT), 128 + signal.SIGTERM)
        self.assertEqual(self.script.err, "")
        self.assert_goodbye()

    @script(
        NODE
        + """
node.start_node()
print("ready")
try:
    time.sleep(60)
except SystemExit:
    print("caught")
    time.sleep(60)
"""
    )
    def test_terminated_twice(self) -> None:
        """A script that won't end at SIGTERM is ended by the second one."""
        self.script.read("^ready$")
        self.script.process.terminate()
        self.script.read("^caught$")
        self.script.process.terminate()
        self.assertEqual(self.script.wait(within=PROMPT), -signal.SIGTERM)
        self.witness.read(rf"^left {self.node_id} None$", within=PROMPT)

    @script(
        NODE
        + """
import os, signal
node.start_node()
child = os.fork()
if child == 0:
    time.sleep(60)
os.kill(child, signal.SIGTERM)
print("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    )
    def test_terminated_child(self) -> None:
        """SIGTERM ends a forked child as it ends any process; the node of its parent runs on."""
        self.script.read(f"^child -{signal.SIGTERM:d}$")
        self.script.read(WAITS, stream="err")
        self.script.interrupt()
        self.assertEqual(self.script.wait(within=PROMPT), 0)
        self.assert_goodbye()

    @script(
        NODE
        + """
import signal
signal.signal(signal.SIGTERM, lambda *_: sys.exit(4))
node.start_node()
"""
    )
    def test_terminated_at_end(self) -> None:
        """A SIGTERM handler that calls sys.exit() ends the waiting, with a goodbye."""
        self.script.read(WAITS, stream="err")
        self.script.process.terminate()
        self.script.wait(within=PROMPT)
        self.assert_no_traceback()
        self.assert_goodbye()

    @script(
        NODE
        + """
other = Node(1000 + NODE, "localhost", 0, peers=[(1, "localhost", WITNESS)])
node.start_node()
other.start_node()
print("peers", [peer.node_id for peer in node.get_peers()])
other.shutdown()
"""
    )
    def test_two_nodes(self) -> None:
        """One process holds several nodes; its end waits for the last."""
        self.script.read(WAITS, stream="err")
        self.witness.read(rf"^left {1000 + self.node_id} shutdown$")
        self.script.interrupt()
        self.assertEqual(self.script.wait(within=PROMPT), 0)
        self.assert_no_traceback()
        self.assert_goodbye()

    @script("import service", modules={"service.py": NODE + "node.start_node()"})
    def test_of_a_module(self) -> None:
        """A node that an imported module has started keeps no script alive."""
        self.assertEqual(self.script.wait(), 0)
        self.assertEqual(self.script.err, "")
        self.assert_goodbye()

    @script(
        """
        import service
        from netlayer import Node

        node = Node(1000 + NODE, "localhost", 0)
        node.start_node()
        node.shutdown()
        """,
        modules={"service.py": NODE + "node.start_node()"},
    )
    def test_of_a_module_and_own(self) -> None:
        """A script that has shut its own node down does not wait for that of a module."""
        self.assertEqual(self.script.wait(), 0)
        self.assertEqual(self.script.err, "")
        self.assert_goodbye()

    @script(
        """
        from netlayer import Node
        from netlayer.errors import ListenError

        first = Node(NODE, "localhost", 0)
        first.start_node()
        second = Node(1000 + NODE, "localhost", first.port)
        try:
            second.start_node()
        except ListenError as error:
            print(error)
        first.shutdown()
        second.wait()
        """
    )
    def test_failed_start(self) -> None:
        """A node that could not start is over: nothing waits for it."""
        self.assertEqual(self.script.wait(), 0)
        self.assertRegex(self.script.out, r"cannot listen on localhost:\d+: Address already in use")
        self.assertEqual(self.script.err, "")

    @script(
        NODE
        + """
from twisted.internet import reactor

node.start_node()
reactor.callFromThread(reactor.stop)
try:
    node.send_data(1, "anybody?")
except Exception as error:
    print(type(error).__name__, error)
"""
    )
    def test_reactor_stopped(self) -> None:
        """Somebody who stops the reactor under a node gets a clear error, and a script that ends."""
        self.assertEqual(self.script.wait(), 0)
        self.assertRegex(self.script.out, r"\ALocalProtocolError the reactor of this process was stopped")


class WaitTests(ScriptTestCase):
    """node.wait(), and waits that end early."""

    @script(NODE + "node.start_node(); soon_ready(); node.wait(); print(node.status.state)")
    def test_interrupted(self) -> None:
        """Ctrl-C in wait() shuts the node down and the script goes on."""
        self.script.read("^ready$")
        self.script.interrupt()
        self.assertEqual(self.script.wait(within=PROMPT), 0)
        self.assertEqual(self.script.out, "ready\nstopped\n")
        self.assertEqual(self.script.err, "")
        self.assert_goodbye()

    @script(
        NODE
        + """
other = Node(1000 + NODE, "localhost", 0, peers=[(1, "localhost", WITNESS)])
other.start_node()
node.start_node()
soon_ready()
node.wait()
"""
    )
    def test_other_node(self) -> None:
        """Ctrl-C in wait() ends the script even if it has another node."""
        self.script.read("^ready$")
        self.script.interrupt()
        self.assertEqual(self.script.wait(within=PROMPT), 0)
        self.assertEqual(self.script.err, "")
        self.witness.read(rf"^left {1000 + self.node_id} shutdown$")
        self.assert_goodbye()

    @script(NODE + "node.start_node(); threading.Timer(0.1, node.shutdown).start(); node.wait(); print('over')")
    def test_shutdown_elsewhere(self) -> None:
        """wait() returns when another thread shuts the node down."""
        self.assertEqual(self.script.wait(), 0)
        self.assertEqual(self.script.out, "over\n")
        self.assert_goodbye()

    @script(NODE + "node.start_node(); soon_ready(); node.wait(); print('over')")
    def test_terminated_wait(self) -> None:
        """SIGTERM ends wait() as Ctrl-C does: the node is shut down and the script goes on."""
        self.script.read("^ready$")
        self.script.process.terminate()
        self.assertEqual(self.script.wait(within=PROMPT), 0)
        self.assertEqual((self.script.out, self.script.err), ("ready\nover\n", ""))
        self.assert_goodbye()

    @script(
        NODE
        + """
import signal
signal.signal(signal.SIGTERM, lambda *_: sys.exit(4))
node.start_node()
soon_ready()
node.wait()
"""
    )
    def test_terminated(self) -> None:
        """A SIGTERM handler of the script's own ends wait() and the script, with a goodbye and its exit code."""
        self.script.read("^ready$")
        self.script.process.terminate()
        self.assertEqual(self.script.wait(within=PROMPT), 4)
        self.assertEqual(self.script.err, "")
        self.assert_goodbye()

    @script(
        """
        from twisted.internet.defer import Deferred
        from netlayer import Node

        def handle(packet):
            print("handling", packet.data)
            return Deferred() if packet.data == "slow" else None

        slow = Node(1000 + NODE, "localhost", 0)
        slow.handle_data = handle
        slow.start_node()
        node = Node(NODE, "localhost", 0, peers=[(1000 + NODE, "localhost", slow.port)])
        node.start_node()
        try:
            node.send_data(1000 + NODE, "slow")
        except KeyboardInterrupt:
            print("interrupted")
        node.send_data(1000 + NODE, "quick")
        print("sent")
        """
    )
    def test_interrupted_send(self) -> None:
        """Ctrl-C ends a send_data() that waits for a receipt; the node works on."""
        self.script.read("^handling slow$")
        self.script.interrupt()
        self.script.read("^interrupted\nhandling quick\nsent$", within=PROMPT)
        self.script.read(WAITS, stream="err")
        self.script.interrupt()
        self.script.wait()

    @script(
        """
        import socket
        from netlayer import Node, Settings

        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        node = Node(NODE, "localhost", 0, ("LOCALHOST", port), settings=Settings(retry_count=0))
        node.start_node()
        print("port", port)
        """
    )
    def test_names(self) -> None:
        """Host names are still resolved while a script that has ended waits."""
        self.script.read(WAITS, stream="err")
        port = self.script.read(r"^port (\d+)$")[1]
        bootstrap = Script(f"from netlayer import BootstrapNode; BootstrapNode(1, 'localhost', {port}).start_node()")
        self.addCleanup(bootstrap.kill)
        self.script.read("joined the network", stream="log")
        self.script.interrupt()
        self.assertEqual(self.script.wait(within=PROMPT), 0)


class TestRunnerTests(ScriptTestCase):
    """Tests of applications that forget to shut their nodes down."""

    passing = """
        import unittest
        from netlayer import Node

        class ForgetfulTests(unittest.TestCase):
            def test_forgets(self):
                node = Node(NODE, "localhost", 0, peers=[(1, "localhost", WITNESS)])
                node.start_node()
                self.assertEqual(len(node.get_peers()), 1)

        if __name__ == "__main__":
            unittest.main()
        """
    failing = passing.replace("1)\n", "2)\n")

    def assert_ended(self, code: int) -> None:
        """The run ended with this exit code, its nodes said goodbye, and it left no log."""
        self.assertEqual(self.script.wait(), code, self.script)
        self.assertEqual(self.script.log, "")
        self.assert_goodbye()

    @script(passing, command=("-m", "pytest", "-p", "no:cacheprovider", "script.py"))
    def test_pytest(self) -> None:
        """A run of pytest ends."""
        self.assert_ended(0)

    @script(failing, command=("-m", "pytest", "-p", "no:cacheprovider", "script.py"))
    def test_pytest_failing(self) -> None:
        """A run of pytest ends after failures."""
        self.assert_ended(1)

    @script(passing, command=("-m", "unittest", "script"))
    def test_unittest(self) -> None:
        """The unittest command ends."""
        self.assert_ended(0)

    @script(failing, command=("-m", "unittest", "script"))
    def test_unittest_failing(self) -> None:
        """The unittest command ends after failures."""
        self.assert_ended(1)

    @script(passing)
    def test_unittest_main(self) -> None:
        """A script that calls unittest.main() ends."""
        self.assert_ended(0)

    @script(passing, command=("-m", "twisted.trial", "script"))
    def test_trial(self) -> None:
        """A run of trial ends, even though it stops the reactor under the node."""
        self.assertEqual(self.script.wait(), 0, self.script)
        self.assertEqual(self.script.log, "")


class InteractiveTests(ScriptTestCase):
    """Sessions at a prompt."""

    @script("", command=("-i",), stdin=subprocess.PIPE)
    def test_exit(self) -> None:
        """Nodes can be used from a prompt, and exit() does not wait for them."""
        for line in NODE.replace("NODE", str(self.node_id)).replace("WITNESS", self.witness.port).splitlines():
            self.script.type(line)
        self.script.type("node.start_node()")
        self.script.read("NodeStatus")
        self.script.type("node.broadcast_data('typed').delivered")
        self.script.read(r"frozenset\(\{1\}\)")
        self.script.type("exit()")
        self.assertEqual(self.script.wait(within=PROMPT), 0)
        self.assert_no_traceback()
        self.assert_goodbye()

    @script(NODE + "node.start_node(); print('ready')", command=("-i", "script.py"), stdin=subprocess.PIPE)
    def test_after_script(self) -> None:
        """The prompt after a script comes at once, and its end does not wait."""
        self.script.type("print(len(node.get_peers()))")
        self.script.read("^1$")
        assert self.script.process.stdin is not None
        self.script.process.stdin.close()
        self.assertEqual(self.script.wait(within=PROMPT), 0)
        self.assert_no_traceback()
        self.assert_goodbye()


FORGETFUL_CHILD = """
import multiprocessing
from netlayer import Node

def child():
    node = Node(NODE, "localhost", 0, peers=[(1, "localhost", WITNESS)])
    node.start_node()
    print("peers", len(node.get_peers()))

if __name__ == "__main__":
    process = multiprocessing.get_context("METHOD").Process(target=child)
    process.start()
    process.join(20)
    print("exit code", process.exitcode)
"""


class ChildTests(ScriptTestCase):
    """Processes that multiprocessing starts."""

    def assert_ended(self) -> None:
        """The child worked, ended by itself and said goodbye."""
        self.assertEqual(self.script.wait(), 0)
        self.assertEqual(self.script.out, "peers 1\nexit code 0\n")
        self.assert_no_traceback()
        self.assert_goodbye()

    @script(FORGETFUL_CHILD.replace("METHOD", "fork"))
    def test_forked(self) -> None:
        """A forked child may make nodes, and forget to shut them down."""
        self.assert_ended()

    @script(FORGETFUL_CHILD.replace("METHOD", "spawn"))
    def test_spawned(self) -> None:
        """A spawned child may make nodes, and forget to shut them down."""
        self.assert_ended()

    @script(
        """
        import multiprocessing
        from netlayer import Node

        def child(node):
            for verb in (lambda: node.send_data(1, "hello"), node.start_node, node.shutdown, node.wait,
                         Node(1000 + NODE, "localhost", 0).start_node):
                try:
                    verb()
                except Exception as error:
                    print(type(error).__name__, error)

        if __name__ == "__main__":
            node = Node(NODE, "localhost", 0, peers=[(1, "localhost", WITNESS)])
            node.start_node()
            process = multiprocessing.get_context("fork").Process(target=child, args=(node,))
            process.start()
            process.join(20)
            print("exit code", process.exitcode)
            node.send_data(1, "the parent's works")
            node.shutdown()
        """
    )
    def test_parents_node(self) -> None:
        """A forked child that uses its parent's node is told what to do instead; the parent's node works on."""
        self.assertEqual(self.script.wait(), 0)
        lines = self.script.out.splitlines()
        self.assertEqual(len(lines), 6)
        for line in lines[:5]:
            self.assertRegex(line, r"^LocalProtocolError this process was forked .*'spawn' method")
        self.assertEqual(lines[5], "exit code 0")
        self.assert_goodbye()

    @script(
        """
        import os, tempfile, time
        from netlayer import Node

        directory = tempfile.mkdtemp()
        node = Node(NODE, "localhost", 0, peers=[(1, "localhost", WITNESS)], data_dir=directory)
        node.start_node()
        port, parent = node.port, os.getpid()
        if os.fork() == 0:
            for ask in "status", "port", "node_id", "get_peers":
                try:
                    answer = getattr(node, ask)
                    print(ask, answer())
                except Exception as error:
                    print(ask, type(error).__name__)
            while os.getppid() == parent:
                time.sleep(0.01)
            import socket
            with socket.create_server(("127.0.0.1", port)):
                print("port is free")
            from netlayer.storage.data_directory import DataDirectory
            DataDirectory.open(directory).release()
            print("directory is free", flush=True)
            time.sleep(30)
            os._exit(0)
        print("forked", flush=True)
        time.sleep(60)
        """
    )
    def test_left_behind(self) -> None:
        """A child that outlives its killed parent holds nothing of its node's, and answers nothing in its place."""
        self.script.read("^forked$")
        for ask in "status", "port", "node_id", "get_peers":
            self.script.read(f"^{ask} LocalProtocolError$")
        self.script.process.kill()
        self.witness.read(rf"^left {self.node_id} None$", within=2.0)
        for line in "port is free\n", "directory is free\n":  # of the child, as the script itself has ended
            _ = wait_until(lambda line=line: line in self.script.out, lambda: str(self.script), within=2.0)


class CallTests(ScriptTestCase):
    """Who may call what from where."""

    @script(
        NODE
        + """
import asyncio

async def main():
    for verb in node.start_node, node.wait:
        try:
            verb()
        except Exception as error:
            print(type(error).__name__, error)
    await asyncio.to_thread(node.start_node)
    await asyncio.to_thread(node.send_data, 1, "from a coroutine")
    print("peers", len(node.get_peers()))

asyncio.run(main())
"""
    )
    def test_asyncio(self) -> None:
        """In a running asyncio loop verbs refuse to block, and the way out that they name works."""
        self.assertEqual(self.script.wait(), 0)
        lines = self.script.out.splitlines()
        for line in lines[:2]:
            self.assertRegex(line, r"^LocalProtocolError this call would block the running asyncio loop\. .*to_thread")
        self.assertEqual(lines[2:], ["peers 1"])
        self.assertEqual(self.script.err, "")
        self.assert_goodbye()

    @script(
        NODE
        + """
from concurrent.futures import ThreadPoolExecutor

node.start_node()

def work(number):
    for each in range(50):
        node.send_data(1, f"{number}.{each}")
        assert len(node.get_peers()) == 1 and node.status.links
        report = node.broadcast_data([number, each])
        assert report.delivered == {1}, report

with ThreadPoolExecutor(8) as pool:
    list(pool.map(work, range(8)))
node.shutdown()
"""
    )
    def test_threads(self) -> None:
        """Eight threads may use a node at the same time."""
        self.assertEqual(self.script.wait(), 0, self.script)
        received = self.witness.out.splitlines()
        mine = [line for line in received if line.startswith(f"received {self.node_id}: ")]
        self.assertEqual(len(mine), 8 * 50 * 2)
        for number in range(8):
            prefix = f"received {self.node_id}: {number}."
            self.assertEqual([line for line in mine if line.startswith(prefix)], [f"{prefix}{i}" for i in range(50)])

    @script(
        """
        import threading
        from netlayer import Node

        answered = threading.Event()

        class Echo(Node):
            async def handle_data(self, packet):
                report = await self.broadcast_data("to all")
                await self.send_data(packet.sender_id, ("echo " + packet.data))
                await self.send_data((NODE, "localhost", node.port), f"delivered to {sorted(report.delivered)}")

        echo = Echo(1000 + NODE, "localhost", 0)
        echo.start_node()
        node = Node(NODE, "localhost", 0, peers=[(1000 + NODE, "localhost", echo.port)])
        node.start_node()
        node.send_data(1000 + NODE, "hello")
        node.shutdown()
        echo.shutdown()
        """
    )
    def test_handlers(self) -> None:
        """In a handler the same verbs return Deferreds, so that nothing deadlocks."""
        self.assertEqual(self.script.wait(), 0, self.script)
        mine, its = self.node_id, 1000 + self.node_id
        self.assertEqual(
            self.script.out.splitlines(),
            [
                f"Node {mine} received data: {its}: {text}"
                for text in ("to all", "echo hello", f"delivered to [{mine}]")
            ],
        )
        self.assertEqual(self.script.err, "")

    @script(
        """
        from twisted.internet import reactor
        from twisted.internet.task import deferLater
        from netlayer import Node

        class Plain(Node):
            def handle_data(self, packet):
                self.shutdown()

        class Returning(Node):
            def handle_data(self, packet):
                return self.shutdown()

        class Waiting(Node):
            async def handle_data(self, packet):
                await deferLater(reactor, 0)
                await self.shutdown()

        node = Node(NODE, "localhost", 0)
        node.start_node()
        for kind in Plain, Returning, Waiting:
            stopping = kind(1000 + NODE, "localhost", 0)
            stopping.start_node()
            node.send_data((1000 + NODE, "localhost", stopping.port), "stop")
            stopping.wait()
            print("handled")
        node.shutdown()
        """
    )
    def test_shutdown_in_handler(self) -> None:
        """A handler may shut its node down; its packet still gets its receipt."""
        self.assertEqual(self.script.wait(), 0, self.script)
        self.assertEqual(self.script.out, "handled\n" * 3)
        self.assertEqual(self.script.err, "")

    @script(
        """
        import sys, threading
        from netlayer import BootstrapNode, Node, Settings

        sys.setswitchinterval(0.00001)
        quick = Settings(backoff_first=0.001, backoff_cap=0.001, backoff_late_cap=0.001, retry_count=0)
        bootstrap = BootstrapNode(NODE, "localhost", 0)
        bootstrap.start_bootstrap_node()
        dead = [(number, "localhost", number) for number in range(2, 6)]
        node = Node(1000 + NODE, "localhost", 0, ("localhost", bootstrap.port), peers=dead, settings=quick)
        node.start_node()
        failed, over = [], False

        def ask():
            while not over:
                try:
                    node.status, node.get_peers(), bootstrap.status, bootstrap.get_peers()
                except Exception as error:
                    failed.append(error)

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        for number in range(15):
            visitor = Node(2000 + NODE + number, "localhost", 0, ("localhost", bootstrap.port))
            visitor.start_node()
            visitor.shutdown()
        over = True
        for thread in threads:
            thread.join()
        print(failed)
        node.shutdown()
        bootstrap.shutdown()
        """
    )
    def test_answers(self) -> None:
        """Questions about a node are answered in any thread, whatever happens at the same moment."""
        self.assertEqual(self.script.wait(), 0, self.script)
        self.assertEqual(self.script.out, "[]\n")

    @script(
        """
        from netlayer import BootstrapNode, Node

        def attempt(verb, *arguments):
            try:
                verb(*arguments)
            except Exception as error:
                print(verb.__name__, type(error).__name__)

        for node in Node(NODE, "localhost", 0), BootstrapNode(1000 + NODE, "localhost", 0):
            verbs = [(node.send_data, 1, "early"), (node.broadcast_data, "early"), (node.when_joined,), (node.wait,)]
            for verb in verbs:
                attempt(*verb)
            print(node.get_peers(), node.status.state)
            node.start_node()
            attempt(node.start_node)
            node.shutdown()
            for verb in verbs:
                attempt(*verb)
            attempt(node.start_node)
            node.shutdown()
            print(node.get_peers(), node.status.state)
        """
    )
    def test_life_cycle(self) -> None:
        """Verbs at the wrong time raise errors that say so, and never wait for ever."""
        self.assertEqual(self.script.wait(), 0, self.script)
        verbs = "send_data", "broadcast_data", "when_joined", "wait"
        expected = [
            *(f"{verb} NotStarted" for verb in verbs),
            "[] new",
            "start_node AlreadyStarted",
            *(f"{verb} NodeStopped" for verb in verbs[:-1]),
            "start_node NodeStopped",
            "[] stopped",
        ]
        self.assertEqual(self.script.out.splitlines(), expected * 2)
        self.assertEqual(self.script.err, "")


class LogTests(ScriptTestCase):
    """Where plain scripts log to."""

    @script(
        """
        import os, shutil
        from netlayer import Node

        os.mkdir("gone")
        os.chdir("gone")
        os.rmdir(os.getcwd())
        node = Node(NODE, "localhost", 0, peers=[(1, "localhost", WITNESS)])
        node.start_node()
        node.send_data(1, "works")
        node.shutdown()
        """
    )
    def test_unwritable(self) -> None:
        """Where network.log can't be written, one warning says so, and the node works."""
        self.assertEqual(self.script.wait(), 0, self.script)
        self.assertEqual(self.script.err, "netlayer: warning: cannot log to network.log: No such file or directory\n")
        self.assert_goodbye()

    @script(
        """
        import logging
        from netlayer import Node, configure_logging

        configure_logging("other.log", "WARNING")
        node = Node(NODE, "localhost", 0, peers=[(1, "localhost", WITNESS)])
        node.start_node()
        try:
            node.send_data((1000 + NODE, "localhost", 9), "nobody is there")
        except Exception as error:
            print(type(error).__name__)
        node.shutdown()
        """
    )
    def test_configured(self) -> None:
        """configure_logging() chooses the file and the level."""
        self.assertEqual(self.script.wait(), 0, self.script)
        self.assertEqual(self.script.log, "")
        lines = (self.script.directory / "other.log").read_text().splitlines()
        self.assertEqual([line.split(" - ")[1] for line in lines], ["WARNING"] * 3 + ["ERROR"])
        self.assertEqual(self.script.err, lines[3] + "\n", "the error stands on stderr as well")

    @script(
        """
        import logging
        from netlayer import Node, configure_logging

        configure_logging(None)
        logging.basicConfig(filename="mine.log", format="%(name)s %(message)s", level=logging.INFO)
        node = Node(NODE, "localhost", 0)
        node.start_node()
        node.shutdown()
        """
    )
    def test_no_file(self) -> None:
        """Without a file the records go where the program's own logging sends them."""
        self.assertEqual(self.script.wait(), 0, self.script)
        self.assertEqual(self.script.log, "")
        self.assertRegex((self.script.directory / "mine.log").read_text(), r"^NetworkLayer node \d+: started at 127")

    @script(
        """
        import logging, sys, warnings
        from netlayer import Node

        root = logging.getLogger()
        before = root.level, list(root.handlers), warnings.showwarning, sys.stdout, sys.stderr, sys.excepthook
        node = Node(NODE, "localhost", 0)
        node.start_node()
        node.shutdown()
        print(before == (root.level, root.handlers, warnings.showwarning, sys.stdout, sys.stderr, sys.excepthook))
        """
    )
    def test_rest_untouched(self) -> None:
        """A node changes nothing about the root logger, warnings, the streams and exceptions of a program."""
        self.assertEqual(self.script.wait(), 0, self.script)
        self.assertEqual(self.script.out, "True\n")

    @script(
        NODE
        + """
from twisted.internet.defer import fail

def joined(peer):
    fail(LookupError("dropped"))
    return fail(LookupError("returned"))

node.peer_joined = joined
node.start_node()
node.shutdown()
"""
    )
    def test_forgotten_errors(self) -> None:
        """An error in a hook that nobody handles stands on stderr, and in the log too if the hook has returned it."""
        self.assertEqual(self.script.wait(), 0, self.script)
        self.assertRegex(self.script.err, r"LookupError'?>?: dropped\n")
        self.assertRegex(self.script.err, r"LookupError'?>?: returned\n")
        self.assertRegex(self.script.log, r"ERROR - node \d+: a hook of \w+ failed\n")

    @script(
        """
        import logging
        from netlayer import Node

        logging.basicConfig(format="mine %(message)s", level=logging.INFO)
        node = Node(NODE, "localhost", 0, peers=[(1, "localhost", WITNESS)])
        node.start_node()
        node.send_data(1, "secret")
        logging.info("mine alone")
        node.shutdown()
        """
    )
    def test_console(self) -> None:
        """A program that logs to the console does not find each packet there."""
        self.assertEqual(self.script.wait(), 0, self.script)
        self.assertEqual(self.script.err, "mine mine alone\n")
        self.assertRegex(self.script.log, r"DEBUG - node \d+: packet to 1\n")
        self.assertNotIn("secret", self.script.log)
