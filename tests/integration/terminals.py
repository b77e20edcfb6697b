"""Terminal sessions of the documentation, played as they stand: what a page says that one types, and what one sees.

A session is a list of blocks, each of which happens in one terminal:

- ``$ command`` is given to a shell there;
- ``> text`` is typed, to the program that runs there;
- ``^C``, ``^D`` and ``^\\`` are pressed, and end the program;
- any other line is awaited as the next line that the terminal shows; in it ``...`` stands for whatever comes, and a
  line that is nothing but ``...`` for any number of lines.

The ports 8000 to 8009 are replaced by free ones, in the files as well.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from tests.integration.launcher import launcher
from tests.integration.processes import ENVIRONMENT, ROOT, Process, free_ports, interruptible, wait_until

#: What a page may need of the repository.
FILES = ("docs/examples", "docs/tutorial/chat")
KEYS = {"^C": signal.SIGINT, "^\\": signal.SIGQUIT}


class Block(NamedTuple):
    """A part of a session: which terminal, and its lines."""

    terminal: str
    lines: list[str]


class Terminal:
    """A shell's terminal.

    :ivar directory: where its commands start.
    """

    def __init__(self, name: str, directory: Path, output: Path) -> None:
        self.directory = directory
        self._name = name
        self._output = output
        self._read = 0  # lines of the output
        self._skipping = False
        self._process: Process | None = None
        self._keyboard: Any = None
        output.touch()

    def __str__(self) -> str:
        return f"\n--- {self._name}\n{self._output.read_text('utf-8', 'replace')}"

    def run(self, command: str) -> None:
        """Give a command to the shell, which has to be ready for it."""
        self.ends()
        if command.startswith("cd "):
            self.directory = (self.directory / command.removeprefix("cd ")).resolve()
            assert self.directory.is_dir(), command
            return
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {**os.environ, **ENVIRONMENT, "PATH": path}
        theirs, ours = os.pipe()
        self._keyboard = open(ours, "w", buffering=1)  # noqa: SIM115 - closed by _wait() and kill()
        script = _script(command)
        with self._output.open("ab") as output:
            if script is not None:
                self._process = launcher().start(
                    script,
                    directory=self.directory,
                    environment=environment,
                    files=[theirs, output.fileno(), output.fileno()],
                )
            else:
                self._process = subprocess.Popen(
                    ["bash", "-c", command],
                    cwd=self.directory,
                    env=environment,
                    stdin=theirs,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    text=True,
                    preexec_fn=interruptible,
                )
        os.close(theirs)

    def type(self, text: str) -> None:
        """Type a line."""
        self._keyboard.write(f"{text}\n")

    def press(self, key: str) -> None:
        """Press Ctrl-C, Ctrl-D or Ctrl-\\, and wait for the end of the program."""
        assert self._process is not None, f"nothing runs in {self}"
        if key == "^D":
            self._keyboard.close()
        else:
            self._process.send_signal(KEYS[key])
        if key == "^\\":  # the shell tells of it, in words of its own
            self._skipping = True
        self._wait()

    def expect(self, line: str) -> None:
        """Wait until the next line is this one."""
        if line == "...":
            self._skipping = True
            return
        expression = re.compile(".*".join(map(re.escape, line.split("..."))))

        def found() -> bool:
            shown = self._output.read_text("utf-8", "replace").split("\n")[:-1][self._read :]
            if not self._skipping:
                shown = shown[:1]
            for number, text in enumerate(shown, 1):
                if expression.fullmatch(text.rstrip()):
                    self._read += number
                    return True
            if shown and not self._skipping:
                raise AssertionError(f"{self._name} shows {shown[0]!r}, not {line!r}: {self}")
            return False

        wait_until(found, lambda: f"{line!r} in {self}")
        self._skipping = False

    def ends(self) -> None:
        """Wait until the shell is ready for the next command, and see that the page has not held back anything."""
        if self._process is not None:
            self._wait()
            self._process = None
        self.shows_no_more()

    def _wait(self) -> None:
        process = self._process
        assert process is not None
        wait_until(lambda: process.poll() is not None, lambda: f"the end of the program in {self}")
        self._keyboard.close()

    def shows_no_more(self) -> None:
        """See that the page has told everything that is shown."""
        rest = self._output.read_text("utf-8", "replace").split("\n")[:-1][self._read :]
        if self._skipping:
            self._read += len(rest)
        elif rest:
            raise AssertionError(f"{self._name} shows {rest[0]!r}, which the page does not tell: {self}")

    def kill(self) -> None:
        """End whatever runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            with suppress(OSError):
                self._keyboard.close()


def _script(command: str) -> list[str] | None:
    """Return the script and the arguments of a command that just runs a script of Python's: it can be forked."""
    if re.search(r"[;|&<>$`\\]", command):
        return None
    program, *arguments = shlex.split(command)
    if program == "python" and not arguments[0].startswith("-"):
        return arguments
    path = Path(sys.executable).with_name(program)
    return [str(path), *arguments] if program in ("twist", "twistd") and path.exists() else None


def play(session: list[Block]) -> None:
    """Play a session.

    :raises AssertionError: when something else is shown than the page says.
    """
    base = Path(tempfile.mkdtemp(prefix="netlayer-session-"))
    ports = {f"{8000 + n}": f"{port}" for n, port in enumerate(free_ports(10))}

    def translated(text: str) -> str:
        return re.sub(r"\b800\d\b", lambda match: ports[match[0]], text)

    terminals: dict[str, Terminal] = {}
    try:
        for name in FILES:
            shutil.copytree(ROOT / name, base / name, ignore=shutil.ignore_patterns("__pycache__", "*.log*", "*.pid"))
        for path in [*base.rglob("*.py"), *base.rglob("*.tac"), *base.rglob("*.socket"), *base.rglob("*.service")]:
            path.write_text(translated(path.read_text("utf-8")), "utf-8")
        for number, block in enumerate(session):
            if block.terminal not in terminals:
                terminals[block.terminal] = Terminal(block.terminal, base, base / f"{number}.out")
            terminal = terminals[block.terminal]
            for line in map(translated, block.lines):
                if line.startswith("$ "):
                    terminal.run(line[2:])
                elif line.startswith("> "):
                    terminal.type(line[2:])
                elif line in ("^C", "^D", "^\\"):
                    terminal.press(line)
                elif line.strip():
                    terminal.expect(line.strip())
        for terminal in terminals.values():
            terminal.shows_no_more()
    finally:
        for terminal in terminals.values():
            terminal.kill()
        for pid_file in base.rglob("*.pid"):  # of daemons that are still there
            with suppress(ValueError, ProcessLookupError):
                os.kill(int(pid_file.read_text()), signal.SIGKILL)
        shutil.rmtree(base, ignore_errors=True)
