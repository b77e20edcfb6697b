"""The command line: runs a scenario for a range of seeds, replays one run, and shrinks a failing one."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import suppress

import attrs
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogBeginner, globalLogPublisher
from zope.interface import implementer

from netlayer.testing.errors import SimulationError
from netlayer.testing.interrupts import interrupts_ignored
from netlayer.testing.loading import load
from netlayer.testing.localhost import refuse_on_localhost
from netlayer.testing.mistakes import SEEDS, made
from netlayer.testing.progress import Progress
from netlayer.testing.run import Outcome, attempt, run_on_localhost, simulate
from netlayer.testing.scenario import Scenario
from netlayer.testing.shrinking import shrink
from netlayer.testing.workers import run_in_processes

__all__ = ["execute", "main", "options_parser"]

PASSED, FAILED, MISUSED, INTERRUPTED, UNREAD = 0, 1, 2, 130, 141
#: How many failing runs are told in full; of the others only the seed.
_TOLD = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says.

    :returns: the exit code: 0 if all runs passed, 1 if one failed, 2 for a mistake on the command line or in the
        scenario's file, and when nothing more can be written, 130 after Ctrl-C, 141 when nobody reads any more.
    """
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    try:
        try:
            return execute(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        code = UNREAD
    except OSError as error:
        with suppress(OSError):
            print(f"error: {error}", file=sys.stderr)
        code = MISUSED
    for stream in (sys.stdout, sys.stderr):  # what they still hold goes nowhere when Python ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return code


def execute(arguments: Sequence[str] | None = None) -> int:
    """Do it in a process whose log has been set up; see :func:`main`."""
    options = options_parser().parse_args(arguments)
    try:
        kind = load(options.scenario)
        if options.seeds is None:
            if options.jobs is not None or options.fail_fast:
                raise SimulationError("--jobs and --fail-fast belong to many runs: give their --seeds")
            return _one(kind, options)
        if options.without or options.hosts is not None or options.real or options.log:
            raise SimulationError("--without, --hosts, --real and --log belong to one run: give its --seed")
        return _many(kind, options)
    except SimulationError as error:
        print(f"error: {error}", file=sys.stderr)
        return MISUSED
    except KeyboardInterrupt:
        interrupts_ignored()
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


# ---- one run


def _one(kind: type[Scenario], options: argparse.Namespace) -> int:
    hosts = _hosts(kind, options.seed, options.hosts) if options.hosts is not None else None
    scenario = made(kind, options.seed, without=options.without, only_hosts=hosts)
    if options.real:
        refuse_on_localhost(scenario)
    if options.log:
        globalLogPublisher.addObserver(_Printer(scenario))
    outcome = simulate(scenario)
    print(outcome.story())
    if outcome.failure is not None:
        if options.shrink:
            _shrink(kind, outcome, options.without, scenario.only_hosts)
        return FAILED
    if not options.real:
        return PASSED
    return _really(made(kind, options.seed, without=options.without, only_hosts=hosts), outcome)


def _really(scenario: Scenario, simulated: Outcome) -> int:
    """Run on localhost what has passed in the simulation, and compare what was delivered."""
    least = scenario.peace_begins
    print(f"the same on localhost, which takes {least:.0f} s at least", file=sys.stderr)
    outcome = run_on_localhost(scenario)
    print(outcome.story())
    if outcome.failure is not None:
        return FAILED
    if simulated.delivered is None:
        print("Nothing was compared: the scenario does not define delivered().")
    elif outcome.delivered == simulated.delivered:
        print("What was delivered is the same in the simulation and on localhost.")
    else:
        print(f"Delivered in the simulation:\n  {simulated.delivered}\non localhost:\n  {outcome.delivered}")
        return FAILED
    return PASSED


def _hosts(kind: type[Scenario], seed: int, text: str) -> list[str]:
    """Return the hosts that ``--hosts`` names: a list of names, or the first so many nodes and all bootstrap nodes."""
    if not text.isdecimal():
        return [name for name in text.split(",") if name]
    whole = made(kind, seed)
    nodes = [name for name in whole.host_names if not whole.is_bootstrap(name)]
    if not 1 <= int(text) <= len(nodes):
        raise SimulationError(f"--hosts {text}: {kind.__name__} has {len(nodes)} hosts besides its bootstrap nodes")
    return [name for name in whole.host_names if whole.is_bootstrap(name) or name in nodes[: int(text)]]


@implementer(ILogObserver)
class _Printer:
    """Prints what the nodes of a run log."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario

    def __call__(self, event: LogEvent) -> None:
        if event["log_level"] is not LogLevel.debug and self._scenario.internet is not None:
            print(f"{self._scenario.now:9.3f} s  {formatEvent(event)}")


# ---- many runs


@attrs.define
class _Tally:
    """What came of the runs so far."""

    runs: int = 0
    events: int = 0
    seconds: float = 0.0
    took: float = 0.0
    slowest: float = 0.0
    failed: list[Outcome] = attrs.Factory(list)

    def add(self, outcome: Outcome) -> None:
        self.runs += 1
        self.events += outcome.events
        self.seconds += outcome.seconds
        self.took += outcome.took
        self.slowest = max(self.slowest, outcome.settled_after or 0.0)
        if outcome.failure is not None:
            self.failed.append(outcome)

    def summary(self) -> str:
        passed = self.runs - len(self.failed)
        return (
            f"{passed:,} of {self.runs:,} runs passed, {len(self.failed):,} failed; "
            f"settled after {self.slowest:.2f} s at most; {self.events:,} events in {self.seconds:,.0f} virtual "
            f"seconds, {self.took / max(1, self.runs) * 1000:.1f} ms of CPU a run"
        )

    @property
    def note(self) -> str:
        return f"{len(self.failed)} failed"


def _many(kind: type[Scenario], options: argparse.Namespace) -> int:
    first, last = options.seeds
    made(kind, first)  # whoever has made a mistake learns it before processes are started
    tally, began = _Tally(), time.monotonic()
    progress = Progress(last - first + 1, sys.stderr)
    seeds = range(first, last + 1)
    jobs = options.jobs or 1
    outcomes = run_in_processes(options.scenario, seeds, jobs) if jobs > 1 else _here(kind, seeds)
    try:
        for outcome in outcomes:
            tally.add(outcome)
            if outcome.failure is not None:
                progress.clear()
                print(outcome.story() if len(tally.failed) <= _TOLD else _brief(outcome), flush=True)
                if options.fail_fast:
                    break
            progress.tell(tally.runs, tally.note)
    except KeyboardInterrupt:
        interrupts_ignored()
        raise
    finally:
        progress.clear()
        outcomes.close()
        print(f"{kind.__name__}: {tally.summary()}; {time.monotonic() - began:.1f} s")
    if not tally.failed:
        return PASSED
    smallest = min(tally.failed, key=lambda outcome: outcome.seed)
    if options.shrink:
        _shrink(kind, smallest, (), None)
    return FAILED


def _brief(outcome: Outcome) -> str:
    return f"{outcome.name} with seed {outcome.seed} failed: {outcome.failure}"


def _here(kind: type[Scenario], seeds: range) -> Generator[Outcome, None, None]:
    for seed in seeds:
        yield attempt(kind, seed)


# ---- shrinking


def _shrink(kind: type[Scenario], outcome: Outcome, without: Sequence[int], hosts: Sequence[str] | None) -> None:
    if outcome.failure is not None and outcome.failure.phase == "constructor":
        print("\nIt can't be shrunk: there is no run.")
        return
    progress = Progress(None, sys.stderr)
    try:
        shrunk = shrink(
            kind,
            outcome,
            without=without,
            only_hosts=hosts,
            tried=lambda runs, faults, hosts: progress.tell(runs, f"shrinking: {faults} faults, {hosts} hosts left"),
        )
    finally:
        progress.clear()
    whole = "nothing more can be dropped" if shrunk.complete else "more might be possible"
    print(f"\nShrunk in {shrunk.runs} runs, {whole}:\n{shrunk.outcome.story()}")


# ---- options


def options_parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m netlayer.testing",
        description="Run a scenario in the simulated internet: for a range of seeds, or one run again.",
        epilog="Exit codes: 0, all runs passed; 1, one failed; 2, a mistake on the command line or in the scenario.",
    )
    add = parser.add_argument
    add("scenario", metavar="FILE_OR_MODULE:SCENARIO", help="such as chat.py:MyScenario or package.module:MyScenario")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--seeds", type=_range, metavar="FIRST-LAST", help="run it once for each of these seeds")
    which.add_argument("--seed", type=_number, default=0, metavar="N", help="run it once, with this one (default: 0)")
    add("--jobs", type=_positive, metavar="N", help="with --seeds: processes that run them (default: 1)")
    add("--fail-fast", action="store_true", help="with --seeds: stop at the first run that fails")
    add("--shrink", action="store_true", help="make the first failing run smaller: fewer faults, then fewer hosts")
    add("--without", type=_numbers, default=(), metavar="3,5,8-10", help="with --seed: leave these faults out")
    add("--hosts", metavar="N|NAME,NAME", help="with --seed: run something on these hosts only, or on so many nodes")
    add("--real", action="store_true", help="with --seed: run it on sockets of this machine too, and compare")
    add("--log", action="store_true", help="with --seed: print what the nodes log, with the virtual time")
    return parser


def _number(text: str) -> int:
    if not text.isdecimal() or int(text) >= SEEDS:
        raise argparse.ArgumentTypeError(f"a seed is a whole number, below {SEEDS:.0e}, not {text!r}")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a number from 1 on, not {text!r}")
    return int(text)


def _range(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    last = last or first
    if not (first.isdecimal() and last.isdecimal()) or int(first) > int(last):
        raise argparse.ArgumentTypeError(f"a range is FIRST-LAST, such as 1-1000, not {text!r}")
    if int(last) >= SEEDS:
        raise argparse.ArgumentTypeError(f"a seed is below {SEEDS:.0e}, unlike some of {text!r}")
    return int(first), int(last)


def _numbers(text: str) -> tuple[int, ...]:
    numbers: set[int] = set()
    for part in text.split(","):
        try:
            first, last = _range(part)
        except argparse.ArgumentTypeError:
            raise argparse.ArgumentTypeError(f"numbers of faults are 3,5,8-10 or the like, not {text!r}") from None
        if last > 100_000:
            raise argparse.ArgumentTypeError(f"there is no fault {last}")
        numbers.update(range(first, last + 1))
    return tuple(sorted(numbers))
