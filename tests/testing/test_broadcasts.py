"""What a broadcast says of peers that hang, and of those that it could not reach."""

from __future__ import annotations

from typing import Any

from netlayer import Settings
from netlayer.errors import DeliveryTimeout
from tests.testing.network import bootstrap, node
from tests.testing.test_callers import CallersTestCase


class BroadcastTests(CallersTestCase):
    """What a broadcast says of peers that hang, and of those that it could not reach."""

    def report(self, data: Any, **options: Any) -> tuple[Any, float]:
        """Return the report of a broadcast, and how many seconds it took."""
        began = self.internet.now
        report = self.internet.run(self.service.broadcast(data, **options))
        return report, self.internet.now - began

    def test_hung_peer(self) -> None:
        """One peer that hangs makes two broadcasts wait, and then none, until it answers again."""
        self.start(more=2, program=node)
        hung = self.worker.number
        for number, expected in enumerate((10.0, 10.0, 0.0, 0.0, 0.0)):
            report, took = self.report(f"for ever {number}")
            self.assertLess(abs(took - expected), 0.5)
            self.assertEqual((len(report.delivered), set(report.failed)), (2, {hung}))
            self.assertEqual((type(report.failed[hung]), report.failed[hung].seconds), (DeliveryTimeout, expected))
        self.internet.advance(1.0)
        self.assertEqual(len(self.worker.disk["begun"]), 5)  # it is sent to all the same
        self.assertIn("not waited for", str(report.failed[hung]))
        report, _ = self.report(0)  # which it handles
        self.assertEqual(set(report.failed), {hung})
        self.internet.advance(1.0)
        report, _ = self.report(0)
        self.assertEqual((len(report.delivered), report.failed), (3, {}))

    def test_hung_for_long(self) -> None:
        """What is broadcast to a peer that hangs does not pile up for ever, and is no error in anybody's log."""
        self.start(more=1, program=node)
        for _ in range(3):
            self.report(bytes(2**20), timeout=0.5)
        for _ in range(100):
            self.report(bytes(2**20), timeout=0.5)
            self.internet.advance(0.5)
        (status,) = [link for link in self.service.status.links if link.peer.node_id == self.worker.number]
        self.assertLess(status.queued, 6 * 2**20)
        self.assertLess(self.service.factory.load.queued, 6 * 2**20)

    def test_frozen_machine(self) -> None:
        """A machine that stands still costs no broadcast more than its first two, and is missed when it is unlinked."""
        self.start(more=1, program=node)
        self.worker.stall(25.0)
        times, missed = [], set()
        while self.internet.now < 40.0:
            report, took = self.report(0)
            times.append(took)
            missed |= report.missed
            self.internet.advance(0.2)
        self.assertLess(sum(took > 0.5 for took in times), 3)
        self.assertEqual(missed, {self.worker.number})
        self.assertEqual(len(report.delivered), 2)

    def test_missed(self) -> None:
        """A report names those who should have been linked: away, not started yet, or never met; by their ids."""
        absent = self.internet.add_host("absent")
        (other,) = self.start(more=1, program=node, peers=[(absent.number, absent.address, 8001)])
        self.assertEqual(self.report(0)[0].missed, {absent.number})
        self.worker.crash()
        self.internet.advance(5.0)
        report, _ = self.report(0)
        self.assertEqual((report.delivered, report.failed), ({other.number}, {}))
        self.assertEqual(report.missed, {absent.number, self.worker.number})
        self.assertIsInstance(report.missed, frozenset)  # as it is declared, so that nobody changes a report
        absent.run(node)
        self.worker.restart()
        self.internet.advance(30.0)
        self.assertEqual(self.report(0)[0].missed, set())

    def test_bootstrap_nodes_are_not_missed(self) -> None:
        """A bootstrap node is infrastructure: whether it is linked or away, whoever else knows it, it is not missed."""
        second = self.internet.add_host("second")
        second.run(lambda host: bootstrap(host, bootstraps=[("alpha", 8000)]))
        self.start()
        self.internet.advance(60.0)
        self.assertEqual(self.report(0)[0].missed, set())
        self.internet.host("alpha").crash()
        second.crash()
        self.internet.advance(20.0)
        self.assertEqual(self.report(0)[0].missed, set())

    def test_no_room(self) -> None:
        """Of those that a full node is told of, and not linked to, none is left out."""
        self.internet.add_hosts(5, "more")
        self.caller.run(lambda host: node(host, settings=Settings(max_connections=3)))
        for host in self.internet.hosts[2:]:
            host.run(node)
        for _ in range(5):
            self.internet.advance(20.0)
            report, _ = self.report(0)
            linked = {peer.node_id for peer in self.service.get_peers()}
            self.assertEqual(report.delivered, linked)
            everybody = {host.number for host in self.internet.hosts[2:]}
            self.assertEqual(report.missed, everybody - linked)

    def test_those_who_leave(self) -> None:
        """Whoever says goodbye is not missed, nor is for long whoever left while this node was not linked to it."""
        (other,) = self.start(more=1, program=node)
        self.internet.run(self.worker.shutdown())
        self.internet.advance(1.0)
        self.assertEqual(self.report(0)[0].missed, set())
        self.internet.cut(self.caller, other)
        self.internet.cut(other, self.caller)
        self.internet.advance(30.0)
        self.assertEqual(self.report(0)[0].missed, {other.number})

    def test_of_a_bootstrap_node(self) -> None:
        """A bootstrap node misses those that hold a lease of it and are not linked now."""
        self.start()
        chief = self.internet.host("alpha").application
        self.assertEqual(self.internet.run(chief.broadcast(0)).missed, set())
        self.worker.crash()
        self.internet.advance(1.0)
        self.assertEqual(self.internet.run(chief.broadcast(0)).missed, {self.worker.number})
        self.internet.advance(30.0)
        self.assertEqual(self.internet.run(chief.broadcast(0)).missed, set())
