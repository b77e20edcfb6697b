"""Packets out of DATA and DATA_PART messages: the parts of a large one are put together again, within the limits."""

from __future__ import annotations

from netlayer.config import Settings
from netlayer.errors import LinkLost, RemoteProtocolError
from netlayer.sansio.load import NodeLoad
from netlayer.wire.messages import MIN_PART

__all__ = ["Reassembly"]


class Reassembly:
    """The packet of one connection that is arriving."""

    def __init__(self, *, settings: Settings, load: NodeLoad) -> None:
        self._max_packet = settings.max_packet
        self._limit = settings.reassembly_limit
        self._load = load
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def has_begun(self) -> bool:
        """Whether a part has arrived and more are to come."""
        return bool(self._parts)

    def add(self, payload: bytes, *, last: bool) -> bytes | None:
        """Take the payload of the next message; return that of the packet if it is complete.

        :raises RemoteProtocolError: when the packet is too large, or a part too small.
        :raises LinkLost: when this node has no memory left for parts; the packet starts over on the next connection.
        """
        if self._size + len(payload) > self._max_packet:
            raise RemoteProtocolError(f"a packet of more than {self._max_packet} bytes")
        if last and not self._parts:
            return payload
        if not last and len(payload) < MIN_PART:
            raise RemoteProtocolError(f"a part of {len(payload)} bytes, the least is {MIN_PART}")
        if self._load.reassembling + len(payload) > self._limit:
            raise LinkLost(f"this node has {self._load.reassembling} bytes of half-received packets; try again later")
        self._load.reassembling += len(payload)
        self._size += len(payload)
        self._parts.append(payload)
        if not last:
            return None
        whole = b"".join(self._parts)
        self.drop()
        return whole

    def drop(self) -> None:
        """Forget what has arrived of a packet."""
        self._load.reassembling -= self._size
        self._size = 0
        self._parts = []
