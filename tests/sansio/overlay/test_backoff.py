"""When to try again."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netlayer.config import Settings
from netlayer.sansio.overlay.backoff import BackOff

SETTINGS = Settings(backoff_first=0.5, backoff_cap=10.0, backoff_late_cap=20.0, backoff_late=120.0)


class Longest(random.Random):
    """Chance that always gives the longest wait."""

    def uniform(self, a: float, b: float) -> float:
        return b


class BackOffTests(SynchronousTestCase):
    """The waits between attempts."""

    def test_longest(self) -> None:
        """Waits double up to their cap; it is a higher one when the outage is two minutes old."""
        back_off, now, waits = BackOff(settings=SETTINGS, rng=Longest()), 1000.0, []
        for _ in range(20):
            waits.append(back_off.failed(now))
            now += waits[-1]
        early = 5 + 11  # attempts in the first two minutes
        self.assertEqual(waits[:5], [0.5, 1.0, 2.0, 4.0, 8.0])
        self.assertEqual(set(waits[5:early]), {10.0})
        self.assertEqual(set(waits[early:]), {20.0})
        self.assertEqual(back_off.attempts, 20)

    @settings(deadline=None)
    @given(st.integers(0, 2**32), st.lists(st.floats(0, 100), max_size=100))
    def test_bounds(self, seed: int, connecting: list[float]) -> None:
        """Whatever attempts take, no wait exceeds its cap, even after a very long outage."""
        back_off, now = BackOff(settings=SETTINGS, rng=random.Random(seed)), 0.0
        for seconds in [0.0, *connecting, 1e9]:
            now += seconds
            wait = back_off.failed(now)
            self.assertTrue(0.0 <= wait <= (10.0 if now < 120.0 else 20.0), (now, wait))

    def test_broke(self) -> None:
        """Links that did not last count like failed attempts; waits are half as long at least."""
        back_off, now, waits = BackOff(settings=SETTINGS, rng=random.Random(1)), 0.0, []
        for n in range(40):
            if n % 3 == 2:
                now += back_off.failed(now)
            waits.append(back_off.broke(now))
            now += waits[-1]
        self.assertEqual((back_off.attempts, back_off.breaks), (0, 40))
        self.assertTrue(0.25 <= waits[0] <= 0.5 <= waits[1] <= 1.0)
        self.assertTrue(all(10.0 <= wait <= 20.0 for wait in waits[-10:]), waits)
        back_off.ready()
        self.assertEqual(back_off.breaks, 0)
        self.assertLessEqual(back_off.broke(now), 0.5)

    def test_broke_unnoticed(self) -> None:
        """If the other end may not have seen the link, waits are twice as long."""
        one, other = (BackOff(settings=SETTINGS, rng=random.Random(1)) for _ in range(2))
        for n in range(40):
            self.assertEqual(one.broke(n * 10.0, unnoticed=True), 2 * other.broke(n * 10.0))

    def test_fell_short(self) -> None:
        """Broken connections begin a longest wait apart or more, half of that if only this end dials."""
        for dials_back, least in ((True, 20.0), (False, 10.0)):
            back_off, now = BackOff(settings=SETTINGS, rng=random.Random(1)), 0.0
            for n in range(100):
                lasted = (0.1, 3.0, 10.0)[n % 3]
                now += lasted
                wait = back_off.fell_short(now, lasted=lasted, dials_back=dials_back)
                now += wait
                if now >= 160.0:
                    self.assertTrue(least <= lasted + wait <= max(2 * least, 30.0), (lasted, wait))
            self.assertEqual((back_off.attempts, back_off.broken, back_off.breaks), (100, 100, 0))

    def test_hurry_after_broken(self) -> None:
        """Somebody who sends does not make the waits after broken connections short; one that none came of does."""
        back_off = BackOff(settings=SETTINGS, rng=Longest())
        for now in range(0, 300, 10):
            back_off.fell_short(float(now), lasted=0.0, dials_back=True)
        back_off.hurry()
        self.assertEqual(back_off.fell_short(300.0, lasted=0.0, dials_back=True), 40.0)
        back_off.hurry()
        self.assertEqual(back_off.failed(300.0), 0.5)
        self.assertEqual(back_off.broken, 0)

    def test_thousands(self) -> None:
        """An outage of any length overflows nothing."""
        back_off = BackOff(settings=SETTINGS, rng=random.Random(1))
        self.assertLess(max(back_off.failed(n * 20.0) for n in range(5000)), 20.0)

    def test_jitter(self) -> None:
        """Nodes that lost the same bootstrap together come back spread over time."""
        waits = [BackOff(settings=SETTINGS, rng=random.Random(seed)).failed(0.0) for seed in range(100)]
        self.assertGreater(len(set(waits)), 90)
        self.assertTrue(all(0.0 <= wait <= 0.5 for wait in waits))

    def test_at_least(self) -> None:
        """A peer that says when to come back is left alone until then."""
        back_off = BackOff(settings=SETTINGS, rng=random.Random(1))
        self.assertEqual(back_off.failed(0.0, at_least=60.0), 60.0)
        self.assertLess(back_off.failed(60.0), 1.0)

    def test_ready(self) -> None:
        """The next outage begins with short waits again."""
        back_off = BackOff(settings=SETTINGS, rng=Longest())
        for now in range(0, 300, 10):
            back_off.failed(float(now))
        back_off.ready()
        self.assertEqual(back_off.attempts, 0)
        self.assertEqual([back_off.failed(300.0), back_off.failed(300.5)], [0.5, 1.0])

    def test_hurry(self) -> None:
        """When somebody sends, the next attempts follow soon, though the outage goes on."""
        back_off = BackOff(settings=SETTINGS, rng=Longest())
        for now in range(0, 300, 10):
            back_off.failed(float(now))
        back_off.hurry()
        self.assertEqual([back_off.failed(300.0) for _ in range(7)], [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 20.0])
