"""Two nodes that dial each other, by many random schedules."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.testing.dialers import TwoDialers

#: How many schedules a run of the tests plays; .ci/run plays more of them.
SEEDS = 60


class TwoDialersTests(SynchronousTestCase):
    def test_agree(self) -> None:
        """Both ends agree about one connection, the only one left, within 45 s of peace."""
        for seed in range(SEEDS):
            TwoDialers(seed).run()
