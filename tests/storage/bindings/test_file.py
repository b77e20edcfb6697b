"""The file of bindings keeps what it was told, for several at once, and notices when it does not."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import stat
from pathlib import Path
from unittest import skipUnless

from twisted.trial.unittest import SynchronousTestCase

from netlayer.errors import ConfigurationError
from netlayer.sansio.bootstrap.registry import Binding, Holdings
from netlayer.sansio.trust.tickets import MAX_SIGNERS, key_fingerprint
from netlayer.storage.bindings.file import BindingFile, DamagedFile, WantedBinding, move_aside
from tests.directories import new_directory
from tests.storage.bindings.damage import FILES, Specimen, flip


def key(number: int) -> bytes:
    """Return a fingerprint."""
    return bytes([number]) * 32


class FileTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = new_directory(self) / "bindings.sqlite"

    def open(self, network: str | None = "default") -> BindingFile:
        file = BindingFile(self.path, network=network)
        self.addCleanup(file.close)
        return file


class BindingFileTests(FileTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.file = self.open()

    def bind(self, node_id: int, number: int, *, replacing: int | None = None, issued: int = 5) -> Binding:
        (held,) = self.file.bind(
            [WantedBinding(Binding(node_id, key(number), issued), None if replacing is None else key(replacing))],
            now=10,
        )
        return held

    def succeed(self, node_id: int, *numbers: int) -> Binding:
        """Give the id of the first key to the last one, each of which has replaced the one before."""
        *formers, last = map(key, numbers)
        (held,) = self.file.bind([WantedBinding(Binding(node_id, last, 5), formers[0], tuple(formers))], now=10)
        return held

    def test_replaced(self) -> None:
        """A key takes the place of another in one change, and what was replaced is there when it is read again."""
        self.bind(1, 7)
        self.assertEqual(self.succeed(1, 7, 8, 9), Binding(1, key(9), 5))
        steps = {(key(7), key(8)), (key(8), key(9))}
        for file in (self.file, self.open()):
            holdings = file.holdings()
            self.assertEqual((holdings.bindings, set(holdings.successions)), ((Binding(1, key(9), 5),), steps))
        self.assertEqual(self.succeed(1, 7, 6), Binding(1, key(9), 5), "another has taken its place before")
        self.assertEqual(set(self.file.holdings().successions), steps)

    def test_replaced_signer(self) -> None:
        """A bootstrap node's former keys are kept no longer, so that nobody vouches for them."""
        for signer in (b"former", b"other", b"latter"):
            self.file.add_signer(signer)
        self.file.add_signer(b"new", formers=(key_fingerprint(b"former"), key_fingerprint(b"latter")))
        self.assertEqual(self.file.holdings().signers, (b"other", b"new"))
        self.file.add_signer(b"new", formers=(key_fingerprint(b"former"),))
        self.assertEqual(self.open().holdings().signers, (b"other", b"new"))

    def test_replaced_elsewhere(self) -> None:
        """With another id the former key's is free; a key that has its id already only gets its former keys noted."""
        self.bind(1, 7)
        self.bind(2, 8)
        self.assertEqual(self.succeed(2, 7, 8), Binding(2, key(8), 5))
        holdings = self.file.holdings()
        self.assertEqual((holdings.bindings, holdings.ended), ((Binding(2, key(8), 5),), ((1, 10),)))
        self.assertEqual(holdings.successions, ((key(7), key(8)),))

    def test_version_1(self) -> None:
        """A file from before keys could be replaced is taken over as it is, also while another has it open."""
        self.bind(1, 7)
        self.file.ban(key(9))
        before = self.file.holdings()
        database, name, changes = self.file._database, *self.file._about()[1::2]
        database.execute("DROP TABLE successions")
        about = self.file._about()._replace(version=1)
        self.file._write_about(about)
        other = self.open()
        self.assertEqual(other.holdings(), before)
        self.assertEqual((other._about().name, other._about().changes), (name, changes + 1))
        self.assertEqual(self.open().holdings(), before)
        self.file = other
        self.assertEqual(self.succeed(1, 7, 8), Binding(1, key(8), 5))

    def test_first_wins(self) -> None:
        """The first key has the id; another is told who has it, unless it may replace just that one."""
        first = self.bind(1, 7)
        self.assertEqual(first, Binding(1, key(7), 5))
        self.assertEqual(self.bind(1, 8), first)
        self.assertEqual(self.bind(1, 8, replacing=9), first)
        self.assertEqual(self.bind(1, 7, issued=99), first)
        self.assertEqual(self.bind(1, 8, replacing=7), Binding(1, key(8), 5))
        self.assertEqual(self.file.holdings(), Holdings((Binding(1, key(8), 5),)))

    def test_one_id_each(self) -> None:
        """A key that takes another id gives up its own, and the file tells when."""
        self.bind(1, 7)
        self.bind(2**63 - 1, 7)
        self.assertEqual(self.file.holdings(), Holdings((Binding(2**63 - 1, key(7), 5),), ended=((1, 10),)))

    def test_end(self) -> None:
        """A binding that was ended is gone, and when is kept: never earlier than it was made."""
        self.bind(1, 7, issued=50)
        self.assertEqual(self.file.end(1, now=20), Binding(1, key(7), 50))
        self.assertIsNone(self.file.end(1, now=60))
        self.assertEqual(self.file.holdings(), Holdings(ended=((1, 50),)))
        self.bind(1, 8, issued=70)
        self.file.end(1, now=80)
        self.assertEqual(self.file.holdings().ended, ((1, 80),))

    def test_bans(self) -> None:
        """Keys are banned and let in again, once each."""
        self.assertEqual([self.file.ban(key(1)), self.file.ban(key(1)), self.file.ban(key(2))], [True, False, True])
        self.assertEqual(self.file.holdings().banned, (key(1), key(2)))
        self.assertEqual([self.file.lift(key(1)), self.file.lift(key(1))], [True, False])
        self.assertEqual(self.file.holdings().banned, (key(2),))

    def test_signers(self) -> None:
        """The keys of those who use the file are kept once, and the last so many of them."""
        for number in (*range(MAX_SIGNERS + 3), 5):
            self.file.add_signer(bytes([number]))
        self.assertEqual(self.file.holdings().signers, tuple(bytes([n]) for n in range(3, MAX_SIGNERS + 3)))

    def test_kept(self) -> None:
        """All of it is there again when the file is opened again."""
        for number in range(50):
            self.bind(number, number)
        self.file.ban(key(3))
        self.file.end(4, now=20)
        before = self.file.holdings()
        self.file.close()
        self.assertEqual(self.open().holdings(), before)

    def test_several(self) -> None:
        """What one has changed is noticed by the other, once; and never is an id given twice."""
        other = self.open()
        self.assertIsNone(other.changes())
        self.bind(1, 7)
        self.assertEqual(other.changes(), Holdings((Binding(1, key(7), 5),)))
        self.assertIsNone(other.changes())
        self.assertEqual(other.bind([WantedBinding(Binding(1, key(8), 6))], now=10), [Binding(1, key(7), 5)])
        self.assertIsNone(self.file.changes(), "nothing was changed")

    def test_network(self) -> None:
        """The bindings of another network are not taken for those of this one."""
        error = self.assertRaises(ConfigurationError, self.open, "another")
        self.assertIn("that of the network 'default'", str(error))
        self.assertEqual(self.open(None).holdings(), Holdings())

    @skipUnless(os.name == "posix", "modes are those of POSIX")
    def test_modes(self) -> None:
        """Nobody else may read any of the files."""
        self.bind(1, 7)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) & 0o077 for path in self.path.parent.iterdir()}
        self.assertEqual(set(modes.values()), {0}, modes)
        self.assertGreaterEqual(len(modes), 3)

    def test_locked(self) -> None:
        """A file that somebody keeps locked is in the way, and not taken for damaged."""
        self.bind(1, 7)
        blocker = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(blocker.close)
        blocker.execute("BEGIN IMMEDIATE")
        self.file._database.execute("PRAGMA busy_timeout = 10")
        self.assertIn("locked", str(self.assertRaises(ConfigurationError, self.bind, 2, 8)))
        blocker.execute("ROLLBACK")
        self.assertEqual(self.bind(2, 8), Binding(2, key(8), 5))


