"""A peer that this node wants to be linked to, why, and where it is dialed."""

from __future__ import annotations

from collections.abc import Container, Hashable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias

from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, clientFromString
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

from netlayer.addresses import Address, check_endpoint, literal_address, parse_address, parse_node_id, tcp_options
from netlayer.errors import ConfigurationError, JoinRefused
from netlayer.net.dialing import Dialer, DialerState
from netlayer.net.named import NameEndpoint
from netlayer.status import WantedStatus
from netlayer.storage.known_peers import KnownPeers, with_vouched
from netlayer.wire.messages import NetAddress

if TYPE_CHECKING:
    from netlayer.net.driver import Driver

__all__ = ["Reason", "Wanted", "Where", "bootstrap", "client_endpoint", "configured_peer", "met_key"]

#: Where to listen or to dial: an endpoint string, or a (host, port) pair.
Where: TypeAlias = str | tuple[str, int]


class Reason(Enum):
    """Why a peer is wanted, which decides for how long."""

    BOOTSTRAP = "bootstrap"  # for ever
    CONFIGURED = "configured"  # for ever
    MET = "met"  # until it says goodbye, or has been away too long
    ASKED = "asked"  # while somebody sends to it


class Wanted:
    """One wanted peer.

    :param expected_id: the id that has to answer, if one was meant.
    :param place: the host and port of a peer of the configuration, if it has any.
    :ivar address: where it is dialed, for people; of a peer that was met, the latest that is known.
    :ivar fingerprint: the key that answered last, or that a record names; None while it is unknown.
    :ivar ephemeral: whether that key dies with its process, so that another one may answer next time.
    :ivar found_with: the addresses that the peer has told of itself when it was found where it is dialed.
    :ivar keys: those that last and have answered, or were vouched for; one of them has to answer next time.
    :ivar until: when it stops to be wanted, or None if never.
    """

    def __init__(
        self,
        reason: Reason,
        address: str,
        endpoint: IStreamClientEndpoint,
        *,
        expected_id: int | None = None,
        place: Address | None = None,
    ) -> None:
        self.reason = reason
        self.address = address
        self.endpoint = endpoint
        self.expected_id = expected_id
        self.place = place
        self.node_id = expected_id
        self.fingerprint: bytes | None = None
        self.ephemeral = True
        self.found_with: Sequence[NetAddress] = ()
        self.keys: tuple[bytes, ...] = ()
        self.until: float | None = None
        self.refused: JoinRefused | None = None
        self.is_mistaken = False  # whether who answers for a bootstrap node is none
        self.told: set[str] = set()  # what kinds of failure the log has told of in this outage
        self.dialer: Dialer

    @property
    def may_be_several(self) -> bool:
        """Whether any of several machines may answer: those of a bootstrap node that is known by a name."""
        return self.reason is Reason.BOOTSTRAP and isinstance(self.endpoint, NameEndpoint)

    def expected_keys(self, known_peers: KnownPeers) -> tuple[bytes, ...]:
        """Return the keys of which one has to answer; any may if there are none.

        Those of a peer that was met may be ephemeral, all others last.
        """
        if self.reason is Reason.MET:
            return (self.fingerprint,) if self.fingerprint is not None else ()
        if self.keys:
            return self.keys
        if self.may_be_several:
            return known_peers.keys_of(self.address)
        key = known_peers.key_of(self.expected_id) or known_peers.key_of(self.address)
        return (key,) if key is not None else ()

    def key_answered(self, known_peers: KnownPeers, formers: Container[bytes]) -> None:
        """The holder of :attr:`fingerprint` has answered.

        :param formers: the keys in whose place its key is.
        """
        if not self.may_be_several:
            self.keys = () if self.ephemeral or self.fingerprint is None else (self.fingerprint,)
        elif self.fingerprint is not None and not self.ephemeral:
            keys = [self.fingerprint if key in formers else key for key in self.expected_keys(known_peers)]
            self.keys = with_vouched(keys or [self.fingerprint], [self.fingerprint])

    def is_peer(self, node_id: int, fingerprint: bytes | None) -> bool:
        """Tell whether this is the peer of that id, or of that key."""
        return self.node_id == node_id or (fingerprint is not None and self.fingerprint == fingerprint)

    def leads_to(self, protocol: Driver) -> bool:
        """Tell whether a connection leads to this peer, by its key or as it is what was dialed."""
        return self.fingerprint == protocol.fingerprint or self.dialer.has_dialed(protocol)

    def is_dialed_at(self, addresses: Sequence[NetAddress]) -> bool:
        """Return whether one of these addresses is where it was configured; of a name the last look-up counts."""
        if self.place is None:
            return False
        hosts = self.endpoint.hosts if isinstance(self.endpoint, NameEndpoint) else (_host(self.place.host),)
        return any(_host(each.host) in hosts and each.port == self.place.port for each in addresses)

    @property
    def is_away(self) -> bool:
        """Whether an attempt has failed, and it is not linked since."""
        return self.dialer.state is not DialerState.LINKED and self.dialer.attempts > 0

    @property
    def may_answer(self) -> bool:
        """Whether it is linked or dialed, and has not failed all retries, nor asked to be left alone for long."""
        return not self.dialer.exhausted and self.dialer.refusal is None

    @property
    def reported(self) -> bool:
        """Whether the log says that it can't be reached."""
        return bool(self.told)

    def is_news(self, kind: str) -> bool:
        """Tell whether the log has not told of a kind of failure yet, in this outage; it is going to."""
        if kind in self.told:
            return False
        self.told.add(kind)
        return True

    @property
    def who(self) -> str:
        """What the log calls it."""
        if self.reason is Reason.BOOTSTRAP:
            known = self.node_id is not None and not self.is_mistaken
            return f"the bootstrap node (id {self.node_id})" if known else "the bootstrap node"
        return f"peer {self.node_id}" if self.node_id is not None else "the peer"

    def status(self, now: float) -> WantedStatus:
        """Return what there is to tell."""
        dialer = self.dialer
        error, next_attempt = dialer.last_error, dialer.next_attempt  # read once: other threads may ask
        state, last_error = dialer.state.value, str(error) if error is not None else None
        if self.is_mistaken and state == DialerState.LINKED.value:
            state, last_error = "mistaken", f"node {self.node_id} answers there, which is no bootstrap node"
        return WantedStatus(
            address=self.address,
            node_id=self.node_id,
            state=state,
            attempts=dialer.attempts,
            breaks=dialer.breaks,
            last_error=last_error,
            next_attempt_in=max(0.0, next_attempt - now) if next_attempt is not None else None,
        )


