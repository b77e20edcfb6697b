"""The introductions."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netlayer.config import Settings
from netlayer.errors import PeerIdentityMismatch, RemoteProtocolError
from netlayer.sansio.link.handshake import LocalNode, RemoteNode, judge_hello, judge_welcome
from netlayer.sansio.link.proof import Channel
from netlayer.storage.admission import Admission
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
from tests.sansio.pair import ADDRESS, BINDING, LARGE, SMALL, local_node

DIALER = local_node(1, Settings(), fingerprint=SMALL, boot=11)
LISTENER = local_node(2, Settings(), fingerprint=LARGE, boot=22)

#: Two secrets of a network, stretched.
OLD, NEW = b"o" * 32, b"n" * 32

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
        channel = LISTENER.channel(BINDING, fingerprint, dialed=False)
        refusal = judge_hello(LISTENER, msgspec.structs.replace(DIALER.hello(), **changes), channel)
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
        channel = DIALER.channel(BINDING, LARGE, dialed=True)
        self.assertIsNone(judge_welcome(DIALER, welcome, channel, expected_id=expected_id))

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


class SecretTests(SynchronousTestCase):
    """What a secret changes: each end proves it to the other, on this connection and as who it is."""

    def hello(self, *secrets: bytes, binding: bytes = BINDING, fingerprint: bytes = SMALL) -> Hello:
        """Return what a dialer says that knows these secrets, on a connection to the listener."""
        dialer = attrs.evolve(DIALER, secrets=secrets, fingerprint=fingerprint)
        return dialer.hello(dialer.proof_to_listener(dialer.channel(binding, LARGE, dialed=True)))

    def judge(self, hello: Hello, *secrets: bytes) -> str | None:
        """Return the code with which a listener that knows these secrets refuses a HELLO."""
        listener = attrs.evolve(LISTENER, secrets=secrets)
        refusal = judge_hello(listener, hello, listener.channel(BINDING, SMALL, dialed=False))
        return refusal.code if refusal is not None else None

    def test_known(self) -> None:
        """A dialer that proves one of the listener's secrets is let in; so is any where none is asked for."""
        self.assertIsNone(self.judge(self.hello(NEW), NEW))
        self.assertIsNone(self.judge(self.hello(OLD), NEW, OLD))
        self.assertIsNone(self.judge(self.hello(NEW)))

    def test_refused(self) -> None:
        """No proof, another secret's, one of another connection, key or id, and a cut one are all refused alike."""
        good = self.hello(NEW)
        for hello in (
            self.hello(),
            self.hello(OLD),
            self.hello(NEW, binding=bytes(32)),
            self.hello(NEW, fingerprint=bytes([2]) * 32),
            msgspec.structs.replace(good, node_id=7),
            msgspec.structs.replace(good, proof=good.proof[:-1]),
            msgspec.structs.replace(good, proof=bytes(32)),
        ):
            self.assertEqual(self.judge(hello, NEW), RejectCode.BAD_SECRET, hello)

    def test_network(self) -> None:
        """A proof is good in its own network only."""
        other = attrs.evolve(DIALER, secrets=(NEW,), network="another")
        proof = other.proof_to_listener(other.channel(BINDING, LARGE, dialed=True))
        self.assertEqual(self.judge(DIALER.hello(proof), NEW), RejectCode.BAD_SECRET)

    def test_listener_proves(self) -> None:
        """A listener proves the secret that the dialer has proven; without a proof the dialer refuses it."""
        dialer, listener = attrs.evolve(DIALER, secrets=(OLD,)), attrs.evolve(LISTENER, secrets=(NEW, OLD))
        ours, theirs = dialer.channel(BINDING, LARGE, dialed=True), listener.channel(BINDING, SMALL, dialed=False)
        hello = dialer.hello(dialer.proof_to_listener(ours))
        welcome = listener.welcome(ADDRESS, listener.proof_to_dialer(theirs, hello))
        self.assertIsNone(judge_welcome(dialer, welcome, ours, expected_id=2))
        for proof in (b"", hello.proof, bytes(32)):  # its own proof reflected, too
            refusal = judge_welcome(dialer, msgspec.structs.replace(welcome, proof=proof), ours, expected_id=2)
            assert refusal is not None
            self.assertEqual(refusal.code, RejectCode.BAD_SECRET)
        elsewhere = attrs.evolve(ours, binding=bytes(32))
        self.assertIsNotNone(judge_welcome(dialer, welcome, elsewhere, expected_id=2))

    def test_unseen(self) -> None:
        """No secret is shown where what a node says of itself is."""
        self.assertNotIn(repr(NEW), repr(attrs.evolve(DIALER, secrets=(NEW,))))


class VectorTests(SynchronousTestCase):
    """The example of the specification, which was computed by other code."""

    def test_proof(self) -> None:
        """Stretching and both proofs give the bytes that other implementations compute."""
        vector = json.loads((Path(__file__).parents[2] / "vectors" / "proof.json").read_text())
        (secret,) = Admission.from_options(vector["network"], secret=vector["secret"]).secrets
        self.assertEqual(secret.hex(), vector["stretched"])
        ends = [bytes.fromhex(vector[name]) for name in ("binding", "dialer", "listener")]
        channel = Channel(*ends, vector["network"])
        ids = {"dialer_id": vector["dialer_id"]}
        self.assertEqual(channel.dialer_proof(secret, **ids).hex(), vector["dialer_proof"])
        ids["listener_id"] = vector["listener_id"]
        self.assertEqual(channel.listener_proof(secret, **ids).hex(), vector["listener_proof"])
