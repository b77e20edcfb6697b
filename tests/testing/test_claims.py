"""Processes that claim one id: an old one that died silently, its successor with the same key, and one with another."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from netlayer import PeerService
from netlayer.testing import SeededIdentity, SimulatedHost, SimulatedInternet
from tests.testing.network import bootstrap, node


class ClaimsTests(SynchronousTestCase):
    """Node 1 is linked to node 2, whose machine loses its power; two others come up as node 2 while it is missed."""

    def setUp(self) -> None:
        self.internet = SimulatedInternet(seed=1)
        self.one, self.old, self.successor, self.rival = self.internet.add_hosts(4)
        ours, theirs = sorted((SeededIdentity("a"), SeededIdentity("b")), key=lambda each: each.fingerprint)[::-1]
        self.key, self.other_key = theirs, SeededIdentity("c", ephemeral=True)
        self.run_node(self.one, 1, ours)  # it has the larger fingerprint, so it selects connections
        self.run_node(self.old, 2, theirs)
        self.internet.run_until(lambda: self.linked() == [theirs.fingerprint])
        self.old.crash(silent=True)

    def run_node(self, host: SimulatedHost, node_id: int, identity: Any) -> PeerService:
        """Run a node that dials node 1, unless it is that itself."""
        peers = [] if host is self.one else [(1, self.one.address, 8000)]
        listen = (host.address, 8000)
        service = PeerService(
            host.reactor, node_id=node_id, listen=listen, peers=peers, identity=identity, rng=host.rng
        )
        host.run(service)
        return service

    def linked(self) -> list[bytes]:
        """Return the keys that node 1 is linked to."""
        return [link.fingerprint for link in self.one.application.factory.link_drivers()]

    def test_successor_lives(self) -> None:
        """A successor with the old key keeps the id, however silent its predecessor was when another key came."""
        successor = self.run_node(self.successor, 2, self.key)
        self.internet.advance(0.5)
        rival = self.run_node(self.rival, 2, self.other_key)
        self.internet.advance(10.0)
        self.assertEqual(self.linked(), [self.key.fingerprint])
        self.assertEqual(len(successor.get_peers()), 1)
        self.assertEqual(rival.get_peers(), [])

    def test_successor_died_too(self) -> None:
        """When the successor has died silently as well, the other key gets the id soon."""
        self.run_node(self.successor, 2, self.key)
        self.internet.advance(0.5)
        self.successor.crash(silent=True)
        rival = self.run_node(self.rival, 2, self.other_key)
        self.internet.advance(20.0)
        self.assertEqual(self.linked(), [self.other_key.fingerprint])
        self.assertEqual(len(rival.get_peers()), 1)
        self.assertEqual(len(self.internet.connections), 1)

    def test_lost_link_stops_the_node(self) -> None:
        """A node may stop when it loses its link to a silent peer, while another key waits for the id."""
        factory = self.one.application.factory
        factory.links()[0].peer_lost = lambda reason: factory.stop()
        rival = self.run_node(self.rival, 2, self.other_key)
        self.internet.advance(10.0)
        self.assertTrue(factory.stopping)
        self.assertEqual((len(factory.remotes), rival.get_peers()), (0, []))


class NewKeyTests(SynchronousTestCase):
    def test_heard_of_too_early(self) -> None:
        """A peer that comes back with a new key is linked as soon as its old link is known to be dead.

        That is so even if the bootstrap node has told of the new key before.
        """
        internet = SimulatedInternet(seed=1)
        alpha, here, there = internet.add_host("alpha"), *internet.add_hosts(2)
        alpha.run(bootstrap)
        for host in (here, there):
            host.run(lambda host: node(host, identity=host.identity(ephemeral=True)))
        internet.run_until(lambda: here.application.get_peers() and there.application.get_peers())
        for connection in internet.connections:
            if connection.between(here, there):
                connection.black_hole()
        there.crash(silent=True)
        alpha.crash()
        alpha.restart()
        there.restart()  # it is registered first, when nobody else is
        internet.run_until(lambda: there.application.get_peers(), timeout=20.0)
        internet.advance(1.0)
        self.assertEqual([link.node_id for link in here.application.get_peers()], [there.number])
        internet.run(here.application.send(there.number, "hello"))