def client_endpoint(reactor: IReactorTime, address: Address) -> IStreamClientEndpoint:
    """Return the endpoint to dial at an address; ``localhost`` is 127.0.0.1, where nodes of that name listen."""
    host = _host(address.host)
    literal = literal_address(host)
    if literal is None:
        return NameEndpoint(reactor, host, address.port)
    kind = TCP6ClientEndpoint if ":" in host else TCP4ClientEndpoint
    return kind(reactor, host, address.port)


def bootstrap(reactor: Any, where: Where) -> tuple[Hashable, Wanted]:
    """Return a bootstrap node that is wanted, and its key: it is one, however often it is named.

    :raises ConfigurationError: when `where` is malformed.
    """
    text, endpoint, _ = _client(reactor, where)
    return ("bootstrap", text), Wanted(Reason.BOOTSTRAP, text, endpoint)


def configured_peer(reactor: Any, where: Any) -> tuple[Hashable, Wanted]:
    """Return a configured peer that is wanted, and its key.

    :param where: a (peer_id, host, port) tuple, or an endpoint string or (host, port) pair if the id does not matter.
    :raises ConfigurationError: when `where` is malformed.
    """
    expected_id = None
    if not isinstance(where, str) and isinstance(where, Sequence) and len(where) == 3:
        expected_id, where = parse_node_id(where[0]), tuple(where[1:])
    text, endpoint, place = _client(reactor, where)
    return ("configured", text), Wanted(Reason.CONFIGURED, text, endpoint, expected_id=expected_id, place=place)


def met_key(node_id: int, fingerprint: bytes) -> Hashable:
    """Return the key under which a peer is wanted that was met."""
    return "met", node_id, fingerprint


def _host(host: str) -> str:
    return "127.0.0.1" if host == "localhost" else host


def _client(reactor: Any, where: Where) -> tuple[str, Any, Address | None]:
    """Return the text and the endpoint of somewhere to dial, and its host and port if it has any."""
    if not isinstance(where, str):
        address = parse_address(where)
        return str(address), client_endpoint(reactor, address), address
    try:
        endpoint = clientFromString(reactor, where)
        check_endpoint(where, dialed=True)
        options = tcp_options(where)
        if options is not None and literal_address(options["host"]) is None and options["host"] != "localhost":
            endpoint = NameEndpoint(reactor, **options)  # Twisted's takes the first address, of IPv4 alone
        return where, endpoint, Address(options["host"], options["port"]) if options is not None else None
    except Exception as error:  # endpoint strings raise whatever their parser stumbles over
        raise ConfigurationError(f"{where!r} is no endpoint to dial, such as 'tcp:127.0.0.1:8000': {error}") from None
