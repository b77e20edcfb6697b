"""Tickets: a bootstrap node's word on who holds an id, which any node can check without asking it.

A claim to an id that no such word supports is *provisional*: good as long as nobody with a better one wants the id.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from typing import Protocol

import attrs
import msgspec

from netlayer.errors import RemoteProtocolError
from netlayer.wire.messages import Record, Ticket, encode_ticket_statement

__all__ = ["Claim", "Signer", "Tickets", "issue_ticket", "key_fingerprint"]

#: Seconds for which a ticket is good, and with it how long ids are provable while no bootstrap node runs, and how long
#: a binding that an operator has removed may still be believed elsewhere.
LIFETIME = 7 * 86400
#: An ephemeral key rarely lives that long, and whoever has its id next must not be kept waiting for ever.
EPHEMERAL_LIFETIME = 86400
#: Clocks that differ by less than this agree on which tickets are good.
CLOCK_TOLERANCE = 86400
#: Signatures whose check is remembered; each costs some 0.1 ms.
MAX_CHECKED = 4096
#: Bootstrap nodes whose word is taken at most, besides those that they vouch for.
MAX_SIGNERS = 64


class Signer(Protocol):
    """What tickets need of an identity."""

    @property
    def public_key(self) -> bytes:
        """The key by which others check its signatures."""

    def sign(self, data: bytes) -> bytes:
        """Return a signature of `data`."""

    def verify(self, public_key: bytes, data: bytes, signature: bytes) -> bool:
        """Tell whether a signature of `data` was made by the identity of that key."""


def key_fingerprint(public_key: bytes) -> bytes:
    """Return the fingerprint of a public key: 32 bytes."""
    return hashlib.sha256(public_key).digest()


def issue_ticket(signer: Signer, network: str, record: Record, *, issued: int, now: float) -> Ticket:
    """Return a ticket for the participant of a record.

    :param signer: the identity of the bootstrap node.
    :param issued: when it was given the id, in seconds since 1970.
    :param now: the time of day, from which the ticket is good for a while.
    """
    expires = int(now) + (EPHEMERAL_LIFETIME if record.ephemeral else LIFETIME)
    unsigned = Ticket(
        network, record.node_id, record.fingerprint, record.ephemeral, issued, expires, signer.public_key, b""
    )
    return msgspec.structs.replace(unsigned, signature=signer.sign(encode_ticket_statement(unsigned)))


def needs_renewal(ticket: Ticket, now: float) -> bool:
    """Tell whether a ticket has lived half its life, or claims to have more before it than any has."""
    life = EPHEMERAL_LIFETIME if ticket.ephemeral else LIFETIME
    return not life / 2 < ticket.expires - now <= life


@attrs.frozen
class Claim:
    """Somebody's claim to an id.

    :ivar ticket: what supports it; None if it is provisional.
    :ivar formers: the fingerprints of the keys in whose place this one is, as all of them have signed, the oldest
        first: what was theirs is its own.
    """

    node_id: int
    fingerprint: bytes
    ticket: Ticket | None = None
    formers: tuple[bytes, ...] = ()

    @property
    def persistent_since(self) -> int | None:
        """When a key that lasts was given the id, by the word of a bootstrap node; else None."""
        return self.ticket.issued if self.ticket is not None and not self.ticket.ephemeral else None

    def beats(self, holder: Claim) -> bool:
        """Tell whether this claim takes the id from a holder that lives.

        An ephemeral key never takes it from a holder that has a ticket: ids of ephemeral keys wander, and whoever is
        there is the last one that the bootstrap node has given it to. Of two lasting keys the earlier one has it, and
        its successor after it.
        """
        if holder.fingerprint in self.formers:
            return True
        if self.fingerprint in holder.formers:
            return False
        mine, theirs = self.persistent_since, holder.persistent_since
        if mine is None:
            return self.ticket is not None and holder.ticket is None
        return theirs is None or (mine, self.fingerprint) < (theirs, holder.fingerprint)


class Tickets:
    """Which tickets one node believes.

    :param network: the network that they have to be for.
    :param signer: checks signatures.
    """

    def __init__(self, network: str, signer: Signer) -> None:
        self._network = network
        self._signer = signer
        self._vouched: OrderedDict[bytes, tuple[bytes, ...]] = OrderedDict()  # fingerprints, by that of who vouches
        self._trusted: frozenset[bytes] = frozenset()
        self._checked: OrderedDict[Ticket, bool] = OrderedDict()

    def trust(self, fingerprint: bytes, vouched: Iterable[bytes] = ()) -> None:
        """Take the word of a bootstrap node from now on.

        :param vouched: the public keys of those whose word is good by its own, in place of what it said before.
        """
        self._vouched[fingerprint] = tuple(key_fingerprint(key) for key in vouched)
        self._vouched.move_to_end(fingerprint)
        if len(self._vouched) > MAX_SIGNERS:
            self._vouched.popitem(last=False)
        self._trusted = frozenset(self._vouched).union(*self._vouched.values())

    def distrust(self, fingerprint: bytes) -> None:
        """Take the word of a bootstrap node, and of those that it vouched for, no longer."""
        if self._vouched.pop(fingerprint, None) is not None:
            self._trusted = frozenset(self._vouched).union(*self._vouched.values())

    def claim(self, record: Record, now: float) -> Claim:
        """Return the claim that a participant makes, judged.

        :param record: what it has said of itself, or what was said of it.
        :param now: the time of day, in seconds since 1970.
        :raises RemoteProtocolError: when it shows a ticket that no honest node would: one for somebody else, or one
            with a signature that is not its signer's.
        """
        ticket = record.ticket
        if ticket is None:
            return Claim(record.node_id, record.fingerprint)
        told = (ticket.network, ticket.node_id, ticket.fingerprint, ticket.ephemeral)
        if told != (self._network, record.node_id, record.fingerprint, record.ephemeral):
            raise RemoteProtocolError("a ticket that is somebody else's")
        if key_fingerprint(ticket.signer) not in self._trusted:
            return Claim(record.node_id, record.fingerprint)
        if not self.is_signed(ticket):
            raise RemoteProtocolError("a ticket that its signer has not signed")
        good = ticket.issued - CLOCK_TOLERANCE <= now < ticket.expires + CLOCK_TOLERANCE
        return Claim(record.node_id, record.fingerprint, ticket if good else None)

    def is_signed(self, ticket: Ticket) -> bool:
        """Tell whether the signature of a ticket is that of its signer; each ticket is checked once."""
        checked = self._checked.get(ticket)
        if checked is None:
            checked = self._signer.verify(ticket.signer, encode_ticket_statement(ticket), ticket.signature)
            self._checked[ticket] = checked
            if len(self._checked) > MAX_CHECKED:
                self._checked.popitem(last=False)
        return checked
