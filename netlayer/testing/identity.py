"""Identities that come from a seed instead of a random key."""

from __future__ import annotations

import hashlib
import hmac

from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from netlayer.interfaces import IIdentity, ISecurity
from netlayer.net.plaintext import Plaintext

__all__ = ["SeededIdentity"]

#: What the wire takes as a key.
_LONGEST_KEY = 256


@implementer(IIdentity)
class SeededIdentity:
    """An identity without a key: equal seeds and names give equal fingerprints, and nothing is proven.

    Real keys can't be seeded, and TLS takes a thousand times as long. Use it in simulations only.

    :param name: whose identity it is.
    :param seed: of the run.
    :param ephemeral: whether it says that it dies with its process.
    """

    formers: tuple[bytes, ...] = ()

    def __init__(self, name: str, *, seed: int = 0, ephemeral: bool = False) -> None:
        text = f"{seed} {name}".encode()
        self.public_key = text if len(text) <= _LONGEST_KEY else hashlib.sha256(text).digest()
        self.fingerprint = hashlib.sha256(self.public_key).digest()
        self.ephemeral = ephemeral
        self._name = name

    def __repr__(self) -> str:
        return f"<SeededIdentity {self._name} {self.fingerprint.hex()[:16]}>"

    def sign(self, data: bytes) -> bytes:
        """Return a keyed hash, which everybody can make."""
        return hmac.digest(self.public_key, data, "sha256")

    def verify(self, public_key: bytes, data: bytes, signature: bytes) -> bool:
        """Tell whether a signature is the one that the identity of `public_key` makes."""
        return hmac.compare_digest(hmac.digest(public_key, data, "sha256"), signature)

    def security(self, clock: IReactorTime) -> ISecurity:
        """Return what has both ends of a connection say their fingerprints, in plain text.

        Who says something else is dropped, as TLS drops who does not know its handshake.
        """
        return Plaintext(self.fingerprint)
