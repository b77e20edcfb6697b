"""netlayer speaks what tests/vectors says, byte for byte, in both directions."""

from __future__ import annotations

import ast
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from netlayer.config import Settings
from netlayer.errors import RemoteProtocolError
from netlayer.sansio.delivery.delivery import Delivery
from netlayer.sansio.delivery.load import NodeLoad
from netlayer.wire.frames import MAX_HANDSHAKE_FRAME, FrameDecoder
from netlayer.wire.messages import (
    MIN_MAX_FRAME,
    MIN_MAX_PACKET,
    MIN_WINDOW,
    Ack,
    Announce,
    Arriving,
    Done,
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
    Select,
    Selected,
    Ticket,
    Welcome,
    decode_message,
    encode_data,
    encode_message,
)
from netlayer.wire.payload import decode_value, encode_value

VECTORS = Path(__file__).parents[1] / "vectors"
PACKETS = (MessageType.DATA, MessageType.DATA_PART)
BEFORE_WELCOME = ("hello", "welcome", "frames")
MESSAGES: dict[MessageType, type[Message]] = {
    MessageType.HELLO: Hello,
    MessageType.WELCOME: Welcome,
    MessageType.REJECT: Reject,
    MessageType.SELECT: Select,
    MessageType.SELECTED: Selected,
    MessageType.PING: Ping,
    MessageType.PONG: Pong,
    MessageType.GOODBYE: Goodbye,
    MessageType.ACK: Ack,
    MessageType.DONE: Done,
    MessageType.NACK: Nack,
    MessageType.REGISTER: Register,
    MessageType.REGISTERED: Registered,
    MessageType.PEERS: Peers,
    MessageType.ARRIVING: Arriving,
    MessageType.ANNOUNCE: Announce,
    MessageType.GO: Go,
    MessageType.LINKS: Links,
}
NESTED: dict[str, type[msgspec.Struct]] = {
    "addresses": NetAddress,
    "observed": NetAddress,
    "ticket": Ticket,
    "records": Record,
    "referrals": Referral,
}


def load(name: str) -> dict[str, Any]:
    """Return what the file of this name says."""
    said: dict[str, Any] = json.loads((VECTORS / f"{name}.json").read_text("utf-8"))
    return said


def joined(pieces: list[list[Any]]) -> bytes:
    """Return the bytes that the pieces of a vector are."""
    return b"".join(bytes.fromhex(piece[0]) * (piece[2] if len(piece) > 2 else 1) for piece in pieces)


def built(said: Any, name: str = "") -> Any:
    """Return what the JSON form of a field stands for."""
    if isinstance(said, list):
        return tuple(built(item, name) for item in said)
    if not isinstance(said, dict):
        return said
    if "hex" in said:
        return bytes.fromhex(said["hex"]) * said.get("times", 1)
    return NESTED[name](**{field: built(value, field) for field, value in said.items()})


def message(kind: MessageType, said: dict[str, Any]) -> Message:
    """Return the message with the fields that a vector names; it has to name all of them."""
    assert list(said) == list(MESSAGES[kind].__struct_fields__), f"a vector of {kind.name} leaves fields out"
    return MESSAGES[kind](**{field: built(value, field) for field, value in said.items()})


def receiver() -> Delivery:
    """Return what takes the packets of a link on which nothing has come yet."""
    delivery = Delivery(peer_id=2, settings=Settings(), load=NodeLoad(), rng=random.Random(1), now=0.0)
    delivery.attach(boot=1, window=MIN_WINDOW, max_frame=MIN_MAX_FRAME, max_packet=MIN_MAX_PACKET)
    delivery.resume(Select(stream=1, first=1, peer_stream=0, received=0, receipted=0))
    return delivery


def decoded(frame: bytes, limit: int) -> Any:
    """Return what a node makes of a frame: a message, a packet, None if it is skipped."""
    frames = FrameDecoder(limit)
    frames.feed(frame)
    found = frames.next_frame()
    assert found is not None, "the frame is not whole"
    assert frames.waiting == 0, "there are bytes behind the frame"
    kind, body = found
    if kind in PACKETS:
        return receiver().data_received(body, last=kind == MessageType.DATA, sender_id=2, now=0.0)
    return decode_message(kind, body)


