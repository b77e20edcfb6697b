"""A value arrives equal and of the same type, or is refused at its sender; hostile payloads do no harm."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import math
import time
from typing import Any, NamedTuple

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netlayer.errors import NetlayerError, PacketTooLarge, RemoteProtocolError, UnsupportedData
from netlayer.wire import payload as module
from netlayer.wire.payload import (
    MAX_DEPTH,
    MAX_NUMBERS,
    MAX_STRUCTURED,
    TAG_BYTES,
    TAG_MSGPACK,
    TAG_TEXT,
    decode_value,
    encode_value,
)

MIB = 1024 * 1024

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.sampled_from([-(2**63), -1, 2**63 - 1, 2**63, 2**64 - 1])
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(scalars, inner), max_leaves=8
)  # fmt: skip


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are equal and of the same types, at every depth, keys and their order included."""
    if type(one) is not type(other):
        return False
    if type(one) is float:
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    if type(one) is list:
        return len(one) == len(other) and all(map(same, one, other))
    if type(one) is dict:
        return same(list(one.keys()), list(other.keys())) and same(list(one.values()), list(other.values()))
    return bool(one == other)


def nested(depth: int) -> list[Any]:
    """Return a list of `depth` levels."""
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


class RoundTripTests(SynchronousTestCase):
    @settings(deadline=None)
    @given(values)
    def test_any_value(self, value: Any) -> None:
        """Every value that may be sent arrives equal and of the same type, down to the keys and their order."""
        found = decode_value(*encode_value(value, max_packet=MIB))
        self.assertTrue(same(found, value), f"{found!r} instead of {value!r}")

    def test_not_a_number(self) -> None:
        """NaN arrives as NaN, though it equals nothing."""
        found = decode_value(*encode_value([math.nan], max_packet=MIB))
        self.assertTrue(math.isnan(found[0]))

    def test_tags(self) -> None:
        """Bytes and text travel as they are; everything else as MessagePack."""
        self.assertEqual(encode_value(b"\xff\x00", max_packet=MIB), (TAG_BYTES, b"\xff\x00"))
        self.assertEqual(encode_value("ä", max_packet=MIB), (TAG_TEXT, b"\xc3\xa4"))
        for value in (None, True, False, 0, -1, 1.5, [], {}, [b""], {"": ""}):
            self.assertEqual(encode_value(value, max_packet=MIB)[0], TAG_MSGPACK, repr(value))

    def test_bytes_are_not_copied(self) -> None:
        """A large packet of bytes costs no second copy at its sender."""
        data = bytes(100_000)
        self.assertIs(encode_value(data, max_packet=MIB)[1], data)

    def test_deepest(self) -> None:
        """Lists and dicts may be nested 64 deep, whatever stands in the innermost one."""
        for value in (nested(MAX_DEPTH), [*nested(MAX_DEPTH - 1), 1]):
            self.assertEqual(decode_value(*encode_value(value, max_packet=MIB)), value)
        value: Any = {"leaf": [1.0]}
        for _ in range(MAX_DEPTH - 2):
            value = {"k": value}
        self.assertEqual(decode_value(*encode_value(value, max_packet=MIB)), value)

    def test_shared_parts(self) -> None:
        """An object that stands in a value twice is sent twice."""
        part = [1]
        self.assertEqual(decode_value(*encode_value([part, part], max_packet=MIB)), [[1], [1]])


class Color(enum.IntEnum):
    RED = 1


class Text(str):
    __slots__ = ()


class Pair(NamedTuple):
    one: int
    other: int


@dataclasses.dataclass(frozen=True)
class Point:
    x: int


class Struct(msgspec.Struct, frozen=True):
    x: int


