"""Proofs of the network's secret: each is good on one connection, in one direction, for one pair of keys and ids.

A proof is an HMAC (RFC 2104) with SHA-256 under the stretched secret. It covers the TLS exporter of the connection
(RFC 9266), so that it can't be relayed; and both fingerprints, since the exporter of TLS 1.3 (RFC 8446, 7.5) says
nothing of the dialer's certificate.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from struct import Struct

import attrs

__all__ = ["Channel"]

_PREFIX = b"netlayer proof 1\0"
_IDS = Struct(">QQ")
#: Stands for the listener's id in the dialer's proof: when that is made, the dialer has not been told the id.
_UNKNOWN_ID = 2**64 - 1


@attrs.frozen
class Channel:
    """What proofs on one connection are about; both ends know it alike.

    :ivar binding: 32 bytes that both ends have derived from the connection and nobody else knows.
    :ivar dialer: the fingerprint of the dialer; ``listener`` likewise.
    """

    binding: bytes = attrs.field(repr=False)
    dialer: bytes
    listener: bytes
    network: str

    def dialer_proof(self, secret: bytes, *, dialer_id: int) -> bytes:
        """Return what proves to the listener that the dialer knows the stretched secret."""
        return self._proof(secret, b"D", dialer_id, _UNKNOWN_ID)

    def listener_proof(self, secret: bytes, *, dialer_id: int, listener_id: int) -> bytes:
        """Return what proves to the dialer that the listener knows it too."""
        return self._proof(secret, b"L", dialer_id, listener_id)

    def secret_of_dialer(self, proof: bytes, secrets: Sequence[bytes], *, dialer_id: int) -> bytes | None:
        """Return the secret that a dialer's proof was made with, or None if it was none of them."""
        known = [each for each in secrets if hmac.compare_digest(self.dialer_proof(each, dialer_id=dialer_id), proof)]
        return known[0] if known else None

    def is_proven_by_listener(
        self, proof: bytes, secrets: Sequence[bytes], *, dialer_id: int, listener_id: int
    ) -> bool:
        """Tell whether a listener's proof was made with one of these secrets."""
        ids = {"dialer_id": dialer_id, "listener_id": listener_id}
        return any(hmac.compare_digest(self.listener_proof(each, **ids), proof) for each in secrets)

    def _proof(self, secret: bytes, role: bytes, dialer_id: int, listener_id: int) -> bytes:
        ids = _IDS.pack(dialer_id, listener_id)
        told = b"".join((_PREFIX, role, self.binding, self.dialer, self.listener, ids, self.network.encode()))
        return hmac.digest(secret, told, "sha256")
