"""Print the oldest release of each dependency that setup.cfg admits, as pip takes it: python .ci/lower_bounds.py."""

from __future__ import annotations

import configparser
import re
import sys
from pathlib import Path


def main() -> int:
    """Print one requirement a line; fail if a dependency has no lower bound."""
    parser = configparser.ConfigParser()
    parser.read(Path(__file__).parents[1] / "setup.cfg")
    unbounded = []
    for line in parser["options"]["install_requires"].split("\n"):
        requirement = line.partition("#")[0].strip()
        if not requirement:
            continue
        bounded = re.fullmatch(r"([\w.\[\]-]+)>=([\w.]+)", requirement)
        if bounded is None:
            unbounded.append(requirement)
        else:
            print(f"{bounded[1]}=={bounded[2]}")
    for requirement in unbounded:
        print(f"{requirement!r} in setup.cfg has no lower bound such as 'attrs>=22.2'", file=sys.stderr)
    return 1 if unbounded else 0


if __name__ == "__main__":
    sys.exit(main())