class Evil:
    """Has a repr that fails."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class UnsupportedTests(SynchronousTestCase):
    def assertUnsupported(self, value: Any, *said: str) -> None:
        """Assert that a value is refused, and that the error says all of this."""
        error = self.assertRaises(UnsupportedData, encode_value, value, max_packet=MIB)
        for text in said:
            self.assertIn(text, str(error))

    def test_types(self) -> None:
        """What would arrive as another type is refused, alone and inside, and the error names the type."""
        ordered: Any = collections.OrderedDict(a=1)
        for value in (
            (),
            (1, 2),
            {1},
            frozenset(),
            bytearray(b"a"),
            memoryview(b"a"),
            range(3),
            1j,
            decimal.Decimal(1),
            fractions.Fraction(1, 2),
            datetime.datetime(2026, 1, 1),
            datetime.date(2026, 1, 1),
            datetime.timedelta(1),
            Color.RED,
            Text("a"),
            Pair(1, 2),
            Point(1),
            Struct(1),
            ordered,
            collections.defaultdict(int),
            collections.Counter(),
            object(),
            object,
            len,
            iter([]),
            ...,
            NotImplemented,
            ValueError("a"),
            msgspec.Raw(b"\x01"),
            msgspec.msgpack.Ext(1, b"a"),
            Evil(),
        ):
            name = type(value).__name__
            self.assertUnsupported(value, f"data can't be sent: {name} is none of bytes, str, None, bool, int")
            self.assertUnsupported([0, value], f"data[1] can't be sent: {name} is none of")
            self.assertUnsupported({"key": [value]}, f"data['key'][0] can't be sent: {name} is none of")

    def test_keys(self) -> None:
        """A key is refused for the same reasons as a value, and the path shows it."""
        for key in ((1, 2), frozenset(), Color.RED, Text("a"), Point(1), datetime.date(2026, 1, 1)):
            self.assertUnsupported({"fine": {key: 1}}, f"data['fine'][{key!r}] can't be sent: {type(key).__name__} is")
        self.assertUnsupported({"a\ud800": 1}, r"data['a\ud800'] can't be sent", "lone surrogate")
        self.assertUnsupported({2**64: 1}, "data[18446744073709551616] can't be sent")

    def test_keys_without_a_usable_repr(self) -> None:
        """A key that can't be shown is refused like any other."""
        self.assertUnsupported({Evil(): 1}, "data[<Evil>] can't be sent")
        self.assertUnsupported({10**5000: 1}, "data[<int>] can't be sent")
        self.assertUnsupported({(1,) * 1000: 1}, "...] can't be sent: tuple")

    def test_path_to_a_value_under_any_key(self) -> None:
        """The path names keys of all types the way they are written."""
        self.assertUnsupported({1: {b"k": {None: {True: {0.5: [(), 1]}}}}}, "data[1][b'k'][None][True][0.5][0] can't")

    def test_path_is_safe_to_log(self) -> None:
        """A key can't put a line break into the error, or fill it."""
        error = self.assertRaises(UnsupportedData, encode_value, {"a\nb\x1b" + "x" * 10_000: ()}, max_packet=MIB)
        self.assertTrue(str(error).isprintable())
        self.assertLess(len(str(error)), 400)

    def test_numbers_out_of_range(self) -> None:
        """Integers that MessagePack can't carry are refused, however large they are."""
        for value in (2**64, -(2**63) - 1, 10**5000, -(10**5000)):
            self.assertUnsupported(value, "data can't be sent: an int has to lie within -2^63 and 2^64 - 1")
            self.assertUnsupported([[value]], "data[0][0] can't be sent: an int")

    def test_lone_surrogates(self) -> None:
        """Text that is no Unicode is refused, alone and inside."""
        for text in ("\ud800", "a\udfffb", "\udc80"):
            self.assertUnsupported(text, "data can't be sent: text with a lone surrogate")
            self.assertUnsupported({"a": [text]}, "data['a'][0] can't be sent: text with a lone surrogate")

    def test_too_deep(self) -> None:
        """A 65th level is refused, and so is a value that contains itself."""
        self.assertUnsupported(nested(MAX_DEPTH + 1), "data" + "[0]" * MAX_DEPTH + " can't", "at most 64 deep")
        endless: list[Any] = []
        endless.append(endless)
        self.assertUnsupported(endless, "at most 64 deep")
        looped: dict[str, Any] = {}
        looped["again"] = [looped]
        self.assertUnsupported(looped, "data['again'][0]['again'][0]", "at most 64 deep")

    def test_nothing_was_sent(self) -> None:
        """Callers catch the error as one of delivery, and as the TypeError that it is."""
        error = self.assertRaises(UnsupportedData, encode_value, (), max_packet=MIB)
        self.assertIsInstance(error, NetlayerError)
        self.assertIsInstance(error, TypeError)


