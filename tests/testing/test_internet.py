"""Real nodes in a simulated internet."""

from __future__ import annotations

from twisted.application.service import MultiService
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from netlayer import Node
from netlayer.testing import SimulatedHost, SimulatedInternet, SimulationError
from tests.testing.network import bootstrap, meshed, network, node


class NodesTests(SynchronousTestCase):
    def test_join_and_exchange(self) -> None:
        """A bootstrap node and five nodes find each other, and each packet is handled by whom it was sent to."""
        internet, hosts = network(5, seed=7)
        report = internet.run(hosts[0].application.broadcast("to all"))
        self.assertEqual(report.failed, {})
        internet.run(hosts[1].application.send(hosts[2].number, {"to": 2}))
        self.assertEqual(
            [host.disk["received"] for host in hosts],
            [[], ["to all"], ["to all", {"to": 2}], ["to all"], ["to all"]],
        )
        internet.shutdown()
        self.assertEqual(internet.leftovers(), [])
        self.assertEqual(internet.connections, [])

    def test_crash_and_restart(self) -> None:
        """A machine that loses its power is missed, and is back with all its links when it has been restarted."""
        internet, hosts = network(5, seed=7)
        hosts[2].crash(silent=True)
        internet.advance(20.0)
        self.assertEqual([len(host.application.get_peers()) for host in hosts if host.is_running], [3] * 4)
        hosts[2].restart()
        internet.run_until(lambda: meshed(hosts), timeout=30.0)
        self.assertEqual(internet.run(hosts[2].application.broadcast("back")).failed, {})
        internet.shutdown()
        self.assertEqual(internet.leftovers(), [])

    def test_no_program(self) -> None:
        """What is no service and no node, or returns none, can't run on a host."""
        host = SimulatedInternet().add_host("alpha")
        for program, told in ((lambda host: None, "not None"), (lambda host: 5, "not 5"), ("chat", "not 'chat'")):
            error = self.assertRaises(SimulationError, host.run, program)
            self.assertIn("what runs on alpha has to be a service, a Node, or a function", str(error))
            self.assertIn(told, str(error))
            self.assertIsNone(host.application)

    def test_other_reactor(self) -> None:
        """A node that was given another reactor than its host's is refused before it uses real sockets."""
        internet = SimulatedInternet()
        alpha, beta = internet.add_host("alpha"), internet.add_host("beta")

        def application(_: SimulatedHost) -> MultiService:
            services = MultiService()
            bootstrap(beta).setServiceParent(services)
            return services

        real = MemoryReactorClock()
        for program in (
            node(beta),
            application,
            lambda _: Node(1, "localhost", 8000, reactor=real),
        ):
            error = self.assertRaises(SimulationError, alpha.run, program)
            self.assertRegex(str(error), "^node [12] on alpha was given another reactor")
        self.assertEqual((internet.leftovers(), real.tcpServers), ([], []))

    def test_shutdown_before_the_start_is_over(self) -> None:
        """A node that is shut down while it looks for its bootstrap node ends, and its log tells of no error."""
        internet = SimulatedInternet()
        host = internet.add_host("early")
        host.run(Node(1, host.address, 8001, ("nobody", 8000), reactor=host.reactor, identity=host.identity()))
        internet.advance(1.0)
        internet.run(host.shutdown())
        self.assertEqual(internet.leftovers(), [])
