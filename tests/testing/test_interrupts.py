"""Ctrl-C in a run: it ends all runs, wherever it comes."""

from __future__ import annotations

import signal

from twisted.trial.unittest import SynchronousTestCase

from netlayer.testing.interrupts import interrupts_noted
from tests.testing import scenarios


class InterruptsTests(SynchronousTestCase):
    def setUp(self) -> None:
        """Have Ctrl-C do what it does in a fresh Python."""
        self.addCleanup(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler))

    def test_in_a_coroutine(self) -> None:
        """It is not lost in a Deferred; afterwards Ctrl-C does what it did before."""
        self.assertRaises(KeyboardInterrupt, scenarios.Interrupted(1).run)
        self.assertIs(signal.getsignal(signal.SIGINT), signal.default_int_handler)

    def test_handled_by_others(self) -> None:
        """Whoever handles Ctrl-C otherwise goes on doing so."""
        seen = []
        signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
        with interrupts_noted() as look:
            signal.raise_signal(signal.SIGINT)
            look()
        self.assertEqual(seen, [signal.SIGINT])
