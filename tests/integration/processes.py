"""Scripts in processes of their own, for tests of how a program with nodes begins, waits and ends."""

from __future__ import annotations

import atexit
import itertools
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any, ClassVar, TypeAlias, TypeVar

from twisted.trial.unittest import SynchronousTestCase

import netlayer
from tests.integration.launcher import LaunchedProcess, launcher

ROOT = Path(netlayer.__file__).parents[1]
Test = TypeVar("Test", bound=Callable[..., None])
Process: TypeAlias = "subprocess.Popen[str] | LaunchedProcess"

ENVIRONMENT = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": ""}

#: Seconds that a condition may take on a busy machine before its test fails; none takes a second on an idle one.
PATIENCE = 30.0


def wait_until(condition: Callable[[], Any], what: Callable[[], str], *, within: float = PATIENCE) -> Any:
    """Poll until `condition` returns something true, and return that.

    :param what: says what was waited for, when it has not come.
    """
    end = time.monotonic() + within
    while not (result := condition()):
        if time.monotonic() >= end:
            raise AssertionError(f"not within {within:g} s: {what()}")
        time.sleep(0.01)
    return result


def free_ports(count: int) -> list[int]:
    """Return different ports of 127.0.0.1 that nobody listens on, below those that systems give to outgoing ones.

    Test workers that run at the same time have ranges of their own: what one of them has chosen, no other one takes
    before a process listens there.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 5
    ports: dict[int, None] = {}
    while len(ports) < count:
        port = random.randrange(15000 + 3000 * worker, 18000 + 3000 * worker)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports[port] = None
    return list(ports)


def interruptible() -> None:
    """Have keys mean in a new process what they mean at a terminal, even if the tests themselves run in background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


