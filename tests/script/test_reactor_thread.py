"""Blocking calls, seen from a thread of a process whose reactor runs already; tests/integration has whole scripts."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from netlayer.errors import LocalProtocolError
from netlayer.script import reactor_thread
from netlayer.script.reactor_thread import block_on, default_reactor, in_reactor_thread, wait_for


class AdoptingTestCase(TestCase):
    """The reactor of the tests stands in for the one that a blocking call would start."""

    def setUp(self) -> None:
        """Adopt it."""
        self.process = reactor_thread._Thread()
        self.process.pid = os.getpid()
        self.process.thread = threading.current_thread()
        self.patch(reactor_thread, "_process", self.process)

    def blocking(
        self, function: Callable[[], Any], *, timeout: float | None = 10.0, patient: bool = False
    ) -> Deferred[Any]:
        """Call block_on() in another thread."""
        return deferToThread(block_on, function, timeout=timeout, patient=patient)


class BlockOnTests(AdoptingTestCase):
    async def test_result(self) -> None:
        """The call returns what its Deferred fires with, now or later, or what the function returns."""
        later: Deferred[str] = Deferred()

        def ask() -> Deferred[str]:
            reactor.callLater(0, later.callback, "later")
            return later

        self.assertEqual(await self.blocking(lambda: succeed("now")), "now")
        self.assertEqual(await self.blocking(ask), "later")
        self.assertEqual(await self.blocking(lambda: "at once"), "at once")
        self.assertIsNone(await self.blocking(lambda: succeed(None), timeout=None))

    async def test_in_reactor_thread(self) -> None:
        """The function is called in the reactor's thread, and only there is that said to be so."""
        self.assertTrue(await self.blocking(in_reactor_thread))
        self.assertTrue(in_reactor_thread())
        self.assertFalse(await deferToThread(in_reactor_thread))

    async def test_failure(self) -> None:
        """The call raises the very error that its Deferred fails with, or that the function raises."""
        error = LookupError("nobody there")
        with self.assertRaises(LookupError) as caught:
            await self.blocking(lambda: fail(error))
        self.assertIs(caught.exception, error)
        with self.assertRaises(ZeroDivisionError):
            await self.blocking(lambda: 1 / 0)

    async def test_own_timeout(self) -> None:
        """A TimeoutError of the Deferred's own is an error as any other."""
        with self.assertRaises(TimeoutError) as caught:
            await self.blocking(lambda: fail(TimeoutError("my own")))
        self.assertEqual(str(caught.exception), "my own")

    async def test_timeout(self) -> None:
        """When the time is over the Deferred is cancelled and the call raises TimeoutError."""
        cancelled: Deferred[None] = Deferred()
        with self.assertRaises(TimeoutError) as caught:
            await self.blocking(lambda: Deferred(lambda _: cancelled.callback(None)), timeout=0.01)
        self.assertEqual(str(caught.exception), "no answer within 0.01 s")
        await cancelled

    async def test_patient(self) -> None:
        """A patient call waits on after its time, as long as the reactor answers."""
        later: Deferred[str] = Deferred()
        reactor.callLater(0.1, later.callback, "later")
        self.assertEqual(await self.blocking(lambda: later, timeout=0.001, patient=True), "later")

    async def test_patience_ends(self) -> None:
        """A patient call gives up when its time is over and the reactor is held up."""
        self.patch(reactor_thread, "ANSWER", 0.05)
        held, let_go = threading.Event(), threading.Event()

        def hold() -> Deferred[None]:
            held.set()
            let_go.wait(10.0)
            return Deferred()

        def call() -> None:
            try:
                block_on(hold, timeout=0.01, patient=True)
            finally:
                let_go.set()

        with self.assertRaises(TimeoutError):
            await deferToThread(call)
        self.assertTrue(held.is_set())

    async def test_cancelled(self) -> None:
        """A Deferred that somebody else cancels ends the call."""
        with self.assertRaises(TimeoutError):
            await self.blocking(lambda: _cancelled(Deferred()))

    async def test_many(self) -> None:
        """Calls of several threads don't wait for each other."""
        first: Deferred[str] = Deferred()
        waiting = self.blocking(lambda: first)
        self.assertEqual(await self.blocking(lambda: succeed("second")), "second")
        first.callback("first")
        self.assertEqual(await waiting, "first")


class RefusalTests(AdoptingTestCase):
    def assert_refused(self, text: str) -> Deferred[Any]:
        """A blocking call raises LocalProtocolError with this text."""

        def refused(error: LocalProtocolError) -> None:
            self.assertIn(text, str(error))

        return self.assertFailure(self.blocking(lambda: succeed(None)), LocalProtocolError).addCallback(refused)

    async def test_asyncio(self) -> None:
        """Under a running asyncio loop the call refuses to block, and names the ways out."""

        async def main() -> None:
            block_on(lambda: succeed(None), timeout=1.0)

        with self.assertRaises(LocalProtocolError) as caught:
            await deferToThread(asyncio.run, main())
        for way_out in "reactor=reactor", "asyncio.to_thread()":
            self.assertIn(way_out, str(caught.exception))

    async def test_stopped_reactor(self) -> None:
        """A reactor that has stopped can't be started again, which is said at once."""
        self.process.thread = threading.Thread()
        self.process.thread.start()
        self.process.thread.join()
        await self.assert_refused("was stopped")

    async def test_foreign_reactor(self) -> None:
        """In a program that runs a reactor of its own the error says how to use that."""
        self.process.thread = None
        await self.assert_refused("give the node reactor=reactor")

    async def test_forked(self) -> None:
        """In a child that was forked after a node had been made nothing would answer, which is said at once."""
        self.process.pid = os.getppid()
        self.assertFalse(in_reactor_thread())
        await self.assert_refused("forked")


class WaitForTests(AdoptingTestCase):
    async def test_set(self) -> None:
        """Waiting ends when the event is set."""
        event = threading.Event()
        waiting = deferToThread(wait_for, event)
        event.set()
        self.assertTrue(await waiting)

    async def test_timeout(self) -> None:
        """Waiting ends when the time is over."""
        self.assertFalse(await deferToThread(wait_for, threading.Event(), timeout=0.01))

    async def test_stopped_reactor(self) -> None:
        """Waiting ends when nobody is left who could set the event; what was set in time counts."""
        self.patch(reactor_thread, "LOOK_UP", 0.01)
        self.process.thread = threading.Thread()
        event = threading.Event()
        with self.assertRaises(LocalProtocolError):
            await deferToThread(wait_for, event)
        event.set()
        self.assertTrue(await deferToThread(wait_for, event))


class ReactorTests(AdoptingTestCase):
    def test_default(self) -> None:
        """The reactor is Twisted's global one."""
        self.assertIs(default_reactor(), reactor)


def _cancelled(deferred: Deferred[Any]) -> Deferred[Any]:
    deferred.cancel()
    return deferred
