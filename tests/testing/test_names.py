"""Nodes that are known by a name, which stands for several machines."""

from __future__ import annotations

from typing import Any

from twisted.application.internet import StreamServerEndpointService
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import DNSLookupError
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from netlayer import BootstrapService, PeerService
from netlayer.testing import SimulatedHost, SimulatedInternet, SimulationError

SECRET = "sixteen bytes at least, here"
NAME = "seeds.example"


class Mute(Protocol):
    """Another service, which waits for others to speak."""


class Rude(Protocol):
    """Another service, which hangs up."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.loseConnection()


class NamesTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.internet = SimulatedInternet(seed=5, network="10.1.0.0/16")

    def run_bootstrap(self, host: SimulatedHost, *, secret: str = SECRET, bootstraps: Any = ()) -> Any:
        service = BootstrapService(
            host.reactor,
            node_id=host.number,
            listen=(host.address, 8000),
            bootstraps=list(bootstraps),
            identity=host.identity(),
            rng=host.rng,
            network_secret=secret,
        )
        host.run(service)
        return service

    def run_node(self, host: SimulatedHost, **options: Any) -> Any:
        service = PeerService(
            host.reactor,
            node_id=host.number,
            listen=(host.address, 8001),
            identity=host.identity(),
            rng=host.rng,
            network_secret=SECRET,
            **options,
        )
        host.run(service)
        return service

    def run_service(self, host: SimulatedHost, protocol: type[Protocol]) -> None:
        """Have a host run something else at the port."""
        endpoint = serverFromString(host.reactor, f"tcp:8000:interface={host.address}")
        host.run(StreamServerEndpointService(endpoint, Factory.forProtocol(protocol)))

    def joins(self, host: SimulatedHost, within: float = 60.0) -> None:
        self.internet.run_until(lambda: host.application.status.joined, within)


class AddressesTests(NamesTestCase):
    def test_behind_tcp(self) -> None:
        """The bootstrap node is found among other services, other networks and dead machines, in any order."""
        mute, rude, other, dead, right, *nodes = self.internet.add_hosts(9)
        self.run_service(mute, Mute)
        self.run_service(rude, Rude)
        self.run_bootstrap(other, secret="the secret of another network")
        self.run_bootstrap(right)
        for node, order in zip(
            nodes,
            ([mute, rude, other, dead, right], [dead, right, mute], [other, mute, right], [right, rude]),
            strict=True,
        ):
            self.internet.set_name(NAME, [host.address for host in order])
            for where in ((NAME, 8000), f"tcp:{NAME}:8000", f"tcp:host={NAME}:port=8000:timeout=20"):
                self.run_node(node, bootstraps=[where])
                self.joins(node)
                self.internet.run(node.shutdown())
                node.restart()

    def test_configured_peer(self) -> None:
        """A configured peer is found in the same way, whether its id is known or not."""
        mute, right, one, two = self.internet.add_hosts(4)
        self.run_service(mute, Mute)
        self.run_bootstrap(right)
        self.internet.set_name(NAME, [mute.address, right.address])
        for node, where in ((one, (NAME, 8000)), (two, (right.number, NAME, 8000))):
            self.run_node(node, peers=[where])
            self.internet.advance(60.0)
            self.assertEqual([link.introduction.node_id for link in node.application.factory.links()], [right.number])

    def test_new_answer(self) -> None:
        """The name is looked up for each attempt, so a machine that was replaced is found at its new address."""
        one, two, node = self.internet.add_hosts(3)
        self.internet.set_name(NAME, one.address)
        self.run_node(node, bootstraps=[(NAME, 8000)])
        self.internet.advance(5.0)
        self.run_bootstrap(two)
        self.internet.set_name(NAME, two.address)
        self.joins(node)

    def test_lookups(self) -> None:
        """Look-ups find all addresses of a name, in their order; what takes one address takes the first."""
        one, two, three = self.internet.add_hosts(3)
        self.internet.set_name(NAME, (two.address, three.address))
        self.assertEqual(self.internet.run(one.reactor.resolve(NAME)), two.address)
        self.assertRaises(SimulationError, self.internet.set_name, NAME, [two.address, "three"])
        self.internet.set_name(NAME, None)
        self.assertRaises(DNSLookupError, self.internet.run, one.reactor.resolve(NAME))

    def test_good_again(self) -> None:
        """An address that has failed is tried again when there is no other one that answers."""
        one, two, node = self.internet.add_hosts(3)
        self.internet.set_name(NAME, [one.address, two.address])
        self.run_service(one, Rude)
        self.run_node(node, bootstraps=[(NAME, 8000)])
        self.internet.advance(30.0)
        one.crash()
        one.restart()
        self.run_bootstrap(one)
        self.joins(node)
