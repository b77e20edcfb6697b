"""Names are looked up whatever the application's threads do, and by whom the application says."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from textwrap import dedent
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHostnameResolver
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.testing import MemoryReactorClock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from netlayer import PeerFactory
from netlayer.errors import LinkLost
from netlayer.net.lookups import FewLookups
from netlayer.net.named import LOOKUP_SERVES, NameEndpoint, StillLookingUp
from netlayer.net.resolving import MOST, LookupThreads, name_resolver

reactor: Any = _reactor

#: What only resolvers understand, so that it is looked up, and no name server is asked.
NAME = "127.1"


@implementer(IHostnameResolver)
class Resolver:
    """An application's own resolver, which answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def resolveHostName(self, receiver: Any, name: str, portNumber: int = 0) -> Any:
        self.asked.append((receiver, portNumber))
        receiver.resolutionBegan(self)
        return self

    def answer(self, *addresses: str) -> None:
        """End the oldest look-up."""
        receiver, port = self.asked.pop(0)
        for address in addresses:
            receiver.addressResolved(IPv4Address("TCP", address, port))
        receiver.resolutionComplete()


class BusyTests(TestCase):
    """Handlers of the application take all threads of the reactor."""

    timeout = 10.0

    def setUp(self) -> None:
        self.over = threading.Event()
        busy = [deferToThread(self.over.wait) for _ in range(reactor.getThreadPool().max + 1)]
        port = reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")
        self.port = port.getHost().port

        async def clean_up() -> None:
            self.over.set()
            for each in busy:
                await each
            await port.stopListening()

        self.addCleanup(lambda: Deferred.fromCoroutine(clean_up()))

    async def test_looked_up(self) -> None:
        """Names are looked up all the same: those of the application, and those that others have told of."""
        for where in (reactor, FewLookups(reactor)):
            connected: Any = await NameEndpoint(where, NAME, self.port).connect(Factory.forProtocol(Protocol))
            self.assertEqual(connected.transport.getPeer().host, "127.0.0.1")
            connected.transport.abortConnection()
            await deferLater(reactor, 0.05)

    async def test_own_resolver(self) -> None:
        """A resolver that the application has installed is the one that is asked."""
        own = Resolver()
        before = reactor.installNameResolver(own)
        self.addCleanup(reactor.installNameResolver, before)
        for where in (reactor, FewLookups(reactor)):
            connecting = NameEndpoint(where, "seeds.example", self.port).connect(Factory.forProtocol(Protocol))
            own.answer("127.0.0.1")
            connected: Any = await connecting
            connected.transport.abortConnection()
            await deferLater(reactor, 0.05)


