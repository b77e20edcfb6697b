"""A node keeps its key: made once, readable by its owner alone, and never replaced because it can't be read."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netlayer.errors import ConfigurationError
from netlayer.sansio.trust.succession import Succession
from netlayer.storage.certificate import certificate_fingerprint, certificate_succession, self_signed
from netlayer.storage.identity import Identity, fingerprint_text


def key_pem(key: CertificateIssuerPrivateKeyTypes, password: bytes | None = None) -> bytes:
    """Return a private key as it stands in files."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """Return a certificate as it stands in files."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def certified(key: CertificateIssuerPrivateKeyTypes) -> x509.Certificate:
    """Return a certificate for a key of any kind."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "other")])
    day = datetime.datetime(2026, 1, 1)
    unsigned = x509.CertificateBuilder(name, name, key.public_key(), 1, day, day + datetime.timedelta(1))
    return unsigned.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())


#: Replaces an identity again and again, and is killed at one line after the other of what does that.
KILLED = """
import os, sys
from netlayer.storage.identity import Identity
path = sys.argv[1]
former = Identity.load_or_create(path)
replaced = Identity.replace.__func__.__code__.co_filename
at = 0
while True:
    at += 1
    child = os.fork()
    if not child:
        lines = 0
        def trace(frame, event, argument):
            global lines
            if frame.f_code.co_filename != replaced:
                return None
            lines += event == "line"
            if lines == at:
                os._exit(9)
            return trace
        sys.settrace(trace)
        Identity.replace(path)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    found = Identity.load_or_create(path)
    if os.waitstatus_to_exitcode(status) == 0:
        print("done")
        break
    if found.fingerprint == former.fingerprint:
        print("former")
    elif found.formers[-1] == former.fingerprint:
        print("new")
        former = found
    else:
        print("neither")
"""


class GenerateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.identity = Identity.generate()

    def test_fingerprint(self) -> None:
        """The fingerprint is the SHA-256 of the public key in its DER form, and anybody can compute it."""
        spki = self.identity.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.assertEqual(self.identity.fingerprint, hashlib.sha256(spki).digest())
        self.assertEqual(certificate_fingerprint(self.identity.certificate), self.identity.fingerprint)

    def test_certificate(self) -> None:
        """The certificate signs itself with the key, is for P-256, and is valid whatever a clock says."""
        certificate = self.identity.certificate
        certificate.verify_directly_issued_by(certificate)
        self.assertEqual(certificate.public_key(), self.identity.key.public_key())
        self.assertIsInstance(self.identity.key.curve, ec.SECP256R1)
        self.assertLessEqual(certificate.not_valid_before_utc.year, 1970)
        self.assertEqual(certificate.not_valid_after_utc.year, 9999)

    def test_certificate_tells_nothing(self) -> None:
        """Two nodes' certificates differ in the key and the signature alone: no name, host or date leaks."""
        other = Identity.generate().certificate
        certificate = self.identity.certificate
        for field in ("subject", "issuer", "serial_number", "not_valid_before_utc", "not_valid_after_utc"):
            self.assertEqual(getattr(certificate, field), getattr(other, field))
        self.assertEqual(len(certificate.extensions), 0)

    def test_ephemeral(self) -> None:
        """A generated identity is a new one each time, and says that it will not last."""
        self.assertTrue(self.identity.ephemeral)
        self.assertNotEqual(Identity.generate().fingerprint, self.identity.fingerprint)

    def test_repr(self) -> None:
        """The repr shows the fingerprint, and nothing of the key."""
        text = f"sha256:{self.identity.fingerprint.hex()}"
        self.assertEqual(repr(self.identity), f"<Identity {text} (ephemeral)>")
        self.assertEqual(fingerprint_text(self.identity.fingerprint), text)


class FileTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.path = self.directory / "identity.pem"

    def assertRefused(self, *said: str, path: Path | None = None) -> None:
        """Assert that the identity file is refused in words that name it."""
        path = path or self.path
        error = self.assertRaises(ConfigurationError, Identity.load_or_create, path)
        for text in (f"identity file {path}", *said):
            self.assertIn(text, str(error))

    def write(self, content: bytes) -> None:
        """Put content into the identity file, which its owner alone may read."""
        self.path.write_bytes(content)
        self.path.chmod(0o600)

    def test_created_once(self) -> None:
        """The first start makes a key, and every later one finds it."""
        made = Identity.load_or_create(self.path)
        found = Identity.load_or_create(str(self.path))
        self.assertEqual(made.fingerprint, found.fingerprint)
        self.assertEqual(made.key.private_numbers(), found.key.private_numbers())
        self.assertEqual(made.certificate, found.certificate)
        self.assertFalse(made.ephemeral or found.ephemeral)
        self.assertEqual(repr(found), f"<Identity {fingerprint_text(found.fingerprint)}>")

    def test_nothing_else_is_left(self) -> None:
        """The file stands alone in its directory."""
        Identity.load_or_create(self.path)
        self.assertEqual(os.listdir(self.directory), ["identity.pem"])

    def test_mode(self) -> None:
        """The key is readable by its owner alone, even where files are made for everybody."""
        former = os.umask(0)
        try:
            Identity.load_or_create(self.path)
        finally:
            os.umask(former)
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)

    def test_replaced(self) -> None:
        """A new key takes the place of the one in the file, and names it; nothing else is left behind."""
        first = Identity.load_or_create(self.path)
        former, new = Identity.replace(self.path)
        found = Identity.load_or_create(self.path)
        self.assertEqual((former.fingerprint, new.fingerprint), (first.fingerprint, found.fingerprint))
        self.assertEqual((first.formers, found.formers), ((), (first.fingerprint,)))
        self.assertFalse(found.ephemeral)
        self.assertEqual(Identity.replace(self.path)[1].formers, (first.fingerprint, found.fingerprint))
        self.assertEqual(os.listdir(self.directory), ["identity.pem"])
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)

    def test_former_key_is_erased(self) -> None:
        """The place on the disk where the former key was holds it no more; a copy under another name is kept."""
        Identity.load_or_create(self.path)
        content = self.path.read_bytes()
        with open(self.path, "rb") as held:
            Identity.replace(self.path)
            self.assertEqual(held.read(), bytes(len(content)))
        backup = self.directory / "backup"
        os.link(self.path, backup)
        content = self.path.read_bytes()
        Identity.replace(self.path)
        self.assertEqual(backup.read_bytes(), content)

    def test_not_replaced(self) -> None:
        """A file that is missing, damaged or that others can read is not replaced."""
        self.assertRaises(ConfigurationError, Identity.replace, self.path)
        self.assertEqual(os.listdir(self.directory), [])
        self.write(b"nonsense")
        self.assertRaises(ConfigurationError, Identity.replace, self.path)
        self.path.unlink()
        Identity.load_or_create(self.path)
        self.path.chmod(0o644)
        before = self.path.read_bytes()
        self.assertRaises(ConfigurationError, Identity.replace, self.path)
        self.assertEqual(self.path.read_bytes(), before)

    def test_killed_while_replacing(self) -> None:
        """Whenever the process is killed, the file holds the former key or its successor; the next try goes well."""
        outcomes = subprocess.run(
            [sys.executable, "-c", KILLED, str(self.path)], capture_output=True, text=True, check=True, timeout=60
        ).stdout.split()
        self.assertGreater(outcomes.count("former"), 10)
        self.assertGreater(outcomes.count("new"), 3)
        self.assertEqual(outcomes[-1], "done")
        self.assertEqual(set(outcomes), {"former", "new", "done"})
        self.assertEqual(os.listdir(self.directory), ["identity.pem"])

    def test_issued(self) -> None:
        """A certificate that somebody else has issued for the key is taken."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject, issuer = [
            x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in ("node", "authority")
        ]
        day = datetime.datetime(2026, 1, 1)
        unsigned = x509.CertificateBuilder(issuer, subject, key.public_key(), 1, day, day + datetime.timedelta(1))
        issued = unsigned.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
        self.write(key_pem(key) + certificate_pem(issued))
        self.assertEqual(Identity.load_or_create(self.path).fingerprint, certificate_fingerprint(issued))

    def test_changed_certificate(self) -> None:
        """A certificate that tells less than what was written is noticed: no changed bit hides a former key."""
        Identity.load_or_create(self.path)
        _, new = Identity.replace(self.path)
        der = new.certificate.public_bytes(serialization.Encoding.DER)
        extension = new.certificate.extensions[0].value.public_bytes()
        at = der.index(extension) - 10  # in the object identifier
        changed = der[:at] + bytes([der[at] ^ 1]) + der[at + 1 :]
        self.assertIsNone(certificate_succession(x509.load_der_x509_certificate(changed)))
        self.write(key_pem(new.key) + certificate_pem(x509.load_der_x509_certificate(changed)))
        self.assertRefused("certificate was changed")
        forged = self_signed(new.key, Succession(new.public_key, b"nonsense"))
        self.write(key_pem(new.key) + certificate_pem(forged))
        self.assertRefused("a malformed succession")

    def test_readable_by_others(self) -> None:
        """A key that anybody else may read or write is refused, with what to do; the file stays."""
        Identity.load_or_create(self.path)
        before = self.path.read_bytes()
        for mode in (0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o777):
            self.path.chmod(mode)
            self.assertRefused("can be read by others", "chmod 600")
        self.path.chmod(0o400)
        Identity.load_or_create(self.path)
        self.assertEqual(self.path.read_bytes(), before)

    def test_damaged(self) -> None:
        """A file that holds no whole identity is refused and never overwritten: it may be the only copy of a key."""
        Identity.load_or_create(self.path)
        whole = self.path.read_bytes()
        key, certificate = whole.split(b"-----BEGIN CERTIFICATE-----")
        certificate = b"-----BEGIN CERTIFICATE-----" + certificate
        for content in (
            b"",
            b"\n",
            b"\0" * 100,
            b"not PEM",
            key,
            certificate,
            whole[: len(whole) // 2],
            whole[: len(key) // 2],
            whole[:-40],
            whole[40:],
            whole.replace(b"BEGIN", b"BEGUN"),
            whole[::-1],
            whole.decode().encode("utf-16"),
            b"x" * (1024 * 1024),
        ):
            self.write(content)
            self.assertRefused("is damaged or holds no key and certificate")
            self.assertEqual(self.path.read_bytes(), content)
            self.assertEqual(os.listdir(self.directory), ["identity.pem"])

    def test_encrypted(self) -> None:
        """A key with a password is refused; there is nobody to ask."""
        identity = Identity.generate()
        self.write(key_pem(identity.key, b"password") + certificate_pem(identity.certificate))
        self.assertRefused("is damaged or holds no key and certificate")

    def test_other_kinds_of_keys(self) -> None:
        """A key that the protocol does not use is refused, not found out by a peer."""
        for key in (
            ec.generate_private_key(ec.SECP384R1()),
            ed25519.Ed25519PrivateKey.generate(),
            rsa.generate_private_key(65537, 1024),
        ):
            self.write(key_pem(key) + certificate_pem(certified(key)))
            self.assertRefused("holds another kind of key than ECDSA P-256")

    def test_certificate_of_another_key(self) -> None:
        """Two halves of different identities are refused."""
        one, other = Identity.generate(), Identity.generate()
        self.write(key_pem(one.key) + certificate_pem(other.certificate))
        self.assertRefused("holds a key and the certificate of another one")

    def test_own_certificate(self) -> None:
        """A certificate that was made elsewhere serves as well: only the key in it counts."""
        identity = Identity.generate()
        self.write(certificate_pem(certified(identity.key)) + key_pem(identity.key))
        self.assertEqual(Identity.load_or_create(self.path).fingerprint, identity.fingerprint)

    def test_any_damage(self) -> None:
        """Whatever byte of the file changes, it is the same identity or none."""
        identity = Identity.load_or_create(self.path)
        whole = self.path.read_bytes()

        @settings(deadline=None)
        @given(st.integers(0, len(whole) - 1), st.integers(0, 255))
        def damage(position: int, byte: int) -> None:
            self.write(whole[:position] + bytes([byte]) + whole[position + 1 :])
            try:
                found = Identity.load_or_create(self.path)
            except ConfigurationError:
                return
            self.assertEqual(found.fingerprint, identity.fingerprint)

        damage()

    def test_unusable_paths(self) -> None:
        """A path that can't be read or written is told by name, with what the operating system says."""
        (self.directory / "file").write_bytes(b"")
        self.assertRefused("No such file or directory", path=self.directory / "missing" / "identity.pem")
        self.assertRefused("Is a directory", path=self.directory)
        self.assertRefused("Not a directory", path=self.directory / "file" / "identity.pem")
        self.assertRefused(path=self.directory / ("x" * 300))

    def test_symbolic_link(self) -> None:
        """A symbolic link is not followed: whoever may put one there must not choose the key, or where it is made."""
        target = self.directory / "elsewhere.pem"
        self.path.symlink_to(target)
        self.assertRefused("symbolic link")
        self.assertFalse(target.exists())
        Identity.load_or_create(target)
        self.assertRefused("symbolic link")

    def test_no_descriptor_is_left_open(self) -> None:
        """A refused file stays open no longer than any other."""
        self.write(b"damaged")
        free = os.open(os.devnull, os.O_RDONLY)
        os.close(free)
        for path in (self.path, self.directory, self.directory / "new.pem"):
            with contextlib.suppress(ConfigurationError):
                Identity.load_or_create(path)
            lowest = os.open(os.devnull, os.O_RDONLY)
            os.close(lowest)
            self.assertEqual(lowest, free, str(path))

    def test_race(self) -> None:
        """Any number of processes that start at the same moment become the same participant."""
        for turn in range(5):
            path = self.directory / f"{turn}.pem"
            barrier = threading.Barrier(8)
            found: list[bytes | Exception] = []

            def start(path: Path = path, barrier: threading.Barrier = barrier, found: list[object] = found) -> None:
                barrier.wait(10)
                try:
                    found.append(Identity.load_or_create(path).fingerprint)
                except Exception as error:
                    found.append(error)

            threads = [threading.Thread(target=start) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(found, [Identity.load_or_create(path).fingerprint] * 8)
        self.assertEqual(sorted(os.listdir(self.directory)), [f"{turn}.pem" for turn in range(5)])

    def test_no_hard_links(self) -> None:
        """A file system without hard links does as well."""
        for number in (1, 95, 38):  # EPERM, ENOTSUP, ENOSYS on Linux
            self.patch(os, "link", self.failing(number))
            path = self.directory / f"{number}.pem"
            self.assertEqual(Identity.load_or_create(path).fingerprint, Identity.load_or_create(path).fingerprint)
            self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(len(os.listdir(self.directory)), 3)

    def test_full_disk(self) -> None:
        """A file that can't be stored is an error, and leaves nothing behind that a later start would trip over."""
        self.patch(os, "link", self.failing(28))
        self.assertRefused("No space left on device")
        self.assertEqual(os.listdir(self.directory), [])

    @staticmethod
    def failing(number: int) -> object:
        """Return a function that fails like a system call."""

        def fail(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        return fail
