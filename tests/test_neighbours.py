"""Nodes that share an address with strangers: what those do is not held against them.

Each host of the simulated internet has one address, so what runs on a host stands for all that is behind a NAT.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from netlayer import BootstrapService, PeerService, Settings
from netlayer.errors import Rejected
from netlayer.net import plaintext
from netlayer.sansio.link.proof import Channel
from netlayer.storage.identity import fingerprint_text
from netlayer.testing import SimulatedHost, SimulatedInternet
from netlayer.wire.frames import FrameDecoder
from netlayer.wire.messages import VERSION, Hello, Reject, decode_message, encode_message

SECRET = "the secret of the network"
#: What comes to a port that is open to others: nothing, other protocols, scanners, and what almost begins right.
PROBES = (
    b"",
    b"GET /health HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(506),
    b"SSH-2.0-scan\r\n",
    bytes(range(256)) * 100,
    plaintext._MAGIC[:5] + b"?",
)


class Stranger(Protocol):
    """Says something, and notes what it hears.

    :ivar rejects: the refusals that it got.
    """

    closed = False

    def __init__(self, say: bytes) -> None:
        self._say = say
        self._heard = b""

    def connectionMade(self) -> None:
        if self._say:
            self.transport.write(self._say)

    def dataReceived(self, data: bytes) -> None:
        self._heard += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed = True

    @property
    def rejects(self) -> list[Reject]:
        frames = FrameDecoder(limit=4096)
        frames.feed(self._heard[len(plaintext._MAGIC) + 32 :])
        messages = [decode_message(*frame) for frame in iter(frames.next_frame, None)]
        return [message for message in messages if isinstance(message, Reject)]


def breaking(key: str) -> bytes:
    """Return what the holder of a key says who breaks the protocol: a frame that is too large."""
    return plaintext._MAGIC + hashlib.sha256(key.encode()).digest() + b"\xff" * 5


class NeighbourTestCase(SynchronousTestCase):
    """A bootstrap node at ``bootstrap``, and others at ``shared``, which is one address, and ``elsewhere``."""

    def setUp(self) -> None:
        self.texts: list[tuple[str, str]] = []
        globalLogPublisher.addObserver(self._keep)
        self.addCleanup(globalLogPublisher.removeObserver, self._keep)
        self.internet = SimulatedInternet(seed=1, network="10.0.0.0/16")
        self.at_bootstrap, self.shared, self.elsewhere = (
            self.internet.add_host(name) for name in ("bootstrap", "shared", "elsewhere")
        )
        self.number = 0

    def bootstrap(self, **options: Any) -> BootstrapService:
        """Run the bootstrap node."""
        return self.run_node(self.at_bootstrap, 1, kind=BootstrapService, **options)

    def run_node(self, host: SimulatedHost, node_id: int, *, kind: Any = PeerService, **options: Any) -> Any:
        """Run a node, by default one that dials the bootstrap node."""
        given: dict[str, Any] = {
            "listen": (host.address, 8000 + node_id),
            "bootstraps": [(self.at_bootstrap.address, 8001)] if kind is PeerService else [],
            "identity": host.identity(),
            "network_secret": SECRET,
        }
        return host.run(kind(host.reactor, node_id=node_id, rng=host.rng, **(given | options)))

    def strangers(self, *sayings: bytes, wait: float = 1.0) -> list[Stranger]:
        """Connect strangers from the shared address, one after the other."""
        strangers = []
        for say in sayings:
            stranger = Stranger(say)
            factory = ClientFactory()
            factory.noisy = False
            factory.buildProtocol = lambda address, it=stranger: it  # type: ignore[method-assign,misc]
            self.shared.reactor.connectTCP(self.at_bootstrap.address, 8001, factory)
            strangers.append(stranger)
            self.internet.advance(wait)
        return strangers

    def greeting(self, key: str) -> bytes:
        """Return what the holder of a key says who breaks no rule and knows the secret."""
        local = self.at_bootstrap.application.factory.local
        fingerprint = hashlib.sha256(key.encode()).digest()
        channel = Channel(bytes(32), fingerprint, local.fingerprint, local.network)
        hello = Hello(
            VERSION,
            VERSION,
            local.network,
            node_id=77,
            role="peer",
            boot=1,
            ephemeral=True,
            window=local.window,
            max_frame=local.max_frame,
            max_packet=local.max_packet,
            proof=channel.dialer_proof(local.secrets[0], dialer_id=77),
        )
        return plaintext._MAGIC + fingerprint + encode_message(hello)

    def refusals(self, *, wait: float) -> list[Reject]:
        """Return what an unknown key, at the shared address, is told that breaks no rule.

        :param wait: seconds before it comes.
        """
        self.internet.advance(wait)
        (stranger,) = self.strangers(self.greeting("a newcomer"))
        return stranger.rejects

    def assertRefused(self) -> None:
        """Assert that an unknown key at the shared address is told why it is refused."""
        (reject,) = self.refusals(wait=1.0)
        self.assertEqual(reject.code, "protocol-violation")
        self.assertIn("unknown keys at this address", reject.text)

    def ban(self) -> None:
        """Have unknown keys at the shared address break the protocol too often, so that they are refused there."""
        self.offend()
        self.assertRefused()

    def offend(self) -> None:
        """Have unknown keys at the shared address break the protocol too often."""
        for _ in range(5):
            self.number += 1
            self.strangers(breaking(f"rogue {self.number}"))
        self.assertEqual(len(self.log("warn", "unknown keys at 10.0.0.2 have broken the protocol 5 times")), 1)

    def log(self, level: str, containing: str) -> list[str]:
        """Return the lines of the log that contain something."""
        return [text for each, text in self.texts if each == level and containing in text]

    def _keep(self, event: LogEvent) -> None:
        if event.get("log_namespace") == "netlayer":
            self.texts.append((event["log_level"].name, formatEvent(event)))


class ProbeTests(NeighbourTestCase):
    def test_cost_nothing(self) -> None:
        """Whatever is no handshake is dropped, however often it comes, and its neighbours are let in as ever."""
        bootstrap = self.bootstrap()
        for _ in range(10):
            for stranger in self.strangers(*PROBES):
                self.assertEqual(stranger.rejects, [])
        self.internet.advance(5.0)
        node = self.run_node(self.shared, 2)
        self.internet.run_until(lambda: node.status.joined, timeout=5.0)
        self.strangers(*PROBES * 5)
        self.assertTrue(node.status.joined)
        self.assertEqual(self.log("warn", ""), [])
        self.assertEqual(bootstrap.factory.connection_count, 1)

    def test_wrong_secrets(self) -> None:
        """A node with another secret is told so, again and again, and its neighbours are let in as ever."""
        self.bootstrap()
        wrong = self.run_node(self.shared, 3, network_secret="it is another one of course")
        self.internet.advance(900.0)
        self.assertEqual(wrong.status.bootstraps[0].last_error[:20], "rejected: bad-secret")
        self.shared.application = None
        node = self.run_node(self.shared, 2, identity=self.elsewhere.identity())
        self.internet.run_until(lambda: node.status.joined, timeout=5.0)
        self.assertEqual(self.log("warn", "broken the protocol"), [])


class UnknownKeyTests(NeighbourTestCase):
    """Keys for which nothing speaks, from an address where such keys have broken the protocol."""

    def test_told(self) -> None:
        """An unknown node there is told why it is refused, and for how long; one elsewhere is let in."""
        self.bootstrap()
        self.ban()
        node = self.run_node(self.shared, 2)
        self.internet.advance(30.0)
        (bootstrap,) = node.status.bootstraps
        self.assertIn("rejected: protocol-violation ('unknown keys at this address have broken", bootstrap.last_error)
        other = self.run_node(self.elsewhere, 3)
        self.internet.run_until(lambda: other.status.joined, timeout=5.0)
        self.internet.advance(600.0)
        self.internet.run_until(lambda: node.status.joined, timeout=61.0)

    def test_retry_after(self) -> None:
        """The refusal tells when it ends."""
        self.bootstrap()
        self.ban()
        node = self.run_node(self.shared, 2)
        (wanted,) = list(node._membership.wanted)
        self.internet.run_until(lambda: isinstance(wanted.dialer.last_error, Rejected), timeout=30.0)
        self.assertTrue(570.0 < wanted.dialer.last_error.retry_after < 600.0, wanted.dialer.last_error.retry_after)

    def test_one_handshake_a_second(self) -> None:
        """A refused address has one handshake a second, whoever it is that has it there."""
        self.bootstrap()
        self.ban()
        self.internet.advance(1.0)
        refused = self.strangers(*(self.greeting(f"more {number}") for number in range(40)), wait=0.25)
        told = [stranger for stranger in refused if stranger.rejects]
        self.internet.advance(1.0)
        self.assertTrue(all(stranger.closed for stranger in refused))
        self.assertTrue(9 <= len(told) <= 10, len(told))

    def test_probes_take_no_turn(self) -> None:
        """What is no handshake, or is silent, takes no turn of those who wait for theirs."""
        self.bootstrap()
        self.ban()
        for _ in range(20):
            self.strangers(*PROBES, wait=0.15)
            self.assertRefused()

    def test_many_offenders(self) -> None:
        """An address stays refused however many keys offend elsewhere meanwhile."""
        bootstrap = self.bootstrap()
        self.ban()
        for number in range(5000):
            bootstrap.factory._strangers._violations.note(number, self.at_bootstrap.reactor.seconds())
        self.assertRefused()

    def test_refused_elsewhere(self) -> None:
        """A key that has broken the protocol too often is refused wherever it comes from; the log names it."""
        self.bootstrap()
        key = self.elsewhere.identity()
        saying = plaintext._MAGIC + key.fingerprint + b"\xff" * 5
        self.strangers(*[saying] * 5)
        shown = fingerprint_text(key.fingerprint)
        self.assertEqual(len(self.log("warn", f"the key {shown} at 10.0.0.2:")), 1)
        node = self.run_node(self.elsewhere, 3)
        self.internet.advance(10.0)
        (bootstrap,) = node.status.bootstraps
        self.assertIn("rejected: protocol-violation ('this key has broken the protocol", bootstrap.last_error)


class KnownKeyTests(NeighbourTestCase):
    """Keys for which more than their own word speaks are let in from such an address."""

    def assertLetIn(self, node_id: int = 2, **options: Any) -> None:
        """Assert that a node at the shared address joins, though that is refused."""
        node = self.run_node(self.shared, node_id, **options)
        self.internet.run_until(lambda: node.status.joined, timeout=5.0)

    def test_ticket(self) -> None:
        """A node that has registered before gets in by its ticket, also when it is started again."""
        self.bootstrap()
        node = self.run_node(self.shared, 2)
        self.internet.run_until(lambda: node.status.joined, timeout=5.0)
        self.ban()
        for connection in self.internet.connections:
            connection.reset()
        self.internet.run_until(lambda: not node.status.joined)
        self.internet.run_until(lambda: node.status.joined, timeout=5.0)
        self.assertRefused()
        self.shared.restart()
        self.assertLetIn()

    def test_ticket_from_before(self) -> None:
        """A bootstrap node that was started again, and knows nothing, believes the tickets that it has signed."""
        self.bootstrap()
        node = self.run_node(self.shared, 2)
        self.internet.run_until(lambda: node.status.joined, timeout=5.0)
        ticket = node.factory.local.ticket
        self.shared.restart()
        self.at_bootstrap.restart()
        self.bootstrap()
        self.ban()
        node = self.run_node(self.shared, 2)
        node.factory.show_ticket(ticket)
        self.internet.run_until(lambda: node.status.joined, timeout=5.0)
        self.assertEqual(self.log("warn", "rejected: protocol-violation"), [])

    def test_configured(self) -> None:
        """A configured peer gets in whose key has answered before."""
        self.bootstrap(peers=[(2, self.shared.address, 8002)])
        node = self.run_node(self.shared, 2, bootstraps=[])
        self.internet.run_until(node.factory.link_drivers, timeout=30.0)
        self.shared.refuse_accepts()
        self.shared.restart()
        self.ban()
        self.assertLetIn()

    def test_known_from_before(self) -> None:
        """A key that the node has met, by its data directory, gets in, and so does one that has taken its place."""
        directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, directory)
        bootstrap = self.bootstrap(data_dir=directory, identity=self.at_bootstrap.identity())
        self.internet.advance(1.0)
        bootstrap.factory.claims.known_peers.learn(2, self.shared.identity().fingerprint)
        self.ban()
        self.assertLetIn()
        self.assertRefused()
        another = self.elsewhere.identity()
        bootstrap.factory.claims.successions.learn((self.shared.identity().fingerprint, another.fingerprint))
        self.shared.restart()
        self.assertLetIn(identity=another)

    def test_allowlist(self) -> None:
        """A key on the allowlist gets in, and whoever is not on it is refused as ever."""
        directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, directory)
        allowlist = directory / "allowlist"
        allowlist.write_text(f"2 {fingerprint_text(self.shared.identity().fingerprint)}\n")
        self.bootstrap(allowlist=allowlist)
        self.offend()
        self.assertEqual([reject.code for reject in self.refusals(wait=1.0)], ["not-allowed"])
        self.assertLetIn()

    def test_only_their_own(self) -> None:
        """What a known key does counts for it alone: its neighbours are let in, known or not."""
        self.bootstrap()
        node = self.run_node(self.shared, 2)
        self.internet.run_until(lambda: node.status.joined, timeout=5.0)
        saying = plaintext._MAGIC + self.shared.identity().fingerprint + b"\xff" * 5
        self.strangers(*[saying] * 5)
        self.assertEqual(len(self.log("warn", "has broken the protocol 5 times")), 1)
        self.assertEqual(self.log("warn", "unknown keys at"), [])
        self.shared.restart()
        self.assertLetIn(3, identity=self.elsewhere.identity())


class ExemptTests(NeighbourTestCase):
    def test_exempt(self) -> None:
        """At an address that is exempt nothing is counted but for the keys, nor how many handshakes are under way."""
        self.bootstrap(settings=Settings(exempt_addresses="192.0.2.0/24, 10.0.0.2"))
        self.strangers(*(breaking(f"rogue {number}") for number in range(20)))
        self.assertEqual(self.log("warn", "unknown keys at"), [])
        silent = self.strangers(*[b""] * 20, wait=0.01)
        self.internet.advance(1.0)
        self.assertFalse(any(stranger.closed for stranger in silent))
        self.assertEqual(self.refusals(wait=6.0), [])

    def test_mapped(self) -> None:
        """An address is the same one when a socket for both kinds sees it."""
        strangers = self.bootstrap(settings=Settings(exempt_addresses="192.0.2.0/24")).factory._strangers
        for host, counted in (
            ("192.0.2.7", None),
            ("::ffff:192.0.2.7", None),
            ("127.0.0.1", None),
            ("::1", None),
            ("::ffff:192.0.3.7", "192.0.3.7"),
            ("2001:db8::7", "2001:db8::7"),
        ):
            kind = IPv6Address if ":" in host else IPv4Address
            self.assertEqual(strangers.counted_host(kind("TCP", host, 4000)), counted)
        self.assertIs(strangers.counted_host(UNIXAddress(b"/tmp/socket")), None)
