"""Reactors of netlayer's own processes, and what had been asked of them before."""

from __future__ import annotations

import time

from twisted.internet.selectreactor import SelectReactor
from twisted.trial.unittest import SynchronousTestCase

from netlayer.log import LimitedLog
from netlayer.script.monotonic import run_on_monotonic_time


class MonotonicTests(SynchronousTestCase):
    def setUp(self) -> None:
        """A reactor beside that of the tests."""
        self.reactor = SelectReactor()
        self.addCleanup(self.reactor.removeAll)
        self.called: list[str] = []

    def run_for(self, seconds: float) -> None:
        """Let it make the calls that are due."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.reactor.runUntilCurrent()

    def test_waiting_calls(self) -> None:
        """Calls that were asked for before are made when they were due, in their order, and can still be moved."""
        for delay in (0.2, 0.1, 3600.0):
            self.reactor.callLater(delay, self.called.append, f"{delay:g}")
        moved = self.reactor.callLater(3600.0, self.called.append, "moved")
        self.run_for(0.0)
        run_on_monotonic_time(self.reactor)
        run_on_monotonic_time(self.reactor)
        moved.reset(0.15)
        self.run_for(0.5)
        self.assertEqual(self.called, ["0.1", "moved", "0.2"])
        self.assertTrue(3500.0 < (self.reactor.timeout() or 0.0) < 3600.0)

    def test_log_of_strangers(self) -> None:
        """A node that is made before the clock is changed still tells of strangers after the first minute."""
        written: list[object] = []
        log = LimitedLog(1, clock=self.reactor, lines=2)
        log.observer = written.append
        run_on_monotonic_time(self.reactor)
        for _ in range(5):
            log.info("a stranger")
        self.assertEqual(len(written), 2)
        began = time.monotonic()
        self.patch(self.reactor, "seconds", lambda: began + 61.0)
        log.info("a stranger, later")
        self.assertEqual(len(written), 4)  # how many were left out, and this one
