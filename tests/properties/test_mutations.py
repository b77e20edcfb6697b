"""The mutations fit the source that they are made for; that they are found is for a command of its own to show."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

import netlayer
from tests.properties.mutations import MUTATIONS


class MutationTests(SynchronousTestCase):
    def test_patches_fit(self) -> None:
        """Each patch can be applied, and what it leaves is a program."""
        package = Path(netlayer.__file__).parent
        for mutation in MUTATIONS:
            with self.subTest(mutation.name), TemporaryDirectory() as scratch:
                copy = Path(scratch, "netlayer")
                shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
                for patch in mutation.patches:
                    patch.apply(copy)
                    source = (copy / patch.file).read_text()
                    self.assertNotEqual(source, (package / patch.file).read_text())
                    compile(source, patch.file, "exec")
