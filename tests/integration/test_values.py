"""What can be sent arrives equal, of the same type and in order; what can't is refused at the caller."""

from __future__ import annotations

import enum
import math
from collections import OrderedDict
from typing import Any

from netlayer.errors import PacketTooLarge, UnsupportedData
from netlayer.wire.frames import encode_frame
from netlayer.wire.messages import MessageType, Reject
from netlayer.wire.payload import TAG_BYTES, TAG_MSGPACK, TAG_TEXT
from tests.integration.network import NetworkTestCase, settings, until

VALUES: list[Any] = [
    b"\x00\x04\xff",
    b"",
    "",
    "42",
    42,
    None,
    True,
    False,
    1.5,
    -0.0,
    math.inf,
    -(2**63),
    2**64 - 1,
    "Grüße\x00\U0001f600",
    [],
    {},
    [1, 1.0, True, "1", b"1", None],
    {"bytes": b"\x00\xff", "deep": {"list": [{b"key": [None, {}]}, "", b""], 7: -1}, None: True, 2.5: False},
    "ü" * 512 * 1024,
    b"m" * 10 * 1024 * 1024,
]


class Kind(enum.IntEnum):
    ONE = 1


class Text(str):
    pass


def nested(depth: int) -> Any:
    """Return lists in each other."""
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


CYCLE: list[Any] = []
CYCLE.append(CYCLE)

REFUSED: list[Any] = [
    (1, 2),
    {1, 2},
    bytearray(b"x"),
    memoryview(b"x"),
    object(),
    Kind.ONE,
    Text("x"),
    OrderedDict(),
    "\ud800",
    {"key": ["\udfff"]},
    {("a", "tuple"): 1},
    2**64,
    -(2**63) - 1,
    [1, {"a": {3}}],
    1j,
    nested(65),
    CYCLE,
    len,
]


def typed(value: Any) -> Any:
    """Return a value in which no two types are equal to each other."""
    if type(value) is list:
        return [typed(item) for item in value]
    if type(value) is dict:
        return [(typed(key), typed(item)) for key, item in value.items()]
    return type(value), repr(value) if isinstance(value, float) else value


class ValuesTests(NetworkTestCase):
    async def test_unicast(self) -> None:
        """Every kind of value that the documentation lists arrives equal, of the same type, in the order sent."""
        _, a, b = await self.network(2)
        sent = [a.send_data(b.info, value) for value in VALUES]
        for deferred in sent:
            await deferred
        self.assertEqual(len(b.data), len(VALUES))
        for arrived, value in zip(b.data, VALUES, strict=True):
            self.assertTrue(typed(arrived) == typed(value), f"{str(value)[:60]!r} became {str(arrived)[:60]!r}")
        self.assertEqual({packet.sender_id for packet in b.packets}, {a.node_id})
        self.assertEqual({packet.broadcast or packet.redelivered for packet in b.packets}, {False})

    async def test_broadcast(self) -> None:
        """A broadcast carries the same values to everybody but bootstrap nodes, and says so."""
        bootstrap, a, b, c = await self.network(3)
        for value in VALUES:
            report = await a.broadcast_data(value)
            self.assertEqual((report.delivered, dict(report.failed)), ({b.node_id, c.node_id}, {}))
        for node in (b, c):
            self.assertTrue(typed(node.data) == typed(VALUES))
            self.assertEqual({packet.broadcast for packet in node.packets}, {True})
        self.assertEqual((bootstrap.data, a.data), ([], []))

    async def test_nesting(self) -> None:
        """Lists and dicts may be nested 64 deep."""
        _, a, b = await self.network(2)
        await a.send_data(b.info, nested(64))
        self.assertEqual(b.data, [nested(64)])

    async def test_bootstrap_handles_data(self) -> None:
        """A bootstrap node is a node: packets can be sent to it and it can send."""
        bootstrap, a, _ = await self.network(2)
        await a.send_data(1, "to the bootstrap")
        await bootstrap.send_data(a.info, "from the bootstrap")
        self.assertEqual((bootstrap.data, a.data), (["to the bootstrap"], ["from the bootstrap"]))

    async def test_unsupported(self) -> None:
        """A value that could not arrive unchanged raises UnsupportedData at the caller, and nothing is sent."""
        _, a, b = await self.network(2)
        for value in REFUSED:
            error = await self.expect(UnsupportedData, a.send_data(b.info, value))
            self.assertTrue(str(error).startswith("data"), str(error))
            await self.expect(UnsupportedData, a.broadcast_data(value))
            self.assertRaises(UnsupportedData, a.link(b.node_id).send_packet, value)
        error = await self.expect(UnsupportedData, a.send_data(b.info, {"a": [0, {"b": (1,)}]}))
        self.assertEqual(error.where, "data['a'][1]['b']")
        await a.send_data(b.info, "the only packet")
        self.assertEqual(b.data, ["the only packet"])
        self.assertEqual(b.driver(a.node_id).connection.packets_received, 1)

    async def test_structured_limit(self) -> None:
        """Lists and dicts may take 1 MiB when encoded; the error says how much they took."""
        _, a, b = await self.network(2)
        error = await self.expect(PacketTooLarge, a.send_data(b.info, [b"x" * 1024 * 1024]))
        self.assertEqual(error.limit, 1024 * 1024)
        await a.send_data(b.info, [b"x" * 1024 * 1000])

    async def test_many_in_order(self) -> None:
        """Packets of all sizes to one peer arrive in the order they were sent in, whichever verb sent them."""
        _, a, b = await self.network(2)
        link = a.link(b.node_id)
        numbers = range(600)
        for number in numbers:
            value = [number, b"x" * (number * 137 % 5000)]
            if number % 3:
                link.send_packet(value)
            else:
                _ = a.send_data(b.info, value)
        await link.when_drained()
        self.assertEqual([value[0] for value in b.data], list(numbers))


