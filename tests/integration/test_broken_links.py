"""Packets between real processes, through broken connections and the deaths of processes, and the tools for that."""

from __future__ import annotations

import random
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.broken_links import BrokenLinks
from tests.integration.faults.journal import Entry
from tests.integration.faults.ledger import Life, judge
from tests.integration.faults.proxy import FaultProxy
from tests.integration.network import HOST, NetworkTestCase, reactor, until


class BrokenLinksTests(NetworkTestCase):
    timeout = 120

    async def test_nothing_is_lost_and_nothing_comes_twice(self) -> None:
        """Through cuts at any byte and a killed process, every packet comes once and in order, or is reported."""
        links = BrokenLinks(reactor, seed=4, nodes=2)
        self.addCleanup(links.close)
        await links.start()
        await links.round(packets=300, seconds=1.0, kills=1, cuts=20)
        figures = links.figures
        self.assertEqual(figures.verdict.faults, [])
        self.assertGreater(figures.verdict.counts["done"], 100)
        self.assertGreater(figures.cuts["in mid-stream"], 0)
        self.assertEqual(figures.kills, 1)


class Stream(Protocol):
    """Keeps what it gets and how it ends."""

    transport: Any

    def __init__(self) -> None:
        self.received = b""
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason


class FaultProxyTests(NetworkTestCase):
    async def pair(self, seed: int = 1) -> tuple[FaultProxy, Stream, Stream]:
        """Return a proxy, and both ends of a connection through it."""
        proxy, accepted = FaultProxy(reactor, random.Random(seed)), Stream()
        proxy.target = await self.listen(Factory.forProtocol(lambda: accepted))
        await proxy.listen()
        self.addCleanup(proxy.close)
        dialer = await TCP4ClientEndpoint(reactor, HOST, proxy.port).connect(Factory.forProtocol(Stream))
        self.addCleanup(dialer.transport.abortConnection)
        dialer.transport.write(b"?")
        await until(lambda: accepted.received)
        return proxy, dialer, accepted

    async def test_passes_on(self) -> None:
        """Without a cut everything passes, both ways, and so does the end."""
        proxy, dialer, accepted = await self.pair()
        dialer.transport.write(b"a" * 1_000_000)
        accepted.transport.write(b"b" * 1_000_000)
        await until(lambda: len(accepted.received) == 1_000_001 and len(dialer.received) == 1_000_000)
        dialer.transport.loseConnection()
        await until(lambda: accepted.lost and not proxy.pipes)
        self.assertTrue(accepted.lost and accepted.lost.check(ConnectionDone))

    async def test_cuts(self) -> None:
        """A cut lets exactly the bytes through that it was told to, and ends one or both connections by RST or FIN."""
        kinds = set()
        for seed in range(20):
            proxy, dialer, accepted = await self.pair(seed)
            (pipe,) = proxy.pipes
            pipe.cut_after(pipe.dialer, 777)
            dialer.transport.write(b"x" * 5_000)
            await until(lambda proxy=proxy: proxy.cuts)
            kind, one_sided = ("by RST" if proxy.cuts["by RST"] else "by FIN"), bool(proxy.cuts["one-sided"])
            self.assertEqual(proxy.cuts["in mid-stream"], 1)
            await until(lambda accepted=accepted, dialer=dialer: accepted.lost or dialer.lost)
            await self.pause()
            gone = [end.lost for end in (accepted, dialer) if end.lost]
            self.assertEqual(len(gone), 1 if one_sided else 2)
            for lost in gone:
                self.assertTrue(lost.check(ConnectionLost if kind == "by RST" else ConnectionDone), lost)
            if not accepted.lost:  # it hears nothing any more, not even the end
                dialer.transport.write(b"y")
                await self.pause()
            self.assertEqual(accepted.received, b"?" + b"x" * 777)
            kinds.add((kind, one_sided))
        self.assertEqual(len(kinds), 4)

    async def pause(self) -> None:
        """Wait for what should not come."""
        await deferLater(reactor, 0.03)


A, B, B2 = Life(1, 1), Life(2, 1), Life(2, 2)


