"""Real identities in the simulated internet: the same nodes, with TLS over the simulated transports."""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet.defer import gatherResults
from twisted.trial.unittest import SynchronousTestCase

from netlayer import BootstrapNode, Identity, Node
from netlayer.testing import SimulatedHost, SimulatedInternet
from tests.testing.network import bootstrap, meshed, node


def proven(program: Any, host: SimulatedHost) -> Any:
    """Run a program of this module's with a real key, which is kept on the host's disk."""
    return program(host, identity=host.disk.setdefault("identity", Identity.generate()))


class RealTLSTests(SynchronousTestCase):
    def test_faults(self) -> None:
        """Three nodes with TLS exchange large packets on a bad network, survive a crash, and leave nothing behind."""
        internet = SimulatedInternet(seed=11, fragmentation=0.3, coalescing=0.3, window=32 * 1024, bandwidth=2e6)
        internet.add_host("alpha").run(partial(proven, bootstrap))
        hosts = internet.add_hosts(3, "node")
        for host in hosts:
            host.run(partial(proven, node))
        internet.run_until(lambda: meshed(hosts))
        large = bytes(range(256)) * 4096
        sent = [host.application.send(peer, large) for host in hosts for peer in host.application.get_peers()]
        internet.run(gatherResults(sent))
        self.assertEqual([host.disk["received"] for host in hosts], [[large] * 2] * 3)
        hosts[0].crash(silent=True)
        internet.advance(20.0)
        self.assertEqual([len(host.application.get_peers()) for host in hosts[1:]], [1, 1])
        hosts[0].restart()
        internet.run_until(lambda: meshed(hosts), timeout=30.0)
        for connection in internet.connections:
            connection.cut_after(100, sender=connection.client.host)
        internet.run(hosts[1].application.broadcast("through the cuts"))
        internet.run_until(lambda: meshed(hosts))
        internet.shutdown()
        self.assertEqual(internet.leftovers(), [])

    def test_facade(self) -> None:
        """Nodes as scripts use them run in a simulation too, with their defaults but for the reactor."""
        internet = SimulatedInternet(seed=2)
        heard: list[str] = []

        class Hearing(Node[Any]):
            def handle_data(self, packet: Any) -> None:
                heard.append(str(packet))

        alpha, one, two = internet.add_host("alpha"), internet.add_host("one"), internet.add_host("two")
        boot = BootstrapNode(1, alpha.address, 8000, reactor=alpha.reactor)
        internet.run(boot.start_bootstrap_node())
        nodes = [
            Hearing(n, host.address, 8000, ("alpha", 8000), reactor=host.reactor) for n, host in ((2, one), (3, two))
        ]
        internet.run(gatherResults([each.start_node() for each in nodes]))
        internet.run(nodes[0].send_data(3, "hello"))
        self.assertEqual(heard, ["2: hello"])
        internet.run(gatherResults([each.shutdown() for each in (*nodes, boot)]))
        self.assertEqual(internet.leftovers(), [])
