"""A simulated internet, for testing applications of netlayer and netlayer itself.

Hundreds of real nodes run in one process, on virtual time and under seeded faults; see :class:`SimulatedInternet`.
Nothing in netlayer itself imports this package.
"""

from netlayer.testing.connection import SimulatedConnection
from netlayer.testing.errors import ScenarioFailed, SimulationError, SimulationTimeout
from netlayer.testing.faults import (
    BlackHole,
    ClockJump,
    Crash,
    Fault,
    OneWayCut,
    Partition,
    RefusedAccepts,
    Reset,
    SlowLink,
    SlowReader,
    Stall,
)
from netlayer.testing.host import SimulatedHost
from netlayer.testing.identity import SeededIdentity
from netlayer.testing.internet import SimulatedInternet
from netlayer.testing.reactor import SimulatedReactor
from netlayer.testing.run import Failed, Outcome
from netlayer.testing.scenario import Scenario
from netlayer.testing.timeline import Timeline

__all__ = [
    "BlackHole",
    "ClockJump",
    "Crash",
    "Failed",
    "Fault",
    "OneWayCut",
    "Outcome",
    "Partition",
    "RefusedAccepts",
    "Reset",
    "Scenario",
    "ScenarioFailed",
    "SeededIdentity",
    "SimulatedConnection",
    "SimulatedHost",
    "SimulatedInternet",
    "SimulatedReactor",
    "SimulationError",
    "SimulationTimeout",
    "SlowLink",
    "SlowReader",
    "Stall",
    "Timeline",
]