class DamageTests(FileTestCase):
    def damage(self) -> str:
        return str(self.assertRaises(DamagedFile, self.open))

    def test_flipped_bits(self) -> None:
        """A changed bit of any file is noticed, or changes nothing."""
        rng = random.Random(20260101)
        specimen = Specimen(new_directory(self), rng)
        found = set()
        for file in FILES:
            for _ in range(12):
                outcome = specimen.outcome(lambda directory, file=file: flip(directory / file, rng))  # type: ignore[misc]
                self.assertIn(outcome, ("detected", "harmless"))
                found.add((file.rpartition(".")[2], outcome))
        self.assertTrue({("sqlite", "detected"), ("sqlite-wal", "detected"), ("pem", "detected")} <= found, found)

    def test_lost_log(self) -> None:
        """When the log is gone or cut, the bindings in it are missed."""
        rng = random.Random(1)
        specimen = Specimen(new_directory(self), rng)

        def lose(directory: Path) -> str:
            (directory / "bindings.sqlite-wal").unlink()
            return "no log"

        def cut(directory: Path) -> str:
            log = directory / "bindings.sqlite-wal"
            os.truncate(log, log.stat().st_size - 1000)
            return "a cut log"

        self.assertEqual([specimen.outcome(change) for change in (lose, cut)], ["detected", "detected"])

    def test_old_copy(self) -> None:
        """An older copy of the file is noticed, and taken when its mark is removed: that is how a backup comes back."""
        file = self.open()
        file.ban(key(1))
        before = file.holdings()
        file.close()
        copy = self.path.with_name("copy")
        shutil.copy(self.path, copy)
        file = self.open()
        file.ban(key(2))
        file.close()
        shutil.copy(copy, self.path)
        self.assertEqual(self.damage(), "it has seen 1 changes, and its mark says that there were 2")
        self.path.with_name("bindings.sqlite-mark").unlink()
        self.assertEqual(self.open().holdings(), before)

    def test_damaged_mark(self) -> None:
        """A mark in which anything has changed is no mark, and is made again."""
        file = self.open()
        file.ban(key(1))
        file.close()
        mark = self.path.with_name("bindings.sqlite-mark")
        whole = mark.read_bytes()
        for at in range(len(whole)):
            for bit in range(8):
                mark.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
                self.assertIn(file._read_mark(), (None, (whole.split()[0].decode(), 1)))
        for content in (b"", b"x", b"x " * 1000, b"a 99999999999999999999 b"):
            mark.write_bytes(content)
            self.open().close()
            self.assertEqual(mark.read_bytes()[: len(whole)], whole)

    def test_gone(self) -> None:
        """A file that was removed is missed."""
        self.open().close()
        self.path.unlink()
        self.assertIn("its mark is there", self.damage())

    def test_no_database(self) -> None:
        """What was never a file of bindings is none."""
        self.path.write_bytes(b"nonsense" * 1000)
        self.damage()
        self.path.unlink()
        other = sqlite3.connect(self.path)
        other.execute("CREATE TABLE something (x)")
        other.close()
        self.assertIn("tables", self.damage())

    def test_changed_rows(self) -> None:
        """Rows that something else has changed, removed or added are noticed."""
        file = self.open()
        file.bind([WantedBinding(Binding(n, key(n), 5)) for n in range(4)], now=10)
        file.close()
        for statement in (
            "UPDATE bindings SET fingerprint = zeroblob(31) WHERE node_id = 2",
            "DELETE FROM bindings WHERE node_id = 2",
            "INSERT INTO banned SELECT fingerprint, digest FROM bindings WHERE node_id = 2",
            "UPDATE about SET changes = 9",
            "DELETE FROM about",
        ):
            copy = self.path.with_name("copy.sqlite")
            shutil.copy(self.path, copy)
            with sqlite3.connect(copy) as database:
                database.execute(statement)
            database.close()
            self.assertRaises(DamagedFile, BindingFile, copy, network="default")
            copy.unlink()

    def test_move_aside(self) -> None:
        """Damaged files are kept under another name, each time a new one, and a new file can be made."""
        for number in (1, 2):
            self.open().close()
            aside = move_aside(self.path)
            self.assertEqual(aside.name, f"bindings.sqlite.damaged-{number}")
            self.assertTrue(aside.with_name(f"{aside.name}-mark").exists())
        self.assertFalse(self.path.exists())

    def test_in_the_way(self) -> None:
        """A directory that is missing, or a file that is a directory, is no damage."""
        self.assertRaises(ConfigurationError, BindingFile, self.path / "x", network="default")
        self.assertRaises(ConfigurationError, self.open, None)
        self.path.mkdir()
        self.assertRaises(ConfigurationError, self.open)
