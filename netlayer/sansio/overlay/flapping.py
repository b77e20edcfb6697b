"""Links that stand and do not last: whose they are, and how often the waits between them may be cut short."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable

__all__ = ["FLAPPING", "LASTS", "Breaks", "Tokens"]

#: Links lost within :data:`WITHIN` seconds from which on a peer flaps: fewer are a restart or two.
FLAPPING, WITHIN = 4, 3600.0
#: Seconds that a link to a peer that flaps has to last until that is over.
LASTS = 600.0

#: Peers whose breaks are counted at most; the one that broke longest ago is forgotten first.
_MAX_PEERS = 4096


class Breaks:
    """Counts, for each peer, the links that have broken lately: what there is to say is said once then."""

    def __init__(self) -> None:
        self._times: OrderedDict[Hashable, deque[float]] = OrderedDict()

    def lost(self, peer: Hashable, now: float) -> bool:
        """Note that a link has broken; return whether its peer flaps from now on."""
        times = self._times.setdefault(peer, deque(maxlen=FLAPPING))
        self._times.move_to_end(peer)
        if len(self._times) > _MAX_PEERS:
            self._times.popitem(last=False)
        flapped = self.is_flapping(peer, now)
        times.append(now)
        return not flapped and self.is_flapping(peer, now)

    def is_flapping(self, peer: Hashable, now: float) -> bool:
        """Return whether the links to a peer break again and again."""
        times = self._times.get(peer)
        return times is not None and len(times) == FLAPPING and now - times[0] < WITHIN

    def lasts(self, peer: Hashable) -> None:
        """Note that a link to a peer has lasted."""
        self._times.pop(peer, None)


class Tokens:
    """So many times within so many seconds something may be done.

    :param count: how many times.
    :param seconds: within which time.
    """

    def __init__(self, *, count: int, seconds: float) -> None:
        self._seconds = seconds
        self._taken: deque[float] = deque(maxlen=count)

    def take(self, now: float) -> bool:
        """Return whether it may be done now; that counts."""
        taken = self._taken
        if len(taken) == taken.maxlen and 0.0 <= now - taken[0] < self._seconds:
            return False
        taken.append(now)
        return True
