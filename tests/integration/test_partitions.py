"""Partitions of a real network, made of network namespaces."""

from __future__ import annotations

import random
import time

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.integration.faults.namespaces import why_not
from tests.integration.partitions import Partitions

#: Silence is noticed soon, and a peer that is away is dialed often.
SHORT = {
    "timeout": 1.0,
    "ping_after": 0.3,
    "dead_after": 1.0,
    "probe_timeout": 0.3,
    "backoff_first": 0.1,
    "backoff_cap": 0.3,
    "backoff_late_cap": 0.3,
    "lease_grace": 1.0,
    "lease_renewal": 1.0,
}


class PartitionTests(SynchronousTestCase):
    def test_both_ways_and_one_way(self) -> None:
        """Nodes that were cut off from each other, silently, both ways or one way, agree soon after."""
        reason = why_not()
        if reason is not None:
            raise SkipTest(reason)
        partitions = Partitions(bootstraps=1, nodes=2, rng=random.Random(1), settings=SHORT, probe=0.1)
        self.addCleanup(partitions.close)
        partitions.start()
        for kind in ("split", "one-way"):
            cut = partitions.cut(kind)
            time.sleep(1.2)
            # The other way packets pass, at first: their senders get no answers, and break the connections.
            passed = partitions.heard(since=cut.at + 0.1) & {(receiver, sender) for sender, receiver in cut.deaf}
            self.assertEqual(bool(passed), kind == "one-way")
            partitions.heal(cut, within=30.0)
        self.assertEqual(partitions.judge().faults, [])
