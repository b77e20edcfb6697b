"""Connections without encryption: each end says its fingerprint, and nobody can check it.

For the simulated internet. The first bytes of each direction are a preamble; after it the bytes of the protocol inside
follow as they are. Where something else comes first, the connection ends as it does when a handshake of TLS fails: the
protocol inside learns that it is lost, and gets nothing of what came.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import (
    IAddress,
    IHandshakeListener,
    IProtocolFactory,
    ITransport,
)
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from netlayer.errors import RemoteProtocolError
from netlayer.interfaces import ISecurity

__all__ = ["Plaintext"]

#: Neither the first byte of a TLS record nor that of a readable protocol, so that each notices the other at once.
_MAGIC = b"\x00netlayer plain\n"
_FINGERPRINT = 32


@implementer(ISecurity)
class Plaintext:
    """Has both ends of a connection say their fingerprints.

    :param fingerprint: 32 bytes, what this end says.
    """

    def __init__(self, fingerprint: bytes) -> None:
        self._preamble = _MAGIC + fingerprint

    def secured(self, factory: IProtocolFactory, *, dials: bool) -> IProtocolFactory:
        """Put the preambles before what `factory` builds."""
        return _Wrapper(factory, self._preamble)

    def binding(self, transport: ITransport) -> bytes:
        """Return 32 zero bytes: a connection in plain text has no secret of its own."""
        return bytes(32)

    def proven_fingerprint(self, transport: ITransport) -> bytes:
        """Return the fingerprint that the other end has claimed. Call it when the handshake is over."""
        assert isinstance(transport, _Channel) and transport.fingerprint is not None
        return transport.fingerprint

    def succession(self, transport: ITransport) -> None:
        """Return None: nobody proves here which keys were before."""


class _Channel(ProtocolWrapper):
    """One connection: says the preamble and awaits the other one, then stays out of the way."""

    fingerprint: bytes | None = None
    _failure: Failure | None = None  # why there will be no handshake

    def makeConnection(self, transport: Any) -> None:
        self.write = transport.write  # type: ignore[method-assign]
        transport.write(self.factory.preamble)
        self._received = b""
        super().makeConnection(transport)

    def dataReceived(self, data: bytes) -> None:
        """Bytes came: the preamble, or what follows it."""
        if self.wrappedProtocol is None or self._failure is not None:
            return
        received = self._received = self._received + data
        magic = received[: len(_MAGIC)]
        size = len(_MAGIC) + _FINGERPRINT
        if magic == _MAGIC[: len(magic)] and len(received) < size:
            return
        self._received = b""
        if magic != _MAGIC:
            error = RemoteProtocolError("the other end does not speak netlayer in plain text")
            self._failure = Failure(error)
            self.loseConnection()
            return
        self.fingerprint = received[len(_MAGIC) : size]
        self.dataReceived = self.wrappedProtocol.dataReceived  # type: ignore[method-assign]
        if IHandshakeListener.providedBy(self.wrappedProtocol):
            self.wrappedProtocol.handshakeCompleted()
        if len(received) > size:
            self.dataReceived(received[size:])

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The transport is gone."""
        super().connectionLost(self._failure or reason)


class _Wrapper(WrappingFactory):
    """Puts the preambles before what a factory builds, if it builds anything."""

    noisy = False

    def __init__(self, wrapped: IProtocolFactory, preamble: bytes) -> None:
        super().__init__(wrapped)
        self.preamble = preamble

    def buildProtocol(self, addr: IAddress | None) -> _Channel | None:  # type: ignore[override]
        inner = self.wrappedFactory.buildProtocol(addr)
        return None if inner is None else _Channel(self, inner)  # type: ignore[arg-type]
