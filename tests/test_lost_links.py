"""What becomes of packets that are sent on a connection that was lost, to a peer that comes back as another one."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from netlayer import DataPacket, PeerProtocol
from netlayer.errors import NodeStopped, PeerIdentityMismatch, UnsupportedData
from netlayer.testing import SimulatedInternet
from tests.testing.network import bootstrap, node


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
        return next(link for link in self.one.application.factory.links() if not link.is_bootstrap)

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
