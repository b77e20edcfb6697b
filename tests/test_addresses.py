"""Ids and addresses are read from whatever people write, and what is none is told so in words."""

from __future__ import annotations

import socket
from typing import Any

import msgspec
from twisted.internet.endpoints import serverFromString
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase

from netlayer.addresses import (
    MAX_NODE_ID,
    Address,
    PeerInfo,
    believed,
    carried,
    endpoint_host,
    is_link_local,
    is_loopback,
    parse_address,
    parse_node_id,
    parse_peer,
    unmapped,
)
from netlayer.errors import ConfigurationError, DeliveryError, InvalidPeer
from netlayer.wire.messages import NetAddress


class Id(int):
    """An int of somebody's own."""


class Evil:
    """Has a repr that fails."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


WRONG_IDS: list[Any] = [
    -1, 2**63, 10**5000, True, False, None, 1.0, "", "-1", "+1", " 1", "1 ", "1\n", "0x1", "1_0", "1.0", "x", "٣",
    str(2**63), "0" * 20, b"1", [1], Id(1), Evil(),
]  # fmt: skip


class NodeIdTests(SynchronousTestCase):
    def test_ids(self) -> None:
        """An id is an int or its decimal digits."""
        for value, number in [
            (0, 0),
            ("0", 0),
            (7, 7),
            ("7", 7),
            ("007", 7),
            (MAX_NODE_ID, MAX_NODE_ID),
            ("9223372036854775807", MAX_NODE_ID),
        ]:
            found = parse_node_id(value)
            self.assertEqual(found, number)
            self.assertIs(type(found), int)

    def test_no_ids(self) -> None:
        """Everything else is refused, with the range and what was given."""
        for value in WRONG_IDS:
            error = self.assertRaises(ConfigurationError, parse_node_id, value)
            self.assertIn("a node id is a whole number from 0 to 9223372036854775807, not ", str(error))
            self.assertTrue(str(error).isprintable())
        self.assertIn("not '1\\n'", str(self.assertRaises(ConfigurationError, parse_node_id, "1\n")))


class AddressTests(SynchronousTestCase):
    def test_pairs(self) -> None:
        """An address is a host and a port, in any sequence; the port may be text."""
        for value in (("192.0.2.7", 8001), ["192.0.2.7", "8001"], Address("192.0.2.7", 8001)):
            found = parse_address(value)
            self.assertEqual(found, Address("192.0.2.7", 8001))
            self.assertIs(type(found), Address)
        for host in ("localhost", "::1", "fe80::1%eth0", "xn--bcher-kva.example", "a", "h" * 253):
            for port in (1, 65535):
                self.assertEqual(parse_address((host, port)), (host, port))

    def test_free_port(self) -> None:
        """Port 0 means any free one: for listening only."""
        self.assertEqual(parse_address(("127.0.0.1", 0), free_port=True).port, 0)
        self.assertEqual(parse_address(("127.0.0.1", "0"), free_port=True).port, 0)
        error = self.assertRaises(ConfigurationError, parse_address, ("127.0.0.1", 0))
        self.assertEqual(str(error), "a port is a whole number from 1 to 65535, not 0")
        error = self.assertRaises(ConfigurationError, parse_address, ("127.0.0.1", -1), free_port=True)
        self.assertEqual(str(error), "a port is a whole number from 0 to 65535, not -1")

    def test_no_pairs(self) -> None:
        """What is no pair is refused."""
        for value in (
            None,
            1,
            "ab",
            b"ab",
            "localhost:8000",
            (),
            ("a",),
            ("a", 1, 2),
            {"a", 1},
            {"a": 1, "b": 2},
            Evil(),
        ):
            error = self.assertRaises(ConfigurationError, parse_address, value)
            self.assertIn("an address is a (host, port) pair, not ", str(error))

    def test_no_hosts(self) -> None:
        """A host that can't be one is refused; it could only be dialed in vain, or fool a log."""
        for host in (
            "",
            " ",
            "a b",
            "a\n",
            "\ta",
            "a\0",
            "bücher.example",
            "a\u202e",
            "\ud800",
            "h" * 254,
            "localhost:8000",
            "tcp:localhost",
            "tcp:localhost:8000",
            "127.0.0.1:8000",
            "[::1]",
            "::1::2",
            None,
            1,
            b"a",
        ):
            error = self.assertRaises(ConfigurationError, parse_address, (host, 1))
            self.assertIn("a host is a name, in ASCII, or an IP address, not ", str(error))
            self.assertTrue(str(error).isprintable())

    def test_no_ports(self) -> None:
        """A port that can't be one is refused."""
        for port in (
            0,
            -1,
            65536,
            10**5000,
            "",
            "0",
            "65536",
            "-1",
            "+1",
            " 1",
            "1.0",
            "٣",
            "000001",
            1.0,
            True,
            None,
            b"1",
        ):
            error = self.assertRaises(ConfigurationError, parse_address, ("localhost", port))
            self.assertIn("a port is a whole number from 1 to 65535, not ", str(error))

    def test_every_address_can_travel(self) -> None:
        """What is accepted here is accepted by every peer that is told of it."""
        for host in ("localhost", "fe80::1%eth0", "~!", "h" * 253):
            address = parse_address((host, 65535))
            sent = msgspec.msgpack.encode(NetAddress(*address))
            self.assertEqual(msgspec.msgpack.decode(sent, type=NetAddress), NetAddress(host, 65535))

    def test_str(self) -> None:
        """An address is shown as people write it."""
        self.assertEqual(str(Address("192.0.2.7", 8001)), "192.0.2.7:8001")
        self.assertEqual(str(Address("node.example", 1)), "node.example:1")
        self.assertEqual(str(Address("2001:db8::1", 8001)), "[2001:db8::1]:8001")