class Script:
    """A Python process in a directory of its own.

    :param files: are written there before; a text alone is ``script.py``.
    :param command: what the interpreter is given.
    :param fresh: whether it needs an interpreter that is started for it; the others are forked, which is quicker.
    :param starter: the program that starts the interpreter, with its arguments, if we do not do it ourselves.
    :ivar directory: its working directory.
    """

    def __init__(
        self,
        files: str | dict[str, str],
        *,
        command: tuple[str, ...] = ("script.py",),
        stdin: int = subprocess.DEVNULL,
        fresh: bool = False,
        starter: tuple[str, ...] = (),
    ) -> None:
        self._starter = starter
        self._base = Path(tempfile.mkdtemp(prefix="netlayer-"))
        self.directory = self._base / "directory"
        self.directory.mkdir()
        for name, text in ({"script.py": files} if isinstance(files, str) else files).items():
            (self.directory / name).write_text(textwrap.dedent(text))
        flags = tuple(itertools.takewhile(lambda word: not word.endswith(".py"), command))
        forked = not (fresh or starter) and set(flags[::2]) <= {"-W"} and hasattr(os, "fork")
        with open(self._base / "out", "wb") as out, open(self._base / "err", "wb") as err:
            self.process = (self._fork if forked else self._start)(command, len(flags), stdin, out, err)
        atexit.register(self.kill)

    def _start(self, command: tuple[str, ...], flags: int, stdin: int, out: IO[bytes], err: IO[bytes]) -> Process:
        return subprocess.Popen(
            [*self._starter, sys.executable, *command],
            cwd=self.directory,
            env=os.environ | ENVIRONMENT,
            stdin=stdin,
            stdout=out,
            stderr=err,
            text=True,
            bufsize=1,
            preexec_fn=interruptible,
        )

    def _fork(self, command: tuple[str, ...], flags: int, stdin: int, out: IO[bytes], err: IO[bytes]) -> Process:
        theirs, ours = os.pipe() if stdin == subprocess.PIPE else (os.open(os.devnull, os.O_RDONLY), None)
        try:
            return launcher(command[:flags]).start(
                list(command[flags:]),
                directory=self.directory,
                environment=os.environ | ENVIRONMENT,
                files=[theirs, out.fileno(), err.fileno()],
                stdin=None if ours is None else open(ours, "w", buffering=1),
            )
        finally:
            os.close(theirs)

    @property
    def out(self) -> str:
        """What it has printed."""
        return (self._base / "out").read_text()

    @property
    def err(self) -> str:
        """What it has printed to stderr."""
        return (self._base / "err").read_text()

    @property
    def log(self) -> str:
        """What stands in its network.log."""
        path = self.directory / "network.log"
        return path.read_text() if path.exists() else ""

    def read(self, pattern: str, *, within: float = PATIENCE, stream: str = "out") -> re.Match[str]:
        """Wait until what it prints matches `pattern`, whose ^ and $ mean lines."""
        expression = re.compile(pattern, re.MULTILINE)

        def found() -> re.Match[str] | None:
            ended = self.process.poll() is not None
            match = expression.search(getattr(self, stream))
            if match is None and ended:
                raise AssertionError(f"it ended with {self.process.returncode} before {pattern!r}: {self}")
            return match

        match: re.Match[str] = wait_until(found, lambda: f"{pattern!r} in {self}", within=within)
        return match

    def type(self, line: str) -> None:
        """Type a line on its keyboard."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def wait(self, *, within: float = PATIENCE) -> int:
        """Wait for its end and return the exit code."""
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end within {within:g} s: {self}") from None

    def kill(self) -> None:
        """End it, however it stands, and remove its directory."""
        atexit.unregister(self.kill)
        self.process.kill()
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()
        shutil.rmtree(self._base, ignore_errors=True)

    def __str__(self) -> str:
        return f"\n--- stdout\n{self.out}--- stderr\n{self.err}--- network.log\n{self.log}"


def script(source: str, *, modules: dict[str, str] | None = None, **options: Any) -> Callable[[Test], Test]:
    """Give a test of a :class:`ScriptTestCase` its script, which may import `modules`.

    :param options: of :class:`Script`.
    """

    def decorate(test: Test) -> Test:
        test.script = {"script.py": source, **(modules or {})}, options  # type: ignore[attr-defined]
        return test

    return decorate


class Witness(Script):
    """Node 1, which tells who comes, says what, and goes how.

    :ivar port: where it listens.
    """

    SOURCE = """
        from netlayer import Node

        class Witness(Node):
            def peer_joined(self, peer):
                print("joined", peer.node_id)

            def peer_left(self, peer, reason):
                print("left", peer.node_id, reason.goodbye)

            def handle_data(self, packet):
                print("received", packet)

        witness = Witness(1, "localhost", 0)
        witness.start_node()
        print("port", witness.port)
        witness.wait()
        """

    def __init__(self) -> None:
        super().__init__(self.SOURCE)
        self.port = self.read(r"^port (\d+)$")[1]


#: There is one for all tests.
witness = cache(Witness)


class ScriptTestCase(SynchronousTestCase):
    """Tests of one script each, which has a witness.

    Starting takes an interpreter half a second, so those of all the tests of a class are started together, by the
    first test. In a script ``NODE`` is an id of its own, and ``WITNESS`` the port of the witness.
    """

    _ids: ClassVar[Iterator[int]] = itertools.count(2)
    _started: ClassVar[dict[str, tuple[int, Script]] | None] = None

    def setUp(self) -> None:
        """Start the scripts of the class, if this is its first test."""
        cls, self.witness = type(self), witness()
        if cls._started is None:
            tests = {name: test.script for name, test in vars(cls).items() if hasattr(test, "script")}
            cls._started = {name: self._start(*test) for name, test in tests.items()}
        self.node_id, self.script = cls._started[self._testMethodName]
        self.addCleanup(self.script.kill)

    def _start(self, files: dict[str, str], options: dict[str, Any]) -> tuple[int, Script]:
        node_id = next(self._ids)
        words = {"NODE": str(node_id), "WITNESS": self.witness.port}
        for word, value in words.items():
            files = {name: text.replace(word, value) for name, text in files.items()}
        return node_id, Script(files, **options)

    def assert_no_traceback(self) -> None:
        """Nothing went wrong, as far as the script tells."""
        self.assertNotIn("Traceback", self.script.err)
        self.assertNotIn("Traceback", self.script.log)

    def assert_goodbye(self) -> None:
        """The witness has heard a goodbye from the script's node."""
        self.witness.read(rf"^left {self.node_id} shutdown$", within=5.0)
