"""More nodes than links."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.testing.limits import Limits


class LimitsTests(SynchronousTestCase):
    def test_some(self) -> None:
        """Nodes that can't all be linked become one network within a minute, and broadcasts name everybody else."""
        for seed in (1, 2, 38, 40, 75):
            Limits(seed).run()
