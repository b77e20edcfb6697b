"""The usage examples of the document that netlayer began with, each as a user would run it."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.processes import Script, free_ports

# Word for word, but for the name of the package.

START_BOOTSTRAP = """\
from netlayer.bootstrap_node import BootstrapNode

bootstrap_node = BootstrapNode(node_id=1, host="localhost", port=8000)
bootstrap_node.start_bootstrap_node()
"""

START_NODE = """\
from netlayer.node import Node

node = Node(node_id=2, host="localhost", port=8001, bootstrap_address=("localhost", 8000))
node.start_node()
"""

SEND = """\
# Assuming peer = (peer_id, peer_host, peer_port)
node.send_data(peer=("3", "localhost", 8002), data="Hello, Peer 3!")
"""

BROADCAST = """\
node.broadcast_data(data="Hello, everyone!")
"""

HANDLE = """\
def custom_handle_data(self, packet):
    print(f"Custom handler: Node {self.node_id} received packet: {packet}")

node.handle_data = custom_handle_data.__get__(node, Node)  # Bind custom handler
"""

SHUT_DOWN = """\
node.shutdown()
"""

#: What each line of network.log looks like.
LINE = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - (DEBUG|INFO|WARNING|ERROR) - node (\d+): (.+)"


class SeedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.ports = free_ports(4)

    def run_script(self, *examples: str, node_id: int = 2) -> Script:
        """Start a script made of examples; node 2, and the ports, may become others."""
        text = "\n".join(examples)
        text = re.sub(r"800([0-3])", lambda port: str(self.ports[int(port[1])]), text)
        if node_id != 2:
            text = text.replace("node_id=2", f"node_id={node_id}")
            text = text.replace(f"port={self.ports[1]}", f"port={self.ports[node_id - 1]}")
        script = Script(text)
        self.addCleanup(script.kill)
        return script

    def lines(self, script: Script) -> list[tuple[str, int, str]]:
        """Return the level, the node and the message of each line of the script's network.log."""
        found = []
        for line in script.log.splitlines():
            match = re.fullmatch(LINE, line)
            self.assertIsNotNone(match, line)
            assert match is not None
            found.append((match[1], int(match[2]), match[3]))
        return found

    def assert_logged(self, script: Script, *expected: str) -> None:
        """These lines ("INFO stopped"; a regular expression) stand in the log in this order, maybe among others."""
        lines = iter(f"{level} {message}" for level, _, message in self.lines(script))
        for each in expected:
            self.assertTrue(any(re.fullmatch(each, line) for line in lines), f"{each} in {script}")

    def test_network(self) -> None:
        """A bootstrap node, nodes that send, broadcast, print and handle: the document's workflow."""
        bootstrap = self.run_script(START_BOOTSTRAP)
        bootstrap.read("started at", stream="log")
        printing = self.run_script(START_NODE, node_id=3)
        handling = self.run_script(START_NODE, HANDLE, node_id=4)
        for script in printing, handling:
            script.read("the script has ended", stream="err")
        sending = self.run_script(START_NODE, SEND, BROADCAST, SHUT_DOWN)

        self.assertEqual(sending.wait(), 0, sending)
        self.assertEqual((sending.out, sending.err), ("", ""))
        self.assertEqual(
            printing.out,
            "Node 3 received data: 2: Hello, Peer 3!\nNode 3 received data: 2: Hello, everyone!\n",
        )
        self.assertEqual(handling.out, "Custom handler: Node 4 received packet: 2: Hello, everyone!\n")

        waiting = (bootstrap, printing, handling)
        for script in waiting:
            self.assertIsNone(script.process.poll(), script)
            script.interrupt()
        for script in waiting:
            self.assertEqual(script.wait(within=5.0), 0, script)
            self.assertNotIn("Traceback", script.err)

        linked, lost = r"INFO peer {} linked at 127.0.0.1:\d+", r"INFO peer {} lost: goodbye: shutdown"
        self.assert_logged(
            bootstrap, rf"INFO started at 127.0.0.1:{self.ports[0]}", linked.format(2), lost.format(2), "INFO stopped"
        )
        self.assert_logged(
            sending,
            rf"INFO started at 127.0.0.1:{self.ports[1]}",
            linked.format(1),
            rf"DEBUG packet to \('3', 'localhost', {self.ports[2]}\)",
            "DEBUG packet to all",
            "INFO stopped",
        )
        self.assert_logged(printing, linked.format(2), "DEBUG packet from 2 received", lost.format(2), "INFO stopped")
        for script in (*waiting, sending):
            levels = {level for level, _, _ in self.lines(script)}
            self.assertLessEqual(levels, {"DEBUG", "INFO"}, f"somebody had to retry: {script}")

    def test_retries(self) -> None:
        """A peer and a bootstrap node that are away: three retries, each a warning, then one error."""
        lonely = self.run_script(START_NODE)
        sending = self.run_script(START_NODE.replace(', bootstrap_address=("localhost", 8000)', ""), SEND, node_id=4)

        self.assertEqual(sending.wait(), 1)
        self.assertRegex(sending.err, r"\nnetlayer\.errors\.PeerUnreachable: peer 3 can't be reached \(4 attempts\): ")
        self.assertEqual(sending.err.count("Traceback"), 1)
        lonely.read("the script has ended", stream="err")
        lonely.interrupt()
        self.assertEqual(lonely.wait(within=5.0), 0)

        for script, where in (
            (lonely, f"the bootstrap node at localhost:{self.ports[0]}"),
            (
                sending,
                f"peer 3 at localhost:{self.ports[2]}",
            ),
        ):
            retries = [rf"WARNING no link to {where}: .*; retry {n} of 3" for n in (1, 2, 3)]
            self.assert_logged(script, *retries, rf"ERROR no link to {where} after 4 attempts: .*")
            said = [level for level, _, message in self.lines(script) if "waits to be dialed" not in message]
            self.assertEqual((said.count("WARNING"), said.count("ERROR")), (3, 1), script)

    def test_one_script(self) -> None:
        """All in one script, which ends when its nodes are shut down."""
        other = START_NODE.replace("node = ", "other = ").replace("\nnode.", "\nother.")
        other = other.replace("node_id=2", "node_id=3").replace("8001", "8002")
        end = "other.shutdown()\n" + SHUT_DOWN + "bootstrap_node.shutdown()\n"
        script = self.run_script(START_BOOTSTRAP, START_NODE, HANDLE, other, SEND, BROADCAST, end)
        self.assertEqual(script.wait(), 0, script)
        self.assertEqual(
            script.out,
            "Node 3 received data: 2: Hello, Peer 3!\nNode 3 received data: 2: Hello, everyone!\n",
        )
        self.assertEqual(script.err, "")
        stopped = [node for level, node, message in self.lines(script) if message == "stopped"]
        self.assertEqual(stopped, [3, 2, 1])
