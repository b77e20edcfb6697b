"""Reconnecting clients: one dialer for each wanted peer, which tries until it is linked, and again when it is lost.

A coroutine of Twisted's ``ClientService`` kind would count a peer as reached when TCP stands. A dialer counts until the
link is *ready*, so a peer that accepts and hangs up is retried ever more slowly; and so is one whose links are of no
use, as it refuses this node when they have hardly begun, or as they don't last.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from enum import Enum

from attrs import define
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from netlayer.config import Settings
from netlayer.errors import LinkLost, PeerIdentityMismatch, Rejected
from netlayer.net.driver import Driver
from netlayer.net.waiters import Waiters
from netlayer.sansio.overlay.backoff import BackOff
from netlayer.sansio.overlay.flapping import Tokens
from netlayer.wire.messages import FINAL_CODES, RejectCode

__all__ = ["Dialer", "DialerState", "is_final", "is_full"]

#: How often within how many seconds a send may cut the wait short if the peer's connections break: a few sends get
#: through at once, and a steady flow of them does not wear out the path. On average it is seldom enough to keep ten
#: seconds between two connections.
WAKES, WAKES_WITHIN = 3, 300.0


def is_final(error: Exception) -> bool:
    """Tell whether an attempt failed by a refusal that is meant for good."""
    return isinstance(error, Rejected) and error.code in FINAL_CODES and error.retry_after is None


def is_full(error: Exception | None) -> bool:
    """Return whether an attempt failed as the peer has no room."""
    return isinstance(error, Rejected) and error.code == RejectCode.FULL


class DialerState(Enum):
    """What a dialer does."""

    IDLE = "idle"
    DIALING = "dialing"
    WAITING = "waiting"
    LINKED = "linked"
    STOPPED = "stopped"


@define
class _Progress:
    """How far an attempt has come."""

    began: float
    is_connected: bool = False

    def connected(self) -> None:
        """A connection stands."""
        self.is_connected = True


class Dialer:
    """Dials one peer whenever it is not linked.

    :param dial: makes one attempt; its Deferred fires with the driver of the link. It calls its argument when a
        connection stands, before the handshake.
    :param failed: is told of each failed attempt, after the state has changed.
    :param believes: returns whether a refusal for good may be believed, so that it is asked again only each minute.
    :param dials_back: whether the peer may dial this node, too.

    :ivar last_error: why the last attempt failed, or None.
    """

    def __init__(
        self,
        clock: IReactorTime,
        dial: Callable[[Callable[[], None]], Deferred[Driver]],
        *,
        settings: Settings,
        rng: random.Random,
        failed: Callable[[Exception], None],
        believes: Callable[[], bool],
        dials_back: bool = True,
    ) -> None:
        self.state = DialerState.IDLE
        self.last_error: Exception | None = None
        self._clock = clock
        self._dial = dial
        self._settings = settings
        self._failed = failed
        self._believes = believes
        self._dials_back = dials_back
        self._backoff = BackOff(settings=settings, rng=rng)
        self._rng = rng
        self._attempt: Deferred[Driver] | None = None
        self._timer: IDelayedCall | None = None
        self._not_before = 0.0  # as the peer has asked for with its refusal
        self._linked_at = 0.0
        self._wakes = Tokens(count=WAKES, seconds=WAKES_WITHIN)
        self._waiting = Waiters()  # for the end of the attempt

    @property
    def attempts(self) -> int:
        """Failed attempts since the peer was last linked, or since somebody last sent to it."""
        return 0 if self.state is DialerState.LINKED else self._backoff.attempts

    @property
    def breaks(self) -> int:
        """Links in a row that did not last."""
        return self._backoff.breaks

    @property
    def connects(self) -> bool:
        """Whether the last connection stood and broke, so that somebody may live there."""
        return self._backoff.broken > 0

    @property
    def exhausted(self) -> bool:
        """Whether one attempt and all its retries have failed."""
        return self.attempts > self._settings.retry_count

    @property
    def was_refused(self) -> bool:
        """Whether nothing listened where the last attempt went, and none has begun since."""
        return self.state is DialerState.WAITING and isinstance(self.last_error, ConnectionRefusedError)

    @property
    def next_attempt(self) -> float | None:
        """When the next attempt begins, in the reactor's seconds, or None."""
        timer = self._timer
        return timer.getTime() if timer is not None else None

    def has_dialed(self, protocol: Driver) -> bool:
        """Tell whether a connection is what the attempt that is under way has made."""
        return self._attempt is not None and protocol.is_outcome_of(self._attempt)

    def start(self, delay: float | None = None) -> None:
        """Begin the first attempt, at once or after `delay` seconds; whoever sends to the peer may wake it."""
        if delay is not None:
            self._wait(delay)
        else:
            self._begin()

    @property
    def refusal(self) -> Exception | None:
        """Why the peer can't be dialed for longer than anybody who sends to it waits, or None."""
        asked = self._not_before - self._clock.seconds()
        waits = self.state is DialerState.WAITING and asked > self._settings.delivery_timeout
        return self.last_error if waits else None

    def wake(self) -> None:
        """Somebody sends to the peer: if the dialer waits, dial now, or as soon as the peer has asked for.

        If it has given up reporting, count anew. If the peer's connections break, that is done now and then only. A
        peer that is not there is dialed at once each time, as that costs the path nothing.
        """
        now = self._clock.seconds()
        if self.state is DialerState.WAITING and (self.breaks or self.connects) and not self._wakes.take(now):
            return
        if self.exhausted:
            self._backoff.hurry()
        if self.state is DialerState.WAITING:
            asked = self._not_before - now
            if asked > 0.0:
                self._cancel_timer()
                self._wait(asked)
            else:
                self._begin()

    def linked(self, link: Driver) -> None:
        """The peer is linked, whoever dialed. An attempt of ours that is under way besides is given up."""
        if self.state is DialerState.STOPPED:
            return
        self._cancel_timer()
        self.state = DialerState.LINKED
        self._linked_at = self._clock.seconds()
        self.last_error = None
        attempt, self._attempt = self._attempt, None
        if attempt is not None and not link.is_outcome_of(attempt):
            attempt.cancel()
            self._waiting.fire()

    def lost(
        self,
        failure: Exception | None = None,
        *,
        broke: Exception | None = None,
        lasted: float | None = None,
        at_least: float = 0.0,
    ) -> None:
        """The link is gone: dial again soon, both ends not at the same moment; or later, if it was of no use.

        A link that did not last was but another failed attempt, and those before it count on.

        :param failure: why it was of no use: the peer has refused it, say.
        :param broke: why it has ended, unless that was on purpose.
        :param lasted: seconds for which the peer was heard on it; by default until now.
        :param at_least: seconds to wait, ``refused_wait`` at most, unless somebody sends to the peer.
        """
        if self.state is not DialerState.LINKED:
            return
        now = self._clock.seconds()
        lasted = now - self._linked_at if lasted is None else lasted
        is_young = lasted <= self._settings.backoff_cap
        if not is_young or (failure is None and broke is None):
            self._backoff.ready()
        if failure is not None:
            self._retry(failure)
        elif broke is not None and is_young:
            self.last_error = broke
            self._not_before = now
            unnoticed = self._dials_back and lasted < self._settings.backoff_first  # it may not have stood there
            self._wait(self._backoff.broke(now, unnoticed=unnoticed))
        else:
            wait = min(at_least, self._settings.refused_wait)
            self._wait(wait + self._rng.uniform(0.0, self._settings.backoff_first))

    def stop(self) -> None:
        """Give up for ever."""
        self.state = DialerState.STOPPED
        self._cancel_timer()
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.cancel()
        self._waiting.fire()

    def when_tried(self) -> Deferred[None]:
        """Return a Deferred that fires when the attempt that is under way has ended, in whichever way."""
        return self._waiting.add() if self.state is DialerState.DIALING else succeed(None)

    # ---- private

    def _begin(self) -> None:
        self._cancel_timer()
        self.state = DialerState.DIALING
        progress = _Progress(self._clock.seconds())
        self._attempt = attempt = self._dial(progress.connected)
        _ = attempt.addCallbacks(
            lambda link: self._succeeded(attempt, link),
            lambda failure: self._attempt_failed(attempt, failure, progress),
        )

    def _is_former(self, attempt: Deferred[Driver]) -> bool:
        """Tell whether an attempt has ended when another one was under way already."""
        return self._attempt is not None and self._attempt is not attempt

    def _succeeded(self, attempt: Deferred[Driver], link: Driver) -> None:
        if self._is_former(attempt):
            return
        self._attempt = None
        if self.state is DialerState.DIALING:  # nobody has told us: it was not known that this is the peer
            self.linked(link)
        self._waiting.fire()

    def _attempt_failed(self, attempt: Deferred[Driver], failure: Failure, progress: _Progress) -> None:
        if self._is_former(attempt):  # its link broke before it stood at both ends, and has waited for another one
            return
        self._attempt = None
        if self.state is not DialerState.DIALING:  # linked by another connection, or stopped, meanwhile
            self._waiting.fire()
            return
        error = failure.value if isinstance(failure.value, Exception) else LinkLost(repr(failure.value))
        if isinstance(error, CancelledError):
            error = LinkLost("the attempt was given up")
        has_answered = isinstance(error, Rejected | PeerIdentityMismatch)
        self._retry(error, progress if progress.is_connected and not has_answered else None)
        self._waiting.fire()

    def _retry(self, error: Exception, broken: _Progress | None = None) -> None:
        """Dial again when it is time, after an attempt or a link that an error has ended.

        :param broken: the attempt, if its connection stood and broke.
        """
        self.last_error = error
        if isinstance(error, Rejected) and error.code == RejectCode.SELF:
            self.stop()
        elif broken is not None:
            self._not_before = now = self._clock.seconds()
            lasted = now - broken.began
            self._wait(self._backoff.fell_short(now, lasted=lasted, dials_back=self._dials_back))
        else:
            now, at_least = self._clock.seconds(), self._at_least(error)
            self._not_before = now + at_least
            self._wait(self._backoff.failed(now, at_least=at_least))
        self._failed(error)

    def _at_least(self, error: Exception) -> float:
        if not isinstance(error, Rejected):
            return 0.0
        if (
            error.code == RejectCode.PROTOCOL_VIOLATION
            or (is_full(error) and error.retry_after is None)
            or (is_final(error) and self._believes())
        ):
            return self._settings.refused_wait
        return min(error.retry_after or 0.0, self._settings.refused_wait)

    def _wait(self, seconds: float) -> None:
        self.state = DialerState.WAITING
        self._timer = self._clock.callLater(seconds, self._waited)

    def _waited(self) -> None:
        self._timer = None
        self._begin()

    def _cancel_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
