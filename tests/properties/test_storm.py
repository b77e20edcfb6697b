"""A few storms; many more of them are played by a command of their own."""

from __future__ import annotations

from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from tests.properties.application import PlannedFailure
from tests.properties.storm import Storm

#: How many seeds a run of the tests plays; the checks play more.
SEEDS = 12


#: Storms that have found something: the seed, the faults that it did without, and the hosts that it took.
FOUND = (
    # An old link's protocol and a service have sent to one peer, before it was known to be one: out of order.
    (6264, (1, 2, 4, 5, 6, 9, 11, 12, 13, 15, 16), None),
    # Packets were sent while their link ended, when their peer was not dialed for them any more: they waited for ever.
    (4075, (1, 2, 7, 8, 10, 11, 12, 14, 15, 16), ("bootstrap1", "bootstrap2", "node1", "node2")),
)


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

    def test_found(self) -> None:
        """What was found once is not there any more."""
        for seed, without, hosts in FOUND:
            Storm(seed, without=without, only_hosts=hosts).run()
            self.flushLoggedErrors(PlannedFailure)
