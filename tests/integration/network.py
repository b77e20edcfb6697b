"""Small networks of real nodes on 127.0.0.1, with times short enough to be waited for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import attrs
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from netlayer import BootstrapNode, DataPacket, Identity, Node, PeerFactory, PeerInfo, PeerProtocol, Settings
from netlayer.errors import LinkLost
from netlayer.net.driver import Driver
from tests.directories import new_directory
from tests.integration.stranger import Stranger, turns, until

__all__ = ["HOST", "QUICK", "BootstrapMember", "Member", "NetworkTestCase", "reactor", "settings", "turns", "until"]

HOST = "127.0.0.1"
KIB, MIB = 1024, 1024 * 1024

reactor: Any = global_reactor
E = TypeVar("E", bound=BaseException)

#: Times short enough to be waited for, and long enough for a machine that does other things too.
QUICK = Settings(
    timeout=2.0,
    delivery_timeout=5.0,
    session_timeout=2.0,
    ping_after=0.3,
    dead_after=1.5,
    probe_timeout=0.3,
    goodbye_timeout=2.0,
    abort_after=0.5,
    backoff_first=0.02,
    backoff_cap=0.1,
    backoff_late_cap=0.2,
    refused_wait=0.3,
    lease_grace=0.5,
    lease_renewal=0.2,
    shutdown_timeout=4.0,
)


def settings(**changes: Any) -> Settings:
    """Return the quick settings with some of them changed."""
    return attrs.evolve(QUICK, **changes)


class Member(Node[Any]):
    """A node that keeps what happens to it.

    :ivar packets: what it has handled.
    :ivar hooks: its hooks in the order of their calls, as (name, peer id) pairs.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.packets: list[DataPacket] = []
        self.hooks: list[tuple[str, int]] = []
        self.lost: list[LinkLost] = []

    def handle_data(self, packet: DataPacket) -> Any:
        self.packets.append(packet)

    def peer_joined(self, peer: PeerInfo) -> Any:
        self.hooks.append(("joined", peer.node_id))

    def peer_left(self, peer: PeerInfo, reason: LinkLost) -> Any:
        self.hooks.append(("left", peer.node_id))
        self.lost.append(reason)

    @property
    def factory(self) -> PeerFactory:
        """What its connections share."""
        return self._service.factory

    @property
    def info(self) -> PeerInfo:
        """What others send to."""
        return PeerInfo(self.node_id, self.host, self.port)

    @property
    def data(self) -> list[Any]:
        """What its packets carried."""
        return [packet.data for packet in self.packets]

    @property
    def peer_ids(self) -> set[int]:
        """Who is linked."""
        return {peer.node_id for peer in self.get_peers()}

    def link(self, peer_id: int) -> PeerProtocol:
        """Return the protocol of the link to a peer, which may be a bootstrap node."""
        return next(link for link in self.factory.links() if link.peer.node_id == peer_id)

    def driver(self, peer_id: int) -> Driver:
        """Return the driver of that link."""
        return next(driver for driver in self.factory.link_drivers() if driver.introduction.node_id == peer_id)

    def cut(self, peer_id: int) -> None:
        """Break the connection to a peer."""
        self.driver(peer_id).transport.abortConnection()

    async def kill(self) -> None:
        """Die as a killed process does: nobody is told, connections break, and nothing listens any more."""
        service = self._service
        service._membership.stop()
        await service._listening.close()
        connections = list(self.factory._connections)
        for connection in connections:
            connection.transport.abortConnection()
        await until(lambda: not any(connection in self.factory._connections for connection in connections))


class BootstrapMember(Member, BootstrapNode[Any]):
    """A bootstrap node that keeps what happens to it."""


