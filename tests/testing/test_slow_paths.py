"""Slow paths with deep buffers."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.testing.slow_paths import BUFFERS, RATES, SlowPaths


class Shorter(SlowPaths):
    """Packets that take four times as long as silence may last."""

    @property
    def size(self) -> int:  # type: ignore[override]
        return self.rate * 60


class SlowPathsTests(SynchronousTestCase):
    def test_all(self) -> None:
        """On each kind of path large packets get through both ways at once, and no link is lost."""
        for seed in range(len(RATES) * len(BUFFERS)):
            Shorter(seed).run()
