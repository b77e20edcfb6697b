"""A data directory has one node at a time, whatever becomes of that node's process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from unittest import skipUnless

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from netlayer import Identity, PeerService
from netlayer.errors import ConfigurationError
from netlayer.storage.data_directory import DataDirectory
from tests.directories import new_directory

HOLDER = """
import os, sys
from netlayer.storage.data_directory import DataDirectory
held = DataDirectory.open(sys.argv[1])
if len(sys.argv) > 2 and os.fork():
    os._exit(0)  # as the parent of a daemon does
held.note_process()
print(os.getpid(), flush=True)
sys.stdin.read()
"""


class DataDirectoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = new_directory(self) / "node"

    def refusal(self) -> str:
        return str(self.assertRaises(ConfigurationError, DataDirectory.open, self.directory))

    def holder(self, *arguments: str) -> subprocess.Popen[str]:
        """Return another process that has the directory."""
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(self.directory), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None and process.stdout is not None
        for pipe in (process.stdin, process.stdout):
            self.addCleanup(pipe.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def test_identity(self) -> None:
        """The identity in it is made once and stays."""
        one = DataDirectory.open(self.directory)
        self.assertEqual(one.identity.fingerprint, Identity.in_directory(self.directory).fingerprint)
        one.release()
        one.release()
        two = DataDirectory.open(self.directory)
        self.assertEqual(two.identity.fingerprint, one.identity.fingerprint)
        two.release()

    def test_held(self) -> None:
        """A second node, of the same process too, is refused by the name of the directory, and hears who has it."""
        held = DataDirectory.open(self.directory)
        by = f"another node of this process ({os.getpid()})"
        said = f"data directory '{self.directory}' is in use by {by}; each node needs its own"
        self.assertEqual(self.refusal(), said)
        held.release()

    def test_forgotten(self) -> None:
        """A node that was made and dropped holds nothing, nor does one that could not be made."""
        DataDirectory.open(self.directory)
        (self.directory / "identity.pem").write_text("damaged")
        self.assertIn("is damaged", self.refusal())
        self.assertIn("is damaged", self.refusal())
        (self.directory / "identity.pem").unlink()
        for _ in range(2):
            with self.assertRaises(ConfigurationError):
                PeerService(MemoryReactorClock(), node_id=-1, listen=("localhost", 0), data_dir=self.directory)

    def test_service(self) -> None:
        """A node has its directory until it has stopped."""
        service = PeerService(MemoryReactorClock(), node_id=2, listen=("localhost", 0), data_dir=self.directory)
        self.assertIn("is in use by", self.refusal())
        self.successResultOf(service.stop())
        DataDirectory.open(self.directory).release()

    def test_killed(self) -> None:
        """Another process is named, and what it held is free as soon as it was killed."""
        process = self.holder()
        assert process.stdout is not None
        number = process.stdout.readline().strip()
        self.assertIn(f"is in use by the process {number};", self.refusal())
        process.kill()
        process.wait()
        DataDirectory.open(self.directory).release()

    @skipUnless(hasattr(os, "fork"), "daemons are made by fork")
    def test_daemon(self) -> None:
        """A process that became a daemon has taken its lock along; the child is who is named."""
        process = self.holder("daemon")
        assert process.stdin is not None and process.stdout is not None
        number = process.stdout.readline().strip()
        self.assertEqual(process.wait(), 0)
        self.assertNotEqual(int(number), process.pid)
        self.assertIn(f"is in use by the process {number};", self.refusal())
        process.stdin.close()  # which ends the daemon
        process.stdout.read()
        DataDirectory.open(self.directory).release()

    @skipUnless(os.name == "posix", "symbolic links and modes are those of POSIX")
    def test_planted(self) -> None:
        """A lock file that is a symbolic link, or can't be made, is refused."""
        self.directory.mkdir()
        (self.directory / "lock").symlink_to(self.directory.parent / "elsewhere")
        self.assertIn("lock", self.refusal())
        self.assertFalse((self.directory.parent / "elsewhere").exists())
        (self.directory / "lock").unlink()
        (self.directory / "lock").mkdir()
        self.assertIn(f"data directory '{self.directory}': lock: ", self.refusal())
        self.assertFalse(Path(self.directory / "identity.pem").exists())
