"""A node whose links are all taken."""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.logger import LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from netlayer import PeerFactory, Settings
from netlayer.errors import Rejected
from netlayer.testing import SimulatedHost, SimulatedInternet
from netlayer.wire.messages import MAX_REFERRALS, Reject, RejectCode, encode_message
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
        self.assertEqual(full.application.factory.link_drivers(), [], "their places are kept for them")
        for host in (alpha, friend):
            host.restart()
        internet.advance(60.0)
        self.assertTrue(full.application.status.joined)
        self.assertIn(friend.number, [peer.node_id for peer in full.application.get_peers()])
        self.assertEqual(len(full.application.factory.link_drivers()), 2)

    def test_nobody_parts_in_vain(self) -> None:
        """It parts from nobody for a stranger that it refuses anyway: one whose id another key holds, say."""
        internet = SimulatedInternet(seed=1)
        internet.add_host("alpha").run(bootstrap)
        full, *others = internet.add_hosts(4, "node")
        for host in (full, *others):
            host.run(lambda host: node(host, settings=attrs.evolve(Settings(), max_connections=4)))
        internet.advance(20.0)
        before = full.application.factory.link_drivers()
        self.assertEqual(len(before), 4)
        for number, holder in enumerate(others):
            stranger = internet.add_host(f"stranger-{number}")
            refusals: list[Failure] = []
            factory = PeerFactory(stranger.reactor, node_id=holder.number, identity=stranger.identity())
            attempt = factory.connect(TCP4ClientEndpoint(stranger.reactor, full.address, 8001))
            attempt.addErrback(refusals.append)
            internet.advance(5.0)
            self.assertEqual([failure.value.code for failure in refusals], [RejectCode.ID_TAKEN])
            self.assertEqual(full.application.factory.link_drivers(), before)


class Befriended(PeerFactory):
    """Says that it has three neighbours, so it is nobody whom others have to let in."""

    def neighbour_count(self) -> int:
        return 3


class FullNetworkTests(SynchronousTestCase):
    """Ten nodes, each of which has room for the bootstrap node and three others."""

    most_links = 4

    def setUp(self) -> None:
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        self.internet = SimulatedInternet(seed=5, latency=(0.01, 0.1))
        self.internet.add_host("alpha").run(bootstrap)
        self.hosts = self.internet.add_hosts(10, "node")
        for host in self.hosts:
            host.run(self.node)
        self.internet.advance(60.0)

    def node(self, host: SimulatedHost) -> Any:
        return node(host, settings=attrs.evolve(Settings(), max_connections=self.most_links))

    def logged(self, level: str, text: str = "") -> list[str]:
        told = [event for event in self.events if event["log_level"].name == level]
        return [format for event in told if text in (format := event.get("log_format") or "")]

    def refusal_by(self, host: SimulatedHost, stranger: SimulatedHost, **options: Any) -> Rejected | None:
        """Have somebody dial a node; return how it was refused, or None."""
        refusals: list[Failure] = []
        factory = Befriended(stranger.reactor, node_id=stranger.number, identity=stranger.identity(), **options)
        attempt = factory.connect(TCP4ClientEndpoint(stranger.reactor, host.address, 8001))
        attempt.addCallbacks(lambda link: link.disconnect(), refusals.append)
        self.internet.advance(3.0)
        factory.stop()
        self.internet.advance(10.0)
        error = refusals[0].value if refusals else None
        return error if isinstance(error, Rejected) else None

    def refer(self) -> Rejected:
        """Return the refusal of a stranger by a node that is full."""
        stranger = self.internet.add_host("stranger")
        for _ in range(30):
            for host in self.hosts:
                if len(host.application.factory.link_drivers()) == self.most_links:
                    refusal = self.refusal_by(host, stranger)
                    if refusal is not None:
                        self.referrer = host
                        return refusal
            self.internet.advance(1.0)
        raise AssertionError("nobody was full")

    def test_referrals(self) -> None:
        """Who is refused is told of others that it can dial, and of none twice."""
        refusal = self.refer()
        self.assertEqual(refusal.code, RejectCode.FULL)
        ids = [referral.node_id for referral in refusal.referrals]
        self.assertEqual(len(ids), MAX_REFERRALS)
        self.assertEqual(len(set(ids)), MAX_REFERRALS)
        self.assertLess(set(ids), {host.number for host in self.hosts} - {self.referrer.number})
        where = {host.number: host.address for host in self.hosts}
        for referral in refusal.referrals:
            self.assertEqual([(a.host, a.port) for a in referral.addresses], [(where[referral.node_id], 8001)])
        self.assertLessEqual(len(encode_message(Reject(refusal.code, refusal.text, None, refusal.referrals))), 4096)

    def test_asks_to_be_let_in(self) -> None:
        """A node that knows one full node alone is linked by it, and nobody is left without a neighbour."""
        full = next(host for host in self.hosts if len(host.application.factory.link_drivers()) == self.most_links)
        newcomer = self.internet.add_host("newcomer")
        newcomer.run(lambda host: node(host, bootstraps=[], peers=[(full.number, full.address, 8001)]))
        self.internet.run_until(lambda: newcomer.application.get_peers(), 10.0)
        self.assertEqual([peer.node_id for peer in newcomer.application.get_peers()], [full.number])
        self.internet.advance(20.0)
        self.assertTrue(all(host.application.get_peers() for host in self.hosts))

    def test_packets(self) -> None:
        """Whoever is sent to while links come and go has every packet once, and every send ends well."""
        outcomes: Counter[str] = Counter()
        numbers = iter(range(10**6))

        def send(host: SimulatedHost) -> None:
            if self.internet.now > 280.0:
                return
            for peer in host.application.get_peers():
                sent = host.application.send(peer.node_id, next(numbers))
                sent.addCallbacks(lambda _: outcomes.update(["sent"]), lambda failure: outcomes.update([str(failure)]))
            self.internet.call_later(self.internet.rng.uniform(0.0, 2.0), send, host)

        for host in self.hosts:
            send(host)
        self.internet.advance(300.0)
        self.assertGreater(len(self.logged("info", "lost: {reason}")), 20, "links have come and gone")
        self.assertEqual(list(outcomes), ["sent"])
        received = Counter(number for host in self.hosts for number in host.disk["received"])
        self.assertEqual((len(received), max(received.values())), (outcomes["sent"], 1))

    def test_peace(self) -> None:
        """In an hour without faults a node dials now and then, and has said once that not everybody fits."""
        self.assertEqual(len(self.logged("warn", "full: linked to")), len(self.hosts))
        linked = len(self.logged("info", "linked at"))
        self.internet.advance(3600.0)
        self.assertEqual(len(self.logged("warn", "full: linked to")), len(self.hosts))
        self.assertLess(len(self.logged("warn")), len(self.hosts) * 2)
        self.assertEqual(self.logged("error"), [])
        changes = (len(self.logged("info", "linked at")) - linked) / len(self.hosts)
        self.assertLess(changes, 3600 / 10.0)
        for host in self.hosts:
            room = host.application.status.room
            self.assertEqual((room.linked, room.known), (len(host.application.get_peers()), len(self.hosts) - 1))
