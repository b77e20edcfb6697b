"""How far something is, on a terminal and elsewhere."""

from __future__ import annotations

import io

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from netlayer.testing.progress import Progress


class Terminal(io.StringIO):
    """Says that it is one."""

    def isatty(self) -> bool:
        return True


class ProgressTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def test_terminal(self) -> None:
        """On a terminal there is one line, a bar, that is written over and can be taken away."""
        stream = Terminal()
        progress = Progress(200, stream, clock=self.clock.seconds)
        for done in range(1, 101):
            self.clock.advance(0.0625)
            progress.tell(done, "0 failed")
        text = stream.getvalue()
        self.assertNotIn("\n", text)
        bar = text.rpartition("\r")[2].rstrip()
        self.assertRegex(bar, r"^\[(#+)(\.+)\] 100 of 200 runs, 0 failed, 6 s left$")
        self.assertEqual(bar.count("#"), bar.count("."))
        self.assertLess(text.count("["), 60)
        progress.clear()
        self.assertEqual(stream.getvalue()[len(text) :].strip("\r "), "")

    def test_elsewhere(self) -> None:
        """Elsewhere there is a line every ten seconds, and one at the end."""
        stream = io.StringIO()
        progress = Progress(2000, stream, clock=self.clock.seconds)
        for done in range(1, 2001):
            self.clock.advance(0.015625)
            progress.tell(done, "1 failed")
        self.assertEqual(
            stream.getvalue().splitlines(),
            [
                "640 of 2,000 runs, 1 failed, 21 s left",
                "1,280 of 2,000 runs, 1 failed, 11 s left",
                "1,920 of 2,000 runs, 1 failed, 1 s left",
                "2,000 of 2,000 runs, 1 failed",
            ],
        )

    def test_unknown_end(self) -> None:
        """Where nobody knows how much there is to do, what was done is counted."""
        stream = io.StringIO()
        progress = Progress(None, stream, clock=self.clock.seconds)
        self.clock.advance(11.0)
        progress.tell(3, "shrinking: 2 faults, 5 hosts left")
        self.assertEqual(stream.getvalue(), "3 runs, shrinking: 2 faults, 5 hosts left\n")