class PeerTests(SynchronousTestCase):
    def test_peers(self) -> None:
        """A peer is a tuple of id, host and port, or an id alone; ids and ports may be text."""
        address = Address("192.0.2.7", 8001)
        for peer, found in [
            ((7, "192.0.2.7", 8001), (7, address)),
            (("7", "192.0.2.7", "8001"), (7, address)),
            ([7, "192.0.2.7", 8001], (7, address)),
            (PeerInfo(7, "192.0.2.7", 8001), (7, address)),
            (7, (7, None)),
            ("7", (7, None)),
            (0, (0, None)),
        ]:
            self.assertEqual(parse_peer(peer), found)

    def test_no_peers(self) -> None:
        """Everything else is refused where packets are sent, as an error of delivery that shows what was given."""
        wrong: list[Any] = [
            *WRONG_IDS,
            (),
            (7,),
            (7, "localhost"),
            (7, "localhost", 1, 2),
            (7, "localhost", 0),
            (7, "", 1),
            (7, None, 1),
            ("x", "localhost", 1),
            (True, "localhost", 1),
            (10**5000, "localhost", 1),
            b"abc",
            bytearray(b"abc"),
            range(3),
            {7: 1},
            Address("localhost", 1),
        ]
        for peer in wrong:
            error = self.assertRaises(InvalidPeer, parse_peer, peer)
            self.assertIs(error.peer, peer)
            self.assertIsInstance(error, DeliveryError)
            self.assertIn(" is not a peer to send to: ", str(error))

    def test_reason(self) -> None:
        """The error says which part is wrong."""
        for peer, reason in [
            ((7, "localhost"), "give an id or a (peer_id, host, port) tuple"),
            (("x", "localhost", 1), "a node id is a whole number from 0 to 9223372036854775807, not 'x'"),
            ((7, "", 1), "a host is a name, in ASCII, or an IP address, not ''"),
            ((7, "localhost", 0), "a port is a whole number from 1 to 65535, not 0"),
        ]:
            self.assertEqual(self.assertRaises(InvalidPeer, parse_peer, peer).reason, reason)

    def test_peer_info_is_a_tuple(self) -> None:
        """Code that compares and unpacks plain tuples goes on to work."""
        info = PeerInfo(7, "192.0.2.7", 8001)
        self.assertEqual(info, (7, "192.0.2.7", 8001))
        self.assertEqual((info.node_id, info.host, info.port), tuple(info))


