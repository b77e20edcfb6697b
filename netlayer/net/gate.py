"""Who may link: what becomes of a connection when its other end has said who it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netlayer.errors import ConfigurationError, LinkLost, PeerIdentityMismatch, RemoteProtocolError
from netlayer.net.remote import Remote
from netlayer.net.strangers import Strangers
from netlayer.sansio.link.selection import CLONE_RETRY
from netlayer.sansio.link.states import State
from netlayer.storage.identity import fingerprint_text
from netlayer.wire.messages import RejectCode

if TYPE_CHECKING:
    from netlayer.net.driver import Driver
    from netlayer.net.factory import PeerFactory

__all__ = ["Gate"]


class Gate:
    """Accepts and rejects the peers of one node.

    :param factory: the node.
    :param strangers: knows who has broken the protocol too often.
    """

    def __init__(self, factory: PeerFactory, strangers: Strangers) -> None:
        self._factory = factory
        self._strangers = strangers
        self._awaiting: dict[Driver, Driver] = {}  # who takes whose place when its link has ended

    def judge(self, protocol: Driver) -> None:
        """Accept or reject who has introduced itself, now, or when the holder of its id was asked."""
        factory = self._factory
        said, fingerprint = protocol.introduction, protocol.fingerprint
        if factory.stopping:
            protocol.reject(RejectCode.SHUTTING_DOWN)
            return
        seconds = self._strangers.key_refused_for(fingerprint)
        if seconds:
            text = "this key has broken the protocol too often"
            protocol.reject(RejectCode.PROTOCOL_VIOLATION, text, seconds)
            return
        if not self._is_allowed(said.node_id, fingerprint):
            protocol.reject(RejectCode.NOT_ALLOWED, "this id and key do not stand on the list of this node")
            return
        seconds = self._strangers.address_refused_for(protocol)
        if seconds and not self.knows(protocol):
            text = "unknown keys at this address have broken the protocol too often, and this one is unknown, too"
            protocol.reject(RejectCode.PROTOCOL_VIOLATION, text, seconds)
            return
        try:
            claim = factory.claims.judge(protocol.record, protocol.succession)
        except RemoteProtocolError as error:
            factory.violated(protocol, error)
            protocol.reject(RejectCode.PROTOCOL_VIOLATION, error.reason)
            return
        refusal = factory.refusal(claim)
        if refusal is not None:
            protocol.reject(refusal.code, refusal.text, refusal.retry_after)
            return
        known_peers = factory.claims.known_peers
        if known_peers.key_of(said.node_id) not in claim.formers and known_peers.contradicts(said.node_id, fingerprint):
            self._refuse_unknown_key(protocol)
            return
        holder = factory.remotes.find(said.node_id)
        if holder is None or holder.link is None or holder.fingerprint == fingerprint:
            self._admit(protocol)
        elif claim.beats(factory.claims.standing(holder.link.record)):
            self._admit(protocol)  # the holder loses the id as soon as this is the link
        else:
            self._ask_holder(protocol, holder, holder.link)

    def knows(self, protocol: Driver) -> bool:
        """Return whether more than its own word speaks for a proven key: a ticket, a list, or that it was met before.

        What other keys at its address do is not held against such a key.
        """
        factory, fingerprint = self._factory, protocol.fingerprint
        if protocol.is_introduced:  # what it has shown is learned, if it is good
            _ = factory.claims.standing(protocol.record, protocol.succession)
        return (
            factory.claims.knows(fingerprint)
            or factory.observer.is_configured(protocol)
            or self._is_listed(fingerprint)
        )

    def contested(self, protocol: Driver) -> bool:
        """Refuse a connection whose peer's id another key has taken while the handshake was under way."""
        factory = self._factory
        holder = factory.remotes.find(protocol.introduction.node_id)
        if holder is None or holder is protocol.remote or holder.link is None:
            return False
        if factory.claims.is_beaten(holder.link.record, protocol.record):
            factory.evict(holder.link, RejectCode.ID_TAKEN, f"id {holder.node_id} was given to another key")
            return False
        self._refuse_id(protocol, holder.link)
        return True

    def link_lost(self, protocol: Driver) -> None:
        """A link is gone; whoever waits for its place is judged again."""
        waiting = self._awaiting.pop(protocol, None)
        if waiting is not None and waiting.state is State.JUDGING:
            self.judge(waiting)

    # ---- private

    def _find_room(self, protocol: Driver) -> None:
        """Have somebody else leave for a connection, or refuse it and say who may have room."""
        factory = self._factory
        leaving = factory.observer.make_room(protocol)
        if leaving is not None and leaving.is_link:
            self._awaiting[leaving] = protocol
            return
        text = f"this node has {factory.settings.max_connections} links"
        protocol.reject(RejectCode.FULL, text, referrals=factory.observer.referrals(protocol))

    def _admit(self, protocol: Driver) -> None:
        """Accept a connection against which nothing speaks, if there is room: nobody has to leave for any other."""
        factory = self._factory
        known = factory.remotes.find_key(protocol.fingerprint)
        is_counted = known is not None and bool(known.connections)
        if is_counted or factory.has_room() or factory.observer.is_configured(protocol):
            self._accept(protocol)
        else:
            factory.observer.has_no_room(protocol)
            self._find_room(protocol)

    def _accept(self, protocol: Driver) -> None:
        protocol.accept(self._factory.remotes.with_key(protocol.fingerprint, protocol.introduction.node_id))

    def _ask_holder(self, protocol: Driver, holder: Remote, link: Driver) -> None:
        """Another key holds the id of a connection that waits for our answer: ask it whether it lives."""
        _ = link.probe().addCallback(self._id_judged, protocol, holder, link)

    def _id_judged(self, holder_lives: bool, protocol: Driver, holder: Remote, asked: Driver) -> None:
        if protocol.state is not State.JUDGING:
            return
        if holder_lives and holder.link is not None:
            self._refuse_id(protocol, holder.link)
            return
        if holder.selected is not None and holder.selected is not asked:  # the holder itself has replaced that link
            self._ask_holder(protocol, holder, holder.selected)
            return
        holder.close_all(LinkLost(f"silent, and another key claims id {holder.node_id}"))
        if protocol.state is State.JUDGING:  # the hook of the lost link may have stopped the node
            self._admit(protocol)

    def _refuse_id(self, protocol: Driver, holder: Driver) -> None:
        text = f"id {protocol.introduction.node_id} is held by another key that is linked"
        # A holder that says goodbye right now may be the predecessor of who asks.
        retry_after = CLONE_RETRY if holder.is_parting else self._factory.id_taken_retry
        protocol.reject(RejectCode.ID_TAKEN, text, retry_after)

    def _refuse_unknown_key(self, protocol: Driver) -> None:
        """Refuse who has the id of a peer that is known by another key."""
        known = self._factory.claims.known_peers.key_of(protocol.introduction.node_id)
        if protocol.dialed and known is not None:
            protocol.abort(PeerIdentityMismatch(fingerprint_text(known), fingerprint_text(protocol.fingerprint)))
        else:
            text = f"id {protocol.introduction.node_id} is known here to be another key's"
            protocol.reject(RejectCode.ID_TAKEN, text, self._factory.id_taken_retry)

    def _is_listed(self, fingerprint: bytes) -> bool:
        allowlist = self._factory.admission.allowlist
        try:
            return allowlist is not None and allowlist.names(fingerprint)
        except ConfigurationError:
            return False

    def _is_allowed(self, node_id: int, fingerprint: bytes) -> bool:
        allowlist = self._factory.admission.allowlist
        try:
            return allowlist is None or allowlist.allows(node_id, fingerprint)
        except ConfigurationError as error:
            self._factory.log.error("nobody is allowed to link: {error}", error=error)
            return False
