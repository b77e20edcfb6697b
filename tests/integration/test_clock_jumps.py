"""A short run of jumping clocks; a longer one, with libfaketime, is a command of its own."""

from __future__ import annotations

from unittest import skipIf

from twisted.python.runtime import platform
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.clock_jumps import ClockJumps


class ClockJumpTests(SynchronousTestCase):
    @skipIf(platform.isWindows(), "the processes are started by env, and ended by SIGTERM")
    def test_wall_clocks_jump(self) -> None:
        """Clocks are set by hours and days; no link is lost, no packet fails, no timer is late, nobody is blamed."""
        figures = ClockJumps().run(3.0)
        self.assertEqual(figures.faults, [], str(figures))
        self.assertEqual(set(figures.journals), {1, 2, 3, 4, 5})
