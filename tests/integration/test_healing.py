"""Outages of real processes, and how soon the network is whole again.

The suite runs them with short settings. ``python -m tests.integration.test_healing`` runs them with the default ones,
which takes some minutes, and prints what it measured.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
import unittest

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.processes import Script, free_ports, wait_until

DEFAULTS = "NETLAYER_TEST_DEFAULT_SETTINGS" in os.environ

#: Seconds: how long outages last, how soon a frozen peer is gone, and how soon everything is whole again.
OUTAGE, EARLY, GONE, HEALED, MET = (60.0, 20.0, 16.0, 30.0, 35.0) if DEFAULTS else (1.8, 1.0, 1.8, 5.0, 6.0)

_SHORT_SETTINGS = (
    "ping_after=0.3, dead_after=1.0, backoff_cap=0.5, backoff_late_cap=1.0, backoff_late=1.0, lease_grace=1.0"
)
SHORT = "" if DEFAULTS else _SHORT_SETTINGS

#: A node that prints what happens to it, each line with the time of the machine's one monotonic clock.
MEMBER = """
import sys, time
from netlayer import BootstrapNode, Node, Settings, configure_logging

def tell(*what):
    words = [*map(str, what), f"at={time.monotonic():.3f}\\n"]
    sys.stdout.write(" ".join(words))  # as one piece: two threads tell
    sys.stdout.flush()

def hooked(kind):
    class Hooked(kind):
        def peer_joined(self, peer):
            tell("joined", peer.node_id)
            self.send_data(peer.node_id, f"hello from {self.node_id}").addErrback(lambda failure: None)

        def peer_left(self, peer, reason):
            tell("left", peer.node_id)

        def handle_data(self, packet):
            tell("received", packet)
    return Hooked

node_id, port, bootstrap = map(int, sys.argv[1:])
kind = Node if bootstrap else BootstrapNode
node = hooked(kind)(
    node_id, "localhost", port, ("localhost", bootstrap) if bootstrap else None, settings=Settings(SHORT)
)
node.start_node()
tell("started", node_id)
if bootstrap:
    node.when_joined()
    tell("registered", node_id)
