"""Honest nodes at one address with strangers, on real sockets: in network namespaces, as loopback is exempt."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from shutil import rmtree

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.integration.faults.members import MemberNode
from tests.integration.faults.namespaces import LocalNetwork, why_not
from tests.integration.faults.rogue import HARMLESS, SECRET, VIOLATION
from tests.integration.processes import ENVIRONMENT, wait_until

PORT = 8000
#: So that nobody has to wait long who was refused, or dialed at a bad moment.
SETTINGS = {"backoff_first": 0.1, "backoff_cap": 1.5, "backoff_late_cap": 1.5, "refused_wait": 2.0}


class NeighbourTests(SynchronousTestCase):
    """A bootstrap node at host 1; nodes and strangers share the address of host 2."""

    def setUp(self) -> None:
        reason = why_not()
        if reason is not None:
            raise SkipTest(reason)
        self.directory = Path(tempfile.mkdtemp(prefix="netlayer-neighbours-"))
        self.addCleanup(rmtree, self.directory)
        self.network = LocalNetwork([1, 2, 3])
        self.addCleanup(self.network.close)
        self.bootstrap = self.member(1, host=1)

    def member(self, node_id: int, *, host: int, port: int = PORT) -> MemberNode:
        """Start a node at a host."""
        member = MemberNode(
            node_id,
            self.directory,
            bootstrap=node_id == 1,
            launcher=self.network.launcher(host),
            listen=[self.network.address(host), port],
            advertise=None,
            bootstraps=[[self.network.address(1), PORT]] if node_id != 1 else [],
            network_secret="only for hosts in namespaces",
            settings=SETTINGS,
        )
        self.addCleanup(member.close)
        member.start()
        wait_until(lambda: member.started() is not None, lambda: f"node {node_id} listens")
        return member

    def strangers(self, *kinds: str) -> subprocess.Popen[str]:
        """Have strangers come from host 2, one after the other."""
        program = [sys.executable, "-m", "tests.integration.faults.rogue", self.network.address(1), str(PORT)]
        process = subprocess.Popen(
            [*self.network.launcher(2), *program, *kinds],
            env=os.environ | ENVIRONMENT,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def log(self, member: MemberNode) -> str:
        """Return what the present process of a node has logged."""
        return Path(f"{self.directory}/node-{member.node_id}-life-{len(member.lives)}.log").read_text()

    def assertJoins(self, member: MemberNode, *, within: float) -> None:
        """Assert that a node gets in soon."""
        wait_until(lambda: 1 in member.linked(), lambda: f"in: {self.log(member)}", within=within)

    def again(self, member: MemberNode) -> None:
        """Kill a node and start it again."""
        member.kill()
        member.start()

    def test_harmless(self) -> None:
        """Probes, scans and wrong secrets cost the nodes that share their address nothing, new ones included."""
        strangers = self.strangers(*HARMLESS * 6)
        node = self.member(2, host=2)
        self.assertJoins(node, within=15.0)
        for _ in range(2):
            self.again(node)
            self.assertJoins(node, within=15.0)
        told, _ = strangers.communicate(timeout=60.0)
        self.assertEqual(strangers.returncode, 0)
        wanted = [f"{kind}: {'bad-secret' if kind == SECRET else 'dropped'}" for kind in HARMLESS * 6]
        heard = [f"{kind}: {code}" for kind, code in zip(HARMLESS * 6, told.split(), strict=True)]
        self.assertEqual(heard, wanted)
        newcomer = self.member(3, host=2, port=PORT + 1)
        self.assertJoins(newcomer, within=15.0)
        for text in ("bad data", "broken the protocol"):
            self.assertNotIn(text, self.log(self.bootstrap))
        for member in (node, newcomer):
            self.assertNotIn("no link to", self.log(member))

    def test_violations(self) -> None:
        """Where unknown keys break the protocol, known ones get in, and unknown ones are told why they don't."""
        node = self.member(2, host=2)
        self.assertJoins(node, within=15.0)
        told, _ = self.strangers(*[VIOLATION] * 5).communicate(timeout=60.0)
        self.assertEqual(told.split(), ["protocol-violation"] * 5)
        self.assertIn("unknown keys at 10.50.0.2 have broken the protocol 5 times", self.log(self.bootstrap))
        newcomer = self.member(3, host=2, port=PORT + 1)
        refused = "rejected: protocol-violation ('unknown keys at this address have broken the protocol"
        wait_until(lambda: refused in self.log(newcomer), lambda: f"refused: {self.log(newcomer)}")
        newcomer.kill()
        self.again(node)
        self.assertJoins(node, within=15.0)
        elsewhere = self.member(4, host=3)
        self.assertJoins(elsewhere, within=15.0)
