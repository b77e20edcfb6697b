"""Room for links: whom a node dials, lets in and parts from when not everybody whom it knows fits.

While everybody fits, a node links to everybody. Above that,

- it dials until it has one link fewer than fit, a few peers at a time and chosen at random, and lets others in until
  it is full. So there is nearly always room somewhere, and who is refused finds it.
- A peer that has no neighbour at all is let in also by a full node, which parts from its least useful neighbour: one
  that has others, and of these the one that was idle longest. Nobody is parted from while anything is under way.
- From time to time it gives up such a link, or dials one peer beyond, in turns. Networks that have grown apart find
  each other by that. Such an island has at least as many nodes as each of them has links, so the time between two of
  these steps grows with the links, and an island of any size takes one every few seconds.

The machine holds no peers: it is given what there is, as frozen values, and names peers by their fingerprints.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Sequence
from typing import TypeAlias

import attrs

from netlayer.config import Settings
from netlayer.sansio.overlay.backoff import BackOff

__all__ = ["Dial", "Neighbour", "Part", "Room", "Step", "View"]

#: Peers dialed at once at least, while there is room for them: one that is refused by one may be let in by another.
#: Each of them may part from somebody to let a newcomer in, so it is not everybody at once either.
BATCH = 3
#: Neighbours that a node keeps if others can choose whom to part from: with two it is no dead end.
ENOUGH = 2
#: Seconds between two steps that mix the network, for each link that the node may have, and in any case at least.
MIX_PER_LINK, MIX_AT_LEAST = 2.5, 8.0
#: In how many of these steps a full node gives up a link: the fewer, the more links there are.
GIVE_UP = 1 / 3
#: Seconds for which a peer is left alone at least, whatever it says: it may be wrong about its room again and again.
ALONE_AT_LEAST = 5.0
#: Peers to be left alone that are remembered; those that were told first are forgotten first.
MAX_LEFT_ALONE = 4096


@attrs.frozen
class Neighbour:
    """A peer that is linked.

    :ivar others: how many neighbours it has besides this node, as it has told last; None if it has not.
    :ivar used_at: when packets or receipts were last received of it, or when its link began.
    :ivar is_quiet: whether nothing is queued, in flight or being handled.
    :ivar is_kept: whether it is of the configuration, or a bootstrap node, and has a place of its own.
    """

    key: bytes
    others: int | None
    used_at: float
    is_quiet: bool
    is_kept: bool


@attrs.frozen(kw_only=True)
class View:
    """What there is to decide about.

    :ivar places: how many links there may be besides those of the configuration.
    :ivar neighbours: the peers that are linked, or that are about to be.
    :ivar under_way: how many others are dialed.
    :ivar candidates: the fingerprints of those that are known, and neither linked nor dialed.
    """

    places: int
    neighbours: Sequence[Neighbour]
    under_way: int
    candidates: Sequence[bytes]

    @property
    def taken(self) -> int:
        """How many places are taken."""
        return sum(not each.is_kept for each in self.neighbours)

    @property
    def fits(self) -> bool:
        """Whether everybody who is known fits."""
        return self.taken + self.under_way + len(self.candidates) <= self.places


@attrs.frozen
class Dial:
    """Dial a peer."""

    key: bytes


@attrs.frozen
class Part:
    """End the link to a peer, and not the session with it, as its place is needed."""

    key: bytes


Step: TypeAlias = Dial | Part


class Room:
    """The decisions of one node about its links.

    :ivar left_alone: how many peers are left alone.
    """

    def __init__(self, *, settings: Settings, rng: random.Random) -> None:
        self._settings = settings
        self._rng = rng
        self._alone_until: OrderedDict[bytes, float] = OrderedDict()
        self._parted: set[bytes] = set()  # those of them that have parted, and are asked once before their time
        self._asked_until: OrderedDict[bytes, float] = OrderedDict()  # until when they are not asked once more
        self._backoff = BackOff(settings=settings, rng=rng)
        self._dial_at: float | None = None  # when to dial on
        self._mix_at: float | None = None

    # ---- what has happened

    def leave_alone(self, key: bytes, now: float, seconds: float | None = None) -> None:
        """A peer has refused this node for want of room, or this node has parted from it.

        :param seconds: for how long it is not dialed, if that is not too short; by default for ``refused_wait``, which
            is the most.
        """
        most = self._settings.refused_wait
        self._parted.discard(key)
        self._alone_until[key] = now + (most if seconds is None else min(max(seconds, ALONE_AT_LEAST), most))
        self._alone_until.move_to_end(key)
        if len(self._alone_until) > MAX_LEFT_ALONE:
            oldest, _ = self._alone_until.popitem(last=False)
            self._parted.discard(oldest)

    def parted(self, key: bytes, now: float, seconds: float | None = None) -> None:
        """A peer has parted from this node, as it needed the place.

        It is left alone, too; but if others have parted at the same time, and too few are left, it is asked once in
        ``refused_wait``: it may let this node in and part again and again.
        """
        self.leave_alone(key, now, seconds)
        if self._asked_until.get(key, now) <= now:
            self._parted.add(key)

    def linked(self, key: bytes) -> None:
        """A peer is linked: there is room somewhere, so further ones are dialed soon."""
        self._alone_until.pop(key, None)
        self._parted.discard(key)
        self._backoff.ready()
        self._dial_at = None

    def is_left_alone(self, key: bytes, now: float) -> bool:
        """Return whether a peer is not to be dialed now, unless somebody sends to it."""
        return self._alone_until.get(key, now) > now

    # ---- decisions

    def steps(self, view: View, now: float) -> list[Step]:
        """Return what to do now; call it again when anything changes, and at :meth:`next_deadline`."""
        steps: list[Step] = list(self._dials(view, now))
        if view.fits or not view.places:
            self._mix_at = None
        elif self._mix_at is None:
            self._mix_at = now + self._mix_after(view)
        elif self._mix_at <= now:
            self._mix_at = now + self._mix_after(view)
            steps += self._mix(view, steps, now)
        return steps

    def next_deadline(self) -> float | None:
        """Return when to call :meth:`steps` at the latest, or None."""
        return min((at for at in (self._dial_at, self._mix_at) if at is not None), default=None)

    def make_room(self, view: View, now: float, *, links: int = 0, idle_for: float = 0.0) -> Part | None:
        """Return whom to part from so that somebody else can be linked, or None if nobody can be spared.

        :param links: how many neighbours somebody else has. One without any comes before all that keep another one;
            for others nobody is left with less than enough.
        :param idle_for: seconds for which its link has not been used at least.
        """
        least = self._least_useful(view, ENOUGH) or (self._least_useful(view, 1) if not links else None)
        return Part(least.key) if least is not None and now - least.used_at >= idle_for else None

    # ---- private

    def _dials(self, view: View, now: float) -> list[Dial]:
        slack = 0 if view.fits or view.places <= ENOUGH else 1
        needed = view.places - slack - view.taken - view.under_way
        if needed <= 0:
            self._dial_at = None
            return []
        eligible = self._eligible(view, now)
        if view.fits:
            self._dial_at = None
            chosen = eligible
        elif self._dial_at is not None and self._dial_at > now and self._parted.isdisjoint(eligible):
            return []
        else:
            chosen = self._rng.sample(eligible, min(len(eligible), needed, max(BATCH, needed // 4)))
            self._dial_at = now + self._backoff.failed(now) if chosen else None
        for key in self._parted.intersection(chosen):
            self._parted.discard(key)
            self._asked_until[key] = now + self._settings.refused_wait
            self._asked_until.move_to_end(key)
            if len(self._asked_until) > MAX_LEFT_ALONE:
                self._asked_until.popitem(last=False)
        if not chosen:
            self._dial_at = min((self._alone_until[key] for key in view.candidates), default=None)
        return [Dial(key) for key in chosen]

    def _mix(self, view: View, steps: Sequence[Step], now: float) -> list[Step]:
        """Take one step of mixing: give up a link if there are as many as fit, dial somebody else if not."""
        if view.taken >= view.places:
            least = self._least_useful(view, ENOUGH) if self._rng.random() < GIVE_UP else None
            return [Part(least.key)] if least is not None else []
        eligible = [key for key in self._eligible(view, now) if Dial(key) not in steps]
        free = view.places - view.taken - view.under_way - len(steps)
        return [Dial(self._rng.choice(eligible))] if eligible and free > 0 else []

    def _mix_after(self, view: View) -> float:
        return max(MIX_AT_LEAST, MIX_PER_LINK * view.places) * self._rng.uniform(0.5, 1.5)

    def _eligible(self, view: View, now: float) -> list[bytes]:
        asks_parted = view.taken < ENOUGH
        return [
            key for key in view.candidates if not self.is_left_alone(key, now) or (asks_parted and key in self._parted)
        ]

    def _least_useful(self, view: View, others: int) -> Neighbour | None:
        """Return who can be spared best of those that have so many other neighbours at least; ties at random."""
        spared = [n for n in view.neighbours if n.is_quiet and not n.is_kept and (n.others or 0) >= others]
        if not spared:
            return None
        longest = min(each.used_at for each in spared)
        return self._rng.choice([each for each in spared if each.used_at == longest])
