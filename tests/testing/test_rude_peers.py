"""Peers that refuse this node for want of room, or part from it, again and again."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from netlayer import PeerFactory, PeerService
from netlayer.driver import Driver
from netlayer.testing import SimulatedHost, SimulatedInternet
from netlayer.wire.messages import GoodbyeCode, RejectCode
from tests.testing.network import bootstrap, node


class Refuser(PeerFactory):
    """Has no room for anybody, and says that it has at once again."""

    seconds: float | None = 0.0
    met = 0

    def introduced(self, protocol: Driver) -> None:
        if protocol.is_bootstrap:
            super().introduced(protocol)
            return
        self.met += not protocol.dialed
        protocol._reject(RejectCode.FULL, "no room", self.seconds)


class Parter(PeerFactory):
    """Lets everybody in, and needs the place at once."""

    seconds: float | None = 0.0
    met = 0

    def link_ready(self, protocol: Driver) -> None:
        super().link_ready(protocol)
        if not protocol.is_bootstrap:
            self.met += not protocol.dialed
            protocol._goodbye(GoodbyeCode.ROOM, "no room", retry_after=self.seconds)


class PatientParter(Parter):
    """Asks to be left alone for a minute, besides."""

    seconds = 60.0


class BriefRefuser(Refuser):
    """Says that it has room in a moment."""

    seconds = 0.001


class RudePeersTests(SynchronousTestCase):
    def test_are_left_alone(self) -> None:
        """Whoever refuses or parts again and again is dialed now and then only, whatever it says of the next time."""
        for kind in (Refuser, BriefRefuser, Parter, PatientParter):
            for others in (0, 1, 3):
                with self.subTest(kind=kind.__name__, others=others):
                    self.assertLess(self.met_by(kind, others), 2 * 30 * (1 + others))

    def met_by(self, kind: Any, others: int) -> int:
        """Return how many connections a rude peer gets within two minutes from some others."""
        internet = SimulatedInternet(seed=1, latency=(0.01, 0.05))
        internet.add_host("alpha").run(bootstrap)
        honest = internet.add_hosts(1 + others, "honest")
        for host in honest:
            host.run(node)
        internet.advance(10.0)

        class Rude(PeerService):
            _factory_class = kind

        def rude(host: SimulatedHost) -> Any:
            where, alpha = (host.address, 8001), ("alpha", 8000)
            return Rude(
                host.reactor,
                node_id=host.number,
                listen=where,
                bootstraps=[alpha],
                identity=host.identity(),
                rng=host.rng,
            )

        host = internet.add_host("rude")
        host.run(rude)
        internet.advance(120.0)
        return int(host.application.factory.met)