class HostileValuesTests(NetworkTestCase):
    """What no caller could have sent is a protocol error: the link is closed and the peer told why."""

    async def check(self, body: bytes, *, kind: int = MessageType.DATA) -> Reject:
        node = await self.start(2, settings=settings(max_packet=1024 * 1024))
        stranger = await self.stranger(node)
        await stranger.link()
        await until(lambda: node.peer_ids == {99})
        stranger.say(encode_frame(kind, body))
        reject = await stranger.refused()
        self.assertEqual(reject.code, "protocol-violation")
        await until(lambda: not node.get_peers())
        self.assertEqual(node.data, [])
        self.assertTrue(node.lost[0].reason.startswith(reject.text))
        self.assertEqual(self.flushLoggedErrors(), [])
        return reject

    async def test_not_utf8(self) -> None:
        """Text that is no UTF-8."""
        await self.check(bytes([0, TAG_TEXT]) + b"\xff\xfe")

    async def test_surrogate(self) -> None:
        """Text with an encoded surrogate."""
        await self.check(bytes([0, TAG_MSGPACK]) + b"\x91\xa3\xed\xa0\x80")

    async def test_not_msgpack(self) -> None:
        """A structured value that ends in its middle."""
        await self.check(bytes([0, TAG_MSGPACK]) + b"\x93\x01")

    async def test_extension(self) -> None:
        """A MessagePack extension type, which some decoders turn into objects."""
        await self.check(bytes([0, TAG_MSGPACK]) + b"\xc7\x04\x05abcd")

    async def test_too_deep(self) -> None:
        """5,000 lists in each other, which exhaust a careless decoder's stack."""
        await self.check(bytes([0, TAG_MSGPACK]) + b"\x91" * 5000 + b"\xc0")

    async def test_just_too_deep(self) -> None:
        """65 lists in each other."""
        await self.check(bytes([0, TAG_MSGPACK]) + b"\x91" * 64 + b"\x90")

    async def test_unhashable_key(self) -> None:
        """A dict whose key is a list."""
        await self.check(bytes([0, TAG_MSGPACK]) + b"\x81\x90\x01")

    async def test_wrong_tag(self) -> None:
        """Bytes disguised as a structured value."""
        await self.check(bytes([0, TAG_MSGPACK]) + b"\xc4\x01x")

    async def test_unknown_tag(self) -> None:
        """A tag that this version does not know, such as one for pickles."""
        await self.check(bytes([0, 77]) + b"cos\nsystem\n(S'true'\ntR.")

    async def test_unknown_flags(self) -> None:
        """A flag that this version does not know."""
        await self.check(bytes([128, TAG_BYTES]) + b"x")

    async def test_no_header(self) -> None:
        """A packet that ends before its value begins."""
        await self.check(b"\x00")

    async def test_huge_length(self) -> None:
        """A list that claims four thousand million items."""
        await self.check(bytes([0, TAG_MSGPACK]) + b"\xdd\xff\xff\xff\xff")

    async def test_tiny_parts(self) -> None:
        """Parts that cost their receiver more than they carry."""
        await self.check(bytes([0, TAG_BYTES]) + b"x", kind=MessageType.DATA_PART)

    async def test_unknown_type(self) -> None:
        """A message type that must not be skipped."""
        await self.check(b"", kind=63)

    async def test_endless_parts(self) -> None:
        """A packet that never ends is cut off at the limit of this node."""
        node = await self.start(2, settings=settings(max_packet=1024 * 1024))
        stranger = await self.stranger(node)
        await stranger.link()
        part = encode_frame(MessageType.DATA_PART, bytes([0, TAG_BYTES]) + b"x" * 65000)
        for _ in range(40):
            stranger.say(part)
        reject = await stranger.refused()
        self.assertEqual(reject.code, "protocol-violation")
        self.assertEqual(node.factory.load.reassembling, 0)