class LoopbackTests(SynchronousTestCase):
    def test_loopback(self) -> None:
        """Literal loopback addresses are recognized in every form, and so is the one name that means them."""
        for host in ("localhost", "127.0.0.1", "127.255.255.254", "::1", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1"):
            self.assertTrue(is_loopback(host), host)

    def test_others(self) -> None:
        """Anything that others could reach, or that only a resolver understands, is no loopback address."""
        for host in (
            "", "0.0.0.0", "::", "128.0.0.1", "126.255.255.255", "::2", "::ffff:192.0.2.7", "10.0.0.1", "127.1",
            "localhost.example", "127.0.0.1.example", "example", " 127.0.0.1", "127.0.0.1 ", "2130706433",
        ):  # fmt: skip
            self.assertFalse(is_loopback(host), host)


class CarriedTests(SynchronousTestCase):
    def carried(self, host: str, *, local: bool) -> bool:
        """Whether an address with that host is told and believed on a link."""
        return carried([Address(host, 8000)], local=local) == (Address(host, 8000),)

    def test_home(self) -> None:
        """On a link to another machine nothing is told that leads whoever dials it to itself, however it is written."""
        for host in (
            "localhost", "LocalHost", "localhost.", "any.localhost", "127.0.0.1", "127.9.9.9", "127.1", "127.0.1",
            "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "0", "0.0.0.0", "0x0", "::1", "::", "0:0::0:1",
            "::ffff:127.0.0.1", "::ffff:0.0.0.0", "::ffff:7f00:1",
        ):  # fmt: skip
            self.assertFalse(self.carried(host, local=False), host)
            self.assertTrue(self.carried(host, local=True), host)

    def test_away(self) -> None:
        """Everything else is told: other addresses, and names, which nobody resolves for that."""
        for host in (
            "192.0.2.7", "10.0.0.1", "2001:db8::1", "::ffff:192.0.2.7", "1", "128.1", "3221225985", "127.p.2.7",
            "127.0.0.1.example", "localhost.example", "notlocalhost", "a:b", "xn--bcher-kva.example",
        ):  # fmt: skip
            self.assertTrue(self.carried(host, local=False), host)


class LinkLocalTests(SynchronousTestCase):
    """Addresses that mean something on one network segment, told and believed over each kind of link."""

    V4 = ("169.254.3.4", "::ffff:169.254.3.4", "169.254.772", "0xa9fe0304", "2851996420")
    V6 = ("fe80::1", "fe80::1%7", "FE80::1%7", "febf::1%7")

    def told(self, *hosts: str, zone: str | None = None, local: bool = False) -> list[str]:
        """Return the hosts that are told over a link."""
        addresses = carried([Address(host, 8000) for host in hosts], local=local, zone=zone)
        self.assertEqual({address.port for address in addresses} - {8000}, set())
        return [address.host for address in addresses]

    def believed(self, *hosts: str, zone: str | None = None, local: bool = False) -> list[str]:
        """Return the hosts that are believed when they were told over a link, as they are dialed."""
        addresses = believed([NetAddress(host, 8000) for host in hosts], local=local, zone=zone)
        return [address.host for address in addresses]

    def test_kinds(self) -> None:
        """Link-local addresses are recognized in every form."""
        for host in (*self.V4, *self.V6):
            self.assertTrue(is_link_local(host), host)
        for host in ("169.253.3.4", "fec0::1", "fe80", "fe80::1.example", "::1", "10.0.0.1", "[fe80::1]", ""):
            self.assertFalse(is_link_local(host), host)

    def test_other_links(self) -> None:
        """Over a link that is not link-local they are neither told nor believed, whatever stands beside them."""
        for host in (*self.V4, *self.V6):
            self.assertEqual(self.told(host), [], host)
            self.assertEqual(self.believed(host), [], host)
            self.assertEqual(self.told("192.0.2.7", host, "2001:db8::1"), ["192.0.2.7", "2001:db8::1"])
            self.assertEqual(self.believed("192.0.2.7", host, "2001:db8::1"), ["192.0.2.7", "2001:db8::1"])

    def test_own_segment(self) -> None:
        """Over a link of their segment they are told without their zone, and believed with that of the link."""
        self.assertEqual(self.told("fe80::1%7", "fe80::2", zone="7"), ["fe80::1", "fe80::2"])
        for host in ("fe80::1", "fe80::1%7", "fe80::1%eth9", "fe80::1%99"):
            self.assertEqual(self.believed(host, zone="7"), ["fe80::1%7"])
        for host in self.V4:
            for zone in ("", "7"):
                self.assertEqual(self.told(host, zone=zone), [host])
                self.assertEqual(self.believed(host, zone=zone), [host])

    def test_another_segment(self) -> None:
        """Over a link of another segment, or of one that has no zone, those with a zone are not told."""
        for zone in ("8", ""):
            self.assertEqual(self.told("fe80::1%7", zone=zone), [])
        self.assertEqual(self.believed("fe80::1%7", zone=""), [], "nobody could dial it")

    def test_names_of_zones(self) -> None:
        """A zone is given by the name or by the number of an interface."""
        number, name = socket.if_nameindex()[0]
        self.assertEqual(self.told(f"fe80::1%{name}", zone=str(number)), ["fe80::1"])
        self.assertEqual(self.told("fe80::1%no-such-interface", zone=str(number)), [])

    def test_zones_do_not_travel(self) -> None:
        """A zone leaves no machine, whichever kind of address it stands at; loopback addresses don't, either."""
        for zone in (None, "", "7"):
            self.assertEqual(self.told("2001:db8::1%eth0", zone=zone), ["2001:db8::1"])
            self.assertEqual(self.believed("2001:db8::1%eth0", zone=zone), ["2001:db8::1"])
            self.assertEqual(self.told("::1%lo", "127.0.0.1", zone=zone), [])
            self.assertEqual(self.believed("::1%lo", "127.0.0.1", zone=zone), [])

    def test_same_machine(self) -> None:
        """On a link that stays on the machine every address means the same at both ends."""
        hosts = [*self.V4, *self.V6, "127.0.0.1", "192.0.2.7"]
        self.assertEqual(self.told(*hosts, local=True), hosts)
        self.assertEqual(self.believed(*hosts, local=True), hosts)


class UnmappedTests(SynchronousTestCase):
    def test_mapped(self) -> None:
        """A socket for both IPv4 and IPv6 tells of IPv4 addresses as of mapped ones; others dial the IPv4 address."""
        for host, told in [
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("::FFFF:c000:207", "192.0.2.7"),
            ("192.0.2.7", "192.0.2.7"),
            ("2001:db8::1", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1%eth0"),
            ("::ffff", "::ffff"),
        ]:
            self.assertEqual(unmapped(host), told)


class EndpointHostTests(SynchronousTestCase):
    def test_same_as_twisted(self) -> None:
        """The host is the one that Twisted listens on: whether a node is open to others depends on it."""
        for description in (
            "tcp:8000",
            "tcp:port=8000",
            "tcp:8000:interface=127.0.0.1",
            "tcp:interface=127.0.0.1:port=8000",
            "tcp:8000:127.0.0.1",
            "tcp:8000:127.0.0.1:10",
            "tcp:8000:backlog=10",
            "tcp:8000:interface=127.0.0.1:backlog=10",
            "tcp:8000:interface=localhost",
            "tcp:8000:interface=0.0.0.0",
            r"tcp6:8000:interface=\:\:1",
            r"tcp6:8000:interface=fe80\:\:1%eth0",
        ):
            reactor = MemoryReactor()
            self.successResultOf(serverFromString(reactor, description).listen(None))
            self.assertEqual(endpoint_host(description), reactor.tcpServers[0][3] or "", description)

    def test_unknown(self) -> None:
        """Of other kinds of endpoints only binding tells."""
        for description in ("systemd:domain=INET:index=0", "unix:/run/x", "ssl:443", "", "127.0.0.1", "x"):
            self.assertIsNone(endpoint_host(description), description)
