"""Member processes as a test holds them: each node in its lives, one process after the other."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.integration.faults.journal import Entry, JournalReader
from tests.integration.faults.ledger import Life
from tests.integration.processes import ENVIRONMENT, interruptible

__all__ = ["MemberNode"]


class MemberNode:
    """A node, of which at most one process lives.

    :param directory: for the key and the journals.
    :param ephemeral: whether each of its processes has a key of its own.
    :param launcher: a command that starts the interpreter somewhere else.
    :param program: the module that its processes run.
    :param options: what the program gets in its configuration besides.
    :ivar lives: the journals of all its processes.
    """

    def __init__(
        self,
        node_id: int,
        directory: Path,
        *,
        bootstrap: bool = False,
        ephemeral: bool = False,
        launcher: Sequence[str] = (),
        program: str = "tests.integration.faults.member",
        **options: Any,
    ) -> None:
        self.node_id = node_id
        self.bootstrap = bootstrap
        self.lives: list[JournalReader] = []
        self._directory = directory
        self._ephemeral = ephemeral
        self._launcher = launcher
        self._program = program
        self._options = options
        self._process: subprocess.Popen[str] | None = None
        atexit.register(self.kill)
        self._questions = 0
        self._asked = 0.0
        self._linked: set[int] = set()
        self._seen = 0  # how many entries of the present journal that comes from

    @property
    def life(self) -> Life:
        """Its present or latest process."""
        return Life(self.node_id, len(self.lives))

    @property
    def alive(self) -> bool:
        """Whether a process of it lives."""
        return self._process is not None

    @property
    def journal(self) -> JournalReader:
        """The journal of the present process."""
        return self.lives[-1]

    @property
    def journals(self) -> dict[Life, list[Entry]]:
        """What all its processes have written."""
        return {Life(self.node_id, n): journal.read() for n, journal in enumerate(self.lives, start=1)}

    def start(self) -> None:
        """Start a process."""
        path = self._directory / f"node-{self.node_id}-life-{len(self.lives) + 1}"
        self.lives.append(JournalReader(path))
        self._linked, self._seen = set(), 0
        configuration = {
            "node_id": self.node_id,
            "bootstrap": self.bootstrap,
            "life": len(self.lives),
            "journal": str(path),
            **self._options,
        }
        if not self._ephemeral:
            configuration["data_dir"] = str(self._directory / f"data-{self.node_id}")
        with open(f"{path}.err", "w") as err:
            self._process = subprocess.Popen(
                [*self._launcher, sys.executable, "-m", self._program, json.dumps(configuration)],
                cwd=self._directory,
                env=os.environ | ENVIRONMENT,
                stdin=subprocess.PIPE,
                stdout=err,
                stderr=err,
                text=True,
                preexec_fn=interruptible,
            )

    def started(self) -> int | None:
        """Return the port at which the present process listens, or None as long as it does not."""
        entry = self.journal.find("started")
        self.check()
        return entry.details[0] if entry is not None else None

    def check(self) -> None:
        """Raise if the present process has ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            said = (self._directory / f"node-{self.node_id}-life-{len(self.lives)}.err").read_text()
            raise AssertionError(f"node {self.node_id} has ended with {self._process.returncode}: {said}")

    def tell(self, command: str, **arguments: Any) -> None:
        """Give the present process a command."""
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": command, **arguments}) + "\n")
        self._process.stdin.flush()

    def ask(self, command: str) -> None:
        """Give a command that is answered."""
        self._questions += 1
        self._asked = time.monotonic()
        self.tell(command, token=self._questions)

    def answer(self, command: str) -> Entry | None:
        """Return the answer to the latest question, or None as long as there is none."""
        self.check()
        return self.journal.find(command, self._questions, after=self._asked)

    def linked(self) -> set[int]:
        """Return who is linked, as the present process has said."""
        for entry in self.journal.read()[self._seen :]:
            self._seen += 1
            if entry.what == "ready":
                self._linked.add(entry.details[0])
            elif entry.what == "lost":
                self._linked.discard(entry.details[0])
        return self._linked

    def freeze(self) -> None:
        """Stop the present process; it knows nothing of the time until it is thawed."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let the present process go on, if it was frozen."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        """Ask the present process to end."""
        if self._process is not None:
            self._process.terminate()

    @property
    def ended(self) -> bool:
        """Whether the present process has ended by itself, or there is none."""
        return self._process is None or self._process.poll() is not None

    def kill(self) -> None:
        """End the present process by SIGKILL."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()

    def close(self) -> None:
        """Kill it, and close the journals."""
        self.kill()
        atexit.unregister(self.kill)
        for journal in self.lives:
            journal.close()
