"""Whether the other end lives."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netlayer.sansio.link.liveness import LATE, FrameTimer, Liveness, Verdict


class LivenessTests(SynchronousTestCase):
    """PING after 5 s of silence, dead after 15 s."""

    def setUp(self) -> None:
        self.liveness = Liveness(100.0, ping_after=5.0, dead_after=15.0)

    def play(
        self, until: float, *, heard: list[float] | None = None, quiet: bool = False, arriving: bool = False
    ) -> list[tuple[float, Verdict]]:
        """Run to `until`. Return when something other than ALIVE was found.

        :param heard: when bytes come; each time we answer, unless we are `quiet`.
        :param arriving: whether they are parts of a packet.
        """
        found = []
        times = sorted(heard or [])
        for _ in range(1000):
            deadline = self.liveness.deadline
            if times and times[0] < deadline:
                now = times.pop(0)
                self.liveness.heard(now)
                if not quiet:
                    self.liveness.spoke(now)
                continue
            if deadline > until:
                return found
            verdict = self.liveness.deadline_reached(deadline, arriving=arriving)
            if verdict is not Verdict.ALIVE:
                found.append((deadline, verdict))
            if verdict is Verdict.DEAD:
                return found
        raise AssertionError("the deadline does not move")

    def test_silence(self) -> None:
        """A peer that says nothing is asked once, and is dead 10 s later."""
        self.assertEqual(self.play(200.0), [(105.0, Verdict.ASK), (115.0, Verdict.DEAD)])

    def test_answers(self) -> None:
        """A peer that answers is asked every 5 s of silence and lives."""
        found = self.play(131.0, heard=[105.1, 110.2, 115.3, 120.4, 125.5])
        self.assertEqual([verdict for _, verdict in found], [Verdict.ASK] * 6)
        times = [time for time, _ in found]
        for time, expected in zip(times, (105.0, 110.1, 115.2, 120.3, 125.4, 130.5), strict=True):
            self.assertAlmostEqual(time, expected)

    def test_stops_answering(self) -> None:
        """A peer is dead 15 s after its last byte, whatever it has answered before."""
        found = self.play(200.0, heard=[105.1, 110.2])
        self.assertEqual(found[-1][1], Verdict.DEAD)
        self.assertAlmostEqual(found[-1][0], 125.2)

    def test_busy(self) -> None:
        """A peer that sends all the time is never asked."""
        self.assertEqual(self.play(130.0, heard=[100.0 + n / 2 for n in range(62)]), [])

    def test_frozen_ourselves(self) -> None:
        """If we were the frozen one, the peer's bytes may wait unread: it is asked and has a second to be heard."""
        self.assertIs(self.liveness.deadline_reached(140.0), Verdict.ASK)
        self.assertEqual(self.liveness.deadline, 140.0 + LATE)
        self.liveness.heard(140.01)
        self.assertGreater(self.liveness.deadline, 142.0)
        self.assertEqual(self.play(140.5 + LATE), [])

    def test_frozen_and_dead(self) -> None:
        """If the peer is silent for that second too, it is dead."""
        self.liveness.deadline_reached(140.0)
        self.assertEqual(self.play(200.0), [(140.0 + LATE, Verdict.DEAD)])

    def test_frozen_twice(self) -> None:
        """A process that is frozen again and again judges nobody."""
        for time in (140.0, 150.0, 160.0):
            self.assertIs(self.liveness.deadline_reached(time), Verdict.ASK)

    def test_early(self) -> None:
        """A timer that fires early does no harm."""
        self.assertIs(self.liveness.deadline_reached(101.0), Verdict.ALIVE)
        self.assertEqual(self.play(200.0), [(105.0, Verdict.ASK), (115.0, Verdict.DEAD)])

    def test_quiet_ourselves(self) -> None:
        """A peer that is heard and hears nothing gets a sign of life every 5 s; in mid-packet, every 2.5 s."""
        times = [100.0 + n / 4 for n in range(1, 80)]
        found = self.play(119.9, heard=times, quiet=True)
        self.assertEqual({verdict for _, verdict in found}, {Verdict.SPEAK})
        self.assertEqual([time for time, _ in found], [105.0, 110.0, 115.0])
        self.setUp()
        found = self.play(119.9, heard=times, quiet=True, arriving=True)
        self.assertEqual([time for time, _ in found], [102.5 + 2.5 * n for n in range(7)])

    def test_owes_nothing(self) -> None:
        """A peer that has heard us since it spoke last is given no sign."""
        self.assertEqual(self.play(104.9, heard=[101.0, 102.0]), [])
        self.setUp()
        self.liveness.heard(101.0)
        self.liveness.spoke(103.0)
        self.assertEqual(self.play(105.9), [])

    @settings(deadline=None, max_examples=150)
    @given(st.floats(0, 1e9), st.lists(st.floats(0.0, 14.9), max_size=30))
    def test_any_times(self, began: float, gaps: list[float]) -> None:
        """At whatever times bytes come, each deadline leads on, the living are not condemned and the dead are."""
        self.liveness = Liveness(began, ping_after=5.0, dead_after=15.0)
        heard, now = [], began
        for gap in gaps:
            now += gap
            heard.append(now)
        *before, (dead, verdict) = self.play(now + 16.0, heard=heard)
        self.assertIs(verdict, Verdict.DEAD)
        self.assertAlmostEqual(dead, now + 15.0)
        self.assertEqual({verdict for _, verdict in before}, {Verdict.ASK})


class FrameTimerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.timer = FrameTimer(30.0)

    def test_whole_frames(self) -> None:
        """No time runs while nothing of a frame waits for its rest."""
        self.timer.received(100, 0, 1.0)
        self.assertIsNone(self.timer.deadline)
        self.assertFalse(self.timer.is_over(1000.0))

    def test_drip(self) -> None:
        """A frame has its time from its first byte, whatever comes of it; the next one has a time of its own."""
        for second in range(30):
            self.timer.received(100, 5 + second, float(second))
        self.assertEqual(self.timer.deadline, 30.0)
        self.assertFalse(self.timer.is_over(29.9))
        self.assertTrue(self.timer.is_over(30.0))
        self.timer.received(200, 5, 31.0)
        self.assertEqual(self.timer.deadline, 61.0)

    def test_late(self) -> None:
        """A process that was frozen itself looks at what waits unread before it judges."""
        self.timer.received(100, 5, 0.0)
        self.assertFalse(self.timer.is_over(95.0))
        self.assertEqual(self.timer.deadline, 96.0)
        self.assertTrue(self.timer.is_over(96.0))
