"""What strangers may cost a node; in a simulated internet, as on loopback all come from one address."""

from __future__ import annotations

import resource
from typing import Any, ClassVar

from twisted.internet import reactor as global_reactor
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.logger import LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from netlayer import PeerService, Settings
from netlayer.net import plaintext
from netlayer.net.strangers import OTHER_FILES, Strangers
from netlayer.testing import SimulatedHost, SimulatedInternet

SECRET = "the secret of the network"
#: What a simulated connection begins with: who is there.
PREAMBLE = plaintext._MAGIC + bytes(32)


class Stranger(Protocol):
    """Connects and says what it is told to."""

    closed = False

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed = True


class StrangersTestCase(SynchronousTestCase):
    """One node at ``victim``; ``elsewhere`` and ``honest`` are other hosts."""

    options: ClassVar[dict[str, Any]] = {}

    def setUp(self) -> None:
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self._keep)
        self.addCleanup(globalLogPublisher.removeObserver, self._keep)
        self.internet = SimulatedInternet(seed=1, network="10.0.0.0/16")
        self.victim, self.elsewhere, self.honest = (
            self.internet.add_host(name) for name in ("victim", "elsewhere", "honest")
        )
        self.node = self.serve(self.victim, 1, **self.options)

    def serve(self, host: SimulatedHost, node_id: int, *, peers: Any = (), **settings: Any) -> PeerService:
        """Run a node."""
        service = PeerService(
            host.reactor,
            node_id=node_id,
            listen=(host.address, 8000),
            peers=peers,
            network_secret=SECRET,
            settings=Settings(**settings),
            identity=host.identity(),
            rng=host.rng,
        )
        host.run(service)
        return service

    def connect(self, host: SimulatedHost, count: int = 1, *, say: bytes = b"") -> list[Stranger]:
        """Connect some strangers, and have each say something."""
        strangers = []
        for _ in range(count):
            stranger = Stranger()
            factory = ClientFactory()
            factory.noisy = False
            factory.buildProtocol = lambda address, stranger=stranger: stranger  # type: ignore[method-assign,misc]
            host.reactor.connectTCP(self.victim.address, 8000, factory)
            strangers.append(stranger)
        self.internet.advance(0.5)
        for stranger in strangers:
            if say and stranger.connected:
                stranger.transport.write(say)
        self.internet.advance(0.5)
        return strangers

    def log(self, level: str, containing: str) -> list[str]:
        texts = [e["log_format"].format(**e) for e in self.events if e["log_level"].name == level]
        return [text for text in texts if containing in text]

    def _keep(self, event: LogEvent) -> None:
        if event.get("log_namespace") == "netlayer":
            self.events.append(event)


class ConnectionsTests(StrangersTestCase):
    options: ClassVar[dict[str, Any]] = {"max_handshakes": 20, "max_handshakes_per_address": 8, "timeout": 30.0}

    def test_from_one_address(self) -> None:
        """Of one address eight strangers may be under way; the oldest is dropped for the next."""
        strangers = self.connect(self.elsewhere, 8)
        self.assertFalse(any(stranger.closed for stranger in strangers))
        (another,) = self.connect(self.elsewhere)
        self.assertFalse(another.closed)
        self.assertEqual(sum(stranger.closed for stranger in strangers), 1)

    def test_silent_ones_first(self) -> None:
        """Who has said something stays while there are others to drop, who have not, and were not the last to come."""
        (speaker,) = self.connect(self.elsewhere, say=PREAMBLE)
        silent = self.connect(self.elsewhere, 20)
        self.assertFalse(speaker.closed)
        self.assertEqual(sum(stranger.connected and not stranger.closed for stranger in silent), 7)

    def test_newcomer(self) -> None:
        """Who has not had the time to say anything is not dropped for that."""
        speakers = self.connect(self.elsewhere, 8, say=PREAMBLE)
        (newcomer,) = self.connect(self.elsewhere)
        self.assertFalse(newcomer.closed)
        self.assertEqual(sum(stranger.closed for stranger in speakers), 1)

    def test_honest_gets_in(self) -> None:
        """A node gets in while an address holds all its places."""
        self.connect(self.elsewhere, 40)
        peer = self.serve(self.honest, 2, peers=[(1, self.victim.address, 8000)])
        self.internet.run_until(lambda: peer.get_peers(), timeout=5.0)

    def test_forgotten(self) -> None:
        """Strangers that leave or run out of time leave nothing behind."""
        for stranger in self.connect(self.elsewhere, 4):
            stranger.transport.loseConnection()
        self.connect(self.elsewhere, 4)
        self.internet.advance(31.0)
        strangers = self.node.factory._strangers
        self.assertEqual((len(strangers), strangers._by_host), (0, {}))
        self.assertEqual(self.node.factory.connection_count, 0)

    def test_silent_ones_cost_little(self) -> None:
        """No protocol is built before the first byte, and none of silent connections that were closed ever is."""
        silent = self.connect(self.elsewhere, 8)
        self.assertEqual(self.node.factory._connections, {})
        self.assertEqual(self.node.factory.connection_count, 8)
        silent[0].transport.write(PREAMBLE)
        self.internet.advance(0.5)
        self.assertEqual(len(self.node.factory._connections), 1)
        self.internet.advance(31.0)
        self.assertEqual(self.node.factory._connections, {})

    def test_time_runs_from_the_start(self) -> None:
        """Who begins late has no more time for its handshake than who begins at once."""
        late, silent = self.connect(self.elsewhere, 2)
        self.internet.advance(28.0)
        late.transport.write(PREAMBLE)
        self.internet.advance(0.9)
        self.assertFalse(late.closed or silent.closed)
        self.internet.advance(0.5)
        self.assertTrue(late.closed and silent.closed)
        self.assertEqual(len(self.log("debug", "no link within 30 s (")), 1)
        self.assertEqual(len(self.log("debug", "nothing was said within 30 s")), 1)

    def test_shut_down(self) -> None:
        """A node that shuts down closes them at once, and has stopped when they are closed."""
        strangers = self.connect(self.elsewhere, 3)
        stopped = self.node.stop()
        self.internet.advance(0.5)
        self.assertTrue(all(stranger.closed for stranger in strangers))
        self.successResultOf(stopped)
        self.assertEqual(self.node.factory.connection_count, 0)


class LogTests(StrangersTestCase):
    options: ClassVar[dict[str, Any]] = {"stranger_lines": 6}

    def test_lines(self) -> None:
        """A flood of strangers writes six lines a minute, and one that says how many were left out."""
        for _ in range(25):
            self.connect(self.elsewhere, say=b"garbage that is no preamble" * 3)
        self.assertEqual(len(self.log("warn", "bad data")) + len(self.log("debug", "ended")), 6)
        self.internet.advance(60.0)
        self.connect(self.honest, say=b"garbage that is no preamble" * 3)
        self.assertEqual(len(self.log("warn", "lines about strangers were left out")), 1)


class FilesTests(SynchronousTestCase):
    def test_before_files_run_out(self) -> None:
        """On real sockets, connections are closed at once when the process has almost no files left."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (OTHER_FILES + 100, hard))
        reactor: Any = global_reactor
        strangers = Strangers(1, Settings(), reactor)
        self.assertEqual([strangers.admits(count) for count in (0, 99, 100)], [True, True, False])
