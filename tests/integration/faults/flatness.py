"""Whether what a process takes stays flat in a long run: the rule, and its judgement of what was measured.

The first sixth of the run warms everything up. The second sixth is compared with the last one, by medians, so that a
fault that happens to be under way when something is measured does not count:

- memory: at most 5 % and 2 MiB more;
- open files: at most 2 more; threads: no more;
- objects of each type: at most 10 % and 25 more. In an hour a process meets some hundred faults and 360,000 packets of
  its own; one object left behind by each of either is far more than that;
- what there is one of for each peer, such as dialers: no more than there are peers, however few there were before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

__all__ = ["growth", "medians"]

#: What is measured in other ways than objects are counted: the share and the number by which it may grow.
RULES = {"memory": (0.05, 2048.0), "files": (0.0, 2.0), "threads": (0.0, 0.0)}
OBJECTS = (0.1, 25.0)
#: Types of which a process has one for each peer at most.
ONE_A_PEER = ("BackOff", "Delivery", "Dialer", "Remote", "Session", "Wanted")


def medians(samples: Sequence[Mapping[str, int]]) -> dict[str, tuple[float, float]]:
    """Return the medians of the second sixth and of the last sixth of what was measured, by its name.

    :param samples: all measurements of one process, in their order and at the same intervals.
    """
    sixth = max(1, len(samples) // 6)
    early, late = samples[sixth : 2 * sixth], samples[-sixth:]
    names = {name for sample in [*early, *late] for name in sample}
    return {name: tuple(median(s.get(name, 0) for s in part) for part in (early, late)) for name in sorted(names)}  # type: ignore[misc]


def growth(samples: Sequence[Mapping[str, int]], *, peers: int) -> list[str]:
    """Return what has grown more than it may; a sentence each.

    :param peers: how many peers the process has at most, bootstrap nodes included.
    """
    grown = []
    for name, (early, late) in medians(samples).items():
        share, more = RULES.get(name, OBJECTS)
        if late > early * (1 + share) + more:
            grown.append(f"{name} has grown from {early:g} to {late:g}")
        elif name in ONE_A_PEER and late > peers:
            grown.append(f"{name}: there are {late:g}, and {peers} peers")
    return grown
