"""Waiting for something together with others."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from netlayer.errors import NodeStopped
from netlayer.net.waiters import Waiters


class WaitersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.waiters = Waiters()

    def test_fire(self) -> None:
        """All that wait are told once, in the order in which they came."""
        told: list[int] = []
        for number in range(3):
            self.waiters.add().addCallback(lambda _, number=number: told.append(number))
        self.assertEqual(told, [])
        self.waiters.fire()
        self.waiters.fire()
        self.assertEqual(told, [0, 1, 2])

    def test_fail(self) -> None:
        """All are told when there is nothing more to wait for."""
        first, second = self.waiters.add(), self.waiters.add()
        first.addErrback(lambda _: second.cancel())
        third = self.waiters.add()
        self.waiters.fail(NodeStopped())
        self.successResultOf(first)
        self.failureResultOf(second, CancelledError)
        self.failureResultOf(third, NodeStopped)

    def test_cancel(self) -> None:
        """A wait that is cancelled ends, and leaves nothing behind; the others go on."""
        first, second = self.waiters.add(), self.waiters.add()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual(list(self.waiters._waiting), [second])
        self.waiters.fire()
        self.successResultOf(second)

    def test_cancelled_by_a_callback(self) -> None:
        """Who is told first may cancel the waits of others, and its own, which is over."""
        first, second, third = [self.waiters.add() for _ in range(3)]
        first.addCallback(lambda _: [each.cancel() for each in (first, second)])
        self.waiters.fire()
        self.successResultOf(first)
        self.failureResultOf(second, CancelledError)
        self.successResultOf(third)

    def test_waits_again(self) -> None:
        """Who is told and waits again waits for the next time."""
        again = []
        self.waiters.add().addCallback(lambda _: again.append(self.waiters.add()))
        self.waiters.fire()
        self.assertNoResult(again[0])
        self.waiters.fire()
        self.successResultOf(again[0])
