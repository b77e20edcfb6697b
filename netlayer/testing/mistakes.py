"""Mistakes in a scenario's class, each of which is told by name before anything runs."""

from __future__ import annotations

import inspect
import math
import os
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from netlayer.errors import described
from netlayer.testing.errors import SimulationError
from netlayer.testing.faults import Fault
from netlayer.testing.internet import SimulatedInternet

if TYPE_CHECKING:
    from netlayer.testing.scenario import Scenario

__all__ = ["SEEDS", "known_faults", "known_programs", "look_at_settings", "made", "told"]

#: Seeds are below this number, so that ranges of them have lengths.
SEEDS = 10**18


def made(
    kind: type[Scenario], seed: int, *, without: Iterable[int] = (), only_hosts: Iterable[str] | None = None
) -> Scenario:
    """Make a run of a scenario, whose constructor may do anything.

    :raises SimulationError: when that raises an error, which is the cause of this one, or is made in another way.
    """
    options: dict[str, Any] = {"without": without, "only_hosts": only_hosts}
    try:
        inspect.signature(kind).bind(seed, **options)
    except TypeError:
        raise SimulationError(
            f"the constructor of {kind.__name__} has to take what that of Scenario takes: seed, *, without, only_hosts"
        ) from None
    try:
        scenario = kind(seed, **options)
    except (KeyboardInterrupt, SimulationError):
        raise
    except BaseException as error:  # sys.exit() too, which ends one run and not all
        raise SimulationError(f"{kind.__name__} with seed {seed} can't be made: {told(error)}") from error
    if not hasattr(scenario, "faults"):
        raise SimulationError(f"the constructor of {kind.__name__} has to call that of Scenario")
    return scenario


def look_at_settings(scenario: Scenario) -> None:
    """Look at the seed of a run, and at what its class says in numbers and the like.

    :raises SimulationError: when something is not as it has to be; it says what.
    """
    seed = scenario.seed
    if not _is_count(seed) or seed >= SEEDS:
        raise SimulationError(f"a seed is a whole number from 0 on, below {SEEDS:.0e}, not {described(seed)}")
    name = type(scenario).__name__
    for setting, is_right, wanted in _SETTINGS:
        value = getattr(scenario, setting)
        if not is_right(value):
            raise SimulationError(f"{name}.{setting} has to be {wanted}, not {described(value)}")
    if scenario.trouble and scenario.quiet > scenario.seconds:
        raise SimulationError(
            f"{name} leaves no time for its trouble: faults begin after quiet={scenario.quiet:g} s, and have to be over"
            f" after seconds={scenario.seconds:g}"
        )
    if inspect.iscoroutinefunction(scenario.invariant):
        raise SimulationError(f"{name}.invariant may not be async: it is called after each event, and takes no time")
    try:
        SimulatedInternet(seed, **scenario.network)
    except Exception as error:
        raise SimulationError(
            f"{name}.network has to be keyword arguments of SimulatedInternet, not {described(scenario.network)}: "
            f"{error}"
        ) from error


def known_programs(scenario: Scenario) -> dict[str, Callable[[Any], Any]]:
    """Return what a scenario says of what runs where.

    :raises SimulationError: when that is nothing, or nothing that can run.
    """
    name = type(scenario).__name__
    try:
        programs = dict(scenario.programs())
    except Exception as error:
        raise SimulationError(f"{name}.programs() does not return what runs where: {told(error)}") from error
    if not programs:
        raise SimulationError(f"{name} has no host: neither nodes nor bootstraps nor programs() gives it one")
    for host, program in programs.items():
        if not isinstance(host, str) or not host or "," in host:
            raise SimulationError(f"the name of a host of {name} is a text without commas, not {described(host)}")
        if not callable(program):
            raise SimulationError(f"what runs on {host} of {name} is made by a function, not by {described(program)}")
    return programs


def known_faults(name: str, timeline: Callable[[], Iterable[Fault]], hosts: Iterable[str]) -> list[Fault]:
    """Return the faults of a timeline in the order of time.

    :param name: that of the scenario.
    :param timeline: what returns them.
    :param hosts: the names of the hosts that there are.
    :raises SimulationError: when it raises something, or when one of them is none, or can't happen.
    """
    try:
        faults = list(timeline())
    except Exception as error:
        raise SimulationError(f"{name}.timeline() does not return faults: {told(error)}") from error
    for fault in faults:
        if not isinstance(fault, Fault):
            raise SimulationError(f"{name}.timeline() returns faults, and {described(fault)} is none")
        if not _is_time(fault.at):
            raise SimulationError(f"{described(fault)} has to begin at a number of seconds from 0 on")
        if not (_is_time(fault.seconds) or fault.seconds == math.inf):
            raise SimulationError(f"{described(fault)} has to last a number of seconds from 0 on, or for ever")
        unknown = [str(host) for host in fault.hosts if host not in hosts]
        if unknown:
            raise SimulationError(
                f"no such host: {', '.join(unknown)}, in {described(fault)}. There are: {', '.join(hosts)}"
            )
    return sorted(faults, key=lambda fault: fault.at)


def told(error: BaseException) -> str:
    """Return what an error says and, unless it is ours, its class and where it was raised."""
    if isinstance(error, SimulationError):
        return str(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f", in {os.path.relpath(frame.filename)}:{frame.lineno}" if frame.filename != __file__ else ""
    return f"{type(error).__name__}: {error}{where}"


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value >= 0


def _is_trouble(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(kind, type) and issubclass(kind, Fault) and (_is_count(count) or _is_span(count))
        for kind, count in value.items()
    )


def _is_span(value: object) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2 and all(map(_is_count, value)) and value[0] <= value[1]


def _are_errors(value: object) -> bool:
    return isinstance(value, tuple) and all(
        isinstance(kind, type) and issubclass(kind, BaseException) for kind in value
    )


_COUNT = "a whole number from 0 on"
_TIME = "a number of seconds from 0 on"
#: The settings of a scenario, how one is told to be right, and what it has to be.
_SETTINGS: tuple[tuple[str, Callable[[object], bool], str], ...] = (
    ("nodes", _is_count, _COUNT),
    ("bootstraps", _is_count, _COUNT),
    ("seconds", _is_time, _TIME),
    ("quiet", _is_time, _TIME),
    ("peace", _is_time, _TIME),
    ("patience", _is_time, _TIME),
    ("most_events", _is_count, _COUNT),
    ("trouble", _is_trouble, "kinds of faults, each with a number, or with the least and the most: {Crash: (1, 3)}"),
    ("expected_errors", _are_errors, "a tuple of exception classes, such as (ValueError,)"),
)
