"""A program that is no node, and comes to a node's port all the same: monitors, scanners, and who breaks the protocol.

``python -m tests.integration.faults.rogue HOST PORT KIND...`` comes once for each kind, one after the other, and writes
for each a line with the code of the REJECT that it heard, or ``dropped``, to its standard output.
"""

from __future__ import annotations

import socket
import ssl
import sys
import tempfile
from contextlib import suppress
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from netlayer.net.tls import ALPN
from netlayer.storage.certificate import self_signed
from netlayer.wire.frames import FrameDecoder
from netlayer.wire.messages import (
    MIN_MAX_FRAME,
    MIN_MAX_PACKET,
    MIN_WINDOW,
    VERSION,
    Hello,
    Reject,
    decode_message,
    encode_message,
)

__all__ = ["HARMLESS", "VIOLATION"]

#: What says nothing in clear text that a node would understand, by kind.
CLEAR = {
    "empty": b"",
    "http": b"GET /health HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n",
    "garbage": bytes(range(256)) * 64,
    "half a hello of tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}
#: What speaks TLS and means another protocol: the names that it offers, and whether it has a certificate.
SCANS: dict[str, tuple[list[str], bool]] = {
    "tls": ([], False),
    "https": (["h2", "http/1.1"], False),
    "netlayer without a certificate": ([ALPN.decode()], False),
    "tls with a certificate": ([], True),
    "https with a certificate": (["h2", "http/1.1"], True),
}
SECRET, VIOLATION = "a wrong secret", "a violation"

#: What costs its neighbours nothing, however often it comes.
HARMLESS = (*CLEAR, *SCANS, SECRET)


def come(host: str, port: int, kind: str) -> str:
    """Come once, and return what came of it."""
    with socket.create_connection((host, port), timeout=10.0) as connection:
        if kind in CLEAR:
            connection.sendall(CLEAR[kind])
            connection.shutdown(socket.SHUT_WR)
            return _heard(connection)
        names, has_certificate = SCANS.get(kind, ([ALPN.decode()], True))
        try:
            with _context(names, has_certificate).wrap_socket(connection) as secured:
                if kind == SECRET:
                    secured.sendall(encode_message(_hello()))
                elif kind == VIOLATION:
                    secured.sendall(b"\xff" * 5)
                else:
                    secured.sendall(CLEAR["http"])
                return _heard(secured)
        except ssl.SSLError:
            return "dropped"


def _hello() -> Hello:
    return Hello(
        VERSION,
        VERSION,
        "default",
        node_id=99,
        role="peer",
        boot=1,
        ephemeral=True,
        window=MIN_WINDOW,
        max_frame=MIN_MAX_FRAME,
        max_packet=MIN_MAX_PACKET,
        proof=bytes(32),
    )


def _heard(connection: Any) -> str:
    frames = FrameDecoder(limit=2**16)
    with suppress(OSError):
        while data := connection.recv(65536):
            frames.feed(data)
    frame = frames.next_frame()
    message = decode_message(*frame) if frame is not None else None
    return message.code if isinstance(message, Reject) else "dropped"


def _context(names: list[str], has_certificate: bool) -> ssl.SSLContext:
    """Return how TLS is spoken, with a key that nobody has seen."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if names:
        context.set_alpn_protocols(names)
    if has_certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        with tempfile.NamedTemporaryFile() as file:
            file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            file.write(self_signed(key).public_bytes(Encoding.PEM))
            file.flush()
            context.load_cert_chain(file.name)
    return context


if __name__ == "__main__":
    for each in sys.argv[3:]:
        print(come(sys.argv[1], int(sys.argv[2]), each), flush=True)
