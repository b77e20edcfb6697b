"""How much of a link's packets may be on their way at once."""

from __future__ import annotations

from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netlayer.sansio.link.pacing import LEAST, SPAN, Mark, Pacing

FRAME = 65536


class PacingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.pacing, self.now = Pacing(), 100.0

    def write(self) -> Mark | None:
        """Write a frame; return the mark behind it, if one is due."""
        self.pacing.written += FRAME
        return self.pacing.mark(0, self.now) if self.pacing.is_mark_due else None

    def test_begins_small(self) -> None:
        """Before anything is known of the way, one frame may be on it, and a mark follows that."""
        self.assertEqual(self.pacing.room, LEAST)
        self.assertFalse(self.pacing.is_mark_due)
        self.assertIsNotNone(self.write())
        self.assertLessEqual(self.pacing.room, 0)
        self.assertFalse(self.pacing.is_mark_due)

    def test_fast(self) -> None:
        """A fast way is open after a round trip."""
        mark = self.write()
        assert mark is not None
        self.pacing.confirmed(mark, 100.001)
        self.assertGreater(self.pacing.room, 100 * 2**20)
        self.assertIsNone(self.write())  # marks are rare where much may be on the way

    def test_slow(self) -> None:
        """On a slow way there is what the peer reads in two seconds, and one frame."""
        mark = self.write()
        assert mark is not None
        self.pacing.confirmed(mark, 104.0)
        self.assertEqual(self.pacing.room, LEAST + SPAN * FRAME / 4.0)

    def test_small_packets(self) -> None:
        """What is less than a frame in all needs no mark."""
        self.pacing.written += FRAME - 1
        self.assertFalse(self.pacing.is_mark_due)
        self.assertEqual(self.pacing.room, 1)

    def test_old_marks(self) -> None:
        """A mark that is confirmed after a later one tells nothing new."""
        first = self.write()
        second = self.pacing.mark(0, 100.0)
        assert first is not None
        self.pacing.confirmed(second, 101.0)
        room = self.pacing.room
        self.pacing.confirmed(first, 101.0)
        self.assertEqual(self.pacing.room, room)

    def test_late_answers(self) -> None:
        """Answers that come all at once, and late, don't look like a fast way."""
        mark = self.write()
        assert mark is not None
        self.pacing.confirmed(mark, 102.0)
        marks = []
        while self.pacing.room > 0:
            self.pacing.written += FRAME
            if self.pacing.is_mark_due:
                marks.append(self.pacing.mark(0, 102.0))
        late = [*marks[:-1]]
        for each in late:
            self.pacing.confirmed(each, 106.0)
        after = self.pacing.mark(0, 106.0)
        self.pacing.confirmed(marks[-1], 106.1)
        self.pacing.confirmed(after, 106.2)
        self.assertLess(self.pacing.room, 4 * LEAST)

    @settings(deadline=None, max_examples=200)
    @given(st.lists(st.tuples(st.integers(1, 100_000), st.booleans(), st.floats(0.0, 100.0)), max_size=100))
    def test_never_stuck(self, steps: list[tuple[int, bool, float]]) -> None:
        """Whatever the times are: while nothing may be written, a mark is on its way."""
        marks: deque[Mark] = deque()
        now = 100.0
        for size, answered, passed in steps:
            now += passed
            if self.pacing.room > 0:
                self.pacing.written += size
            if self.pacing.is_mark_due:
                marks.append(self.pacing.mark(0, now))
            if answered and marks:
                self.pacing.confirmed(marks.popleft(), now)
                if self.pacing.is_mark_due:
                    marks.append(self.pacing.mark(0, now))
            self.assertTrue(self.pacing.room > 0 or marks)
            self.assertLess(len(marks), 20)
        while marks:
            self.pacing.confirmed(marks.popleft(), now)
        self.assertGreater(self.pacing.room, 0)
