"""A simulated internet, for testing applications of netlayer and netlayer itself.

Hundreds of real nodes run in one process, on virtual time and under seeded faults; see :class:`SimulatedInternet`.
Nothing in netlayer itself imports this package.
"""

from netlayer.testing.connection import SimulatedConnection
from netlayer.testing.errors import SimulationError, SimulationTimeout
from netlayer.testing.host import SimulatedHost
from netlayer.testing.identity import SeededIdentity
from netlayer.testing.internet import SimulatedInternet
from netlayer.testing.reactor import SimulatedReactor

__all__ = [
    "SeededIdentity",
    "SimulatedConnection",
    "SimulatedHost",
    "SimulatedInternet",
    "SimulatedReactor",
    "SimulationError",
    "SimulationTimeout",
]