class NetworkTestCase(TestCase):
    """Makes nodes, stops them at the end, and keeps what they log.

    :ivar events: what netlayer has logged in this test.
    """

    timeout = 20

    def setUp(self) -> None:
        self.events: list[LogEvent] = []
        self._impostors: list[IListeningPort] = []
        globalLogPublisher.addObserver(self._keep)
        self.addCleanup(globalLogPublisher.removeObserver, self._keep)

    def logged(self, level: str, *, node: int | None = None, containing: str = "") -> list[str]:
        """Return the messages of one level."""
        chosen = [event for event in self.events if event["log_level"].name == level]
        texts = [event["log_format"].format(**event) for event in chosen if node in (None, event["node"])]
        return [text for text in texts if containing in text]

    def stored_identity(self) -> Identity:
        """Return an identity that outlives its process."""
        return Identity.in_directory(new_directory(self))

    def make(self, node_id: int | str, *bootstraps: Any, kind: type[Member] = Member, **options: Any) -> Any:
        """Return a node that is not started, and is shut down after the test."""
        options.setdefault("settings", QUICK)
        where = [node if isinstance(node, tuple) else (HOST, node.port) for node in bootstraps]
        node = kind(node_id, HOST, options.pop("port", 0), bootstraps=where, reactor=reactor, **options)
        self.addCleanup(node.shutdown)
        return node

    async def start(self, node_id: int | str, *bootstraps: Any, **options: Any) -> Any:
        """Return a node that has started."""
        node = self.make(node_id, *bootstraps, **options)
        await node.start_node()
        return node

    async def bootstrap(self, node_id: int = 1, *bootstraps: Any, **options: Any) -> Any:
        """Return a bootstrap node that has started."""
        return await self.start(node_id, *bootstraps, kind=BootstrapMember, **options)

    async def network(self, count: int, **options: Any) -> tuple[Any, ...]:
        """Return a bootstrap node, of id 1, and `count` nodes that are all linked to each other."""
        bootstrap = await self.bootstrap()
        nodes = [await self.start(2 + n, bootstrap, **options) for n in range(count)]
        await until(lambda: all(len(node.get_peers()) == count - 1 for node in nodes))
        return bootstrap, *nodes

    async def expect(self, error: type[E], deferred: Deferred[Any]) -> E:
        """Return the error that a Deferred ends with; the test fails if it has another end."""
        try:
            await deferred
        except BaseException as raised:
            if type(raised) is not error:
                raise
            return raised
        raise AssertionError(f"no {error.__name__} was raised")

    async def free_port(self) -> int:
        """Return a port at which nobody listens."""
        port = await TCP4ServerEndpoint(reactor, 0, interface=HOST).listen(Factory())
        number = int(port.getHost().port)
        await port.stopListening()
        return number

    async def listen(self, factory: Factory) -> int:
        """Have a protocol factory listen during the test, and return its port."""
        port: IListeningPort = await TCP4ServerEndpoint(reactor, 0, interface=HOST).listen(factory)
        self.addCleanup(lambda: port.stopListening())
        return int(port.getHost().port)

    async def impostor(
        self, answer: Callable[[Stranger], Any], node_id: int = 98, *, port: int = 0, **options: Any
    ) -> int:
        """Have strangers listen, each of which does what `answer` says as soon as TLS stands; return their port."""
        first = Stranger(node_id, **options)

        def build() -> Stranger:
            stranger = Stranger(node_id, identity=first.identity)
            stranger.secured.addCallback(lambda _: answer(stranger)).addErrback(lambda _: None)
            return stranger

        secured = first.tls.secured(Factory.forProtocol(build), dials=False)
        bound = await TCP4ServerEndpoint(reactor, port, interface=HOST).listen(secured)
        self._impostors.append(bound)
        self.addCleanup(self.silence)
        return int(bound.getHost().port)

    def silence(self) -> Deferred[Any]:
        """Have no stranger listen any more."""
        impostors, self._impostors = self._impostors, []
        return gatherResults([maybeDeferred(port.stopListening) for port in impostors])

    async def linked_stranger(
        self, node: Any, node_id: int = 99, *, said: dict[str, Any] | None = None, **options: Any
    ) -> Stranger:
        """Return a stranger that is linked to a node.

        :param said: changes to its introduction.
        """
        stranger = await self.stranger(node, node_id, **options)
        await stranger.link(**said or {})
        await until(lambda: node_id in node.peer_ids)
        return stranger

    async def stranger(self, node: Any, node_id: int = 99, **options: Any) -> Stranger:
        """Return a stranger that has dialed a node, before it has said anything."""
        stranger = Stranger(node_id, **options)
        endpoint = TCP4ClientEndpoint(reactor, HOST, node if isinstance(node, int) else node.port)
        await endpoint.connect(stranger.tls.secured(Factory.forProtocol(lambda: stranger), dials=True))
        self.addCleanup(stranger.leave)
        await stranger.secured
        return stranger

    def _keep(self, event: LogEvent) -> None:
        if event.get("log_namespace") == "netlayer":
            self.events.append(event)
