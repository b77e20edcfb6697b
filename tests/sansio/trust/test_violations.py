"""Who is refused for having broken the protocol, and for how long."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from netlayer.sansio.trust.violations import MAX_OFFENDERS, Violations


class ViolationsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.violations = Violations(most=3, memory=600.0)

    def note(self, offender: str, *times: float) -> list[bool]:
        return [self.violations.note(offender, time) for time in times]

    def test_too_many(self) -> None:
        """The third offence within ten minutes is one too many, and it alone says so; others are not touched."""
        self.assertEqual(self.note("a", 0.0, 1.0), [False, False])
        self.assertFalse(self.violations.is_refused("a", 1.0))
        self.assertEqual(self.note("a", 2.0, 3.0), [True, False])
        self.assertTrue(self.violations.is_refused("a", 3.0))
        self.assertFalse(self.violations.is_refused("b", 3.0))

    def test_forgiven(self) -> None:
        """Offences count for ten minutes, and a refusal ends with them; seldom ones lead to none."""
        self.note("a", 0.0, 0.0, 0.0)
        self.assertTrue(self.violations.is_refused("a", 599.0))
        self.assertFalse(self.violations.is_refused("a", 600.0))
        self.assertEqual(self.note("a", 700.0, 1000.0, 1299.0), [False, False, True])
        self.assertEqual(self.note("b", 0.0, 300.0, 601.0, 902.0), [False, False, False, False])

    def test_how_long(self) -> None:
        """What is left of a refusal is told; it is never more than the whole, though the clock may be set back."""
        self.assertEqual(self.violations.refused_for("a", 0.0), 0.0)
        self.note("a", 10.0, 20.0)
        self.assertEqual(self.violations.refused_for("a", 20.0), 0.0)
        self.note("a", 30.0)
        self.assertEqual(self.violations.refused_for("a", 110.0), 500.0)
        self.assertEqual(self.violations.refused_for("a", -1000.0), 600.0)
        self.note("a", 210.0)  # the offences of a refused one count, too
        self.assertEqual(self.violations.refused_for("a", 610.0), 10.0)

    def test_trials(self) -> None:
        """Whoever is refused may try once a second, others as often as they like."""
        self.note("a", 0.0, 0.0)
        self.assertTrue(self.violations.take_trial("a", 0.0) and self.violations.take_trial("a", 0.0))
        self.note("a", 0.0)
        tried = [time / 4 for time in range(20) if self.violations.take_trial("a", time / 4)]
        self.assertEqual(tried, [0.0, 1.0, 2.0, 3.0, 4.0])
        self.assertTrue(self.violations.take_trial("a", -100.0))  # the clock was set back
        self.assertTrue(self.violations.take_trial("b", 0.0) and self.violations.take_trial("b", 0.0))
        self.assertTrue(self.violations.take_trial("a", 600.0) and self.violations.take_trial("a", 600.0))

    def test_returned_trials(self) -> None:
        """A trial that is returned may be had again, but only by whoever had the last one."""
        self.note("a", 0.0, 0.0, 0.0)
        self.assertTrue(self.violations.take_trial("a", 1.0))
        self.violations.return_trial("a", 1.0)
        self.assertTrue(self.violations.take_trial("a", 1.1))
        self.violations.return_trial("a", 1.0)
        self.assertFalse(self.violations.take_trial("a", 1.2))
        self.violations.return_trial("unknown", 1.0)

    def test_bounded(self) -> None:
        """Only so many offenders are remembered: those that have offended last."""
        self.note("old", 0.0, 0.0, 0.0)
        self.note("busy", 0.0, 0.0)
        for number in range(MAX_OFFENDERS - 1):
            self.note(f"other {number}", 1.0)
            if number == 0:
                self.note("busy", 1.0)
        self.assertFalse(self.violations.is_refused("old", 2.0))
        self.assertTrue(self.violations.is_refused("busy", 2.0))
