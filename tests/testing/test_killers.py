"""Packets that kill the process that handles them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.testing.killers import Killers


class Fewer(Killers):
    """A few of them."""

    killers, innocents = 5, 8
    seconds = 200.0


class KillersTests(SynchronousTestCase):
    def test_fewer(self) -> None:
        """Each kills three processes at most, and all innocent packets around them are handled."""
        for seed in range(3):
            Fewer(seed).run()
