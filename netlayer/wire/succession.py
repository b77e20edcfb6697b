"""What a certificate tells of the keys that its own one has replaced: the content of one X.509 extension.

It is a DER OCTET STRING around a MessagePack array, the oldest key first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from netlayer.errors import RemoteProtocolError, shown

__all__ = ["EXTENSION", "MAX_FORMER", "MAX_SIZE", "Former", "decode_succession", "encode_succession", "statement"]

#: The object identifier of the extension, under the arc of UUIDs, where everybody can have one (ITU-T X.667).
EXTENSION = "2.25.111445021193683424350515217775511586"
#: Former keys that are shown at most: a node that has replaced more shows the last ones.
MAX_FORMER = 8
#: Bytes of the content at most; eight keys on the curve P-256 with their signatures have 2 KiB.
MAX_SIZE = 4096

_STATEMENT = b"netlayer succession 1\0"
_OCTET_STRING = 0x04
_Signature = Annotated[bytes, Meta(max_length=80)]


class Former(msgspec.Struct, array_like=True, frozen=True):
    """A former key, and the statement that the next one takes its place, signed by both.

    :ivar key: the public key, DER.
    :ivar signature: by this key; `next_signature` is by the next one.
    """

    key: Annotated[bytes, Meta(max_length=256)]
    signature: _Signature
    next_signature: _Signature


_decoder: msgspec.msgpack.Decoder[tuple[Former, ...]] = msgspec.msgpack.Decoder(
    Annotated[tuple[Former, ...], Meta(min_length=1, max_length=MAX_FORMER)]
)


def statement(former: bytes, key: bytes) -> bytes:
    """Return what is signed when a key takes the place of another one; both are given by their fingerprints."""
    return _STATEMENT + former + key


def encode_succession(formers: Sequence[Former]) -> bytes:
    """Return the content of the extension."""
    return _octet_string(msgspec.msgpack.encode(tuple(formers)))


def decode_succession(content: bytes) -> tuple[Former, ...]:
    """Return the former keys that the content of the extension names.

    :raises RemoteProtocolError: when it is too long or malformed.
    """
    if len(content) > MAX_SIZE:
        raise RemoteProtocolError(f"a succession of more than {MAX_SIZE} bytes")
    try:
        return _decoder.decode(_octets(content))
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise RemoteProtocolError(f"a malformed succession: {shown(str(error))[1:-1]}") from None


def _octet_string(octets: bytes) -> bytes:
    """Return the DER of an OCTET STRING."""
    size = len(octets)
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((_OCTET_STRING, size) if size < 0x80 else (_OCTET_STRING, 0x80 | len(length), *length)) + octets


def _octets(content: bytes) -> bytes:
    """Return what an OCTET STRING in DER, of less than 64 KiB, holds.

    :raises ValueError: when it is none.
    """
    for start in (2, 3, 4):
        if _octet_string(content[start:]) == content:
            return content[start:]
    raise ValueError("it is no OCTET STRING")
