"""Who is asked to pause: bytes in queues in, decisions out."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from netlayer.sansio.delivery.load import NodeLoad
from netlayer.sansio.delivery.pauses import Pauses


class PausesTests(SynchronousTestCase):
    """A node that takes 1,200 bytes in all queues, of which each takes 1,000 by itself."""

    def setUp(self) -> None:
        self.load = NodeLoad()
        self.pauses = Pauses(self.load, limit=1200)

    def holds(self, queued: int, filled: int) -> bool:
        """Let all queues hold so much; return whether everybody has to be looked at."""
        self.load.queued, self.load.filled = queued, filled
        return self.pauses.look()

    def test_own_queue(self) -> None:
        """A queue asks for a pause at three quarters of its own limit, and for more at half, whatever others do."""
        self.assertFalse(self.holds(800, 1))
        self.assertEqual([self.pauses.must_pause(queued, 1000) for queued in (749, 750)], [False, True])
        self.assertEqual([self.pauses.may_resume(queued, 1000) for queued in (501, 500)], [False, True])

    def test_share(self) -> None:
        """While the node is nearly full a queue pauses at three quarters of its share, and goes on at half."""
        self.assertTrue(self.holds(900, 4))
        self.assertEqual([self.pauses.must_pause(queued, 1000) for queued in (224, 225)], [False, True])
        self.assertEqual([self.pauses.may_resume(queued, 1000) for queued in (151, 150)], [False, True])

    def test_everybody(self) -> None:
        """Everybody is looked at when the node gets full and when it has room again, and not in between."""
        looks = [self.holds(queued, 4) for queued in (899, 900, 901, 5000, 899, 601, 600, 601, 899, 900)]
        self.assertEqual(looks, [False, True, False, False, False, False, True, False, False, True])

    def test_more_queues(self) -> None:
        """Shares shrink with each third of more queues, and grow when most have become empty."""
        self.assertEqual([self.holds(1000, filled) for filled in (6, 7, 8, 9, 10)], [True, False, False, True, False])
        self.assertTrue(self.pauses.must_pause(100, 1000))
        self.assertFalse(self.holds(1000, 4))
        self.assertFalse(self.pauses.must_pause(100, 1000))
        self.assertTrue(self.holds(1000, 6))
