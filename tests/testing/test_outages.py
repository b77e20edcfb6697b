"""Back within 30 s after any outage, with the default settings."""

from __future__ import annotations

import random
from collections.abc import Iterable

from twisted.trial.unittest import SynchronousTestCase

from netlayer.testing import Fault
from tests.testing.outages import DAY, OUTAGES, VICTIMS, Outages, outage

#: How many outages of random length, victim and kind a run of the tests plays; the checks play more by the command.
SEEDS = 2


class OutagesTests(SynchronousTestCase):
    def test_random(self) -> None:
        """After an outage of any length and kind everybody is linked, registered and listed within 30 s."""
        for seed in range(SEEDS):
            Outages(seed).run()

    def test_lengths(self) -> None:
        """So it is for each kind of outage of each victim, be it short or long."""
        for seed, kind in enumerate(OUTAGES):
            for victim, names in VICTIMS.items():
                for seconds in (1.0, 5.0, 14.0, 16.0, 29.0, 61.0, 121.0, 600.0):
                    with self.subTest(kind=kind, victim=victim, seconds=seconds):
                        Fixed.planned = outage(kind, names, ["bootstrap1", "node1", "node2"], 10.0, seconds)
                        Fixed(seed).run()

    def test_a_day(self) -> None:
        """So it is after a day, of a peer and a bootstrap node at once."""
        Fixed.planned = outage("cut off", VICTIMS["both"], ["bootstrap1", "node1", "node2"], 10.0, DAY)
        Fixed(1).run()


class Fixed(Outages):
    """One outage that was chosen before."""

    planned: list[Fault]

    def timeline(self, rng: random.Random) -> Iterable[Fault]:
        return self.planned
