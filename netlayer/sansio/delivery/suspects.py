"""Packets over which the peer's processes may have ended: they go alone, so that the cause is known.

A packet that was handed whole to two processes, both of which have ended without a receipt for it, is a *suspect*. It
is begun when nothing else is in flight, and the next packet when it has its receipt. If a third process ends then, that
is no chance. But a handler may hang, and waiting for its receipt would stop everything for ever. So nothing waits
longer than the *probation* of a suspect, which doubles with each further death; and one that has outlived a longer one
than the first is *cleared*: it says nothing about others any more, nor others about it.

The rules were found by running the model in ``tests/sansio/model``.
"""

from __future__ import annotations

from collections.abc import Iterable

from netlayer.sansio.delivery.packet import OutgoingPacket

__all__ = ["Suspects"]

#: The longest probation, in seconds, and how often it doubles until then.
LONGEST, DOUBLINGS = 3600.0, 16


class Suspects:
    """What one process of the peer has in hand of suspects.

    :param probation: seconds of the first probation, more than a handler takes that somebody waits for.
    """

    def __init__(self, *, probation: float) -> None:
        self._probation = probation
        self._last: OutgoingPacket | None = None  # in flight, with nothing begun behind it
        self._is_alone = False  # whether nothing else is in flight, but for cleared ones
        self._until = 0.0
        self._cleared: set[OutgoingPacket] = set()

    def may_begin(self, heard: float) -> bool:
        """Return whether a packet may be begun.

        :param heard: when the peer was heard last: only if it has lived on, a probation is over.
        """
        last = self._last
        if last is None:
            return True
        if heard < self._until:
            return False
        if not last.is_fresh_suspect:
            self._cleared.add(last)
        return True

    def begun(self, packet: OutgoingPacket, *, in_flight: int) -> None:
        """Note that a packet is begun, while so many others are in flight."""
        self._last = packet if packet.is_suspect else None
        self._is_alone = in_flight == len(self._cleared)

    def wrote(self, packet: OutgoingPacket, now: float) -> None:
        """Note that the packet that was begun is written whole."""
        if packet is self._last:
            doublings = min(packet.deaths, DOUBLINGS)
            self._until = now + min(self._probation * 2**doublings / 4, LONGEST)

    def left(self, packet: OutgoingPacket) -> None:
        """Note that a packet has its receipt, or was not received whole."""
        self._cleared.discard(packet)
        if packet is self._last:
            self._last = None

    def process_ended(self, in_flight: Iterable[OutgoingPacket]) -> OutgoingPacket | None:
        """Count a death at each packet that was in flight, and return the one that is its cause, if that is known."""
        for packet in in_flight:
            if packet not in self._cleared:
                packet.deaths += 1
        last = self._last
        return last if last is not None and last.sequence and self._is_alone and last not in self._cleared else None

    def clear(self) -> None:
        """Note that nothing is in flight any more."""
        self._last = None
        self._cleared.clear()
