"""Twenty nodes and a bootstrap node, each in a process of its own: how they find, reach, miss and leave each other."""

from __future__ import annotations

import signal
import subprocess
import time

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.processes import Script

#: Prints what happens with the time, which is the same for all processes, and obeys lines on its keyboard.
MEMBER = """
    import sys, time
    from netlayer import BootstrapNode, Node, Settings

    node_id, others, bootstrap, settings = sys.argv[1:]

    def say(*words):
        sys.stdout.write(f"{' '.join(map(str, words))} {time.monotonic()}\\n")  # at once, as two threads print

    class Member(Node):
        def peer_joined(self, peer):
            say("joined", peer.node_id)
            if len(self.get_peers()) == int(others):
                say("complete")

        def peer_left(self, peer, reason):
            listed = peer.node_id in [each.node_id for each in self.get_peers()]
            say("still lists" if listed else "lost", peer.node_id)

        def handle_data(self, packet):
            say("received", packet)

    if bootstrap == "0":
        node = BootstrapNode(node_id, "localhost", 0)
    else:
        node = Member(node_id, "localhost", 0, ("localhost", bootstrap), settings=eval(settings))
    say("starting")
    node.start_node()
    say("port", node.port)
    for line in sys.stdin:
        say(*eval(line))
    node.shutdown()
    """


class NetworkTestCase(SynchronousTestCase):
    """A network of processes; ``self.nodes`` are those of its nodes, by their ids."""

    def start_network(self, count: int, *, settings: str = "None") -> None:
        """Start a bootstrap node and `count` others, all at once."""
        self.bootstrap = self.start(1000, 0, 0, settings)
        port = self.bootstrap.read(r"^port (\d+)")[1]
        self.nodes = {node_id: self.start(node_id, count - 1, port, settings) for node_id in range(1, count + 1)}

    def start(self, *arguments: object) -> Script:
        """Start one process."""
        process = Script(
            MEMBER, command=("script.py", *(str(argument) for argument in arguments)), stdin=subprocess.PIPE
        )
        self.addCleanup(process.kill)
        return process

    def times(self, words: str, *, but: int = 0) -> list[float]:
        """Return when each node, but one, first said something like these words; wait for the last to say it."""
        pattern = rf"^{words} (\d+\.\d+)$"
        return [float(process.read(pattern)[1]) for node_id, process in self.nodes.items() if node_id != but]

    def stop_network(self) -> None:
        """Have all nodes shut down; all processes end, and nothing went wrong in any of them."""
        everybody = [self.bootstrap, *self.nodes.values()]
        for process in everybody:
            assert process.process.stdin is not None
            process.process.stdin.close()
        for process in everybody:
            self.assertEqual(process.wait(), 0, process)
            self.assertNotIn("Traceback", process.err + process.log)
            self.assertNotIn("still lists", process.out)


class ManyNodesTests(NetworkTestCase):
    def test_twenty(self) -> None:
        """All see each other in 10 s, a broadcast reaches all, a killed one is missed in 1 s, and all end in order."""
        self.start_network(20)
        took = max(self.times("complete")) - max(self.times("starting"))
        print(f"20 nodes: the last saw all others {took:.2f} s after the last start")
        self.assertLess(took, 10.0)

        self.nodes[7].type("'report', sorted(node.broadcast_data('hello').delivered)")
        others = [node_id for node_id in self.nodes if node_id != 7]
        self.nodes[7].read(rf"^report \[{', '.join(map(str, others))}\] ")
        self.times("received 7: hello", but=7)

        killed = time.monotonic()
        self.nodes.pop(13).process.kill()
        took = max(self.times("lost 13")) - killed
        print(f"20 nodes: the last missed a killed one after {took:.3f} s")
        self.assertLess(took, 1.0)
        for process in self.nodes.values():
            process.type("'peers', len(node.get_peers())")
        self.times("peers 18")

        self.stop_network()


class FrozenTests(NetworkTestCase):
    def test_frozen(self) -> None:
        """A frozen node is missed after dead_after, and is back when it thaws."""
        self.start_network(4, settings="Settings(ping_after=0.4, dead_after=1.2, timeout=1.0)")
        self.times("complete")
        frozen = time.monotonic()
        self.nodes[2].process.send_signal(signal.SIGSTOP)
        missed = max(self.times("lost 2", but=2)) - frozen
        thawed = time.monotonic()
        self.nodes[2].process.send_signal(signal.SIGCONT)
        back = thawed
        for node_id in 1, 3, 4:
            back = max(back, float(self.nodes[node_id].read(r"^lost 2 [\d.]+\n(?:.*\n)*joined 2 ([\d.]+)$")[1]))
        print(f"a frozen node is missed after {missed:.2f} s, and is back {back - thawed:.2f} s after it thawed")
        self.assertLess(missed, 1.2 + 1.0)
        self.assertLess(back - thawed, 10.0)
        # A link stands at one of its ends a moment earlier than at the other one.
        self.nodes[2].read(r"^(?:lost \d .*\n(?:.*\n)*?){3}(?:.*\n)*?complete ")
        for process in self.nodes.values():
            process.type("'report', sorted(node.broadcast_data('hello').delivered)")
        for node_id, process in self.nodes.items():
            process.read(rf"^report \[{', '.join(str(other) for other in self.nodes if other != node_id)}\] ")
        self.stop_network()
