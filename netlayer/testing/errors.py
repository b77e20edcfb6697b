"""What can go wrong with a simulation itself, as opposed to what runs in it."""

from __future__ import annotations

__all__ = ["ScenarioFailed", "ScenarioNotFound", "SimulationError", "SimulationTimeout"]


class SimulationError(Exception):
    """The simulation was used in a way that it can't be, or something in it needs what it can't simulate."""


class SimulationTimeout(SimulationError):
    """What was waited for has not come about in the virtual time that it was given."""


class ScenarioFailed(AssertionError):
    """A run of a scenario has failed; the text tells the seed, what failed, and the command that replays it."""


class ScenarioNotFound(SimulationError):
    """What was named on the command line is no scenario."""