node.wait()
""".replace("SHORT", SHORT)


class Member(Script):
    """A node in a process of its own."""

    def __init__(self, node_id: int, port: int, bootstrap: int = 0) -> None:
        self.node_id = node_id
        super().__init__(MEMBER, command=("script.py", str(node_id), str(port), str(bootstrap)))

    def happened(self, what: str, *, after: float, within: float) -> float:
        """Wait for a line that happened after a time, and return how long after it happened."""

        def found() -> float | None:
            for match in re.finditer(rf"^{what}.* at=(\S+)$", self.out, re.MULTILINE):
                if float(match[1]) > after:
                    return float(match[1]) - after
            return None

        took: float = wait_until(found, lambda: f"{what!r} at node {self.node_id}:{self}", within=within)
        return took

    def signal(self, number: int) -> float:
        """Send a signal and return the time."""
        now = time.monotonic()
        self.process.send_signal(number)
        return now


class HealingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.ports = dict(enumerate(free_ports(6), start=1))
        self.members: dict[int, Member] = {}
        self.addCleanup(self.end_all)

    def end_all(self) -> None:
        for member in self.members.values():
            member.kill()

    def add(self, *node_ids: int) -> None:
        """Start nodes; number 1 is the bootstrap node."""
        for node_id in node_ids:
            self.members[node_id] = Member(node_id, self.ports[node_id], self.ports[1] if node_id != 1 else 0)

    def end(self, *node_ids: int) -> float:
        """End nodes by SIGKILL and return the time."""
        for node_id in node_ids:
            killed = self.members[node_id].signal(signal.SIGKILL)
        for node_id in node_ids:
            self.members[node_id].process.wait()
            self.members[node_id].kill()
        return killed

    def network(self, *node_ids: int) -> list[Member]:
        """Return the bootstrap node and these nodes, all linked to each other."""
        self.add(1)
        self.members[1].read("^started")
        self.add(*node_ids)
        for member in (self.members[n] for n in node_ids):
            for other in node_ids:
                if other != member.node_id:
                    member.read(rf"^joined {other} ")
        return list(self.members.values())

    def report(self, what: str, *took: float) -> None:
        if DEFAULTS:
            print(f"\n{what}: {', '.join(f'{each:.2f} s' for each in took)}", file=sys.stderr)

    def test_killed(self) -> None:
        """A peer killed with SIGKILL is gone from the others' lists within a second."""
        _, _, three, four = self.network(2, 3, 4)
        killed = three.signal(signal.SIGKILL)
        took = [self.members[n].happened("left 3", after=killed, within=1.0) for n in (2, 4)]
        self.report("killed, gone after", *took)
        self.assertLess(max(took), 1.0)
        self.assertNotIn("left", four.out.replace("left 3", ""))

    def test_killed_and_restarted(self) -> None:
        """A node that is killed and started again at once, on its id and port, is joined and talked to soon."""
        self.network(2, 3)
        killed = self.end(3)
        self.add(3)
        registered = self.members[3].happened("registered", after=killed, within=HEALED)
        greeted = self.members[3].happened("received 2: hello", after=killed, within=HEALED)
        self.report("killed and restarted, registered and greeted after", registered, greeted)

    def test_swapped_ports(self) -> None:
        """Two nodes that are killed and started again on each other's port are known by what they say, not by where."""
        *_, four = self.network(2, 3, 4)
        killed = self.end(2, 3)
        self.ports[2], self.ports[3] = self.ports[3], self.ports[2]
        self.add(2, 3)
        took = [
            self.members[n].happened(f"joined {other}", after=killed, within=HEALED)
            for n, other in ((2, 3), (3, 2), (2, 4), (3, 4), (4, 2), (4, 3))
        ]
        took += [four.happened(f"received {n}: hello", after=killed, within=HEALED) for n in (2, 3)]
        self.report("two killed and restarted with swapped ports, all linked after", max(took))

    def test_frozen(self) -> None:
        """A frozen peer is gone when it has been silent for too long, and back soon after it goes on."""
        _, two, three = self.network(2, 3)
        frozen = three.signal(signal.SIGSTOP)
        gone = two.happened("left 3", after=frozen, within=GONE)
        continued = three.signal(signal.SIGCONT)
        back = two.happened("joined 3", after=continued, within=HEALED)
        self.report("frozen, gone after, back after", gone, back)

    def test_bootstrap_away(self) -> None:
        """A bootstrap node that was away, and has a new key, gets all nodes back, and newcomers meet the old ones."""
        _, two, three = self.network(2, 3)
        self.end(1)
        time.sleep(OUTAGE)
        started = time.monotonic()
        self.add(1, 4)
        took = [self.members[1].happened(f"joined {n}", after=started, within=HEALED) for n in (2, 3)]
        met = [self.members[4].happened(f"joined {n}", after=started, within=MET) for n in (2, 3)]
        self.report("bootstrap back, all registered after, newcomer meets them after", max(took), max(met))
        for member in (two, three):
            self.assertNotIn("left", member.out)

    def test_started_before_its_bootstrap(self) -> None:
        """A node may be started before its bootstrap node."""
        self.add(2)
        self.members[2].read("^started|$")
        time.sleep(EARLY)
        started = time.monotonic()
        self.add(1)
        took = self.members[2].happened("registered", after=started, within=HEALED)
        self.report("started before its bootstrap node, registered after", took)

    def test_bootstrap_frozen(self) -> None:
        """A bootstrap node that is frozen while nodes start, which it accepts and does not answer, is joined later."""
        self.add(1)
        self.members[1].read("^started")
        self.members[1].signal(signal.SIGSTOP)
        self.add(2, 3)
        time.sleep(OUTAGE)
        continued = self.members[1].signal(signal.SIGCONT)
        took = [self.members[n].happened("registered", after=continued, within=HEALED) for n in (2, 3)]
        met = self.members[2].happened("joined 3", after=continued, within=HEALED)
        self.report("frozen bootstrap node back, registered after, linked to each other after", max(took), met)

    def test_machine_sleeps(self) -> None:
        """When all processes were frozen for a while, as on a machine that sleeps, nobody is accused for it."""
        members = self.network(2, 3, 4)
        for member in members:
            member.signal(signal.SIGSTOP)
        time.sleep(OUTAGE)
        for member in members:
            continued = member.signal(signal.SIGCONT)
        time.sleep(GONE)  # long enough for whoever were judged dead now
        linked: dict[int, set[int]] = {}
        for member in members[1:]:
            events = re.findall(r"^(joined|left) (\d+) at=(\S+)$", member.out, re.MULTILINE)
            self.assertEqual([event for event in events if float(event[2]) > continued], [], member)
            linked[member.node_id] = {int(peer) for what, peer, _ in events if what == "joined"}
        self.assertEqual(linked, {2: {3, 4}, 3: {2, 4}, 4: {2, 3}})
        self.report("machine asleep, links lost and made since", 0.0)


if __name__ == "__main__":
    os.environ["NETLAYER_TEST_DEFAULT_SETTINGS"] = "1"
    unittest.main(module="tests.integration.test_healing", verbosity=2)
