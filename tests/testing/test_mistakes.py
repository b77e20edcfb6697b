"""Mistakes in the class of a scenario: each is told by name, before anything runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from netlayer.testing import Crash, Fault, OneWayCut, Partition, Reset, Scenario, SimulationError
from netlayer.testing.mistakes import made
from tests.testing.scenarios import Small

NAN, INF = float("nan"), float("inf")


def mistaken(**names: Any) -> type[Scenario]:
    """Return a scenario's class with these attributes."""
    return type("Mistaken", (Small,), names)


def having(*faults: Any) -> type[Scenario]:
    """Return a scenario's class with this timeline."""
    return mistaken(timeline=lambda self, rng: faults)


def told(kind: type[Scenario], seed: Any = 1) -> str:
    """Return what is said when a run can't be made."""
    try:
        made(kind, seed)
    except SimulationError as error:
        return str(error)
    return "nothing"


class MistakesTests(SynchronousTestCase):
    def assertTold(self, cases: Iterable[tuple[type[Scenario], str]]) -> None:
        """Assert for each case that something is told, and that a text is in it."""
        for kind, text in cases:
            with self.subTest(text=text):
                self.assertIn(text, told(kind))

    def test_settings(self) -> None:
        """A setting that has the wrong kind or is out of its range is named, with what it has to be."""
        count, time = "has to be a whole number from 0 on, not", "has to be a number of seconds from 0 on, not"
        errors, kinds = (
            "expected_errors has to be a tuple of exception classes, such as (ValueError,)",
            "kinds of faults",
        )
        self.assertTold(
            [
                (mistaken(nodes=-3), f"Mistaken.nodes {count} -3"),
                (mistaken(nodes="3"), f"Mistaken.nodes {count} '3'"),
                (mistaken(bootstraps=1.5), f"Mistaken.bootstraps {count} 1.5"),
                (mistaken(most_events="5"), f"Mistaken.most_events {count} '5'"),
                (mistaken(seconds=-1), f"Mistaken.seconds {time} -1"),
                (mistaken(seconds=INF), f"Mistaken.seconds {time} inf"),
                (mistaken(quiet=NAN), f"Mistaken.quiet {time} nan"),
                (mistaken(peace=-5), f"Mistaken.peace {time} -5"),
                (mistaken(patience=INF), f"Mistaken.patience {time} inf"),
                (mistaken(expected_errors=ValueError), errors),
                (mistaken(expected_errors=None), errors),
                (mistaken(expected_errors=(3,)), errors),
                (mistaken(trouble=[Crash]), kinds),
                (mistaken(trouble={"Crash": 1}), kinds),
                (mistaken(trouble={Crash: 1.5}), kinds),
                (mistaken(trouble={Crash: -1}), kinds),
                (mistaken(trouble={Crash: (3, 1)}), kinds),
                (mistaken(trouble={Crash: 1}, seconds=1.0), "leaves no time for its trouble"),
                (mistaken(trouble={Reset: 1}, nodes=1, bootstraps=0), "Reset happens between two hosts"),
                (mistaken(network={"latencies": 3}), "unexpected keyword argument 'latencies'"),
                (mistaken(network={"latency": 0.05}), "Mistaken.network has to be keyword arguments of"),
                (mistaken(network={"network": "foo"}), "Mistaken.network has to be keyword arguments of"),
            ]
        )

    def test_seed(self) -> None:
        """A seed that the command line does not take is refused everywhere."""
        for seed in (-5, "abc", 1.0, True, None, 10**18):
            self.assertIn("a seed is a whole number from 0 on, below 1e+18, not", told(Small, seed))

    def test_programs(self) -> None:
        """Hosts need names, and functions that say what runs on them."""
        self.assertTold(
            [
                (mistaken(programs=lambda self: {}), "Mistaken has no host"),
                (mistaken(nodes=0, bootstraps=0), "Mistaken has no host"),
                (
                    mistaken(programs=lambda self: None),
                    "Mistaken.programs() does not return what runs where: TypeError",
                ),
                (mistaken(programs=lambda self: {1: self.node}), "the name of a host of Mistaken is a text"),
                (mistaken(programs=lambda self: {"a": None}), "what runs on a of Mistaken is made by a function"),
            ]
        )

    def test_timeline(self) -> None:
        """Faults have to be such, at a time, to hosts that there are; whoever is left out of a part is known."""
        self.assertTold(
            [
                (having("crash node1"), "'crash node1' is none"),
                (having(Crash(at=-1.0, host="node1")), "has to begin at a number of seconds from 0 on"),
                (having(Crash(at=NAN, host="node1")), "has to begin at a number of seconds from 0 on"),
                (having(Crash(at=INF, host="node1")), "has to begin at a number of seconds from 0 on"),
                (having(Crash(at=1.0, seconds=-1.0, host="node1")), "has to last a number of seconds from 0 on"),
                (having(Crash(at=1.0, host="nod1")), "no such host: nod1, in Crash"),
                (having(OneWayCut(at=1.0, one="node1", other="nod2")), "no such host: nod2, in OneWayCut"),
                (having(Partition(at=1.0, groups=(("node1",), ("x", "y")))), "no such host: x, y, in Partition"),
                (mistaken(timeline=lambda self, rng: None), "timeline() does not return faults: TypeError"),
                (mistaken(timeline=lambda self, rng: 1 / 0), "ZeroDivisionError: division by zero, in "),
            ]
        )
        crash: Fault = Crash(at=1.0, seconds=INF, host="node3")
        self.assertEqual(list(having(crash)(1).faults.values()), [crash])
        self.assertEqual(having(crash)(1, only_hosts=["node1"]).faults, {})

    def test_invariant(self) -> None:
        """An invariant that is async would never be awaited."""

        async def invariant(self: Scenario) -> None:
            raise AssertionError("it was awaited")

        self.assertIn("Mistaken.invariant may not be async", told(mistaken(invariant=invariant)))

    def test_constructor(self) -> None:
        """A constructor has to be made like that of Scenario; what it raises is told, and where."""

        def exits(self: Scenario, *args: Any, **options: Any) -> None:
            raise SystemExit(0)

        self.assertTold(
            [
                (mistaken(__init__=exits), "Mistaken with seed 1 can't be made: SystemExit: 0, in "),
                (mistaken(__init__=lambda self, seed: None), "Mistaken has to take what that of Scenario takes"),
                (mistaken(__init__=lambda self, *args, **options: None), "Mistaken has to call that of Scenario"),
            ]
        )
