"""Links that do not last."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from netlayer.sansio.overlay.flapping import FLAPPING, WITHIN, Breaks, Tokens


class BreaksTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.breaks = Breaks()

    def test_again_and_again(self) -> None:
        """A peer flaps from its fourth break within an hour on, which is told once; another one does not."""
        self.assertEqual([self.breaks.lost("peer", 60.0 * n) for n in range(6)], [False] * 3 + [True] + [False] * 2)
        self.assertTrue(self.breaks.is_flapping("peer", 360.0))
        self.assertFalse(self.breaks.is_flapping("other", 360.0))

    def test_now_and_then(self) -> None:
        """Breaks that are far apart are no flapping, however many there are."""
        apart = WITHIN / (FLAPPING - 1)
        self.assertFalse(any(self.breaks.lost("peer", apart * n) for n in range(100)))

    def test_over(self) -> None:
        """It is over when a link has lasted, or an hour later."""
        for n in range(FLAPPING):
            self.breaks.lost("peer", float(n))
        self.assertFalse(self.breaks.is_flapping("peer", WITHIN))
        self.breaks.lasts("peer")
        self.breaks.lasts("stranger")
        self.assertEqual([self.breaks.lost("peer", 10.0) for _ in range(FLAPPING)][-1], True)

    def test_bounded(self) -> None:
        """Any number of peers costs no more than some thousands."""
        for n in range(10_000):
            self.breaks.lost(n, 0.0)
        self.assertLess(len(self.breaks._times), 5000)


class TokensTests(SynchronousTestCase):
    def test_take(self) -> None:
        """Three times within a minute, whenever that begins."""
        tokens = Tokens(count=3, seconds=60.0)
        times = [0.0, 10.0, 20.0, 30.0, 59.9, 60.0, 60.1, 70.0, 75.0, 80.0]
        self.assertEqual(
            [tokens.take(now) for now in times], [True] * 3 + [False] * 2 + [True, False, True, False, True]
        )

    def test_clock_set_back(self) -> None:
        """A clock that is set back keeps nobody waiting for long."""
        tokens = Tokens(count=1, seconds=60.0)
        self.assertEqual([tokens.take(now) for now in (1e6, 10.0, 20.0, 70.0)], [True, True, False, True])
