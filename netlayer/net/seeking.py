"""Seeking room: what becomes of the peers that a node knows when not all of them fit.

What is decided is decided in :mod:`netlayer.sansio.overlay.room`. This module tells it what there is, does what it
says, and says what is to be told of it: to neighbours, in the log, and in the status of the node.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from netlayer.addresses import carried
from netlayer.errors import LinkLost, PeerUnreachable, Rejected
from netlayer.net.alarm import Alarm
from netlayer.net.dialing import DialerState
from netlayer.net.driver import Driver
from netlayer.net.factory import PeerFactory
from netlayer.net.wanted import Reason, Wanted
from netlayer.net.wanted_peers import WantedPeers
from netlayer.sansio.link.states import State
from netlayer.sansio.overlay.directory import Directory
from netlayer.sansio.overlay.room import ENOUGH, Dial, Neighbour, Part, Room, View
from netlayer.status import RoomStatus
from netlayer.wire.frames import MAX_HANDSHAKE_FRAME
from netlayer.wire.messages import (
    MAX_REFERRAL_ADDRESSES,
    MAX_REFERRALS,
    GoodbyeCode,
    Links,
    Record,
    Referral,
    Reject,
    RejectCode,
    encode_message,
)

__all__ = ["Seeking"]

#: Peers that refusers have told of, and refusals, that are remembered.
MAX_REFERRED, MAX_REFUSALS = 64, 1024
#: Seconds without a packet after which a link gives way to one that packets wait for.
IDLE = 5.0
#: Seconds in which changes of the number of links are gathered before they are told.
TELL_AFTER = 1.0
#: Seconds after which the log tells of a lack of room, as a node that has just started is linked to few yet; and
#: seconds without one after which it tells of the next.
TELL_FULL_AFTER, SPELL_OVER_AFTER = 10.0, 600.0
#: Numbers of neighbours from here on are all the same to others.
MANY = ENOUGH + 1


class Seeking:
    """Finds room for the links of one node, and makes room for those of others.

    :param want: dials the peer of a record from now on, and returns it.

    :ivar status: what there is to tell while not everybody fits, or None.
    """

    def __init__(
        self,
        factory: PeerFactory,
        wanted: WantedPeers,
        directory: Directory,
        *,
        want: Callable[[Record], Wanted | None],
    ) -> None:
        self.status: RoomStatus | None = None
        self._factory = factory
        self._wanted = wanted
        self._directory = directory
        self._want = want
        self._room = Room(settings=factory.settings, rng=factory.rng)
        self._alarm = Alarm(factory.clock, self._look_again)
        self._telling = Alarm(factory.clock, self._tell_neighbours)
        self._told: dict[Driver, int] = {}  # how many others this node has, as each neighbour was told
        self._referred: OrderedDict[bytes, Record] = OrderedDict()
        self._refusals: OrderedDict[int, tuple[bytes, Rejected]] = OrderedDict()  # by id
        self._let_in: OrderedDict[bytes, float] = OrderedDict()  # for whom somebody had to leave, and when
        self._full_at: float | None = None  # when there was no room last
        self._tell_full_at: float | None = None  # until the log has told of it
        self._looking = False
        self._stopped = False

    # ---- what has happened

    def linked(self, link: Driver) -> None:
        """A link stands."""
        self._room.linked(link.fingerprint)
        self._referred.pop(link.fingerprint, None)
        self._refusals.pop(link.introduction.node_id, None)
        self._told[link] = link.connection.local.links or 0
        self._changed()

    def lost(self, link: Driver, reason: LinkLost) -> None:
        """A link is gone."""
        self._told.pop(link, None)
        if reason.goodbye == GoodbyeCode.ROOM:
            self._room.parted(link.fingerprint, self._now, reason.retry_after)
        self._changed()

    def refused(self, protocol: Driver, reason: Rejected) -> None:
        """Somebody has refused this node."""
        if reason.code != RejectCode.FULL or self._stopped:
            return
        self._room.leave_alone(protocol.fingerprint, self._now, reason.retry_after)
        if protocol.expected_id is not None:
            self._refusals[protocol.expected_id] = protocol.fingerprint, reason
            self._refusals.move_to_end(protocol.expected_id)
            if len(self._refusals) > MAX_REFUSALS:
                self._refusals.popitem(last=False)
        for referral in reason.referrals:
            self._refer(referral, protocol)
        self._changed()

    def gone(self, fingerprint: bytes | None) -> None:
        """A peer was dialed in vain for as long as peers are wanted: what a refuser has told of it is not true now."""
        if fingerprint is not None:
            self._referred.pop(fingerprint, None)

    def stop(self) -> None:
        """Look for nobody any more."""
        self._stopped = True
        self._alarm.cancel()
        self._telling.cancel()

    # ---- decisions

    def look(self) -> list[Wanted]:
        """Dial and part as there is room; return whom this node dials now."""
        if self._stopped or self._looking or self._factory.role != "peer":
            return []  # nodes dial their bootstrap nodes: those look for nobody
        self._looking = True
        try:
            return self._step()
        finally:
            self._looking = False

    def make_room(self, protocol: Driver) -> Driver | None:
        """Part from somebody so that a connection can become a link; return whose link ends.

        That is done for a peer that has not enough neighbours, and for packets that wait, here or at the other end.
        """
        if self._factory.role != "peer" or protocol.is_bootstrap:
            return None
        now, key, said = self._now, protocol.fingerprint, protocol.introduction
        remotes = self._factory.remotes
        known = remotes.find_key(key)
        links = MANY if said.links is None else said.links
        if not protocol.dialed and links < ENOUGH and self._let_in.get(key, now) <= now:
            part = self._room.make_room(self._view(), now, links=links)
            self._let_in[key] = now + self._factory.settings.refused_wait
            self._let_in.move_to_end(key)
            if len(self._let_in) > MAX_REFUSALS:
                self._let_in.popitem(last=False)
        elif (known is not None and known.delivery.session is not None) or remotes.awaited(said.node_id):
            part = self._room.make_room(self._view(), now, idle_for=IDLE)
        else:
            return None
        return self._part(part) if part is not None else None

    def referrals(self, protocol: Driver) -> tuple[Referral, ...]:
        """Return whom to refer somebody to that this node has no room for: a random sample of whom it knows."""
        said, local = protocol.introduction, protocol.is_local
        links = [link.record for link in self._factory.link_drivers() if not link.is_bootstrap]
        known = list({record.node_id: record for record in (*self._directory.current(), *links)}.values())
        found: list[Referral] = []
        for record in self._factory.rng.sample(known, len(known)):
            addresses = carried(record.addresses, local=local)[:MAX_REFERRAL_ADDRESSES]
            if addresses and record.node_id != said.node_id and record.fingerprint != protocol.fingerprint:
                found.append(Referral(record.node_id, record.fingerprint, addresses))
                if len(found) == MAX_REFERRALS:
                    break
        while len(encode_message(Reject(RejectCode.FULL, "x" * 200, 0.0, tuple(found)))) > MAX_HANDSHAKE_FRAME:
            found.pop()
        return tuple(found)

    def refusal(self, node_id: int, fingerprint: bytes | None) -> PeerUnreachable | None:
        """Return why a peer is not dialed though packets wait for it: it has just refused this node, for room."""
        key, reason = self._refusals.get(node_id, (fingerprint or b"", None))
        if reason is None or (fingerprint is not None and fingerprint != key):
            return None
        if not self._room.is_left_alone(key, self._now):
            del self._refusals[node_id]
            return None
        return PeerUnreachable(node_id, 0, str(reason))

    def unlinked(self) -> list[int]:
        """Return the ids of the peers that are known, and not linked as there is no room, here or there."""
        away = {wanted.node_id for wanted in self._wanted if wanted.is_away}
        view, now = self._view(), self._now
        return sorted(
            record.node_id
            for key, record in self._known().items()
            if record.node_id not in away and (not view.fits or self._room.is_left_alone(key, now))
        )

    # ---- private

    @property
    def _now(self) -> float:
        return self._factory.clock.seconds()

    def _changed(self) -> None:
        if not self._stopped:
            self._alarm.set(self._now)
            self._telling.set(self._now + TELL_AFTER)

    def _look_again(self) -> None:
        _ = self.look()

    def _step(self) -> list[Wanted]:
        now, records, view = self._now, self._candidates(), self._view()
        dialed = []
        for step in self._room.steps(view, now):
            match step:
                case Dial(key):
                    wanted = self._want(records[key])
                    dialed += [wanted] if wanted is not None else []
                case Part():
                    _ = self._part(step)
        self._note_status(now)
        deadline = self._room.next_deadline()
        if deadline is not None:
            self._alarm.set(max(deadline, now))
        return dialed

    def _part(self, part: Part) -> Driver | None:
        remote = self._factory.remotes.find_key(part.key)
        link = remote.link if remote is not None else None
        if link is None or link.is_parting:
            return None
        self._room.leave_alone(part.key, self._now)
        link.say_goodbye(GoodbyeCode.ROOM, "this node needs the place", retry_after=self._factory.settings.refused_wait)
        return link

    def _view(self) -> View:
        factory = self._factory
        now, neighbours, reserved = self._now, [], factory.reserved()
        for remote, connection in factory.remotes_connected().items():
            link = remote.link
            is_kept = self._wanted.is_configured(connection) or connection.is_bootstrap
            neighbours.append(
                Neighbour(
                    remote.fingerprint or b"",
                    connection.connection.others,
                    max(link.linked_at, link.connection.used_at) if link is not None else now,
                    link is not None and link.is_link and not link.is_parting and remote.delivery.is_quiet,
                    is_kept,
                )
            )
        linked = {each.key for each in neighbours}
        under_way = sum(
            wanted.reason in (Reason.MET, Reason.ASKED)
            and wanted.dialer.state is not DialerState.LINKED
            and not wanted.is_away
            and wanted.fingerprint not in linked
            for wanted in self._wanted
        )
        return View(
            places=max(0, factory.settings.max_connections - reserved),
            neighbours=neighbours,
            under_way=under_way,
            candidates=list(self._candidates()),
        )

    def _known(self) -> dict[bytes, Record]:
        """Return the peers that are known and not linked, by their fingerprints."""
        factory = self._factory
        linked = {remote.fingerprint for remote in factory.remotes_connected()} | {factory.local.fingerprint}
        found = {}
        for record in (*self._referred.values(), *self._directory.current()):
            is_other = record.node_id != factory.local.node_id and record.fingerprint not in linked
            if is_other and not factory.remotes.is_linked(record.node_id):
                found[record.fingerprint] = record
        return found

    def _candidates(self) -> dict[bytes, Record]:
        """Return those of them that are not dialed either."""
        dialed = [
            wanted for wanted in self._wanted if wanted.reason is not Reason.ASKED
        ]  # who asks may have had enough
        ids, keys = {wanted.node_id for wanted in dialed}, {wanted.fingerprint for wanted in dialed}
        known = self._known()
        return {key: each for key, each in known.items() if key not in keys and each.node_id not in ids}

    def _refer(self, referral: Referral, source: Driver) -> None:
        """Note a peer that a refuser has told of, unless more is known of it; hearsay does not replace anything."""
        if self._directory.get(referral.node_id) is not None or referral.fingerprint in self._referred:
            return
        record = Record(referral.node_id, referral.fingerprint, referral.addresses, 0, True)
        record = self._factory.dialable(record, source)
        known = self._factory.claims.known_peers.key_of(referral.node_id)
        if not record.addresses or known not in (None, referral.fingerprint):
            return
        where = record.addresses[0]
        if any(other.addresses[0] == where for other in self._referred.values()):
            return  # one node listens at a port; who makes peers up has one address dialed for all of them
        self._referred[referral.fingerprint] = record
        if len(self._referred) > MAX_REFERRED:
            self._referred.popitem(last=False)

    def _tell_neighbours(self) -> None:
        """Tell those neighbours for whom it makes a difference how many this node has."""
        count = self._factory.neighbour_count()
        for link, told in list(self._told.items()):
            if link.state is State.LINKED and not link.is_bootstrap and min(told, MANY) != min(count - 1, MANY):
                self._told[link] = count - 1
                link.say(Links(count))

    def _note_status(self, now: float) -> None:
        linked, missing = self._factory.neighbour_count(), len(self.unlinked())
        self.status = RoomStatus(linked=linked, known=linked + missing) if missing else None
        if self.status is None:
            return
        if self._full_at is None or now - self._full_at >= SPELL_OVER_AFTER:
            self._tell_full_at = now + TELL_FULL_AFTER
        self._full_at = now
        if self._tell_full_at is None:
            return
        if now < self._tell_full_at:
            self._alarm.set(self._tell_full_at)
            return
        self._tell_full_at = None
        self._factory.log.warn(
            "full: linked to {linked} of {known} known peers; broadcasts reach no others",
            linked=linked,
            known=linked + missing,
        )
