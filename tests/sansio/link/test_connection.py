"""One connection, from its first byte to its last."""

from __future__ import annotations

import io
import itertools

import attrs
import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netlayer.config import Settings
from netlayer.errors import (
    HandlerFailed,
    LinkLost,
    LocalProtocolError,
    PeerIdentityMismatch,
    PeerLost,
    PeerUnreachable,
    Rejected,
    RemoteProtocolError,
)
from netlayer.handlers import DataPacket
from netlayer.sansio.link.connection import MAX_CONTROL, PIECE
from netlayer.sansio.link.events import Closed, Introduced, Linked, Proven
from netlayer.sansio.link.states import LEGAL, TAKES_DATA, State
from netlayer.wire.frames import MAX_HANDSHAKE_FRAME, encode_frame
from netlayer.wire.messages import (
    FIRST_OPTIONAL_TYPE,
    MIN_MAX_FRAME,
    VERSION,
    Ack,
    Announce,
    Arriving,
    Done,
    Flag,
    Go,
    Goodbye,
    GoodbyeCode,
    Links,
    Message,
    MessageType,
    Nack,
    Peers,
    Ping,
    Pong,
    Register,
    Registered,
    Reject,
    RejectCode,
    Select,
    Selected,
    Welcome,
    encode_data,
    encode_message,
)
from tests.sansio.pair import ADDRESS, BINDING, LARGE, SMALL, Pair, Side, local_node, messages

KIB = 1024
PEER = local_node(1, Settings(), fingerprint=SMALL, boot=11)
PACKET = encode_data(MessageType.DATA, 0, 0, b"data")
PART = encode_data(MessageType.DATA_PART, 0, 0, bytes(KIB))


def frame(message: Message) -> bytes:
    """Return the bytes of a message."""
    return encode_message(message)


class ConnectionTestCase(SynchronousTestCase):
    """What the tests of connections have in common."""

    def assertViolation(self, side: Side, reason: str = "") -> None:
        """Assert that a connection was closed because of the other end, which was told why as the last word."""
        self.assertIsInstance(side.closed, RemoteProtocolError)
        self.assertIn(reason, str(side.closed))
        self.assertIs(side.connection.state, State.CLOSED)
        last = messages(side.connection.data_to_send(side.now))[-1]
        assert isinstance(last, Reject), last
        self.assertEqual(last.code, RejectCode.PROTOCOL_VIOLATION)
        self.assertIsNone(side.connection.next_deadline())
        side.receive(PACKET)
        self.assertIsInstance(side.events[-1], Closed)  # nothing counts after that
        self.assertEqual(side.said(), b"")

    def assertClosed(self, side: Side, kind: type[Exception], reason: str = "", *, abort: bool) -> None:
        """Assert that a connection was closed, and whether it waits for a clean end."""
        self.assertIsInstance(side.closed, kind)
        self.assertIn(reason, str(side.closed))
        (event,) = [event for event in side.events if isinstance(event, Closed)]
        self.assertEqual(event.abort, abort)
        self.assertIsNone(side.connection.next_deadline())


# ---- introductions


