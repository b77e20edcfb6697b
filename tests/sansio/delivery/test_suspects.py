"""Packets over which the peer's processes may have ended."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from netlayer.sansio.delivery.packet import OutgoingPacket
from netlayer.sansio.delivery.streams import OutgoingStream

WINDOW = 65536


class SuspectsTests(SynchronousTestCase):
    """What a stream begins beside them."""

    def setUp(self) -> None:
        self.stream = OutgoingStream(7, probation=20.0)

    def packet(self, deaths: int = 0) -> OutgoingPacket:
        """Return a packet that was in the hands of so many processes that have ended."""
        packet = OutgoingPacket(0, b"")
        packet.deaths = deaths
        return packet

    def write(self, *packets: OutgoingPacket, now: float = 0.0) -> None:
        """Write packets whole."""
        for packet in packets:
            self.stream.begin(packet, has_parts=False)
            self.stream.wrote(window=WINDOW, now=now)

    def test_alone(self) -> None:
        """Nothing is begun beside a packet over which two processes have ended, until its receipt comes."""
        self.write(self.packet(0), self.packet(1))
        self.assertTrue(self.stream.may_begin(0.0))
        self.stream.receipts_through(2)
        self.write(self.packet(2))
        self.assertFalse(self.stream.may_begin(19.9))
        self.stream.receipt(3)
        self.assertTrue(self.stream.may_begin(0.0))

    def test_probation(self) -> None:
        """A handler that hangs stops the others for a while only; longer with each further death."""
        for deaths, seconds in ((2, 20.0), (3, 40.0), (5, 160.0), (30, 3600.0)):
            self.setUp()
            self.write(self.packet(deaths), now=100.0)
            found = [self.stream.may_begin(heard) for heard in (0.0, 99.9 + seconds, 100.0 + seconds)]
            self.assertEqual(found, [False, False, True])

    def test_cause(self) -> None:
        """It is a suspect that has ended a process if it was alone there, whole, and nothing was begun behind it."""
        suspect, other = self.packet(2), self.packet()
        self.stream.begin(suspect, has_parts=True)
        self.assertIsNone(self.stream.process_ended())
        self.stream.wrote(window=WINDOW, now=0.0)
        self.assertIs(self.stream.process_ended(), suspect)
        self.assertEqual(suspect.deaths, 3)
        self.write(other)
        self.assertIsNone(self.stream.process_ended())
        self.assertEqual((suspect.deaths, other.deaths), (4, 1))

    def test_not_alone(self) -> None:
        """Of two suspects in flight nobody can say which it was."""
        first, second = self.packet(2), self.packet(2)
        self.write(first)
        self.assertTrue(self.stream.may_begin(20.0))
        self.write(second, now=20.0)
        self.assertFalse(self.stream.may_begin(30.0))
        self.assertIsNone(self.stream.process_ended())

    def test_cleared(self) -> None:
        """A suspect that has outlived what ended the process before says nothing about others any more."""
        hangs, killer = self.packet(3), self.packet(3)
        self.write(hangs)
        self.assertTrue(self.stream.may_begin(40.0))
        self.write(killer, now=40.0)
        self.assertIs(self.stream.process_ended(), killer)
        self.assertEqual((hangs.deaths, killer.deaths), (3, 4))

    def test_link_changes(self) -> None:
        """A new link changes nothing for a suspect that the peer has; one that it has not is begun anew."""
        suspect = self.packet(2)
        self.write(suspect)
        self.stream.resume_behind(1)
        self.assertFalse(self.stream.may_begin(10.0))
        self.stream.resume_behind(0)
        self.assertTrue(self.stream.may_begin(10.0))
        self.assertIs(self.stream.to_resend(), suspect)

    def test_cut_within(self) -> None:
        """A link that breaks inside of a suspect leaves nothing to wait for, whatever went alone before it."""
        for deaths in (2, 3):
            self.setUp()
            suspect = self.packet(deaths)
            self.write(self.packet(9), now=100.0)
            self.stream.receipt(1)
            self.stream.begin(suspect, has_parts=True)
            self.stream.resume_behind(1)
            self.assertTrue(self.stream.may_begin(101.0))
            self.write(suspect, now=102.0)
            self.assertIs(self.stream.process_ended(), suspect)