class SizeTests(SynchronousTestCase):
    def assertTooLarge(self, value: Any, size: int, limit: int, *, max_packet: int) -> None:
        """Assert that a value is refused with this size and this limit."""
        error = self.assertRaises(PacketTooLarge, encode_value, value, max_packet=max_packet)
        self.assertEqual((error.size, error.limit), (size, limit))
        self.assertEqual(error.structured, type(value) not in (bytes, str) and limit < max_packet)

    def test_max_packet(self) -> None:
        """The limit counts bytes of payload; one more is refused."""
        for value in (b"x" * 1024, "x" * 1024, "€" * 341 + "x", [b"x" * 1020]):
            self.assertEqual(len(encode_value(value, max_packet=1024)[1]), 1024)
        for value in (b"x" * 1025, "x" * 1025, "€" * 341 + "xx", [b"x" * 1021]):
            self.assertTooLarge(value, 1025, 1024, max_packet=1024)

    def test_structured(self) -> None:
        """Lists and dicts have a limit of 1 MiB, as their objects take much more; bytes and text have not."""
        header = 1 + 5
        fits = [b"x" * (MAX_STRUCTURED - header)]
        self.assertEqual(decode_value(*encode_value(fits, max_packet=16 * MIB)), fits)
        larger = [b"x" * (MAX_STRUCTURED - header + 1)]
        self.assertTooLarge(larger, MAX_STRUCTURED + 1, MAX_STRUCTURED, max_packet=16 * MIB)
        for data in (bytes(2 * MIB), "x" * 2 * MIB):
            self.assertEqual(decode_value(*encode_value(data, max_packet=16 * MIB)), data)


