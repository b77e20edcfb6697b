"""The public names, written out: what is listed here is kept compatible, everything else may change."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

import netlayer
from netlayer import errors, interfaces, testing

PUBLIC = [
    "BootstrapFactory",
    "BootstrapNode",
    "BootstrapProtocol",
    "BootstrapService",
    "BroadcastReport",
    "DataHandler",
    "DataPacket",
    "Identity",
    "Node",
    "NodeStatus",
    "PeerFactory",
    "PeerInfo",
    "PeerProtocol",
    "PeerService",
    "Settings",
    "configure_logging",
]

INTERFACES = ["IBindingStore", "IIdentity", "ISecurity", "IWallClock"]
TESTING = [
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


class PublicNamesTests(SynchronousTestCase):
    def test_list(self) -> None:
        """`from netlayer import *` gives exactly the names that the documentation promises."""
        self.assertEqual(sorted(netlayer.__all__), PUBLIC)
        self.assertEqual(sorted(interfaces.__all__), INTERFACES)
        self.assertEqual(sorted(testing.__all__), TESTING)

    def test_documented(self) -> None:
        """help() on any public name tells what it is for."""
        public = {name: getattr(netlayer, name) for name in netlayer.__all__}
        for module in (errors, interfaces, testing):
            public |= {name: getattr(module, name) for name in module.__all__}
        self.assertEqual([name for name, value in public.items() if not value.__doc__], [])


class ErrorsTests(SynchronousTestCase):
    def test_one_root(self) -> None:
        """`except NetlayerError` catches every error of ours, and whatever is such an error can be imported by name."""
        ours = {
            name: value
            for name, value in vars(errors).items()
            if isinstance(value, type) and issubclass(value, BaseException)
        }
        self.assertEqual(sorted(ours), sorted(errors.__all__))
        self.assertEqual([name for name, value in ours.items() if not issubclass(value, errors.NetlayerError)], [])
