"""Directories for the files of a test, which go with it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

__all__ = ["new_directory"]


def new_directory(case: SynchronousTestCase) -> Path:
    """Return an empty directory that is removed after the test; trial's own would stay behind under pytest."""
    directory = TemporaryDirectory(prefix="netlayer-")
    case.addCleanup(directory.cleanup)
    return Path(directory.name)
