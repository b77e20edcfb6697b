"""One connection, from the first byte behind TLS to the last: introductions, selection, packets, liveness, farewell.

Bytes and times go in, events and bytes come out. What a peer may say in which state is the table
:data:`~netlayer.sansio.link.states.LEGAL`.
"""

from __future__ import annotations

from netlayer.config import Settings
from netlayer.errors import LinkLost, LocalProtocolError, NetlayerError, PeerUnreachable, Rejected, RemoteProtocolError
from netlayer.handlers import DataPacket
from netlayer.sansio.delivery.delivery import Delivery
from netlayer.sansio.link import commands
from netlayer.sansio.link.events import Closed, Event, Introduced, Linked, Proven
from netlayer.sansio.link.handshake import LocalNode, RemoteNode, judge_hello, judge_welcome
from netlayer.sansio.link.liveness import FrameTimer, Liveness, Pings, Verdict
from netlayer.sansio.link.pacing import Pacing
from netlayer.sansio.link.proof import Channel
from netlayer.sansio.link.states import CARRIES, LEGAL, TAKES_DATA, State
from netlayer.wire.frames import MAX_HANDSHAKE_FRAME, FrameDecoder
from netlayer.wire.messages import (
    Ack,
    Announce,
    Arriving,
    Done,
    Feature,
    Go,
    Goodbye,
    GoodbyeCode,
    Hello,
    Links,
    Message,
    MessageType,
    Nack,
    NetAddress,
    Peers,
    Ping,
    Pong,
    Referral,
    Register,
    Registered,
    Reject,
    RejectCode,
    Select,
    Selected,
    Welcome,
    decode_message,
    encode_message,
)

__all__ = ["Connection"]

#: Bytes handed to the transport at once: TLS copies larger pieces more often than smaller ones.
PIECE = 65536

#: Control bytes that may wait while a peer does not read; many times what an honest peer causes.
MAX_CONTROL = 1024 * 1024

_DATA = int(MessageType.DATA)
_DATA_PART = int(MessageType.DATA_PART)


