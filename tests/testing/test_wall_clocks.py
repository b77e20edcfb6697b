"""The time of day is wrong: by hours and days, forward and back. Tickets have dates, and nothing else depends on it."""

from __future__ import annotations

from typing import Any

from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from netlayer.testing import SimulatedHost, SimulatedInternet
from netlayer.testing.reactor import EPOCH
from tests.testing.network import bootstrap, meshed, network, node

HOUR, DAY = 3600.0, 86400.0


class WallClockTests(SynchronousTestCase):
    """A bootstrap node and some nodes, whose keys last."""

    def setUp(self) -> None:
        """Hear the log."""
        self.warnings: list[str] = []
        globalLogPublisher.addObserver(self._hear)
        self.addCleanup(globalLogPublisher.removeObserver, self._hear)

    def _hear(self, event: Any) -> None:
        if event["log_level"] >= LogLevel.warn:
            self.warnings.append(event["log_format"])

    def ticket(self, judge: SimulatedHost, of: SimulatedHost) -> Any:
        """Return the ticket that supports one node's claim to its id, as another one judges it."""
        factory = judge.application.factory
        record = next(link.record for link in factory.link_drivers() if link.introduction.node_id == of.number)
        return factory.claims.judge(record).ticket

    def test_two_clocks(self) -> None:
        """The time of day outlives a process; the clock of a process and its timers know nothing of it."""
        internet = SimulatedInternet(seed=1)
        host, other = internet.add_hosts(2)
        clock, fired = host.reactor.seconds(), []
        host.reactor.callLater(2.0, fired.append, "due")
        host.jump_wall_clock(DAY)
        host.jump_wall_clock(-HOUR)
        internet.advance(1.0)
        self.assertEqual((host.reactor.seconds() - clock, fired), (1.0, []))
        internet.advance(1.0)
        self.assertEqual(fired, ["due"])
        host.jump_clock(500.0)
        host.restart()
        times = [each.reactor.wall_seconds() - EPOCH for each in (host, other)]
        self.assertEqual(times, [DAY - HOUR + 2.0, 2.0])

    def test_jumps(self) -> None:
        """Clocks jump by an hour and a day, every second and differently: no link ends, and all packets are handled."""
        internet, hosts = network(3)
        everybody = [internet.host("alpha"), *hosts]
        links = {host: host.application.factory.link_drivers() for host in everybody}
        for turn in range(90):  # leases are renewed every 30 s
            for number, host in enumerate(everybody):
                host.jump_wall_clock((DAY, -DAY, -HOUR, HOUR, -DAY, DAY, HOUR, -HOUR)[(turn + number) % 8])
            internet.run(hosts[turn % 3].application.send(hosts[(turn + 1) % 3].number, "on time"))
            internet.advance(1.0)
        self.assertEqual({host: host.application.factory.link_drivers() for host in everybody}, links)
        self.assertEqual(len(everybody[0].application.get_peers()), 3)
        self.assertEqual(self.warnings, [])
        internet.shutdown()
        self.assertEqual(internet.leftovers(), [])

    def test_late_comer(self) -> None:
        """Who joins while its own clock and that of the bootstrap node are days apart is linked all the same."""
        internet, hosts = network(2)
        internet.host("alpha").jump_wall_clock(DAY)
        late = internet.add_host("late")
        late.jump_wall_clock(-2 * DAY)
        late.run(node)
        internet.run_until(lambda: meshed([*hosts, late]), timeout=5.0)
        hosts[0].restart()
        internet.run_until(lambda: meshed([*hosts, late]), timeout=5.0)
        self.assertEqual(self.warnings, [])

    def test_old_bootstrap(self) -> None:
        """A bootstrap node that has run for longer than a ticket is good can still prove its own id to newcomers."""
        internet, hosts = network(2)
        alpha, late = internet.host("alpha"), internet.add_host("late")
        issued = self.ticket(hosts[0], alpha).issued
        for host in (alpha, *hosts, late):
            host.jump_wall_clock(20 * DAY)
        late.run(node)
        internet.run_until(lambda: meshed([*hosts, late]))
        own = self.ticket(late, alpha)
        self.assertIsNotNone(own)
        self.assertEqual(own.issued, issued)

    def check_bound_in_the_future(self, ahead: float) -> None:
        internet = SimulatedInternet(seed=2)
        alpha = internet.add_host("alpha")
        alpha.jump_wall_clock(ahead)
        alpha.run(bootstrap)
        one, two = internet.add_hosts(2, "node")
        one.run(node)
        internet.run_until(lambda: one.application.status.joined)
        alpha.jump_wall_clock(-ahead)
        two.run(node)
        internet.run_until(lambda: meshed([one, two]))
        internet.advance(2 * one.application.factory.settings.lease_renewal)
        first = self.ticket(two, one)
        self.assertIsNotNone(first, "its claim counts")
        self.assertLessEqual(first.issued, two.reactor.wall_seconds() + min(ahead, DAY))
        internet.advance(2 * one.application.factory.settings.lease_renewal)
        self.assertEqual(self.ticket(two, one), first, "and is not made anew each time")
        self.assertEqual(self.warnings, [])

    def test_bound_a_day_ahead(self) -> None:
        """An id that was bound at a time that is yet to come, by a day, is proven by its ticket."""
        self.check_bound_in_the_future(DAY)

    def test_bound_a_year_ahead(self) -> None:
        """One that was bound a year ahead is proven as soon as the clock of the bootstrap node has been set right."""
        self.check_bound_in_the_future(365 * DAY)
