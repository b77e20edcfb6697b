"""Framing: cut a byte stream into frames, and put frames together.

A frame is ``u32 length | u8 type | body``, big-endian; the length counts the type and the body.
"""

from __future__ import annotations

from struct import Struct

from netlayer.errors import RemoteProtocolError

__all__ = ["HEADER_SIZE", "MAX_HANDSHAKE_FRAME", "FrameDecoder", "encode_frame"]

_HEADER = Struct(">IB")

#: Bytes in front of each body.
HEADER_SIZE = _HEADER.size

#: The longest frame (type and body) before WELCOME: a WELCOME with every field full of ASCII has 3.2 KiB.
MAX_HANDSHAKE_FRAME = 4096


def encode_frame(kind: int, body: bytes) -> bytes:
    """Return the frame of type `kind` around `body`."""
    return _HEADER.pack(len(body) + 1, kind) + body


class FrameDecoder:
    """Give the frames of a byte stream, however it was cut into chunks.

    :ivar limit: the longest frame that is accepted, in bytes of type and body. It may be changed between two frames.
    """

    def __init__(self, limit: int = MAX_HANDSHAKE_FRAME) -> None:
        self.limit = limit
        self._chunk = b""  # what was fed last
        self._position = 0  # how much of it has been consumed
        self._partial: bytearray | None = None  # a frame that is longer than the chunk it began in
        self._filled = 0

    @property
    def waiting(self) -> int:
        """How many bytes were fed and not taken out."""
        begun = 4 + self._filled if self._partial is not None else 0  # its length was taken out already
        return len(self._chunk) - self._position + begun

    def feed(self, data: bytes) -> None:
        """Take the next chunk."""
        missing = len(self._partial) - self._filled if self._partial is not None else 0
        if missing == 0:
            rest = self._chunk[self._position :]  # less than a header, unless not all frames were taken out
            self._chunk = rest + data if rest else data
            self._position = 0
            return
        assert self._partial is not None
        piece = data if len(data) <= missing else data[:missing]
        self._partial[self._filled : self._filled + len(piece)] = piece
        self._filled += len(piece)
        self._chunk = data
        self._position = len(piece)

    def next_frame(self) -> tuple[int, bytes] | None:
        """Return the type and the body of the next whole frame, or None if more bytes are needed.

        :raises RemoteProtocolError: when the header announces an empty frame or one over the limit. Nothing was
            allocated for it.
        """
        if self._partial is not None:
            if self._filled < len(self._partial):
                return None
            whole, self._partial = self._partial, None
            return whole[0], bytes(memoryview(whole)[1:])
        chunk, start = self._chunk, self._position
        available = len(chunk) - start
        if available < HEADER_SIZE:
            return None
        length, kind = _HEADER.unpack_from(chunk, start)
        if not 1 <= length <= self.limit:
            raise RemoteProtocolError(f"a frame of {length} bytes, limit {self.limit}")
        end = start + 4 + length
        if end <= len(chunk):
            self._position = end
            return kind, chunk[start + HEADER_SIZE : end]
        self._partial = bytearray(length)
        self._filled = available - 4
        self._partial[: self._filled] = memoryview(chunk)[start + 4 :]
        self._chunk, self._position = b"", 0
        return None
