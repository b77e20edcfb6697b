"""The commands that are told for a replay: whoever types them gets the run."""

from __future__ import annotations

import importlib
import os
import shlex
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from netlayer.testing.loading import load
from netlayer.testing.replay import replay_command
from netlayer.testing.run import simulate
from tests.testing.scenarios import FailsSoon, Outer, Small

SOURCE = """
from tests.testing.scenarios import Small

class Mine(Small):
    pass
"""


class ReplayTests(SynchronousTestCase):
    def test_not_in_a_package(self) -> None:
        """A module that whoever runs tests has found is named by its file, quoted for a shell."""
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "my tests", "test_replayed_file.py")
            path.parent.mkdir()
            path.write_text(SOURCE, "utf-8")
            sys.path.insert(0, str(path.parent))
            self.addCleanup(sys.path.remove, str(path.parent))
            self.addCleanup(sys.modules.pop, path.stem, None)
            module = importlib.import_module(path.stem)
            words = shlex.split(replay_command(module.Mine, 3, without=[1, 2], only_hosts=["node1", "a b"]))
            place = f"{os.path.relpath(path)}:Mine"
            self.assertEqual(words[3:], [place, "--seed", "3", "--without", "1-2", "--hosts", "node1,a b"])
            self.assertEqual(load(place).__name__, "Mine")

    def test_in_a_package(self) -> None:
        """A module of a package is named as such, as it may import its neighbours; a class in a class is found."""
        command = replay_command(Outer.Inner, 3, real=True)
        self.assertEqual(command, "python -m netlayer.testing tests.testing.scenarios:Outer.Inner --seed 3 --real")
        self.assertIs(load("tests.testing.scenarios:Outer.Inner"), Outer.Inner)

    def test_local(self) -> None:
        """For a class that was made in a function it is said that there is no such command."""

        class Local(FailsSoon):
            pass

        self.assertEqual(Small(1).command(), "python -m netlayer.testing tests.testing.scenarios:Small --seed 1")
        self.assertEqual(Local(1).command(), "")
        story = simulate(Local(1)).story()
        self.assertIn("No command replays it", story)
        self.assertNotIn("python -m", story)
