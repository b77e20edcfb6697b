"""Scenarios: what they run, what they notice, what they tell."""

from __future__ import annotations

import weakref

import attrs
from twisted.trial.unittest import SynchronousTestCase

from netlayer.testing import (
    Crash,
    Failed,
    OneWayCut,
    Partition,
    Reset,
    Scenario,
    ScenarioFailed,
    SimulatedInternet,
    SimulationError,
    Timeline,
)
from netlayer.testing.run import RUNS_KEPT, simulate
from netlayer.testing.shrinking import minimized, shrink
from tests.testing import scenarios


def failure(kind: type[Scenario]) -> Failed:
    """Return how a scenario fails."""
    outcome = simulate(kind(1))
    assert outcome.failure is not None
    return outcome.failure


class OutcomeTests(SynchronousTestCase):
    def test_passes(self) -> None:
        """A run that passes tells how soon it had settled, and has the same trace when it is run again."""
        first, again, other = (scenarios.Troubled(seed).run() for seed in (1, 1, 2))
        self.assertEqual(first, attrs.evolve(again, took=first.took))
        self.assertNotEqual(first.trace_hash, other.trace_hash)
        self.assertIsNotNone(first.settled_after)
        self.assertGreater(first.events, 100)

    def test_many_runs(self) -> None:
        """However many runs there are, only so many of their internets are kept in memory."""
        internets = []
        for seed in range(2 * RUNS_KEPT + 2):
            scenario = scenarios.Alone(seed)
            scenario.run()
            internets.append(weakref.ref(scenario.internet))
        del scenario
        self.assertLessEqual(sum(internet() is not None for internet in internets), RUNS_KEPT + 1)

    def test_story(self) -> None:
        """A run that fails says with which seed, why, what went wrong before, and which command replays it."""
        error = self.assertRaises(ScenarioFailed, scenarios.LosesOne(7).run)
        for text in (
            "LosesOne with seed 7 failed",
            "check, after 12.",
            "AssertionError: node1 has lost node3: [4]",
            "in check, ",
            "8     8.000 s  Reset: one='node2', other='node4', one_sided=False",
            "5     5.500 s  Crash for 1.000 s: host='node3', silent=False, disk=True",
            "python -m netlayer.testing tests.testing.scenarios:LosesOne --seed 7",
        ):
            self.assertIn(text, str(error))

    def test_logged(self) -> None:
        """An error that a handler raises fails the run, unless the scenario expects it."""
        failed = failure(scenarios.Raises)
        self.assertEqual((failed.phase, failed.error), ("log", "ValueError"))
        self.assertIn("as it was asked to", failed.text)
        self.flushLoggedErrors(ValueError)
        scenarios.RaisesOnPurpose(1).run()
        self.flushLoggedErrors(ValueError)

    def test_dropped(self) -> None:
        """An error that nobody has handled fails the run that it belongs to."""
        failed = failure(scenarios.Drops)
        self.assertEqual((failed.phase, failed.error), ("log", "ValueError"))
        self.flushLoggedErrors(ValueError)

    def test_left_over(self) -> None:
        """A timer that a node's shutdown leaves behind fails the run."""
        failed = failure(scenarios.Leaks)
        self.assertEqual(failed.phase, "shutdown")
        self.assertIn("node2: <SimulatedCall due", failed.text)

    def test_peace(self) -> None:
        """A network that does not settle, and a workload that does not end, fail the run when the time is over."""
        for kind, text in (
            (scenarios.NeverSettles, "it has not settled after 3 s of peace"),
            (scenarios.NeverEnds, "the workload has not ended after 3 s of peace"),
        ):
            failed = failure(kind)
            self.assertEqual((failed.phase, failed.error), ("peace", "SimulationTimeout"))
            self.assertIn(text, failed.text)
            self.assertAlmostEqual(failed.at, 13.0, delta=0.1)

    def test_invariant(self) -> None:
        """An invariant is looked at after each event, so the run fails when it is first broken."""
        failed = failure(scenarios.NeverLinked)
        self.assertEqual((failed.phase, failed.error), ("invariant", "AssertionError"))
        self.assertLess(failed.at, 1.0)

    def test_stuck(self) -> None:
        """Calls that take no time don't hang the run: it has a limit of events."""
        failed = failure(scenarios.Stuck)
        self.assertEqual(failed.phase, "run")
        self.assertIn("more than 10,000 calls at one moment", failed.text)

    def test_sleepless(self) -> None:
        """Neither does a workload that sleeps for no time; one can't sleep for less."""
        self.assertIn("more than 10,000 calls at one moment", failure(scenarios.Sleepless).text)
        scenario = scenarios.Small(1)
        scenario.run()
        for seconds in (-1.0, float("nan"), float("inf")):
            self.assertRaises(SimulationError, scenario.sleep, seconds)

    def test_waits_for_ever(self) -> None:
        """Whatever is asked of the scenario has to be answered some time; it is told what was not."""
        for where, phase in (
            ("settled", "peace"),
            ("check", "check"),
            ("delivered", "check"),
            ("check_shutdown", "shutdown"),
        ):
            failed = failure(type("Waits", (scenarios.WaitsForEver,), {"where": where}))
            self.assertEqual((failed.phase, failed.error), (phase, "SimulationTimeout"))
            self.assertIn(f"{where}() has not come to an end within 4 s", failed.text)
            self.assertTrue(14.0 <= failed.at < 14.2, failed.at)

    def test_exits(self) -> None:
        """A call of sys.exit() fails the run that makes it, and ends nothing else."""
        for where, phase in (
            ("node", "start"),
            ("timer", "run"),
            ("workload", "workload"),
            ("invariant", "invariant"),
            ("check", "check"),
        ):
            failed = failure(type("Exits", (scenarios.Exits,), {"where": where}))
            self.assertEqual((failed.phase, failed.error), (phase, "SystemExit"))

    def test_workload(self) -> None:
        """A workload that fails ends the run at that moment."""
        failed = failure(scenarios.FailsSoon)
        self.assertEqual((failed.phase, failed.error, failed.at), ("workload", "ValueError", 0.5))

    def test_nothing_runs(self) -> None:
        """Whoever does not say what runs on a host is told so."""
        failed = failure(scenarios.Abstract)
        self.assertEqual(failed.phase, "start")
        self.assertIn("Abstract has to say what runs on a host: define node(self, host)", failed.text)


