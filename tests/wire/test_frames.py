"""Frames come out as they went in, however the stream was cut; what is too long is refused before it costs anything."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netlayer.errors import RemoteProtocolError
from netlayer.wire.frames import HEADER_SIZE, MAX_HANDSHAKE_FRAME, FrameDecoder, encode_frame

Frame = tuple[int, bytes]

#: Bodies around the sizes at which something changes: nothing, less than a header, a chunk, several chunks.
frames = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=200) | st.binary(min_size=900, max_size=1000)))
chunk_sizes = st.lists(st.integers(1, 300), min_size=1)


def encoded(sent: Iterable[Frame]) -> bytes:
    """Return the stream that carries these frames."""
    return b"".join(encode_frame(kind, body) for kind, body in sent)


def taken(decoder: FrameDecoder) -> list[Frame]:
    """Take out all frames that are whole."""
    found = []
    while (frame := decoder.next_frame()) is not None:
        found.append(frame)
    return found


def chunks(stream: bytes, sizes: list[int]) -> list[bytes]:
    """Cut a stream into chunks of these sizes, again and again from the first."""
    cut, position, turn = [], 0, 0
    while position < len(stream):
        size = sizes[turn % len(sizes)]
        cut.append(stream[position : position + size])
        position += size
        turn += 1
    return cut


class EncodingTests(SynchronousTestCase):
    def test_layout(self) -> None:
        """A frame is a length of four bytes, which counts the rest, a type and a body."""
        self.assertEqual(encode_frame(18, b"\x91\x05"), bytes.fromhex("00000003 12 9105"))
        self.assertEqual(encode_frame(255, b""), bytes.fromhex("00000001 ff"))
        self.assertEqual(encode_frame(1, bytes(0x010203 - 1))[:HEADER_SIZE], bytes.fromhex("00010203 01"))


class ChunkingTests(SynchronousTestCase):
    @settings(deadline=None)
    @given(frames, chunk_sizes)
    def test_any_chunking(self, sent: list[Frame], sizes: list[int]) -> None:
        """The network may cut the stream anywhere."""
        decoder = FrameDecoder()
        received = []
        for chunk in chunks(encoded(sent), sizes):
            decoder.feed(chunk)
            received += taken(decoder)
        self.assertEqual(received, sent)
        self.assertEqual(decoder.waiting, 0)

    @settings(deadline=None)
    @given(frames, chunk_sizes, st.lists(st.integers(0, 3), min_size=1))
    def test_taken_late(self, sent: list[Frame], sizes: list[int], takes: list[int]) -> None:
        """Frames that are not taken out at once are neither lost nor mixed up."""
        decoder = FrameDecoder()
        received = []
        for turn, chunk in enumerate(chunks(encoded(sent), sizes)):
            decoder.feed(chunk)
            for _ in range(takes[turn % len(takes)]):
                frame = decoder.next_frame()
                if frame is not None:
                    received.append(frame)
        self.assertEqual(received + taken(decoder), sent)

    def test_single_bytes(self) -> None:
        """A frame comes out with its last byte and not before, even if each byte comes alone."""
        decoder = FrameDecoder()
        frame = encode_frame(7, b"12345678")
        for count, byte in enumerate(frame, 1):
            self.assertIsNone(decoder.next_frame(), f"after {count - 1} bytes")
            decoder.feed(bytes([byte]))
        self.assertEqual(decoder.next_frame(), (7, b"12345678"))
        self.assertIsNone(decoder.next_frame())

    def test_empty_chunk(self) -> None:
        """A chunk of nothing changes nothing, in mid-frame either."""
        decoder = FrameDecoder()
        for chunk in (b"", encode_frame(6, b"12345678")[:7], b"", encode_frame(6, b"12345678")[7:], b""):
            decoder.feed(chunk)
        self.assertEqual(taken(decoder), [(6, b"12345678")])

    def test_bodies_are_bytes(self) -> None:
        """A body can be kept: it is no view of a buffer, whether its frame came whole or in pieces."""
        decoder = FrameDecoder()
        stream = encode_frame(16, b"whole") + encode_frame(16, b"in pieces")
        decoder.feed(stream[:-3])
        received = taken(decoder)
        decoder.feed(stream[-3:])
        received += taken(decoder)
        self.assertEqual(received, [(16, b"whole"), (16, b"in pieces")])
        self.assertEqual([type(body) for _, body in received], [bytes, bytes])

    def test_waiting(self) -> None:
        """Whoever lets frames wait can tell how many bytes do."""
        decoder = FrameDecoder()
        frame = encode_frame(6, b"12345678")
        decoder.feed(frame)
        decoder.feed(frame[:3])
        self.assertEqual(decoder.waiting, len(frame) + 3)
        decoder.next_frame()
        self.assertEqual(decoder.waiting, 3)
        decoder.feed(frame[3:] + b"\0")
        self.assertEqual(decoder.waiting, len(frame) + 1)


class LimitTests(SynchronousTestCase):
    def test_at_the_limit(self) -> None:
        """The limit itself is allowed, type included; one byte more is not."""
        for limit in (1, 2, MAX_HANDSHAKE_FRAME, 65539):
            decoder = FrameDecoder(limit)
            decoder.feed(encode_frame(1, bytes(limit - 1)))
            self.assertEqual(decoder.next_frame(), (1, bytes(limit - 1)))
            decoder.feed(encode_frame(1, bytes(limit)))
            error = self.assertRaises(RemoteProtocolError, decoder.next_frame)
            self.assertEqual(error.reason, f"a frame of {limit + 1} bytes, limit {limit}")

    def test_before_the_handshake(self) -> None:
        """Strangers get 4 KiB unless they are given more."""
        decoder = FrameDecoder()
        decoder.feed(bytes.fromhex("00001001 01"))
        self.assertRaises(RemoteProtocolError, decoder.next_frame)

    def test_empty_frame(self) -> None:
        """A frame without a type is refused."""
        decoder = FrameDecoder()
        decoder.feed(bytes(HEADER_SIZE))
        self.assertRaises(RemoteProtocolError, decoder.next_frame)

    def test_header_decides(self) -> None:
        """A length over the limit is refused before any of the frame has come, and costs no memory."""
        decoder = FrameDecoder(65539)
        decoder.feed((2**27).to_bytes(4, "big"))
        self.assertIsNone(decoder.next_frame())
        tracemalloc.start()
        try:
            decoder.feed(b"\x10")
            self.assertRaises(RemoteProtocolError, decoder.next_frame)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        self.assertLess(peak, 100_000)

    @settings(deadline=None)
    @given(st.integers(0, 2**32 - 1), st.integers(1, 2**20))
    def test_every_length(self, length: int, limit: int) -> None:
        """A header alone is refused exactly if its length is 0 or over the limit."""
        decoder = FrameDecoder(limit)
        decoder.feed(length.to_bytes(4, "big") + b"\x01")
        if length == 1:
            self.assertEqual(decoder.next_frame(), (1, b""))
        elif 1 < length <= limit:
            self.assertIsNone(decoder.next_frame())
        else:
            self.assertRaises(RemoteProtocolError, decoder.next_frame)

    def test_limit_changes(self) -> None:
        """A new limit counts from the next frame on, even for one whose bytes have already come."""
        decoder = FrameDecoder(10)
        decoder.feed(encode_frame(1, bytes(9)) + encode_frame(2, bytes(99)) + encode_frame(3, bytes(10)))
        self.assertEqual(decoder.next_frame(), (1, bytes(9)))
        decoder.limit = 100
        self.assertEqual(decoder.next_frame(), (2, bytes(99)))
        decoder.limit = 10
        self.assertRaises(RemoteProtocolError, decoder.next_frame)

    def test_limit_changes_inside_a_frame(self) -> None:
        """A frame that was allowed when it began is taken to its end."""
        decoder = FrameDecoder(100)
        frame = encode_frame(2, bytes(99))
        decoder.feed(frame[:50])
        self.assertIsNone(decoder.next_frame())
        decoder.limit = 10
        decoder.feed(frame[50:])
        self.assertEqual(decoder.next_frame(), (2, bytes(99)))


class AnyBytesTests(SynchronousTestCase):
    @settings(deadline=None)
    @given(st.lists(st.binary(max_size=50)))
    def test_any_bytes(self, received: list[bytes]) -> None:
        """Whatever comes, there is a frame, a wait for more, or a RemoteProtocolError."""
        decoder = FrameDecoder(64)
        for chunk in received:
            decoder.feed(chunk)
            try:
                found = taken(decoder)
            except RemoteProtocolError:
                return
            self.assertTrue(all(0 <= kind < 256 and len(body) < 64 for kind, body in found))
