"""Large packets that are announced, when the link ends, the peer dies or their senders give up meanwhile."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from netlayer.errors import DeliveryTimeout, LinkLost
from netlayer.sansio.bootstrap.reservations import Reservation
from netlayer.sansio.delivery.packet import OutgoingPacket
from netlayer.sansio.link.states import State
from netlayer.wire.messages import Announce, Goodbye, GoodbyeCode, Pong, Selected, encode_message
from tests.sansio.pair import Pair, messages

MIB = 1024 * 1024


class AnnouncingTests(SynchronousTestCase):
    """`self.us` has a large packet for a peer that has no room for it."""

    def setUp(self) -> None:
        self.link(Pair())

    def link(self, pair: Pair) -> None:
        """Use a new connection."""
        self.pair = pair.link()
        self.us, self.peer = pair.sides
        self.peer.handles = False

    def fill(self) -> Reservation:
        """Let the peer have no room."""
        taken = Reservation(1, 64 * MIB)
        self.peer.delivery._load.reservations.ask(taken, limit=64 * MIB)
        return taken

    def begin_again(self) -> OutgoingPacket:
        """Have a link break within the packet, so that it is announced again on the next one."""
        self.us.send(b"in flight")
        packet = self.us.send(bytes(MIB), waiter=object())
        self.peer.receive(self.us.said())
        self.us.receive(self.peer.said())
        self.us.connection.data_to_send(0.0)
        self.arrived = self.peer.packets
        for side in self.pair.sides:
            side.take(side.connection.connection_lost(LinkLost("cut")))
            side.delivery.detach(0.0)
        self.assertTrue(packet.written)
        self.fill()
        self.link(Pair(deliveries=(self.us.delivery, self.peer.delivery)))
        return packet

    def assertInPeace(self) -> None:
        """Assert that no end has found fault with the other one."""
        for side in self.pair.sides:
            self.assertIsInstance(side.closed, LinkLost)

    def test_goodbye_takes_back(self) -> None:
        """GOODBYE takes back what was announced; nothing is said of it behind that, whoever leaves, and why."""
        for code in (GoodbyeCode.ROOM, GoodbyeCode.DISCONNECT):
            for leaver in (0, 1):
                self.setUp()
                self.fill()
                self.us.send(b"in flight")
                self.us.send(bytes(MIB))
                said = self.us.said()
                self.assertIn(Announce(1, MIB), messages(said))
                side = self.pair.sides[leaver]
                side.take(side.connection.goodbye(code, "", 0.0))
                bye = self.peer.said()
                self.peer.receive(said)
                self.us.receive(bye)
                last = self.us.said()
                self.assertIsInstance(messages(last)[-1], Goodbye)
                self.peer.receive(last)
                for packet in self.peer.packets:
                    self.peer.handled(packet)
                self.pair.exchange()
                self.assertInPeace()

    def test_given_up_while_leaving(self) -> None:
        """A packet that keeps a link from being left, and is given up, is not spoken of behind GOODBYE."""
        packet = self.begin_again()
        in_flight = self.arrived[0]
        self.us.take(self.us.connection.goodbye(GoodbyeCode.DISCONNECT, "", 0.0))
        self.pair.exchange()
        self.assertIs(self.us.connection.state, State.LINKED)
        self.us.delivery.withdraw(packet, DeliveryTimeout(1, 1.0, True))
        self.pair.exchange()
        self.assertIs(self.us.connection.state, State.PARTING)
        self.peer.handled(in_flight)
        self.pair.exchange()
        self.assertInPeace()

    def test_dead_peer(self) -> None:
        """Only a peer that lives is waited for until it has room: it has others first. A dead one has not."""
        self.fill()
        packet = self.us.send(bytes(MIB), deadline=10.0, patience=10.0)
        self.pair.wait(20.0)
        self.us.delivery.deadline_reached(20.0)
        self.assertFalse(packet.settled)
        self.us.said()
        self.us.wait(14.0)
        self.us.delivery.deadline_reached(34.0)
        self.assertIsInstance(packet.error, DeliveryTimeout)


class MarksTests(SynchronousTestCase):
    """What a PONG tells of packets."""

    def test_before_the_link(self) -> None:
        """The PONG of a PING that was sent before the link stood tells nothing of what was written behind it."""
        pair = Pair().link()
        for _ in range(3):
            pair.arbiter.send(b"lost on the way")
        pair.arbiter.said()
        for side in pair.sides:
            side.take(side.connection.connection_lost(LinkLost("cut")))
            side.delivery.detach(0.0)
        pair = Pair(deliveries=(pair.dialer.delivery, pair.listener.delivery)).secure()
        us, peer = pair.arbiter, pair.follower
        while us.connection.state is not State.SELECTING:
            peer.receive(us.said())
            us.receive(peer.said())
        us.connection.ping(0.0)
        peer.receive(us.said())
        for message in peer.messages():
            if isinstance(message, Selected | Pong):
                us.receive(encode_message(message))
                us.connection.data_to_send(0.0)
        session = us.delivery.session
        assert session is not None
        self.assertEqual((session.outgoing.next, session.outgoing.arrived), (4, 0))