class PartsTests(SynchronousTestCase):
    """A part of a run: without some faults, on some hosts."""

    def test_timeline(self) -> None:
        """The timeline comes from the seed alone, in the order of time; its numbers stay when faults are left out."""
        whole = scenarios.Troubled(3)
        self.assertEqual(whole.faults, scenarios.Troubled(3).faults)
        self.assertNotEqual(whole.faults, scenarios.Troubled(4).faults)
        times = [fault.at for fault in whole.faults.values()]
        self.assertEqual(times, sorted(times))
        part = scenarios.Troubled(3, without=[2])
        self.assertEqual(part.faults, {number: fault for number, fault in whole.faults.items() if number != 2})

    def test_bounds(self) -> None:
        """Faults begin after the quiet time, and have ended when the peace begins."""
        for seed in range(50):
            scenario = scenarios.Troubled(seed)
            for fault in scenario.faults.values():
                self.assertGreaterEqual(fault.at, scenario.quiet)
                self.assertLessEqual(fault.at + fault.seconds, scenario.seconds + 0.002)

    def test_hosts(self) -> None:
        """On hosts that were dropped nothing runs, and faults of theirs do not happen."""
        scenario = scenarios.LosesOne(1, only_hosts=["bootstrap1", "node1", "node2", "node4"])
        self.assertEqual(set(scenario.faults), {1, 2, 3, 4, 6, 7, 8})
        scenario.run()
        self.assertEqual([host.name for host in scenario.hosts], ["node1", "node2", "node4"])
        self.assertIsNone(scenario.internet.host("node3").application)

    def test_unknown(self) -> None:
        """Faults and hosts that do not exist are refused, and the message tells which do."""
        error = self.assertRaises(SimulationError, scenarios.LosesOne, 1, without=[3, 9, 10])
        self.assertEqual(str(error), "no such fault: 9-10. Seed 1 has faults 1 to 8")
        error = self.assertRaises(SimulationError, scenarios.Small, 1, only_hosts=["node9"])
        self.assertEqual(str(error), "no such host: node9. There are: bootstrap1, node1, node2, node3")

    def test_among(self) -> None:
        """What is left of a partition is one of the hosts that are left."""
        partition = Partition(at=1.0, seconds=2.0, groups=(("a", "b"), ("c",)))
        self.assertEqual(partition.among({"a", "d"}), Partition(at=1.0, seconds=2.0, groups=(("a",),)))
        self.assertIsNone(partition.among({"d"}))
        self.assertIsNone(Reset(at=1.0, one="a", other="b").among({"a"}))


