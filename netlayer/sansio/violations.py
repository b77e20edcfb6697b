"""Who has broken the protocol too often lately, and is refused for a while."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable

__all__ = ["Violations"]

#: Offenders that are remembered at most; those whose last offence is the oldest are forgotten first.
MAX_OFFENDERS = 4096


class Violations:
    """Counts offences, by proven fingerprints or by the addresses of those who have proven none.

    :param most: offences within `memory` after which somebody is refused.
    :param memory: seconds that an offence counts, and that a refusal lasts.
    """

    def __init__(self, *, most: int, memory: float) -> None:
        self._most = most
        self._memory = memory
        self._offences: OrderedDict[Hashable, deque[float]] = OrderedDict()

    def note(self, offender: Hashable, now: float) -> bool:
        """Count an offence; return whether it is the one too many."""
        offences = self._offences.setdefault(offender, deque(maxlen=self._most))
        self._offences.move_to_end(offender)
        if len(self._offences) > MAX_OFFENDERS:
            self._offences.popitem(last=False)
        refused = self.is_refused(offender, now)
        offences.append(now)
        return not refused and self.is_refused(offender, now)

    def is_refused(self, offender: Hashable, now: float) -> bool:
        """Tell whether an offender has offended `most` times within the time that counts."""
        offences = self._offences.get(offender)
        return offences is not None and len(offences) == self._most and now - offences[0] < self._memory
