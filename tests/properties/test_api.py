"""A few sequences of calls; many more of them are made by a command of their own."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.properties import api
from tests.properties.api_values import ARGUMENTS
from tests.properties.api_world import KINDS, PlannedExit, PlannedFailure, World

#: How many a run of the tests makes, always the same; the checks make more.
EXAMPLES, STEPS, SEED = 12, 40, 3


class PublicApiTests(SynchronousTestCase):
    """Whatever is called when and with what, only what is documented comes of it."""

    def test_arguments(self) -> None:
        """Each argument that makes no sense is a ConfigurationError that says so."""
        machine = api.PublicApi()
        machine.world = World(1)
        self.addCleanup(machine.world.close)
        for kind in KINDS:
            for argument in ARGUMENTS:
                machine.construct_badly(kind=kind, host=0, argument=argument)
        self.assertEqual(machine.world.faults, [])

    def test_sequences(self) -> None:
        """No sequence of calls and faults breaks a promise, and most of what can come about does."""
        counts = api.run(examples=EXAMPLES, steps=STEPS, number=SEED)
        self.flushLoggedErrors(PlannedFailure, PlannedExit, TypeError)
        expected = {"constructed: BootstrapNode", "constructed: PeerService", "handled", "logged: failure"}
        expected |= {f"{verb}: done" for verb in ("start", "shutdown", "send", "when_joined")}
        expected |= {"start: AlreadyStarted", "send: InvalidPeer", "send: NodeStopped", "send: UnsupportedData"}
        self.assertEqual(expected - counts.keys(), set())
