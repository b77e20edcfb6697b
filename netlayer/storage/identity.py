"""The identity of a node: its key pair, the certificate that carries it in TLS, and the fingerprint that names it."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from netlayer.errors import ConfigurationError, RemoteProtocolError, described
from netlayer.interfaces import IIdentity, ISecurity
from netlayer.net.tls import MutualTLS
from netlayer.sansio.trust.succession import former_fingerprints, succeed
from netlayer.sansio.trust.tickets import key_fingerprint
from netlayer.storage.certificate import certificate_key, certificate_succession, self_signed

__all__ = ["Identity", "fingerprint_text", "give_to_owner", "made_directory", "parse_fingerprint"]

#: The name of the identity in a data directory.
IDENTITY_FILE = "identity.pem"


def fingerprint_text(fingerprint: bytes) -> str:
    """Return the form in which people and files write a fingerprint."""
    return f"sha256:{fingerprint.hex()}"


def parse_fingerprint(text: str) -> bytes:
    """Return the fingerprint of that form.

    :raises ConfigurationError: when it has another form.
    """
    match = re.fullmatch("sha256:([0-9a-fA-F]{64})", text)
    if match is None:
        raise ConfigurationError(f"a fingerprint is 'sha256:' and 64 hexadecimal digits, not {described(text)}")
    return bytes.fromhex(match[1])


@implementer(IIdentity)
class Identity:
    """An ECDSA P-256 key pair with its self-signed certificate.

    :param key: the key pair, on the curve P-256.
    :param certificate: the certificate that carries its public half in TLS, and its former keys.
    :ivar fingerprint: 32 bytes that name the participant for life: the SHA-256 of the public key's DER encoding.
    :ivar public_key: the DER encoding of the public key.
    :ivar ephemeral: whether the key dies with this process.
    """

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate, *, ephemeral: bool) -> None:
        self.key = key
        self.certificate = certificate
        self.ephemeral = ephemeral
        self.public_key = certificate_key(certificate)
        self.fingerprint = key_fingerprint(self.public_key)

    def __repr__(self) -> str:
        return f"<Identity {fingerprint_text(self.fingerprint)}{' (ephemeral)' if self.ephemeral else ''}>"

    @cached_property
    def formers(self) -> tuple[bytes, ...]:
        """The fingerprints of the keys in whose place it is, the oldest first.

        :raises RemoteProtocolError: when the certificate tells what these keys have not signed.
        """
        succession = certificate_succession(self.certificate)
        return former_fingerprints(succession, self) if succession is not None else ()

    def successor(self) -> Identity:
        """Return a new identity that takes the place of this one, as both have signed; it is stored nowhere yet."""
        key = ec.generate_private_key(ec.SECP256R1())
        new = Identity(key, self_signed(key), ephemeral=self.ephemeral)
        succession = succeed(self, new, before=certificate_succession(self.certificate))
        return Identity(key, self_signed(key, succession), ephemeral=self.ephemeral)

    def security(self, clock: IReactorTime) -> ISecurity:
        """Return TLS with this identity."""
        return MutualTLS(self, clock)

    def sign(self, data: bytes) -> bytes:
        """Return the ECDSA signature of `data`, in DER, with SHA-256."""
        return self.key.sign(data, ec.ECDSA(hashes.SHA256()))

    def verify(self, public_key: bytes, data: bytes, signature: bytes) -> bool:
        """Tell whether a signature of `data` is that of an ECDSA key, which is given in DER."""
        try:
            key = serialization.load_der_public_key(public_key)
            if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
                return False
            key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature):
            return False
        return True

    @classmethod
    def generate(cls) -> Identity:
        """Make an ephemeral identity: a new key that is stored nowhere."""
        key = ec.generate_private_key(ec.SECP256R1())
        return cls(key, self_signed(key), ephemeral=True)

    @classmethod
    def in_directory(cls, data_dir: str | os.PathLike[str]) -> Identity:
        """Read the identity of a data directory; make the directory and the identity if there are none yet.

        :param data_dir: the directory; the identity is the file ``identity.pem`` in it.
        :raises ConfigurationError: as :meth:`load_or_create` does, or when the directory can't be made.
        """
        return cls.load_or_create(made_directory(data_dir) / IDENTITY_FILE)

    @classmethod
    def load_or_create(cls, path: str | os.PathLike[str]) -> Identity:
        """Read the identity from a PEM file, or make a new one and store it there, readable by its owner alone.

        Two processes that create the same file at the same moment end with the same identity.

        :param path: of the file; its directory has to exist.
        :raises ConfigurationError: when the file can be read by others, is damaged, or can't be read or written.
        """
        path = Path(path)
        try:
            try:
                return cls._load(path)
            except FileNotFoundError:
                return cls._create(path)
        except OSError as error:
            raise ConfigurationError(f"identity file {path}: {error.strerror or error}") from None

    @classmethod
    def replace(cls, path: str | os.PathLike[str]) -> tuple[Identity, Identity]:
        """Put the successor of the identity in a file in its place.

        The file holds the one or the other at any moment, and with the former key goes what that could still sign. The
        caller sees to it that nobody else changes the file.

        :param path: of the file.
        :returns: the former identity and the new one.
        :raises ConfigurationError: as :meth:`load_or_create` does, or when there is no file.
        """
        path = Path(path)
        temporary = path.with_name(f"{path.name}.new")
        try:
            former = cls._load(path)
            temporary.unlink(missing_ok=True)  # of somebody who was killed here
            _write_new(temporary, former.successor()._pem())
            with _erased(path) if os.name == "posix" else nullcontext():
                os.replace(temporary, path)
                _sync_directory(path.parent)
            return former, cls._load(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise ConfigurationError(f"identity file {path}: {error.strerror or error}") from None

    @classmethod
    def _load(cls, path: Path) -> Identity:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NOFOLLOW", 0))) as file:
            mode = os.fstat(file.fileno()).st_mode
            if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise ConfigurationError(f"identity file {path} can be read by others: chmod 600 it")
            pem = file.read(64 * 1024)
        try:
            key = serialization.load_pem_private_key(pem, password=None)
            certificate = x509.load_pem_x509_certificate(pem)
            certified = certificate.public_key()
        except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion):
            raise ConfigurationError(f"identity file {path} is damaged or holds no key and certificate") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ConfigurationError(f"identity file {path} holds another kind of key than ECDSA P-256")
        if key.public_key() != certified:
            raise ConfigurationError(f"identity file {path} holds a key and the certificate of another one")
        identity = cls(key, certificate, ephemeral=False)
        try:
            if certificate.issuer == certificate.subject:  # as Identity makes them
                certificate.verify_directly_issued_by(certificate)  # it may tell less than what was written
            _ = identity.formers
        except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature):
            raise ConfigurationError(f"identity file {path} is damaged: its certificate was changed") from None
        except RemoteProtocolError as error:
            raise ConfigurationError(f"identity file {path} holds {error.reason}") from None
        return identity

    @classmethod
    def _create(cls, path: Path) -> Identity:
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
        try:
            _write_new(temporary, cls.generate()._pem())
            try:
                os.link(temporary, path)  # unlike rename it never replaces what another process has just made
            except FileExistsError:
                pass
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
                    raise
                os.replace(temporary, path)  # a file system without hard links
        finally:
            temporary.unlink(missing_ok=True)
        return cls._load(path)

    def _pem(self) -> bytes:
        key = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return key + self.certificate.public_bytes(serialization.Encoding.PEM)


def made_directory(data_dir: str | os.PathLike[str]) -> Path:
    """Return a data directory, having made it if it was missing.

    :raises ConfigurationError: when `data_dir` is no path, or the directory can't be made.
    """
    if not isinstance(data_dir, (str, os.PathLike)) or not os.fspath(data_dir):
        raise ConfigurationError(f"a data directory is a path, not {described(data_dir)}")
    if os.path.isfile(data_dir):
        raise ConfigurationError(f"data directory {os.fspath(data_dir)!r} is a file, not a directory")
    try:
        directory = Path(data_dir).absolute()  # the process may change its working directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return directory
    except (OSError, ValueError) as error:  # ValueError: an embedded null byte
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"data directory {os.fspath(data_dir)!r}: {reason}") from None


def give_to_owner(descriptor: int, directory: Path) -> None:
    """Give an open file in a data directory to whom the directory belongs: root may act for a node of another user."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        owner = directory.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _write_new(path: Path, content: bytes) -> None:
    """Write a file that its owner alone can read, and that is on the disk at the end.

    :raises FileExistsError: when there is one.
    """
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        give_to_owner(file.fileno(), path.parent)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    """Have the names of files on the disk, where a directory can be opened for that."""
    if os.name == "posix":
        directory = os.open(path, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


@contextmanager
def _erased(path: Path) -> Iterator[None]:
    """Overwrite the file that is at a path, if it has no name any more at the end.

    No file system promises that this reaches the same place of the disk; where it does, nobody reads the key there.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY)
    except OSError:  # it may be read only
        yield
        return
    try:
        yield
        status = os.fstat(descriptor)
        if status.st_nlink == 0:
            os.write(descriptor, bytes(status.st_size))
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
