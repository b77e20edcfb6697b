"""Play schedules of the model, with the rules as they are or with naive readings of them."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter, defaultdict

from tests.sansio.model.packets import Broken
from tests.sansio.model.readings import READINGS
from tests.sansio.model.schedule import Schedule

PROGRESS = 2.0  # seconds


def main() -> int:
    """Play what the command line asks for; return 1 if a schedule fails."""
    known = "\n".join(f"  {name:24}{text}" for name, text in READINGS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.sansio.model",
        description=__doc__,
        epilog=f"naive readings, which must fail:\n{known}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("first", type=int, help="the first seed")
    parser.add_argument("last", type=int, nargs="?", help="the last seed; without it one schedule is played and told")
    parser.add_argument("readings", nargs="?", default="", help="naive readings to follow, separated by commas")
    arguments = parser.parse_args()
    readings = [name for name in arguments.readings.split(",") if name]
    if unknown := set(readings) - READINGS.keys():
        parser.error(f"no such reading: {', '.join(sorted(unknown))}")
    aloud = arguments.last is None
    last = arguments.first if aloud else arguments.last
    failed: defaultdict[str, list[int]] = defaultdict(list)
    stats: Counter[str] = Counter()
    shown = time.monotonic()
    for seed in range(arguments.first, last + 1):
        schedule = Schedule(seed, readings, aloud=aloud)
        try:
            schedule.play()
        except Broken as promise:
            failed[str(promise)].append(seed)
        stats += schedule.stats
        if sys.stderr.isatty() and time.monotonic() - shown > PROGRESS:
            shown = time.monotonic()
            print(f"\rseed {seed}, {sum(map(len, failed.values()))} failed ", end="", file=sys.stderr, flush=True)
    count = last - arguments.first + 1
    print(f"{count} schedules, {sum(map(len, failed.values()))} failed")
    for broken, seeds in sorted(failed.items()):
        print(f"  {len(seeds)} times not kept: {broken}; seeds {', '.join(map(str, seeds[:5]))}")
    print(" ", ", ".join(f"{name} {count}" for name, count in sorted(stats.items())))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
