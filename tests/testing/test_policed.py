"""Paths that break each connection."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.testing.policed import Policed


class Shorter(Policed):
    """A third of an hour."""

    seconds = 1200.0


class PolicedTests(SynchronousTestCase):
    def test_few_connections(self) -> None:
        """However a path breaks, it is tried ever more slowly, told of once, and loses no packet."""
        for seed in range(1, 7):
            Shorter(seed).run()