class VectorTests(SynchronousTestCase):
    """Each test names all vectors that fail it."""

    def setUp(self) -> None:
        self.problems: list[str] = []

    def assertNoProblems(self) -> None:
        """Assert that nothing was noted."""
        self.assertEqual(self.problems, [])

    def vectors(self, kind: MessageType) -> Iterator[tuple[str, dict[str, Any], bytes]]:
        """Give each vector of a message type with its full name and its frame."""
        for vector in load(kind.name.lower())["vectors"]:
            yield f"{kind.name}: {vector['name']}", vector, joined(vector["bytes"])

    def expect_error(self, name: str, vector: dict[str, Any], refuse: Any, *arguments: Any) -> None:
        """Note a problem unless calling `refuse` raises the error of the vector."""
        try:
            accepted = refuse(*arguments)
        except RemoteProtocolError as error:
            if vector["error"] not in error.reason:
                self.problems.append(f"{name}: the error is {error.reason!r}, not {vector['error']!r}")
        else:
            self.problems.append(f"{name}: accepted as {accepted!r}")

    def test_every_type_has_vectors(self) -> None:
        """No message type is without a minimal one, a full one and, as every body can be malformed, a malformed one."""
        for kind in MessageType:
            said = load(kind.name.lower())
            self.assertEqual((said["message"], said["type"]), (kind.name, kind))
            vectors = said["vectors"]
            self.assertGreaterEqual(sum("value" in v and not v.get("decode_only") for v in vectors), 2, kind)
            self.assertGreaterEqual(sum("error" in v for v in vectors), 2, kind)
            names = [vector["name"] for vector in vectors]
            self.assertEqual(len(names), len(set(names)), kind)

    def test_no_other_files(self) -> None:
        """No file is forgotten by these tests, or by those of what is proven and signed."""
        names = {path.stem for path in VECTORS.glob("*.json")}
        self.assertEqual(
            names, {kind.name.lower() for kind in MessageType} | {"frames", "values", "proof", "succession", "ticket"}
        )

    def test_lengths(self) -> None:
        """The vectors themselves are sound: each frame has the length and the type that it says."""
        for kind in MessageType:
            for name, _, frame in self.vectors(kind):
                self.assertEqual(int.from_bytes(frame[:4], "big"), len(frame) - 4, name)
                self.assertEqual(frame[4], kind, name)

    def test_messages_are_encoded(self) -> None:
        """What netlayer sends is what the vectors say."""
        for kind in MESSAGES:
            for name, vector, frame in self.vectors(kind):
                if "value" not in vector or vector.get("decode_only"):
                    continue
                sent = encode_message(message(kind, vector["value"]))
                if sent != frame:
                    self.problems.append(f"{name}: {sent.hex()} instead of {frame.hex()}")
        self.assertNoProblems()

    def test_messages_are_decoded(self) -> None:
        """What the vectors say is understood, whether an older, a newer or our own version would send it."""
        for kind in MESSAGES:
            limit = MAX_HANDSHAKE_FRAME if kind.name.lower() in BEFORE_WELCOME else MIN_MAX_FRAME
            for name, vector, frame in self.vectors(kind):
                if "error" in vector:
                    self.expect_error(name, vector, decoded, frame, limit)
                    continue
                expected, found = message(kind, vector["value"]), decoded(frame, limit)
                if found != expected or repr(found) != repr(expected):  # 1 equals 1.0, but looks different
                    self.problems.append(f"{name}: {found!r} instead of {expected!r}")
        self.assertNoProblems()

    def test_packets_are_encoded(self) -> None:
        """Packets and parts of packets are framed as the vectors say."""
        for kind in PACKETS:
            for name, vector, frame in self.vectors(kind):
                if "value" in vector:
                    said = vector["value"]
                    sent = encode_data(kind, said["flags"], said["tag"], built(said["payload"]))
                    self.assertEqual(sent, frame, name)
                if "packet" in vector:
                    tag, payload = encode_value(ast.literal_eval(vector["packet"]), max_packet=1024)
                    self.assertEqual((tag, payload), (said["tag"], built(said["payload"])), name)

    def test_packets_are_decoded(self) -> None:
        """A packet is handed over as the vectors say; a part of one is not, before the rest has come."""
        for kind in PACKETS:
            for name, vector, frame in self.vectors(kind):
                if "error" in vector:
                    self.expect_error(name, vector, decoded, frame, MIN_MAX_FRAME)
                    continue
                packet = decoded(frame, MIN_MAX_FRAME)
                if "packet" not in vector:
                    self.assertIsNone(packet, name)
                    continue
                flags = vector["value"]["flags"]
                self.assertEqual(repr(packet.data), vector["packet"], name)
                self.assertEqual((packet.broadcast, packet.redelivered), (flags & 1 != 0, flags & 2 != 0), name)
        self.assertNoProblems()

    def test_frames(self) -> None:
        """Types from 128 on are skipped; other unknown types and wrong lengths are refused."""
        for vector in load("frames")["vectors"]:
            name, frame = f"frames: {vector['name']}", joined(vector["bytes"])
            if "error" in vector:
                self.expect_error(name, vector, decoded, frame, MAX_HANDSHAKE_FRAME)
            else:
                self.assertTrue(vector["skipped"])
                self.assertIsNone(decoded(frame, MAX_HANDSHAKE_FRAME), name)
        self.assertNoProblems()

    def test_values(self) -> None:
        """Application values travel as the vectors say and arrive equal and of the same type."""
        for vector in load("values")["vectors"]:
            name, tag, payload = f"values: {vector['name']}", vector["tag"], joined(vector["payload"])
            if "error" in vector:
                self.expect_error(name, vector, decode_value, tag, payload)
                continue
            value = ast.literal_eval(vector["value"])
            self.assertEqual(repr(decode_value(tag, payload)), repr(value), name)
            if not vector.get("decode_only"):
                self.assertEqual(encode_value(value, max_packet=1024), (tag, payload), name)
        self.assertNoProblems()
