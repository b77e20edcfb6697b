"""Whom this node wants to be linked to: bootstraps, configured peers, peers it has met, and peers asked for.

Each of them has a :class:`~netlayer.net.dialing.Dialer`. This module decides who gets one, for how long, and what is
said about its failures; it opens no connection by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime

from netlayer.addresses import Address
from netlayer.config import Settings
from netlayer.errors import DeliveryError, JoinRefused, LinkLost, PeerIdentityMismatch, PeerUnreachable, Rejected, shown
from netlayer.net.dialing import Dialer, DialerState, is_final, is_full
from netlayer.net.driver import Driver
from netlayer.net.factory import PeerFactory
from netlayer.net.named import NameEndpoint
from netlayer.net.wanted import Reason, Wanted, client_endpoint, met_key
from netlayer.storage.known_peers import with_vouched
from netlayer.wire.messages import FINAL_CODES, Record

__all__ = ["WantedPeers"]


class WantedPeers:
    """The wanted peers of one node.

    :param unreachable: is told when one attempt and all retries have failed, and with which error packets fail then.
    :param still_unreachable: is told of each attempt that fails after that.
    :param refused: is told when nothing listens where a peer was dialed.
    :param flaps: tells whether the links to the holder of a key break again and again, which was said then.
    :param discovered: is told when an attempt of ours ends in a link that stood before, as the peer had dialed us, and
        that was not known to lead where we dialed.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        factory: PeerFactory,
        *,
        unreachable: Callable[[Wanted, DeliveryError], None],
        still_unreachable: Callable[[Wanted, DeliveryError], None] = lambda wanted, error: None,
        refused: Callable[[Wanted], None] = lambda wanted: None,
        discovered: Callable[[Wanted, Driver], None] = lambda wanted, link: None,
        flaps: Callable[[bytes | None], bool] = lambda fingerprint: False,
    ) -> None:
        self._reactor = reactor
        self._factory = factory
        self._settings: Settings = factory.settings
        self._unreachable = unreachable
        self._still_unreachable = still_unreachable
        self._refused = refused
        self._discovered = discovered
        self._flaps = flaps
        self._wanted: dict[Hashable, Wanted] = {}
        self._stopped = False

    def __iter__(self) -> Iterator[Wanted]:
        return iter(list(self._wanted.values()))

    def add(self, key: Hashable, wanted: Wanted, *, delay: float | None = None) -> Wanted:
        """Want a peer from now on and dial it, unless it is wanted already under this key.

        After :meth:`stop` it is not dialed.

        :param delay: seconds after which it is dialed, or earlier, when somebody sends to it; by default at once.
        """
        known = self._wanted.get(key)
        if known is not None:
            return known
        wanted.dialer = Dialer(
            self._reactor,
            lambda connected: self._dial(wanted, connected),
            settings=self._settings,
            rng=self._factory.rng,
            failed=lambda error: self._attempt_failed(wanted, error),
            believes=lambda: bool(self._expected(wanted)),
            dials_back=wanted.reason is not Reason.BOOTSTRAP,
        )
        if self._stopped:
            wanted.dialer.stop()
            return wanted
        self._wanted[key] = wanted
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
            if wanted.leads_to(protocol)
            or (wanted.reason is not Reason.BOOTSTRAP and wanted.node_id == protocol.introduction.node_id)
        ]

    def is_meant(self, protocol: Driver) -> bool:
        """Tell whether a link leads to somebody whom this node was told to dial, and has dialed."""
        return any(wanted.reason is not Reason.MET and wanted.leads_to(protocol) for wanted in self._wanted.values())

    def is_configured(self, protocol: Driver) -> bool:
        """Tell whether a connection leads to a bootstrap node or a peer of the node's configuration."""
        return any(
            wanted.reason in (Reason.BOOTSTRAP, Reason.CONFIGURED) and wanted.leads_to(protocol)
            for wanted in self._wanted.values()
        )

    def configured_count(self) -> int:
        """Return how many nodes of the configuration there are, as far as is known that two of them are one."""
        configured = [w for w in self._wanted.values() if w.reason in (Reason.BOOTSTRAP, Reason.CONFIGURED)]
        return len({wanted.fingerprint or id(wanted) for wanted in configured})

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
            if wanted.dialer.has_dialed(protocol):
                wanted.found_with = said.addresses
            else:
                self.follow(wanted, said)
                if protocol.dialed:  # elsewhere
                    wanted.found_with = ()
            self._learn(wanted, protocol, knows_key=self._is_proven(wanted, protocol))
            wanted.dialer.linked(protocol)
            if wanted.reason is Reason.ASKED:  # its place is taken by the peer that was met
                self.drop(wanted)
        if self.stands_for(said) is not None:
            for wanted in self.of_link(protocol):
                if wanted.reason is Reason.MET:
                    self.drop(wanted)

    def stands_for(self, record: Record) -> Wanted | None:
        """Return the peer of the configuration that is dialed in place of the one that a record names, or None.

        It is dialed where the record says, or has told the same addresses when it was found where it is dialed: a
        forwarder may be there, or a name. When that has been in vain, it stands for no other place.
        """
        for wanted in self.of(record.node_id, record.fingerprint):
            if wanted.reason is not Reason.CONFIGURED or wanted.fingerprint not in (None, record.fingerprint):
                continue
            is_same = not set(wanted.found_with).isdisjoint(record.addresses) and not wanted.dialer.exhausted
            if is_same or wanted.is_dialed_at(record.addresses):
                return wanted
        return None

    def follow(self, wanted: Wanted, record: Record) -> None:
        """Dial a peer that was met where a record says, unless that is one of the places it names.

        Whoever answers there has to show the peer's key. Others are dialed where it was configured.

        :param record: with the addresses that may be dialed; see :meth:`netlayer.PeerFactory.dialable`.
        """
        addresses = [Address(each.host, each.port) for each in record.addresses]
        if wanted.reason is Reason.MET and addresses and wanted.address not in map(str, addresses):
            wanted.address = str(addresses[0])
            wanted.endpoint = client_endpoint(self._factory.hearsay_reactor, addresses[0])

    def vouched(self, bootstrap: Driver, fingerprints: Sequence[bytes]) -> None:
        """A bootstrap node vouches for others, each of which may answer where it was dialed by a name.

        That counts if its own key is known there, and lasts.
        """
        for wanted in self.of_link(bootstrap):
            if wanted.may_be_several and bootstrap.fingerprint in wanted.keys:
                keys = (bootstrap.fingerprint, *fingerprints)
                wanted.keys = with_vouched(wanted.keys, keys)
                self._factory.claims.known_peers.vouch(wanted.address, keys)

    def lost(
        self,
        protocol: Driver,
        reason: LinkLost,
        *,
        unused: LinkLost | None = None,
        retry_after: float | None = None,
    ) -> None:
        """A link is gone. A peer that was met is wanted back from now on, for as long as such peers are.

        One that has ended the link by a refusal is dialed as after any other refusal.

        :param reason: why it is gone.
        :param unused: the same, if it leads to a bootstrap node that has not answered any registration on it.
        :param retry_after: seconds after which it makes sense to dial it again, as it has said.
        """
        for wanted in self.of_link(protocol):
            if wanted.until is not None:
                wanted.until = self.wanted_until(ephemeral=wanted.ephemeral)
            failure = protocol.refusal or (unused if wanted.reason is Reason.BOOTSTRAP else None)
            if failure is not None and protocol.dialed and isinstance(wanted.endpoint, NameEndpoint):
                wanted.endpoint.attempt_failed([protocol.transport.getPeer()])
            wanted.dialer.lost(
                failure,
                broke=reason if reason.goodbye is None else None,
                lasted=protocol.lasted,
                at_least=retry_after or 0.0,
            )

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

    def _dial(self, wanted: Wanted, connected: Callable[[], None]) -> Deferred[Driver]:
        if self._given_up(wanted):
            return fail(PeerUnreachable(wanted.node_id, wanted.dialer.attempts, "it is not wanted any more"))
        attempt = self._factory.dial(
            wanted.endpoint,
            expected_id=wanted.expected_id,
            expected_fingerprints=self._expected(wanted),
            connected=connected,
        )
        return attempt.addCallback(lambda protocol: self._answered(wanted, protocol))

    def _expected(self, wanted: Wanted) -> tuple[bytes, ...]:
        return wanted.expected_keys(self._factory.claims.known_peers)

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

    def _answered(self, wanted: Wanted, protocol: Driver) -> Driver:
        known = wanted.fingerprint == protocol.fingerprint
        self._learn(wanted, protocol)
        if wanted.expected_id is None and not wanted.ephemeral:
            self._factory.claims.known_peers.learn(wanted.address, protocol.fingerprint)
            if wanted.may_be_several:  # it may have vouched for others before the link stood at both ends
                self._factory.claims.known_peers.vouch(wanted.address, wanted.keys)
        if not known:
            self._discovered(wanted, protocol)
        return protocol

    def _is_proven(self, wanted: Wanted, protocol: Driver) -> bool:
        """Tell whether more than a claim to its id speaks for a link's being that of a wanted peer."""
        if wanted.reason is Reason.MET or wanted.leads_to(protocol):
            return True
        return self._factory.claims.standing(protocol.record, protocol.succession).ticket is not None

    def _learn(self, wanted: Wanted, protocol: Driver, *, knows_key: bool = True) -> None:
        said = protocol.introduction
        wanted.is_mistaken = wanted.reason is Reason.BOOTSTRAP and not protocol.is_bootstrap
        wanted.node_id = said.node_id
        if wanted.reason is Reason.MET:
            wanted.expected_id = said.node_id  # nobody has configured another one
        if knows_key:
            wanted.fingerprint = protocol.fingerprint
            wanted.ephemeral = said.ephemeral or wanted.is_mistaken  # a bootstrap node there will have another key
            formers = self._factory.claims.successions.formers(protocol.fingerprint)
            wanted.key_answered(self._factory.claims.known_peers, formers)
        wanted.refused = None
        if wanted.is_mistaken or self._flaps(wanted.fingerprint):
            return
        if wanted.reported:
            self._factory.log.info(
                "healed: {who} at {address} is linked again",
                who=wanted.who,
                peer=said.node_id,
                address=wanted.address,
            )
        wanted.told.clear()

    def _attempt_failed(self, wanted: Wanted, error: Exception) -> None:
        was_refused = wanted.dialer.was_refused
        self._failed(wanted, error)
        if was_refused:
            self._refused(wanted)

    def _failed(self, wanted: Wanted, error: Exception) -> None:
        if self._given_up(wanted):
            return
        if wanted.reason is Reason.MET and is_full(error):
            self.drop(wanted)  # others are dialed instead, and this one after a while
            self._unreachable(wanted, PeerUnreachable(wanted.node_id, wanted.dialer.attempts, str(error)))
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
        final = (
            is_final(error)
            or is_full(error)
            or (isinstance(error, PeerIdentityMismatch) and wanted.reason is Reason.ASKED)
        )
        stopped = dialer.state is DialerState.STOPPED
        if stopped or final or dialer.attempts == retries + 1:
            self._exhausted(wanted, error, why)
        elif wanted.reported:
            self._report(wanted, error, why)
            if dialer.exhausted:
                self._still_unreachable(wanted, PeerUnreachable(wanted.node_id, dialer.attempts, why))
        elif dialer.attempts <= retries and dialer.breaks <= 1 and not self._flaps(wanted.fingerprint):
            self._factory.log.warn(
                "no link to {who} at {address}: {why}; retry {n} of {retries}",
                who=wanted.who,
                address=wanted.address,
                why=why,
                n=dialer.attempts,
                retries=retries,
            )
        if dialer.attempts == 1:
            self._drop_superfluous()

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
        """Forget the peers that were met longest ago when too many are away."""
        away = [wanted for wanted in self._wanted.values() if wanted.reason is Reason.MET and wanted.is_away]
        for wanted in away[: max(0, len(away) - self._settings.max_wanted)]:
            attempts = wanted.dialer.attempts
            self.drop(wanted)
            self._unreachable(wanted, PeerUnreachable(wanted.node_id, attempts, "too many peers are away"))


def _kind(error: Exception) -> tuple[str, bool]:
    """Return what kind of failure an error is, and whether it lasts until a person does something.

    There are few kinds, whatever a stranger says.
    """
    if isinstance(error, PeerIdentityMismatch):
        return "somebody else", True
    if isinstance(error, Rejected):
        return (error.code, True) if error.code in FINAL_CODES else ("rejected", False)
    return "unreachable", False
