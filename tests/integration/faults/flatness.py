"""Whether what a process takes stays flat in a long run: the rule, and its judgement of what was measured.

The first sixth of the run warms everything up. The medians of the second sixth are compared with those of the last one.
Of objects the least number of the last sixth counts: while a peer stands still, which may be half of the time, packets
to it wait and are no leak; what leaks is there at the quietest moment, too.

- memory: at most 5 % and 2 MiB more;
- open files: at most 2 more; threads: no more;
- objects of each type: at most 10 % and 15 more. In an hour a process meets some hundred faults and 360,000 packets of
  its own; one object left behind by each of either is far more than that;
- what there is one of for each peer, such as dialers: no more than there are peers, however few there were before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from statistics import median

__all__ = ["growth", "typical"]

#: What is measured in other ways than objects are counted: the share and the number by which it may grow.
RULES = {"memory": (0.05, 2048.0), "files": (0.0, 2.0), "threads": (0.0, 0.0)}
OBJECTS = (0.1, 15.0)
#: Types of which a process has one for each peer at most, and how many it has besides: a dialer backs off from its
#: peer, and the node from asking for links.
ONE_A_PEER = {"BackOff": 1, "Delivery": 0, "Dialer": 0, "Remote": 0, "Session": 0, "Wanted": 0}


def typical(samples: Sequence[Mapping[str, int]]) -> dict[str, tuple[float, float]]:
    """Return what was typical in the second sixth and in the last sixth of what was measured, by its name.

    :param samples: all measurements of one process, in their order and at the same intervals.
    """
    sixth = max(1, len(samples) // 6)
    early, late = samples[sixth : 2 * sixth], samples[-sixth:]
    found = {}
    for name in sorted({name for sample in [*early, *late] for name in sample}):
        least = median if name in RULES else min
        before, after = [[sample.get(name, 0) for sample in part if sample] or [0] for part in (early, late)]
        found[name] = float(median(before)), float(least(after))
    return found


def growth(samples: Sequence[Mapping[str, int]], *, peers: int) -> list[str]:
    """Return what has grown more than it may; a sentence each.

    :param peers: how many peers the process has at most, bootstrap nodes included.
    """
    grown = []
    for name, (early, late) in typical(samples).items():
        share, more = RULES.get(name, OBJECTS)
        if late > early * (1 + share) + more:
            grown.append(f"{name} has grown from {early:g} to {late:g}")
        elif late > peers + ONE_A_PEER.get(name, inf):
            grown.append(f"{name}: there are {late:g}, and {peers} peers")
    return grown
