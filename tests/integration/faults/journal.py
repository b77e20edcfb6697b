"""What a member process writes down as it happens, and what the test reads of it while the member lives and after.

Each entry is one line, written by one system call: a process that is killed has either written it or not begun.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Entry", "Journal", "JournalReader"]


class Entry(NamedTuple):
    """One thing that happened.

    :ivar at: when, on the machine's monotonic clock.
    :ivar what: ``sent``, ``ended``, ``handled``, …; :mod:`tests.integration.faults.member` writes them.
    """

    at: float
    what: str
    details: tuple[Any, ...]


class Journal:
    """The writing end."""

    def __init__(self, path: str | Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, what: str, *details: Any) -> None:
        """Write an entry down; it outlives the process from now on."""
        line = json.dumps([time.monotonic(), what, *details]).encode() + b"\n"
        if os.write(self._file, line) != len(line):
            raise OSError("the disk is full")


class JournalReader:
    """The reading end, which follows a journal that is being written.

    :ivar entries: what has been read so far.
    """

    def __init__(self, path: Path) -> None:
        path.touch()
        self.entries: list[Entry] = []
        self._file = path.open("rb")
        self._rest = b""

    def read(self) -> list[Entry]:
        """Read what has been written since the last time, and return all entries."""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        for line in lines:
            at, what, *details = json.loads(line)
            self.entries.append(Entry(at, what, tuple(details)))
        return self.entries

    def find(self, what: str, *details: Any, after: float = 0.0) -> Entry | None:
        """Return the latest entry of a kind whose details begin with these, or None; none before a time counts."""
        for entry in reversed(self.read()):
            if entry.at < after:
                return None
            if entry.what == what and entry.details[: len(details)] == details:
                return entry
        return None

    def close(self) -> None:
        """Read the rest and close the file."""
        self.read()
        self._file.close()
