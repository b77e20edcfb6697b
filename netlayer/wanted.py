"""Who this node wants to be linked to, and why: bootstraps, configured peers, peers it has met, and peers asked for.

Each wanted peer has a :class:`~netlayer.dialing.Dialer`. This module decides who gets one, for how long, and what is
said about its failures; it opens no connection by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from enum import Enum
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint, clientFromString
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

from netlayer.addresses import Address, check_endpoint_port, parse_address, parse_node_id
from netlayer.config import Settings
from netlayer.dialing import Dialer, DialerState, is_final
from netlayer.driver import Driver
from netlayer.errors import (
    ConfigurationError,
    DeliveryError,
    JoinRefused,
    PeerIdentityMismatch,
    PeerUnreachable,
    Rejected,
    shown,
)
from netlayer.factory import PeerFactory
from netlayer.peer import PeerProtocol
from netlayer.status import WantedStatus
from netlayer.wire.messages import FINAL_CODES, Record

__all__ = ["Reason", "Wanted", "WantedPeers", "Where", "bootstrap", "client_endpoint", "configured_peer", "met_key"]

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
    :ivar address: where it is dialed, for people; of a peer that was met, the latest that is known.
    :ivar fingerprint: the key that answered last, or that a record names; None while it is unknown.
    :ivar ephemeral: whether that key dies with its process, so that another one may answer next time.
    :ivar until: when it stops to be wanted, or None if never.
    """

    def __init__(
        self, reason: Reason, address: str, endpoint: IStreamClientEndpoint, *, expected_id: int | None = None
    ) -> None:
        self.reason = reason
        self.address = address
        self.endpoint = endpoint
        self.expected_id = expected_id
        self.node_id = expected_id
        self.fingerprint: bytes | None = None
        self.ephemeral = True
        self.until: float | None = None
        self.refused: JoinRefused | None = None
        self.is_mistaken = False  # whether who answers for a bootstrap node is none
        self.told: set[str] = set()  # what kinds of failure the log has told of in this outage
        self.dialer: Dialer

    def is_peer(self, node_id: int, fingerprint: bytes | None) -> bool:
        """Tell whether this is the peer of that id, or of that key."""
        return self.node_id == node_id or (fingerprint is not None and self.fingerprint == fingerprint)

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
            last_error=last_error,
            next_attempt_in=max(0.0, next_attempt - now) if next_attempt is not None else None,
        )


def client_endpoint(reactor: IReactorTime, address: Address) -> IStreamClientEndpoint:
    """Return the endpoint to dial at an address; ``localhost`` is 127.0.0.1, where nodes of that name listen."""
    host, port = address
    if host == "localhost" or host.replace(".", "").isdigit():
        return TCP4ClientEndpoint(reactor, "127.0.0.1" if host == "localhost" else host, port)
    if ":" in host:
        return TCP6ClientEndpoint(reactor, host, port)
    return HostnameEndpoint(reactor, host, port)


def bootstrap(reactor: Any, where: Where) -> tuple[Hashable, Wanted]:
    """Return a bootstrap node that is wanted, and its key: it is one, however often it is named.

    :raises ConfigurationError: when `where` is malformed.
    """
    text, endpoint = _client(reactor, where)
    return ("bootstrap", text), Wanted(Reason.BOOTSTRAP, text, endpoint)


def configured_peer(reactor: Any, where: Any) -> tuple[Hashable, Wanted]:
    """Return a configured peer that is wanted, and its key.

    :param where: a (peer_id, host, port) tuple, or an endpoint string or (host, port) pair if the id does not matter.
    :raises ConfigurationError: when `where` is malformed.
    """
    expected_id = None
    if not isinstance(where, str) and isinstance(where, Sequence) and len(where) == 3:
        expected_id, where = parse_node_id(where[0]), tuple(where[1:])
    text, endpoint = _client(reactor, where)
    return ("configured", text), Wanted(Reason.CONFIGURED, text, endpoint, expected_id=expected_id)


def met_key(node_id: int, fingerprint: bytes) -> Hashable:
    """Return the key under which a peer is wanted that was met."""
    return "met", node_id, fingerprint


