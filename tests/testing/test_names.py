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
from tests.directories import new_directory

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

    def run_bootstrap(
        self, host: SimulatedHost, *, secret: str = SECRET, bootstraps: Any = (), ephemeral: bool = False
    ) -> Any:
        service = BootstrapService(
            host.reactor,
            node_id=host.number,
            listen=(host.address, 8000),
            bootstraps=list(bootstraps),
            identity=host.identity(ephemeral=ephemeral),
            rng=host.rng,
            network_secret=secret,
        )
        host.run(service)
        return service

    def run_pair(self, one: SimulatedHost, two: SimulatedHost) -> None:
        """Run two bootstrap nodes that vouch for each other."""
        for host in (one, two):
            self.run_bootstrap(host, bootstraps=[(one.address, 8000), (two.address, 8000)])
        self.internet.advance(5.0)

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
            self.assertEqual([link.peer.node_id for link in node.application.factory.link_drivers()], [right.number])

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


class KeysTests(NamesTestCase):
    """A name that leads to several bootstrap nodes, one after the other."""

    def test_failover(self) -> None:
        """One for whom the dead one has vouched is believed, and so is one for whom that one has vouched."""
        one, two, three, *nodes = self.internet.add_hosts(6)
        bootstraps = [(host.address, 8000) for host in (one, two, three)]
        for host in (one, two):
            self.run_bootstrap(host, bootstraps=bootstraps)
        self.internet.set_name(NAME, one.address)
        for node in nodes:
            self.run_node(node, bootstraps=[(NAME, 8000)])
            self.joins(node)
        one.crash(silent=True)
        self.internet.set_name(NAME, two.address)
        self.internet.advance(30.0)
        for node in nodes:
            self.joins(node)
        self.run_bootstrap(three, bootstraps=bootstraps)
        self.internet.advance(20.0)
        two.crash(silent=True)
        self.internet.set_name(NAME, three.address)
        self.internet.advance(30.0)
        for node in nodes:
            self.joins(node)

    def test_impostor(self) -> None:
        """A bootstrap node for which nobody has vouched is refused, secret or not, until one that is known answers."""
        one, two, impostor, node = self.internet.add_hosts(4)
        self.run_pair(one, two)
        self.run_bootstrap(impostor)
        self.internet.set_name(NAME, one.address)
        self.run_node(node, bootstraps=[(NAME, 8000)])
        self.joins(node)
        one.crash(silent=True)
        self.internet.set_name(NAME, impostor.address)
        self.internet.advance(120.0)
        (status,) = node.application.status.bootstraps
        self.assertFalse(node.application.status.joined)
        self.assertIn("or another known one there, but found sha256:", status.last_error)
        self.internet.set_name(NAME, [impostor.address, two.address])
        self.joins(node)

    def test_remembered(self) -> None:
        """A node with a data directory knows after its own restart who may answer."""
        one, two, impostor, node = self.internet.add_hosts(4)
        self.run_pair(one, two)
        self.run_bootstrap(impostor)
        home = new_directory(self) / "node"
        for host, joins in ((one, True), (impostor, False), (two, True), (impostor, False), (one, True)):
            self.internet.set_name(NAME, host.address)
            self.run_node(node, bootstraps=[(NAME, 8000)], data_dir=home)
            self.internet.advance(30.0)
            self.assertEqual(node.application.status.joined, joins)
            self.internet.run(node.shutdown())
            node.restart()

    def test_address(self) -> None:
        """An address is one machine: another key is refused there."""
        one, two, node = self.internet.add_hosts(3)
        self.run_pair(one, two)
        self.run_node(node, bootstraps=[(one.address, 8000)])
        self.joins(node)
        one.crash()
        one.restart(disk=False)
        self.run_bootstrap(one)
        self.internet.advance(120.0)
        self.assertFalse(node.application.status.joined)

    def test_ephemeral(self) -> None:
        """A key that dies with its process is not remembered: the secret decides who answers next."""
        one, two, node = self.internet.add_hosts(3)
        self.run_bootstrap(one, ephemeral=True)
        self.internet.set_name(NAME, one.address)
        self.run_node(node, bootstraps=[(NAME, 8000)])
        self.joins(node)
        one.crash()
        self.run_bootstrap(two)
        self.internet.set_name(NAME, two.address)
        self.internet.advance(5.0)
        self.joins(node)
