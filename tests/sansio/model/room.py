"""Room for large packets: reserved whole, in the order in which they were announced.

The room of a process is shared by all its senders. Of these the model has one; the others are an outside load.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import attrs

from tests.sansio.model.packets import Broken

if TYPE_CHECKING:
    from tests.sansio.model.network import End
    from tests.sansio.model.process import Process

__all__ = ["Claim", "Room"]


@attrs.define(eq=False)
class Claim:
    """Room that a sender has asked for.

    :ivar end: the connection that it was asked on; None for those of others.
    :ivar ordinal: which announcement of that sender it is.
    :ivar overtaken: bytes that came later and got room earlier.
    :ivar hold: seconds for which others keep it.
    """

    end: End | None
    ordinal: int
    size: int
    granted: bool = False
    overtaken: int = 0
    hold: float = 0.0


class Room:
    """The room of one process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._network = process.network
        self._limit = process.network.room
        self.waiting: deque[Claim] = deque()
        self.granted: list[Claim] = []
        self.used = 0

    def announced(self, end: End, ordinal: int, size: int) -> None:
        """A packet is announced; it takes the place of what was announced before, and size 0 withdraws that."""
        self.release(end)
        if size:
            end.claim = Claim(end, ordinal, size)
            self.waiting.append(end.claim)
            self._grant()

    def asked_by_others(self, size: int, hold: float) -> None:
        """Another sender asks for room."""
        self.waiting.append(Claim(None, 0, size, hold=hold))
        self._grant()

    def others_leave(self) -> None:
        """All other senders give back what they have."""
        for claim in [claim for claim in (*self.waiting, *self.granted) if claim.end is None]:
            self._give_back(claim)

    def release(self, end: End) -> None:
        """Give back what a connection has asked for."""
        claim = end.claim
        if claim is None or (self._network.reads("room-kept") and not end.closed):
            return
        end.claim = None
        if not (self._network.reads("room-leaks") and end.closed):
            self._give_back(claim)

    def judge(self) -> None:
        """Raise unless all room was given back."""
        if self.used != sum(claim.size for claim in self.granted):
            raise Broken("the sum of what is reserved is right")
        if self.used or self.waiting:
            raise Broken("all room is given back")

    def _give_back(self, claim: Claim) -> None:
        if claim in self.granted:
            self.granted.remove(claim)
            self.used -= claim.size
        elif claim in self.waiting:
            self.waiting.remove(claim)
        if self._process.alive:
            self._grant()

    def _others_done(self, claim: Claim) -> None:
        if claim in self.granted:
            self._give_back(claim)

    def _grant(self) -> None:
        while self.waiting:
            claim = self.waiting[0]
            if self._network.reads("room-smallest"):
                claim = min(self.waiting, key=lambda each: each.size)
            if self.used + claim.size > self._limit:
                return
            for other in self.waiting:
                if other is claim:
                    break
                other.overtaken += claim.size
                if other.overtaken > 4 * self._limit:
                    raise Broken("nobody waits for room for ever while others get it")
            self.waiting.remove(claim)
            self.granted.append(claim)
            self.used += claim.size
            claim.granted = True
            if claim.end is None:
                self._network.at(claim.hold, self._others_done, claim)
            else:
                self._network.stats["GO"] += 1
                self._network.send(claim.end, ("GO", claim.ordinal))
