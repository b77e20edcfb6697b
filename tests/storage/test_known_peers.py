"""A node knows again whom it has met, and is told of nobody else by the same name."""

from __future__ import annotations

import hashlib
import os
import stat

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from netlayer.log import NodeLog
from netlayer.storage.identity import fingerprint_text
from netlayer.storage.known_peers import (
    MAX_KEYS,
    MAX_KNOWN,
    WRITE_AFTER,
    DamagedPeers,
    Entries,
    Further,
    KnownPeers,
    read_known_peers,
    write_known_peers,
)
from tests.directories import new_directory

A, B, C = (bytes([n]) * 32 for n in (1, 2, 3))
ADDRESS = "tcp:127.0.0.1:8000"
NAMES = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1)


class KnownPeersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = new_directory(self) / "known_peers"
        self.clock = Clock()
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def load(self, network: str = "default") -> KnownPeers:
        known = KnownPeers(self.path, network=network, clock=self.clock, log=NodeLog(5))
        known.load()
        return known

    def logged(self, level: str) -> list[str]:
        found = [event for event in self.events if event.get("log_namespace") == "netlayer"]
        return [event["log_format"].format(**event) for event in found if event["log_level"].name == level]

    def test_kept(self) -> None:
        """What was learned is known the next time, ids and addresses."""
        known = self.load()
        known.learn(7, A)
        known.learn(ADDRESS, A)
        known.close()
        again = self.load()
        self.assertEqual([again.key_of(who) for who in (7, ADDRESS, 8, None)], [A, A, None, None])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual([path.name for path in self.path.parent.iterdir()], ["known_peers"])
        if os.name == "posix":
            self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)

    def test_written_soon(self) -> None:
        """It is written soon, once for all that was learned meanwhile, and not at all if nothing was."""
        known = self.load()
        for number in range(100):
            known.learn(number, bytes([number]) * 32)
        self.assertFalse(self.path.exists())
        self.clock.advance(WRITE_AFTER)
        self.assertEqual(len(read_known_peers(self.path)["default"]), 100)
        known.learn(5, bytes([5]) * 32)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_first_is_believed(self) -> None:
        """Another key is contradicted, told once, and never learned."""
        known = self.load()
        known.learn(7, A)
        known.learn(7, B)
        found = [known.contradicts(*claim) for claim in ((7, A), (7, B), (7, B), (7, C), (8, B))]
        self.assertEqual(found, [False, True, True, True, False])
        self.assertEqual(known.key_of(7), A)
        self.assertEqual(len(self.logged("warn")), 2)
        known.close()

    def test_one_id_each(self) -> None:
        """A key that is met with another id has given up the one before, which is free for others."""
        known = self.load()
        known.learn(7, A)
        known.learn(ADDRESS, A)
        known.learn(8, A)
        self.assertFalse(known.contradicts(7, B))
        self.assertEqual([known.key_of(who) for who in (7, 8, ADDRESS)], [None, A, A])
        known.close()

    def test_replaced(self) -> None:
        """A key that has handed over to another one is forgotten everywhere."""
        known = self.load()
        for who in (7, ADDRESS):
            known.learn(who, A)
        known.learn(9, C)
        known.replace(A, B)
        self.assertEqual([known.key_of(who) for who in (7, ADDRESS, 9)], [B, B, C])
        known.close()

    def test_vouched(self) -> None:
        """A name has further keys, of which those vouched for last are kept."""
        known = self.load()
        known.vouch("seeds:1", [B])
        self.assertEqual(known.keys_of("seeds:1"), ())
        known.learn("seeds:1", A)
        known.vouch("seeds:1", [A, B])
        known.learn("seeds:1", C)
        known.close()
        known = self.load()
        self.assertEqual((known.key_of("seeds:1"), known.keys_of("seeds:1")), (A, (A, B)))
        self.assertTrue(known.knows(B))
        known.replace(B, C)
        self.assertEqual(known.keys_of("seeds:1"), (A, C))
        more = [bytes([number]) * 32 for number in range(10, 10 + MAX_KEYS)]
        known.vouch("seeds:1", more)
        self.assertEqual(known.keys_of("seeds:1"), (A, *more[:-1]))
        known.close()
        self.assertEqual(self.load().keys_of("seeds:1"), (A, *more[:-1]))

    def test_earlier_file(self) -> None:
        """A file from before there were further keys is read."""
        lines = f"# keys\nnetwork default\nid {fingerprint_text(A)} 7\nat {fingerprint_text(B)} seeds:1\n".encode()
        checksum = hashlib.sha256(b"netlayer known peers 1\0" + lines).hexdigest()[:32]
        self.path.write_bytes(lines + f"# {checksum}\n".encode())
        known = self.load()
        self.assertEqual((known.key_of(7), known.keys_of("seeds:1")), (A, (B,)))

    def test_networks(self) -> None:
        """Networks have nothing in common, though a node may have been in several."""
        first = self.load()
        first.learn(7, A)
        first.close()
        other = self.load("with a space")
        self.assertFalse(other.contradicts(7, B))
        other.learn(7, B)
        other.close()
        self.assertEqual((self.load().key_of(7), self.load("with a space").key_of(7)), (A, B))

    def test_bounded(self) -> None:
        """So many are remembered at most; those that are known already go on to count."""
        known = self.load()
        for number in range(MAX_KNOWN + 10):
            known.learn(number, number.to_bytes(32, "big"))
        self.assertEqual((known.key_of(0) is not None, known.key_of(MAX_KNOWN)), (True, None))
        known.close()
        self.assertEqual(len(read_known_peers(self.path)["default"]), MAX_KNOWN)
        self.assertLess(self.path.stat().st_size, 2_000_000)
        self.assertEqual(len(self.logged("warn")), 1)

    def test_nowhere(self) -> None:
        """Without a file nothing is remembered."""
        known = KnownPeers(None, network="default", clock=self.clock, log=NodeLog(5))
        known.load()
        known.learn(7, A)
        self.assertFalse(known.contradicts(7, B))
        known.close()

    def test_damaged(self) -> None:
        """Any changed bit is noticed: the file is moved aside, with an ERROR, and a new one begun."""
        known = self.load()
        known.learn(7, A)
        known.learn(ADDRESS, B)
        known.close()
        whole = self.path.read_bytes()
        for at in range(len(whole) - 1):
            self.path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
            self.assertRaises(DamagedPeers, read_known_peers, self.path)
        for number, content in enumerate((b"", whole[:-20], b"nonsense\n", whole * 2), start=1):
            self.path.write_bytes(content)
            known = self.load()
            self.assertIsNone(known.key_of(7))
            self.assertEqual(self.path.with_name(f"known_peers.damaged-{number}").read_bytes(), content)
            self.assertIn("is damaged", self.logged("error")[-1])
            self.assertFalse(self.path.exists())

    def test_not_written(self) -> None:
        """A directory that can't be written to is an ERROR, and what was learned counts on."""
        known = self.load()
        known.learn(7, A)
        self.path.with_name("known_peers.tmp").mkdir()
        self.clock.advance(WRITE_AFTER)
        self.assertIn("can't be written", self.logged("error")[0])
        self.assertEqual(known.key_of(7), A)

    @settings(deadline=None)
    @given(
        st.dictionaries(
            st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=64),
            st.dictionaries(
                st.integers(0, 2**63 - 1) | NAMES | st.builds(Further, NAMES, st.integers(1, MAX_KEYS - 1)),
                st.binary(min_size=32, max_size=32),
            ),
            max_size=3,
        )
    )
    def test_any(self, networks: dict[str, Entries]) -> None:
        """What is written is read again."""
        write_known_peers(self.path, networks)
        self.assertEqual(read_known_peers(self.path), networks)
