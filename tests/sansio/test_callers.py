"""Callers that wait for a peer only while it is linked or can be dialed, and peers that let deadlines pass."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from netlayer.errors import DeliveryTimeout, PeerLost, PeerUnreachable
from netlayer.sansio.delivery.packet import OutgoingPacket
from tests.sansio.delivery.test_delivery import Party, carry, finish_all, link, receipts, unlink

WHY = "Connection refused"


class RefusedTests(SynchronousTestCase):
    """A link is lost, and nothing listens where the peer is dialed."""

    def setUp(self) -> None:
        self.us, self.them = Party(1), Party(2)

    def send(self, payload: bytes = b"", *, until_link: bool = True, deadline: float = 30.0) -> OutgoingPacket:
        """Queue a packet."""
        packet = self.us.send(payload, deadline=deadline)
        packet.until_link = until_link
        return packet

    def test_written_or_not(self) -> None:
        """The outcome of what was written is unknown, the rest was not sent; nothing of it is sent later."""
        link(self.us, self.them)
        written = self.send(b"written")
        carry(self.us, self.them)
        unlink(self.us, self.them)
        unwritten = self.send(b"unwritten")
        self.us.delivery.refused(2, WHY)
        self.assertEqual(self.us.outcomes(), [written.error, unwritten.error])
        assert isinstance(written.error, PeerLost)
        self.assertIn(WHY, written.error.reason)
        assert isinstance(unwritten.error, PeerUnreachable)
        self.assertEqual((unwritten.error.attempts, unwritten.error.reason), (2, WHY))
        link(self.us, self.them)
        carry(self.us, self.them)
        self.assertEqual([packet.data for packet in self.them.arrived], [b"written"])

    def test_others_wait(self) -> None:
        """Callers that have not asked for it wait on, and their packets arrive over the next link, in order."""
        link(self.us, self.them)
        self.send(b"a", until_link=False)
        carry(self.us, self.them)
        unlink(self.us, self.them)
        for payload in (b"b", b"c", b"d"):
            self.send(payload, until_link=payload == b"c")
        self.us.delivery.refused(1, WHY)
        self.assertEqual([type(error) for error in self.us.outcomes()], [PeerUnreachable])
        link(self.us, self.them)
        carry(self.us, self.them)
        self.assertEqual([packet.data for packet in self.them.arrived], [b"a", b"b", b"d"])

    def test_linked(self) -> None:
        """While the link stands a dial that is refused means nothing."""
        link(self.us, self.them)
        self.send()
        self.us.delivery.refused(1, WHY)
        self.assertEqual(self.us.outcomes(), [])

    def test_link_lost_only(self) -> None:
        """A lost link alone ends nothing: the peer may be back at once."""
        link(self.us, self.them)
        packet = self.send()
        carry(self.us, self.them)
        unlink(self.us, self.them)
        self.assertFalse(packet.settled)

    def test_told_once(self) -> None:
        """What has ended already ends no second time, and refusals may come again and again."""
        link(self.us, self.them)
        self.send(deadline=10.0)
        carry(self.us, self.them)
        unlink(self.us, self.them)
        self.us.delivery.deadline_reached(10.0)
        for _ in range(3):
            self.us.delivery.refused(1, WHY)
        self.assertEqual([type(error) for error in self.us.outcomes()], [DeliveryTimeout])

    def test_new_process(self) -> None:
        """A packet whose caller was told that the peer is lost goes to no other process."""
        link(self.us, self.them)
        self.send(b"job")
        carry(self.us, self.them)
        unlink(self.us, self.them)
        self.us.delivery.refused(1, WHY)
        successor = Party(3)
        link(self.us, successor)
        carry(self.us, successor)
        self.assertEqual((successor.arrived, self.us.delivery.queued), ([], 0))


class MissedDeadlinesTests(SynchronousTestCase):
    """A peer that has let its last two deadlines pass does not answer, until it does."""

    def setUp(self) -> None:
        self.us, self.them = Party(1), Party(2)
        link(self.us, self.them)

    def miss(self, count: int) -> None:
        """Let so many deadlines pass."""
        for _ in range(count):
            self.us.now += 10.0
            self.us.send(deadline=self.us.now)
            carry(self.us, self.them)
            self.us.delivery.deadline_reached(self.us.now)

    def answer(self) -> None:
        """Let the peer's handlers finish, and the receipts arrive."""
        finish_all(self.them)
        receipts(self.them, self.us)

    def test_two(self) -> None:
        """One deadline may be missed by chance; with the second one in a row the peer counts as one that hangs."""
        answers = []
        for _ in range(3):
            answers.append(self.us.delivery.answers)
            self.miss(1)
        self.assertEqual(answers, [True, True, False])

    def test_any_receipt(self) -> None:
        """Any receipt, if only of a packet that has timed out, makes up for all."""
        self.miss(5)
        self.answer()
        self.assertTrue(self.us.delivery.answers)
        self.miss(1)
        self.assertTrue(self.us.delivery.answers)

    def test_unlinked(self) -> None:
        """What was never sent, as there was no link, says nothing of the peer."""
        unlink(self.us, self.them)
        self.miss(3)
        self.assertTrue(self.us.delivery.answers)

    def test_new_link(self) -> None:
        """A peer that is linked anew has one chance more."""
        self.miss(2)
        unlink(self.us, self.them)
        link(self.us, self.them)
        self.assertTrue(self.us.delivery.answers)
        self.miss(1)
        self.assertFalse(self.us.delivery.answers)

    def test_another_process(self) -> None:
        """A new process of the peer has missed nothing yet, nor has one whose session begins anew."""
        self.miss(2)
        unlink(self.us, self.them)
        self.assertFalse(self.us.delivery.answers)
        link(self.us, Party(3))
        self.assertTrue(self.us.delivery.answers)
        self.miss(2)
        self.us.delivery.end_session("it said goodbye")
        self.assertTrue(self.us.delivery.answers)
