"""A peer of the configuration that is lost: it is dialed where it was configured, and elsewhere if that is in vain."""

from __future__ import annotations

from typing import Any

from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from netlayer import PeerService
from netlayer.testing import SimulatedHost, SimulatedInternet
from tests.testing.network import bootstrap, node

NAME = "other.example"


class LostConfiguredPeerTestCase(SynchronousTestCase):
    """A node, and a peer that it knows by its configuration."""

    def setUp(self) -> None:
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        self.internet = SimulatedInternet(seed=1)
        self.bootstrap = self.internet.add_host("alpha")
        self.node, self.other = self.internet.add_hosts(2, "node")
        self.internet.set_name(NAME, self.other.address)
        self.port = 9000

    def start(self, peers: list[Any], **options: Any) -> None:
        """Start both; they get linked."""
        self.options = options
        self.node.run(lambda host: node(host, peers=peers, **options))
        self.other.run(self.moving)
        self.internet.run_until(lambda: self.linked, 60.0)

    def moving(self, host: SimulatedHost) -> PeerService:
        """Return the peer's next process."""
        return node(host, listen=(host.address, self.port), **self.options)

    @property
    def linked(self) -> bool:
        return bool(self.node.application.get_peers()) and bool(self.other.is_running)

    @property
    def wanted(self) -> list[str]:
        """Where the node dials."""
        return [wanted.address for wanted in self.node.application.status.wanted]

    def lose(self, seconds: float = 10.0) -> None:
        """Kill the peer, and wait."""
        self.other.crash()
        self.internet.advance(seconds)
        self.assertEqual(self.node.application.get_peers(), [])


class OneEntryTests(LostConfiguredPeerTestCase):
    def assertOneEntry(self, where: Any) -> None:
        """Lose the peer and get it back twice: it is dialed at one place, and its failures are told once."""
        self.start([where], bootstraps=[])
        for round_ in range(1, 3):
            self.internet.advance(30.0)  # a link that breaks young is told in fewer words
            self.lose()
            self.assertEqual(len(self.wanted), 1, self.wanted)
            retries = [event for event in self.events if "retry {n} of" in str(event.get("log_format"))]
            self.assertEqual([event["n"] for event in retries], [1, 2, 3] * round_)
            self.other.restart()
            self.internet.run_until(lambda: self.linked, 30.0)
            self.assertEqual(len(self.wanted), 1, self.wanted)

    def test_by_address(self) -> None:
        """It was configured by the address that it tells of itself."""
        self.assertOneEntry((self.other.address, 9000))

    def test_with_id(self) -> None:
        """It was configured with its id."""
        self.assertOneEntry((self.other.number, self.other.address, 9000))

    def test_by_name(self) -> None:
        """It was configured by a name."""
        self.assertOneEntry((NAME, 9000))

    def test_by_endpoint(self) -> None:
        """It was configured by an endpoint string."""
        self.assertOneEntry(f"tcp:{self.other.address}:9000")

    def test_that_has_dialed(self) -> None:
        """It has dialed this node first, which has never dialed it with success."""
        where = (self.other.number, self.other.address, 9000)
        self.node.run(lambda host: node(host, peers=[where], bootstraps=[]))
        back = (self.node.address, 8001)
        self.other.run(lambda host: node(host, listen=(host.address, 9000), peers=[back], bootstraps=[]))
        self.other.refuse_accepts()
        self.internet.run_until(lambda: self.linked, 60.0)
        self.lose()
        self.assertEqual(self.wanted, [f"{self.other.address}:9000"])


class ElsewhereTests(LostConfiguredPeerTestCase):
    """Wherever it comes back, it is found; only this node can dial."""

    def test_told_by_bootstrap(self) -> None:
        """It comes back at another address, of which a bootstrap node tells."""
        self.bootstrap.run(bootstrap)
        self.start([(self.other.address, 9000)])
        self.lose()
        self.node.refuse_accepts()
        self.port = 9001
        self.other.restart()
        self.internet.run_until(lambda: self.linked, 150.0)
        self.lose()
        self.other.restart()
        self.internet.run_until(lambda: self.linked, 60.0)

    def test_wrong_place(self) -> None:
        """It is where it has always been, but the name by which it is configured leads elsewhere."""
        self.start([(self.other.number, NAME, 9000)], bootstraps=[])
        self.internet.set_name(NAME, self.bootstrap.address)
        self.lose(1.0)
        self.node.refuse_accepts()
        self.other.restart()
        self.internet.run_until(lambda: self.linked, 60.0)

    def test_right_place_again(self) -> None:
        """When it is found where it was configured again, it is dialed there alone."""
        self.test_wrong_place()
        self.assertEqual(len(self.wanted), 2)
        self.internet.set_name(NAME, self.other.address)
        for _ in range(2):
            self.lose(60.0)
            self.other.restart()
            self.internet.run_until(lambda: self.linked, 60.0)
        self.assertEqual(self.wanted, [f"{NAME}:9000"])

    def test_packets_wait(self) -> None:
        """What is sent to it while it is dialed where it was configured goes through when it is found elsewhere."""
        self.start([(self.other.number, NAME, 9000)], bootstraps=[])
        self.internet.set_name(NAME, self.bootstrap.address)
        self.lose(1.0)
        self.node.refuse_accepts()
        self.other.restart()
        sent = self.node.application.send(self.other.number, "found")
        self.internet.run(sent)
