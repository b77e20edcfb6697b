"""What all connections of one node share: the factory that listens, dials, accepts and refuses."""

from __future__ import annotations

import inspect
import itertools
import random
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, cast

import attrs
import msgspec
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IListeningPort,
    IReactorTime,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from netlayer.addresses import PeerInfo, believed, carried, is_loopback, parse_node_id
from netlayer.app.handlers import Handlers
from netlayer.config import Settings
from netlayer.errors import (
    ConfigurationError,
    LinkLost,
    NodeStopped,
    Rejected,
    RemoteProtocolError,
    described,
)
from netlayer.interfaces import IIdentity
from netlayer.log import NodeLog
from netlayer.net.acceptor import Acceptor
from netlayer.net.attempt import Attempt
from netlayer.net.broadcasting import send_to_all
from netlayer.net.claims import Claims
from netlayer.net.driver import Driver
from netlayer.net.forks import close_inherited, refused_in_child, require_own_reactor, watch_forks
from netlayer.net.gate import Gate
from netlayer.net.link import Link
from netlayer.net.lookups import FewLookups
from netlayer.net.named import NameEndpoint
from netlayer.net.remote import Remote
from netlayer.net.remotes import Remotes
from netlayer.net.strangers import Strangers
from netlayer.net.waiters import Waiters
from netlayer.peer import PeerProtocol
from netlayer.sansio.bootstrap.registry import REPLACED
from netlayer.sansio.delivery.load import NodeLoad, SharedPayload
from netlayer.sansio.delivery.packet import OutgoingPacket
from netlayer.sansio.delivery.pauses import Pauses
from netlayer.sansio.delivery.timeouts import Until, Wait
from netlayer.sansio.link.handshake import LocalNode
from netlayer.sansio.link.selection import CLONE_RETRY
from netlayer.sansio.link.states import State
from netlayer.sansio.trust.tickets import Claim
from netlayer.storage.admission import Admission
from netlayer.storage.identity import Identity
from netlayer.storage.known_peers import KnownPeers
from netlayer.wire.messages import (
    DATA_HEADER_SIZE,
    MIN_MAX_FRAME,
    Flag,
    NetAddress,
    Peers,
    Record,
    Referral,
    Register,
    Registered,
    Reject,
    RejectCode,
    Role,
    Ticket,
)
from netlayer.wire.payload import encode_value

__all__ = ["LinkObserver", "PeerFactory"]

AGENT = "netlayer"


class LinkObserver:
    """What a factory tells whoever runs the node; the methods do nothing until they are overridden."""

    def link_ready(self, protocol: Driver) -> None:
        """A link stands; the application's :meth:`PeerProtocol.peer_ready` is called next."""

    def link_lost(self, protocol: Driver, reason: LinkLost) -> None:
        """A link is gone; the application's :meth:`PeerProtocol.peer_lost` was called."""

    def packets_wait(self, remote: Remote) -> None:
        """Somebody sends to a peer that has no link."""

    def is_dialed(self, remote: Remote) -> bool:
        """Tell whether the node goes on dialing a peer that has no link."""
        return False

    def is_configured(self, protocol: Driver) -> bool:
        """Tell whether a connection leads to a bootstrap node or a peer of the node's configuration."""
        return False

    def has_no_room(self, protocol: Driver) -> None:
        """A peer is going to be refused for lack of room."""

    def news_received(self, protocol: Driver, news: Registered | Peers) -> None:
        """A bootstrap node has sent records."""

    def reserved(self) -> int:
        """Return how many places are kept for the nodes of the configuration."""
        return 0

    def refused(self, protocol: Driver, reason: Rejected) -> None:
        """The other end of a connection has refused this node."""

    def make_room(self, protocol: Driver) -> Driver | None:
        """Part from somebody so that a connection can become a link; return whose link ends, or None if none does."""
        return None

    def referrals(self, protocol: Driver) -> tuple[Referral, ...]:
        """Return whom somebody is referred to that this node has no room for."""
        return ()


