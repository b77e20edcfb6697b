"""Application values as payload bytes: bytes raw, text as UTF-8, everything else as MessagePack.

Both directions are strict. A value arrives equal and of the same type or is refused at the caller; a payload that no
caller could have sent is a protocol error. Nothing is ever pickled or evaluated.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from netlayer.errors import PacketTooLarge, RemoteProtocolError, UnsupportedData, described, shown

__all__ = ["MAX_DEPTH", "MAX_STRUCTURED", "TAG_BYTES", "TAG_MSGPACK", "TAG_TEXT", "decode_value", "encode_value"]

# Value tags, append-only.
TAG_BYTES = 0
TAG_TEXT = 1
TAG_MSGPACK = 2

#: How deep lists and dicts may be nested: far below any interpreter's recursion limit.
MAX_DEPTH = 64

#: Encoded bytes of a structured value at most: its objects take up to 70 times as much memory.
MAX_STRUCTURED = 1024 * 1024

#: Numbers among the keys of one dict at most. Unlike those of text their hashes are known to everybody: whoever chooses
#: a hundred thousand of them well keeps Python busy for half a minute, and a thousand for some milliseconds.
MAX_NUMBERS = 1024

_TOO_DEEP = f"lists and dicts may be nested at most {MAX_DEPTH} deep"
_TOO_MANY_NUMBERS = f"a dict has at most {MAX_NUMBERS} numbers as keys"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
_split = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode

#: Where a map may begin that has as many keys.
_LARGE_MAP = re.compile(rb"\xde[\x04-\xff]|\xdf")
#: The first bytes of maps, and how many bytes stand in front of the first key.
_MAP_HEADS = {**dict.fromkeys(range(0x80, 0x90), 1), 0xDE: 3, 0xDF: 5}
_ARRAY_OF_32 = b"\xdd"
#: The first bytes of arrays and maps, and of the keys that are numbers.
_NESTED = frozenset([*range(0x80, 0xA0), *range(0xDC, 0xE0)])
_NUMBER = frozenset([*range(0x80), *range(0xCA, 0xD4), *range(0xE0, 0x100)])


def encode_value(data: Any, *, max_packet: int) -> tuple[int, bytes]:
    """Return the tag and the payload of `data`.

    :param max_packet: bytes of payload at most.
    :raises UnsupportedData: when `data` could not arrive equal and of the same type.
    :raises PacketTooLarge: when the payload would be too large.
    """
    limit = max_packet
    kind = type(data)
    try:
        if kind is bytes:
            tag, payload = TAG_BYTES, data
        elif kind is str:
            tag, payload = TAG_TEXT, _encode_text(data)
        else:
            _check(data, 0)
            tag, payload = TAG_MSGPACK, _encode(data)
            limit = min(limit, MAX_STRUCTURED)
    except UnsupportedData as error:
        error.where = f"data{error.where}"
        raise
    if len(payload) > limit:
        raise PacketTooLarge(len(payload), limit, structured=limit < max_packet)
    return tag, payload


def decode_value(tag: int, payload: bytes) -> Any:
    """Return the value that `payload` carries.

    :raises RemoteProtocolError: when :func:`encode_value` could not have made this payload.
    """
    if tag == TAG_BYTES:
        return payload
    try:
        if tag == TAG_TEXT:
            return payload.decode("utf-8")
        if tag == TAG_MSGPACK:
            if len(payload) > MAX_STRUCTURED:
                raise RemoteProtocolError(f"a structured value of {len(payload)} bytes, limit {MAX_STRUCTURED}")
            if _LARGE_MAP.search(payload):
                _check_keys(payload, 0)
            value = _decode(payload)
            if type(value) is bytes or type(value) is str:
                raise RemoteProtocolError("bytes and text have tags of their own")
            _check(value, 0)
            return value
    except UnsupportedData as error:
        raise RemoteProtocolError(f"a malformed value{shown(error.where)[1:-1]}: {error.reason}") from None
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        raise RemoteProtocolError(f"a malformed value: {shown(str(error))[1:-1]}") from None
    raise RemoteProtocolError(f"unknown value tag {tag}")


def _encode_text(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise UnsupportedData("", "text with a lone surrogate is not Unicode") from None


def _check_keys(container: bytes | msgspec.Raw, depth: int) -> None:
    """Raise UnsupportedData if a map has too many numbers as keys, without making a dict of it.

    :param container: an encoded array or map; anything else has no keys.
    """
    view = memoryview(container)
    head = view[0]
    if head not in _NESTED:
        return
    if depth == MAX_DEPTH:
        raise UnsupportedData("", _TOO_DEEP)
    if head in _MAP_HEADS:
        body = _MAP_HEADS[head]
        count = int.from_bytes(view[1:body], "big") if body > 1 else head & 0x0F
        if 2 * count > len(view):
            return  # it is cut off, as the decoder will tell
        items = _split(b"".join((_ARRAY_OF_32, (2 * count).to_bytes(4, "big"), view[body:])))
        if count > MAX_NUMBERS and sum(memoryview(key)[0] in _NUMBER for key in items[::2]) > MAX_NUMBERS:
            raise UnsupportedData("", _TOO_MANY_NUMBERS)
    else:
        items = _split(container)
    for item in items:
        if memoryview(item)[0] in _NESTED and _LARGE_MAP.search(item):
            _check_keys(item, depth + 1)


def _check(value: Any, depth: int) -> None:
    """Raise UnsupportedData unless exact types, ranges and depth are what the wire can carry.

    The error's path is put together on the way out, so that values without an error pay nothing for it.
    """
    kind = type(value)
    if kind is str:
        if not value.isascii():
            _encode_text(value)
    elif kind is int:
        if not -(2**63) <= value < 2**64:
            raise UnsupportedData("", "an int has to lie within -2^63 and 2^64 - 1")
    elif kind is list or kind is dict:
        if depth == MAX_DEPTH:
            raise UnsupportedData("", _TOO_DEEP)
        if kind is dict and len(value) > MAX_NUMBERS and sum(type(key) in (int, float) for key in value) > MAX_NUMBERS:
            raise UnsupportedData("", _TOO_MANY_NUMBERS)
        where: object = None
        try:
            if kind is list:
                for where, item in enumerate(value):  # noqa: B007 - named in the error's path
                    _check(item, depth + 1)
            else:
                for where, item in value.items():
                    _check(where, depth + 1)
                    _check(item, depth + 1)
        except UnsupportedData as error:
            error.where = f"[{described(where)}]{error.where}"
            raise
    elif value is not None and kind is not bool and kind is not float and kind is not bytes:
        raise UnsupportedData("", f"{kind.__name__} is none of bytes, str, None, bool, int, float, list, dict")
