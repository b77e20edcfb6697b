"""The ``netlayer`` command."""

from __future__ import annotations

import os
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

from twisted.trial.unittest import SynchronousTestCase

from netlayer import Identity
from netlayer.admission import Admission
from netlayer.command import main
from netlayer.identity import fingerprint_text
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

    def test_mistakes(self) -> None:
        """What is no command, or no argument, is named."""
        self.assertIn("secret, identity", self.mistake())
        self.assertIn("nonsense", self.mistake("nonsense"))
        self.assertIn("'now'", self.mistake("secret", "now"))
        self.assertIn("data directory", self.mistake("identity"))
        self.assertIn("--what", self.mistake("secret", "--what"))

    def test_help(self) -> None:
        """Help tells of every command."""
        with redirect_stdout(StringIO()) as out:
            self.assertRaises(SystemExit, main, ["--help"])
        for word in ("secret", "identity"):
            self.assertIn(word, out.getvalue())
