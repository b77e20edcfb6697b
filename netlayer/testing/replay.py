"""The command that replays a run."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Collection, Sequence
from operator import attrgetter

__all__ = ["numbers_text", "replay_command"]


def replay_command(
    kind: type, seed: int, *, without: Collection[int] = (), only_hosts: Sequence[str] | None = None, real: bool = False
) -> str:
    """Return the command that replays a run of a scenario, as a shell takes it.

    :param kind: the scenario's class.
    :returns: empty if the command line can't find the class.
    """
    place = _place(kind)
    if place is None:
        return ""
    words = [place, "--seed", str(seed)]
    if without:
        words += ["--without", numbers_text(without)]
    if only_hosts is not None:
        words += ["--hosts", ",".join(only_hosts)]
    if real:
        words.append("--real")
    return f"python -m netlayer.testing {shlex.join(words)}"


def numbers_text(numbers: Collection[int]) -> str:
    """Return numbers as people write them: ``1-3,5``."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    return ",".join("-".join(map(str, part)) for part in parts)


def _place(kind: type) -> str | None:
    """Return where the command line finds a class: in a module of a package, or in a file."""
    module = sys.modules.get(kind.__module__)
    try:
        found = isinstance(attrgetter(kind.__qualname__)(module), type)
    except AttributeError:  # it was made in a function
        found = False
    if not found:
        return None
    specification = getattr(module, "__spec__", None)  # that of __main__ knows its real name
    name = specification.name if specification is not None else kind.__module__
    path = getattr(module, "_scenario_file", None)
    file = getattr(module, "__file__", None) or ""
    if path is None and "." not in name:
        if not os.path.isfile(file):  # it was typed, or read from the standard input
            return None
        path = os.path.relpath(file)  # whoever runs tests finds modules where nobody else does
    return f"{path or name}:{kind.__qualname__}"