def _client(reactor: Any, where: Where) -> tuple[str, Any]:
    """Return the text and the endpoint of somewhere to dial."""
    if not isinstance(where, str):
        address = parse_address(where)
        return str(address), client_endpoint(reactor, address)
    try:
        endpoint = clientFromString(reactor, where)
        check_endpoint_port(where, dialed=True)
        return where, endpoint
    except Exception as error:  # endpoint strings raise whatever their parser stumbles over
        raise ConfigurationError(f"{where!r} is no endpoint to dial, such as 'tcp:127.0.0.1:8000': {error}") from None


class WantedPeers:
    """The wanted peers of one node.

    :param unreachable: is told when one attempt and all retries have failed, and with which error packets fail then.
    :param discovered: is told when an attempt of ours ends in a link that stood before, as the peer had dialed us, and
        that was not known to lead where we dialed.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        factory: PeerFactory,
        *,
        unreachable: Callable[[Wanted, DeliveryError], None],
        discovered: Callable[[Wanted, Driver], None] = lambda wanted, link: None,
    ) -> None:
        self._reactor = reactor
        self._factory = factory
        self._settings: Settings = factory.settings
        self._unreachable = unreachable
        self._discovered = discovered
        self._wanted: dict[Hashable, Wanted] = {}
        self._stopped = False

    def __iter__(self) -> Iterator[Wanted]:
        return iter(list(self._wanted.values()))

    def add(self, key: Hashable, wanted: Wanted, *, delay: float = 0.0) -> Wanted:
        """Want a peer from now on and dial it after `delay` seconds, unless it is wanted already under this key.

        After :meth:`stop` it is not dialed.
        """
        known = self._wanted.get(key)
        if known is not None:
            return known
        wanted.dialer = Dialer(
            self._reactor,
            lambda: self._dial(wanted),
            settings=self._settings,
            rng=self._factory.rng,
            failed=lambda error: self._failed(wanted, error),
            believes=lambda: self._pinned(wanted) is not None,
        )
        if self._stopped:
            wanted.dialer.stop()
            return wanted
        self._wanted[key] = wanted
        self._drop_superfluous()
        wanted.dialer.start(delay)
        return wanted

    def of(self, node_id: int, fingerprint: bytes | None) -> list[Wanted]:
        """Return the wanted peers that are this one."""
        return [wanted for wanted in self._wanted.values() if wanted.is_peer(node_id, fingerprint)]

    def of_link(self, protocol: Driver) -> list[Wanted]:
        """Return the wanted peers that a link leads to.

        A bootstrap node is known by its key, or by our having dialed it; that somebody has its id proves nothing.
        """
        return [
            wanted
            for wanted in self._wanted.values()
            if wanted.fingerprint == protocol.fingerprint
            or wanted.dialer.has_dialed(protocol)
            or (wanted.reason is not Reason.BOOTSTRAP and wanted.node_id == protocol.introduction.node_id)
        ]

    def is_meant(self, protocol: Driver) -> bool:
        """Tell whether a link leads to somebody whom this node was told to dial, and has dialed."""
        return any(
            wanted.reason is not Reason.MET
            and (wanted.fingerprint == protocol.fingerprint or wanted.dialer.has_dialed(protocol))
            for wanted in self._wanted.values()
        )

    def drop(self, wanted: Wanted) -> None:
        """Want a peer no longer."""
        for key in [key for key, other in self._wanted.items() if other is wanted]:
            del self._wanted[key]
        wanted.dialer.stop()  # last, as whoever waits for it may look

    def linked(self, protocol: Driver) -> None:
        """A link stands, whoever dialed. A peer that was met is dialed where it says from now on, unless it was."""
        self._merge_met(protocol)
        said = self._factory.dialable(protocol.record, protocol)
        for wanted in self.of_link(protocol):
            if not wanted.dialer.has_dialed(protocol):
                self.follow(wanted, said)
            self._learn(wanted, protocol)
            wanted.dialer.linked(protocol)
            if wanted.reason is Reason.ASKED:  # its place is taken by the peer that was met
                self.drop(wanted)

    def follow(self, wanted: Wanted, record: Record) -> None:
        """Dial a peer that was met where a record says, unless that is one of the places it names.

        Whoever answers there has to show the peer's key. Others are dialed where it was configured.

        :param record: with the addresses that may be dialed; see :meth:`netlayer.PeerFactory.dialable`.
        """
        addresses = [Address(each.host, each.port) for each in record.addresses]
        if wanted.reason is Reason.MET and addresses and wanted.address not in map(str, addresses):
            wanted.address = str(addresses[0])
            wanted.endpoint = client_endpoint(self._factory.reactor, addresses[0])

    def lost(self, protocol: Driver) -> None:
        """A link is gone. A peer that was met is wanted back from now on, for as long as such peers are."""
        for wanted in self.of_link(protocol):
            if wanted.until is not None:
                wanted.until = self.wanted_until(ephemeral=wanted.ephemeral)
            wanted.dialer.lost()

    def wanted_until(self, *, ephemeral: bool) -> float:
        """Return until when a peer that is met now is wanted; one with an ephemeral key, until its lease has ended."""
        settings = self._settings
        away = settings.lease_grace + settings.lease_renewal if ephemeral else settings.wanted_for
        return self._reactor.seconds() + away

    def stop(self) -> None:
        """Want nobody any more."""
        self._stopped = True
        everybody = list(self)
        self._wanted.clear()
        for wanted in everybody:
            wanted.dialer.stop()

    # ---- private

    def _merge_met(self, protocol: Driver) -> None:
        """Make one of what is wanted since it was met, if it is one peer: with an ephemeral key it comes by others."""
        met = [wanted for wanted in self.of_link(protocol) if wanted.reason is Reason.MET]
        if not met:
            return
        kept = next((wanted for wanted in met if wanted.dialer.has_dialed(protocol)), met[-1])
        for wanted in met:
            if wanted is not kept:
                self.drop(wanted)
        before = next(key for key, wanted in self._wanted.items() if wanted is kept)
        key = met_key(protocol.introduction.node_id, protocol.fingerprint)
        if key != before:
            self._wanted[key] = self._wanted.pop(before)

    def _dial(self, wanted: Wanted) -> Deferred[PeerProtocol]:
        if self._given_up(wanted):
            return fail(PeerUnreachable(wanted.node_id, wanted.dialer.attempts, "it is not wanted any more"))
        attempt = self._factory.connect(
            wanted.endpoint,
            expected_id=wanted.expected_id,
            expected_fingerprint=self._pinned(wanted),
        )
        return attempt.addCallback(lambda protocol: self._answered(wanted, protocol))

    def _pinned(self, wanted: Wanted) -> bytes | None:
        """Return the key that has to answer; any may if the last was ephemeral, except for a peer that was met."""
        if wanted.reason is Reason.MET or not wanted.ephemeral:
            return wanted.fingerprint
        known_peers = self._factory.claims.known_peers
        return known_peers.key_of(wanted.expected_id) or known_peers.key_of(wanted.address)

    def _is_contradicted(self, wanted: Wanted) -> bool:
        """Tell whether a peer is wanted by hearsay alone, and known by another key."""
        known = self._factory.claims.known_peers.key_of(wanted.node_id)
        return wanted.reason is Reason.MET and known is not None and known != wanted.fingerprint

    def _given_up(self, wanted: Wanted) -> bool:
        """Drop a peer that has been away for too long, or that nobody sends to any more; return whether it was."""
        if wanted.until is not None and wanted.until <= self._reactor.seconds():
            self.drop(wanted)
            away = PeerUnreachable(wanted.node_id, wanted.dialer.attempts, "it has been away for too long")
            self._unreachable(wanted, away)
            return True
        if (
            wanted.reason is Reason.ASKED
            and wanted.dialer.attempts
            and not self._factory.remotes.awaited(wanted.node_id)
        ):
            self.drop(wanted)
            return True
        return False

    def _answered(self, wanted: Wanted, protocol: PeerProtocol) -> PeerProtocol:
        known = wanted.fingerprint == protocol.fingerprint
        self._learn(wanted, protocol)
        if wanted.expected_id is None and not wanted.ephemeral:
            self._factory.claims.known_peers.learn(wanted.address, protocol.fingerprint)
        if not known:
            self._discovered(wanted, protocol)
        return protocol

    def _learn(self, wanted: Wanted, protocol: Driver) -> None:
        said = protocol.introduction
        wanted.is_mistaken = wanted.reason is Reason.BOOTSTRAP and not protocol.is_bootstrap
        wanted.node_id = said.node_id
        if wanted.reason is Reason.MET:
            wanted.expected_id = said.node_id  # nobody has configured another one
        wanted.fingerprint = protocol.fingerprint
        wanted.ephemeral = said.ephemeral or wanted.is_mistaken  # a bootstrap node there will have another key
        wanted.refused = None
        if wanted.is_mistaken:
            return
        if wanted.reported:
            self._factory.log.info(
                "healed: {who} at {address} is linked again",
                who=wanted.who,
                peer=said.node_id,
                address=wanted.address,
            )
        wanted.told.clear()

    def _failed(self, wanted: Wanted, error: Exception) -> None:
        if self._given_up(wanted):
            return
        if isinstance(error, PeerIdentityMismatch) and self._is_contradicted(wanted):
            self.drop(wanted)
            return
        dialer, retries = wanted.dialer, self._settings.retry_count
        why = str(error) if isinstance(error, DeliveryError | Rejected) else shown(str(error).rstrip("."))[1:-1]
        if isinstance(error, Rejected | PeerIdentityMismatch):  # somebody has answered
            wanted.refused = None
        if isinstance(error, Rejected) and is_final(error):
            wanted.refused = JoinRefused(error.code, error.text, wanted.address)
        final = is_final(error) or (isinstance(error, PeerIdentityMismatch) and wanted.reason is Reason.ASKED)
        stopped = dialer.state is DialerState.STOPPED
        if stopped or final or dialer.attempts == retries + 1:
            self._exhausted(wanted, error, why)
        elif wanted.reported:
            self._report(wanted, error, why)
        elif dialer.attempts <= retries:
            self._factory.log.warn(
                "no link to {who} at {address}: {why}; retry {n} of {retries}",
                who=wanted.who,
                address=wanted.address,
                why=why,
                n=dialer.attempts,
                retries=retries,
            )

    def _exhausted(self, wanted: Wanted, error: Exception, why: str) -> None:
        """Report a peer that all attempts have failed to reach; most are tried on, silently."""
        attempts, stopped = wanted.dialer.attempts, wanted.dialer.state is DialerState.STOPPED
        if stopped:
            self._factory.log.info("{address} is this node itself", address=wanted.address)
        else:
            self._report(wanted, error, why)
        if wanted.reason is Reason.ASKED or stopped:
            self.drop(wanted)  # before anybody hears of it, who may try again at once
        if not isinstance(error, PeerIdentityMismatch):
            error = PeerUnreachable(wanted.node_id, attempts, why)
        self._unreachable(wanted, error)

    def _report(self, wanted: Wanted, error: Exception, why: str) -> None:
        """Say why a peer can't be linked: once of each kind of reason, until it is."""
        is_first = not wanted.reported
        kind, lasts = _kind(error)
        if not wanted.is_news(kind):
            return
        if not is_first and not lasts:
            self._factory.log.warn(
                "still no link to {who} at {address}: {why}", who=wanted.who, address=wanted.address, why=why
            )
            return
        attempts = wanted.dialer.attempts
        self._factory.log.error(
            "no link to {who} at {address} after {attempts}: {why}",
            who=wanted.who,
            address=wanted.address,
            attempts="1 attempt" if attempts == 1 else f"{attempts} attempts",
            why=why,
        )

    def _drop_superfluous(self) -> None:
        """Forget the peers that were met longest ago when there are too many."""
        met = [wanted for wanted in self._wanted.values() if wanted.reason is Reason.MET]
        for wanted in met[: max(0, len(met) - self._settings.max_wanted)]:
            self.drop(wanted)


def _kind(error: Exception) -> tuple[str, bool]:
    """Return what kind of failure an error is, and whether it lasts until a person does something.

    There are few kinds, whatever a stranger says.
    """
    if isinstance(error, PeerIdentityMismatch):
        return "somebody else", True
    if isinstance(error, Rejected):
        return (error.code, True) if error.code in FINAL_CODES else ("rejected", False)
    return "unreachable", False