class ThreadsTests(SynchronousTestCase):
    def test_few(self) -> None:
        """There are none before the first look-up, then all at once; they do not keep the process from ending."""
        before = set(threading.enumerate())
        threads = LookupThreads(MOST)
        self.assertEqual(set(threading.enumerate()), before)
        self.assertTrue(threads.are_there())
        self.assertTrue(threads.are_there())
        started = set(threading.enumerate()) - before
        self.assertEqual([thread.daemon for thread in started], [True] * MOST)

    def test_outcomes(self) -> None:
        """Each task has its outcome, after one that raises, too, and after one whose reactor has ended."""
        threads, outcomes, done = LookupThreads(1), [], threading.Event()
        threads.are_there()

        def ended(success: bool, result: object) -> None:
            outcomes.append((success, str(getattr(result, "value", result))))
            if result == "last":
                done.set()
            raise RuntimeError("Event loop is closed")

        threads.callInThreadWithCallback(ended, int, "7")
        threads.callInThreadWithCallback(ended, os.stat, "\0")
        threads.callInThreadWithCallback(ended, str, "last")
        self.assertTrue(done.wait(10.0))
        self.assertEqual([success for success, _ in outcomes], [True, False, True])

    def run_script(self, script: str) -> None:
        """Run a script in a process of its own, which has to end soon, and well."""
        command = [sys.executable, "-W", "ignore", "-c", dedent(script)]
        self.assertEqual(subprocess.run(command, timeout=20.0, check=False).returncode, 0)

    def test_forked(self) -> None:
        """A forked child has threads of its own."""
        self.run_script("""
            import os, threading
            from netlayer.net.resolving import LookupThreads
            threads = LookupThreads(1)
            threads.are_there()
            if hasattr(os, "fork") and (child := os.fork()):
                raise SystemExit(os.waitpid(child, 0)[1])
            done = threading.Event()
            threads.are_there()
            threads.callInThreadWithCallback(lambda success, result: done.set(), int)
            os._exit(0 if done.wait(10.0) else 1)
        """)

    def test_end(self) -> None:
        """Look-ups that hang do not keep a process from ending."""
        self.run_script("""
            import time
            from netlayer.net.resolving import LookupThreads
            threads = LookupThreads(1)
            threads.are_there()
            for _ in range(3):
                threads.callInThreadWithCallback(print, time.sleep, 60.0)
            time.sleep(0.1)
        """)

    def test_simulated(self) -> None:
        """A reactor with a resolver of another kind keeps it."""
        memory = MemoryReactorClock()
        memory.nameResolver = Resolver()
        self.assertIs(name_resolver(memory), memory.nameResolver)


class LateTests(SynchronousTestCase):
    """Look-ups that take longer than an attempt has time."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.reactor.nameResolver = self.resolver = Resolver()
        self.endpoint = NameEndpoint(self.reactor, "seeds.example", 8000)

    def dial(self) -> Any:
        return self.endpoint.connect(Factory.forProtocol(Protocol))

    def dialed(self) -> list[str]:
        return [client[0] for client in self.reactor.tcpClients]

    def test_joined(self) -> None:
        """The next attempt joins the look-up that is under way."""
        first = self.dial()
        first.cancel()
        self.failureResultOf(first, StillLookingUp)
        _ = self.dial()
        self.assertEqual(len(self.resolver.asked), 1)
        self.resolver.answer("192.0.2.7")
        self.assertEqual(self.dialed(), ["192.0.2.7"])

    def test_kept(self) -> None:
        """An answer that comes when nobody waits serves the next attempt, and that one alone."""
        first = self.dial()
        first.cancel()
        self.failureResultOf(first, StillLookingUp)
        self.resolver.answer("192.0.2.7")
        self.assertEqual(self.dialed(), [])
        _ = self.dial()
        self.assertEqual((self.dialed(), self.resolver.asked), (["192.0.2.7"], []))
        _ = self.dial()
        self.assertEqual(len(self.resolver.asked), 1)

    def test_lost(self) -> None:
        """A look-up that never ends is begun anew at last."""
        first = self.dial()
        self.reactor.advance(LOOKUP_SERVES + 1.0)
        _ = self.dial()
        self.assertEqual(len(self.resolver.asked), 2)
        first.cancel()
        self.failureResultOf(first, StillLookingUp)

    def test_told(self) -> None:
        """The error of an attempt says that it was looking the name up."""
        factory = PeerFactory(self.reactor, node_id=1)
        dialed = factory.connect(self.endpoint)
        self.reactor.advance(factory.settings.timeout)
        error = self.failureResultOf(dialed, LinkLost).value
        self.assertIn("still looking the name up: seeds.example", str(error))
        factory.stop()
        self.resolver.answer("192.0.2.7")
        self.assertEqual((self.dialed(), self.reactor.getDelayedCalls()), ([], []))

    def test_impossible(self) -> None:
        """A name that can't be is not looked up."""
        endpoint = NameEndpoint(self.reactor, "x" * 64 + ".example", 8000)
        self.failureResultOf(endpoint.connect(Factory.forProtocol(Protocol)), ValueError)
        self.assertEqual(self.resolver.asked, [])
