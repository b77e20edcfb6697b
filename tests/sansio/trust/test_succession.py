"""Successions: who has signed what, which key is in the place of which, and what can't be."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import msgspec
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netlayer import Identity
from netlayer.errors import RemoteProtocolError
from netlayer.sansio.trust.succession import Succession, Successions, former_fingerprints, succeed
from netlayer.storage.certificate import certificate_succession
from netlayer.testing import SeededIdentity
from netlayer.wire.succession import (
    EXTENSION,
    MAX_FORMER,
    MAX_SIZE,
    Former,
    decode_succession,
    encode_succession,
    statement,
)

KEYS = [SeededIdentity(f"key {number}") for number in range(12)]
PRINTS = [key.fingerprint for key in KEYS]
A, B, C, D = PRINTS[:4]


def succession(*keys: SeededIdentity) -> Succession:
    """Return the succession of the last of some keys, each of which has replaced the one before."""
    shown: Succession | None = None
    for former, key in pairwise(keys):
        shown = succeed(former, key, before=shown)
    assert shown is not None
    return shown


class SignatureTests(SynchronousTestCase):
    def test_signed(self) -> None:
        """What both keys of each step have signed is believed, whoever checks it."""
        for count in range(2, MAX_FORMER + 2):
            self.assertEqual(former_fingerprints(succession(*KEYS[:count]), KEYS[11]), tuple(PRINTS[: count - 1]))

    def test_last_eight(self) -> None:
        """Of more former keys the last eight are shown."""
        self.assertEqual(former_fingerprints(succession(*KEYS[:11]), KEYS[0]), tuple(PRINTS[2:10]))

    def test_size(self) -> None:
        """Eight keys as nodes make them fit; so does the certificate into what OpenSSL takes."""
        key = Identity.generate()
        for _ in range(MAX_FORMER + 1):
            key = key.successor()
        extensions = list(key.certificate.extensions)
        self.assertEqual(len(extensions), 1)
        self.assertLess(len(extensions[0].value.public_bytes()), 2100)
        self.assertEqual(len(key.formers), MAX_FORMER)

    def test_any_change(self) -> None:
        """Whichever byte is changed, it is not believed any more, or was no part of what it says."""
        honest = succession(*KEYS[:3])
        for at in range(len(honest.content)):
            changed = bytearray(honest.content)
            changed[at] ^= 1
            try:
                found = former_fingerprints(Succession(honest.key, bytes(changed)), KEYS[0])
            except RemoteProtocolError:
                continue
            self.fail(f"byte {at} may be changed: {found}")

    def test_other_key(self) -> None:
        """It is worth nothing in the hands of another key, whole or in part."""
        shown = succession(*KEYS[:3])
        for key in (KEYS[1], KEYS[0], KEYS[5]):
            self.assertRaises(
                RemoteProtocolError, former_fingerprints, Succession(key.public_key, shown.content), KEYS[0]
            )

    @settings(deadline=None)
    @given(st.binary(max_size=300))
    def test_any_bytes(self, content: bytes) -> None:
        """Whatever bytes are shown, the answer is one kind of error or what they mean."""
        try:
            decoded = decode_succession(content)
        except RemoteProtocolError:
            return
        self.assertIn(len(decoded), range(1, MAX_FORMER + 1))

    @settings(deadline=None)
    @given(
        st.lists(
            st.builds(Former, st.binary(max_size=256), st.binary(max_size=80), st.binary(max_size=80)),
            min_size=1,
            max_size=8,
        )
    )
    def test_round_trip(self, formers: list[Former]) -> None:
        """What is written is read again, unless it is too long."""
        content = encode_succession(formers)
        if len(content) > MAX_SIZE:
            self.assertRaises(RemoteProtocolError, decode_succession, content)
        else:
            self.assertEqual(decode_succession(content), tuple(formers))

    def test_later_versions(self) -> None:
        """More fields than are known are ignored; the form around them is DER, which is one way only."""
        former = decode_succession(succession(*KEYS[:2]).content)[0]
        body = msgspec.msgpack.encode([[former.key, former.signature, former.next_signature, "more" * 20]])
        size = len(body)
        self.assertEqual(decode_succession(bytes([4, 0x81, size]) + body), (former,))
        for header in (
            bytes([4, size]),
            bytes([4, 0x81, size + 1]),
            bytes([4, 0x82, 0, size]),
            bytes([5, 0x81, size]),
            b"",
        ):
            self.assertRaises(RemoteProtocolError, decode_succession, header + body)

    def test_vector(self) -> None:
        """Statement, signatures, extension and certificate are what the vector says, made without our encoder."""
        said = json.loads((Path(__file__).parents[2] / "vectors" / "succession.json").read_text("utf-8"))
        values = {name: bytes.fromhex(text) for name, text in said.items() if name != "oid"}
        self.assertEqual(statement(values["former_fingerprint"], values["fingerprint"]), values["statement"])
        former = Former(values["former_key"], values["signature"], values["next_signature"])
        self.assertEqual(encode_succession([former]), values["extension"])
        self.assertEqual(said["oid"], EXTENSION)
        shown = certificate_succession(x509.load_der_x509_certificate(values["certificate"]))
        assert shown is not None
        self.assertEqual(shown, Succession(values["key"], values["extension"]))
        self.assertEqual(former_fingerprints(shown, Identity.generate()), (values["former_fingerprint"],))


class SuccessionsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.successions = Successions()

    def learn(self, *keys: bytes) -> bool:
        return self.successions.learn(keys)

    def test_lineage(self) -> None:
        """Steps that come one by one, or several at once, in any order, are one line in the end."""
        self.assertTrue(self.learn(B, C))
        self.assertTrue(self.learn(A, B, C, D))
        self.assertEqual((self.successions.formers(D), self.successions.formers(B)), ((A, B, C), (A,)))
        self.assertEqual([self.successions.successor(key) for key in (A, B, C, D)], [B, C, D, None])
        self.assertTrue(self.successions.knows((A, B, C)))
        self.assertFalse(self.successions.knows((A, C)))
        self.assertEqual(len(self.successions), 3)

    def test_first_wins(self) -> None:
        """A key has one successor and is that of one key; of what contradicts that nothing is taken over."""
        self.learn(A, B)
        for keys in ((A, C), (C, A, D), (C, B), (D, C, B)):
            self.assertFalse(self.learn(*keys))
        self.assertEqual((self.successions.formers(B), len(self.successions)), ((A,), 1))

    def test_no_way_back(self) -> None:
        """A key that was replaced does not come back, in one step or in several."""
        self.learn(C, A)
        for keys in ((A, C), (A, B, C), (D, C)):
            self.assertEqual(self.learn(*keys), keys == (D, C))
        self.assertEqual(self.successions.formers(A), (D, C))

    @settings(deadline=None)
    @given(st.lists(st.lists(st.sampled_from(PRINTS), min_size=1, max_size=5, unique=True), max_size=20))
    def test_ends(self, chains: list[list[bytes]]) -> None:
        """Whatever is shown in whatever order, each way through it ends, and nothing known is lost."""
        successions = Successions()
        known: set[tuple[bytes, bytes]] = set()
        for chain in chains:
            if successions.learn(chain):
                known.update(pairwise(chain))
            for former, key in known:
                self.assertEqual(successions.successor(former), key)
        for key in PRINTS:
            formers = successions.formers(key)
            self.assertNotIn(key, formers)
            self.assertEqual(len(set(formers)), len(formers))

    def test_loaded(self) -> None:
        """What others have learned is taken over in any order, but for what contradicts; even a way back has an end."""
        self.learn(A, B)
        self.successions.load([(C, D), (B, C), (A, D), (PRINTS[5], D)])
        self.assertEqual((self.successions.formers(D), len(self.successions)), ((A, B, C), 3))
        self.successions.load([(D, A)])
        self.assertEqual(list(self.successions.successors(A)), [B, C, D, A])
        self.assertFalse(self.learn(PRINTS[5], A))
        self.assertFalse(self.learn(PRINTS[5], PRINTS[6], A))
        self.assertLessEqual(len(self.successions.formers(A)), MAX_FORMER)

    def test_limit(self) -> None:
        """Of more than fit, the oldest are forgotten."""
        successions = Successions(limit=2)
        successions.learn((A, B, C))
        successions.learn(PRINTS[5:7])
        self.assertEqual((len(successions), successions.successor(A), successions.formers(C)), (2, None, (B,)))