class TimelineTests(SynchronousTestCase):
    def test_overlapping(self) -> None:
        """Faults of paths overlap: a path is cut as long as any of them cuts it."""
        internet = SimulatedInternet(1)
        a, b, c = (internet.add_host(name) for name in "abc")
        Timeline(internet).play(
            [
                Partition(at=1.0, seconds=4.0, groups=(("a",),)),
                Partition(at=2.0, seconds=5.0, groups=(("a", "b"),)),
                OneWayCut(at=3.0, seconds=1.0, one="a", other="b"),
                OneWayCut(at=3.0, seconds=6.0, one="a", other="b"),
            ]
        )
        seen = []
        for _ in range(10):
            internet.advance(1.0)
            pairs = ((a, b), (b, a), (a, c), (b, c))
            seen.append("".join("-x"[not internet.reachable(*pair)] for pair in pairs))
        self.assertEqual(seen, ["xxx-", "xxxx", "xxxx", "xxxx", "x-xx", "x-xx", "x---", "x---", "----", "----"])

    def test_crash_for_good(self) -> None:
        """A crash that never ends is one."""
        internet = SimulatedInternet(1)
        host = internet.add_host("a")
        Timeline(internet).play([Crash(at=1.0, seconds=float("inf"), host="a")])
        internet.advance(1e6)
        self.assertFalse(host.is_running)


class ShrinkingTests(SynchronousTestCase):
    def test_minimized(self) -> None:
        """Whatever is needed is found among whatever is not, and nothing else stays."""
        for needed in ([], [5], [0, 99], [3, 4, 50, 77], list(range(0, 100, 7))):
            asked: list[int] = []

            def fails(part, needed=needed, asked=asked):
                asked.append(len(part))
                return set(needed) <= set(part)

            self.assertEqual(minimized(range(100), fails), needed)
            self.assertLess(len(asked), 1000)

    def test_shrink(self) -> None:
        """A failing run is reduced to the fault and the hosts that make it fail; its command says how."""
        first = simulate(scenarios.LosesOne(7))
        shrunk = shrink(scenarios.LosesOne, first)
        self.assertTrue(shrunk.complete)
        self.assertEqual([fault.split()[0] for fault in shrunk.outcome.faults], ["5"])
        self.assertEqual(
            shrunk.outcome.command,
            "python -m netlayer.testing tests.testing.scenarios:LosesOne --seed 7 --without 1-4,6-8 "
            "--hosts bootstrap1,node2,node3",
        )
        again = simulate(
            scenarios.LosesOne(7, without=[1, 2, 3, 4, 6, 7, 8], only_hosts=["bootstrap1", "node2", "node3"])
        )
        self.assertEqual(again.trace_hash, shrunk.outcome.trace_hash)

    def test_limit(self) -> None:
        """It ends when it has tried often enough, with what it has."""
        first = simulate(scenarios.LosesOne(7))
        shrunk = shrink(scenarios.LosesOne, first, most_runs=2)
        self.assertFalse(shrunk.complete)
        self.assertEqual(shrunk.runs, 2)
        self.assertIsNotNone(shrunk.outcome.failure)