class HostileTests(SynchronousTestCase):
    def assertRefused(self, tag: int, payload: bytes, said: str = "") -> None:
        """Assert that a payload is a violation of the protocol, and that the error says why."""
        error = self.assertRaises(RemoteProtocolError, decode_value, tag, payload)
        self.assertIn(said, str(error))
        self.assertTrue(str(error).isprintable())
        self.assertLess(len(str(error)), 400)

    def assertHarmless(self, tag: int, payload: bytes) -> None:
        """Assert that a payload is refused, or is a value that may be sent again."""
        try:
            value = decode_value(tag, payload)
        except RemoteProtocolError:
            return
        again = decode_value(*encode_value(value, max_packet=MIB))
        self.assertEqual(repr(again), repr(value))

    @settings(deadline=None, max_examples=200)
    @given(st.integers(0, 3) | st.integers(0, 255), st.binary())
    def test_any_bytes(self, tag: int, payload: bytes) -> None:
        """Any payload is a value that its receiver could send on, or a RemoteProtocolError."""
        self.assertHarmless(tag, payload)

    @settings(deadline=None)
    @given(values, st.data())
    def test_damaged(self, value: Any, data: st.DataObject) -> None:
        """A payload with one wrong byte is another value, or a RemoteProtocolError."""
        tag, payload = encode_value([value], max_packet=MIB)
        damaged = bytearray(payload)
        damaged[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
        self.assertHarmless(tag, bytes(damaged))

    def test_crowded_maps(self) -> None:
        """A dict has so many numbers as keys at most, however deep it is; a hostile one is not even made."""
        for made in (int, float, lambda number: -number):
            most = {made(number): None for number in range(MAX_NUMBERS)}
            more = {**most, made(MAX_NUMBERS): None}
            for wrap in (
                lambda value: value,
                lambda value: [1, {"x": [value]}],
                lambda value: {**dict.fromkeys("abc"), 1: value},
            ):
                self.assertTrue(same(decode_value(*encode_value(wrap(most), max_packet=MIB)), wrap(most)))
                error = self.assertRaises(UnsupportedData, encode_value, wrap(more), max_packet=MIB)
                self.assertIn("a dict has at most 1024 numbers as keys", str(error))
                self.assertRefused(TAG_MSGPACK, msgspec.msgpack.encode(wrap(more)), "at most 1024 numbers as keys")
        words = {str(number): {number: number} for number in range(20000)}
        self.assertTrue(same(decode_value(*encode_value(words, max_packet=MIB)), words))
        mixed = {**dict.fromkeys(map(str, range(2000))), **dict.fromkeys(range(MAX_NUMBERS))}
        self.assertTrue(same(decode_value(*encode_value(mixed, max_packet=MIB)), mixed))

    def test_crowded_and_too_deep(self) -> None:
        """Where a map is nested too deep it is refused for that, before a dict is made of it."""
        crowded = msgspec.msgpack.encode(dict.fromkeys(range(5000)))
        self.patch(module, "_decode", lambda encoded: self.fail("it was decoded"))
        for level in (b"\x91", b"\x81\x01"):
            self.assertRefused(TAG_MSGPACK, level * 63 + crowded, "at most 1024 numbers as keys")
            for depth in (64, 65, 200):
                self.assertRefused(TAG_MSGPACK, level * depth + crowded, "at most 64 deep")

    def test_many_numbers(self) -> None:
        """Keys among which a dict could look for long are refused in a time that grows with their bytes alone."""
        keys = [number << 40 for number in range(60_000)]
        payload = (
            b"\xdf" + len(keys).to_bytes(4, "big") + b"".join(msgspec.msgpack.encode(key) + b"\xc0" for key in keys)
        )
        began = time.process_time()
        self.assertRefused(TAG_MSGPACK, payload, "at most 1024 numbers as keys")
        self.assertLess(time.process_time() - began, 1.0)

    def test_cut_off_maps(self) -> None:
        """A large map that is cut off, or that claims more than there can be, is refused as any other."""
        whole = msgspec.msgpack.encode({str(number): number for number in range(1500)})
        for payload in (
            whole[:-1],
            whole[:2],
            b"\xdf",
            b"\xdf\xff\xff\xff\xff",
            b"\xdf\xff\xff\xff\xff\x01",
            b"\xde\xff\xff" + b"\x01" * 5,
        ):
            self.assertRefused(TAG_MSGPACK, payload)

    def test_extensions(self) -> None:
        """Types that no caller can send do not reach a handler."""
        ext, timestamp = bytes.fromhex("d4 05 00"), bytes.fromhex("d6 ff 00000001")
        self.assertRefused(TAG_MSGPACK, ext, "a malformed value: Ext is none of")
        self.assertRefused(TAG_MSGPACK, timestamp, "a malformed value: datetime is none of")
        self.assertRefused(TAG_MSGPACK, b"\x92\xc0" + ext, "a malformed value[1]: Ext is none of")
        self.assertRefused(TAG_MSGPACK, b"\x81\xa1k" + timestamp, "a malformed value['k']: datetime is none of")
        for extension in (ext, timestamp):
            self.assertRefused(TAG_MSGPACK, b"\x81" + extension + b"\xc0")

    def test_floats(self) -> None:
        """A float of 32 bits is as good as one of 64."""
        self.assertTrue(same(decode_value(TAG_MSGPACK, bytes.fromhex("ca 3f000000")), 0.5))

    def test_depth(self) -> None:
        """Nesting beyond the limit is refused, just over it and without end, and exhausts nothing."""
        self.assertEqual(decode_value(TAG_MSGPACK, b"\x91" * 63 + b"\x90"), nested(64))
        for level in (b"\x91", b"\x81\x01", b"\x81\xa1k"):
            self.assertRefused(TAG_MSGPACK, level * 65 + b"\xc0", "at most 64 deep")
            self.assertRefused(TAG_MSGPACK, level * 100_000 + b"\xc0")
            self.assertRefused(TAG_MSGPACK, level * 100_000)
        self.assertRefused(TAG_MSGPACK, b"\x81" * 100_000)

    def test_text(self) -> None:
        """Text that is no UTF-8 is refused, alone and inside."""
        for text in (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80"):
            self.assertRefused(TAG_TEXT, text, "malformed value")
            self.assertRefused(TAG_MSGPACK, bytes([0x91, 0xA0 + len(text)]) + text, "malformed value")
            self.assertRefused(TAG_MSGPACK, bytes([0x81, 0xA0 + len(text)]) + text + b"\xc0", "malformed value")

    def test_cut_off(self) -> None:
        """Every beginning of a payload is refused."""
        value = {"key": [1, 2.5, None, b"bytes", "text"], "other": {1: 2**40}}
        _, payload = encode_value(value, max_packet=MIB)
        for cut in range(len(payload)):
            self.assertRefused(TAG_MSGPACK, payload[:cut])

    def test_bytes_behind(self) -> None:
        """A payload is one value and nothing else."""
        for more in (b"\x00", b"\xc1", b"\x90"):
            self.assertRefused(TAG_MSGPACK, b"\x91\x01" + more, "trailing")

    def test_promises_of_much(self) -> None:
        """A header that announces more than has come costs nothing and is refused."""
        for header in ("dd ffffffff", "df ffffffff", "db ffffffff", "c6 ffffffff", "c9 ffffffff 05"):
            self.assertRefused(TAG_MSGPACK, bytes.fromhex(header), "truncated")

    def test_keys(self) -> None:
        """Lists, maps and maps inside lists are no keys."""
        for key in (b"\x90", b"\x91\x01", b"\x80", b"\x91\x80"):
            self.assertRefused(TAG_MSGPACK, b"\x81" + key + b"\xc0")

    def test_equal_keys(self) -> None:
        """Keys that Python takes for the same are no violation; one of their values is handed over."""
        self.assertEqual(decode_value(TAG_MSGPACK, b"\x82\x01\x05\x01\x06"), {1: 6})
        self.assertEqual(decode_value(TAG_MSGPACK, b"\x82\x01\x05\xc3\x06"), {1: 6})

    def test_wrong_tag(self) -> None:
        """Bytes and text have one form on the wire, not two."""
        for payload in (b"\xc4\x01a", b"\xa1a", b"\xd9\x01a"):
            self.assertRefused(TAG_MSGPACK, payload, "tags of their own")
        for tag in range(3, 256):
            self.assertRefused(tag, b"\xc0", f"unknown value tag {tag}")

    def test_size(self) -> None:
        """A structured payload over 1 MiB is refused before it is decoded."""
        fits = b"\xc6" + (MAX_STRUCTURED - 6).to_bytes(4, "big") + bytes(MAX_STRUCTURED - 6)
        self.assertEqual(decode_value(TAG_MSGPACK, b"\x91" + fits), [bytes(MAX_STRUCTURED - 6)])
        self.assertRefused(TAG_MSGPACK, b"\xc1" * (MAX_STRUCTURED + 1), "limit 1048576")

    def test_errors_are_short(self) -> None:
        """A long hostile path does not fill the log."""
        payload = b"\xc0"
        for _ in range(60):
            payload = b"\x81\xd9\xc8" + b"\n" * 200 + payload
        self.assertRefused(TAG_MSGPACK, payload.replace(b"\xc0", b"\xd4\x05\x00"), "a malformed value[")
