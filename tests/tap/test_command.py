"""The ``netlayer`` command."""

from __future__ import annotations

import os
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest import skipUnless

from twisted.trial.unittest import SynchronousTestCase

from netlayer import Identity
from netlayer.sansio.bootstrap.registry import Binding
from netlayer.storage.admission import Admission
from netlayer.storage.bindings.file import BindingFile, WantedBinding
from netlayer.storage.data_directory import DataDirectory
from netlayer.storage.identity import fingerprint_text
from netlayer.storage.known_peers import Further, read_known_peers, write_known_peers
from netlayer.tap.command import main
from tests.directories import new_directory


class CommandTests(SynchronousTestCase):
    def run_command(self, *arguments: str) -> str:
        """Return what the command prints."""
        with redirect_stdout(StringIO()) as out:
            main(arguments)
        return out.getvalue()

    def mistake(self, *arguments: str) -> str:
        """Return the one line with which the command ends, with exit code 1."""
        with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
            end = self.assertRaises(SystemExit, main, arguments)
        self.assertEqual((out.getvalue(), err.getvalue()), ("", ""))
        line = str(end.code)
        self.assertRegex(line, r"\Anetlayer: .+\Z")
        return line

    def test_secret(self) -> None:
        """Each secret is another one, and good enough for a network."""
        one, two = self.run_command("secret"), self.run_command("secret")
        self.assertNotEqual(one, two)
        self.assertEqual(len(one.splitlines()), 1)
        self.assertFalse(Admission.from_options("default", secret=one.strip()).is_open)

    def test_identity(self) -> None:
        """The fingerprint of a node's key is printed, and the key made only if that is asked for."""
        directory = new_directory(self) / "node"
        self.assertIn("holds no identity.pem", self.mistake("identity", str(directory)))
        self.assertFalse(directory.exists())
        printed = self.run_command("identity", "--create", str(directory))
        self.assertEqual(printed.strip(), fingerprint_text(Identity.in_directory(directory).fingerprint))
        self.assertEqual(self.run_command("identity", str(directory)), printed)

    def test_no_directory(self) -> None:
        """A path that is none, or that can't be looked at, is told in one line, and nothing is made."""
        before = os.listdir()
        for command in ("identity", "bindings", "known", "rotate"):
            self.assertIn("a data directory is a path, not ''", self.mistake(command, ""))
            self.assertIn(f"{'a' * 300}", self.mistake(command, "a" * 300))
        self.assertIn("a data directory is a path, not ''", self.mistake("identity", "--create", ""))
        self.assertIn("a data directory is a path, not ''", self.mistake("ban", "", "1"))
        self.assertEqual(os.listdir(), before)

    def test_damaged_identity(self) -> None:
        """A damaged or readable key is told by its path."""
        directory = new_directory(self) / "node"
        self.run_command("identity", "--create", str(directory))
        if os.name == "posix":
            (directory / "identity.pem").chmod(0o644)
            self.assertIn("chmod 600", self.mistake("identity", str(directory)))
        (directory / "identity.pem").chmod(0o600)
        (directory / "identity.pem").write_text("nothing")
        self.assertIn(str(directory), self.mistake("identity", str(directory)))

    def bindings(self, *, network: str = "default") -> tuple[Path, BindingFile]:
        """Return the directory of a bootstrap node with two bindings, and their file."""
        directory = new_directory(self)
        file = BindingFile(directory / "bindings.sqlite", network=network)
        self.addCleanup(file.close)
        file.bind([WantedBinding(Binding(n, bytes([n]) * 32, 1767225600 + n)) for n in (2, 3)], now=1767225700)
        return directory, file

    def test_bindings(self) -> None:
        """Bindings and bans are printed, one a line; ids are freed while the bootstrap node has the file open."""
        directory, file = self.bindings(network="any")
        file.ban(bytes(32))
        file.bind([WantedBinding(Binding(3, bytes([4]) * 32, 1767225603), bytes([3]) * 32, (bytes([3]) * 32,))], now=0)
        lines = self.run_command("bindings", str(directory)).splitlines()
        self.assertEqual(
            lines,
            [
                f"2 sha256:{'02' * 32} 2026-01-01T00:00:02Z",
                f"3 sha256:{'04' * 32} 2026-01-01T00:00:03Z",
                f"banned sha256:{'00' * 32}",
                f"replaced sha256:{'03' * 32} by sha256:{'04' * 32}",
            ],
        )
        self.assertIn("2 is free", self.run_command("bindings", str(directory), "--remove", "2"))
        self.assertEqual([binding.node_id for binding in file.holdings().bindings], [3])
        self.assertIn("no key holds the id 2", self.mistake("bindings", "--remove", "2", str(directory)))

    def test_ban(self) -> None:
        """A key is banned by its fingerprint, or by the id that it holds, and let in again."""
        directory, file = self.bindings()
        other = f"sha256:{'ab' * 32}"
        for key, fingerprint in (("2", bytes([2]) * 32), (other, bytes.fromhex("ab" * 32))):
            self.assertIn("is banned\n", self.run_command("ban", str(directory), key))
            self.assertIn("as it was before", self.run_command("ban", str(directory), key))
            self.assertEqual(file.holdings().banned, (fingerprint,))
            self.assertIn("is not banned\n", self.run_command("ban", "--lift", str(directory), key))
            self.assertEqual(file.holdings().banned, ())
        self.assertIn("no key holds the id 9", self.mistake("ban", str(directory), "9"))
        self.assertIn("'sha256:12'", self.mistake("ban", str(directory), "sha256:12"))

    def test_known(self) -> None:
        """What a node has met is printed, and forgotten while it does not run: the key, wherever it is known."""
        directory = new_directory(self)
        self.run_command("identity", "--create", str(directory))
        a, b = bytes([1]) * 32, bytes([2]) * 32
        write_known_peers(directory / "known_peers", {"default": {7: a, "tcp:h:1": a, 8: b}, "other": {7: b}})
        printed = self.run_command("known", str(directory)).splitlines()
        self.assertEqual(
            printed, [f"{who} {fingerprint_text(k)}" for who, k in ((7, a), ("tcp:h:1", a), (8, b), (7, b))]
        )
        held = DataDirectory.open(directory)
        self.assertIn("is in use", self.mistake("known", str(directory), "--forget", "tcp:h:1"))
        held.release()
        self.assertEqual(
            self.run_command("known", str(directory), "--forget", "tcp:h:1"), f"{fingerprint_text(a)} is forgotten\n"
        )
        self.assertEqual(read_known_peers(directory / "known_peers"), {"default": {8: b}, "other": {7: b}})
        self.assertIn("nothing is known of 9", self.mistake("known", str(directory), "--forget", "9"))
        (directory / "known_peers").write_text("nonsense")
        for more in ((), ("--forget", "8")):
            self.assertIn("known_peers is damaged", self.mistake("known", str(directory), *more))
        self.assertIn("holds no identity.pem", self.mistake("known", str(new_directory(self))))

    def test_known_name(self) -> None:
        """All keys of a name are printed, and forgotten with it."""
        directory = new_directory(self)
        self.run_command("identity", "--create", str(directory))
        a, b = bytes([1]) * 32, bytes([2]) * 32
        write_known_peers(directory / "known_peers", {"default": {7: a, "seeds:1": a, Further("seeds:1", 1): b}})
        printed = self.run_command("known", str(directory)).splitlines()
        self.assertEqual(
            printed, [f"{who} {fingerprint_text(k)}" for who, k in ((7, a), ("seeds:1", a), ("seeds:1", b))]
        )
        self.run_command("known", str(directory), "--forget", "seeds:1")
        self.assertEqual(read_known_peers(directory / "known_peers"), {"default": {}})

    def test_rotate(self) -> None:
        """A key is replaced while its node does not run; the former key is nowhere in the directory any more."""
        directory = new_directory(self)
        former = self.run_command("identity", "--create", str(directory)).strip()
        secret = (directory / "identity.pem").read_text().split("-----")[2]
        held = DataDirectory.open(directory)
        self.assertIn("is in use by another node of this process", self.mistake("rotate", str(directory)))
        held.release()
        printed = self.run_command("rotate", str(directory))
        new = self.run_command("identity", str(directory)).strip()
        self.assertEqual(printed, f"{former} is replaced by {new}\n")
        self.assertNotEqual(former, new)
        self.assertEqual([fingerprint_text(key) for key in Identity.in_directory(directory).formers], [former])
        self.assertEqual({path.name for path in directory.iterdir()}, {"identity.pem", "lock"})
        self.assertNotIn(secret, (directory / "identity.pem").read_text())
        self.assertEqual((directory / "identity.pem").stat().st_mode & 0o777, 0o600)

    @skipUnless(hasattr(os, "geteuid") and os.geteuid() == 0, "only root can give files away")
    def test_for_another_user(self) -> None:
        """What root changes in the directory of a node that runs as another user stays that user's."""
        directory = new_directory(self)
        self.run_command("identity", "--create", str(directory))
        write_known_peers(directory / "known_peers", {"default": {7: bytes(32)}})
        for path in (directory, *directory.iterdir()):
            os.chown(path, 12345, 12346)
        self.run_command("rotate", str(directory))
        self.run_command("known", str(directory), "--forget", "7")
        for name in ("identity.pem", "known_peers", "lock"):
            status = (directory / name).stat()
            self.assertEqual((name, status.st_uid, status.st_gid), (name, 12345, 12346))

    def test_nothing_to_rotate(self) -> None:
        """A directory without a key, or with a damaged one, is told by its path, and is left as it was."""
        directory = new_directory(self)
        self.assertIn("holds no identity.pem", self.mistake("rotate", str(directory)))
        self.assertIn("one argument", self.mistake("rotate"))
        self.assertEqual(list(directory.iterdir()), [])
        (directory / "identity.pem").write_text("nonsense")
        (directory / "identity.pem").chmod(0o600)
        self.assertIn("identity.pem is damaged", self.mistake("rotate", str(directory)))
        self.assertEqual((directory / "identity.pem").read_text(), "nonsense")

    def test_no_bindings(self) -> None:
        """A directory without bindings, or with damaged ones, is told by its path; nothing is made or moved."""
        directory = new_directory(self)
        self.assertIn(str(directory), self.mistake("bindings", str(directory)))
        (directory / "bindings.sqlite").write_bytes(b"nonsense" * 1000)
        self.assertIn(f"{directory}/bindings.sqlite is damaged", self.mistake("ban", str(directory), "2"))
        self.assertEqual([path.name for path in directory.iterdir()], ["bindings.sqlite"])

    def test_mistakes(self) -> None:
        """What is no command, or no argument, is named."""
        self.assertIn("secret, identity", self.mistake())
        self.assertIn("nonsense", self.mistake("nonsense"))
        self.assertIn("'now'", self.mistake("secret", "now"))
        self.assertIn("data directory", self.mistake("identity"))
        self.assertIn("data directory", self.mistake("bindings"))
        self.assertIn("a node id is", self.mistake("bindings", "x", "--remove", "y"))
        self.assertIn("two arguments", self.mistake("ban", "x"))
        self.assertIn("--what", self.mistake("secret", "--what"))
        for command in ("known", "bindings", "identity", "rotate", "ban"):
            self.assertIn("option --what not recognized", self.mistake(command, "x", "--what", "1"))
        self.assertIn("option --forget requires argument", self.mistake("known", "x", "--forget"))

    def test_help(self) -> None:
        """Help tells of every command."""
        with redirect_stdout(StringIO()) as out:
            self.assertRaises(SystemExit, main, ["--help"])
        for word in ("secret", "identity", "bindings", "known", "ban", "rotate"):
            self.assertIn(word, out.getvalue())
