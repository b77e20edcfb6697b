"""What `import netlayer` does to a program: little, quickly and silently."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase


def python(*arguments: str) -> str:
    """Return all that a new interpreter prints; it may cache bytecode, as a user's does."""
    return subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": ""},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    ).stdout


def cpu_seconds(statement: str) -> float:
    """Measure a new interpreter up to the end of `statement`; other processes don't count."""
    return float(python("-c", f"{statement}\nimport time; print(time.process_time())"))


class ImportTests(SynchronousTestCase):
    def test_silent(self) -> None:
        """Importing netlayer prints nothing and warns of nothing."""
        self.assertEqual(python("-W", "error", "-c", "import netlayer"), "")

    def test_no_reactor(self) -> None:
        """After importing all of netlayer the application may still choose its reactor."""
        chosen = python("-c", "import sys; from netlayer import *; print('twisted.internet.reactor' in sys.modules)")
        self.assertEqual(chosen, "False\n")

    def test_quick(self) -> None:
        """Importing netlayer costs a Twisted program with TLS at most 30 % more processor time to start."""
        twisted = "import twisted.internet.reactor, twisted.internet.ssl"
        cpu_seconds("import netlayer")
        ratios: list[float] = []
        while len(ratios) < 15:  # in pairs, as what else the machine does slows both
            ratios.append(cpu_seconds("import netlayer") / cpu_seconds(twisted))
            if len(ratios) >= 3 and statistics.median(ratios) < 1.3:
                break
        self.assertLess(statistics.median(ratios), 1.3)