def sent(number: int, kind: str = "confirmed") -> tuple[Any, ...]:
    return ("sent", number, 2, kind, "quick")


def ended(number: int, outcome: str) -> tuple[Any, ...]:
    return ("ended", number, 2, outcome, "")


def handled(number: int, *, good: bool = True, flagged: bool = False, kind: str = "confirmed") -> list[Any]:
    return [("handled", 1, 1, number, kind, "quick", flagged), ("finished", 1, 1, number, good)]


class LedgerTests(SynchronousTestCase):
    """The ledger has teeth: node 1 sends to node 2, and each thing that must not be is found."""

    def faults(self, sender: list[Any], receiver: list[Any], after_restart: list[Any] | None = None) -> list[str]:
        """Return what is wrong with the journals of node 1, and of one or two processes of node 2."""
        journals = {A: sender, B: receiver} | ({B2: after_restart} if after_restart is not None else {})
        entries = {
            life: [Entry(0.0, what, tuple(details)) for what, *details in told] for life, told in journals.items()
        }
        return judge(entries, alive={A, B if after_restart is None else B2}).faults

    def assert_fault(self, text: str, *journals: list[Any]) -> None:
        """There is exactly one fault."""
        (fault,) = self.faults(*journals)
        self.assertIn(text, fault)

    def test_all_is_well(self) -> None:
        """Handled and receipted, failed, refused, unknown; redelivered; plain without a word."""
        sender = [sent(1), ended(1, "done"), sent(2), ended(2, "failed"), sent(3), ended(3, "unhandled")]
        sender += [sent(4), ended(4, "unknown"), sent(5, "plain")]
        receiver = [*handled(1), *handled(2, good=False), *handled(5, kind="plain")]
        self.assertEqual(self.faults(sender, receiver), [])
        self.assertEqual(self.faults(sender, receiver, handled(4, flagged=True)), [])

    def test_faults(self) -> None:
        """Each of them is named."""
        one = [sent(1), ended(1, "done")]
        self.assert_fault("was never sent", [ended(1, "done")], handled(1))
        self.assert_fault("has a receipt that lies", one, [])
        self.assert_fault("has a receipt that lies", one, handled(1, good=False))
        self.assert_fault("has a receipt that lies", [sent(1), ended(1, "failed")], handled(1))
        self.assert_fault("its sender was told that it was not", [sent(1), ended(1, "unhandled")], handled(1))
        self.assert_fault("handled twice by one process", one, [*handled(1), *handled(1)])
        self.assert_fault("not marked as redelivered", one, handled(1), handled(1))
        self.assert_fault("never restarted", one, handled(1, flagged=True))
        self.assert_fault("two outcomes", [*one, ended(1, "done")], handled(1))
        self.assert_fault("no outcome", [sent(1)], handled(1))
        self.assert_fault("lost without a word", [sent(1, "plain")], [])
        self.assert_fault("still being handled", [sent(1), ended(1, "unknown")], handled(1)[:1])
        self.assert_fault("has logged: oh", [("trouble", "oh")], [])
        two = [*one, sent(2), ended(2, "done")]
        self.assert_fault("came to life 1 after a later one", two, [*handled(2), *handled(1)])

    def test_unknown(self) -> None:
        """An unknown outcome is counted apart when the receiver's process lived all the time."""
        told = {A: [(1.0, sent(1)), (3.0, ended(1, "unknown"))], B: [(0.0, ("started", 8000)), (2.0, ("ready", 1))]}

        def count() -> int:
            journals = {life: [Entry(at, *_split(what)) for at, what in entries] for life, entries in told.items()}
            return judge(journals, alive={A, B}).counts["of them between living processes"]

        self.assertEqual(count(), 0)
        told[B].append((4.0, ("ready", 1)))
        self.assertEqual(count(), 1)

    def test_killed_sender(self) -> None:
        """Nobody waits for the outcomes of a process that was killed."""
        entries = {A: [Entry(0.0, *_split(sent(1)))], B: []}
        self.assertEqual(judge(entries, alive={B}).faults, [])


def _split(entry: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    return entry[0], tuple(entry[1:])
