"""A few storms; many more of them are played by a command of their own."""

from __future__ import annotations

from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from tests.properties.application import PlannedFailure
from tests.properties.storm import Storm

#: How many seeds a run of the tests plays; the checks play more.
SEEDS = 12


class StormTests(SynchronousTestCase):
    """Whatever goes wrong, each packet is handled once and in order, or its sender learns what is known of it."""

    def test_storms(self) -> None:
        """Nothing that the ledger or the invariants demand is broken, and the storms are not calm either."""
        counts: Counter[str] = Counter()
        for seed in range(1, SEEDS + 1):
            storm = Storm(seed)
            storm.run()
            self.flushLoggedErrors(PlannedFailure)
            counts += storm.ledger.counts
        expected = {"done", "HandlerFailed", "DeliveryTimeout", "PeerLost", "PeerUnreachable", "QueueFull"}
        expected |= {"UnknownPeer", "PacketTooLarge", "NodeStopped", "redelivered"}
        self.assertEqual(expected - counts.keys(), set())
