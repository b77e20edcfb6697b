"""What becomes of packets that are sent while a connection ends, or on it afterwards."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from netlayer import DataPacket, PeerProtocol
from netlayer.errors import LinkLost, NodeStopped, PeerIdentityMismatch, PeerUnreachable, UnsupportedData
from netlayer.testing import SimulatedInternet
from tests.testing.network import Listener, bootstrap, node


class Keeper(PeerProtocol):
    """Keeps every connection, and what has come."""

    def peer_ready(self) -> None:
        """Keep the connection."""
        self.factory.application.append(self)

    def packet_received(self, packet: DataPacket) -> None:
        """Keep what has come."""
        self.factory.application.append(packet.data)


class ReplacedPeerTests(SynchronousTestCase):
    """A peer with an ephemeral key has stopped; another process comes back with its id."""

    def setUp(self) -> None:
        self.internet = SimulatedInternet()
        self.internet.add_host("alpha").run(bootstrap)
        self.one, self.other = self.internet.add_hosts(2, "node")
        self.one.run(lambda host: self.keeper(host))
        self.other.run(lambda host: self.keeper(host, identity=host.identity(ephemeral=True)))
        self.linked()
        self.former = self.link()
        self.internet.run(self.other.shutdown())
        self.internet.run_until(lambda: not self.one.application.get_peers())

    def keeper(self, host: Any, **options: Any) -> Any:
        service = node(host, protocol=Keeper, **options)
        service.factory.application = []
        return service

    def linked(self) -> None:
        self.internet.run_until(lambda: self.one.application.get_peers() and self.other.application.get_peers())

    def link(self) -> Any:
        (link,) = self.one.application.factory.links()
        return link

    def test_sent_while_nobody_answers(self) -> None:
        """What is sent on it goes to whoever comes with the id, in order with what is sent to the id."""
        self.former.send_packet("first")
        second = self.one.application.send((self.other.number, self.other.address, 8001), "second")
        self.former.send_packet("third")
        self.other.restart()
        self.internet.run(second)
        self.internet.advance(1.0)
        came = [each for each in self.other.application.factory.application if isinstance(each, str)]
        self.assertEqual(came, ["first", "second", "third"])
        self.assertEqual(self.one.application.factory.load.queued, 0)

    def test_nobody_comes(self) -> None:
        """If nobody comes, the sender is told."""
        confirmed = self.former.send_packet("in vain", confirm=True)
        self.former.send_packet("in vain, too")
        self.internet.advance(70.0)
        self.failureResultOf(confirmed)
        self.assertEqual(self.one.application.factory.load.queued, 0)

    def test_sent_when_another_key_answers(self) -> None:
        """Once another key holds the id, a packet for the former peer is refused: it is somebody else by all proofs."""
        self.other.restart()
        self.linked()
        self.assertRaises(PeerIdentityMismatch, self.former.send_packet, "for the former one")
        self.assertEqual(self.one.application.factory.load.queued, 0)
        self.link().send_packet("for the new one")
        self.internet.advance(1.0)
        self.assertIn("for the new one", self.other.application.factory.application)

    def test_what_is_refused_leaves_nothing(self) -> None:
        """A packet that is refused, for what it is or because this node was shut down, is not remembered either."""
        remotes = self.one.application.factory.remotes
        before = len(remotes)
        self.assertRaises(UnsupportedData, self.former.send_packet, object())
        self.assertEqual(len(remotes), before)
        self.internet.run(self.one.shutdown())
        for confirm in (False, True):
            self.assertRaises(NodeStopped, self.former.send_packet, "late", confirm=confirm)
        self.assertEqual(len(remotes), 0)


class Slow(Listener):
    """Takes a second for each packet."""

    def packet_received(self, packet: DataPacket) -> Deferred[None]:
        """Keep what has come, and take a second."""
        super().packet_received(packet)
        over: Deferred[None] = Deferred()
        self.factory.clock.callLater(1.0, over.callback, None)
        return over


class PartingPeerTests(SynchronousTestCase):
    """A peer has said goodbye, and still handles a packet."""

    def setUp(self) -> None:
        self.internet = SimulatedInternet()
        self.internet.add_host("alpha").run(bootstrap)
        self.one, self.other = self.internet.add_hosts(2, "node")
        self.one.run(node)
        self.other.run(lambda host: node(host, protocol=Slow))
        self.internet.run_until(lambda: self.one.application.get_peers() and self.other.application.get_peers())
        (self.link,) = self.one.application.factory.links()
        (driver,) = [each for each in self.one.application.factory.link_drivers() if not each.is_bootstrap]
        self.before = self.one.application.send(self.other.number, "before")
        self.internet.advance(0.1)
        self.stopped = self.other.shutdown()
        self.internet.run_until(lambda: driver.is_parting)

    def test_confirmed(self) -> None:
        """A packet that nobody can send any more fails when the link has ended, not when its time is over."""
        sent = self.one.application.send(self.other.number, "late")
        self.assertNoResult(sent)
        self.internet.run(self.before)
        self.internet.run(self.stopped)
        self.internet.advance(0.5)
        self.assertEqual(self.failureResultOf(sent, PeerUnreachable).value.reason, "goodbye: shutdown")
        self.assertEqual(self.one.application.factory.load.queued, 0)

    def test_sent_by_a_hook(self) -> None:
        """So does one that is sent by the hook of the lost link."""
        sent: list[Deferred[None]] = []

        def peer_lost(reason: LinkLost) -> None:
            sent.append(self.one.application.send(self.other.number, "too late"))

        self.link.peer_lost = peer_lost
        self.internet.run(self.stopped)
        self.internet.advance(0.5)
        self.failureResultOf(sent[0], PeerUnreachable)

    def test_plain(self) -> None:
        """A packet that nobody waits for is there for the peer when that comes back."""
        self.link.send_packet("plain")
        self.internet.run(self.stopped)
        self.other.restart()
        self.internet.run_until(lambda: self.one.application.get_peers())
        self.internet.advance(1.0)
        self.assertIn("plain", self.other.application.factory.application)
