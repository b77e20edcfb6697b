"""Links that are of no use, and peers that only seem to be there: starts end all the same, and packets arrive."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.trial.unittest import SynchronousTestCase

from netlayer import BootstrapProtocol, DataPacket, PeerProtocol, Settings
from netlayer.errors import ConfigurationError, LinkLost
from netlayer.storage.bindings.memory import MemoryStore
from netlayer.testing import SimulatedHost, SimulatedInternet
from tests.directories import new_directory
from tests.testing.network import Listener, bootstrap, network, node


class FullStore(MemoryStore):
    """Has no room for bindings."""

    def bind(self, *args: Any, **options: Any) -> Deferred[Any]:
        return fail(ConfigurationError("database or disk is full"))


class HangsUp(BootstrapProtocol):
    """Ends every link before anything is asked on it."""

    def peer_ready(self) -> None:
        self.transport.abortConnection()


class Slow(Listener):
    """Handles packets for two seconds."""

    def packet_received(self, packet: DataPacket) -> Deferred[None]:
        super().packet_received(packet)
        handled: Deferred[None] = Deferred()
        self.factory.clock.callLater(2.0, handled.callback, None)
        return handled


class UselessBootstrapTests(SynchronousTestCase):
    def check(self, **options: Any) -> None:
        """A node starts without its bootstrap node, and goes on to dial it ever more slowly."""
        internet = SimulatedInternet(seed=3)
        internet.add_host("alpha").run(lambda host: bootstrap(host, **options))
        one = internet.add_host("one")
        service = node(one)
        started = service.start()
        internet.advance(30.0)
        self.successResultOf(started)
        self.assertFalse(service.status.joined)
        (wanted,) = service.status.bootstraps
        self.assertEqual(wanted.state, "waiting")
        self.assertGreater(wanted.attempts, 3)
        self.assertLess(wanted.attempts, 20)
        internet.advance(570.0)
        (wanted,) = service.status.bootstraps
        self.assertLess(wanted.attempts, 120)
        self.assertEqual(len(self.flushLoggedErrors()), 0)

    def test_full_disk(self) -> None:
        """A bootstrap node that can't bind ids says so on the link."""
        self.check(store=FullStore())

    def test_hangs_up(self) -> None:
        """One that ends links before it has answered."""
        self.check(protocol=HangsUp)


class ElsewhereTests(SynchronousTestCase):
    """Packets to an id, which somebody believes to be elsewhere."""

    def test_wrong_address(self) -> None:
        """Who sends to a wrong address harms nobody who sends to the same id, and is served as well."""
        internet, (one, five, seven) = network(3, seed=1)
        five.crash()
        internet.run_until(lambda: len(one.application.get_peers()) == 1)
        good = one.application.send(five.number, "good")
        mistaken = one.application.send((five.number, seven.address, 8001), "mistaken")
        internet.call_later(1.0, five.restart)
        internet.advance(15.0)
        self.successResultOf(good)
        self.successResultOf(mistaken)
        self.assertEqual(five.disk["received"], ["good", "mistaken"])

    def test_sent_while_parting(self) -> None:
        """A peer that disconnects is reached by who knows its address, also if it is sent to meanwhile."""
        for seed in (0, 1):
            internet = SimulatedInternet(seed=seed)
            internet.add_host("alpha").run(bootstrap)
            one, other = internet.add_hosts(2, "node")
            for host in (one, other):
                host.run(lambda host: node(host, protocol=Slow))
            internet.advance(5.0)
            for a, b in ((one, other), (other, one)):
                _ = a.application.send(b.number, "slow").addErrback(lambda failure: None)
                internet.advance(0.5)
                (link,) = a.application.factory.links()
                link.disconnect()
                internet.advance(0.1)
                self.assertTrue(all(each.is_parting for each in a.application.factory.link_drivers() if each.protocol))
                sent = a.application.send((b.number, b.address, 8001), "next")
                internet.advance(15.0)
                self.successResultOf(sent)
                self.assertEqual(b.disk["received"][-1], "next")

    def test_away(self) -> None:
        """However many peers are away, one that is new is dialed."""
        internet = SimulatedInternet(seed=4)
        internet.add_host("alpha").run(bootstrap)
        fakes = internet.add_hosts(12, "fake")
        one, newcomer = internet.add_hosts(2, "node")
        settings = Settings(max_connections=8, lease_renewal=2.0)
        one.run(lambda host: node(host, settings=settings, advertise=("192.0.2.1", 9)))
        for fake in fakes:
            fake.run(node)
            internet.advance(2.0)
            fake.crash()
        internet.advance(30.0)
        self.assertGreater(len(one.application.status.wanted), 8)
        newcomer.run(node)
        internet.run_until(lambda: newcomer.application.get_peers(), timeout=15.0)


