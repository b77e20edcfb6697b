"""The certificate of a node. Two things in it count: its public key, and what it tells of the keys before that one."""

from __future__ import annotations

import datetime
import hashlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from netlayer.sansio.trust.succession import Succession
from netlayer.wire.succession import EXTENSION, MAX_SIZE

__all__ = ["certificate_fingerprint", "certificate_key", "certificate_succession", "self_signed"]

# The rest means nothing: a fixed name, and dates so wide that no clock can matter.
_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "netlayer")])
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
_FOREVER = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.timezone.utc)
_EXTENSION = x509.ObjectIdentifier(EXTENSION)
#: Bytes of a certificate whose extensions are looked at, at most; the largest that a node makes has some 3 KiB. To look
#: at a large one costs more than to send it.
MAX_CERTIFICATE = 8192


def self_signed(key: ec.EllipticCurvePrivateKey, succession: Succession | None = None) -> x509.Certificate:
    """Return a certificate of a key.

    :param succession: what it tells of the keys before.
    """
    builder = (
        x509.CertificateBuilder()
        .subject_name(_NAME)
        .issuer_name(_NAME)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(_EPOCH)
        .not_valid_after(_FOREVER)
    )
    if succession is not None:
        extension = x509.UnrecognizedExtension(_EXTENSION, succession.content)
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, hashes.SHA256())


def certificate_key(certificate: x509.Certificate) -> bytes:
    """Return the public key of a certificate, as DER-encoded SubjectPublicKeyInfo."""
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def certificate_fingerprint(certificate: x509.Certificate) -> bytes:
    """Return the SHA-256 of the certificate's public key: 32 bytes."""
    return hashlib.sha256(certificate_key(certificate)).digest()


def certificate_succession(certificate: x509.Certificate) -> Succession | None:
    """Return what a certificate tells of the keys before its own, or None if it tells nothing that can be found.

    It is not judged yet, and no more of it is kept than it takes to judge that it is too long.
    """
    if len(certificate.public_bytes(Encoding.DER)) > MAX_CERTIFICATE:
        return None
    try:
        extension = certificate.extensions.get_extension_for_oid(_EXTENSION)
    except Exception:  # of any kind, for any of the extensions: of others nothing is asked
        return None
    assert isinstance(extension.value, x509.UnrecognizedExtension)
    return Succession(certificate_key(certificate), extension.value.value[: MAX_SIZE + 1])
