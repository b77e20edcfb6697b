"""Nodes that listen on all addresses of their machine: what others are told, by what bootstrap nodes see."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from netlayer import BootstrapService, PeerService
from netlayer.addresses import is_link_local
from netlayer.net.driver import Driver
from netlayer.testing import SimulatedHost, SimulatedInternet
from netlayer.wire.messages import NetAddress
from tests.testing.network import bootstrap, meshed, node

#: What nodes need that listen for other machines.
SHARED: dict[str, Any] = {"network_secret": "0123456789abcdef0123456789abcdef"}


def anywhere(host: SimulatedHost, port: int = 8001, **options: Any) -> PeerService:
    """Return a node that listens on all addresses of its host."""
    return node(host, listen=("0.0.0.0", port), **SHARED, **options)


def bootstrap_anywhere(host: SimulatedHost, **options: Any) -> BootstrapService:
    """Return such a bootstrap node."""
    return bootstrap(host, listen=("0.0.0.0", 8000), **SHARED, **options)


class SeenAddressesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.internet = SimulatedInternet(seed=2, network="10.1.0.0/16")

    def test_dialed_by_the_bootstrap_node(self) -> None:
        """A node that the bootstrap node has dialed advertises its own address, and newcomers reach it there."""
        alpha, one, other = self.internet.add_host("alpha"), *self.internet.add_hosts(2, "node")
        one.run(anywhere)
        alpha.run(lambda host: bootstrap_anywhere(host, peers=[(one.number, one.address, 8001)]))
        self.internet.run_until(lambda: one.application.status.joined)
        self.assertIn(f"{one.address}:8001", one.application.status.advertised)
        other.run(anywhere)
        self.internet.run_until(lambda: meshed([one, other]))

    def test_bootstrap_nodes_of_each_other(self) -> None:
        """Two bootstrap nodes that name each other both advertise their own addresses, whoever has dialed."""
        for seed in range(6):
            internet = SimulatedInternet(seed=seed, network="10.1.0.0/16")
            alpha, beta = hosts = [internet.add_host("alpha"), internet.add_host("beta")]
            alpha.run(lambda host: bootstrap_anywhere(host, bootstraps=[("beta", 8000)]))
            beta.run(lambda host: bootstrap_anywhere(host, bootstraps=[("alpha", 8000)]))
            internet.advance(10.0)
            for host in hosts:
                self.assertIn(f"{host.address}:8000", host.application.status.advertised)

    def test_views(self) -> None:
        """Of bootstrap nodes that see a node at different addresses the first counts, for as long as it is linked."""
        alpha, beta = bootstraps = [self.internet.add_host("alpha"), self.internet.add_host("beta")]
        for host in bootstraps:
            host.run(bootstrap_anywhere)
        plain = Driver.seen_at.fget
        assert plain is not None
        seen_at = plain

        def translated(protocol: Driver) -> NetAddress | None:  # between beta and all others
            seen = seen_at(protocol)
            return seen if seen is None or protocol.node is not beta.application.factory else NetAddress("10.9.9.9", 1)

        self.patch(Driver, "seen_at", property(translated))
        one = self.internet.add_host("one")
        one.run(lambda host: anywhere(host, bootstraps=[("alpha", 8000), ("beta", 8000)]))
        self.internet.run_until(lambda: len(one.application.status.links) == 2)
        self.internet.advance(100.0)
        views = [f"{one.address}:8001", "10.9.9.9:8001"]
        first = one.application.status.advertised[0]
        self.assertIn(first, views)
        told = {link.peer.node_id: link.packets_sent for link in one.application.status.links}
        self.assertEqual(set(told), {alpha.number, beta.number})
        self.assertLess(max(link.bytes_received for link in one.application.status.links), 5000)
        bootstraps[views.index(first)].crash()
        self.internet.advance(100.0)
        self.assertNotEqual(one.application.status.advertised[0], first)
        self.assertIn(one.application.status.advertised[0], views)

    def test_segment(self) -> None:
        """On a network of link-local addresses nodes are told of each other, by the addresses they are seen at."""
        internet = SimulatedInternet(seed=3, network="169.254.0.0/16")
        alpha, *nodes = internet.add_host("alpha"), *internet.add_hosts(2, "node")
        alpha.run(bootstrap_anywhere)
        for host in nodes:
            host.run(lambda host: anywhere(host, bootstraps=[("alpha", 8000)]))
        internet.run_until(lambda: meshed(nodes))
        for host in nodes:
            self.assertIn(f"{host.address}:8001", host.application.status.advertised)

    def test_beyond_the_segment(self) -> None:
        """What a node says it advertises is neither told nor believed where it means nothing."""
        alpha, *nodes = self.internet.add_host("alpha"), *self.internet.add_hosts(2, "node")
        alpha.run(bootstrap_anywhere)
        for host, advertise in zip(nodes, [("169.254.1.1", 8001), ("fe80::1%eth0", 8001)], strict=True):
            host.run(lambda host, at=advertise: anywhere(host, bootstraps=[("alpha", 8000)], advertise=at))
        self.internet.run_until(lambda: all(host.application.status.joined for host in nodes))
        self.internet.advance(60.0)
        for host in nodes:
            self.assertEqual(host.application.status.wanted, ())
        hosts = [peer.host for peer in alpha.application.get_peers()]
        self.assertEqual([host for host in hosts if is_link_local(host)], [])

    def test_false_view(self) -> None:
        """A link-local address is advertised on no word that came over another link."""
        alpha, one = self.internet.add_host("alpha"), self.internet.add_host("one")
        alpha.run(bootstrap_anywhere)
        self.patch(Driver, "seen_at", property(lambda _: NetAddress("169.254.7.7", 1)))
        one.run(lambda host: anywhere(host, bootstraps=[("alpha", 8000)]))
        self.internet.run_until(lambda: one.application.status.joined)
        self.assertEqual([each for each in one.application.status.advertised if each.startswith("169")], [])
