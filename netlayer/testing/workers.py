"""Processes that run seeds of a scenario, each of which can be ended at any time, whatever it does."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Generator
from contextlib import suppress
from typing import Any

import attrs
from twisted.logger import globalLogBeginner

from netlayer.testing.errors import SimulationError
from netlayer.testing.interrupts import interrupts_held, interrupts_ignored
from netlayer.testing.loading import load
from netlayer.testing.run import Outcome, attempt

__all__ = ["run_in_processes"]

_CONTEXT = multiprocessing.get_context("spawn")
#: How many seeds a process is given at once, if there are many; it gets more before it has worked them off.
_BATCH = 8
#: How many seeds for each process may be worked off before the one that is told next.
_AHEAD = 32
#: Seconds that a process without work has to end by itself.
_ENDS = 5.0


def run_in_processes(place: str, seeds: range, jobs: int) -> Generator[Outcome, None, None]:
    """Run a scenario in several processes; what comes is in the order of the seeds.

    :param place: where the scenario is found.
    :param jobs: how many processes.
    :raises SimulationError: when a process has died, or can't run the scenario.
    :raises KeyboardInterrupt: after Ctrl-C, and after what was done until then.
    """
    workers: list[_Worker] = []
    done: dict[int, Outcome] = {}
    told = given = seeds.start
    size = max(1, min(_BATCH, len(seeds) // (4 * jobs)))
    _CONTEXT.Lock()  # with it a process begins that undoes what holds interrupts
    try:
        with interrupts_held():
            workers += [_Worker(place) for _ in range(min(jobs, len(seeds)))]
        while told < seeds.stop:
            for worker in workers:
                while given < min(seeds.stop, told + _AHEAD * jobs) and len(worker.seeds) < size:
                    batch = range(given, min(given + size, seeds.stop))
                    worker.give(batch)
                    given = batch.stop
            for worker in _heard_of(workers):
                seed, outcome = worker.outcome()
                done[seed] = outcome
            while told in done:
                told += 1
                yield done.pop(told - 1)
    except KeyboardInterrupt:
        interrupts_ignored()
        for worker in workers:
            worker.process.kill()
        yield from (done[seed] for seed in sorted(done))
        raise
    finally:
        for worker in workers:
            worker.end()


class _Worker:
    """A process, and the seeds that it was given and has not run."""

    def __init__(self, place: str) -> None:
        self.connection, theirs = _CONTEXT.Pipe()
        self.process = _CONTEXT.Process(target=_work, args=(place, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.seeds: deque[int] = deque()

    def give(self, seeds: range) -> None:
        self.seeds += seeds
        with suppress(OSError):  # it has died: that is told when its outcomes are wanted
            self.connection.send(seeds)

    def outcome(self) -> tuple[int, Outcome]:
        """Return the next seed and what came of it, which is there already, or has begun to come."""
        try:
            outcome = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode or 0
            how = (
                f"was killed by signal {-code}: is there memory enough?" if code < 0 else f"has ended, with code {code}"
            )
            raise SimulationError(f"the process that ran seed {self.seeds[0]} {how}") from None
        if not isinstance(outcome, Outcome):
            raise SimulationError(f"in a process that --jobs has started: {outcome}")
        return self.seeds.popleft(), outcome

    def end(self) -> None:
        self.connection.close()
        if not self.seeds:  # it ends by itself
            self.process.join(_ENDS)
        self.process.kill()
        self.process.join()


def _heard_of(workers: list[_Worker]) -> list[_Worker]:
    """Wait until something has come from some of the processes that have something to do."""
    ready = multiprocessing.connection.wait([worker.connection for worker in workers if worker.seeds])
    return [worker for worker in workers if worker.connection in ready]


# ---- in a process


def _work(place: str, connection: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that has started this one
    threading.Thread(target=_end_with_parent, daemon=True).start()
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    with suppress(EOFError, OSError):  # nobody is there any more
        try:
            kind = load(place)
            while True:
                for seed in connection.recv():
                    connection.send(attrs.evolve(attempt(kind, seed), delivered=None))
        except SimulationError as error:
            connection.send(str(error))


def _end_with_parent() -> None:
    """End when the process that has started this one was killed, even in the midst of a run."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
