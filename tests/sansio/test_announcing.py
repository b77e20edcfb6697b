"""Large packets that are announced, when the link ends, the peer dies or their senders give up meanwhile."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from netlayer.errors import DeliveryTimeout
from netlayer.sansio.reservations import Reservation
from tests.sansio.pair import Pair

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
