"""Delivery to one peer: its queue and its session, over connections that come and go.

Packets wait in a :class:`~netlayer.sansio.delivery.queue.SendQueue` until the link has room for them; then the stream
of the :class:`~netlayer.sansio.delivery.session.Session` holds them until their receipts come. This module decides what
may be sent when, and what becomes of both when links, peers and sessions end.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from math import inf
from typing import TypeVar

from netlayer.config import Settings
from netlayer.errors import (
    DeliveryTimeout,
    HandlerFailed,
    NodeStopped,
    PacketTooLarge,
    PeerLost,
    PeerUnreachable,
    QueueFull,
    RemoteProtocolError,
)
from netlayer.handlers import DataPacket
from netlayer.sansio.delivery.load import PACKET_OVERHEAD, NodeLoad
from netlayer.sansio.delivery.packet import OutgoingPacket
from netlayer.sansio.delivery.queue import SendQueue
from netlayer.sansio.delivery.reassembly import Reassembly
from netlayer.sansio.delivery.session import MAX_FIRST, Session
from netlayer.sansio.delivery.writer import PacketWriter, Terms
from netlayer.wire.messages import (
    DATA_HEADER_SIZE,
    MIN_MAX_FRAME,
    Ack,
    Announce,
    Arriving,
    Done,
    Flag,
    Go,
    Nack,
    Select,
)
from netlayer.wire.payload import decode_value

__all__ = ["Delivery"]

S = TypeVar("S", bound=Select)

#: Links in a row that may break inside of one packet: what comes next is not chance.
MAX_BREAKS = 3

# Members of an IntEnum are slow to find, and packets are many.
_BROADCAST, _REDELIVERED, _RECEIPT_NOW = int(Flag.BROADCAST), int(Flag.REDELIVERED), int(Flag.RECEIPT_NOW)
_KNOWN_FLAGS = _BROADCAST | _REDELIVERED | _RECEIPT_NOW


class Delivery:
    """Everything that is under way to and from one peer.

    Packets that end are collected; :meth:`take_settled` hands them over, and the driver tells whoever waits.

    :ivar settled: the packets that :meth:`take_settled` would return.
    :ivar queue_limit: bytes from which on packets are refused, or those of handlers from twice as many on. A peer that
        has not told its window is taken to have the same as this node.
    :ivar missed: how many deadlines have passed since the peer's last receipt.
    :ivar can_dial: whether this node has an address of the peer, as its owner tells. If not, what was never written
        fails when the session ends.
    """

    def __init__(
        self,
        *,
        peer_id: int | None,
        settings: Settings,
        load: NodeLoad,
        rng: random.Random,
        now: float,
    ) -> None:
        self.peer_id = peer_id
        self.can_dial = False
        self.session: Session | None = None
        self._settings = settings
        self._load = load
        self._rng = rng
        self._queue = SendQueue(load)
        self.settled = self._queue.settled
        self._forget_at: float | None = now + settings.session_timeout
        self.missed = 0
        self.queue_limit = min(settings.queue_limit // 2, settings.window)
        self._writer: PacketWriter | None = None  # of the connection in use
        self._accepts_new = False  # whether that may begin what waits in the queue
        self._heard_at = now  # when bytes of the peer have come
        self._progress_at = -inf  # when more of what was written is known to have reached the peer
        self._arriving: tuple[int, int] | None = None  # the packet that is on its way, and what has come of it
        self._reassembly = Reassembly(settings=settings, load=load)

    # ---- the sender's side

    def submit(self, packet: OutgoingPacket) -> int:
        """Queue a packet and return its number.

        What handlers send may fill the other half of both limits, and a packet in flight that is larger than the window
        counts as one window: if requests could fill the queues of both ends, their handlers would find no room for the
        replies without which they can't finish.

        :raises QueueFull: when the queue is at its limit, or is the longest while the node is at its own.
        :raises PacketTooLarge: when the peer takes no packets of this size.
        """
        max_packet = self._writer.terms.max_packet if self._writer is not None else self._settings.max_packet
        if len(packet.payload) > max_packet:
            raise PacketTooLarge(len(packet.payload), max_packet)
        queued, limit, node_limit = self._queue.queued, self.queue_limit, self._settings.node_queue_limit // 2
        if packet.from_handler:
            limit, node_limit = limit * 2, node_limit * 2
            queued -= self.session.outgoing.excess if self.session is not None else 0
        if queued >= limit:
            raise QueueFull(self.peer_id, queued, limit)
        if self._load.queued >= node_limit and self._load.is_longest(self._queue):
            raise QueueFull(self.peer_id, self._load.queued, node_limit)
        self._load.submitted += 1
        packet.number = self._load.submitted
        self._queue.append(packet)
        return packet.number

    def withdraw(self, packet: OutgoingPacket, error: Exception) -> None:
        """Settle a packet whose caller waits no longer. It is not sent, unless some of it was written before."""
        packet.queue.withdraw(packet, error)  # another delivery's, if that has adopted it

    def adopt(self, other: Delivery) -> None:
        """Take over what waits in the queue of `other`, which was made before it was known whose queue it is."""
        self._queue.adopt(other._queue)
        other.close()

    @property
    def has_frames(self) -> bool:
        """Whether there is something to send, with room in the window or without."""
        return self._writer is not None and self._writer.has_frames(accepts_new=self._accepts_new)

    @property
    def must_take_back(self) -> bool:
        """Whether the peer has to be told that a packet that it makes room for does not come."""
        return self._writer is not None and self._writer.must_take_back

    def next_frame(self, now: float) -> bytes | None:
        """Return the next frame of packets, or None while there is nothing to send, or nothing may be begun."""
        return self._writer.next_frame(now, accepts_new=self._accepts_new) if self._writer is not None else None

    def heard(self, now: float) -> None:
        """Note that bytes of the peer came."""
        self._heard_at = now
        if self._writer is not None:
            self._writer.heard(now)

    @property
    def has_begun(self) -> bool:
        """Whether packets that were begun, on this link or an earlier one, are not written whole yet."""
        return self.session is not None and self.session.outgoing.has_begun

    def receipt_received(self, message: Ack | Done | Nack) -> None:
        """Settle the packets that a receipt names. It tells how fast handlers are, and is no sign of progress.

        :raises RemoteProtocolError: when the receipt names a packet that was not sent.
        """
        assert self.session is not None  # receipts are legal on a link only, and a link has a session
        self.missed = 0
        outgoing = self.session.outgoing
        if isinstance(message, Ack):
            for packet in outgoing.receipts_through(message.through):
                self._queue.settle(packet, None)
            outgoing.has_arrived(message.through)
            return
        named = outgoing.receipt(message.number)
        if named is not None:
            error = HandlerFailed(self.peer_id, message.text) if isinstance(message, Nack) else None
            self._queue.settle(named, error)
        outgoing.has_arrived(message.number)

    @property
    def last_number(self) -> int:
        """The number of the last packet that the peer was sent whole."""
        return self.session.outgoing.next - 1 if self.session is not None else 0

    def arrived(self, number: int, now: float) -> None:
        """Note that all packets up to `number` have reached the peer."""
        if self.session is not None and self.session.outgoing.has_arrived(number):
            self._progress_at = now

    def arriving_received(self, message: Arriving, now: float) -> None:
        """Note how much of a packet has reached the peer.

        :raises RemoteProtocolError: when it is a packet that was not sent.
        """
        assert self.session is not None
        most = self.session.outgoing.most_arriving(message.number)  # more is no progress
        self.arrived(message.number - 1, now)
        before, self._arriving = self._arriving, (message.number, min(message.size, most))
        if before is None or before < self._arriving:
            self._progress_at = now

    def take_settled(self) -> list[OutgoingPacket]:
        """Return the packets that have ended since the last call, and that somebody waits for or that failed."""
        return self._queue.take_settled()

    @property
    def queued(self) -> int:
        """Charged bytes that are unsent or without a receipt."""
        return self._queue.queued

    # ---- the receiver's side

    def data_received(self, body: bytes, *, last: bool, sender_id: int, now: float) -> DataPacket | None:
        """Take the body of a DATA or DATA_PART message; return the packet if this completes one.

        :raises RemoteProtocolError: when the body is malformed, or the packet exceeds a limit.
        :raises LinkLost: when this node has no memory left for parts; the packet starts over on the next connection.
        """
        assert self.session is not None and self.session.incoming is not None  # as there is a link
        incoming = self.session.incoming
        settings = self._settings
        if len(body) < DATA_HEADER_SIZE:
            raise RemoteProtocolError("a DATA message without flags and tag")
        flags, tag = body[0], body[1]
        if flags & ~_KNOWN_FLAGS:
            raise RemoteProtocolError(f"unknown flags {flags:#x} in a DATA message")
        if incoming.unreceipted >= 2 * settings.window and not self._reassembly.has_begun:
            raise RemoteProtocolError(f"{incoming.unreceipted} bytes without a receipt, window {settings.window}")
        payload = self._reassembly.add(body[DATA_HEADER_SIZE:], last=last, now=now)
        if payload is None:
            return None
        value = decode_value(tag, payload)
        return DataPacket(
            sender_id,
            value,
            flags & _BROADCAST != 0,
            flags & _REDELIVERED != 0,
            incoming,
            incoming.arrived(min(len(payload) + PACKET_OVERHEAD, settings.window)),
            flags & _RECEIPT_NOW != 0,
        )

    def handler_finished(self, packet: DataPacket, failure: str | None) -> bool:
        """Note that the handler of a packet finished; return whether its session still lives.

        :param failure: what the sender is told if the handler failed.
        """
        session = self.session
        if session is None or session.incoming is None or session.incoming is not packet._stream:
            return False
        session.incoming.finished(packet._number, failure)
        return True

    def receipts(self) -> list[Ack | Done | Nack]:
        """Return the receipts to send now."""
        return self.session.incoming.receipts() if self.session and self.session.incoming else []

    @property
    def untold(self) -> int:
        """Charged bytes of packets that are handled and not receipted."""
        return self.session.incoming.untold if self.session and self.session.incoming else 0

    @property
    def drained(self) -> bool:
        """Whether nothing is in flight: our packets have their receipts, the peer's are handled and receipted."""
        session = self.session
        return session is None or (
            session.outgoing.is_empty and (session.incoming is None or session.incoming.unreceipted == 0)
        )

    def announced(self, message: Announce, now: float) -> None:
        """Make room for a large packet of the peer, or let it wait for that.

        :raises RemoteProtocolError: when it is out of its place, or too large.
        """
        self._reassembly.announced(message, now)

    def goodbye_received(self) -> None:
        """Note that the peer sends no more packets: what it has announced does not come."""
        self._reassembly.drop()

    @property
    def go_is_due(self) -> bool:
        """Whether the peer has to be told that there is room."""
        return self._reassembly.go_is_due

    def take_go(self) -> Go:
        """Return that there is room, to be told."""
        return self._reassembly.take_go()

    @property
    def room_deadline(self) -> float | None:
        """When to call :meth:`look_for_room`, or None."""
        return self._reassembly.deadline

    def look_for_room(self, now: float) -> None:
        """See that a packet of the peer does not wait for one that only trickles."""
        self._reassembly.deadline_reached(now)

    def go_received(self, message: Go, now: float) -> None:
        """Note that the peer has room for the packet that was announced.

        :raises RemoteProtocolError: when none was.
        """
        if self._writer is not None:
            self._writer.go_received(message.number, now)

    @property
    def arriving(self) -> Arriving | None:
        """How much has come of a packet that is arriving, or None if nothing has."""
        incoming = self.session.incoming if self.session is not None else None
        if incoming is None or not self._reassembly.has_begun:
            return None
        return Arriving(incoming.received + 1, self._reassembly.size)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is queued, in flight or being handled, in either direction."""
        return not self.queued and not self._reassembly.has_begun and self.drained

    # ---- links come and go

    def attach(self, *, boot: int, window: int, max_frame: int, max_packet: int, announces: bool = False) -> None:
        """Begin to use a connection that was selected, with the limits that its peer has told.

        :param announces: whether both ends announce large packets.
        """
        self._stop_writing()
        self._reassembly.begin(announces=announces)
        self._accepts_new = True
        self._forget_at = None
        self.queue_limit = min(self._settings.queue_limit // 2, window)
        if self.session is None:
            self.session = self._new_session(boot)
        elif self.session.boot != boot:
            self.session = self._replace_session(self.session, boot)
        self._writer = PacketWriter(
            peer_id=self.peer_id,
            outgoing=self.session.outgoing,
            queue=self._queue,
            load=self._load,
            terms=Terms(
                window=window,
                max_packet=min(max_packet, self._settings.max_packet),
                part_size=min(self._settings.buffer_size, max(max_frame, MIN_MAX_FRAME) - 1 - DATA_HEADER_SIZE),
                announces=announces,
            ),
        )

    def state(self, message: type[S]) -> S:
        """Return the SELECT or SELECTED that says where our streams stand."""
        assert self.session is not None
        return self.session.state(message)

    def judge(self, told: Select, *, boot: int) -> None:
        """Raise if what the peer tells can't be. Nothing has changed then, and another link is not disturbed.

        :raises RemoteProtocolError: when the peer claims what can't be.
        """
        if told.stream == 0 or not 1 <= told.first <= MAX_FIRST:
            raise RemoteProtocolError(f"stream {told.stream} can't begin with packet {told.first}")
        if self.session is not None and self.session.boot == boot:
            self.session.judge(told)

    def resume(self, told: Select) -> None:
        """Apply the state that the peer has told in its SELECT or SELECTED; packets may flow from now on.

        :raises RemoteProtocolError: when the peer claims what can't be.
        """
        session, writer = self.session, self._writer
        assert session is not None and writer is not None
        self.judge(told, boot=session.boot)
        for packet in session.resume(told):
            self._queue.settle(packet, PeerLost(self.peer_id, "the peer has forgotten the session"))
        self._end_broken(session)
        writer.is_open = True
        self.missed = min(self.missed, 1)  # it has one chance more: what has timed out need not have reached it

    def stop_sending(self, error: Exception) -> None:
        """Begin no further packet on this link; fail those that were not begun."""
        self._accepts_new = False
        lost = "the session has ended"
        self._fail_queue(lambda packet: PeerLost(self.peer_id, lost) if packet.written else error)

    def pause_sending(self) -> None:
        """Begin no further packet on this link. What was not begun waits for the next one, as the session goes on."""
        self._accepts_new = False

    def goodbye_said(self) -> None:
        """Note that this end sends no more packets on this link, and announces none."""
        if self._writer is not None:
            self._writer.left()

    def detach(self, now: float) -> None:
        """Note that the connection in use is gone. The session is kept for a while."""
        self._stop_writing()
        self._forget_at = now + self._settings.session_timeout

    def proven(self, boot: int, now: float) -> None:
        """Note that a process of the peer has introduced itself, on a connection that may never be its link.

        The session with it is kept for as long again: where connections break before they are links, it lives.
        """
        if self._forget_at is not None and self.session is not None and self.session.boot == boot:
            self._forget_at = now + self._settings.session_timeout

    def end_session(self, reason: str) -> None:
        """Forget the session: what was written without a receipt ends in PeerLost."""
        self._stop_writing()
        session, self.session = self.session, None
        self.missed = 0
        if session is not None:
            for packet in session.outgoing.clear():
                self._queue.settle(packet, PeerLost(self.peer_id, reason))
        self._fail_queue(lambda packet: PeerLost(self.peer_id, reason) if packet.written else None)

    def fail_unwritten(self, error: Exception, *, plain: bool = True) -> None:
        """Fail the packets that were never written: the peer can't be reached.

        :param plain: whether those fail, too, whose outcome nobody waits for.
        """

        def judge(packet: OutgoingPacket) -> Exception | None:
            return error if not packet.written and (plain or packet.waiter is not None) else None

        self._fail_queue(judge)

    def refused(self, attempts: int, reason: str) -> None:
        """Note that nothing listens where the peer is dialed: callers that wait until the link is lost wait no more.

        :param attempts: how many times the peer was dialed.
        :param reason: what the system says about it.
        """
        if self._writer is not None:
            return
        for packet in self._until_link():
            if packet.written:
                error: Exception = PeerLost(self.peer_id, f"it is not linked, and a dial was refused: {reason}")
            else:
                error = PeerUnreachable(self.peer_id, attempts, reason)
            self._queue.withdraw(packet, error)

    @property
    def awaits_link(self) -> bool:
        """Whether callers wait until the link is lost, and a dial has to tell whether it is."""
        return bool(self._until_link())

    @property
    def answers(self) -> bool:
        """Whether the peer has not let its last two deadlines pass: if it has, a broadcast does not wait for it."""
        return self.missed < 2

    def close(self, error: Exception | None = None) -> None:
        """End everything; the object is not used again."""
        self.end_session("this node was shut down")
        self.fail_unwritten(error or NodeStopped())
        self._queue.close()

    @property
    def idle(self) -> bool:
        """Whether nothing would be lost if this object were dropped."""
        return self.session is None and not self.queued

    # ---- time

    def next_deadline(self) -> float | None:
        """Return when :meth:`deadline_reached` has to be called, or None."""
        first = self._queue.next_deadline()
        if self._forget_at is None or (first is not None and first < self._forget_at):
            return first
        return self._forget_at

    def deadline_reached(self, now: float) -> None:
        """Time out packets, and forget a session that had no link for too long."""
        for packet in self._queue.take_overdue(now):
            later = self._awaited_until(packet, now)
            if later > now:
                self._queue.postpone(packet, later)
                continue
            if packet.written or self._writer is not None:  # else the peer had no chance
                self.missed += 1
            error = DeliveryTimeout(self.peer_id, packet.waited, packet.written)
            self._queue.withdraw(packet, error)
        if self._forget_at is not None and self._forget_at <= now:
            self.end_session(f"no connection for {self._settings.session_timeout:g} s")
            if not self.can_dial:
                reason = "no connection came, and no address is known"
                self.fail_unwritten(PeerUnreachable(self.peer_id, 0, reason))
            self._forget_at = now + self._settings.session_timeout

    # ---- private

    def _awaited_until(self, packet: OutgoingPacket, now: float) -> float:
        """Return how long a caller waits for a packet that is on its way and makes progress; 0 for any other."""
        session = self.session
        if packet.patience is None or session is None or self._writer is None:
            return 0.0
        is_on_its_way = packet.underway or packet.sequence > session.outgoing.arrived
        if self._writer.is_awaiting_go(packet):
            return self._heard_at + packet.patience  # a peer that lives has others before this one
        return self._progress_at + packet.patience if is_on_its_way else 0.0

    def _fail_queue(self, judge: Callable[[OutgoingPacket], Exception | None]) -> None:
        """Settle what waits by the error that `judge` gives for it; what gets None goes on waiting."""
        for packet in self._queue.clear():
            error = judge(packet)
            if error is not None:
                self._queue.settle(packet, error)
            else:
                self._queue.keep(packet)

    def _until_link(self) -> list[OutgoingPacket]:
        held = self.session.outgoing.packets() if self.session is not None else []
        return [packet for packet in (*held, *self._queue.waiting) if packet.until_link and not packet.settled]

    def _stop_writing(self) -> None:
        """The connection in use is gone, or was replaced: both ends forget packets that have not come through whole."""
        self._reassembly.drop()
        writer, self._writer = self._writer, None
        self._accepts_new = False
        self._arriving = None
        if writer is not None:
            writer.interrupt()

    def _end_broken(self, session: Session) -> None:
        """Give the packet up that the path breaks inside of, again and again; what is behind it goes on."""
        packet = session.outgoing.to_resend()
        if packet is None or packet.breaks < MAX_BREAKS:
            return
        reason = f"the path breaks inside packets of {len(packet.payload)} bytes"
        if packet.deaths:  # an earlier process of the peer may have handled it
            self._queue.settle(packet, PeerLost(self.peer_id, reason))
        else:
            self._queue.settle(packet, PeerUnreachable(self.peer_id, packet.breaks, reason))

    def _replace_session(self, old: Session, boot: int) -> Session:
        """The peer's process was replaced: what it left without a receipt goes to the new one first, flagged.

        Unless it is what has ended the process.
        """
        cause = old.outgoing.process_ended()
        self.missed = 0
        again = []
        for packet in old.outgoing.clear():
            packet.flags |= _REDELIVERED
            if packet is cause:
                reason = "each process that was given the packet has ended"
                self._queue.settle(packet, PeerLost(self.peer_id, reason, packet.deaths))
            elif not packet.settled:  # nobody needs what was settled
                again.append(packet)
        self._queue.put_first(again)
        return self._new_session(boot)

    def _new_session(self, boot: int) -> Session:
        keep = 2 * self._settings.window + self._settings.max_packet + PACKET_OVERHEAD
        probation = 2 * self._settings.delivery_timeout
        return Session(boot, stream_id=self._rng.randrange(1, 2**64), probation=probation, keep=keep)