class Connection:
    """The protocol of one connection.

    :param dialed: whether this end dialed.
    :param expected_id: the node id that was dialed, if one was.
    :ivar remote: what the other end said about itself; None before HELLO or WELCOME.
    :ivar has_refused: whether the other end was told REJECT.
    :ivar heard_at: when bytes of the other end came last.
    :ivar is_parting: whether a GOODBYE was said or is about to be.
    :ivar others: how many neighbours the other end has besides this node, as it has told last; None if it has not.
    :ivar used_at: when packets or receipts have come last, on the link; 0.0 before that.
    :ivar goodbye_received: the peer's GOODBYE, or None.
    """

    def __init__(
        self, *, local: LocalNode, settings: Settings, dialed: bool, now: float, expected_id: int | None = None
    ) -> None:
        self.local = local
        self.dialed = dialed
        self.state = State.SECURING
        self.fingerprint = b""
        self.remote: RemoteNode | None = None
        self.has_refused = False
        self.heard_at = now
        self.bytes_received = 0
        self.bytes_sent = 0
        self.packets_received = 0
        self.packets_sent = 0
        self.goodbye_received: Goodbye | None = None
        self.others: int | None = None
        self.used_at = 0.0
        self._settings = settings
        self._lazy_bytes = min(settings.receipt_bytes, settings.window // 4)  # that are handled and have no receipt
        self._expected_id = expected_id
        self._channel: Channel  # once secured
        self._observed: NetAddress | None  # likewise
        self._hello: Hello | None = None  # at the listener
        self._delivery: Delivery | None = None
        self._frames = FrameDecoder()
        self._control: list[bytes] = []  # frames that go out before any packet
        self._control_size = 0
        self._pong: bytes | None = None  # the last PING only: a flood of them costs one answer
        self._register: Register | None = None  # the last one of a chunk only, for the same reason
        self._pings = Pings()
        self._pacing = Pacing()
        self._speaks = False  # whether a sign of life leaves with the next bytes
        self._liveness: Liveness | None = None
        self._deadline: float | None = now + settings.timeout  # of the handshake, later of the farewell
        self._frame_timer = FrameTimer(settings.frame_timeout)
        self._receipts_at: float | None = None
        self._receipts_due = False  # they leave with the next bytes
        self.is_parting = False
        self._farewell: Goodbye | None = None  # to be said when the packet that is being written is finished

    @property
    def is_arbiter(self) -> bool:
        """Whether this end selects: the one with the larger fingerprint does."""
        return self.local.fingerprint > self.fingerprint

    @property
    def is_link(self) -> bool:
        """Whether this connection carries packets and receipts."""
        return self.state in CARRIES

    @property
    def round_trip(self) -> float | None:
        """Seconds that the last PING took, or None."""
        return self._pings.round_trip

    # ---- what the driver asks for

    def secured(self, fingerprint: bytes, observed: NetAddress | None, binding: bytes) -> list[Event]:
        """TLS is up.

        :param fingerprint: the proven one of the other end.
        :param observed: its address, which it is told if it has dialed.
        :param binding: 32 bytes that only the two ends of this connection know.
        """
        self._require(State.SECURING)
        self.fingerprint = fingerprint
        self._observed = observed
        self._channel = self.local.channel(binding, fingerprint, dialed=self.dialed)
        if not self.dialed:
            self.state = State.AWAITING_HELLO
            return []
        if fingerprint == self.local.fingerprint:
            return self._close(Rejected(RejectCode.SELF, "this node has dialed itself"), abort=True)
        self.state = State.AWAITING_WELCOME
        self._say(self.local.hello(self.local.proof_to_listener(self._channel)))
        return []

    def accept(self, delivery: Delivery, now: float) -> list[Event]:
        """Accept the other end's introduction.

        :param delivery: what the connection works for if it is selected.
        """
        self._require(State.JUDGING)
        if self._hello is not None:
            self._say(self.local.welcome(self._observed, self.local.proof_to_dialer(self._channel, self._hello)))
        self.state = State.PROVEN
        self._delivery = delivery
        if self.remote is not None:
            delivery.proven(self.remote.boot, now)
        self._frames.limit = self.local.max_frame
        events = self._take_frames(now)
        if self.state is State.PROVEN and self.is_arbiter:
            events.append(Proven())
        return events

    def reject(
        self, code: str, text: str = "", retry_after: float | None = None, referrals: tuple[Referral, ...] = ()
    ) -> list[Event]:
        """Refuse the other end and close."""
        if self.state is State.CLOSED:
            return []
        if self.state not in (State.SECURING, State.AWAITING_WELCOME):  # there, the other end is not listening yet
            self._say(Reject(code, text, retry_after, referrals))
            self.has_refused = True
        return self._close(Rejected(code, text, retry_after))

    def select(self) -> None:
        """Make this connection the link, as the arbiter. It carries packets once the other end has answered."""
        self._require(State.PROVEN)
        delivery = self._attach()
        self.state = State.SELECTING
        self._say(delivery.state(Select))

    def obey(self, command: commands.Command, now: float) -> list[Event]:
        """Do what was decided about this connection. If it is over meanwhile, nothing is left to do."""
        if self.state is State.CLOSED:
            return []
        match command:
            case commands.Accept(_, delivery):
                return self.accept(delivery, now)
            case commands.Reject(_, code, text, retry_after, referrals):
                return self.reject(code, text, retry_after, referrals)
            case commands.Abort(_, reason):
                return self.connection_lost(reason)
            case commands.Select():
                self.select()
            case commands.Ping():
                self.ping(now)
        return []

    def ping(self, now: float) -> bytes:
        """Ask for a sign of life; return the eight bytes that its PONG will carry."""
        ping = self._next_ping(now)
        self._say(ping)
        return ping.opaque

    def say(self, message: Register | Registered | Peers | Links) -> None:
        """Send what is said on a link besides packets; without effect when the link is ending."""
        if self.state is State.LINKED:
            self._say(message)

    def goodbye(self, code: str, text: str, now: float, *, retry_after: float | None = None) -> list[Event]:
        """Begin the end: no new packets, and receipts for those in flight. Before the link stands, just close.

        Once we have said SELECT it may stand at the other end: then SELECTED is awaited, so that GOODBYE can be said.
        """
        if self.state in CARRIES or self.state is State.SELECTING:
            unsaid = self.state in (State.LINKED, State.SELECTING)
            if self._farewell is None or (unsaid and self._farewell.code == GoodbyeCode.ROOM):
                self._leave(Goodbye(code, text, retry_after), now)
            return self._part()
        return self.reject(RejectCode.SHUTTING_DOWN, text)

    @property
    def ends_session(self) -> bool:
        """Whether the session ends with this connection: a GOODBYE ends it, unless both ends only want the room."""
        said, received = self._farewell, self.goodbye_received
        return said is not None and (
            said.code != GoodbyeCode.ROOM or (received is not None and received.code != GoodbyeCode.ROOM)
        )

    def packet_handled(self, packet: DataPacket, failure: str | None, now: float) -> list[Event]:
        """The handler of a packet finished; its receipt goes out on whichever link there is.

        :param failure: what the sender is told if it failed.
        """
        delivery = self._delivery
        if delivery is None or not delivery.handler_finished(packet, failure) or self.state not in CARRIES:
            return []
        if failure is not None or packet._receipt_now or delivery.untold >= self._lazy_bytes:
            self._receipts_due = True
        elif self._receipts_at is None:
            self._receipts_at = now + self._settings.receipt_delay
        return self._part() if self.is_parting else []

    def connection_lost(self, reason: Exception) -> list[Event]:
        """The transport is gone, for a reason of its own unless the connection was closed before."""
        if self.state is State.CLOSED:
            return []
        self._control.clear()
        return self._close(reason, abort=True)

    # ---- bytes

    def receive_data(self, data: bytes, now: float) -> list[Event]:
        """Take the next bytes of the other end."""
        if self.state is State.CLOSED:
            return []
        self.bytes_received += len(data)
        self.heard_at = now
        if self._liveness is not None:
            self._liveness.heard(now)
            if self._delivery is not None:
                self._delivery.heard(now)
        self._frames.feed(data)
        events = self._take_frames(now)
        waiting = self._frames.waiting
        if waiting or self._frame_timer.deadline is not None:
            self._frame_timer.received(self.bytes_received - waiting, waiting, now)
        return events

    def data_to_send(self, now: float) -> bytes:
        """Return what to write next, about 64 KiB at most, or b"" if there is nothing.

        While the transport is full it is not called, and everything stays where it is bounded: packets in their
        queue, receipts as state, and of PONGs the last one.
        """
        if self.is_parting:
            self._say_farewell()
        out, self._control, self._control_size = self._control, [], 0
        if self._pong is not None:
            out.append(encode_message(Pong(self._pong)))
            self._pong = None
        delivery = self._delivery
        if self.state in CARRIES and delivery is not None:
            if self._receipts_due:
                self._receipts_due, self._receipts_at = False, None
                out += [encode_message(receipt) for receipt in delivery.receipts()]
            if delivery.go_is_due:
                out.append(encode_message(delivery.take_go()))
            if delivery.has_frames:
                self._add_frames(delivery, out, now)
        if self._speaks:
            self._speaks = False
            if not out:
                out.append(encode_message(self._arriving() or self._next_ping(now)))
        if not out:
            return b""
        if self._liveness is not None:
            self._liveness.spoke(now)
        data = out[0] if len(out) == 1 else b"".join(out)
        self.bytes_sent += len(data)
        return data

    def after_sending(self) -> list[Event]:
        """Note that all of :meth:`data_to_send` was written: a farewell that waited for it may be over."""
        return self._part()

    # ---- time

    def next_deadline(self) -> float | None:
        """Return when :meth:`deadline_reached` has to be called, or None."""
        first = self._deadline
        if self._receipts_at is not None and (first is None or self._receipts_at < first):
            first = self._receipts_at
        if self._liveness is not None:
            silent_at = self._liveness.deadline
            if first is None or silent_at < first:
                first = silent_at
            room_at = self._delivery.room_deadline if self._delivery is not None else None
            for other in (self._frame_timer.deadline, room_at):
                if other is not None and other < first:
                    first = other
        return first

    def deadline_reached(self, now: float) -> list[Event]:
        """Do what is due. Receipts that are due leave with the next :meth:`data_to_send`, whenever that is."""
        if self._receipts_at is not None and self._receipts_at <= now:
            self._receipts_due, self._receipts_at = True, None
        if self._deadline is not None and self._deadline <= now:
            if self.state in CARRIES:
                return self._close(LinkLost(self._farewell_reason()))
            reason = f"no link within {self._settings.timeout:g} s ({self.state.value})"
            return self._close(LinkLost(reason), abort=True)
        if self._delivery is not None and self.state in CARRIES:
            self._delivery.look_for_room(now)
        if self._liveness is not None and self._frame_timer.is_over(now):
            return self._close(LinkLost(f"a frame took more than {self._settings.frame_timeout:g} s"), abort=True)
        if self._liveness is not None and self._liveness.deadline <= now:
            verdict = self._liveness.deadline_reached(now, arriving=self._arriving() is not None)
            if verdict is Verdict.DEAD:
                self._control.clear()
                return self._close(LinkLost(f"silent for {self._settings.dead_after:g} s"), abort=True)
            if verdict is Verdict.ASK:
                self.ping(now)
            elif verdict is Verdict.SPEAK:
                self._speaks = True
        return []

    # ---- private: messages

    def _take_frames(self, now: float) -> list[Event]:
        events: list[Event] = []
        next_frame = self._frames.next_frame
        try:
            while self.state is not State.JUDGING and (frame := next_frame()) is not None:
                kind, body = frame
                if self._control_size > MAX_CONTROL:
                    raise LinkLost("the peer asks and does not read the answers")
                if kind == _DATA or kind == _DATA_PART:
                    packet = self._data(body, last=kind == _DATA, now=now)
                    if packet is not None:
                        self.packets_received += 1
                        self.used_at = now
                        events.append(packet)
                    continue
                message = decode_message(kind, body)
                if message is not None:
                    events += self._message(message, now)
                    if self.state is State.CLOSED:
                        break
            if self.state is State.JUDGING and self._frames.waiting > MAX_HANDSHAKE_FRAME:
                raise RemoteProtocolError("more was sent than an introduction, before it was answered")
            if self._register is not None and self.state is not State.CLOSED:
                events.append(self._register)
                self._register = None
        except RemoteProtocolError as error:
            self._say(Reject(RejectCode.PROTOCOL_VIOLATION, error.reason[:200]))
            events += self._close(error)
        except NetlayerError as error:
            events += self._close(error, abort=True)
        return events

    def _message(self, message: Message, now: float) -> list[Event]:
        if type(message) not in LEGAL[self.state]:
            raise RemoteProtocolError(f"{type(message).__name__} is not legal here ({self.state.value})")
        match message:
            case Ack() | Done() | Nack():
                assert self._delivery is not None
                self.used_at = now
                self._delivery.receipt_received(message)
                return self._part() if self.is_parting else []
            case Ping():
                self._pong = message.opaque
            case Arriving():
                assert self._delivery is not None
                self._delivery.arriving_received(message, now)
            case Announce():
                assert self._delivery is not None
                self._delivery.announced(message, now)
            case Go():
                assert self._delivery is not None
                self._delivery.go_received(message, now)
            case Pong():
                return self._ponged(message, now)
            case Hello():
                self._hello = message
                return self._introduced(message, judge_hello(self.local, message, self._channel))
            case Welcome():
                refusal = judge_welcome(self.local, message, self._channel, expected_id=self._expected_id)
                return self._introduced(message, refusal)
            case Selected():
                assert self._delivery is not None
                self._delivery.resume(message)
                return self._linked(now)
            case Select():
                return self._selected(message, now)
            case Reject():
                return self._close(Rejected(message.code, message.text, message.retry_after, message.referrals))
            case Goodbye():
                return self._goodbye(message, now)
            case Register():
                self._require_bootstrap(message)
                self._register = message
            case Registered() | Peers():
                self._require_bootstrap(message)
                return [message]
            case Links():
                self.others = max(0, message.links - 1)
        return []

    def _data(self, body: bytes, *, last: bool, now: float) -> DataPacket | None:
        if self.state not in TAKES_DATA:
            raise RemoteProtocolError(f"DATA is not legal here ({self.state.value})")
        assert self._delivery is not None and self.remote is not None
        return self._delivery.data_received(body, last=last, sender_id=self.remote.node_id, now=now)

    def _introduced(self, message: Hello | Welcome, refusal: Reject | None) -> list[Event]:
        self.state = State.JUDGING
        self.remote = RemoteNode.from_message(message)
        self.others = self.remote.links
        if refusal is not None:
            return self.reject(refusal.code, refusal.text, refusal.retry_after)
        return [Introduced(self.remote)]

    def _selected(self, message: Select, now: float) -> list[Event]:
        if self.is_arbiter:
            raise RemoteProtocolError("SELECT from the end that is not the arbiter")
        assert self._delivery is not None and self.remote is not None
        self._delivery.judge(message, boot=self.remote.boot)
        before = self._attach().state(Selected)
        self._delivery.resume(message)
        after = self._delivery.state(Selected)
        self._say(Selected(after.stream, after.first, before.peer_stream, before.received, after.receipted))
        return self._linked(now)

    def _attach(self) -> Delivery:
        delivery, remote = self._delivery, self.remote
        if delivery is None or remote is None:
            raise LocalProtocolError("this connection was not told what to deliver")
        delivery.attach(
            boot=remote.boot,
            window=remote.window,
            max_frame=remote.max_frame,
            max_packet=remote.max_packet,
            announces=Feature.ANNOUNCE in remote.features and Feature.ANNOUNCE in self.local.features,
        )
        return delivery

    def _linked(self, now: float) -> list[Event]:
        self.state = State.LINKED
        if self._farewell is None:
            self._deadline = None
        self._receipts_due = True  # those that the last link may have lost
        self._liveness = Liveness(now, ping_after=self._settings.ping_after, dead_after=self._settings.dead_after)
        return [Linked(), *self._part()]

    def _require_bootstrap(self, message: Register | Registered | Peers) -> None:
        assert self.remote is not None
        role = self.local.role if isinstance(message, Register) else self.remote.role
        if role != "bootstrap":
            raise RemoteProtocolError(f"{type(message).__name__} where no bootstrap node is concerned")

    def _add_frames(self, delivery: Delivery, out: list[bytes], now: float) -> None:
        """Add packets to what is sent, about as much as is handed to the transport at once and the way has room for."""
        pacing = self._pacing
        room = min(PIECE - sum(map(len, out)), pacing.room)
        while room > 0 and (frame := delivery.next_frame(now)) is not None:
            out.append(frame)
            room -= len(frame)
            pacing.written += len(frame)
            if frame[4] == _DATA:
                self.packets_sent += 1
        if pacing.is_mark_due:
            out.append(encode_message(self._next_ping(now)))

    def _next_ping(self, now: float) -> Ping:
        """Return a PING whose PONG tells that everything before it was read."""
        # Before the link stands, what was sent is what an earlier link has sent, and may be numbered anew.
        number = self._delivery.last_number if self._delivery is not None and self.state in CARRIES else 0
        return Ping(self._pings.next(now, self._pacing.mark(number, now)))

    def _ponged(self, message: Pong, now: float) -> list[Event]:
        mark = self._pings.answered(message.opaque, now)
        if mark is None:
            return []
        self._pacing.confirmed(mark, now)
        if self._delivery is not None and self.state in CARRIES:
            self._delivery.arrived(mark.number, now)
        return [message]

    def _arriving(self) -> Arriving | None:
        """Return how much has come of a packet that is arriving; bytes of a frame that is not whole count, too."""
        arriving = self._delivery.arriving if self._delivery is not None and self.state in CARRIES else None
        return arriving and Arriving(arriving.number, arriving.size + self._frames.waiting)

    # ---- private: the end

    def _goodbye(self, message: Goodbye, now: float) -> list[Event]:
        assert self._delivery is not None
        self.goodbye_received = message
        self._delivery.goodbye_received()
        self.state = State.PARTING if self.state is State.LEAVING else State.LEFT
        if self._farewell is None:
            self._leave(Goodbye(message.code), now)
        return [message, *self._part()]

    def _leave(self, farewell: Goodbye, now: float) -> None:
        assert self._delivery is not None and self.remote is not None
        self._farewell, self.is_parting = farewell, True
        farewell_over = now + self._settings.goodbye_timeout
        self._deadline = farewell_over if self._deadline is None else min(farewell_over, self._deadline)
        if farewell.code == GoodbyeCode.ROOM:
            self._delivery.pause_sending()
        else:
            self._delivery.stop_sending(PeerUnreachable(self.remote.node_id, 0, f"the link ends: {farewell.code}"))

    def _part(self) -> list[Event]:
        """Take the next step of a farewell, if one is under way.

        GOODBYE is said when every packet that was begun is written; the connection is closed when both have said it
        and nothing is in flight. Receipts that are ready go first.
        """
        delivery = self._delivery
        if self._farewell is None or delivery is None:
            return []
        self._say_farewell()
        if self.state is not State.PARTING:
            return []
        for receipt in delivery.receipts():
            self._say(receipt)
        return self._close(LinkLost(self._farewell_reason())) if delivery.drained else []

    def _say_farewell(self) -> None:
        delivery = self._delivery
        if self._farewell is None or delivery is None or self.state not in (State.LINKED, State.LEFT):
            return
        if not delivery.has_begun:
            self._say(self._farewell)
            delivery.goodbye_said()
            self._receipts_due = True
            self.state = State.LEAVING if self.state is State.LINKED else State.PARTING

    def _farewell_reason(self) -> str:
        assert self._farewell is not None
        return f"goodbye: {self._farewell.code}"

    def _close(self, reason: Exception, *, abort: bool = False) -> list[Event]:
        self.state = State.CLOSED
        self._deadline = self._receipts_at = self._liveness = self._pong = None  # a REJECT is the last word
        return [Closed(reason, abort)]

    # ---- private: small things

    def _say(self, message: Message) -> None:
        frame = encode_message(message)
        self._control.append(frame)
        self._control_size += len(frame)

    def _require(self, state: State) -> None:
        if self.state is not state:
            raise LocalProtocolError(f"the connection is {self.state.value}, not {state.value}")
