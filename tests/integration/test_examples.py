"""The examples of the documentation, run as a reader runs them: each in a process of its own, with real sockets."""

from __future__ import annotations

import os
import runpy
from collections.abc import Sequence
from unittest import skipUnless

from twisted.trial.unittest import SynchronousTestCase

from netlayer.testing import SimulatedInternet
from tests.integration.processes import ROOT, Script

EXAMPLES = ROOT / "docs" / "examples"

#: What each example prints that ends by itself; where nodes print at the same moment, in any order.
ENDING = {
    "async_handler.py": [
        "Node 2 was asked: Why do you say 'hello'?",
        "Node 2 has thought about it",
        "Node 1 has handled the hello, its question included",
    ],
    "asyncio_threads.py": ["Node 1 received: 2: Hello from a thread"],
    "blocking_handler.py": ["The text has 5 words", "The text was handled"],
    "dead_worker.py": [
        "The worker is dead, and its job may be half done; known within 30 s: True",
        "Nobody has begun the other job",
    ],
    "hooks.py": ["Peer 3 has come", "Peer 3 says 'good evening'", "Peer 3 has gone: goodbye: shutdown"],
    "in_asyncio.py": ["Node 1 received: 2: Hello from asyncio"],
    "own_log.py": [],
    "receipts.py": [
        "1 was handled",
        "0 was not: ValueError: zero is not allowed",
        "Nobody knows where peer 99 is",
        "It can't be sent: object is none of bytes, str, None, bool, int, float, list, dict",
        "Peer 2 was dialed 4 times",
    ],
    "simulated_network.py": ["Every notice is everywhere"],
    "chat_scenario.py": ["Everybody has all messages"],
    "streaming.py": ["All numbers were handled", "The sum of the numbers is 199990000"],
    "typed.py": [
        "The recorder is running",
        "The recorder is linked to 2",
        "The recorder received once",
        "The broadcast was handled by [1]",
        "The recorder lost 2",
    ],
    "typed.py --in-twisted": [
        "The echo is running",
        "Node 2 received ['twice', 'twice']",
        "The broadcast was handled by [1]",
    ],
    "watching.py": [
        "joined: True, linked: 1, waiting: 0 bytes, away: 0",
        "joined: False, linked: 1, waiting: 0 bytes, away: 1",
    ],
    "workflow.py": [
        "Node 4 is linked to [2, 3]",
        "Custom handler: Node 3 received packet: 2: Hello, Peer 3!",
        r"Node 2 received data: 4: {'numbers': [1, 2.5, None], 'raw': b'\x00\xff'}",
        "Node 2 received data: 4: Hello, everyone!",
        "Custom handler: Node 3 received packet: 4: Hello, everyone!",
        "The broadcast was handled by [2, 3]",
        "All nodes are shut down",
    ],
}
#: The examples that write to stderr, and what; no other may.
COMPLAINING = {"receipts.py": ["zero is not allowed", "no link to peer 2"]}
#: The examples that other tests below run.
OTHERS = {
    "bootstrap.py",
    "chat_subclass.py",
    "handling.py",
    "hello.py",
    "node.py",
    "sending.py",
    "shutting_down.py",
}

#: Warnings are errors, but for the one about a file that Twisted keeps open until the end.
WARNINGS = ("-W", "error", "-W", "ignore::ResourceWarning")

WAITS = "netlayer: the script has ended, its nodes run on; stop them with Ctrl-C"

#: Seconds in which Ctrl-C has to end an example.
PROMPT = 5.0


ctrl_c = skipUnless(os.name == "posix", "elsewhere Ctrl-C can't be pressed for one process alone")


