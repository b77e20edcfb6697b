"""Peers that refuse this node for want of room, or part from it, again and again."""

from __future__ import annotations

from typing import Any

from twisted.application.internet import StreamServerEndpointService
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase

from netlayer import PeerFactory, PeerService
from netlayer.net.driver import Driver
from netlayer.testing import SimulatedHost, SimulatedInternet
from netlayer.wire.messages import MAX_REFERRALS, GoodbyeCode, NetAddress, Referral, RejectCode
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
        protocol.reject(RejectCode.FULL, "no room", self.seconds, self.told())

    def told(self) -> tuple[Referral, ...]:
        return ()


class Parter(PeerFactory):
    """Lets everybody in, and needs the place at once."""

    seconds: float | None = 0.0
    met = 0

    def link_ready(self, protocol: Driver) -> None:
        super().link_ready(protocol)
        if not protocol.is_bootstrap:
            self.met += not protocol.dialed
            protocol.say_goodbye(GoodbyeCode.ROOM, "no room", retry_after=self.seconds)


class PatientParter(Parter):
    """Asks to be left alone for a minute, besides."""

    seconds = 60.0


class BriefRefuser(Refuser):
    """Says that it has room in a moment."""

    seconds = 0.001


class Liar(Refuser):
    """Refers others to nodes that there are not, all of them at the address of a victim."""

    victim: NetAddress

    def told(self) -> tuple[Referral, ...]:
        ids = [self.rng.randrange(2**32, 2**62) for _ in range(MAX_REFERRALS)]
        return tuple(Referral(number, self.rng.randbytes(32), (self.victim,)) for number in ids)


class Victim(Factory):
    """Counts who connects."""

    noisy = False
    met = 0

    def buildProtocol(self, addr: object) -> None:
        self.met += 1


class RudePeersTests(SynchronousTestCase):
    def test_are_left_alone(self) -> None:
        """Whoever refuses or parts again and again is dialed now and then only, whatever it says of the next time."""
        for kind in (Refuser, BriefRefuser, Parter, PatientParter):
            for others in (0, 1, 3):
                with self.subTest(kind=kind.__name__, others=others):
                    self.assertLess(self.met_by(kind, others), 2 * 30 * (1 + others))

    def test_referrals(self) -> None:
        """Peers that somebody has made up are dialed a few times in a minute, and not for ever."""
        internet = SimulatedInternet(seed=1)
        internet.add_host("alpha").run(bootstrap)
        honest, victim_host, rude = (internet.add_host(name) for name in ("honest", "victim", "rude"))
        victim = Victim()
        endpoint = TCP4ServerEndpoint(victim_host.reactor, 7000, interface=victim_host.address)
        victim_host.run(StreamServerEndpointService(endpoint, victim))
        honest.run(node)
        internet.advance(10.0)

        class Rude(PeerService):
            _factory_class = Liar

        def run(host: SimulatedHost) -> Any:
            return node(host, kind=Rude)

        Liar.victim = NetAddress(victim_host.address, 7000)
        rude.run(run)
        internet.advance(300.0)
        during, _ = victim.met, rude.crash()
        internet.advance(120.0)
        victim.met = 0
        internet.advance(600.0)
        self.assertLess(during, 100)
        self.assertEqual(victim.met, 0)

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
            return node(host, kind=Rude)

        host = internet.add_host("rude")
        host.run(rude)
        internet.advance(120.0)
        return int(host.application.factory.met)
