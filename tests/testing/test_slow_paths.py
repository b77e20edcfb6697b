"""Slow paths with deep buffers, and many senders of large packets."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from netlayer import Settings
from netlayer.net.bootstrap import BOOTSTRAP_CONNECTIONS
from tests.testing.slow_paths import BUFFERS, RATES, SlowPaths
from tests.testing.uploads import Uploads

MIB = 1024 * 1024


class Shorter(SlowPaths):
    """Packets that take four times as long as silence may last."""

    @property
    def size(self) -> int:  # type: ignore[override]
        return self.rate * 60


class Fewer(Uploads):
    """Six uploads to a node that has room for two, and that six times in all."""

    nodes = senders = 6
    at_once = 2
    size = 1_000_000
    settings = attrs.evolve(Settings(), max_packet=MIB, reassembly_limit=2 * MIB, max_connections=BOOTSTRAP_CONNECTIONS)


class UploadsTests(SynchronousTestCase):
    def test_turns(self) -> None:
        """However many send at once, all are delivered, no link is lost, and nobody is told of a timeout."""
        for seed in range(3):
            Fewer(seed).run()


class SlowPathsTests(SynchronousTestCase):
    def test_all(self) -> None:
        """On each kind of path large packets get through both ways at once, and no link is lost."""
        for seed in range(len(RATES) * len(BUFFERS)):
            Shorter(seed).run()
