"""Dialers, state by state: when they dial, how long they wait, and that nothing is left of them when they stop."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from netlayer import Settings
from netlayer.errors import LinkLost, PeerIdentityMismatch, Rejected, RemoteProtocolError
from netlayer.net.dialing import Dialer, DialerState, is_final
from netlayer.wire.messages import RejectCode

SETTINGS = Settings(backoff_first=1.0, backoff_cap=10.0, backoff_late_cap=20.0, backoff_late=120.0, refused_wait=60.0)


class Longest(random.Random):
    """Chance that always takes the longest wait."""

    def uniform(self, a: float, b: float) -> float:
        return b


class Link:
    """The outcome of an attempt, or of none of ours."""

    def __init__(self, attempt: Deferred[Any] | None = None) -> None:
        self.attempt = attempt

    def is_outcome_of(self, attempt: Deferred[Any]) -> bool:
        return self.attempt is attempt


class DialerTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.attempts: list[Deferred[Any]] = []
        self.cancelled: list[Deferred[Any]] = []
        self.failures: list[tuple[DialerState, int, Exception]] = []
        self.believes = False
        self.dialer = Dialer(
            self.clock,
            self.dial,
            settings=SETTINGS,
            rng=Longest(),
            failed=lambda error: self.failures.append((self.dialer.state, self.dialer.attempts, error)),
            believes=lambda: self.believes,
        )

    def tearDown(self) -> None:
        self.dialer.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def dial(self, connected: Callable[[], None]) -> Deferred[Any]:
        self.connected = connected
        self.attempts.append(Deferred(self.cancelled.append))
        return self.attempts[-1]

    def fail_attempt(self, error: Exception | None = None) -> None:
        self.attempts[-1].errback(error or LinkLost("no"))

    def link(self) -> None:
        """The attempt under way succeeds."""
        link = Link(self.attempts[-1])
        self.dialer.linked(link)  # type: ignore[arg-type]
        self.attempts[-1].callback(link)

    def check(self, state: DialerState, *, dials: int, timers: int) -> None:
        self.assertEqual(self.dialer.state, state)
        self.assertEqual(len(self.attempts), dials)
        self.assertEqual(len(self.clock.getDelayedCalls()), timers)
        self.assertEqual(self.dialer.next_attempt is not None, timers == 1)


class UselessLinkTests(DialerTestCase):
    """Links that are of no use are failed attempts, if they end soon."""

    def test_refused_soon(self) -> None:
        """Links that the peer refuses at once are tried ever more slowly, and are told of like attempts."""
        self.dialer.start()
        for attempts in (1, 2, 3):
            self.link()
            self.assertEqual(self.dialer.attempts, 0, "while the link stands")
            self.clock.advance(1.0)
            refusal = Rejected(RejectCode.NOT_READY, "")
            self.dialer.lost(refusal)
            self.assertEqual(self.failures[-1], (DialerState.WAITING, attempts, refusal))
            self.clock.advance(2.0 ** (attempts - 1) - 0.1)
            self.check(DialerState.WAITING, dials=attempts, timers=1)
            self.clock.advance(0.2)
            self.check(DialerState.DIALING, dials=attempts + 1, timers=0)
        self.assertIs(self.dialer.last_error, refusal)

    def test_asked_to_wait(self) -> None:
        """What the peer asks for with its refusal holds for a link, too."""
        self.dialer.start()
        self.link()
        self.dialer.lost(Rejected(RejectCode.FULL, "", 30.0))
        self.clock.advance(29.0)
        self.check(DialerState.WAITING, dials=1, timers=1)

    def test_refused_late(self) -> None:
        """A link that stood for long was of use: counting begins anew."""
        self.dialer.start()
        self.fail_attempt()
        self.clock.advance(1.0)
        self.link()
        self.clock.advance(SETTINGS.backoff_cap + 1.0)
        self.dialer.lost(Rejected(RejectCode.NOT_READY, ""))
        self.assertEqual(self.failures[-1][1], 1)

    def test_lost(self) -> None:
        """A link that merely breaks is made again soon."""
        self.dialer.start()
        self.fail_attempt()
        self.clock.advance(1.0)
        self.link()
        self.dialer.lost()
        self.clock.advance(SETTINGS.backoff_first)
        self.check(DialerState.DIALING, dials=3, timers=0)
        self.assertEqual((self.dialer.attempts, len(self.failures)), (0, 1))

    def test_breaks_young(self) -> None:
        """A link that did not last is a failed attempt, whatever it has carried; nobody is told that it has failed."""
        broke = LinkLost("reset")
        self.dialer.start()
        for n in range(8):
            self.link()
            self.clock.advance(SETTINGS.backoff_cap / 2 if n % 2 else 60.0)
            self.dialer.lost(broke=broke, lasted=None if n % 2 else 3.0)
            self.assertEqual((self.dialer.breaks, self.dialer.attempts, self.dialer.last_error), (n + 1, 0, broke))
            cap = SETTINGS.backoff_late_cap if self.clock.seconds() >= SETTINGS.backoff_late else SETTINGS.backoff_cap
            longest = min(cap, SETTINGS.backoff_first * 2**n)
            self.clock.advance(longest - 0.1)
            self.check(DialerState.WAITING, dials=n + 1, timers=1)
            self.clock.advance(0.2)
            self.check(DialerState.DIALING, dials=n + 2, timers=0)
        self.assertEqual(self.failures, [])
        self.link()
        self.clock.advance(SETTINGS.backoff_cap + 0.1)
        self.dialer.lost(broke=broke)
        self.assertEqual(self.dialer.breaks, 0)

    def test_wakes_are_few(self) -> None:
        """A send cuts the wait after a young link short three times in five minutes."""
        self.dialer.start()
        for dials in (2, 3, 4, 4):
            self.link()
            self.dialer.lost(broke=LinkLost("reset"))
            self.dialer.wake()
            self.assertEqual(len(self.attempts), dials)
        self.check(DialerState.WAITING, dials=4, timers=1)

    def test_hardly_stood(self) -> None:
        """A link that hardly stood may never have stood at the other end, which dials on its own: waits are longer."""
        self.dialer.start()
        self.link()
        self.dialer.lost(broke=LinkLost("reset"))
        self.assertEqual(self.dialer.next_attempt, 2 * SETTINGS.backoff_first)

    def test_falls_short(self) -> None:
        """An attempt whose connection broke before it was a link is a broken one, whatever error has ended it."""
        for error in (ConnectionLost(), LinkLost("no link within 5 s"), RemoteProtocolError("")):
            self.setUp()
            self.dialer.start()
            for n in range(20):
                self.connected()
                self.fail_attempt(error)
                self.assertEqual((self.dialer.attempts, self.dialer.connects), (n + 1, True))
                assert self.dialer.next_attempt is not None
                self.clock.advance(self.dialer.next_attempt - self.clock.seconds())
            self.connected()
            self.fail_attempt(error)
            self.assertEqual(self.dialer.next_attempt, self.clock.seconds() + 2 * SETTINGS.backoff_late_cap)
            self.dialer.stop()

    def test_answers(self) -> None:
        """A peer that refuses has answered: its connection did not break."""
        for error in (Rejected(RejectCode.NOT_READY, ""), PeerIdentityMismatch("2", "3")):
            self.setUp()
            self.dialer.start()
            self.connected()
            self.fail_attempt(error)
            self.assertFalse(self.dialer.connects)
            self.assertEqual(self.dialer.next_attempt, SETTINGS.backoff_first)
            self.dialer.stop()

    def test_wakes_are_few_without_link(self) -> None:
        """If no connection becomes a link, a send cuts the wait short three times in five minutes, exhausted or not."""
        self.dialer.start()
        for _ in range(100):
            if self.dialer.state is DialerState.DIALING:
                self.connected()
                self.fail_attempt(ConnectionLost())
            attempts = self.dialer.attempts
            self.dialer.wake()
            self.assertIn(self.dialer.attempts, (attempts, 0))
        self.check(DialerState.WAITING, dials=4, timers=1)
        self.assertTrue(self.dialer.exhausted)

    def test_wakes_of_the_absent(self) -> None:
        """A peer that is not there is dialed at once whenever somebody sends, even if connections broke before."""
        self.dialer.start()
        self.connected()
        self.fail_attempt(ConnectionLost())
        self.dialer.wake()
        for dials in range(3, 20):
            self.fail_attempt(ConnectionRefusedError())
            self.dialer.wake()
            self.check(DialerState.DIALING, dials=dials, timers=0)

    def test_former_attempt(self) -> None:
        """The outcome of an attempt whose link broke before it stood at both ends is not that of the next attempt."""
        self.dialer.start()
        first = self.attempts[0]
        self.dialer.linked(Link(first))  # type: ignore[arg-type]
        self.dialer.lost()
        self.dialer.wake()
        tried = self.dialer.when_tried()
        first.errback(LinkLost("the other connection, too"))
        self.check(DialerState.DIALING, dials=2, timers=0)
        self.assertNoResult(tried)
        self.dialer.stop()
        self.assertEqual(self.cancelled, [self.attempts[1]])


class StateTests(DialerTestCase):
    def test_start(self) -> None:
        """A dialer dials when it is started, or after the delay that it is given."""
        self.check(DialerState.IDLE, dials=0, timers=0)
        self.dialer.start()
        self.check(DialerState.DIALING, dials=1, timers=0)

    def test_start_later(self) -> None:
        """With a delay it waits first."""
        self.dialer.start(3.0)
        self.check(DialerState.WAITING, dials=0, timers=1)
        self.assertEqual(self.dialer.next_attempt, 3.0)
        self.clock.advance(3.0)
        self.check(DialerState.DIALING, dials=1, timers=0)

    def test_linked(self) -> None:
        """Once linked it rests."""
        self.dialer.start()
        self.link()
        self.check(DialerState.LINKED, dials=1, timers=0)
        self.clock.advance(1000)
        self.check(DialerState.LINKED, dials=1, timers=0)
        self.assertIsNone(self.dialer.last_error)

    def test_linked_unannounced(self) -> None:
        """An attempt whose link nobody has told of makes it linked as well."""
        self.dialer.start()
        self.attempts[0].callback(Link(self.attempts[0]))
        self.check(DialerState.LINKED, dials=1, timers=0)

    def test_linked_by_the_peer(self) -> None:
        """When the peer has dialed us, our own attempt is given up."""
        self.dialer.start()
        self.dialer.linked(Link())  # type: ignore[arg-type]
        self.assertEqual(self.cancelled, self.attempts)
        self.check(DialerState.LINKED, dials=1, timers=0)
        self.assertEqual(self.failures, [])

    def test_linked_while_waiting(self) -> None:
        """A wait ends when the peer dials us."""
        self.dialer.start()
        self.fail_attempt()
        self.dialer.linked(Link())  # type: ignore[arg-type]
        self.check(DialerState.LINKED, dials=1, timers=0)
        self.assertEqual((self.dialer.attempts, self.dialer.last_error), (0, None))

    def test_lost(self) -> None:
        """A link that was lost is dialed again soon, not at once, as the other end does the same."""
        self.dialer.start()
        self.link()
        self.dialer.lost()
        self.check(DialerState.WAITING, dials=1, timers=1)
        self.assertEqual(self.dialer.next_attempt, SETTINGS.backoff_first)
        self.clock.advance(SETTINGS.backoff_first)
        self.check(DialerState.DIALING, dials=2, timers=0)

    def test_lost_without_link(self) -> None:
        """A loss that is none, as of a connection to the same peer that never was its link, changes nothing."""
        self.dialer.start()
        self.dialer.lost()
        self.check(DialerState.DIALING, dials=1, timers=0)

    def test_lost_within_the_hook(self) -> None:
        """A link that is lost while its attempt is told of it is dialed again, once."""
        self.dialer.start()
        link = Link(self.attempts[0])
        self.dialer.linked(link)  # type: ignore[arg-type]
        self.dialer.lost()
        self.attempts[0].errback(LinkLost("at once"))
        self.check(DialerState.WAITING, dials=1, timers=1)
        self.assertEqual(self.failures, [])

    def test_fails_at_once(self) -> None:
        """An attempt may fail in the very call."""
        outcomes = [fail(LinkLost("one")), fail(LinkLost("two")), Deferred()]
        self.dialer._dial = lambda connected: outcomes.pop(0)
        self.dialer.start()
        self.check(DialerState.WAITING, dials=0, timers=1)
        self.clock.pump([1.0, 2.0])
        self.assertEqual((self.dialer.state, self.dialer.attempts), (DialerState.DIALING, 2))

    def test_cancelled_attempt(self) -> None:
        """An attempt that somebody else has cancelled is one that failed."""
        self.dialer.start()
        self.attempts[0].cancel()
        self.check(DialerState.WAITING, dials=1, timers=1)
        self.assertEqual(str(self.dialer.last_error), "the attempt was given up")
        self.assertNotIsInstance(self.dialer.last_error, CancelledError)

    def test_stop(self) -> None:
        """Stopped in any state it dials no more, leaves no timer and no attempt, and reports nothing."""

        def waiting() -> None:
            self.dialer.start()
            self.fail_attempt()

        def linked() -> None:
            self.dialer.start()
            self.link()

        def lost() -> None:
            linked()
            self.dialer.lost()

        for reach in (lambda: None, lambda: self.dialer.start(5.0), lambda: self.dialer.start(), waiting, linked, lost):
            self.setUp()
            reach()
            dials = len(self.attempts)
            self.failures.clear()
            self.dialer.stop()
            self.dialer.stop()
            self.assertTrue(all(attempt.called for attempt in self.attempts))
            for later in (self.dialer.wake, self.dialer.lost, lambda: self.dialer.linked(Link())):  # type: ignore[arg-type]
                later()
            self.clock.advance(10_000)
            self.check(DialerState.STOPPED, dials=dials, timers=0)
            self.assertEqual(self.failures, [])


class BackOffTests(DialerTestCase):
    def waits(self, count: int) -> list[float]:
        waits = []
        for _ in range(count):
            self.fail_attempt()
            next_attempt = self.dialer.next_attempt
            assert next_attempt is not None
            waits.append(next_attempt - self.clock.seconds())
            self.clock.advance(waits[-1])
        return waits

    def test_grows(self) -> None:
        """Waits double up to the cap, and to a higher cap in a long outage."""
        self.dialer.start()
        self.assertEqual(self.waits(6), [1.0, 2.0, 4.0, 8.0, 10.0, 10.0])
        self.clock.advance(120)
        self.assertEqual(self.waits(1), [20.0])

    def test_grows_until_ready(self) -> None:
        """A peer that accepts a connection and is never ready is retried ever more slowly; one that is ready, anew."""
        self.dialer.start()
        self.waits(3)
        self.assertEqual((self.dialer.attempts, self.dialer.exhausted), (3, False))
        self.waits(1)
        self.assertEqual((self.dialer.attempts, self.dialer.exhausted), (4, True))
        self.link()
        self.assertEqual((self.dialer.attempts, self.dialer.exhausted), (0, False))
        self.dialer.lost()
        self.clock.advance(1.0)
        self.assertEqual(self.waits(2), [1.0, 2.0])

    def test_reported(self) -> None:
        """Each failure is told after the state has changed."""
        self.dialer.start()
        self.waits(2)
        self.assertEqual(
            [(state, count) for state, count, _ in self.failures], [(DialerState.WAITING, n) for n in (1, 2)]
        )

    def test_wake(self) -> None:
        """A send dials at once, without changing how many attempts are left."""
        self.dialer.start()
        self.waits(1)
        self.fail_attempt()
        self.dialer.wake()
        self.check(DialerState.DIALING, dials=3, timers=0)
        self.assertEqual(self.dialer.attempts, 2)
        self.dialer.wake()
        self.check(DialerState.DIALING, dials=3, timers=0)

    def test_wake_exhausted(self) -> None:
        """A send to a peer that was given up gets the full number of attempts again."""
        self.dialer.start()
        self.waits(5)
        self.fail_attempt()
        self.dialer.wake()
        self.assertEqual((self.dialer.state, self.dialer.attempts), (DialerState.DIALING, 0))
        self.assertEqual(self.waits(3), [1.0, 2.0, 4.0])

    def test_wake_refused(self) -> None:
        """A send does not dial a peer before the time that its refusal has asked for."""
        self.dialer.start()
        self.fail_attempt(Rejected(RejectCode.FULL, "", 7.0))
        self.clock.advance(3.0)
        self.dialer.wake()
        self.check(DialerState.WAITING, dials=1, timers=1)
        self.assertEqual(self.dialer.next_attempt, 7.0)
        self.assertIsNone(self.dialer.refusal)
        self.clock.advance(4.0)
        self.check(DialerState.DIALING, dials=2, timers=0)

    def test_refusal(self) -> None:
        """A refusal that lasts longer than a sender waits can be told at once."""
        refused = Rejected(RejectCode.PROTOCOL_VIOLATION, "")
        self.dialer.start()
        self.fail_attempt(refused)
        self.assertIs(self.dialer.refusal, refused)
        self.clock.advance(50.0)
        self.assertIsNone(self.dialer.refusal)

    def test_wake_linked(self) -> None:
        """A send to a peer that is linked dials nobody."""
        self.dialer.start()
        self.link()
        self.dialer.wake()
        self.check(DialerState.LINKED, dials=1, timers=0)


class RefusalTests(DialerTestCase):
    def wait_after(self, error: Exception) -> float:
        self.setUp()
        self.dialer.start()
        self.fail_attempt(error)
        next_attempt = self.dialer.next_attempt
        assert next_attempt is not None
        self.dialer.stop()
        return next_attempt

    def test_later(self) -> None:
        """A refusal that names a time is obeyed, within reason."""
        self.assertEqual(self.wait_after(Rejected(RejectCode.FULL, "", 7.0)), 7.0)
        self.assertEqual(self.wait_after(Rejected(RejectCode.FULL, "", 1e9)), 60.0)
        self.assertEqual(self.wait_after(Rejected(RejectCode.ID_TAKEN, "", 2.0)), 2.0)
        self.assertEqual(self.wait_after(Rejected(RejectCode.FULL, "")), 60.0)
        for code in (RejectCode.SHUTTING_DOWN, RejectCode.DUPLICATE, "something-new"):
            self.assertEqual(self.wait_after(Rejected(code, "")), 1.0)

    def test_final(self) -> None:
        """A refusal for good is asked again each minute, if whoever refuses is known; a stranger is not believed."""
        codes = ("version", "network", "bad-secret", "not-allowed", "banned", "id-taken")
        for code in codes:
            self.assertTrue(is_final(Rejected(code, "")))
            self.assertEqual(self.wait_after(Rejected(code, "")), 1.0)
        self.assertFalse(is_final(Rejected("id-taken", "", 2.0)))
        self.assertFalse(is_final(RemoteProtocolError("version")))
        self.believes = True
        dialer = self.dialer
        for code in codes:
            self.setUp()
            self.believes = True
            self.dialer.start()
            self.fail_attempt(Rejected(code, ""))
            self.assertEqual(self.dialer.next_attempt, 60.0)
            self.dialer.stop()
        self.assertIsNot(dialer, self.dialer)

    def test_protocol_violation(self) -> None:
        """A peer that cannot understand us is asked again each minute."""
        self.assertEqual(self.wait_after(Rejected(RejectCode.PROTOCOL_VIOLATION, "")), 60.0)

    def test_oneself(self) -> None:
        """An address that turns out to be our own is never dialed again."""
        self.dialer.start()
        self.fail_attempt(Rejected(RejectCode.SELF, ""))
        self.check(DialerState.STOPPED, dials=1, timers=0)
        self.assertEqual([state for state, _, _ in self.failures], [DialerState.STOPPED])


class WhenTriedTests(DialerTestCase):
    def test_fires(self) -> None:
        """It fires when the attempt under way has ended, in whichever way; at once when none is."""
        self.successResultOf(self.dialer.when_tried())
        for end in (self.link, self.fail_attempt, lambda: self.dialer.stop(), lambda: self.dialer.linked(Link())):  # type: ignore[arg-type]
            self.setUp()
            self.dialer.start()
            tried = self.dialer.when_tried()
            self.assertNoResult(tried)
            end()
            self.successResultOf(tried)
            self.successResultOf(self.dialer.when_tried())
            self.dialer.stop()

    def test_after_the_link_is_announced(self) -> None:
        """Who waits for the attempt hears of it when the application has heard of the link."""
        self.dialer.start()
        tried = self.dialer.when_tried()
        link = Link(self.attempts[0])
        self.dialer.linked(link)  # type: ignore[arg-type]
        self.assertNoResult(tried)
        self.attempts[0].callback(link)
        self.successResultOf(tried)

    def test_cancel(self) -> None:
        """Waiting can be given up."""
        self.dialer.start()
        tried = self.dialer.when_tried()
        tried.cancel()
        self.failureResultOf(tried, CancelledError)
        self.fail_attempt()

    def test_stop_from_within(self) -> None:
        """Who is told of a failure may stop the dialer."""
        self.dialer.start()
        tried = self.dialer.when_tried().addCallback(lambda _: self.dialer.stop())
        self.fail_attempt()
        self.successResultOf(tried)
        self.check(DialerState.STOPPED, dials=1, timers=0)
