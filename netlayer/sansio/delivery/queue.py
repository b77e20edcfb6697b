"""The send queue of one peer: what waits to be sent, what it is charged, and how long its callers wait.

A packet is charged from the moment it is queued until its outcome is known, also while a stream holds it. Packets that
end are collected; the driver takes them and tells the callers.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush, heapreplace

from netlayer.sansio.delivery.load import NodeLoad
from netlayer.sansio.delivery.packet import Deadline, OutgoingPacket

__all__ = ["SendQueue"]


class SendQueue:
    """Packets on their way to one peer.

    :ivar waiting: what waits, the next one first; withdrawn packets may stand among them.
    :ivar settled: packets that have ended, and that somebody waits for or that failed; :meth:`take_settled` clears it.
    :ivar queued: charged bytes that are unsent or without a receipt.
    """

    def __init__(self, load: NodeLoad) -> None:
        self.queued = 0
        self._load = load
        self.waiting: deque[OutgoingPacket] = deque()
        self._withdrawn = 0  # settled packets that still stand among those that wait
        # [deadline, number, packet], the earliest first. A deadline may have moved to a later time since; an entry
        # whose packet is None is of no use any more.
        self._deadlines: list[Deadline] = []
        self._watched = 0  # entries that have a packet
        self.settled: list[OutgoingPacket] = []
        load.queues.add(self)

    # ---- what waits

    def append(self, packet: OutgoingPacket) -> None:
        """Queue a packet that was not queued before."""
        packet.queue = self
        self._charge(packet)
        self.waiting.append(packet)
        if packet.deadline is not None:
            self._watch(packet, packet.deadline)

    def put_first(self, packets: list[OutgoingPacket]) -> None:
        """Put back packets that a stream has held, before all others and in their order."""
        for packet in reversed(packets):
            packet.queued = True
            self.waiting.appendleft(packet)

    def keep(self, packet: OutgoingPacket) -> None:
        """Put back, behind all others, a packet that :meth:`clear` has taken out."""
        self.waiting.append(packet)

    def peek(self) -> OutgoingPacket | None:
        """Return the packet that is next, or None if none waits."""
        waiting = self.waiting
        while waiting:
            if not waiting[0].settled:
                return waiting[0]
            waiting.popleft()
            self._withdrawn -= 1
        return None

    def take(self, packet: OutgoingPacket) -> None:
        """Take out the packet that is next, for a stream to hold."""
        assert self.waiting[0] is packet
        self.waiting.popleft()
        packet.queued = False

    def clear(self) -> list[OutgoingPacket]:
        """Take out everything that waits; it stays charged."""
        waiting = self._unsettled()
        self.waiting.clear()
        self._withdrawn = 0
        return waiting

    def adopt(self, other: SendQueue) -> None:
        """Take over what waits in `other`, in the order in which both were filled."""
        for packet in other.clear():
            other.discharge(packet)
            other._unwatch(packet)
            self.append(packet)
        self.waiting = deque(sorted(self.waiting, key=lambda packet: packet.number))

    def close(self) -> None:
        """Count no longer among the queues of the node."""
        self._load.queues.discard(self)

    # ---- what has ended

    def settle(self, packet: OutgoingPacket, error: Exception | None) -> None:
        """Give a packet its outcome, once. It is charged no longer, unless the link has only a part of it."""
        if not packet.underway:
            self.discharge(packet)
        if packet.settled:
            return
        packet.settled = True
        packet.error = error
        self._unwatch(packet)
        if packet.waiter is not None or error is not None:
            self.settled.append(packet)

    def withdraw(self, packet: OutgoingPacket, error: Exception) -> None:
        """Settle a packet whose caller waits no longer. It is not sent, unless the link has a part of it already."""
        if packet.settled:
            return
        self.settle(packet, error)
        if not packet.queued:  # the stream holds it, and leaves it out if it can
            self.release(packet)
            return
        packet.payload = b""
        self._withdrawn += 1
        if self._withdrawn * 2 > len(self.waiting):
            self.waiting = deque(self._unsettled())
            self._withdrawn = 0

    def take_settled(self) -> list[OutgoingPacket]:
        """Return the packets that have ended since the last call, and that somebody waits for or that failed."""
        settled = self.settled.copy()
        self.settled.clear()
        return settled

    def release(self, packet: OutgoingPacket) -> None:
        """Free what a packet holds that nobody needs any more, unless the link has only a part of it."""
        if packet.settled and not packet.underway:
            self.discharge(packet)
            packet.payload = b""

    def discharge(self, packet: OutgoingPacket) -> None:
        """Count a packet no longer; :meth:`settle` does it by itself."""
        if not packet.charged:
            return
        packet.charged = False
        self.queued -= packet.charge
        if not self.queued:
            self._load.filled -= 1
        if packet.shared is not None:
            packet.shared.holders -= 1
            if packet.shared.holders > 0:
                return
        self._load.queued -= packet.charge

    # ---- time

    def next_deadline(self) -> float | None:
        """Return when the first caller gives up, or None."""
        deadlines = self._deadlines
        while deadlines:
            entry = deadlines[0]
            deadline: float = entry[0]
            packet: OutgoingPacket | None = entry[2]
            if packet is None:
                heappop(deadlines)
            elif packet.deadline is None or packet.deadline <= deadline:
                return deadline
            else:
                entry[0] = packet.deadline
                heapreplace(deadlines, entry)
        return None

    def take_overdue(self, now: float) -> list[OutgoingPacket]:
        """Return the packets whose callers give up by now, once, in the order of their deadlines."""
        overdue = []
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            packet = self._deadlines[0][2]
            assert packet is not None  # as there is a deadline
            self._unwatch(packet)
            overdue.append(packet)
        return overdue

    def postpone(self, packet: OutgoingPacket, deadline: float) -> None:
        """Have the caller of an overdue packet wait on."""
        packet.deadline = deadline
        self._watch(packet, deadline)

    def _unsettled(self) -> list[OutgoingPacket]:
        return [packet for packet in self.waiting if not packet.settled]

    def _watch(self, packet: OutgoingPacket, deadline: float) -> None:
        packet.entry = [deadline, packet.number, packet]
        self._watched += 1
        heappush(self._deadlines, packet.entry)

    def _unwatch(self, packet: OutgoingPacket) -> None:
        """Let the deadline of a packet pass. Entries that are of no use are removed when they are the majority."""
        entry, packet.entry = packet.entry, None
        if entry is None:
            return
        entry[2] = None
        self._watched -= 1
        if not self._watched:
            self._deadlines.clear()
        elif self._watched * 2 < len(self._deadlines):
            self._deadlines = [each for each in self._deadlines if each[2] is not None]
            heapify(self._deadlines)

    def _charge(self, packet: OutgoingPacket) -> None:
        packet.charged = True
        if not self.queued:
            self._load.filled += 1
        self.queued += packet.charge
        if packet.shared is not None:
            packet.shared.holders += 1
            if packet.shared.holders > 1:
                return
        self._load.queued += packet.charge
