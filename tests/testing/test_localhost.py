"""The same scenarios on simulated hosts and on localhost."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from netlayer.testing import SimulationError
from netlayer.testing.run import run_on_localhost
from tests.testing import scenarios
from tests.testing.test_command import SCENARIOS, run

EQUAL = "What was delivered is the same in the simulation and on localhost."


class LocalhostTests(SynchronousTestCase):
    """Each run is a process of its own, with a reactor of its own."""

    def test_same_delivered(self) -> None:
        """With a crash and resets in it, real sockets, real TLS and real time deliver what the simulation delivers."""
        process = run(f"{SCENARIOS}:Exchange", "--seed", "1", "--real")
        self.assertEqual(process.returncode, 0, process.stdout + process.stderr)
        self.assertIn(EQUAL, process.stdout)
        self.assertEqual(process.stdout.count("Crash for"), 2)
        self.assertIn(f"python -m netlayer.testing {SCENARIOS}:Exchange --seed 1 --real", process.stdout)

    def test_fails(self) -> None:
        """What fails in the simulation is not tried; what fails on localhost only is told with the command for it."""
        process = run(f"{SCENARIOS}:OnlySimulated", "--real")
        self.assertEqual(process.returncode, 1, process.stdout + process.stderr)
        self.assertIn("OnlySimulated with seed 0 passed", process.stdout)
        self.assertIn("check, after", process.stdout)
        self.assertIn("AssertionError: this is no simulation", process.stdout)

    def test_different(self) -> None:
        """When other things were delivered, both are shown, and the run has failed."""
        process = run(f"{SCENARIOS}:Different", "--real")
        self.assertEqual(process.returncode, 1, process.stdout + process.stderr)
        self.assertIn(
            "Delivered in the simulation:\n  ['a simulation']\non localhost:\n  ['localhost']", process.stdout
        )

    def test_refused(self) -> None:
        """Faults that only the simulation can make are refused, with what leaves them out."""
        scenario = scenarios.Troubled(1)
        error = self.assertRaises(SimulationError, run_on_localhost, scenario)
        numbers = [number for number, fault in scenario.faults.items() if fault.simulated_only]
        self.assertIn("only the simulation can make these faults: Partition, Stall.", str(error))
        left = scenarios.Troubled(1, without=numbers)
        self.assertEqual([fault for fault in left.faults.values() if fault.simulated_only], [])
