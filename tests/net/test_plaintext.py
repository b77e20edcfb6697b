"""Connections without encryption: what both ends say first."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from netlayer.interfaces import ISecurity
from netlayer.net.plaintext import Plaintext

ONE, TWO = b"1" * 32, b"2" * 32


@implementer(IHandshakeListener)
class Inner(Protocol):
    """Notes what it is told."""

    security: ISecurity

    def connectionMade(self) -> None:
        """Begin."""
        self.told: list[object] = []

    def handshakeCompleted(self) -> None:
        """Ask who is there."""
        self.told.append(self.security.proven_fingerprint(self.transport))

    def dataReceived(self, data: bytes) -> None:
        """Note it."""
        self.told.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note why."""
        self.told.append(reason.getErrorMessage())


class PlaintextTests(SynchronousTestCase):
    def made(self, security: Plaintext) -> tuple[Inner, StringTransportWithDisconnection]:
        """Return a protocol inside a connection, and the transport outside."""
        factory = security.secured(Factory.forProtocol(Inner), dials=False)
        protocol: Any = factory.buildProtocol(None)  # type: ignore[arg-type]
        inner: Inner = protocol.wrappedProtocol
        inner.security = security
        transport = StringTransportWithDisconnection()
        transport.protocol = protocol
        protocol.makeConnection(transport)
        return inner, transport

    def preamble(self, fingerprint: bytes) -> bytes:
        """Return what an end with this fingerprint says first."""
        return self.made(Plaintext(fingerprint))[1].value()

    def test_told(self) -> None:
        """Each end learns the other's fingerprint, then gets the bytes that follow, in every chunking."""
        stream = self.preamble(TWO) + b"and so on"
        for size in (1, 7, len(stream)):
            inner, transport = self.made(Plaintext(ONE))
            for start in range(0, len(stream), size):
                transport.protocol.dataReceived(stream[start : start + size])
            self.assertEqual(inner.told[0], TWO)
            self.assertEqual(b"".join(inner.told[1:]), b"and so on")  # type: ignore[arg-type]

    def test_waits(self) -> None:
        """Nobody is believed before the whole preamble is there."""
        inner, transport = self.made(Plaintext(ONE))
        transport.protocol.dataReceived(self.preamble(TWO)[:-1])
        self.assertEqual(inner.told, [])

    def test_another_protocol(self) -> None:
        """Whoever says something else is dropped at the first wrong byte, and nothing that comes is handed on."""
        for said in (b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n", self.preamble(TWO)[:5] + b"?"):
            inner, transport = self.made(Plaintext(ONE))
            transport.protocol.dataReceived(said)
            self.assertEqual(inner.told, ["the other end does not speak netlayer in plain text"])
            self.assertFalse(transport.connected)

    def test_more_of_another_protocol(self) -> None:
        """What comes behind the wrong byte, before the connection is closed, is not handed on either."""
        inner, transport = self.made(Plaintext(ONE))
        transport.loseConnection = lambda: None  # type: ignore[method-assign] # it takes a while
        transport.protocol.dataReceived(b"GET / HTTP/1.1\r\n")
        transport.protocol.dataReceived(self.preamble(TWO))
        self.assertEqual(inner.told, [])

    def test_writes(self) -> None:
        """What the protocol inside writes follows the preamble."""
        inner, transport = self.made(Plaintext(ONE))
        assert inner.transport is not None
        inner.transport.write(b"hello")
        self.assertEqual(transport.value(), self.preamble(ONE) + b"hello")

    def test_refused(self) -> None:
        """A factory that builds nothing refuses the connection."""
        factory = Factory()
        factory.buildProtocol = lambda addr: None  # type: ignore[method-assign]
        for dials in (False, True):
            secured = Plaintext(ONE).secured(factory, dials=dials)
            self.assertIs(secured.buildProtocol(None), None)  # type: ignore[arg-type]
