"""The same seed gives the same run, in every process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from netlayer.testing import SimulatedInternet
from tests.testing.replayed import replay

ROOT = Path(__file__).parents[2]


def replayed_elsewhere(seed: int, hash_seed: str) -> str:
    """Return what a process with its own PYTHONHASHSEED prints for a seed."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.testing.replayed", str(seed)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return done.stdout.strip()


class DeterminismTests(SynchronousTestCase):
    def test_hash_seeds(self) -> None:
        """A run with every kind of fault is the same whatever PYTHONHASHSEED is, and wherever objects lie in memory."""
        self.assertEqual(replayed_elsewhere(1, "0"), replayed_elsewhere(1, "4294967295"))

    def test_second_run(self) -> None:
        """A second run in the same process is the same too, and another seed gives another one."""
        first = replay(3, span=10.0)
        self.assertEqual(replay(3, span=10.0), first)
        self.assertNotEqual(replay(4, span=10.0)[0], first[0])

    def test_hash_covers_bytes(self) -> None:
        """The trace tells runs apart by times, hosts, kinds of events, and bytes."""

        def trace(when: float, kind: bytes, number: int, data: bytes) -> str:
            internet = SimulatedInternet()
            internet.advance(when)
            internet.record(kind, number, data)
            return internet.trace_hash

        one = trace(1.0, b"read", 1, b"data")
        self.assertEqual(trace(1.0, b"read", 1, b"data"), one)
        others = [
            trace(1.5, b"read", 1, b"data"),
            trace(1.0, b"end", 1, b"data"),
            trace(1.0, b"read", 2, b"data"),
            trace(1.0, b"read", 1, b"Data"),
            trace(1.0, b"readdata", 1, b""),
        ]
        self.assertEqual(len({one, *others}), 6)
