"""The introductions."""

from __future__ import annotations

import attrs
import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netlayer.config import Settings
from netlayer.errors import PeerIdentityMismatch, RemoteProtocolError
from netlayer.sansio.handshake import LocalNode, RemoteNode, judge_hello, judge_welcome
from netlayer.wire.messages import (
    MIN_MAX_FRAME,
    MIN_MAX_PACKET,
    MIN_WINDOW,
    VERSION,
    Hello,
    RejectCode,
    Ticket,
    Welcome,
    decode_message,
    encode_message,
)
from tests.sansio.pair import ADDRESS, LARGE, SMALL, local_node

DIALER = local_node(1, Settings(), fingerprint=SMALL, boot=11)
LISTENER = local_node(2, Settings(), fingerprint=LARGE, boot=22)

NODES = st.builds(
    LocalNode,
    network=st.text(min_size=1, max_size=64),
    node_id=st.integers(0, 2**63 - 1),
    fingerprint=st.just(SMALL),
    role=st.sampled_from(("peer", "bootstrap")),
    boot=st.integers(0, 2**64 - 1),
    ephemeral=st.booleans(),
    window=st.integers(MIN_WINDOW, 2**31),
    max_frame=st.integers(MIN_MAX_FRAME, 2**31),
    max_packet=st.integers(MIN_MAX_PACKET, 2**31),
    addresses=st.lists(st.just(ADDRESS), max_size=8).map(tuple),
    ticket=st.none() | st.just(Ticket("n", 1, SMALL, True, 1, 2, b"key", b"signature")),
    agent=st.text(max_size=200),
)


class IntroductionTests(SynchronousTestCase):
    """What one end says is what the other end knows."""

    @settings(deadline=None, max_examples=50)
    @given(NODES)
    def test_arrives(self, local: LocalNode) -> None:
        """Everything that a node says about itself arrives, whichever end dials."""
        for said in (local.hello(), local.welcome(ADDRESS)):
            frame = encode_message(said)
            heard = decode_message(frame[4], frame[5:])
            self.assertEqual(heard, said)
            assert isinstance(heard, (Hello, Welcome))
            remote = RemoteNode.from_message(heard)
            for field in attrs.fields(RemoteNode):
                self.assertEqual(getattr(remote, field.name), getattr(local, field.name), field.name)

    def test_observed(self) -> None:
        """The dialer learns the address that it was seen from."""
        self.assertEqual(LISTENER.welcome(ADDRESS).observed, ADDRESS)
        self.assertIsNone(LISTENER.welcome(None).observed)


class HelloTests(SynchronousTestCase):
    """Whom a listener lets in."""

    def judge(self, fingerprint: bytes = SMALL, **changes: object) -> str | None:
        """Return the code with which a HELLO is refused."""
        refusal = judge_hello(LISTENER, msgspec.structs.replace(DIALER.hello(), **changes), fingerprint)
        return refusal.code if refusal is not None else None

    def test_welcome(self) -> None:
        """A node of the same network with an id of its own is let in."""
        self.assertIsNone(self.judge())

    def test_newer(self) -> None:
        """A newer node that still speaks our version is let in."""
        self.assertIsNone(self.judge(version_max=VERSION + 5))

    def test_version(self) -> None:
        """A node with which no version is shared is told so."""
        self.assertEqual(self.judge(version_min=VERSION + 1, version_max=VERSION + 5), RejectCode.VERSION)
        self.assertEqual(self.judge(version_min=0, version_max=VERSION - 1), RejectCode.VERSION)

    def test_network(self) -> None:
        """A node of another network is told so."""
        self.assertEqual(self.judge(network="another"), RejectCode.NETWORK)

    def test_self(self) -> None:
        """A node that has dialed itself is told so, whatever id it says."""
        self.assertEqual(self.judge(LARGE), RejectCode.SELF)
        self.assertEqual(self.judge(LARGE, node_id=2), RejectCode.SELF)

    def test_id(self) -> None:
        """Another key can't have the id of the listener itself."""
        self.assertEqual(self.judge(node_id=2), RejectCode.ID_TAKEN)


class WelcomeTests(SynchronousTestCase):
    """Which listener a dialer believes."""

    def judge(self, expected_id: int | None = None, **changes: object) -> None:
        """Judge a WELCOME."""
        welcome = msgspec.structs.replace(LISTENER.welcome(ADDRESS), **changes)
        judge_welcome(DIALER, welcome, expected_id=expected_id)

    def test_good(self) -> None:
        """The node that was dialed is believed, and any node where none was named."""
        self.judge()
        self.judge(2)

    def test_another_node(self) -> None:
        """Another node than the one that was dialed is an identity mismatch that names both."""
        error = self.assertRaises(PeerIdentityMismatch, self.judge, 3)
        self.assertEqual((error.expected, error.found), ("node 3", "node 2"))

    def test_same_id(self) -> None:
        """A listener with our own id is a mismatch even where none was named."""
        self.assertRaises(PeerIdentityMismatch, self.judge, node_id=1)

    def test_violations(self) -> None:
        """A WELCOME to what was not asked for is a violation."""
        self.assertRaises(RemoteProtocolError, self.judge, version=VERSION + 1)
        self.assertRaises(RemoteProtocolError, self.judge, network="another")