class PeerFactory(Factory):
    """What all connections of one node share. Build it once; it listens and dials.

    :param reactor: whatever provides IReactorTime.
    :param node_id: an int or a decimal string.
    :param identity: by default a new ephemeral one.
    :param network: only nodes of the same network link to each other: 1 to 64 printable characters.
    :param settings: limits and times; see :class:`~netlayer.Settings`.
    :param admission: who may link; by default everybody who can connect.
    :param protocol: the subclass of :class:`PeerProtocol` to build for each link, without arguments.
    :param rng: where jitter and stream ids come from; by default the operating system's.
    :param observer: is told of links; see :class:`~netlayer.net.factory.LinkObserver`.
    :param known_peers: the file of the keys that the node has met; whoever starts the factory loads it.
    :raises ConfigurationError: when a value makes no sense.

    :ivar application: free for the application, which finds it as ``self.factory.application`` in its protocols.
    :ivar local: what this node says about itself.
    :ivar security: what secures its connections.
    :ivar log: the logger of this node.
    :ivar handlers: runs what its application has written.
    :ivar claims: who may have which id.
    :ivar load: what its queues and handlers take.
    :ivar remotes: the peers that it has something to do with.
    :ivar stopping: whether :meth:`stop` was called.
    """

    role: Role = "peer"
    noisy = False
    #: What a second key for a linked id is told; a mere peer may be wrong about ids, so it says "later".
    id_taken_retry: float | None = CLONE_RETRY

    def __init__(
        self,
        reactor: IReactorTime,
        *,
        node_id: int | str,
        identity: IIdentity | None = None,
        network: str = "default",
        settings: Settings | None = None,
        admission: Admission | None = None,
        protocol: type[PeerProtocol] = PeerProtocol,
        rng: random.Random | None = None,
        observer: LinkObserver | None = None,
        known_peers: Path | None = None,
    ) -> None:
        if not isinstance(network, str) or not 1 <= len(network) <= 64 or not network.isprintable():
            raise ConfigurationError(f"a network is named by 1 to 64 printable characters, not {described(network)}")
        if not (isinstance(protocol, type) and issubclass(protocol, PeerProtocol)):
            raise ConfigurationError(f"the protocol has to be a subclass of PeerProtocol, not {described(protocol)}")
        _require_constructible(protocol)
        self.protocol = protocol
        self.clock = reactor  # what protocols need of it
        self.reactor = reactor  # what endpoints need of it
        self.hearsay_reactor: Any = FewLookups(reactor)  # likewise, where others have told of an address
        self.identity: IIdentity = identity if identity is not None else Identity.generate()
        self.settings = settings if settings is not None else Settings()
        self.rng: random.Random = rng if rng is not None else random.SystemRandom()
        self.application: Any = None
        self.load = NodeLoad()
        self._pauses = Pauses(self.load, limit=self.settings.node_queue_limit // 2)
        self.observer = observer if observer is not None else LinkObserver()
        self.admission = admission if admission is not None else Admission()
        self.local = LocalNode(
            network=network,
            node_id=parse_node_id(node_id),
            fingerprint=self.identity.fingerprint,
            role=self.role,
            boot=self.rng.getrandbits(64),
            ephemeral=self.identity.ephemeral,
            window=self.settings.window,
            max_frame=max(MIN_MAX_FRAME, self.settings.buffer_size + 1 + DATA_HEADER_SIZE),
            max_packet=self.settings.max_packet,
            agent=AGENT,
            secrets=self.admission.secrets,
        )
        self.log = NodeLog(self.local.node_id)
        self.claims = Claims(
            reactor,
            network=network,
            node_id=self.local.node_id,
            identity=self.identity,
            known_peers=KnownPeers(known_peers, network=network, clock=reactor, log=self.log),
        )
        self.security = self.identity.security(reactor)
        self.handlers = Handlers(reactor, self.log, load=self.load, blocking=self.settings.blocking_handler)
        self._connections: dict[Driver, None] = {}  # ordered by age
        self._numbers = itertools.count(1)  # of connections
        self._strangers = Strangers(self.local.node_id, self.settings, reactor)
        self._gate = Gate(self, self._strangers)
        self.remotes = Remotes(self._new_remote)
        self._attempts: dict[Attempt, None] = {}  # that are under way, by age
        self.stopping = False
        self._is_over = False
        self._waiting = Waiters()  # for the end
        self._stop_timer: IDelayedCall | None = None
        watch_forks(self, reactor)

    # ---- commands

    def listen(self, endpoint: IStreamServerEndpoint) -> Deferred[IListeningPort]:
        """Accept connections, over TLS, at an endpoint.

        :returns: fires with the listening port, or fails as the endpoint does.
        """
        if (refused := refused_in_child(self.reactor)) is not None:
            return refused
        listening: Deferred[IListeningPort] = endpoint.listen(Acceptor(self, self._strangers))
        return listening

    def show_ticket(self, ticket: Ticket) -> None:
        """Support this node's claim to its id by a ticket from now on."""
        self.local = attrs.evolve(self.local, ticket=ticket)

    def announce(self, addresses: tuple[NetAddress, ...]) -> None:
        """Say from now on that this node listens at `addresses`."""
        self.local = attrs.evolve(self.local, addresses=addresses)

    def local_on(self, protocol: Driver) -> LocalNode:
        """Return what this node says about itself on a connection."""
        addresses = carried(self.local.addresses, local=protocol.is_local, zone=protocol.zone)
        return attrs.evolve(self.local, addresses=addresses, links=self.neighbour_count())

    def dialable(self, record: Record, source: Driver) -> Record:
        """Return a record with those of its addresses that this node dials on the word of `source`.

        On others' machines loopback addresses mean others, and link-local ones mean others on other segments. Without
        an admission rule nobody beyond this machine is dialed on hearsay.
        """
        addresses = believed(record.addresses, local=source.is_local, zone=source.zone)
        if self.admission.is_open:
            addresses = tuple(address for address in addresses if is_loopback(address.host))
        return msgspec.structs.replace(record, addresses=addresses)

    def connect(
        self,
        endpoint: IStreamClientEndpoint,
        *,
        expected_id: int | None = None,
        expected_fingerprints: Collection[bytes] = (),
    ) -> Deferred[PeerProtocol | None]:
        """Dial an endpoint, over TLS.

        :param expected_id: the node id that has to answer, if one was meant.
        :param expected_fingerprints: the keys of which one has to answer; any may if there are none.
        :returns: fires with the protocol of the link to the peer, which may stand on another connection if the peer has
            dialed us meanwhile; with None if a bootstrap node answers and the protocol's class asks for no such links.
            Fails after ``timeout``, for connecting and for the handshake each. Cancelling it gives up, unless the link
            stands already.
        """
        dialed = self.dial(endpoint, expected_id=expected_id, expected_fingerprints=expected_fingerprints)
        return dialed.addCallback(lambda driver: driver.protocol)

    def dial(
        self,
        endpoint: IStreamClientEndpoint,
        *,
        expected_id: int | None = None,
        expected_fingerprints: Collection[bytes] = (),
        connected: Callable[[], None] = lambda: None,
    ) -> Deferred[Driver]:
        """Dial an endpoint; parameters as in :meth:`connect`.

        :param connected: is called when a connection stands, before its handshake.
        :returns: fires with the driver of the link, as that of :meth:`connect` does with its protocol.
        """
        if (refused := refused_in_child(self.reactor)) is not None:
            return refused
        if self.stopping:
            return fail(NodeStopped())
        attempt = Attempt(
            lambda attempt: Driver(self, attempt),
            expected_id=expected_id,
            expected_fingerprints=expected_fingerprints,
            connected=connected,
        )
        self._attempts[attempt] = None

        def over(result: Driver | Failure) -> Driver | Failure:
            del self._attempts[attempt]
            if isinstance(result, Failure) and isinstance(endpoint, NameEndpoint) and not result.check(CancelledError):
                endpoint.attempt_failed(attempt.reached)
            return result

        _ = attempt.outcome.addBoth(over)
        attempt.start(
            lambda factory: endpoint.connect(self.security.secured(factory, dials=True)),
            clock=self.clock,
            timeout=self.settings.timeout,
        )
        outcome: Deferred[Driver] = attempt.outcome
        return outcome

    def make_packet(self, data: Any, *, confirm: bool = False, broadcast: bool = False) -> OutgoingPacket:
        """Encode a packet.

        :raises UnsupportedData: when `data` can't be carried.
        :raises PacketTooLarge: when it is over the limit of this node.
        """
        tag, payload = encode_value(data, max_packet=self.settings.max_packet)
        flags = (Flag.RECEIPT_NOW if confirm else 0) | (Flag.BROADCAST if broadcast else 0)
        return OutgoingPacket(
            tag,
            payload,
            flags=flags,
            shared=SharedPayload() if broadcast else None,
            from_handler=self.handlers.are_calling(),
        )

    def submit(self, remote: Remote, packet: OutgoingPacket) -> int:
        """Queue a packet for a peer and return its number."""
        self._require_running()
        number = remote.submit(packet)
        if remote.link is None:
            self.observer.packets_wait(remote)
        return number

    def wait(self, timeout: float | None = None, until: Until | None = None) -> Wait:
        """Return how long a caller waits that has chosen this; see :meth:`netlayer.PeerService.send`.

        :raises InvalidArgument: when it makes no sense.
        """
        return Wait.of(timeout, until, default=self.settings.delivery_timeout)

    def submit_confirmed(self, remote: Remote, packet: OutgoingPacket, wait: Wait | None = None) -> Deferred[None]:
        """Queue a packet for a peer; the Deferred fires when the peer's handler has finished.

        :param wait: how long the caller waits; by default as long as the settings say.
        """
        self._require_running()
        confirmed = remote.submit_confirmed(packet, wait or self.wait())
        if remote.link is None:
            self.observer.packets_wait(remote)
        return confirmed

    def broadcast(
        self, data: Any, *, timeout: float | None = None, until: Until | None = None
    ) -> dict[int, Deferred[None]]:
        """Send a packet to every linked peer that is not a bootstrap; it is encoded once.

        :returns: a Deferred for each peer's id, which fires when its handler has finished.
        :raises UnsupportedData: when `data` can't be carried.
        :raises PacketTooLarge: when it is over the limit of this node.
        :raises InvalidArgument: when `timeout` or `until` makes no sense.
        """
        self._require_running()
        wait = self.wait(timeout, until)
        return send_to_all(self.link_drivers(), self.make_packet(data, confirm=True, broadcast=True), wait)

    def listed(self) -> list[PeerInfo]:
        """Return the nodes that hold a lease of this one: those of a bootstrap node."""
        return []

    def connections_to(self, fingerprint: bytes) -> list[Driver]:
        """Return every connection whose other end has proven this key, links and handshakes alike."""
        return [protocol for protocol in list(self._connections) if protocol.fingerprint == fingerprint]

    def links(self) -> list[PeerProtocol]:
        """Return the protocols of the links that stand, oldest first; bootstraps' only if the class asks for them."""
        require_own_reactor(self.reactor)
        return [protocol for driver in list(self._connections) if (protocol := driver.protocol) is not None]

    def link_drivers(self) -> list[Driver]:
        """Return the drivers of all links that stand, oldest first."""
        require_own_reactor(self.reactor)
        return [driver for driver in list(self._connections) if driver.is_link]

    def peers(self) -> list[PeerInfo]:
        """Return who is linked, bootstraps left out, oldest link first."""
        return [link.peer for link in self.link_drivers() if link.peer is not None and not link.is_bootstrap]

    def neighbour_count(self) -> int:
        """Return how many peers are linked, bootstraps left out."""
        return sum(link.is_link and not link.is_bootstrap for link in self._connections)

    def remotes_connected(self) -> dict[Remote, Driver]:
        """Return the peers that are linked or on their way to it, each with one of its connections."""
        connected: dict[Remote, Driver] = {}
        for protocol in self._connections:
            remote = protocol.remote
            if remote is not None and protocol.state is not State.CLOSED:
                connected[remote] = remote.link or protocol
        return connected

    def reserved(self) -> int:
        """Return how many places are kept for the nodes of the configuration."""
        return self.observer.reserved()

    def has_room(self) -> bool:
        """Return whether a peer may be accepted that is not configured; those on their way to a link count."""
        taken = sum(not self.observer.is_configured(each) for each in self.remotes_connected().values())
        return taken < self.settings.max_connections - self.reserved()

    def stop(self) -> Deferred[None]:
        """Say goodbye on every link, close everything else, and end all deliveries.

        :returns: fires when every connection is closed, after ``shutdown_timeout`` at the latest.
        """
        if (refused := refused_in_child(self.reactor)) is not None:
            return refused
        if self._is_over:
            return succeed(None)
        stopped = self._waiting.add()
        if self.stopping:
            return stopped
        self.stopping = self.handlers.is_stopping = True
        for attempt in list(self._attempts):
            attempt.give_up(NodeStopped())
        for remote in self.remotes:
            remote.fail_unwritten(NodeStopped())
        for protocol in list(self._connections):
            protocol.say_goodbye("shutdown")
        self._strangers.close()
        self._stop_timer = self.clock.callLater(self.settings.shutdown_timeout * 0.9, self._abort_all)
        self._stop_if_empty()
        return stopped

    def left_to_parent(self) -> None:
        """Close a forked child's copies of the connections. What is being dialed is known to the reactor alone."""
        self._strangers.left_to_parent()
        for protocol in list(self._connections):
            close_inherited(protocol.transport)

    @property
    def node_id(self) -> int:
        """The id of this node."""
        return self.local.node_id

    @property
    def connection_count(self) -> int:
        """How many connections there are, those of strangers included."""
        return len(self._connections) + self._strangers.unread_count

    # ---- the application

    def buildProtocol(self, addr: IAddress | None) -> PeerProtocol | None:
        """Build the protocol of a link that stands. Override it to give protocols more than the factory.

        :param addr: the address of the other end.
        :returns: the protocol, or None to refuse the link.
        """
        return cast("PeerProtocol | None", super().buildProtocol(addr))

    def application_protocol(self, link: Link) -> PeerProtocol | None:
        """Return the application's protocol for a link that stands, or None if it wants none for bootstrap nodes.

        :raises LinkLost: when none can be built, which is logged.
        """
        kind = cast("type[PeerProtocol]", self.protocol)
        if link.is_bootstrap and not kind.with_bootstraps:
            return None
        try:
            protocol = self.buildProtocol(link.getPeer())
        except Exception:
            self._strangers.has_no_protocol(kind.__qualname__)
            raise LinkLost(f"{kind.__qualname__}() of this application has failed") from None
        if not isinstance(protocol, PeerProtocol):
            raise LinkLost("this application has built no protocol for the link")
        return protocol

    # ---- what protocols report

    def next_number(self) -> int:
        """Return what decisions call a new connection."""
        return next(self._numbers)

    def connection_opened(self, protocol: Driver) -> None:
        """TCP stands, and whoever has dialed has said something."""
        self._connections[protocol] = None

    def connection_closed(self, protocol: Driver) -> None:
        """The transport is gone."""
        self._connections.pop(protocol, None)
        self._stop_if_empty()

    def stranger_gone(self) -> None:
        """A connection is gone on which nothing has come."""
        self._stop_if_empty()

    def introduced(self, protocol: Driver) -> None:
        """The other end has said who it is: accept or reject it, now or soon."""
        self._gate.judge(protocol)

    def refusal(self, claim: Claim) -> Reject | None:
        """Return why somebody is refused who claims an id, or None if only who else has it is to be asked."""
        if self.claims.successions.successor(claim.fingerprint) is not None:
            return Reject(RejectCode.ID_TAKEN, REPLACED, self.id_taken_retry)
        return None

    def contested(self, protocol: Driver) -> bool:
        """Refuse a connection whose peer's id another key has taken while the handshake was under way."""
        return self._gate.contested(protocol)

    def evict(self, link: Driver, code: str, text: str) -> None:
        """End a link, or what was to become one, whose peer may not have it any more."""
        who = link.introduction.node_id if link.is_introduced else link.address
        self.log.warn("peer {peer} is refused: {text}", peer=who, text=text, code=code)
        link.reject(code, text)

    def link_ready(self, protocol: Driver) -> None:
        """A connection became the link to its peer, which answers for its id from now on."""
        assert protocol.remote is not None
        self._strangers.left(protocol)
        self.claims.linked(self.claims.standing(protocol.record, protocol.succession))
        self.remotes.linked(protocol.remote, protocol.introduction.node_id)
        self.observer.link_ready(protocol)

    def link_lost(self, protocol: Driver, reason: LinkLost) -> None:
        """A link is gone."""
        self.observer.link_lost(protocol, reason)
        self._gate.link_lost(protocol)

    def refused(self, protocol: Driver, reason: Rejected) -> None:
        """The other end of a connection has refused this node."""
        self.observer.refused(protocol, reason)

    def attempt_failed(self, protocol: Driver, reason: Exception) -> None:
        """A connection ended before it was the link."""
        if not protocol.dialed:
            self._strangers.ended(protocol, reason)

    def violated(self, protocol: Driver, reason: RemoteProtocolError) -> None:
        """The other end of a connection has broken the protocol, if it has proven that it speaks it."""
        if protocol.fingerprint:
            self._strangers.has_violated(protocol, reason, is_known=self._gate.knows(protocol))

    def news_received(self, protocol: Driver, news: Register | Registered | Peers) -> None:
        """A message between a node and a bootstrap has come."""
        if not isinstance(news, Register):
            self.observer.news_received(protocol, news)

    def records_received(self, source: Driver, records: tuple[Record, ...]) -> None:
        """A bootstrap node that this node wants has told of others."""

    def room_given(self) -> None:
        """There is room for large packets that have waited for it: have their senders told."""
        if self.load.reservations.take_news():
            for remote in self.remotes:
                if remote.link is not None and remote.delivery.go_is_due:
                    remote.link.send_soon()

    # ---- private

    def _new_remote(self, node_id: int, fingerprint: bytes | None) -> Remote:
        return Remote(
            clock=self.clock,
            node_id=node_id,
            fingerprint=fingerprint,
            settings=self.settings,
            load=self.load,
            log=self.log,
            rng=self.rng,
            pauses=self._pauses,
            look_at_all=self.remotes.look_at_pauses,
            is_dialed=lambda remote: self.observer.is_dialed(remote),
            forget=self.remotes.forget,
        )

    def _require_running(self) -> None:
        require_own_reactor(self.reactor)
        if self.stopping:
            raise NodeStopped

    def _abort_all(self) -> None:
        for protocol in list(self._connections):
            protocol.end(LinkLost("the node was shut down"))

    def _stop_if_empty(self) -> None:
        if self.stopping and not self._is_over and not self.connection_count:
            self._is_over = True
            self._stopped_now()
            self._waiting.fire()

    def _stopped_now(self) -> None:
        if self._stop_timer is not None and self._stop_timer.active():
            self._stop_timer.cancel()
        self.remotes.close()


def _require_constructible(protocol: type[PeerProtocol]) -> None:
    """See to it that a class can be called without arguments, as it will be for each connection.

    :raises ConfigurationError: when it can't.
    """
    name = f"{protocol.__module__}.{protocol.__qualname__}"
    if inspect.isabstract(protocol):
        raise ConfigurationError(f"the protocol {name} is an abstract class, so it can't be built for a connection")
    try:
        inspect.signature(protocol).bind()
    except TypeError as error:
        raise ConfigurationError(
            f"the protocol {name} can't be built without arguments, as it is for each connection: {error}; "
            "what it needs it finds at self.factory.application"
        ) from None
    except ValueError:  # it is made by C code that does not tell
        return