class ExamplesTests(SynchronousTestCase):
    """Each example does what the documentation says."""

    def start(self, command: str) -> Script:
        """Start an example in an empty directory."""
        name, *arguments = command.split()
        example = Script({}, command=(*WARNINGS, str(EXAMPLES / name), *arguments))
        self.addCleanup(example.kill)
        return example

    def port(self, example: Script) -> str:
        """Return the port that an example says it listens on."""
        return example.read(r"listens on port (\d+)$")[1]

    def assert_printed(self, example: Script, lines: Sequence[str], errors: Sequence[str] = ()) -> None:
        """Wait for the end of an example: it has printed just `lines`, in any order, and of errors just `errors`."""
        self.assertEqual(example.wait(), 0, str(example))
        self.assertEqual(sorted(example.out.splitlines()), sorted(lines), str(example))
        if errors:
            self.assertEqual([text for text in errors if text not in example.err], [], str(example))
        else:
            self.assertEqual(example.err, "", str(example))

    def assert_interrupted(self, example: Script, err: str = "") -> None:
        """Press Ctrl-C: the example ends soon and successfully, and says no more on stderr than `err`."""
        example.interrupt()
        self.assertEqual(example.wait(within=PROMPT), 0, str(example))
        self.assertEqual(example.err, err, str(example))

    def test_all_are_run(self) -> None:
        """There is no example that nobody tries."""
        run = {command.split()[0] for command in ENDING} | OTHERS
        self.assertEqual({path.name for path in EXAMPLES.glob("*.py")}, run)

    def test_ending(self) -> None:
        """Each example that ends by itself prints what it should, complains of nothing, and is successful."""
        started = {command: self.start(command) for command in ENDING}
        for command, example in started.items():
            self.assert_printed(example, ENDING[command], COMPLAINING.get(command, ()))

    def test_noted_errors(self) -> None:
        """The test of a simulated network sees what a hook raises there, such as one that finds no application."""
        example = runpy.run_path(str(EXAMPLES / "simulated_network.py"))
        internet = SimulatedInternet()
        internet.add_host("bootstrap").run(example["bootstrap"])
        one, other = internet.add_hosts(2, "node")
        with example["noted_errors"]() as errors:
            one.run(example["node"])
            internet.advance(5.0)
            self.assertEqual(errors, [])
            other.run(example["node"]).factory.application = None
            internet.advance(5.0)
        self.assertEqual(
            errors, ["node 3: a hook of Noticeboard failed: TypeError(\"'NoneType' object is not iterable\")"]
        )
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_log(self) -> None:
        """A script logs to network.log in its working directory, or where it chooses."""
        usual, own = self.start("workflow.py"), self.start("own_log.py chosen.log")
        for example in (usual, own):
            self.assertEqual(example.wait(), 0, str(example))
        for text in ("INFO - node 1: started at 127.0.0.1:", "DEBUG - node 2: packet to ", "INFO - node 4: stopped"):
            self.assertIn(text, usual.log)
        self.assertEqual(own.log, "")
        self.assertIn("INFO - node 2: stopped", (own.directory / "chosen.log").read_text("utf-8"))

    @ctrl_c
    def test_five_scripts(self) -> None:
        """The five scripts that belong together work as five processes; those that wait end with Ctrl-C."""
        bootstrap = self.start("bootstrap.py 0")
        bootstrap_port = self.port(bootstrap)
        node, handling = self.start(f"node.py 0 {bootstrap_port}"), self.start(f"handling.py 0 {bootstrap_port}")
        node_port, peer_port = self.port(node), self.port(handling)

        sending = self.start(f"sending.py 0 {bootstrap_port} {peer_port}")
        self.assert_printed(sending, ["Peer 3 has handled its packet", "The broadcast was handled by [2, 3]"])
        node.read("^Node 2 received data: 4: Hello, everyone!$")
        handling.read("^Custom handler: Node 3 received packet: 4: Hello, Peer 3!$")
        handling.read("^Custom handler: Node 3 received packet: 4: Hello, everyone!$")

        leaving = self.start(f"shutting_down.py 0 {bootstrap_port}")
        linked = [f"Linked to peer 2 at localhost:{node_port}", f"Linked to peer 3 at localhost:{peer_port}"]
        self.assert_printed(leaving, [*linked, "Node 5 is stopped"])

        for waiting in (node, handling, bootstrap):
            waiting.read(f"^{WAITS}$", stream="err")
            self.assert_interrupted(waiting, err=f"{WAITS}\n")

    @ctrl_c
    def test_hello(self) -> None:
        """Nodes in two terminals greet each other, the second one when the first one is there."""
        bootstrap = self.start("bootstrap.py 0")
        port = self.port(bootstrap)
        first = self.start(f"hello.py 2 {port}")
        first.read(r"^My hello was handled by \[\]$")
        second = self.start(f"hello.py 3 {port}")
        second.read(r"^My hello was handled by \[2\]$")
        first.read("^Node 2 received data: 3: Hello, I am node 3!$")
        self.assert_interrupted(first)
        self.assert_interrupted(second)

    @ctrl_c
    def test_twistd(self) -> None:
        """The command runs the protocol of the chat, found in the working directory, beside a node that has none."""
        bootstrap = self.start("bootstrap.py 0")
        twistd = "from twisted.scripts.twistd import run; run()"
        options = ("-n", "--pidfile=", "netlayer-node", f"--bootstrap=tcp:localhost:{self.port(bootstrap)}")
        chat = {"chat_subclass.py": (EXAMPLES / "chat_subclass.py").read_text("utf-8")}
        logging = Script({}, command=("-c", twistd, *options, "--id=2"))
        chatting = Script(chat, command=("-c", twistd, *options, "--id=3", "--protocol=chat_subclass.Chat"))
        for process in (logging, chatting):
            self.addCleanup(process.kill)
        logging.read(r"node 2: packet from 3: .*hello")
        logging.interrupt()
        chatting.read(r"3 lost 2: goodbye: shutdown$")

    @ctrl_c
    def test_chat(self) -> None:
        """The application's own protocol greets and is greeted; Ctrl-C stops its services."""
        chat = self.start("chat_subclass.py 0")
        chat.read("^2 hears 3 say 'hello'$")
        chat.read("^3 hears 2 say 'hello'$")
        self.assert_interrupted(chat)
        self.assertIn("2 lost 3: goodbye: shutdown\n", chat.out)
