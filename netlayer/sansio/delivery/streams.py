"""The two streams of a session: numbered packets out, numbered packets in, and the receipts for them.

Numbers count from 1 and are not on the wire: a link is ordered, so both ends count. Packets are charged by their bytes
(payload and :data:`~netlayer.sansio.delivery.load.PACKET_OVERHEAD`), and it is bytes that the window limits. One packet
takes no more than a whole window, however large it is: the other one, which handlers have for their replies, stays
free.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque

from netlayer.errors import RemoteProtocolError
from netlayer.sansio.delivery.packet import OutgoingPacket
from netlayer.sansio.delivery.suspects import Suspects
from netlayer.wire.messages import MAX_TEXT, Ack, Done, Nack

__all__ = ["IncomingStream", "OutgoingStream"]


class OutgoingStream:
    """Our packets to one peer process, from the first that has no receipt on.

    A packet gets its number when it was written whole on a link. A new link takes the numbers back of those that the
    peer has not received: they are written again, before all others, and numbered anew. So a packet that nobody needs
    any more can be left out of them, and the next one takes its number.

    :param probation: see :class:`~netlayer.sansio.delivery.suspects.Suspects`.
    :ivar id: random, made with the session, never changed.
    :ivar first: the number of the first packet without a receipt.
    :ivar next: the number of the next packet that is written whole.
    :ivar arrived: the last packet that is known to have reached the peer whole.
    :ivar in_flight: what the numbered packets without a receipt take of the window.
    :ivar excess: their charges less that.
    :ivar writing: the packet of which the present link has a part, or None.
    """

    def __init__(self, stream_id: int, *, probation: float) -> None:
        self.id = stream_id
        self.first = self.next = 1
        self.arrived = 0
        self.in_flight = self.excess = 0
        self.writing: OutgoingPacket | None = None
        self._numbered: dict[int, OutgoingPacket] = {}
        self._again: deque[OutgoingPacket] = deque()  # that earlier links have begun
        self._resumed_at = 0  # the last packet that the peer had whole when the present link began
        self._first_begun: OutgoingPacket | None = None  # on the present link, if it has parts
        self._suspects = Suspects(probation=probation)

    def __len__(self) -> int:
        return len(self.packets())

    def packets(self) -> list[OutgoingPacket]:
        """Return the packets without a receipt, in order."""
        begun = [self.writing] if self.writing is not None else []
        return [*self._numbered.values(), *begun, *self._again]

    @property
    def is_empty(self) -> bool:
        """Whether every packet that was begun has its receipt, or is needed no more and not written."""
        return not self._numbered and not self.has_begun

    @property
    def has_begun(self) -> bool:
        """Whether a packet that was begun, on this link or an earlier one, is not written whole yet."""
        return self.writing is not None or self.to_resend() is not None

    def to_resend(self) -> OutgoingPacket | None:
        """Return the packet that has to be written again next, or None; those that nobody needs are left out."""
        again = self._again
        while again:
            if not again[0].settled:
                return again[0]
            again.popleft()
        return None

    def may_begin(self, heard: float) -> bool:
        """Return whether a packet may be begun, or has to wait for one that goes alone.

        :param heard: when the peer was heard last.
        """
        return self._suspects.may_begin(heard)

    def begin(self, packet: OutgoingPacket, *, has_parts: bool) -> None:
        """Note that the first part of a packet is written, or all of it."""
        if self._again and self._again[0] is packet:
            self._again.popleft()
        if self._first_begun is None and not self._numbered_on_this_link():
            self._first_begun = packet if has_parts else None
        self._suspects.begun(packet, in_flight=len(self._numbered))
        packet.underway = True
        self.writing = packet

    def wrote(self, *, window: int, now: float) -> None:
        """Note that the packet that was begun is written whole; it gets its number.

        :param window: of which one packet takes no more than all.
        """
        packet = self.writing
        assert packet is not None
        packet.underway = False
        self.writing = None
        packet.sequence = self.next
        self._numbered[self.next] = packet
        self.next += 1
        packet.share = min(packet.charge, window)
        self._suspects.wrote(packet, now)
        self.in_flight += packet.share
        self.excess += packet.charge - packet.share

    def interrupt(self) -> None:
        """Note that the link is gone; of a packet that was not written whole nothing has arrived."""
        packet, self.writing = self.writing, None
        if packet is not None:
            packet.underway = False
            self._again.appendleft(packet)
            self._suspects.left(packet)

    def has_arrived(self, number: int) -> bool:
        """Note that all packets up to `number` have reached the peer; return whether that is news."""
        is_news = self.arrived < number < self.next
        if is_news:
            self.arrived = number
        return is_news

    def most_arriving(self, number: int) -> int:
        """Return the most bytes that can be arriving of packet `number`: its charge, as its payload may be freed.

        :raises RemoteProtocolError: when none of it was written, or the peer has it whole.
        """
        packet = self.writing if number == self.next else self._numbered.get(number)
        if packet is None or number <= self.arrived:
            raise RemoteProtocolError(f"packet {number} is said to arrive, which was not sent or has arrived")
        return packet.charge

    def receipt(self, number: int) -> OutgoingPacket | None:
        """Take out the packet that a receipt names, or return None if it had one before.

        :raises RemoteProtocolError: when no such packet was written.
        """
        if number >= self.next or number == 0:
            raise RemoteProtocolError(f"a receipt for packet {number}, which was not sent")
        packet = self._numbered.pop(number, None)
        if packet is not None:
            self._leave_window(packet)
            self._advance()
        return packet

    def receipts_through(self, number: int) -> list[OutgoingPacket]:
        """Take out all packets up to `number` that have no receipt yet.

        :raises RemoteProtocolError: when not all of them were written.
        """
        if number >= self.next:
            raise RemoteProtocolError(f"a receipt through packet {number}, which was not sent")
        take = self._numbered.pop
        packets = []
        for each in range(self.first, number + 1):
            packet = take(each, None)
            if packet is not None:
                packets.append(packet)
                self._leave_window(packet)
        self.first = max(self.first, number + 1)
        self._advance()
        return packets

    def judge_resume(self, received: int) -> None:
        """Raise if `received` can't be the last packet that the peer has whole.

        :raises RemoteProtocolError: when it was not written, or a later one has its receipt.
        """
        if not self.first - 1 <= received < self.next:
            raise RemoteProtocolError(f"resume behind packet {received}, sent were {self.first} to {self.next - 1}")
        if sum(number > received for number in self._numbered) != self.next - 1 - received:
            raise RemoteProtocolError(f"resume behind packet {received}, though a later one has its receipt")

    def resume_behind(self, received: int) -> None:
        """Go on with the packet after `received`, the last that the peer has whole.

        If the link before has brought nothing through and was broken inside of a packet, that counts at the packet.

        :raises RemoteProtocolError: as :meth:`judge_resume` does.
        """
        self.judge_resume(received)
        self.interrupt()
        if self._first_begun is not None and received == self._resumed_at:
            self._first_begun.breaks += 1
        lacked = [self._numbered.pop(number) for number in range(received + 1, self.next)]
        for packet in lacked:
            self._leave_window(packet)
            packet.sequence = 0
        self._again.extendleft(reversed(lacked))
        self.next = received + 1
        self.arrived = self._resumed_at = received
        self._first_begun = None

    def clear(self) -> list[OutgoingPacket]:
        """Take out everything without a receipt; numbers go on from :attr:`first`."""
        packets = self.packets()
        for packet in packets:
            packet.sequence = 0
        self._numbered.clear()
        self._again.clear()
        self._suspects.clear()
        if self.writing is not None:
            self.writing.underway = False
        self.writing = self._first_begun = None
        self.next = self.first
        self.arrived = self._resumed_at = self.first - 1
        self.in_flight = self.excess = 0
        return packets

    def whole(self) -> list[OutgoingPacket]:
        """Return the packets that the peer was handed whole, as far as is known, and that have no receipt."""
        return list(self._numbered.values())

    def process_ended(self) -> OutgoingPacket | None:
        """Note that the peer's process has ended; return the packet that is the cause, if one is known to be."""
        return self._suspects.process_ended(self._numbered.values())

    def _numbered_on_this_link(self) -> bool:
        return self.next - 1 > self._resumed_at

    def _leave_window(self, packet: OutgoingPacket) -> None:
        self.in_flight -= packet.share
        self.excess -= packet.charge - packet.share
        self._suspects.left(packet)

    def _advance(self) -> None:
        while self.first < self.next and self.first not in self._numbered:
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
