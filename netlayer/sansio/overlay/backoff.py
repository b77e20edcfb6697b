"""When to try again: exponential back-off with jitter.

The formulas are "full jitter" and, after links that broke young, "equal jitter" of Marc Brooker, *Exponential Backoff
And Jitter* (AWS Architecture Blog, 2015). Two caps make a promise possible: detection, the longest wait and a handshake
together stay below 30 seconds.

A path may break each connection before it is a link. Then neither end knows of the other's attempts, and both wait on
their own. For ten seconds between two connections on average each end has to wait longer than the promise allows. So
such a path is an exception to it: an end waits up to twice the cap, unless the other end never dials.
"""

from __future__ import annotations

import random

from netlayer.config import Settings

__all__ = ["BackOff"]


class BackOff:
    """The waits between the attempts to reach one peer.

    :ivar attempts: failed attempts since the peer was last linked.
    :ivar breaks: links in a row that did not last.
    :ivar broken: connections in a row that stood and broke, whether they were links or not.
    """

    def __init__(self, *, settings: Settings, rng: random.Random) -> None:
        self.attempts = self.breaks = self.broken = 0
        self._settings = settings
        self._rng = rng
        self._outage_began: float | None = None

    def failed(self, now: float, *, at_least: float = 0.0) -> float:
        """Count a failed attempt and return the seconds to wait before the next one.

        :param at_least: the peer's own wish, in seconds.
        """
        self.attempts += 1
        self.broken = 0
        return max(at_least, self._rng.uniform(0.0, self._longest(now)))

    def fell_short(self, now: float, *, lasted: float, dials_back: bool) -> float:
        """Count an attempt whose connection broke before it was a link, and return the seconds to wait.

        The next attempt begins no sooner after the begin of this one than the longest wait, or than half of that if
        only this end dials.

        :param lasted: the seconds since the attempt began.
        :param dials_back: whether the other end may be dialing, too.
        """
        self.attempts += 1
        self.broken += 1
        longest = self._longest(now)
        wait = self._rng.uniform(0.0, longest)
        apart = longest + wait if dials_back else (longest + wait) / 2
        return max(wait, apart - lasted)

    def broke(self, now: float, *, unnoticed: bool = False) -> float:
        """Count a link that did not last, and return the seconds to wait before the next attempt.

        That is half the longest wait at least: both ends dial, and the shorter one of two waits counts.

        :param unnoticed: whether the other end may be dialing without having seen the link; the wait is then twice as
            long.
        """
        self.attempts = 0
        self.breaks += 1
        self.broken += 1
        longest = self._longest(now)
        return self._rng.uniform(longest / 2, longest) * (2 if unnoticed else 1)

    def ready(self) -> None:
        """Start anew: a link has lasted, or was ended on purpose. That the peer accepted a connection is no reason."""
        self.attempts = self.breaks = self.broken = 0
        self._outage_began = None

    def hurry(self) -> None:
        """Begin with short waits again, though the outage goes on: somebody has sent to the peer.

        Waits after broken connections stay as long as they are.
        """
        self.attempts = 0

    def _longest(self, now: float) -> float:
        settings = self._settings
        if self._outage_began is None:
            self._outage_began = now
        late = now - self._outage_began >= settings.backoff_late
        cap = settings.backoff_late_cap if late else settings.backoff_cap
        doublings = min(max(self.attempts + self.breaks, self.broken) - 1, 32)
        return min(cap, settings.backoff_first * 2.0**doublings)
