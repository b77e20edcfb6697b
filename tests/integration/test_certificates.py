"""What nodes show of themselves in TLS, over real sockets: what is taken, what is not, and what both ends say of it."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from OpenSSL import SSL
from twisted.logger import LogEvent, globalLogPublisher

from netlayer import Identity
from netlayer.net.tls import ALPN, MutualTLS
from netlayer.storage.certificate import certificate_fingerprint
from netlayer.storage.identity import fingerprint_text
from tests.integration.network import NetworkTestCase, settings, until

DAY = datetime.timedelta(1)


class Dressed(Identity):
    """An identity whose TLS shows something else than its own certificate alone.

    :param dress: changes the TLS context, or returns another one.
    """

    dress: Callable[[SSL.Context], SSL.Context | None]

    def security(self, clock: Any) -> MutualTLS:
        security = super().security(clock)
        assert isinstance(security, MutualTLS)
        security._context = self.dress(security._context) or security._context
        return security


def dressed(dress: Callable[[SSL.Context], SSL.Context | None]) -> Identity:
    """Return an identity with such a TLS context."""
    plain = Identity.generate()
    identity = Dressed(plain.key, plain.certificate, ephemeral=True)
    identity.dress = dress
    return identity


def certificate(
    key: Any, *, issuer: Any = None, start: datetime.timedelta = -DAY, end: datetime.timedelta = DAY
) -> x509.Certificate:
    """Return a certificate for a key, which another key may have issued; its times are those from now on."""
    now = datetime.datetime.now(datetime.timezone.utc)
    subject, authority = [
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        for name in ("node", "node" if issuer is None else "authority")
    ]
    unsigned = x509.CertificateBuilder(authority, subject, key.public_key(), 7, now + start, now + end)
    signer = key if issuer is None else issuer
    return unsigned.sign(signer, None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256())


def new_key() -> ec.EllipticCurvePrivateKey:
    """Return a key of the kind that nodes have."""
    return ec.generate_private_key(ec.SECP256R1())


class CertificatesTestCase(NetworkTestCase):
    """Joins bootstrap nodes as a node that shows something else."""

    def setUp(self) -> None:
        super().setUp()
        self.failures: list[LogEvent] = []
        globalLogPublisher.addObserver(self.note_failure)
        self.addCleanup(globalLogPublisher.removeObserver, self.note_failure)

    def note_failure(self, event: LogEvent) -> None:
        if "log_failure" in event or "Traceback" in str(event.get("log_format")):
            self.failures.append(event)

    async def both_ends(self, identity: Identity, *, listens: bool) -> tuple[str, str]:
        """Have such an identity at one end of a connection, and an honest one at the other.

        :param listens: whether it is the bootstrap node that has the identity, or the node that joins.
        :returns: why the joining node has not joined, and why the bootstrap node's connection has ended.
        """
        bootstrap = await self.bootstrap(**({"identity": identity} if listens else {}))
        options = {} if listens else {"identity": identity}
        node = await self.start(5, bootstrap, settings=settings(retry_count=0), **options)
        self.assertEqual((node.status.joined, bootstrap.hooks, bootstrap.get_peers()), (False, [], []))
        (told, *_) = await until(lambda: self.logged("debug", node=1, containing="ended: "))
        self.assertEqual(self.failures, [])
        return str(node.status.bootstraps[0].last_error), told

    async def assert_joins(self, identity: Identity) -> None:
        """A node with this identity joins, and is known by its key."""
        bootstrap = await self.bootstrap()
        node = await self.start(5, bootstrap, identity=identity)
        self.assertTrue(node.status.joined)
        await until(lambda: bootstrap.status.links)
        self.assertEqual(bootstrap.status.links[0].fingerprint, fingerprint_text(identity.fingerprint))
        await node.send_data(1, "x")
        self.assertEqual((bootstrap.data, self.failures), (["x"], []))


class RefusedTests(CertificatesTestCase):
    """TLS ends the connection; both ends say so in one line."""

    async def test_chain(self) -> None:
        """A certificate that comes with that of its issuer is refused, whoever shows it."""
        for listens in (False, True):
            authority = new_key()

            def dress(context: SSL.Context, authority: Any = authority) -> None:
                key = new_key()
                context.use_certificate(certificate(key, issuer=authority))
                context.use_privatekey(key)
                named = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")])
                now = datetime.datetime.now(datetime.timezone.utc)
                own = x509.CertificateBuilder(named, named, authority.public_key(), 8, now - DAY, now + DAY)
                context.add_extra_chain_cert(own.sign(authority, hashes.SHA256()))

            self.events.clear()
            dialer, listener = await self.both_ends(dressed(dress), listens=listens)
            self.assertIn("TLS failed: ", dialer)
            self.assertIn("TLS failed: ", listener)
            self.assertIn("certificate verify failed", dialer if listens else listener)

    async def test_no_certificate(self) -> None:
        """Who shows no certificate is refused."""

        def dress(_: SSL.Context) -> SSL.Context:
            bare = SSL.Context(SSL.TLS_METHOD)
            bare.set_alpn_protos([ALPN])
            bare.set_verify(SSL.VERIFY_NONE, lambda *_: True)
            return bare

        dialer, listener = await self.both_ends(dressed(dress), listens=False)
        self.assertIn("TLS failed: ", dialer)
        self.assertIn("peer did not return a certificate", listener)

    async def test_tls_1_2(self) -> None:
        """Who speaks TLS 1.2 at most is refused, as dialer and as listener."""

        def dress(_: SSL.Context) -> SSL.Context:
            old, own = SSL.Context(SSL.TLS_METHOD), Identity.generate()
            old.set_max_proto_version(SSL.TLS1_2_VERSION)
            old.use_privatekey(own.key)
            old.use_certificate(own.certificate)
            old.set_alpn_protos([ALPN])
            return old

        for listens in (False, True):
            self.events.clear()
            dialer, listener = await self.both_ends(dressed(dress), listens=listens)
            self.assertIn("protocol version", dialer)
            self.assertIn("unsupported protocol" if not listens else "TLS failed: ", listener)


class AdmittedTests(CertificatesTestCase):
    """Only the key counts, and that TLS has proven it."""

    def identity(self, **times: datetime.timedelta) -> Identity:
        key = new_key()
        return Identity(key, certificate(key, **times), ephemeral=True)

    async def test_expired(self) -> None:
        """An expired certificate is as good as any."""
        await self.assert_joins(self.identity(start=-10 * DAY, end=-9 * DAY))

    async def test_not_yet_valid(self) -> None:
        """So is one that is not valid yet."""
        await self.assert_joins(self.identity(start=9 * DAY, end=10 * DAY))

    async def test_foreign(self) -> None:
        """So is one that some authority has issued: nobody asks which."""
        key = new_key()
        await self.assert_joins(Identity(key, certificate(key, issuer=new_key()), ephemeral=True))

    async def test_other_extensions(self) -> None:
        """Extensions that nobody asks for may be nonsense: with what can be read of them nothing is done."""
        for named in ("3004a3023000", "3003870101", "00"):  # two names of kinds that exist, and none
            key = new_key()
            strange = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), bytes.fromhex(named))
            now = datetime.datetime.now(datetime.timezone.utc)
            subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "node")])
            unsigned = x509.CertificateBuilder(subject, subject, key.public_key(), 7, now - DAY, now + DAY)
            signed = unsigned.add_extension(strange, critical=False).sign(key, hashes.SHA256())
            await self.assert_joins(Identity(key, signed, ephemeral=True))

    async def test_other_type(self) -> None:
        """A key of another type proves itself as well; what TLS has proven is the peer's key."""
        key = ed25519.Ed25519PrivateKey.generate()
        stranger = Identity.generate()
        stranger.key, stranger.certificate = key, certificate(key)  # type: ignore[assignment]
        stranger.fingerprint = certificate_fingerprint(stranger.certificate)
        bootstrap = await self.bootstrap()
        linked = await self.stranger(bootstrap, 7, identity=stranger)
        await linked.link()
        await until(lambda: bootstrap.factory.link_drivers())
        self.assertEqual(bootstrap.factory.link_drivers()[0].fingerprint, stranger.fingerprint)
        self.assertEqual(self.failures, [])
