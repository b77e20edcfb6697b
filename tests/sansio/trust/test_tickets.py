"""Tickets: which are believed, and who has an id when several claim it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netlayer import Identity
from netlayer.errors import RemoteProtocolError
from netlayer.sansio.trust.tickets import (
    CLOCK_TOLERANCE,
    EPHEMERAL_LIFETIME,
    LIFETIME,
    MAX_CHECKED,
    MAX_SIGNERS,
    Claim,
    Tickets,
    issue_ticket,
    key_fingerprint,
    needs_renewal,
)
from netlayer.testing import SeededIdentity
from netlayer.wire.messages import Record, Ticket, encode_ticket_statement

NOW = 1_800_000_000.0
BOOTSTRAP, OTHER, NODE = (SeededIdentity(name) for name in ("bootstrap", "other", "node"))


def record(node_id: int = 7, *, ephemeral: bool = False, ticket: Ticket | None = None) -> Record:
    """Return the record of a node."""
    return Record(node_id, NODE.fingerprint, (), 1, ephemeral, ticket)


def ticket(signer: Any = BOOTSTRAP, *, network: str = "default", issued: int = int(NOW), **changes: Any) -> Ticket:
    """Return a ticket for that node."""
    return issue_ticket(signer, network, record(**changes), issued=issued, now=NOW)


class TicketsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.tickets = Tickets("default", NODE)
        self.tickets.trust(BOOTSTRAP.fingerprint)

    def believed(self, shown: Ticket, *, now: float = NOW, **changes: Any) -> bool:
        return self.tickets.claim(record(ticket=shown, **changes), now).ticket is not None

    def refusal(self, shown: Ticket, **changes: Any) -> str:
        error = self.assertRaises(RemoteProtocolError, self.believed, shown, **changes)
        return error.reason

    def test_believed(self) -> None:
        """A ticket of a bootstrap node that is known is believed, and no other."""
        self.assertTrue(self.believed(ticket()))
        self.assertIsNone(self.tickets.claim(record(), NOW).ticket)
        self.assertFalse(self.believed(ticket(OTHER)))

    def test_vouched(self) -> None:
        """Those for whom a bootstrap node vouches are believed, until it does so no more."""
        self.tickets.trust(BOOTSTRAP.fingerprint, [OTHER.public_key])
        self.assertTrue(self.believed(ticket(OTHER)))
        self.tickets.trust(BOOTSTRAP.fingerprint)
        self.assertFalse(self.believed(ticket(OTHER)))
        self.assertTrue(self.believed(ticket()))

    def test_somebody_elses(self) -> None:
        """Who shows a ticket of another network, id, key or kind of key is caught lying, whoever has signed it."""
        foreign = msgspec.structs.replace(ticket(), fingerprint=OTHER.fingerprint)
        for shown in (ticket(network="another"), ticket(node_id=8), ticket(ephemeral=True), ticket(OTHER, node_id=8)):
            self.assertEqual(self.refusal(shown), "a ticket that is somebody else's")
        self.assertEqual(self.refusal(foreign), "a ticket that is somebody else's")

    def test_forged(self) -> None:
        """A ticket that the bootstrap node has not signed as it is convicts who shows it."""
        honest = ticket()
        for change in (
            {"signature": bytes(32)},
            {"signature": b""},
            {"issued": honest.issued - 1},
            {"expires": honest.expires + 1},
            {"signature": ticket(OTHER).signature},
        ):
            shown = msgspec.structs.replace(honest, **change)
            for _ in range(2):
                self.assertEqual(self.refusal(shown), "a ticket that its signer has not signed")

    def test_dates(self) -> None:
        """An expired ticket supports nothing, nor one from the future; clocks may differ by a day."""
        shown = ticket()
        for now, good in (
            (NOW - CLOCK_TOLERANCE, True),
            (NOW - CLOCK_TOLERANCE - 1, False),
            (NOW + LIFETIME + CLOCK_TOLERANCE - 1, True),
            (NOW + LIFETIME + CLOCK_TOLERANCE, False),
        ):
            self.assertEqual(self.believed(shown, now=now), good)

    def test_renewal(self) -> None:
        """A ticket is renewed when half its life is over, or when it promises more than tickets do."""
        for ephemeral, life in ((False, LIFETIME), (True, EPHEMERAL_LIFETIME)):
            shown = ticket(ephemeral=ephemeral)
            found = [needs_renewal(shown, NOW + late) for late in (-2, 0, life / 2 - 1, life / 2, life)]
            self.assertEqual(found, [True, False, False, True, True])

    def test_checked_once(self) -> None:
        """A signature is checked once, however often it is shown; what is remembered is bounded."""
        checks: list[bytes] = []

        class Counting(SeededIdentity):
            def verify(self, public_key: bytes, data: bytes, signature: bytes) -> bool:
                checks.append(data)
                return super().verify(public_key, data, signature)

        self.tickets = Tickets("default", Counting("node"))
        self.tickets.trust(BOOTSTRAP.fingerprint)
        for _ in range(3):
            self.assertTrue(self.believed(ticket()))
        self.assertEqual(len(checks), 1)
        for issued in range(MAX_CHECKED + 100):
            self.believed(ticket(issued=issued))
        self.assertEqual(len(self.tickets._checked), MAX_CHECKED)

    def test_signers_are_bounded(self) -> None:
        """A node takes the word of so many bootstrap nodes at most; those that it met last count."""
        for number in range(MAX_SIGNERS):
            self.tickets.trust(SeededIdentity(str(number)).fingerprint)
        self.assertFalse(self.believed(ticket()))
        self.assertTrue(self.believed(ticket(SeededIdentity("0"))))

    def test_real_keys(self) -> None:
        """Tickets of real keys fit the wire, and are believed by others with real keys."""
        bootstrap, node = Identity.generate(), Identity.generate()
        held = Record(7, node.fingerprint, (), 1, False)
        shown = issue_ticket(bootstrap, "default", held, issued=int(NOW), now=NOW)
        self.assertEqual(key_fingerprint(shown.signer), bootstrap.fingerprint)
        tickets = Tickets("default", node)
        tickets.trust(bootstrap.fingerprint)
        self.assertEqual(tickets.claim(msgspec.structs.replace(held, ticket=shown), NOW).ticket, shown)
        self.assertEqual(msgspec.msgpack.decode(msgspec.msgpack.encode(shown), type=Ticket), shown)
        for signature in (b"", bytes(70), shown.signature[:-1], ticket().signature):
            forged = msgspec.structs.replace(held, ticket=msgspec.structs.replace(shown, signature=signature))
            self.assertRaises(RemoteProtocolError, tickets.claim, forged, NOW)

    def test_vector(self) -> None:
        """The ticket in the vectors is believed, and what is signed are the bytes that stand there."""
        vector = json.loads((Path(__file__).parents[2] / "vectors" / "ticket.json").read_text())
        told = (bytes.fromhex(vector[name]) for name in ("fingerprint", "signer", "signature"))
        fingerprint, signer, signature = told
        shown = Ticket(
            vector["network"],
            vector["node_id"],
            fingerprint,
            vector["ephemeral"],
            vector["issued"],
            vector["expires"],
            signer,
            signature,
        )
        self.assertEqual(encode_ticket_statement(shown).hex(), vector["statement"])
        tickets = Tickets(vector["network"], Identity.generate())
        tickets.trust(key_fingerprint(signer))
        held = Record(vector["node_id"], fingerprint, (), 1, vector["ephemeral"], shown)
        self.assertEqual(tickets.claim(held, vector["issued"]).ticket, shown)

    @settings(deadline=None)
    @given(st.binary(max_size=256), st.binary(max_size=80))
    def test_any_key(self, key: bytes, signature: bytes) -> None:
        """Whatever bytes stand for a key and a signature, the check answers."""
        self.assertFalse(Identity.generate().verify(key, b"data", signature))


def claim(key: int, since: int | None = None, *, ephemeral: bool = False) -> Claim:
    """Return a claim of a key."""
    fingerprint = bytes([key]) * 32
    if since is None:
        return Claim(7, fingerprint)
    return Claim(7, fingerprint, Ticket("default", 7, fingerprint, ephemeral, since, since + 1, b"", b""))


class ClaimTests(SynchronousTestCase):
    def test_order(self) -> None:
        """Lasting keys come first, the earliest before all; then ephemeral ones, then those without a ticket."""
        order = [claim(5, 10), claim(6, 10), claim(1, 11), claim(2, 5, ephemeral=True), claim(3)]
        for at, better in enumerate(order):
            for worse in order[at + 1 :]:
                self.assertTrue(better.beats(worse), (better, worse))
                self.assertFalse(worse.beats(better), (worse, better))

    def test_draw(self) -> None:
        """Among ephemeral ones, and among those without a ticket, whoever is there stays."""
        for one, other in ((claim(1, 5, ephemeral=True), claim(2, 9, ephemeral=True)), (claim(1), claim(2))):
            self.assertFalse(one.beats(other) or other.beats(one))

    @settings(deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 5), st.none() | st.integers(0, 5), st.booleans()), min_size=3, max_size=3))
    def test_transitive(self, drawn: list[tuple[int, int | None, bool]]) -> None:
        """Whichever two claims meet first, the same one is left."""
        one, two, three = (claim(key, since, ephemeral=ephemeral) for key, since, ephemeral in drawn)
        if one.beats(two) and two.beats(three):
            self.assertTrue(one.beats(three))
        self.assertFalse(one.beats(two) and two.beats(one))
