"""TLS between nodes: what is proven, and what happens to other ends that can't or won't prove anything."""

from __future__ import annotations

import warnings
from typing import Any

from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import LogEvent, globalLogPublisher
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer
from zope.interface.verify import verifyObject

from netlayer import Identity
from netlayer.net.tls import ALPN, MutualTLS
from netlayer.storage.certificate import certificate_fingerprint
from netlayer.wire.messages import Ping, encode_message
from tests.memory import MemoryTestCase


@implementer(IOpenSSLClientConnectionCreator)
class Foreign:
    """A dialer of another make."""

    def __init__(self, identity: Identity | None, *, alpn: list[bytes] | None = None) -> None:
        self.context = SSL.Context(SSL.TLS_METHOD)
        self.context.set_verify(SSL.VERIFY_NONE, lambda *_: True)
        if alpn != []:
            self.context.set_alpn_protos(alpn or [ALPN])
        if identity is not None:
            self.context.use_privatekey(identity.key)
            self.context.use_certificate(identity.certificate)

    def clientConnectionForTLS(self, protocol: object) -> SSL.Connection:
        return SSL.Connection(self.context, None)


class ForeignTests(MemoryTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        self.node = self.factory(1)

    def dial_as(self, foreign: Foreign) -> Protocol:
        """Have somebody else dial the node, and send something as soon as he may."""
        stranger = Protocol()
        inner = Factory.forProtocol(lambda: stranger)
        wrapper = TLSMemoryBIOFactory(foreign, True, inner, self.reactor)
        self.address(8001).connect(wrapper).addErrback(lambda _: None)
        self.connect()
        stranger.transport.write(encode_message(Ping(b"8 octets")))
        self.settle()
        return stranger

    def refused(self, foreign: Foreign) -> str:
        """Return why the node has refused somebody, having checked that nothing else came of it."""
        self.dial_as(foreign)
        self.pass_time(10)
        self.assertEqual(list(self.node._connections), [])
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        ended = [event for event in self.events if event["log_format"].endswith("ended: {reason}")]
        self.assertEqual([event["log_level"].name for event in ended], ["debug"])
        return str(ended[0]["reason"])

    def test_interface(self) -> None:
        """What stands for the other make is what Twisted takes for one."""
        self.assertTrue(verifyObject(IOpenSSLClientConnectionCreator, Foreign(None)))
        self.assertTrue(verifyObject(IOpenSSLClientConnectionCreator, MutualTLS(Identity.generate(), self.reactor)))

    def test_understood(self) -> None:
        """A dialer that proves a key is heard: its PING instead of a HELLO is what the node complains of."""
        self.assertIn("Ping is not legal here", self.refused(Foreign(Identity.generate())))

    def test_no_certificate(self) -> None:
        """A dialer without a certificate gets no further than TLS."""
        self.assertIn("TLS failed", self.refused(Foreign(None)))

    def test_old_version(self) -> None:
        """TLS 1.2 is not spoken."""
        foreign = Foreign(Identity.generate())
        foreign.context.set_max_proto_version(SSL.TLS1_2_VERSION)
        self.assertIn("TLS failed", self.refused(foreign))

    def test_other_protocol(self) -> None:
        """Neither is anything but netlayer."""
        for alpn in ([b"h2", b"http/1.1"], []):
            self.setUp()
            self.assertIn("does not speak netlayer", self.refused(Foreign(Identity.generate(), alpn=alpn)))

    def test_unreadable_certificate(self) -> None:
        """A certificate that OpenSSL reads and the rest of us does not is refused without a traceback."""
        identity = Identity.generate()
        foreign = Foreign(identity)
        der = identity.certificate.public_bytes(serialization.Encoding.DER)
        unheard_of = der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x03", 1)  # X.509 version 4
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            foreign.context.use_certificate(crypto.load_certificate(crypto.FILETYPE_ASN1, unheard_of))  # type: ignore[arg-type]
        self.assertEqual(self.refused(foreign), "the certificate of the other end can't be read")

    def test_other_key_type(self) -> None:
        """Keys of other kinds are as good as ours."""
        from cryptography.hazmat.primitives.asymmetric import ed25519

        identity: Any = Identity.generate()
        key = ed25519.Ed25519PrivateKey.generate()
        identity.key, identity.certificate = key, self.certificate_of(key)
        reason = self.refused(Foreign(identity))
        self.assertIn("Ping is not legal here", reason)
        self.assertEqual(len(certificate_fingerprint(identity.certificate)), 32)

    def certificate_of(self, key: Any) -> Any:
        """Return a self-signed certificate."""
        import datetime

        from cryptography import x509

        name = x509.Name([])
        day = datetime.datetime(2000, 1, 1)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        return builder.serial_number(1).not_valid_before(day).not_valid_after(day).sign(key, None)

    def test_garbage(self) -> None:
        """Bytes that are no TLS at all."""
        self.address(8001).connect(Factory.forProtocol(Protocol)).addErrback(lambda _: None)
        pump = self.connect()
        pump.client.transport.write(b"GET / HTTP/1.0\r\n\r\n")
        self.settle()
        self.pass_time(10)
        self.assertEqual(list(self.node._connections), [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_says_nothing(self) -> None:
        """Somebody who connects and says nothing is cut off after `timeout`."""
        self.address(8001).connect(Factory.forProtocol(Protocol)).addErrback(lambda _: None)
        self.connect()
        self.pass_time(4.9)
        self.assertEqual(self.node.connection_count, 1)
        self.pass_time(0.2)
        self.assertEqual(self.node.connection_count, 0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stopped(self) -> None:
        """A node that has stopped accepts nobody, even if its port listens on."""
        self.successResultOf(self.node.stop())
        _, _, client, _, _ = (self.dial(self.factory(2), 1), self.reactor.tcpClients.pop())[1]
        server = self.reactor.tcpServers[0][1]
        self.assertIsNone(server.buildProtocol(None))
        self.assertIsNotNone(client)
