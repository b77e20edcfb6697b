"""Who has broken the protocol too often lately, and is refused for a while, though not without being told why."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable

__all__ = ["Violations"]

#: Offenders that are remembered at most; those whose last offence is the oldest are forgotten first.
MAX_OFFENDERS = 4096
#: Seconds from one trial of a refused offender to its next: enough to tell it why, too few to cost anything.
TRIAL_AFTER = 1.0


class _Offender:
    """One offender: when it has offended, the latest times, and when it had its last trial."""

    __slots__ = ("offences", "tried")

    def __init__(self, most: int) -> None:
        self.offences: deque[float] = deque(maxlen=most)
        self.tried: float | None = None


class Violations:
    """Counts the offences of offenders of one kind: keys, or addresses.

    :param most: offences within `memory` after which an offender is refused.
    :param memory: seconds that an offence counts, and that a refusal lasts.
    """

    def __init__(self, *, most: int, memory: float) -> None:
        self._most = most
        self._memory = memory
        self._offenders: OrderedDict[Hashable, _Offender] = OrderedDict()

    def note(self, who: Hashable, now: float) -> bool:
        """Count an offence; return whether it is the one too many."""
        offender = self._offenders.setdefault(who, _Offender(self._most))
        self._offenders.move_to_end(who)
        if len(self._offenders) > MAX_OFFENDERS:
            self._offenders.popitem(last=False)
        refused = self.is_refused(who, now)
        offender.offences.append(now)
        return not refused and self.is_refused(who, now)

    def is_refused(self, who: Hashable, now: float) -> bool:
        """Return whether an offender has offended `most` times within the time that counts."""
        return self.refused_for(who, now) > 0.0

    def refused_for(self, who: Hashable, now: float) -> float:
        """Return the seconds for which an offender is still refused; 0 if it is not."""
        offender = self._offenders.get(who)
        if offender is None or len(offender.offences) < self._most:
            return 0.0
        return max(0.0, min(offender.offences[0] + self._memory - now, self._memory))

    def take_trial(self, who: Hashable, now: float) -> bool:
        """Return whether somebody may try now: always, or once a second if it is refused. That counts as a trial."""
        if not self.is_refused(who, now):
            return True
        offender = self._offenders[who]
        if offender.tried is not None and 0.0 <= now - offender.tried < TRIAL_AFTER:  # clocks are set back, too
            return False
        offender.tried = now
        return True

    def return_trial(self, who: Hashable, taken_at: float) -> None:
        """Take a trial back of which nothing came, unless there was another one since."""
        offender = self._offenders.get(who)
        if offender is not None and offender.tried == taken_at:
            offender.tried = None
