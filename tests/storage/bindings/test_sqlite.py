"""The store of a bootstrap node: durable when it says so, many bindings in one change, others' changes noticed."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from netlayer.errors import ConfigurationError, NodeStopped
from netlayer.interfaces import IBindingStore
from netlayer.log import NodeLog
from netlayer.sansio.bootstrap.registry import Binding, Holdings
from netlayer.storage.bindings.file import BindingFile, DamagedFile
from netlayer.storage.bindings.memory import MemoryStore
from netlayer.storage.bindings.sqlite import LOOK_EVERY, SQLiteStore
from tests.directories import new_directory
from tests.integration.stranger import reactor, until


def key(number: int) -> bytes:
    """Return a fingerprint."""
    return number.to_bytes(32, "big")


class InterfaceTests(SynchronousTestCase):
    def test_provided(self) -> None:
        """Both stores are what a bootstrap node asks for."""
        for store in (MemoryStore(), SQLiteStore("x")):
            verifyObject(IBindingStore, store)

    def test_memory(self) -> None:
        """The store in memory begins with nothing and lets the node decide."""
        store = MemoryStore()
        started = store.start(Clock(), network="default", signer=None, changed=lambda _: None, log=NodeLog(1))
        self.assertEqual(self.successResultOf(started), Holdings())
        binding = Binding(1, key(7), 5)
        self.assertEqual(self.successResultOf(store.bind(binding, replacing=None)), binding)
        self.assertIsNone(self.successResultOf(store.stop()))


class SQLiteStoreTests(TestCase):
    timeout = 20

    def setUp(self) -> None:
        self.path = new_directory(self) / "bindings.sqlite"
        self.seen: list[Holdings] = []
        self.errors: list[LogEvent] = []
        globalLogPublisher.addObserver(self._keep)
        self.addCleanup(globalLogPublisher.removeObserver, self._keep)

    def _keep(self, event: LogEvent) -> None:
        if event.get("log_namespace") == "netlayer" and event["log_level"].name == "error":
            self.errors.append(event)

    async def start(self, where: Any = reactor, **options: Any) -> SQLiteStore:
        store = SQLiteStore(self.path)
        options = {"network": "default", "signer": b"a key", "log": NodeLog(1)} | options
        await store.start(where, changed=self.seen.append, **options)
        self.addCleanup(store.stop)
        return store

    async def test_durable(self) -> None:
        """A binding stands in the file as soon as it is confirmed; of two keys one gets the id."""
        store = await self.start()
        one, two = Binding(1, key(7), 5), Binding(1, key(8), 5)
        self.assertEqual(await gatherResults([store.bind(each, replacing=None) for each in (one, two)]), [one, one])
        reader = BindingFile(self.path, network="default")
        self.assertEqual(reader.holdings(), Holdings((one,), signers=(b"a key",)))
        reader.close()

    async def test_together(self) -> None:
        """What is asked for while a change is written becomes one change."""
        store = await self.start()
        wanted = [Binding(n, key(n), 5) for n in range(200)]
        self.assertEqual(await gatherResults([store.bind(each, replacing=None) for each in wanted]), wanted)
        self.assertLessEqual(store._file._about().changes, 4)

    async def test_others(self) -> None:
        """What an operator's command changes is noticed within a second or so."""
        await self.start()
        other = BindingFile(self.path, network=None)
        other.ban(key(3))
        other.close()
        await until(lambda: self.seen)
        self.assertEqual(self.seen[0].banned, (key(3),))

    async def test_damaged(self) -> None:
        """A damaged file is moved aside, and an ERROR says what that means."""
        self.path.write_bytes(b"nonsense" * 1000)
        store = await self.start()
        (error,) = self.errors
        said = error["log_format"].format(**error)
        self.assertIn(f"{self.path} is damaged", said)
        self.assertIn("all ids are free", said)
        self.assertEqual(self.path.with_name("bindings.sqlite.damaged-1").read_bytes(), b"nonsense" * 1000)
        await store.bind(Binding(1, key(7), 5), replacing=None)

    async def test_damaged_later(self) -> None:
        """Damage that is done while it runs is an ERROR, once; what is known goes on to count."""
        store = await self.start()
        await store.bind(Binding(1, key(7), 5), replacing=None)
        other = BindingFile(self.path, network=None)
        other._database.execute("UPDATE bindings SET issued = 6")
        other.close()
        await until(lambda: self.errors)
        last = store._look
        assert last is not None
        last.reset(0.0)
        await until(lambda: store._look is not last and not store._busy)
        self.assertEqual((len(self.errors), self.seen), (1, []))
        with self.assertRaises(DamagedFile):
            await store.bind(Binding(1, key(8), 5), replacing=None)

    async def test_other_network(self) -> None:
        """The file of another network is refused."""
        await (await self.start()).stop()
        with self.assertRaises(ConfigurationError):
            await self.start(network="another")

    async def test_stopped(self) -> None:
        """Stopping waits for what was asked for; after it nothing is bound."""
        store = await self.start()
        waiting = store.bind(Binding(1, key(7), 5), replacing=None)
        await store.stop()
        await store.stop()
        self.assertEqual(self.successResultOf(waiting), Binding(1, key(7), 5))
        self.failureResultOf(store.bind(Binding(2, key(8), 5), replacing=None), NodeStopped)

    async def test_never_started(self) -> None:
        """A store that was not started stops as well, and binds nothing."""
        store = SQLiteStore(self.path)
        self.failureResultOf(store.bind(Binding(2, key(8), 5), replacing=None), NodeStopped)
        self.assertIsNone(self.successResultOf(store.stop()))

    def test_without_threads(self) -> None:
        """Where there are no threads, it does all at once."""
        clock = Clock()
        store = SQLiteStore(self.path)
        started: Deferred[Any] = store.start(
            clock, network="default", signer=None, changed=self.seen.append, log=NodeLog(1)
        )
        self.assertEqual(self.successResultOf(started), Holdings())
        binding = Binding(1, key(7), 5)
        self.assertEqual(self.successResultOf(store.bind(binding, replacing=None)), binding)
        other = BindingFile(self.path, network=None)
        other.ban(key(3))
        other.close()
        clock.advance(LOOK_EVERY)
        self.assertEqual([holdings.banned for holdings in self.seen], [(key(3),)])
        self.successResultOf(store.stop())
        self.assertEqual(clock.getDelayedCalls(), [])
