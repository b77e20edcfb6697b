"""The two streams of a session: numbered packets out, numbered packets in, and the receipts for them.

Numbers count from 1 and are not on the wire: a link is ordered, so both ends count. Packets are charged by their bytes
(payload and :data:`~netlayer.sansio.load.PACKET_OVERHEAD`), and it is bytes that the window limits.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import Any

from netlayer.errors import RemoteProtocolError
from netlayer.sansio.load import PACKET_OVERHEAD, SharedPayload
from netlayer.wire.messages import MAX_TEXT, Ack, Done, Nack

__all__ = ["IncomingStream", "OutgoingPacket", "OutgoingStream"]


class OutgoingPacket:
    """A packet on its way, from the moment it is queued until it is settled.

    :ivar number: the caller's number for it: how many packets its node has queued up to it, for whichever peer. The
        wire counts for itself.
    :ivar waiter: whatever the driver wants to find again when the packet is settled, or None if nobody waits.
    :ivar deadline: the time at which the caller gives up, or None.
    :ivar from_handler: whether a handler sends it, which has not finished: it may use more of the queue.
    :ivar queue: the send queue that it is charged to.
    :ivar queued: whether it waits there; if not, a stream holds it.
    :ivar written: whether any of it was ever written to the peer, by whichever connection.
    :ivar settled: whether its outcome is known, or is known to stay unknown.
    :ivar error: what went wrong, once settled; None if the peer's handler finished.
    """

    __slots__ = (
        "charge",
        "deadline",
        "error",
        "flags",
        "from_handler",
        "number",
        "payload",
        "queue",
        "queued",
        "settled",
        "shared",
        "tag",
        "waiter",
        "written",
    )

    def __init__(
        self,
        tag: int,
        payload: bytes,
        *,
        flags: int = 0,
        waiter: Any = None,
        deadline: float | None = None,
        shared: SharedPayload | None = None,
        from_handler: bool = False,
    ) -> None:
        self.number = 0
        self.tag = tag
        self.payload = payload
        self.flags = flags
        self.waiter = waiter
        self.deadline = deadline
        self.shared = shared
        self.from_handler = from_handler
        self.charge = len(payload) + PACKET_OVERHEAD
        self.queue: Any = None
        self.queued = True
        self.written = False
        self.settled = False
        self.error: Exception | None = None


class OutgoingStream:
    """Our packets to one peer process, from the first that has no receipt on.

    :ivar id: random, made with the session, never changed.
    :ivar first: the number of the first packet without a receipt.
    :ivar cursor: the number of the next packet to write on the present link.
    :ivar next: the number that the next new packet will get.
    :ivar in_flight: charged bytes of packets below the cursor without a receipt; what the window limits.
    """

    def __init__(self, stream_id: int) -> None:
        self.id = stream_id
        self.first = self.cursor = self.next = 1
        self.in_flight = 0
        self._packets: dict[int, OutgoingPacket] = {}

    def __len__(self) -> int:
        return len(self._packets)

    def packets(self) -> list[OutgoingPacket]:
        """Return the packets without a receipt, in order."""
        return list(self._packets.values())

    def append(self, packet: OutgoingPacket) -> None:
        """Give the next number to `packet`."""
        self._packets[self.next] = packet
        self.next += 1

    def to_resend(self) -> OutgoingPacket | None:
        """Return the packet at the cursor if an earlier link has written it before."""
        return self._packets[self.cursor] if self.cursor < self.next else None

    def wrote(self, packet: OutgoingPacket) -> None:
        """Note that the packet at the cursor was written whole."""
        self.cursor += 1
        self.in_flight += packet.charge

    def receipt(self, number: int) -> OutgoingPacket | None:
        """Take out the packet that a receipt names, or return None if it had one before.

        :raises RemoteProtocolError: when no such packet was written.
        """
        if number >= self.cursor or number == 0:
            raise RemoteProtocolError(f"a receipt for packet {number}, which was not sent")
        packet = self._packets.pop(number, None)
        if packet is not None:
            self.in_flight -= packet.charge
            self._advance()
        return packet

    def receipts_through(self, number: int) -> list[OutgoingPacket]:
        """Take out all packets up to `number` that have no receipt yet.

        :raises RemoteProtocolError: when not all of them were written.
        """
        if number >= self.cursor:
            raise RemoteProtocolError(f"a receipt through packet {number}, which was not sent")
        take = self._packets.pop
        packets = []
        for each in range(self.first, number + 1):
            packet = take(each, None)
            if packet is not None:
                packets.append(packet)
                self.in_flight -= packet.charge
        self.first = max(self.first, number + 1)
        self._advance()
        return packets

    def judge_resume(self, received: int) -> None:
        """Raise if `received` can't be the last packet that the peer has whole.

        :raises RemoteProtocolError: when it was not written, or a later one has its receipt.
        """
        if not self.first - 1 <= received < self.next:
            raise RemoteProtocolError(f"resume behind packet {received}, sent were {self.first} to {self.next - 1}")
        if sum(number > received for number in self._packets) != self.next - 1 - received:
            raise RemoteProtocolError(f"resume behind packet {received}, though a later one has its receipt")

    def resume_behind(self, received: int) -> None:
        """Go on with the packet after `received`, the last that the peer has whole.

        :raises RemoteProtocolError: as :meth:`judge_resume` does.
        """
        self.judge_resume(received)
        self.cursor = received + 1
        self.in_flight = sum(packet.charge for number, packet in self._packets.items() if number <= received)

    def clear(self) -> list[OutgoingPacket]:
        """Take out everything without a receipt; numbers go on from :attr:`first`."""
        packets = self.packets()
        self._packets.clear()
        self.cursor = self.next = self.first
        self.in_flight = 0
        return packets

    def _advance(self) -> None:
        while self.first < self.next and self.first not in self._packets:
            self.first += 1


class IncomingStream:
    """The peer's packets to us: which have arrived, which are handled, and what of that the peer was told.

    :param stream_id: the id that the peer gave it.
    :param first: the number of the first packet that will arrive.
    :param keep: charged bytes that have to arrive before a receipt that was sent is known to have been received.
    :ivar received: the number of the last packet that arrived whole.
    :ivar confirmed: whether any whole packet has arrived in this session.
    :ivar untold: charged bytes of packets that are handled and not receipted.
    """

    def __init__(self, stream_id: int, *, first: int, keep: int) -> None:
        self.id = stream_id
        self.received = first - 1
        self.confirmed = False
        self.untold = 0
        self._handled_through = first - 1
        self._told_through = first - 1
        self._ahead: list[list[int]] = []  # runs [from, to] of numbers that finished before an earlier one
        self._running: dict[int, int] = {}  # number: charge
        self._running_charge = 0
        self._failed: list[tuple[int, str]] = []  # to be told
        self._done: list[int] = []  # to be told, if no ACK tells it first
        self._told: deque[tuple[int, str | None, int]] = deque()  # number, text of a failure, bytes arrived by then
        self._arrived = 0
        self._keep = keep

    @property
    def unreceipted(self) -> int:
        """Charged bytes that the peer still counts against our window."""
        return self._running_charge + self.untold

    def arrived(self, charge: int) -> int:
        """Note a whole packet and return its number."""
        self.received = number = self.received + 1
        self.confirmed = True
        self._arrived += charge
        self._running[number] = charge
        self._running_charge += charge
        return number

    def finished(self, number: int, failure: str | None) -> None:
        """Note that the handler of a packet finished.

        :param failure: what its sender is told if the handler failed.
        """
        charge = self._running.pop(number)
        self._running_charge -= charge
        self.untold += charge
        if failure is not None:
            text = failure[:MAX_TEXT].encode("utf-8", "replace").decode()  # a lone surrogate can't be sent
            self._failed.append((number, text))
        if number == self._handled_through + 1:
            self._handled_through = number
            if self._ahead and self._ahead[0][0] == number + 1:
                self._handled_through = self._ahead.pop(0)[1]
            return
        self._insert_ahead(number)
        if failure is None:
            self._done.append(number)

    def receipts(self) -> list[Ack | Done | Nack]:
        """Return the receipts that the peer was not told yet, as told from now on. A NACK precedes the ACK over it."""
        receipts: list[Ack | Done | Nack] = []
        for number, text in self._failed:
            receipts.append(Nack(number, text))
            self._told.append((number, text, self._arrived))
        self._failed.clear()
        if self._handled_through > self._told_through:
            self._told_through = self._handled_through
            receipts.append(Ack(self._told_through))
        for number in self._done:
            if number > self._told_through:
                receipts.append(Done(number))
                self._told.append((number, None, self._arrived))
        self._done.clear()
        self.untold = 0
        while self._told and self._arrived - self._told[0][2] >= self._keep:
            self._told.popleft()
        return receipts

    def repeat_receipts(self, receipted: int) -> None:
        """Have every receipt above `receipted` told again: the link that carried them may have lost them."""
        self._told_through = min(receipted, self._handled_through)
        for number, text, _ in self._told:
            if number > receipted:
                if text is not None:
                    self._failed.append((number, text))
                else:
                    self._done.append(number)
        self._told.clear()

    def _insert_ahead(self, number: int) -> None:
        """Add a number to the runs, joining it with its neighbours; there is one run at most for each gap."""
        runs = self._ahead
        at = bisect_right(runs, number, key=lambda run: run[0])
        joins_left = at > 0 and runs[at - 1][1] == number - 1
        joins_right = at < len(runs) and runs[at][0] == number + 1
        if joins_left and joins_right:
            runs[at - 1][1] = runs.pop(at)[1]
        elif joins_left:
            runs[at - 1][1] = number
        elif joins_right:
            runs[at][0] = number
        else:
            runs.insert(at, [number, number])
