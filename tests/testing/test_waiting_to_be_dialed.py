"""What a node says that has nobody to dial."""

from __future__ import annotations

from typing import Any

from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from netlayer import PeerService
from netlayer.testing import SimulatedHost, SimulatedInternet
from tests.testing.network import bootstrap, node


class WaitingToBeDialedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        self.internet = SimulatedInternet(seed=1)
        self.alpha, self.beta = self.internet.add_hosts(2, "node")

    def said(self, **options: Any) -> int:
        """Start a node, let a minute pass, and return how many times it has said that it waits."""

        def run(host: SimulatedHost) -> PeerService:
            return node(host, **options)

        self.beta.run(run)
        self.internet.advance(60.0)
        return sum("waits to be dialed" in str(event.get("log_format")) for event in self.events)

    def test_nobody_to_dial(self) -> None:
        """A node without bootstrap nodes and peers says once that it waits to be dialed."""
        self.assertEqual(self.said(bootstraps=[]), 1)

    def test_each_start(self) -> None:
        """Each of its processes says so."""
        self.said(bootstraps=[])
        self.beta.restart()
        self.internet.advance(60.0)
        self.assertEqual(sum("waits to be dialed" in str(event.get("log_format")) for event in self.events), 2)

    def test_peers_alone(self) -> None:
        """A node that has a peer to dial says nothing of the kind, even if that is away."""
        self.assertEqual(self.said(bootstraps=[], peers=[(self.alpha.address, 9000)]), 0)

    def test_bootstraps_alone(self) -> None:
        """Neither does one that has a bootstrap node to dial."""
        self.assertEqual(self.said(bootstraps=[(self.alpha.address, 9000)]), 0)

    def test_bootstrap_node(self) -> None:
        """To be dialed is what a bootstrap node is for."""
        self.alpha.run(bootstrap)
        self.internet.advance(60.0)
        self.assertEqual([e for e in self.events if "waits to be dialed" in str(e.get("log_format"))], [])
