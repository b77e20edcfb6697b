"""What a protocol of the application shares with what works below it: nothing but documented names."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import ClientFactory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from netlayer import DataPacket, PeerProtocol
from netlayer.errors import LinkLost, LocalProtocolError
from netlayer.testing import SimulatedInternet
from tests.testing.network import bootstrap, node

#: What a subclass must not use for its own, besides the names of Twisted's Protocol.
DOCUMENTED = {
    "disconnect",
    "handler_name",
    "is_bootstrap",
    "link",
    "packet_received",
    "peer",
    "peer_lost",
    "peer_ready",
    "send_packet",
    "sending_paused",
    "sending_resumed",
    "when_drained",
    "with_bootstraps",
}

#: Names that are used below, or that applications are likely to use.
TEMPTING = {
    "_alarm",
    "_attempt",
    "_clock",
    "_connection",
    "_drivers",
    "_events",
    "_link",
    "_node",
    "_peer",
    "_protocol",
}
TEMPTING |= {"_ready", "_remote", "accept", "address", "application", "clock", "connection", "delivery", "driver"}
TEMPTING |= {"fingerprint", "node", "node_id", "number", "queued", "record", "refusal", "settings", "since", "state"}


class Greedy(PeerProtocol):
    """Has attributes of many names."""

    def __init__(self) -> None:
        for name in TEMPTING:
            setattr(self, name, "mine")

    def peer_ready(self) -> None:
        for name in TEMPTING:
            setattr(self, name, "mine")

    def packet_received(self, packet: DataPacket) -> None:
        self.factory.application.append(packet.data)


class Counted(PeerProtocol):
    """Counts how many of them are built."""

    built = 0

    def __init__(self) -> None:
        Counted.built += 1


class Chatter(Protocol):
    """Says one byte."""

    def connectionMade(self) -> None:
        self.transport.write(b"x")


class CompositionTests(SynchronousTestCase):
    def test_names(self) -> None:
        """A subclass inherits the documented names, and nothing private."""
        own = {name for name in dir(PeerProtocol) if name not in dir(Protocol) and not name.startswith("__")}
        self.assertEqual(own, DOCUMENTED)
        self.assertLessEqual(len(own), 20)

    def test_any_attribute(self) -> None:
        """Whatever other attributes it sets, its links stand and carry packets."""
        internet = SimulatedInternet(seed=1)
        internet.add_host("alpha").run(bootstrap)
        one, other = internet.add_hosts(2, "node")
        for host in (one, other):
            host.run(lambda host: node(host, protocol=Greedy))
            host.application.factory.application = []
        internet.run_until(lambda: one.application.get_peers() and other.application.get_peers())
        internet.run(one.application.send(other.number, "hello"))
        self.assertEqual(other.application.factory.application, ["hello"])
        (protocol,) = one.application.factory.links()
        confirmed = protocol.send_packet("again", confirm=True)
        internet.run(confirmed)
        internet.advance(60.0)
        self.assertEqual(one.application.factory.links(), [protocol])

    def test_strangers(self) -> None:
        """Nobody who has proven nothing has one built."""
        Counted.built = 0
        internet = SimulatedInternet(seed=1)
        internet.add_host("alpha").run(bootstrap)
        one, stranger = internet.add_hosts(2, "node")
        one.run(lambda host: node(host, protocol=Counted))
        stranger.run(lambda host: node(host, bootstraps=[]))
        internet.advance(1.0)
        for _ in range(100):
            stranger.reactor.connectTCP(one.address, 8001, ClientFactory.forProtocol(Chatter))
        internet.advance(10.0)
        self.assertEqual(Counted.built, 0, "the link to the bootstrap node has none either")

    def test_link(self) -> None:
        """The link tells what is known of the peer; it is the transport, too."""
        internet = SimulatedInternet(seed=1)
        internet.add_host("alpha").run(bootstrap)
        one, other = internet.add_hosts(2, "node")
        for host in (one, other):
            host.run(node)
        internet.run_until(lambda: one.application.get_peers() and other.application.get_peers())
        internet.advance(30.0)
        (protocol,) = one.application.factory.links()
        link: Any = protocol.link
        self.assertIs(protocol.transport, link)
        self.assertEqual((link.peer, link.fingerprint), (protocol.peer, other.identity().fingerprint))
        self.assertTrue(link.is_up and not link.is_bootstrap and 29.0 < link.since < 31.0 and link.round_trip > 0.0)
        self.assertEqual((link.queued, link.getPeer().host), (0, other.address))
        link.write(b"bytes")
        internet.advance(1.0)
        self.assertEqual(other.disk["received"][-1], b"bytes")
        lost: list[LinkLost] = []
        protocol.peer_lost = lost.append  # type: ignore[method-assign]
        link.loseConnection()
        internet.advance(0.5)
        self.assertFalse(link.is_up)
        self.assertEqual([each.goodbye for each in lost], ["disconnect"])

    def test_without_a_link(self) -> None:
        """One that no factory has built refuses its commands."""
        protocol = PeerProtocol()
        for command in (lambda: protocol.send_packet("x"), protocol.when_drained, protocol.disconnect):
            self.assertRaises(LocalProtocolError, command)