class HandshakeTests(ConnectionTestCase):
    """From TLS to the link."""

    def test_link(self) -> None:
        """Two nodes introduce themselves, one end selects, and both have a link and know each other."""
        for dialer_selects in (False, True):
            pair = Pair(dialer_selects=dialer_selects).link()
            for side, other in (pair.sides, pair.sides[::-1]):
                decides = [Proven] if side.connection.is_arbiter else []
                self.assertEqual([type(event) for event in side.events], [Introduced, *decides, Linked])
                assert side.connection.remote is not None
                self.assertEqual(side.connection.remote.node_id, other.connection.local.node_id)
                self.assertEqual(side.connection.remote.boot, other.connection.local.boot)
                self.assertTrue(side.connection.is_link)

    def test_nothing_before_tls(self) -> None:
        """A connection says nothing before TLS is up, and the listener nothing before it has heard the dialer."""
        pair = Pair()
        self.assertEqual((pair.dialer.said(), pair.listener.said()), (b"", b""))
        pair.secure()
        self.assertEqual(pair.listener.said(), b"")
        self.assertEqual(messages(pair.dialer.said()), [pair.dialer.connection.local.hello()])

    @settings(deadline=None, max_examples=60)
    @given(st.booleans(), st.lists(st.integers(1, 400), min_size=1, max_size=30))
    def test_any_chunks(self, dialer_selects: bool, sizes: list[int]) -> None:
        """However the bytes are cut, the same link comes of them and the same packets arrive."""
        pair = Pair(Settings(buffer_size=KIB), dialer_selects=dialer_selects).secure()
        payloads, size = [b"", b"small", bytes(3 * KIB)], itertools.cycle(sizes)
        for side in pair.sides:
            for payload in payloads:
                side.send(payload)
        while any(flights := [side.said() for side in pair.sides]):
            for side, flight in zip(pair.sides[::-1], flights, strict=True):
                data = io.BytesIO(flight)
                while chunk := data.read(next(size)):
                    side.receive(chunk)
        pair.wait(0.01)
        for side in pair.sides:
            self.assertTrue(side.delivery.drained)
            decides = [Proven] if side.connection.is_arbiter else []
            other = 3 - side.connection.local.node_id
            self.assertEqual(
                [event if isinstance(event, DataPacket) else type(event) for event in side.events],
                [
                    Introduced,
                    *decides,
                    Linked,
                    *(DataPacket(other, data) for data in payloads),
                ],
            )

    def test_every_cut(self) -> None:
        """The handshake may be cut in two at every byte: HELLO, WELCOME with SELECT, and SELECTED."""
        for flight in range(3):
            for cut in itertools.count(1):
                pair = Pair().secure()
                sender, receiver = pair.sides
                for _ in range(flight):
                    receiver.receive(sender.said())
                    sender, receiver = receiver, sender
                data = sender.said()
                if cut == len(data):
                    break
                receiver.receive(data[:cut])
                receiver.receive(data[cut:])
                pair.exchange()
                self.assertTrue(pair.dialer.linked and pair.listener.linked, (flight, cut))

    def test_byte_by_byte(self) -> None:
        """Bytes may come one at a time."""
        pair = Pair().secure()
        for _ in range(6):
            for side, other in (pair.sides, pair.sides[::-1]):
                for byte in side.said():
                    other.receive(bytes([byte]))
        self.assertTrue(pair.dialer.linked and pair.listener.linked)

    def test_welcome_and_select_together(self) -> None:
        """The listener's WELCOME and SELECT may come in one chunk, and what follows SELECTED with it."""
        pair = Pair().secure()
        pair.listener.receive(pair.dialer.said())
        answer = pair.listener.said()
        self.assertEqual([type(message) for message in messages(answer)], [Welcome, Select])
        pair.dialer.send(b"at once")
        pair.dialer.receive(answer + frame(Ping(b"12345678")))
        self.assertTrue(pair.dialer.linked)
        answer = pair.dialer.said()
        kinds = [m[0] if isinstance(m, tuple) else type(m) for m in messages(answer)]
        self.assertEqual(kinds, [Selected, Pong, MessageType.DATA])
        pair.listener.receive(answer)
        self.assertEqual([packet.data for packet in pair.listener.packets], [b"at once"])

    def test_judged_later(self) -> None:
        """A node may think about an introduction; what comes meanwhile waits and is taken then."""
        pair = Pair().secure()
        pair.dialer.accepts = False
        pair.listener.receive(pair.dialer.said())
        pair.dialer.receive(pair.listener.said())
        self.assertEqual([type(event) for event in pair.dialer.events], [Introduced])
        pair.dialer.accept()
        self.assertTrue(pair.dialer.linked)

    def test_too_much_while_judged(self) -> None:
        """More than an introduction before the answer is a violation: nobody fills our memory unproven."""
        listener = Pair().secure().listener
        listener.accepts = False
        listener.receive(frame(PEER.hello()))
        for _ in range(MAX_HANDSHAKE_FRAME // 512):
            listener.receive(bytes(512))
        self.assertIsNone(listener.closed)
        listener.receive(b"1")
        self.assertViolation(listener, "more was sent")

    def test_long_frame(self) -> None:
        """Before an introduction is accepted, frames are short; the header alone condemns a longer one."""
        for dialed in (False, True):
            pair = Pair().secure()
            side = pair.dialer if dialed else pair.listener
            side.said()
            side.receive((MAX_HANDSHAKE_FRAME + 1).to_bytes(4, "big") + b"\1")
            self.assertViolation(side, "limit 4096")

    def test_frame_limit(self) -> None:
        """On the link, the limit is what we have announced."""
        pair = Pair().link()
        pair.dialer.receive((MIN_MAX_FRAME + 1).to_bytes(4, "big") + b"\x10")
        self.assertViolation(pair.dialer, f"limit {MIN_MAX_FRAME}")

    def test_refused(self) -> None:
        """A dialer that the node refuses learns why and when to come back."""
        pair = Pair().secure()
        pair.listener.accepts = False
        pair.listener.receive(pair.dialer.said())
        pair.listener.take(pair.listener.connection.reject(RejectCode.FULL, "64 links", 9.0))
        self.assertClosed(pair.listener, Rejected, "full", abort=False)
        pair.dialer.receive(pair.listener.connection.data_to_send(pair.listener.now))
        self.assertClosed(pair.dialer, Rejected, "64 links", abort=False)
        assert isinstance(pair.dialer.closed, Rejected)
        self.assertEqual(pair.dialer.closed.retry_after, 9.0)
        self.assertEqual(pair.listener.connection.reject(RejectCode.FULL), [])  # once is enough

    def test_dialer_refuses(self) -> None:
        """A dialer may refuse too, once it knows who has answered; the listener learns why."""
        pair = Pair().secure()
        pair.dialer.accepts = False
        pair.listener.receive(pair.dialer.said())
        pair.dialer.receive(pair.listener.said())
        pair.dialer.take(pair.dialer.connection.reject(RejectCode.ID_TAKEN))
        pair.listener.receive(pair.dialer.connection.data_to_send(pair.dialer.now))
        self.assertClosed(pair.listener, Rejected, "id-taken", abort=False)

    def test_given_up(self) -> None:
        """A dialer that gives up before anything was said tells nobody: nobody listens yet."""
        for secured in (False, True):
            pair = Pair().secure() if secured else Pair()
            pair.dialer.said()
            pair.dialer.take(pair.dialer.connection.reject(RejectCode.SHUTTING_DOWN))
            self.assertEqual(pair.dialer.connection.data_to_send(pair.dialer.now), b"")

    def refusal(self, **changes: object) -> str:
        """Return the code with which a listener answers a HELLO."""
        pair = Pair().secure()
        pair.listener.receive(frame(msgspec.structs.replace(PEER.hello(), **changes)))
        self.assertEqual([type(event) for event in pair.listener.events], [Closed])
        (reject,) = messages(pair.listener.connection.data_to_send(pair.listener.now))
        pair.dialer.receive(frame(reject))  # type: ignore[arg-type]
        assert isinstance(pair.dialer.closed, Rejected) and isinstance(pair.listener.closed, Rejected)
        self.assertEqual(pair.dialer.closed.code, pair.listener.closed.code)
        return pair.dialer.closed.code

    def test_mismatches(self) -> None:
        """Another version, another network or our own id is refused at both ends with the reason."""
        self.assertEqual(self.refusal(version_min=VERSION + 1, version_max=VERSION + 1), RejectCode.VERSION)
        self.assertEqual(self.refusal(network="another"), RejectCode.NETWORK)
        self.assertEqual(self.refusal(node_id=2), RejectCode.ID_TAKEN)

    def test_self(self) -> None:
        """A node that has dialed itself notices at once, at either end."""
        pair = Pair()
        pair.dialer.secure(SMALL)
        self.assertClosed(pair.dialer, Rejected, "self", abort=True)
        pair.listener.secure(LARGE)
        pair.listener.receive(frame(PEER.hello()))
        self.assertClosed(pair.listener, Rejected, "self", abort=False)

    def test_another_id(self) -> None:
        """A dialer that finds another node than it was to dial leaves."""
        local = local_node(1, Settings(), fingerprint=SMALL, boot=11)
        dialer = Side(local, dialed=True, settings=Settings(), expected_id=3)
        dialer.secure(LARGE)
        dialer.receive(frame(local_node(2, Settings(), fingerprint=LARGE, boot=22).welcome(ADDRESS)))
        self.assertClosed(dialer, PeerIdentityMismatch, "expected node 3", abort=True)
        self.assertEqual([type(event) for event in dialer.events], [Closed])

    def test_welcome_to_another_network(self) -> None:
        """A WELCOME to what was not asked for is a violation."""
        for changes in ({"network": "another"}, {"version": VERSION + 1}):
            dialer = Pair().secure().dialer
            dialer.said()
            welcome = local_node(2, Settings(), fingerprint=LARGE, boot=22).welcome(None)
            dialer.receive(frame(msgspec.structs.replace(welcome, **changes)))
            self.assertViolation(dialer)

    def test_timeout(self) -> None:
        """Wherever the handshake stops, it is given up 5 s after it began, at each end."""
        for steps in range(5):
            pair = Pair()
            if steps > 0:
                pair.secure()
            if steps > 1:
                pair.listener.receive(pair.dialer.said())
            if steps > 2:
                pair.dialer.receive(pair.listener.said())
            if steps > 3:
                pair.dialer.said()  # its SELECTED is lost
            for side in pair.sides:
                if not side.linked:
                    side.wait(4.9)
                    self.assertIsNone(side.closed)
                    side.wait(0.1)
                    self.assertClosed(side, LinkLost, "no link within 5 s", abort=True)

    def test_timeout_while_judged(self) -> None:
        """A node that thinks for ever loses the connection too."""
        listener = Pair().secure().listener
        listener.accepts = False
        listener.receive(frame(PEER.hello()))
        listener.wait(5.0)
        self.assertClosed(listener, LinkLost, "no link within 5 s", abort=True)
        self.assertRaises(LocalProtocolError, listener.accept)

    def test_local_mistakes(self) -> None:
        """A driver that asks for what the state does not allow is told so, and nothing has changed."""
        pair = Pair()
        connection = pair.listener.connection
        self.assertRaises(LocalProtocolError, connection.accept, pair.listener.delivery, 0.0)
        self.assertRaises(LocalProtocolError, connection.select)
        pair.link()
        self.assertRaises(LocalProtocolError, connection.select)
        self.assertRaises(LocalProtocolError, connection.secured, SMALL, None, BINDING)
        self.assertIsNone(pair.listener.closed)


# ---- what is legal when

SAMPLES: list[Message] = [
    PEER.hello(),
    PEER.welcome(ADDRESS),
    Reject(RejectCode.FULL),
    Select(5, 1, 0, 0, 0),
    Selected(5, 1, 0, 0, 0),
    Ping(b"12345678"),
    Pong(b"12345678"),
    Goodbye("bye"),
    Ack(0),
    Done(1),
    Nack(1, "no"),
    Register((), True),
    Registered(15.0),
    Peers(()),
    Arriving(1, 0),
    Announce(1, 0),
    Go(1),
    Links(2),
]


def side_in(state: State) -> Side:
    """Return an end whose connection is in this state, with nothing left to say."""
    pair = Pair(Settings(buffer_size=KIB), roles=("bootstrap", "bootstrap"))
    dialer, listener = pair.sides
    if state is State.SECURING:
        return listener
    pair.secure()
    if state in (State.AWAITING_HELLO, State.JUDGING):
        if state is State.JUDGING:
            listener.accepts = False
            listener.receive(dialer.said())
        return listener
    if state is State.AWAITING_WELCOME:
        dialer.said()
        return dialer
    if state in (State.PROVEN, State.SELECTING):
        listener.receive(dialer.said())
        welcome = messages(listener.said())[0]
        if state is State.SELECTING:
            return listener
        dialer.receive(frame(welcome))  # type: ignore[arg-type]
        return dialer
    pair.exchange()
    dialer.handles = False
    if state is State.CLOSED:
        dialer.take(dialer.connection.connection_lost(LinkLost("gone")))
    elif state in (State.LEAVING, State.PARTING):
        dialer.send(b"in flight")
        dialer.said()
        dialer.take(dialer.connection.goodbye("bye", "", 0.0))
        if state is State.PARTING:
            dialer.receive(frame(Goodbye("bye")))
    elif state is State.LEFT:
        dialer.send(bytes(100 * KIB))
        dialer.connection.data_to_send(dialer.now)  # a packet has begun, and the transport is full
        dialer.receive(frame(Goodbye("bye")))
        return dialer
    dialer.said()
    return dialer


class LegalTests(ConnectionTestCase):
    """What a peer may say in which state."""

    def test_states(self) -> None:
        """The table knows every state, and these tests reach each of them."""
        self.assertEqual(set(LEGAL), set(State))
        for state in State:
            self.assertIs(side_in(state).connection.state, state)

    def test_samples(self) -> None:
        """There is a sample of every message, and each is legal in some state."""
        self.assertEqual({type(sample) for sample in SAMPLES}, set(Message.__args__))
        self.assertEqual({type(sample) for sample in SAMPLES}, set().union(*LEGAL.values()))

    def test_illegal(self) -> None:
        """A message out of its place closes the connection, and its sender is told why."""
        tested = 0
        for state in set(State) - {State.JUDGING, State.CLOSED}:
            for sample in SAMPLES:
                if type(sample) not in LEGAL[state]:
                    side = side_in(state)
                    side.receive(frame(sample))
                    self.assertViolation(side, f"{type(sample).__name__} is not legal here ({state.value})")
                    tested += 1
        self.assertGreater(tested, 60)

    def test_legal(self) -> None:
        """A message in its place is never called illegal, whatever else may be wrong with it."""
        for state, legal in LEGAL.items():
            for sample in SAMPLES:
                if type(sample) in legal:
                    side = side_in(state)
                    side.receive(frame(sample))
                    self.assertNotIn("not legal here", str(side.closed))

    def test_packets(self) -> None:
        """Packets and parts are legal on the link until its end is announced, and nowhere else."""
        for state in set(State) - {State.JUDGING, State.CLOSED}:
            for data in (PACKET, PART):
                side = side_in(state)
                side.receive(data)
                if state in TAKES_DATA:
                    self.assertIsNone(side.closed)
                    self.assertEqual(len(side.packets), int(data is PACKET))
                else:
                    self.assertViolation(side, "DATA is not legal here")

    def test_judging(self) -> None:
        """While an introduction is judged nothing is read, and what was said then is judged after it."""
        for data in (*map(frame, SAMPLES), PACKET):
            side = side_in(State.JUDGING)
            side.receive(data)
            self.assertEqual([type(event) for event in side.events], [Introduced])
            side.take(side.connection.accept(side.delivery, 0.0))
            legal = data in [frame(sample) for sample in SAMPLES if type(sample) in LEGAL[State.PROVEN]]
            self.assertEqual("not legal here" not in str(side.closed), legal)

    def test_unknown(self) -> None:
        """An unknown message is a violation; an unknown one that may be skipped is skipped, in every state."""
        for state in set(State) - {State.JUDGING, State.CLOSED}:
            side = side_in(state)
            side.receive(encode_frame(255, b"from the future"))
            self.assertIsNone(side.closed)
            side.receive(encode_frame(FIRST_OPTIONAL_TYPE - 1, b""))
            self.assertViolation(side, "unknown message type")

    def test_malformed(self) -> None:
        """A message that can't be decoded is a violation."""
        for kind in MessageType:
            side = side_in(State.LINKED)
            side.receive(encode_frame(kind, b"\xc1"))
            self.assertViolation(side)

    def test_arbiter(self) -> None:
        """Only the end with the larger fingerprint selects."""
        pair = Pair(dialer_selects=True).secure()
        pair.listener.receive(pair.dialer.said())
        pair.dialer.accepts = False
        pair.dialer.receive(pair.listener.said())
        pair.dialer.take(pair.dialer.connection.accept(pair.dialer.delivery, 0.0))
        pair.dialer.receive(frame(Select(5, 1, 0, 0, 0)))
        self.assertViolation(pair.dialer, "not the arbiter")

    def test_bootstraps_only(self) -> None:
        """Only a bootstrap is asked to register somebody, and only it answers."""
        for roles, message, legal in (
            (("bootstrap", "peer"), Register((), True), True),
            (("peer", "bootstrap"), Register((), True), False),
            (("bootstrap", "peer"), Registered(15.0), False),
            (("peer", "bootstrap"), Registered(15.0), True),
            (("peer", "peer"), Peers(()), False),
            (("peer", "bootstrap"), Peers(()), True),
        ):
            pair = Pair(roles=roles).link()  # type: ignore[arg-type]
            pair.listener.connection.say(message)
            pair.exchange()
            self.assertEqual(message in pair.dialer.events, legal, (roles, message))
            self.assertEqual(pair.dialer.closed is None, legal)

    @settings(deadline=None, max_examples=200)
    @given(st.sampled_from([state for state in State if state is not State.CLOSED]), st.data())
    def test_any_bytes(self, state: State, data: st.DataObject) -> None:
        """Whatever comes, in whichever state, it is understood or it is a violation; nothing else happens to us."""
        noise = st.binary(max_size=100) | st.sampled_from([*map(frame, SAMPLES), PACKET, PART])
        noise |= st.builds(encode_frame, st.sampled_from([*MessageType, 0, 99, 200]), st.binary(max_size=30))
        numbers = st.integers(0, 4) | st.integers(0, 2**64 - 1)
        noise |= st.builds(frame, st.builds(Select, *[numbers] * 5) | st.builds(Selected, *[numbers] * 5))
        noise |= st.builds(frame, st.builds(Ack, numbers) | st.builds(Done, numbers) | st.builds(Nack, numbers))
        side = side_in(state)
        for chunk in data.draw(st.lists(noise, max_size=6)):
            side.receive(chunk)
            side.said()
        if side.closed is not None:
            self.assertIsInstance(side.closed, (RemoteProtocolError, Rejected, LinkLost, PeerIdentityMismatch))
        side.wait(60.0)


# ---- the link


class LinkTests(ConnectionTestCase):
    """Packets and receipts."""

    def setUp(self) -> None:
        self.settings = Settings(buffer_size=KIB, window=64 * KIB, max_packet=32 * KIB)
        self.pair = Pair(self.settings).link()
        self.us, self.peer = self.pair.sides

    def test_delivered(self) -> None:
        """Packets arrive in both directions, and senders are told."""
        mine, yours = self.us.send(b"mine", waiter=1), self.peer.send(bytes(10 * KIB), waiter=2)
        self.pair.wait(1.0)
        self.assertEqual([packet.data for packet in self.peer.packets], [b"mine"])
        self.assertEqual([packet.data for packet in self.us.packets], [bytes(10 * KIB)])
        self.assertEqual((mine.settled, mine.error, yours.settled, yours.error), (True, None, True, None))
        for side in self.pair.sides:
            self.assertEqual((side.connection.packets_sent, side.connection.packets_received), (1, 1))
        self.assertEqual(self.us.connection.bytes_sent, self.peer.connection.bytes_received)

    def test_failed(self) -> None:
        """A handler that fails tells its sender, at once."""
        self.peer.handles = False
        packet = self.us.send(b"data")
        self.pair.exchange()
        self.peer.handled(self.peer.packets[0], "ValueError: no")
        self.pair.exchange()
        self.assertIsInstance(packet.error, HandlerFailed)

    def test_small_writes(self) -> None:
        """What is written at once is about 64 KiB, so that a receipt never waits behind much."""
        pair = Pair(Settings(buffer_size=16 * KIB)).link()
        us, peer = pair.dialer, pair.listener
        for _ in range(20):
            us.send(bytes(16 * KIB))
        sizes = []
        while data := us.connection.data_to_send(us.now):
            sizes.append(len(data))
            peer.receive(data)
            us.receive(peer.said())
        self.assertLess(max(sizes), PIECE + 17 * KIB)
        self.assertGreater(sum(sizes), 20 * 16 * KIB)

    def test_receipts_first(self) -> None:
        """Receipts and answers go out before the packets that wait."""
        for _ in range(5):
            self.us.send(bytes(10 * KIB))
        self.peer.send(b"urgent", flags=Flag.RECEIPT_NOW)
        self.us.receive(self.peer.said())
        self.us.receive(frame(Ping(b"12345678")))
        first, second, *rest = self.us.messages()
        self.assertEqual({type(first), type(second)}, {Pong, Ack})
        self.assertTrue(all(isinstance(message, tuple) for message in rest))

    def test_receipts_are_lazy(self) -> None:
        """Receipts are gathered for 5 ms."""
        for _ in range(3):
            self.us.send(b"data")
        self.peer.receive(self.us.said())
        self.assertEqual(self.peer.said(), b"")
        self.assertEqual(self.peer.connection.next_deadline(), 0.005)
        self.peer.wait(0.004)
        self.assertEqual(self.peer.said(), b"")
        self.peer.wait(0.001)
        self.assertEqual(self.peer.messages(), [Ack(3)])
        self.assertEqual(self.peer.said(), b"")

    def test_receipts_by_bytes(self) -> None:
        """Receipts go out early when a quarter of the window has no receipt."""
        for _ in range(2):
            self.us.send(bytes(8 * KIB - 512))
        data = self.us.said()
        self.peer.receive(data[: len(data) // 2 + 20])
        self.assertEqual(self.peer.said(), b"")
        self.peer.receive(data[len(data) // 2 + 20 :])
        self.assertEqual(self.peer.messages(), [Ack(2)])

    def test_receipt_now(self) -> None:
        """Where somebody waits for a single packet, the receipt goes out at once, and takes along what waits."""
        self.us.send(b"plain")
        self.us.send(b"confirmed", flags=Flag.RECEIPT_NOW)
        self.peer.receive(self.us.said())
        self.assertEqual(self.peer.messages(), [Ack(2)])

    def test_receipts_wait_for_a_full_transport(self) -> None:
        """While the transport takes nothing, receipts wait and keep nobody busy; they go out with what is next."""
        self.us.send(b"data")
        self.peer.receive(self.us.said())
        self.peer.wait(1.0)  # would raise if the deadline stood still
        self.assertGreater(self.peer.connection.next_deadline() or 0.0, 1.0)
        self.assertEqual(self.peer.messages(), [Ack(1)])

    def test_order_of_events(self) -> None:
        """Packets that came before a violation are handed over before the end."""
        self.us.receive(PACKET + PACKET + frame(PEER.hello()) + PACKET)
        self.assertEqual([type(event) for event in self.us.events[2:]], [DataPacket, DataPacket, Closed])
        self.assertViolation(self.us)

    def test_handled_after_the_end(self) -> None:
        """A handler that finishes when the connection is over leaves no timer behind; its receipt waits."""
        self.us.handles = False
        self.peer.send(b"data")
        self.us.receive(self.peer.said() + frame(PEER.hello()))
        self.us.handled(self.us.packets[0])
        self.assertViolation(self.us)
        self.assertEqual(self.us.delivery.receipts(), [Ack(1)])

    def test_receipt_for_nothing(self) -> None:
        """A receipt for what was not sent is a violation."""
        for receipt in (Ack(1), Done(1), Nack(1, "no"), Done(0)):
            us = Pair().link().dialer
            us.receive(frame(receipt))
            self.assertViolation(us, "which was not sent")

    def test_window_violation(self) -> None:
        """A peer that ignores our window is stopped at twice its size."""
        self.us.handles = False
        large = encode_data(MessageType.DATA, 0, 0, bytes(16 * KIB - 512))
        self.us.receive(large * 8)
        self.assertEqual(len(self.us.packets), 8)
        self.us.receive(large)
        self.assertViolation(self.us, "without a receipt, window 65536")

    def test_packet_violation(self) -> None:
        """A packet over our limit is a violation, whole or in parts."""
        whole = encode_data(MessageType.DATA, 0, 0, bytes(32 * KIB + 1))
        parts = encode_data(MessageType.DATA_PART, 0, 0, bytes(16 * KIB)) * 3
        for data in (whole, parts):
            us = Pair(Settings(buffer_size=KIB, max_packet=32 * KIB)).link().dialer
            us.receive(data)
            self.assertViolation(us, "a packet of")
            self.assertEqual(us.packets, [])

    def test_malformed_packets(self) -> None:
        """Tiny parts, unknown flags and unknown tags are violations."""
        for data, reason in (
            (encode_data(MessageType.DATA_PART, 0, 0, bytes(1023)), "a part of 1023 bytes"),
            (encode_data(MessageType.DATA, 8, 0, b""), "unknown flags"),
            (encode_data(MessageType.DATA, 0, 9, b""), "unknown value tag"),
            (encode_frame(MessageType.DATA, b"\0"), "without flags and tag"),
        ):
            us = Pair().link().dialer
            us.receive(data)
            self.assertViolation(us, reason)

    def test_no_memory(self) -> None:
        """When half-received packets fill the node's memory, the connection ends at once; that is nobody's fault."""
        self.us.load.reassembling = 64 * KIB * KIB
        self.us.receive(PART)
        self.assertClosed(self.us, LinkLost, "half-received", abort=True)

    def test_bad_select(self) -> None:
        """A SELECT that can't be true closes its connection and leaves the link alone, with all that it carries."""
        lies = (Select(0, 1, 0, 0, 0), Select(5, 0, 0, 0, 0), Select(5, 2**64 - 1, 0, 0, 0))
        stream = self.us.delivery.session.outgoing.id if self.us.delivery.session else 0
        for boot in (22, 23):
            for lie in (*lies, *([Select(5, 1, stream, 9, 0)] if boot == 22 else [])):
                second = Side(self.us.connection.local, dialed=True, settings=Settings(), delivery=self.us.delivery)
                second.secure(LARGE)
                second.receive(frame(attrs.evolve(self.peer.connection.local, boot=boot).welcome(None)))
                second.said()
                second.receive(frame(lie))
                self.assertViolation(second)
                self.assertFalse(second.linked)
        self.us.send(b"mine")
        self.peer.send(b"yours")
        self.pair.exchange()
        self.assertEqual([packet.data for packet in self.us.packets], [b"yours"])
        self.assertEqual([packet.data for packet in self.peer.packets], [b"mine"])
        self.assertIsNone(self.us.delivery.next_deadline())

    def test_bad_selected(self) -> None:
        """A SELECTED that can't be true closes the connection before anything was carried."""
        side = side_in(State.SELECTING)
        side.receive(frame(Selected(5, 1, side.delivery.session.outgoing.id if side.delivery.session else 0, 1, 0)))
        self.assertViolation(side, "resume behind packet 1")
        self.assertFalse(side.linked)

    def test_next_connection(self) -> None:
        """What a connection has lost, the next one carries: packets, parts and receipts."""
        self.us.send(b"handled")
        self.us.send(bytes(20 * KIB))
        data = self.us.said()
        self.peer.receive(data[: 10 * KIB])
        self.peer.wait(1.0)
        self.peer.said()  # the receipt is lost
        for side in self.pair.sides:
            side.take(side.connection.connection_lost(LinkLost("cut")))
            side.delivery.detach(1.0)
        deliveries = (self.us.delivery, self.peer.delivery)
        second = Pair(self.settings, deliveries=deliveries, now=2.0).link()
        second.wait(1.0)
        self.assertEqual([len(packet.data) for packet in self.peer.packets + second.listener.packets], [7, 20 * KIB])
        self.assertEqual((self.us.delivery.queued, self.peer.load.reassembling), (0, 0))

    def test_cut_off(self) -> None:
        """A transport that is gone ends the connection with its reason, once."""
        self.us.take(self.us.connection.connection_lost(LinkLost("reset")))
        self.assertClosed(self.us, LinkLost, "reset", abort=True)
        self.assertEqual(self.us.connection.connection_lost(LinkLost("again")), [])
        self.assertEqual(self.us.connection.deadline_reached(100.0), [])

    def test_rejected_link(self) -> None:
        """Even a link may be rejected; its session lives on."""
        self.us.take(self.us.connection.reject(RejectCode.BANNED))
        self.peer.receive(self.us.connection.data_to_send(self.us.now))
        self.assertClosed(self.peer, Rejected, "banned", abort=False)
        self.assertFalse(self.peer.connection.is_parting)


class LivenessTests(ConnectionTestCase):
    """Signs of life."""

    def setUp(self) -> None:
        self.pair = Pair().link()
        self.us, self.peer = self.pair.sides

    def test_drip(self) -> None:
        """A frame has its time from its first byte, also if that of its header comes a byte at a time."""
        side = Pair().link().listener
        began, frame = side.now, (2000).to_bytes(4, "big") + bytes([MessageType.DATA, 0, 0])
        side.receive(frame[:3])
        for byte in (frame[3:4], frame[4:6], frame[6:7], bytes(1), bytes(1), bytes(1)):
            side.wait(6.0)
            side.said()
            if side.closed is None:
                side.receive(byte)
        self.assertIn("a frame took more than 30 s", str(side.closed))
        self.assertEqual(side.now - began, 36.0)

    def test_idle(self) -> None:
        """An idle link stays up, by a PING and a PONG now and then."""
        before = self.us.connection.bytes_sent
        self.pair.wait(600.0)
        self.assertIsNone(self.us.closed or self.peer.closed)
        self.assertLessEqual(self.us.connection.bytes_sent - before, 600 / 5 * len(frame(Ping(bytes(8)))) * 2)

    def test_ping(self) -> None:
        """A PING is answered with its eight bytes, and the round trip is known then."""
        opaque = self.us.connection.ping(self.us.now)
        self.us.now = self.peer.now = 0.25
        self.pair.exchange()
        self.assertEqual(self.us.events[-1], Pong(opaque))
        self.assertEqual(self.us.connection.round_trip, 0.25)

    def test_pong_for_nothing(self) -> None:
        """A PONG that nobody has asked for means nothing."""
        self.us.receive(frame(Pong(b"12345678")))
        self.assertEqual([type(event) for event in self.us.events], [Introduced, Linked])
        self.assertIsNone(self.us.connection.round_trip)

    def test_ping_while_proven(self) -> None:
        """A connection that waits to be selected answers too."""
        side = side_in(State.PROVEN)
        side.receive(frame(Ping(b"12345678")))
        self.assertEqual(side.messages(), [Pong(b"12345678")])

    def test_ping_flood(self) -> None:
        """A flood of PINGs from a peer that does not read costs one answer."""
        for n in range(100_000):
            self.us.receive(frame(Ping(n.to_bytes(8, "big"))))
        self.assertIsNone(self.us.closed)
        self.assertEqual(self.us.messages(), [Pong((99_999).to_bytes(8, "big"))])

    def test_unanswered_pings(self) -> None:
        """PINGs that are never answered are forgotten, all but the latest."""
        pings = [self.us.connection.ping(float(n)) for n in range(1000)]
        self.us.now = 1000.0
        for opaque in pings:
            self.us.receive(frame(Pong(opaque)))
        answered = [event for event in self.us.events if isinstance(event, Pong)]
        self.assertLessEqual(len(answered), 16)
        self.assertEqual(answered[-1], Pong(pings[-1]))

    def test_dead(self) -> None:
        """A peer that says nothing for 15 s is asked once and then given up, without waiting for a clean end."""
        self.us.wait(14.9)
        self.assertEqual(self.us.messages(), [Ping((1).to_bytes(8, "big"))])
        self.us.wait(0.1)
        self.assertClosed(self.us, LinkLost, "silent for 15 s", abort=True)
        self.assertEqual(self.us.connection.data_to_send(self.us.now), b"")

    def test_frozen_ourselves(self) -> None:
        """If it was us who stood still, the peer has another second to be heard."""
        self.us.now = 100.0
        self.us.take(self.us.connection.deadline_reached(self.us.now))
        self.assertIsNone(self.us.closed)
        self.us.receive(frame(Ping(b"12345678")))
        self.us.wait(4.0)
        self.assertIsNone(self.us.closed)

    def test_frozen_and_dead(self) -> None:
        """If nothing is heard in that second, the peer is dead."""
        self.us.now = 100.0
        self.us.take(self.us.connection.deadline_reached(self.us.now))
        self.us.wait(1.0)
        self.assertClosed(self.us, LinkLost, "silent", abort=True)

    def test_slow_handler(self) -> None:
        """A handler that takes an hour does not make its peer look dead."""
        self.peer.handles = False
        packet = self.us.send(b"slow")
        self.pair.wait(3600.0)
        self.peer.handled(self.peer.packets[0])
        self.pair.wait(1.0)
        self.assertTrue(packet.settled)
        self.assertIsNone(packet.error)

    def test_control_flood(self) -> None:
        """A peer that asks and never reads the answers is left when a megabyte of them waits."""
        us = Pair(roles=("bootstrap", "bootstrap")).link().dialer
        question, answer = frame(Register((), True)), Registered(15.0, vouched=(bytes(256),) * 64)
        asked = 0
        while us.closed is None:
            asked += 1
            us.connection.say(answer)
            us.receive(question)
        self.assertClosed(us, LinkLost, "does not read the answers", abort=True)
        self.assertEqual(asked, MAX_CONTROL // len(frame(answer)) + 1)

    def test_floods_behind_control(self) -> None:
        """Packets and messages that are skipped do not keep a peer alive that does not read what it asked for."""
        for data in (encode_data(MessageType.DATA, 0, 0, b"x"), encode_frame(255, b"")):
            us = Pair(roles=("bootstrap", "bootstrap")).link().dialer
            for _ in range(MAX_CONTROL // len(frame(Registered(15.0))) + 1):
                us.connection.say(Registered(15.0))
            us.receive(data)
            self.assertClosed(us, LinkLost, "does not read the answers", abort=True)

    def test_register_flood(self) -> None:
        """Of many REGISTERs that came at once the last one counts, behind the packets that came with them."""

        def news(side: Side) -> list[Register]:
            return [event for event in side.events if isinstance(event, Register)]

        us = Pair(roles=("bootstrap", "bootstrap")).link().dialer
        first, last = Register((), True, 1), Register((), True, 2)
        us.receive(frame(first) * 1000 + encode_data(MessageType.DATA, 0, 0, b"x") + frame(last))
        self.assertEqual(news(us), [last])
        self.assertEqual([packet.data for packet in us.packets], [b"x"])
        us.receive(frame(first))
        self.assertEqual(news(us), [last, first])
        us.receive(frame(last) + b"\0\0\0\1\x7f")
        self.assertViolation(us)
        self.assertEqual(news(us), [last, first])

    def test_refusal_is_last(self) -> None:
        """A PING that came together with a violation gets no answer behind the REJECT."""
        us = Pair().link().dialer
        us.receive(frame(Ping(bytes(8))) + b"\0\0\0\1\x7f")
        self.assertEqual([type(message) for message in us.messages()], [Reject])


class GoodbyeTests(ConnectionTestCase):
    """The clean end."""

    def setUp(self) -> None:
        self.pair = Pair(Settings(buffer_size=KIB, window=64 * KIB)).link()
        self.us, self.peer = self.pair.sides

    def leave(self, side: Side, code: str = "bye") -> None:
        """Say goodbye."""
        side.take(side.connection.goodbye(code, "", side.now))

    def assertParted(self, code: str = "bye") -> None:
        """Assert that both ends have closed in peace, and that the session is over at both."""
        for side in self.pair.sides:
            self.assertClosed(side, LinkLost, f"goodbye: {code}", abort=False)
            self.assertTrue(side.connection.is_parting)
            self.assertTrue(side.delivery.drained)

    def exchange_last(self) -> None:
        """Carry what both ends say, last words included."""
        for _ in range(10):
            there, back = (side.connection.data_to_send(side.now) for side in self.pair.sides)
            self.peer.receive(there)
            self.us.receive(back)
            for side in self.pair.sides:
                if side.closed is None:
                    side.take(side.connection.after_sending())

    def test_room(self) -> None:
        """A GOODBYE for room ends the link alone: what was not begun waits for the next one, at both ends."""
        self.us.take(self.us.connection.goodbye(GoodbyeCode.ROOM, "", 0.0, retry_after=60.0))
        ours = self.us.send(b"ours")
        self.peer.receive(self.us.connection.data_to_send(0.0))
        theirs = self.peer.send(b"theirs")
        self.exchange_last()
        self.assertParted(GoodbyeCode.ROOM)
        self.assertEqual(self.peer.connection.goodbye_received, Goodbye(GoodbyeCode.ROOM, "", 60.0))
        for side in self.pair.sides:
            self.assertFalse(side.connection.ends_session)
            self.assertIsNotNone(side.delivery.session)
        self.assertEqual((ours.settled, theirs.settled), (False, False))

    def test_room_or_more(self) -> None:
        """If one of both ends says more than that it needs the room, the session ends, too."""
        self.us.take(self.us.connection.goodbye(GoodbyeCode.ROOM, "", 0.0))
        self.leave(self.peer)
        self.exchange_last()
        self.assertEqual([side.connection.ends_session for side in self.pair.sides], [True, True])

    def test_idle(self) -> None:
        """On an idle link GOODBYE is answered at once, and both ends close."""
        self.leave(self.us)
        self.assertIs(self.us.connection.state, State.LEAVING)
        self.exchange_last()
        self.assertParted()
        self.assertEqual(self.peer.connection.goodbye_received, Goodbye("bye"))
        self.assertIn(Goodbye("bye"), self.peer.events)

    def test_both_at_once(self) -> None:
        """Two GOODBYEs that cross need no answer."""
        self.leave(self.us)
        self.leave(self.peer)
        self.exchange_last()
        self.assertParted()

    def test_twice(self) -> None:
        """Saying goodbye again changes nothing."""
        self.us.send(b"data")
        self.us.said()
        self.leave(self.us)
        self.leave(self.us, "again")
        self.assertEqual([m for m in self.us.messages() if isinstance(m, Goodbye)], [Goodbye("bye")])

    def test_in_flight(self) -> None:
        """Packets in flight are handled, and their senders know it, before the link closes."""
        mine, yours = self.us.send(b"mine"), self.peer.send(b"yours")
        there, back = self.us.said(), self.peer.said()
        self.leave(self.us)
        self.peer.receive(there)
        self.us.receive(back)
        self.exchange_last()
        self.assertParted()
        self.assertEqual((mine.settled, mine.error, yours.settled, yours.error), (True, None, True, None))

    def test_queued(self) -> None:
        """What was not begun fails at once, at both ends; nothing begins after the first GOODBYE."""
        self.us.handles = self.peer.handles = False
        for side in self.pair.sides:
            for number in range(80):
                side.send(bytes(KIB), from_handler=number >= 40)
        there, back = self.us.said(), self.peer.said()
        self.peer.receive(there)
        self.us.receive(back)
        self.leave(self.us)
        failed = [packet.error for packet in self.us.delivery.take_settled()]
        self.assertEqual({type(error) for error in failed}, {PeerUnreachable})
        self.peer.receive(self.us.said())
        failed = [packet.error for packet in self.peer.delivery.take_settled()]
        self.assertEqual({type(error) for error in failed}, {PeerUnreachable})
        for packet in self.us.packets:
            self.us.handled(packet)
        for packet in self.peer.packets:
            self.peer.handled(packet)
        self.exchange_last()
        self.assertParted()
        self.assertFalse(any(packet.error for side in self.pair.sides for packet in side.delivery.take_settled()))

    def test_mid_packet(self) -> None:
        """A packet that was begun is finished, then GOODBYE is said, without waiting for its receipt."""
        self.peer.handles = False
        packet = self.us.send(bytes(200 * KIB), waiter=1)
        first = self.us.connection.data_to_send(self.us.now)  # the transport is full behind this
        self.leave(self.us)
        self.assertIs(self.us.connection.state, State.LINKED)
        self.peer.receive(first)
        said = b""
        while not self.peer.packets:
            said = self.us.said()
            self.peer.receive(said)
            self.us.receive(self.peer.said())
        self.assertEqual(messages(said)[-1], Goodbye("bye"))
        self.assertEqual([len(packet.data) for packet in self.peer.packets], [200 * KIB])
        self.exchange_last()
        self.assertIsNone(self.us.closed or self.peer.closed)
        self.peer.handled(self.peer.packets[0])
        self.exchange_last()
        self.assertParted()
        self.assertEqual((packet.settled, packet.error), (True, None))

    def test_answered_in_mid_packet(self) -> None:
        """Who is in mid-packet when GOODBYE comes finishes it before the answer; then nothing of either end follows."""
        self.us.send(bytes(100 * KIB))
        first = self.us.connection.data_to_send(self.us.now)
        self.leave(self.peer)
        self.us.receive(self.peer.said())
        self.assertIs(self.us.connection.state, State.LEFT)
        self.us.send(b"for the next link", from_handler=True)
        self.peer.receive(first + self.us.said())
        self.exchange_last()
        self.assertEqual([len(packet.data) for packet in self.peer.packets], [100 * KIB])
        for side in self.pair.sides:
            self.assertClosed(side, LinkLost, "goodbye: bye", abort=False)

    def test_to_be_sent_again(self) -> None:
        """Packets that an earlier connection has lost are sent before GOODBYE is said."""
        self.us.send(b"lost")
        self.us.said()
        for side in self.pair.sides:
            side.take(side.connection.connection_lost(LinkLost("cut")))
            side.delivery.detach(0.0)
        deliveries = (self.us.delivery, self.peer.delivery)
        self.pair = Pair(Settings(buffer_size=KIB, window=64 * KIB), deliveries=deliveries).secure()
        self.us, self.peer = self.pair.sides
        self.peer.receive(self.us.said())
        self.us.receive(self.peer.said())
        self.assertTrue(self.us.linked)
        self.leave(self.us)
        self.exchange_last()
        self.assertEqual([packet.data for packet in self.peer.packets], [b"lost"])
        self.assertParted()

    def test_endless_handler(self) -> None:
        """A handler that does not end is waited for 5 s, not longer; at both ends the link closes then."""
        self.peer.handles = False
        packet = self.us.send(b"slow")
        self.peer.receive(self.us.said())
        self.leave(self.peer)
        self.exchange_last()
        for side in self.pair.sides:
            side.wait(4.9)
            self.assertIsNone(side.closed)
            side.wait(0.1)
            self.assertClosed(side, LinkLost, "goodbye: bye", abort=False)
        self.assertFalse(packet.settled)
        self.us.delivery.detach(5.0)
        self.us.delivery.end_session("goodbye")
        self.assertIsInstance(packet.error, PeerLost)

    def test_peer_does_not_answer(self) -> None:
        """A peer that does not answer GOODBYE is left after 5 s."""
        self.leave(self.us)
        self.us.wait(5.0)
        self.assertClosed(self.us, LinkLost, "goodbye: bye", abort=False)

    def test_peer_does_not_read(self) -> None:
        """So is one that does not even read, though GOODBYE could not be said."""
        self.us.send(bytes(200 * KIB))
        self.us.connection.data_to_send(self.us.now)
        self.leave(self.us)
        self.us.wait(5.0)
        self.assertClosed(self.us, LinkLost, "goodbye: bye", abort=False)
        self.assertTrue(self.us.connection.is_parting)

    def test_before_the_link(self) -> None:
        """Before there is a link, goodbye is a refusal."""
        for state in (State.AWAITING_HELLO, State.PROVEN):
            side = side_in(state)
            self.leave(side)
            self.assertClosed(side, Rejected, RejectCode.SHUTTING_DOWN, abort=False)
            (reject,) = messages(side.connection.data_to_send(side.now))
            self.assertIsInstance(reject, Reject)
            self.assertFalse(side.connection.is_parting)

    def test_while_selecting(self) -> None:
        """Where the link may stand at the other end only, goodbye is said as soon as it stands at both."""
        pair = Pair().secure()
        other, arbiter = pair.sides
        arbiter.receive(other.said())
        other.receive(arbiter.said())
        self.assertTrue(other.linked)
        self.leave(arbiter)
        self.assertEqual(arbiter.said(), b"")
        pair.exchange()
        self.assertTrue(arbiter.linked)
        for side in pair.sides:
            self.assertClosed(side, LinkLost, "goodbye: bye", abort=False)

    def test_selected_in_vain(self) -> None:
        """If the other end never answers SELECT, the time of the handshake is not made longer by a goodbye."""
        side = side_in(State.SELECTING)
        side.wait(4.0)
        self.leave(side)
        side.wait(1.0)
        self.assertClosed(side, LinkLost, "no link within 5 s (selecting)", abort=True)

    def test_news(self) -> None:
        """News between bootstraps and nodes are dropped when the link ends."""
        pair = Pair(roles=("bootstrap", "bootstrap")).link()
        pair.dialer.send(b"data")
        pair.dialer.said()
        pair.dialer.take(pair.dialer.connection.goodbye("bye", "", 0.0))
        pair.dialer.said()
        pair.dialer.connection.say(Peers(()))
        self.assertEqual(pair.dialer.said(), b"")

    def test_liveness_goes_on(self) -> None:
        """A farewell does not hide that the peer is dead."""
        pair = Pair(Settings(goodbye_timeout=100.0)).link()
        us = pair.dialer
        us.take(us.connection.goodbye("bye", "", 0.0))
        us.wait(15.0)
        self.assertClosed(us, LinkLost, "silent", abort=True)
