"""Identities that come from a seed instead of a random key."""

from __future__ import annotations

import hashlib

from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from netlayer.interfaces import IIdentity, ISecurity
from netlayer.plaintext import Plaintext

__all__ = ["SeededIdentity"]


@implementer(IIdentity)
class SeededIdentity:
    """An identity without a key: equal seeds and names give equal fingerprints, and nothing is proven.

    Real keys can't be seeded, and TLS takes a thousand times as long. Use it in simulations only.

    :param name: whose identity it is.
    :param seed: of the run.
    :param ephemeral: whether it says that it dies with its process.
    """

    def __init__(self, name: str, *, seed: int = 0, ephemeral: bool = False) -> None:
        self.fingerprint = hashlib.sha256(f"{seed} {name}".encode()).digest()
        self.ephemeral = ephemeral
        self._name = name

    def __repr__(self) -> str:
        return f"<SeededIdentity {self._name} {self.fingerprint.hex()[:16]}>"

    def security(self, clock: IReactorTime) -> ISecurity:
        """Return what has both ends of a connection say their fingerprints, in plain text."""
        return Plaintext(self.fingerprint)
