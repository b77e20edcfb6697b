"""Attacks on ids, and what is left when a bootstrap node is killed: the short forms of the long runs."""

from __future__ import annotations

import os
import random
from unittest import skipUnless

from twisted.trial.unittest import TestCase

from tests.directories import new_directory
from tests.integration.forgeries import FORGERIES, Forgeries
from tests.integration.killed_bootstrap import KilledBootstrap


class AttacksTests(TestCase):
    timeout = 60

    async def test_forgeries(self) -> None:
        """No registration that is forged, replayed or of another's id is accepted, or changes the file of bindings."""
        forgeries = Forgeries(new_directory(self), random.Random(1))
        self.addCleanup(forgeries.stop)
        await forgeries.start()
        await forgeries.attempt(8 * len(FORGERIES))
        self.assertEqual(forgeries.outcomes.total(), 8 * len(FORGERIES))
        self.assertEqual({kind for kind, _ in forgeries.outcomes}, {name for name, _ in FORGERIES})
        codes = {code for _, code in forgeries.outcomes}
        self.assertEqual(codes, {"bad-secret", "id-taken", "protocol-violation"})

    @skipUnless(os.name == "posix", "SIGKILL is a signal of POSIX")
    async def test_killed(self) -> None:
        """A bootstrap node that is killed while ids register has kept each that it has acknowledged."""
        killed = KilledBootstrap(new_directory(self) / "data", random.Random(1))
        while killed.rounds < 5 or (killed.rounds < 50 and not (killed.replaced and killed.under_way)):
            await killed.round()
        self.assertGreater(len(killed.acknowledged), 20)
        self.assertGreater(len(killed.replaced), 0)
        self.assertGreater(killed.under_way, 0)
