"""The same scenarios on simulated hosts and on localhost."""

from __future__ import annotations

import math
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from netlayer.testing import SimulatedConnection, SimulatedHost, SimulatedInternet, SimulationError
from netlayer.testing.localhost import LocalConnection, LocalEnd, LocalHost, LocalInternet, refuse_on_localhost
from netlayer.testing.replay import numbers_text
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

    def test_waits_for_ever(self) -> None:
        """What never comes is waited for in real seconds, and not for ever."""
        process = run(f"{SCENARIOS}:CheckWaits", "--real")
        self.assertEqual(process.returncode, 1, process.stdout + process.stderr)
        self.assertIn("check() has not come to an end within 0.5 s", process.stdout)

    def test_interrupted(self) -> None:
        """Ctrl-C ends it even in code that never returns."""
        process = run(f"{SCENARIOS}:InterruptedLater", "--real")
        self.assertEqual(process.returncode, 130, process.stdout + process.stderr)
        self.assertEqual(process.stderr.splitlines()[-1], "interrupted")

    def test_refused(self) -> None:
        """Faults that only the simulation can make are refused, with what leaves them out."""
        scenario = scenarios.Troubled(1)
        numbers = [number for number, fault in scenario.faults.items() if fault.simulated_only]
        for refuse in (refuse_on_localhost, run_on_localhost):
            error = self.assertRaises(SimulationError, refuse, scenario)
            self.assertIn("only the simulation can make these faults: Partition, Stall.", str(error))
            self.assertIn(f"--without {numbers_text(numbers)}", str(error))
        left = scenarios.Troubled(1, without=numbers)
        refuse_on_localhost(left)
        self.assertEqual([fault for fault in left.faults.values() if fault.simulated_only], [])


class RefusalsTests(SynchronousTestCase):
    """What a scenario does in the simulation works on localhost, or is refused by its name."""

    def setUp(self) -> None:
        self.internet = LocalInternet(1)
        self.addCleanup(self.internet._end)
        self.one, self.two = self.internet.add_hosts(2)

    def refused(self, told: str, call: Any, *args: Any, **options: Any) -> None:
        error = self.assertRaises(SimulationError, call, *args, **options)
        self.assertIn(told, str(error))

    def test_nothing_is_missing(self) -> None:
        """Whatever is documented of hosts, connections and the internet is there."""
        own = {"jitter", "bandwidth", "window", "fragmentation", "coalescing"}
        inside = {"delay", "established", "host_at", "latency", "queue", "reachable", "sending_time", "writers"}
        for simulated, local in (
            (SimulatedInternet, LocalInternet),
            (SimulatedHost, LocalHost),
            (SimulatedConnection, LocalConnection),
        ):
            names = {name for name in vars(simulated) if not name.startswith("_")}
            left_out = own | inside | {"measure"} | set(getattr(simulated, "__slots__", ()))
            self.assertEqual([name for name in sorted(names - left_out) if not hasattr(local, name)], [])

    def test_faults(self) -> None:
        """What only the simulation can do is refused as such."""
        internet, one, two = self.internet, self.one, self.two
        connection = LocalConnection(LocalEnd(one, None), LocalEnd(two, None))
        for call in (
            internet.heal,
            lambda: internet.partition([[one]]),
            lambda: internet.cut(one, two),
            lambda: internet.mend(one, two),
            lambda: internet.set_latency(one, two, 1.0),
            lambda: internet.add_host("own", address="127.1.0.1"),
            lambda: one.stall(1.0),
            connection.black_hole,
            lambda: connection.cut_after(10, sender=one),
        ):
            self.refused("only the simulation can make ", call)

    def test_time(self) -> None:
        """Nobody can let time pass, as it passes by itself."""
        internet = self.internet
        self.refused("await sleep(seconds)", internet.advance, 1.0)
        self.refused("await what is to be waited for", internet.run, None)
        self.refused("await host.shutdown()", internet.shutdown)
        self.refused("time passes already", internet.begin, lambda: internet.run_until(lambda: True))
        self.refused("a number of seconds, not nan", internet.sleep, math.nan)
        self.refused("a number of seconds, 0 or more, not -1", internet.call_later, -1, int)

    def test_hosts(self) -> None:
        """Hosts are added and found as in the simulation, by names that were given to their addresses, too."""
        internet, one, two = self.internet, self.one, self.two
        self.refused("there is no host 'nobody'", internet.host, "nobody")
        self.refused("there is a host 'host1' already", internet.add_host, "host1")
        self.assertIs(internet.host("host1"), one)
        internet.set_name("www.example", two.address)
        self.assertEqual(internet.lookup(one, "www.example"), [two.address])
        internet.set_name("www.example", None)
        self.assertEqual(internet.lookup(one, "www.example"), [])
        internet.add_hosts(252, "more")
        self.refused("has no address for another host", internet.add_host, "late")

    def test_down(self) -> None:
        """A host that is down has ended, and has no connections."""
        connection = LocalConnection(LocalEnd(self.one, None), LocalEnd(self.two, None))
        self.assertTrue(connection.between("host2", self.one))
        self.one.crash()
        self.assertIsNone(self.successResultOf(self.one.shutdown()))
        self.assertEqual(self.one.connections, [])
