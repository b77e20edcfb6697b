"""TLS between nodes: mutual TLS 1.3 with self-signed certificates.

No authority signs them, and what counts in them is in :mod:`netlayer.storage.certificate`. What TLS proves is that the
other end holds the private key of a fingerprint; whether that is the right fingerprint is judged by whoever dialed or
listens.
"""

from __future__ import annotations

import socket
from typing import Any, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IAddress,
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
    IReactorTime,
    ITransport,
)
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from netlayer.errors import RemoteProtocolError, shown
from netlayer.interfaces import ISecurity
from netlayer.sansio.trust.succession import Succession
from netlayer.storage.certificate import certificate_fingerprint, certificate_succession

__all__ = ["ALPN", "MutualTLS", "proven_fingerprint", "socket_of", "tune_socket", "why_lost"]

#: The one name for all versions; they are negotiated in HELLO, so that a refusal can be said.
ALPN = b"netlayer"


class Certified(Protocol):
    """Who has a key and a certificate of it."""

    @property
    def key(self) -> ec.EllipticCurvePrivateKey: ...

    @property
    def certificate(self) -> x509.Certificate: ...


@implementer(ISecurity, IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator)
class MutualTLS:
    """Puts TLS with the identity of this node around endpoints."""

    def __init__(self, identity: Certified, clock: IReactorTime) -> None:
        self._context = _make_context(identity)
        self._clock = clock

    def secured(self, factory: IProtocolFactory, *, dials: bool) -> IProtocolFactory:
        """Put TLS around what `factory` builds."""
        return _Wrapper(self, dials, factory, self._clock)

    def proven_fingerprint(self, transport: ITransport) -> bytes:
        """Return the fingerprint that the other end has proven; see :func:`proven_fingerprint`."""
        return proven_fingerprint(transport.getHandle())  # type: ignore[attr-defined] # of ISystemHandle

    def succession(self, transport: ITransport) -> Succession | None:
        """Return what the certificate of the other end tells of the keys before its own."""
        handle = transport.getHandle()  # type: ignore[attr-defined] # of ISystemHandle
        certificate = handle.get_peer_certificate(as_cryptography=True)
        return certificate_succession(certificate) if certificate is not None else None

    def binding(self, transport: ITransport) -> bytes:
        """Return the exporter of a connection (RFC 9266)."""
        handle = transport.getHandle()  # type: ignore[attr-defined] # of ISystemHandle
        return bytes(handle.export_keying_material(b"EXPORTER-Channel-Binding", 32, b""))

    def clientConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Twisted asks for the TLS state of a connection that we dialed."""
        return SSL.Connection(self._context, None)

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Twisted asks for the TLS state of a connection that we accepted."""
        return SSL.Connection(self._context, None)


def proven_fingerprint(connection: SSL.Connection) -> bytes:
    """Return the fingerprint that the other end has proven to hold the key of. Call it when the handshake is over.

    :raises RemoteProtocolError: when the other end speaks another protocol or has shown no certificate.
    """
    if connection.get_alpn_proto_negotiated() != ALPN:
        raise RemoteProtocolError("the other end does not speak netlayer (ALPN)")
    try:
        certificate = connection.get_peer_certificate(as_cryptography=True)
        fingerprint = certificate_fingerprint(certificate) if certificate is not None else None
    except Exception:  # of any kind: OpenSSL reads certificates that cryptography does not
        raise RemoteProtocolError("the certificate of the other end can't be read") from None
    if fingerprint is None:
        raise RemoteProtocolError("the other end has shown no certificate")
    return fingerprint


def tune_socket(transport: Any, *, dead_after: float) -> None:
    """Have the system send small writes at once, and give up on a peer that acknowledges nothing.

    :param transport: the TLS wrapper of a connection; a UNIX socket beneath it knows nothing of this.
    :param dead_after: seconds; 15 at least, as a living peer's receive window may be full for a while.
    """
    raw = socket_of(getattr(transport, "transport", None))
    if raw is not None and raw.family not in (socket.AF_INET, socket.AF_INET6):
        return
    set_no_delay = getattr(transport, "setTcpNoDelay", None)
    if set_no_delay is not None:
        set_no_delay(True)
    if raw is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
        milliseconds = int(max(dead_after, 15.0) * 1000)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)


def socket_of(transport: Any) -> socket.socket | None:
    """Return the socket of a transport, if it has one; a wrapper, such as TLS, has none."""
    raw = getattr(transport, "socket", None)
    return raw if isinstance(raw, socket.socket) else None


def why_lost(reason: Failure) -> str:
    """Return what a transport's end means, in a few words and without a class name."""
    error = reason.value
    if isinstance(error, ConnectionDone):
        return "the connection was closed"
    if isinstance(error, SSL.Error):
        details = [str(entry[-1]) for entry in error.args[0]] if error.args and isinstance(error.args[0], list) else []
        return f"TLS failed: {', '.join(details) or 'the connection was closed'}"
    return shown(reason.getErrorMessage())[1:-1]


class _Wrapper(TLSMemoryBIOFactory):
    """Puts TLS around what a factory builds, if it builds anything.

    Twisted's own class would put it around None, and would gather small writes, which the driver has done already.
    """

    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> TLSMemoryBIOProtocol | None:  # type: ignore[override]
        inner = self.wrappedFactory.buildProtocol(addr)
        return None if inner is None else TLSMemoryBIOProtocol(self, inner)


def _make_context(identity: Certified) -> SSL.Context:
    """Build the context whole, as pyOpenSSL allows no change after its first connection."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # an idle connection keeps 34 KiB less
    context.use_privatekey(identity.key)
    context.use_certificate(identity.certificate)
    context.set_session_id(b"netlayer")
    context.set_alpn_protos([ALPN])
    context.set_alpn_select_callback(_select_alpn)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _verify)
    return context


# Neither callback may raise: pyOpenSSL would log a traceback for each hostile connection.


def _select_alpn(connection: SSL.Connection, offered: list[bytes]) -> Any:
    return ALPN if ALPN in offered else SSL.NO_OVERLAPPING_PROTOCOLS


def _verify(connection: SSL.Connection, certificate: object, error: int, depth: int, ok: int) -> bool:
    return depth == 0  # a single self-signed certificate, never a chain
