"""Making a failing run smaller: fewer faults, then fewer hosts, as long as it fails in the same way.

The algorithm is delta debugging's ``ddmin``: A. Zeller and R. Hildebrandt, "Simplifying and Isolating Failure-Inducing
Input", IEEE Transactions on Software Engineering 28(2), 2002. What is left is 1-minimal: without any one fault, or any
one host, of it the run passes, or fails in another way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import attrs

from netlayer.testing.mistakes import made
from netlayer.testing.run import Outcome, attempt
from netlayer.testing.scenario import Scenario

__all__ = ["Shrunk", "minimized", "shrink"]

T = TypeVar("T")


@attrs.frozen
class Shrunk:
    """A failing run that has become smaller.

    :ivar outcome: the smallest one that was found.
    :ivar runs: how many were tried.
    :ivar complete: whether nothing more can be dropped; otherwise the limit of runs was reached.
    """

    outcome: Outcome
    runs: int
    complete: bool


class _Exhausted(Exception):
    pass


def minimized(whole: Sequence[T], fails: Callable[[Sequence[T]], bool]) -> list[T]:
    """Return a part of something that fails, of which nothing more can be dropped alone.

    :param fails: tells whether a part, in the order of the whole, still fails; it is not asked for the whole itself.
    """
    left, pieces = list(whole), 2
    while left:
        size = max(1, len(left) // pieces)
        chunks = [left[start : start + size] for start in range(0, len(left), size)]
        for number, chunk in enumerate(chunks):
            rest = [each for other in chunks[:number] + chunks[number + 1 :] for each in other]
            if len(chunks) > 2 and fails(chunk):
                left, pieces = chunk, 2
                break
            if fails(rest):
                left, pieces = rest, max(pieces - 1, 2)
                break
        else:
            if size == 1:
                break
            pieces = min(2 * pieces, len(left))
    return left


def shrink(
    kind: type[Scenario],
    first: Outcome,
    *,
    without: Sequence[int] = (),
    only_hosts: Sequence[str] | None = None,
    most_runs: int = 1000,
    tried: Callable[[int, int, int], None] = lambda runs, faults, hosts: None,
) -> Shrunk:
    """Shrink a run that has failed.

    :param first: what came of it.
    :param without: the faults that were left out of it already.
    :param only_hosts: the hosts to which it was restricted already.
    :param most_runs: how often it is run at most.
    :param tried: called after each run, with the number of runs, and of the faults and hosts that are left.
    """
    seed, failure = first.seed, first.failure
    assert failure is not None
    smallest, runs = first, 0
    begun = made(kind, seed, without=without, only_hosts=only_hosts)
    hosts = list(begun.only_hosts)
    every = list(made(kind, seed).numbers)
    faults = [number for number in every if number not in without]

    def fails(faults: Sequence[int], hosts: Sequence[str]) -> bool:
        """Run it with these faults and hosts only; tell whether it fails in the same way."""
        nonlocal smallest, runs
        if runs >= most_runs:
            raise _Exhausted
        runs += 1
        dropped = [number for number in every if number not in faults]
        outcome = attempt(kind, seed, without=dropped, only_hosts=hosts)
        again = outcome.failure is not None and (outcome.failure.phase, outcome.failure.error) == (
            failure.phase,
            failure.error,
        )
        if again:
            smallest = outcome
        tried(runs, len(faults), len(hosts))
        return again

    def shrink_faults() -> None:
        faults[:] = minimized(faults, lambda part: fails(part, hosts))

    def shrink_hosts() -> None:
        hosts[:] = minimized(hosts, lambda part: bool(part) and fails(faults, part))

    complete = True
    try:
        shrink_faults()
        count = len(hosts)
        shrink_hosts()
        while len(hosts) < count:  # then more faults may be dispensable, and so on
            count = len(hosts)
            shrink_faults()
            shrink_hosts()
    except _Exhausted:
        complete = False
    return Shrunk(smallest, runs, complete=complete)
