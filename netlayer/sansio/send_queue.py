"""The send queue of one peer: what waits to be sent, what it is charged, and how long its callers wait.

A packet is charged from the moment it is queued until its outcome is known, also while a stream holds it. Packets that
end are collected; the driver takes them and tells the callers.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from netlayer.sansio.load import NodeLoad
from netlayer.sansio.packet import OutgoingPacket

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
        self._deadlines: OrderedDict[OutgoingPacket, float] = OrderedDict()
        self.settled: list[OutgoingPacket] = []
        load.queues.add(self)

    # ---- what waits

    def append(self, packet: OutgoingPacket) -> None:
        """Queue a packet that was not queued before."""
        latest = next(reversed(self._deadlines.values()), None)
        self._append(packet)
        if latest is not None and packet.deadline is not None and packet.deadline < latest:
            self._sort_deadlines()  # the clock was set back

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
            other._deadlines.pop(packet, None)
            self._append(packet)
        self.waiting = deque(sorted(self.waiting, key=lambda packet: packet.number))
        self._sort_deadlines()

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
        if packet.deadline is not None:
            self._deadlines.pop(packet, None)
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
        if packet.shared is not None:
            packet.shared.holders -= 1
            if packet.shared.holders > 0:
                return
        self._load.queued -= packet.charge

    # ---- time

    def next_deadline(self) -> float | None:
        """Return when the first caller gives up, or None."""
        return next(iter(self._deadlines.values()), None)

    def take_overdue(self, now: float) -> list[OutgoingPacket]:
        """Return the packets whose callers give up by now, once."""
        overdue = []
        while self._deadlines:
            packet, deadline = next(iter(self._deadlines.items()))
            if deadline > now:
                break
            del self._deadlines[packet]
            if packet.deadline is not None and packet.deadline > now:
                self.postpone(packet, packet.deadline)
                continue
            overdue.append(packet)
        return overdue

    def postpone(self, packet: OutgoingPacket, deadline: float) -> None:
        """Have the caller of an overdue packet wait on."""
        packet.deadline = self._deadlines[packet] = deadline
        self._sort_deadlines()

    def _append(self, packet: OutgoingPacket) -> None:
        packet.queue = self
        self._charge(packet)
        self.waiting.append(packet)
        if packet.deadline is not None:
            self._deadlines[packet] = packet.deadline

    def _unsettled(self) -> list[OutgoingPacket]:
        return [packet for packet in self.waiting if not packet.settled]

    def _sort_deadlines(self) -> None:
        self._deadlines = OrderedDict(sorted(self._deadlines.items(), key=lambda item: item[1]))

    def _charge(self, packet: OutgoingPacket) -> None:
        packet.charged = True
        self.queued += packet.charge
        if packet.shared is not None:
            packet.shared.holders += 1
            if packet.shared.holders > 1:
                return
        self._load.queued += packet.charge
