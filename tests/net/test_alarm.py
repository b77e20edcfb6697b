"""The timer of one thing."""

from __future__ import annotations

import random

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from netlayer.net.alarm import MOST, Alarm


class AlarmTests(SynchronousTestCase):
    """An alarm that is set for the next of several deadlines, and again when it goes off."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.rung: list[float] = []
        self.deadlines: list[float] = []
        self.alarm = Alarm(self.clock, self.ring)

    def ring(self) -> None:
        """Take what is due, and set the alarm for the rest."""
        now = self.clock.seconds()
        self.rung += [deadline for deadline in self.deadlines if deadline <= now]
        self.deadlines = [deadline for deadline in self.deadlines if deadline > now]
        if self.deadlines:
            self.alarm.set(min(self.deadlines))

    def set(self, deadline: float) -> None:
        """Set one more deadline."""
        self.deadlines.append(deadline)
        self.alarm.set(deadline)

    def test_earlier_and_earlier(self) -> None:
        """Each deadline may be before all others: there are few calls all the same, and none is missed."""
        for deadline in range(1000, 0, -1):
            self.set(float(deadline))
            self.assertLessEqual(len(self.clock.getDelayedCalls()), MOST)
        self.clock.pump([1.0] * 1000)
        self.assertEqual(self.rung, [float(deadline) for deadline in range(1, 1001)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_any_order(self) -> None:
        """Deadlines in any order are met in time."""
        rng = random.Random(1)
        for _ in range(2000):
            self.set(self.clock.seconds() + rng.uniform(0.0, 50.0))
            self.clock.advance(rng.choice((0.0, 0.01, 1.0)))
            self.assertFalse([deadline for deadline in self.deadlines if deadline <= self.clock.seconds()])
            self.assertLessEqual(len(self.clock.getDelayedCalls()), MOST)
        self.clock.advance(50.0)
        self.assertEqual((len(self.rung), self.deadlines), (2000, []))

    def test_cancelled(self) -> None:
        """Nothing is called once the alarm is cancelled, until it is set again."""
        for deadline in (3.0, 2.0, 1.0):
            self.set(deadline)
        self.alarm.cancel()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.alarm.set(2.0)
        self.clock.advance(2.0)
        self.assertEqual(sorted(self.rung), [1.0, 2.0])
