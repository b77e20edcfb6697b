"""A bootstrap node that is known by a name of several machines, on real sockets and with real keys."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IHostnameResolver
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from netlayer.storage.known_peers import read_known_peers
from tests.directories import new_directory
from tests.integration.network import HOST, QUICK, BootstrapMember, NetworkTestCase, until

reactor: Any = _reactor
NAME = "seeds.example"
#: Another address of this machine.
OTHER = "127.0.0.2"


@implementer(IHostnameResolver)
class Resolver:
    """Knows the addresses of one name."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    def resolveHostName(self, receiver: Any, name: str, portNumber: int = 0) -> Any:
        receiver.resolutionBegan(self)
        for address in self.addresses:
            receiver.addressResolved(IPv4Address("TCP", address, portNumber))
        receiver.resolutionComplete()
        return self


class NamesTests(NetworkTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.resolver = Resolver(HOST)
        before = reactor.installNameResolver(self.resolver)
        self.addCleanup(reactor.installNameResolver, before)

    async def test_another_service(self) -> None:
        """A service that says nothing is passed over, and so is another node than the one that was there."""
        bootstrap = await self.bootstrap(identity=self.stored_identity())
        mute = reactor.listenTCP(bootstrap.port, Factory.forProtocol(Protocol), interface=OTHER)
        self.addCleanup(mute.stopListening)
        self.resolver.addresses = OTHER, HOST
        node = self.make(5, (NAME, bootstrap.port))
        started = node.start_node()
        await until(lambda: node.status.joined)
        await started

    async def test_vouched(self) -> None:
        """Another bootstrap node is believed there, also after the node's restart, if the first has vouched for it."""
        home = new_directory(self) / "node"
        port = await self.free_port()
        where = [(host, port) for host in (HOST, OTHER)]
        options: dict[str, Any] = {"bootstraps": where, "reactor": reactor, "settings": QUICK}
        pair = [
            BootstrapMember(number, host, port, identity=self.stored_identity(), **options)
            for number, host in ((1, HOST), (2, OTHER))
        ]
        for each in pair:
            self.addCleanup(each.shutdown)
            await each.start_node()
        await until(lambda: all(each.status.joined for each in pair))
        keys = [each.factory.identity.fingerprint for each in pair]
        node = await self.start(5, (NAME, port), data_dir=home)
        await until(lambda: node.status.joined)
        self.resolver.addresses = (OTHER,)
        await pair[0].shutdown()
        await node.shutdown()
        known = read_known_peers(home / "known_peers")["default"]
        self.assertEqual([key for who, key in known.items() if str(who) == f"{NAME}:{port}"], keys)
        again = await self.start(5, (NAME, port), data_dir=home)
        await until(lambda: again.status.joined)