class ClaimTests(SynchronousTestCase):
    """Who claims an id that somebody else has."""

    def test_old_ticket(self) -> None:
        """An ephemeral key that had an id before does not take it from who has it now, by its old ticket."""
        internet = SimulatedInternet(seed=1)
        alpha, former, holder, again = internet.add_host("alpha"), *internet.add_hosts(3, "node")
        alpha.run(bootstrap)
        options: dict[str, Any] = {"node_id": 50, "identity": former.identity(ephemeral=True)}
        former.run(lambda host: node(host, **options))
        internet.run_until(lambda: former.application.status.joined)
        ticket = former.application.factory.local.ticket
        internet.run(former.shutdown())
        holder.run(lambda host: node(host, node_id=50, identity=host.identity(ephemeral=True)))
        internet.run_until(lambda: holder.application.status.joined)

        def showing(host: SimulatedHost) -> Any:
            service = node(host, **options)
            service.factory.show_ticket(ticket)
            return service

        again.run(showing)
        internet.advance(20.0)
        self.assertTrue(holder.application.status.joined)
        self.assertFalse(again.application.status.joined)
        self.assertEqual([peer.host for peer in alpha.application.get_peers()], [holder.address])

    def test_claim_without_a_ticket(self) -> None:
        """Who merely claims the id of a configured peer is not taken for it once the true holder comes."""
        internet = SimulatedInternet(seed=1)
        internet.add_host("alpha").run(bootstrap)
        true, false, one = internet.add_hosts(3, "node")
        true.run(node)
        internet.run_until(lambda: true.application.status.joined)
        true.crash()
        data_dir = new_directory(self)
        one.run(lambda host: node(host, peers=[(true.number, true.address, 8001)], data_dir=data_dir))
        internet.run_until(lambda: one.application.status.joined)
        claims: dict[str, Any] = {"node_id": true.number, "bootstraps": [], "peers": [(one.address, 8001)]}
        false.run(lambda host: node(host, **claims))
        for _ in range(2):
            internet.run_until(lambda: false.application.get_peers())
            internet.advance(1.0)
            false.restart()
        internet.run(false.shutdown())
        true.restart()
        internet.run_until(lambda: one.application.get_peers() and true.application.get_peers(), timeout=30.0)
        (peer,) = one.application.get_peers()
        self.assertEqual(peer.host, true.address)


class UndecidedTests(SynchronousTestCase):
    def test_arbiter_that_never_selects(self) -> None:
        """An attempt has its time, however often the other end, whose choice the link is, opens another connection."""
        internet = SimulatedInternet(seed=1)
        hosts = sorted(internet.add_hosts(2, "node"), key=lambda host: host.identity().fingerprint)
        one, arbiter = hosts
        for host in hosts:
            host.run(lambda host: node(host, bootstraps=[], protocol=PeerProtocol))
        factory = arbiter.application.factory
        with_key = factory.remotes.with_key

        def undecided(fingerprint: bytes, node_id: int) -> Any:
            remote = with_key(fingerprint, node_id)
            remote.proven = lambda driver: None
            return remote

        self.patch(factory.remotes, "with_key", undecided)
        attempt = one.application.factory.connect(TCP4ClientEndpoint(one.reactor, arbiter.address, 8001))
        for _ in range(40):
            _ = factory.connect(TCP4ClientEndpoint(arbiter.reactor, one.address, 8001)).addErrback(lambda failure: None)
            internet.advance(1.0)
        self.failureResultOf(attempt, LinkLost)
