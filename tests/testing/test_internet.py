"""Real nodes in a simulated internet."""

from __future__ import annotations

import math
from typing import Any

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


class ArgumentsTests(SynchronousTestCase):
    """What makes no sense is refused where it is given, with what does."""

    def refused(self, told: str, call: Any, *args: Any, **options: Any) -> None:
        error = self.assertRaises(SimulationError, call, *args, **options)
        self.assertIn(told, str(error))

    def test_network(self) -> None:
        """The properties of a network are looked at before there is one."""
        for name, values, told in (
            ("latency", (0.05, "ab", None, (0.1,), (0.06, 0.001), {0, 1}), "the least and the most seconds"),
            ("latency", ((-1, 0), (0, math.nan), ("0", 1), (0, math.inf)), "a number of seconds, 0 or more, not "),
            ("jitter", (-1, math.nan, math.inf, "1", None), "jitter is a number of seconds, 0 or more, not "),
            ("bandwidth", (0, -1, math.nan, "1"), "a number of bytes a second, more than 0, or None"),
            ("window", (0, -1, 1000.0, math.nan, "1", None, True), "a whole number of bytes, 1 or more, not "),
            ("fragmentation", (5, -1, math.nan, "1", None), "fragmentation is a probability, from 0 to 1, not "),
            ("coalescing", (5, -1, math.nan, "1", None), "coalescing is a probability, from 0 to 1, not "),
            ("network", ("bad", "::/64", "127.1.0.1/16", 5, None), "an IPv4 network, such as 127.1.0.0/16, not "),
        ):
            for value in values:
                self.refused(told, SimulatedInternet, **{name: value})
        extremes: Any = {"latency": [0, 0], "jitter": 0, "fragmentation": 1, "coalescing": 1, "window": 1}
        hosts = SimulatedInternet(**extremes, bandwidth=1, network="10.0.0.0/31").add_hosts(1)
        self.assertEqual([host.address for host in hosts], ["10.0.0.1"])

    def test_addresses(self) -> None:
        """Hosts get addresses of the network that are free, and of that network alone."""
        internet = SimulatedInternet(network="127.1.0.0/29")
        internet.add_host("chosen", address="127.1.0.3")
        hosts = internet.add_hosts(5)
        self.assertEqual([host.address for host in hosts], [f"127.1.0.{number}" for number in (2, 4, 5, 6, 1)])

    def test_hosts(self) -> None:
        """A host has a name and an IPv4 address of its own."""
        internet = SimulatedInternet(network="127.1.0.0/30")
        for address in ("hello", "::1", "127.1.0", "", 5):
            self.refused("in dotted form, such as 127.1.0.1, not ", internet.add_host, "one", address=address)
            self.refused("in dotted form, such as 127.1.0.1, not ", internet.set_name, "www", address)
        self.refused("everywhere that is the host itself", internet.add_host, "one", address="127.0.0.1")
        for name in (7, "", None):
            self.refused("the name of a host is a text, not ", internet.add_host, name)
        for count in ("3", -3, 1.5):
            self.refused("a whole number, 0 or more, not ", internet.add_hosts, count)
        self.assertEqual(internet.hosts, [])
        internet.add_hosts(2)
        self.refused("the network 127.1.0.0/30 has no address for another host", internet.add_host, "late")
        self.assertEqual(len(internet.hosts), 2)

    def test_times(self) -> None:
        """Time passes forward, and for so long as was said."""
        internet = SimulatedInternet()
        for call in (
            internet.advance,
            internet.sleep,
            lambda seconds: internet.call_later(seconds, int),
            lambda seconds: internet.run_until(lambda: True, seconds),
            lambda seconds: internet.run(internet.sleep(1.0), seconds),
            internet.shutdown,
        ):
            for seconds in (-1, math.nan, "3", None):
                self.refused(f"a number of seconds, 0 or more, not {seconds!r}", call, seconds)
        self.refused("not inf", internet.advance, math.inf)
        self.assertEqual((internet.now, internet.events), (0.0, 0))
        internet.advance(0.3)
        _ = internet.sleep(0.1 + 0.2 - internet.now - 1e-15)  # the difference of equal times is not always zero
        internet.advance(0)
        self.assertEqual(internet.now, 0.3)

    def test_time_passes_in_no_coroutine(self) -> None:
        """A coroutine that is run can't let time pass, not even before it has waited for anything."""
        internet = SimulatedInternet()

        async def advancing() -> None:
            internet.advance(1.0)

        self.refused("time passes already", internet.run, advancing())
        self.assertEqual(internet.now, 0.0)
        internet.advance(1.0)
        self.assertEqual(internet.now, 1.0)
