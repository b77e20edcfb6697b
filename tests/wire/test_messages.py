"""Messages survive the wire, older and newer versions understand each other, and hostile bytes do no harm."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netlayer.errors import RemoteProtocolError
from netlayer.sansio.link.states import LEGAL, TAKES_DATA, State
from netlayer.wire.frames import HEADER_SIZE, MAX_HANDSHAKE_FRAME
from netlayer.wire.messages import (
    DATA_HEADER_SIZE,
    FIRST_OPTIONAL_TYPE,
    MAX_FEATURES,
    MAX_RECORDS,
    MIN_MAX_FRAME,
    MIN_MAX_PACKET,
    MIN_WINDOW,
    Ack,
    Announce,
    Arriving,
    Done,
    Flag,
    Go,
    Goodbye,
    Hello,
    Links,
    Message,
    MessageType,
    Nack,
    NetAddress,
    Peers,
    Ping,
    Pong,
    Record,
    Referral,
    Register,
    Registered,
    Reject,
    RejectCode,
    Select,
    Selected,
    Ticket,
    Welcome,
    decode_message,
    encode_data,
    encode_message,
)

SPECIFICATION = Path(__file__).parents[2] / "docs" / "reference" / "wire-protocol.rst"

#: Numbers on the wire are given once, for ever.
NUMBERS = {
    "HELLO": 1,
    "WELCOME": 2,
    "REJECT": 3,
    "SELECT": 4,
    "SELECTED": 5,
    "PING": 6,
    "PONG": 7,
    "GOODBYE": 8,
    "DATA": 16,
    "DATA_PART": 17,
    "ACK": 18,
    "DONE": 19,
    "NACK": 20,
    "REGISTER": 32,
    "REGISTERED": 33,
    "PEERS": 34,
    "ARRIVING": 128,
    "ANNOUNCE": 129,
    "GO": 130,
    "LINKS": 131,
}

# ---- any message that may be sent

u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
numbers = st.integers(0, 2**63 - 1)
booleans = st.booleans()
texts = st.text(max_size=200)
codes = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=32)
networks = st.text(min_size=1, max_size=64)
seconds = st.floats(0, 1e9)
fingerprints = st.binary(min_size=32, max_size=32)
keys = st.binary(max_size=256)
hosts = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=253)
addresses = st.builds(NetAddress, hosts, st.integers(1, 65535))
address_lists = st.lists(addresses, max_size=8).map(tuple)
tickets = st.builds(Ticket, networks, numbers, fingerprints, booleans, u64, u64, keys, st.binary(max_size=80))
records = st.builds(Record, numbers, fingerprints, address_lists, u64, booleans, st.none() | tickets)
record_lists = st.lists(records, max_size=3).map(tuple)
features = st.lists(st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=16), max_size=32).map(tuple)
referrals = st.lists(
    st.builds(Referral, numbers, fingerprints, st.lists(addresses, max_size=3).map(tuple)), max_size=3
).map(tuple)
introduction = {
    "network": networks,
    "node_id": numbers,
    "role": st.sampled_from(["peer", "bootstrap"]),
    "boot": u64,
    "ephemeral": booleans,
    "window": st.integers(MIN_WINDOW, 2**31),
    "max_frame": st.integers(MIN_MAX_FRAME, 2**31),
    "max_packet": st.integers(MIN_MAX_PACKET, 2**31),
    "addresses": address_lists,
    "ticket": st.none() | tickets,
    "proof": st.binary(max_size=64),
    "agent": texts,
    "features": features,
    "links": st.none() | u32,
}
opaques = st.binary(min_size=8, max_size=8)
arrays: st.SearchStrategy[Message] = st.one_of(
    st.builds(Hello, version_min=u32, version_max=u32, **introduction),
    st.builds(Welcome, version=u32, observed=st.none() | addresses, **introduction),
    st.builds(Reject, codes, texts, st.none() | seconds, referrals),
    st.builds(Select, u64, numbers, u64, numbers, numbers),
    st.builds(Selected, u64, numbers, u64, numbers, numbers),
    st.builds(Goodbye, codes, texts, st.none() | seconds),
    st.builds(Ack, numbers),
    st.builds(Done, numbers),
    st.builds(Nack, numbers, texts),
    st.builds(Register, address_lists, booleans, u32),
    st.builds(
        Registered, seconds, st.none() | addresses, st.none() | tickets, st.lists(keys, max_size=3).map(tuple),
        record_lists,
    ),
    st.builds(Peers, record_lists),
    st.builds(Arriving, numbers, u64),
    st.builds(Announce, numbers, u64),
    st.builds(Go, numbers),
    st.builds(Links, u32),
)  # fmt: skip

messages = arrays | st.builds(Ping, opaques) | st.builds(Pong, opaques)

#: Anything that MessagePack can say, nested in any way.
anything = st.recursive(
    st.none() | booleans | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
kinds = st.sampled_from(list(MessageType)) | st.integers(0, 255)


def split(message: Message) -> tuple[int, bytes]:
    """Return the type and the body in which a message travels."""
    frame = encode_message(message)
    return frame[4], frame[HEADER_SIZE:]


def outcome(kind: int, body: bytes) -> Message | RemoteProtocolError | None:
    """Return what a node makes of a body; anything but a message, None or a RemoteProtocolError is raised."""
    try:
        return decode_message(kind, body)
    except RemoteProtocolError as error:
        return error


class NumbersTests(SynchronousTestCase):
    def test_never_change(self) -> None:
        """A type keeps its number; a new one is added here with a number that was never used."""
        self.assertEqual({kind.name: kind.value for kind in MessageType}, NUMBERS)

    def test_flags_never_change(self) -> None:
        """A flag keeps its bit."""
        self.assertEqual({flag.name: flag.value for flag in Flag}, {"BROADCAST": 1, "REDELIVERED": 2, "RECEIPT_NOW": 4})


class RoundTripTests(SynchronousTestCase):
    @settings(deadline=None)
    @given(messages)
    def test_any_message(self, message: Message) -> None:
        """Every message arrives as it was sent."""
        found = decode_message(*split(message))
        self.assertEqual(found, message)
        self.assertIs(type(found), type(message))  # SELECT and SELECTED have the same fields

    @settings(deadline=None)
    @given(arrays, st.lists(anything, min_size=1, max_size=3))
    def test_newer_sender(self, message: Message, later: list[Any]) -> None:
        """Fields that a later version has appended are not looked at."""
        kind, body = split(message)
        appended = msgspec.msgpack.encode([*msgspec.msgpack.decode(body), *later])
        self.assertEqual(decode_message(kind, appended), message)

    @settings(deadline=None)
    @given(arrays, st.integers(0, 14))
    def test_older_sender(self, message: Message, known: int) -> None:
        """Fields that an older version does not have get their defaults, if they have one."""
        kind, body = split(message)
        fields = msgspec.structs.fields(message)
        required = sum(field.required for field in fields)
        found = outcome(kind, msgspec.msgpack.encode(msgspec.msgpack.decode(body)[:known]))
        if known < required:
            self.assertIsInstance(found, RemoteProtocolError)
            return
        self.assertIsInstance(found, type(message))
        for position, field in enumerate(fields):
            expected = getattr(message, field.name) if position < known else field.default
            self.assertEqual(getattr(found, field.name), expected, field.name)

    def test_later_array_elements(self) -> None:
        """What stands inside an appended field may be of kinds that have no meaning today."""
        body = bytes.fromhex("93 01 a0 d40102")  # number, text, an extension
        self.assertEqual(decode_message(MessageType.NACK, body), Nack(1))


class AnyBytesTests(SynchronousTestCase):
    @settings(deadline=None, max_examples=200)
    @given(kinds, st.binary())
    def test_any_bytes(self, kind: int, body: bytes) -> None:
        """Any bytes are a message, a frame to skip, or a RemoteProtocolError."""
        found = outcome(kind, body)
        self.assertEqual(found is None, kind >= FIRST_OPTIONAL_TYPE and kind not in NUMBERS.values())

    @settings(deadline=None)
    @given(kinds, st.lists(anything, max_size=15))
    def test_any_fields(self, kind: int, fields: list[Any]) -> None:
        """Any fields of any types are a message, a frame to skip, or a RemoteProtocolError."""
        outcome(kind, msgspec.msgpack.encode(fields))

    @settings(deadline=None)
    @given(messages, st.data())
    def test_damaged(self, message: Message, data: st.DataObject) -> None:
        """A message with one wrong byte is another message, or a RemoteProtocolError."""
        kind, body = split(message)
        damaged = bytearray(body)
        damaged[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
        outcome(kind, bytes(damaged))

    @settings(deadline=None)
    @given(messages, st.data())
    def test_cut_off(self, message: Message, data: st.DataObject) -> None:
        """A message of which the end is missing is a RemoteProtocolError."""
        kind, body = split(message)
        cut = data.draw(st.integers(0, len(body) - 1))
        self.assertIsInstance(outcome(kind, body[:cut]), RemoteProtocolError)

    def test_deep_nesting(self) -> None:
        """Nesting without end can't exhaust the stack, in a field that is known or in one that is not."""
        for start in (b"", b"\x91", b"\x93\x01\xa0"):
            found = outcome(MessageType.NACK, start + b"\x91" * 100_000 + b"\xc0")
            self.assertIsInstance(found, RemoteProtocolError, start)

    def test_unknown_types(self) -> None:
        """Below 128 an unknown type ends the connection, from there on it is skipped."""
        for kind in set(range(256)) - set(MessageType):
            found = outcome(kind, b"\xc1")
            if kind < 128:
                self.assertIsInstance(found, RemoteProtocolError, str(kind))
            else:
                self.assertIsNone(found, str(kind))

    def test_packets_are_no_control_messages(self) -> None:
        """DATA and DATA_PART are decoded by who knows the stream that they belong to."""
        for kind in (MessageType.DATA, MessageType.DATA_PART):
            self.assertRaises(RemoteProtocolError, decode_message, kind, b"\x00\x00")

    def test_errors_are_safe_to_log(self) -> None:
        """What a peer has written can't put line breaks or much text into the log."""
        hostile = "peer\n2026-01-01 - ERROR - \x1b[31mforged" + "x" * 100_000
        fields = [1, 1, "default", 2, hostile, 1, True, MIN_WINDOW, MIN_MAX_FRAME, MIN_MAX_PACKET]
        error = self.assertRaises(RemoteProtocolError, decode_message, 1, msgspec.msgpack.encode(fields))
        self.assertIn("forged", error.reason)
        self.assertTrue(error.reason.isprintable())
        self.assertLess(len(error.reason), 300)

    def test_codes_are_safe_to_log(self) -> None:
        """A code is a word of small letters, digits and hyphens, whatever the peer would like it to be."""
        for code in ("full\n", "a b", "é", "\x1b[31m", "FULL", ""):
            for kind in (MessageType.REJECT, MessageType.GOODBYE):
                self.assertIsInstance(outcome(kind, msgspec.msgpack.encode([code])), RemoteProtocolError, code)
        known = [value for name, value in vars(RejectCode).items() if name.isupper()]
        self.assertEqual(len(known), 12)
        for code in known:
            self.assertEqual(decode_message(*split(Reject(code))), Reject(code))

    def test_counting_has_room(self) -> None:
        """No peer can make us count past what a receipt can say: its numbers stay 2^63 below the end."""
        for fields in ([1, 2**63, 0, 0, 0], [1, 1, 0, 2**63, 0], [1, 1, 0, 0, 2**64 - 1]):
            body = msgspec.msgpack.encode(fields)
            self.assertIsInstance(outcome(MessageType.SELECT, body), RemoteProtocolError, str(fields))
        encode_message(Ack(2**63 - 1 + 2**32))


class SizesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.longest = NetAddress("h" * 253, 65535)
        self.ticket = Ticket(
            "n" * 64, 2**63 - 1, b"f" * 32, True, 2**64 - 1, 2**64 - 1, signer=b"k" * 91, signature=b"s" * 72
        )

    def test_introductions_fit(self) -> None:
        """An introduction in which every field is as long as it may be, in ASCII, is below the limit for strangers."""
        full: dict[str, Any] = {
            "network": "n" * 64,
            "node_id": 2**63 - 1,
            "role": "bootstrap",
            "boot": 2**64 - 1,
            "ephemeral": True,
            "window": 2**31,
            "max_frame": 2**31,
            "max_packet": 2**31,
            "addresses": (self.longest,) * 8,
            "ticket": msgspec.structs.replace(self.ticket, signer=b"k" * 256, signature=b"s" * 80),
            "proof": b"p" * 64,
            "agent": "a" * 200,
            "features": ("f" * 16,) * MAX_FEATURES,
            "links": 2**32 - 1,
        }
        hello = Hello(version_min=2**32 - 1, version_max=2**32 - 1, **full)
        welcome = Welcome(version=2**32 - 1, observed=self.longest, **full)
        for message in (hello, welcome):
            self.assertEqual(decode_message(*split(message)), message)
            self.assertLess(len(encode_message(message)), MAX_HANDSHAKE_FRAME)

    def test_records_fit(self) -> None:
        """As many records as are allowed fit the smallest frame, with literal addresses and our own kind of keys."""
        address = NetAddress("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535)
        record = Record(2**63 - 1, b"f" * 32, (address,) * 8, 2**64 - 1, True, self.ticket)
        every = (record,) * MAX_RECORDS
        for message in (Peers(every), Registered(1e9, self.longest, self.ticket, (b"k" * 91,) * 64, every)):
            self.assertEqual(decode_message(*split(message)), message)
            self.assertLess(len(encode_message(message)), MIN_MAX_FRAME)


class PacketTests(SynchronousTestCase):
    def test_layout(self) -> None:
        """A packet is flags, a tag and the payload as it is."""
        frame = encode_data(MessageType.DATA, Flag.REDELIVERED | Flag.RECEIPT_NOW, 1, b"abc")
        self.assertEqual(frame, bytes.fromhex("00000006 10 06 01") + b"abc")
        self.assertEqual(encode_data(MessageType.DATA_PART, 0, 0, b""), bytes.fromhex("00000003 11 00 00"))

    def test_smallest_frame_limit(self) -> None:
        """Every peer takes 64 KiB of payload in one frame."""
        frame = encode_data(MessageType.DATA, 0, 0, bytes(65536))
        self.assertEqual(len(frame) - 4, MIN_MAX_FRAME)
        self.assertEqual(DATA_HEADER_SIZE, 2)


def table(title: str) -> list[list[str]]:
    """Return the rows of the ``csv-table`` of this title in the specification, without the header."""
    lines = iter(SPECIFICATION.read_text("utf-8").splitlines())
    for line in lines:
        if line.strip() == f".. csv-table:: {title}":
            break
    else:
        raise AssertionError(f"the specification has no table {title!r}")

    def rows() -> Iterator[str]:
        begun = False
        for line in lines:
            if line and not line.startswith(" "):
                return
            if not line.strip():
                begun = True
            elif begun:
                yield line.strip().replace("``", "")

    return list(csv.reader(rows(), skipinitialspace=True))


class SpecificationTests(SynchronousTestCase):
    """The tables of docs/reference/wire-protocol.rst say what the code does."""

    def test_types(self) -> None:
        """Every type is specified with its number."""
        self.assertEqual({row[1]: int(row[0]) for row in table("Message types")}, NUMBERS)

    def test_fields(self) -> None:
        """Every field of every message is specified, in its place, with its default."""
        bodies: dict[str, type[msgspec.Struct]] = {
            "Address": NetAddress,
            "Ticket": Ticket,
            "Record": Record,
            "Referral": Referral,
            "HELLO": Hello,
            "WELCOME": Welcome,
            "REJECT": Reject,
            "SELECT and SELECTED": Select,
            "GOODBYE": Goodbye,
            "ACK": Ack,
            "DONE": Done,
            "NACK": Nack,
            "REGISTER": Register,
            "REGISTERED": Registered,
            "PEERS": Peers,
            "ARRIVING": Arriving,
            "ANNOUNCE": Announce,
            "GO": Go,
            "LINKS": Links,
        }
        self.assertEqual(Selected.__struct_fields__, Select.__struct_fields__)
        defaults = {None: "nil", (): "empty", "": "empty", b"": "empty"}
        for title, body in bodies.items():
            actual = [
                (field.name, "—" if field.required else defaults.get(field.default, str(field.default)))
                for field in msgspec.structs.fields(body)
            ]
            self.assertEqual([(row[0], row[2]) for row in table(title)], actual, title)

    def test_states(self) -> None:
        """What is legal in which state is specified as it is enforced."""
        specified = {row[0]: set(row[2].split()) for row in table("Legal messages")}
        actual = {
            state.name: {message.__name__.upper() for message in legal}
            | ({"DATA", "DATA_PART"} if state in TAKES_DATA else set())
            for state, legal in LEGAL.items()
        }
        self.assertEqual(specified, {state: legal or {"none"} for state, legal in actual.items()})
        self.assertEqual(set(actual), {state.name for state in State})

    def test_refusals(self) -> None:
        """Every code of REJECT is specified."""
        known = {value for name, value in vars(RejectCode).items() if name.isupper()}
        self.assertEqual({row[0] for row in table("REJECT codes")}, known)
