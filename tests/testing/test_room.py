"""A node whose links are all taken."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from netlayer import Settings
from netlayer.testing import SimulatedInternet
from tests.testing.network import bootstrap, node


class RoomTests(SynchronousTestCase):
    def test_configured(self) -> None:
        """Its bootstrap node and the peers of its configuration are linked again all the same; nobody else is."""
        internet = SimulatedInternet(seed=1)
        alpha, full, friend, *others = (internet.add_host(name) for name in ("alpha", "full", "friend", "a", "b", "c"))
        to_full = {"peers": [(full.address, 8001)], "bootstraps": []}
        to_friend = {"peers": [(friend.address, 8001)], "settings": attrs.evolve(Settings(), max_connections=2)}
        for host, program in (
            (alpha, bootstrap),
            (friend, lambda host: node(host, bootstraps=[])),
            (full, lambda host: node(host, **to_friend)),
        ):
            host.run(program)
        internet.run_until(lambda: full.application.status.joined and full.application.get_peers())
        for host in (alpha, friend):
            host.crash()
        for host in others:
            host.run(lambda host: node(host, **to_full))
        internet.advance(30.0)
        self.assertEqual(full.application.factory.links(), [], "their places are kept for them")
        for host in (alpha, friend):
            host.restart()
        internet.advance(60.0)
        self.assertTrue(full.application.status.joined)
        self.assertIn(friend.number, [peer.node_id for peer in full.application.get_peers()])
        self.assertEqual(len(full.application.factory.links()), 2)
