"""What can go wrong with a simulation itself, as opposed to what runs in it."""

from __future__ import annotations

__all__ = ["SimulationError", "SimulationTimeout"]


class SimulationError(Exception):
    """The simulation was used in a way that it can't be, or something in it needs what it can't simulate."""


class SimulationTimeout(SimulationError):
    """What was waited for has not come about in the virtual time that it was given."""
