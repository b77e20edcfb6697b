"""Quick starts of scripts: processes forked from one that has imported netlayer, but has made no reactor.

A fresh interpreter needs half a second for these imports, and the tests start well over a hundred. A forked process is
a real one: it has its own memory, sockets, signals and exit, and ends as any script does.

This module is both ends: :class:`Launcher` in the tests, and, as a program, the process that forks.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import types
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["LaunchedProcess", "launcher"]

ROOT = Path(__file__).parents[2]
#: What scripts import: none of it makes a reactor.
PRELOADED = ("netlayer", "twisted.internet.endpoints", "twisted.internet.ssl", "twisted.logger")
LONGEST_REQUEST = 65536


class LaunchedProcess:
    """A process that a launcher has forked; what tests use of :class:`subprocess.Popen`, with the same meaning.

    :param channel: where the launcher says how the process has ended.
    """

    def __init__(self, pid: int, channel: socket.socket, stdin: Any) -> None:
        self.pid = pid
        self.stdin = stdin
        self.returncode: int | None = None
        self._channel = channel

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        return self._exit_code(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return the exit code; that of a signal is negative."""
        code = self._exit_code(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def _exit_code(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            self._channel.settimeout(timeout)
            with suppress(TimeoutError, BlockingIOError):
                told = self._channel.recv(64)
                assert told, "the launcher has died"
                self.returncode = int(told)
                self._channel.close()
        return self.returncode


class Launcher:
    """The tests' end of a launcher.

    :param flags: options of its interpreter, which its children inherit.
    """

    def __init__(self, flags: tuple[str, ...]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-u", *flags, __file__, str(theirs.fileno())],
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        atexit.register(self.stop)

    def start(
        self, command: list[str], *, directory: Path, environment: dict[str, str], files: list[int], stdin: Any = None
    ) -> LaunchedProcess:
        """Start a script.

        :param command: the path of the script and its arguments.
        :param files: the descriptors of its standard input, output and error.
        """
        request = json.dumps([command, str(directory), environment]).encode()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            socket.send_fds(self._socket, [request], [*files, theirs.fileno()])
        return LaunchedProcess(int(ours.recv(64)), ours, stdin)

    def stop(self) -> None:
        """End the launcher; it ends what it has started."""
        atexit.unregister(self.stop)
        self._socket.close()
        self._process.wait()


@cache
def launcher(flags: tuple[str, ...] = ()) -> Launcher:
    """Return the launcher of scripts that run with these options of the interpreter."""
    return Launcher(flags)


# ---- the process that forks


class Forking:
    """Forks a child for each request, and tells of its end."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._channels: dict[int, socket.socket] = {}  # of the children that run, by their pids

    def serve(self) -> list[str] | None:
        """Serve until the tests are over, and return None; in each child, return its command."""
        ended, wakeup = socket.socketpair()
        wakeup.setblocking(False)
        ended.setblocking(False)
        signal.set_wakeup_fd(wakeup.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with selectors.DefaultSelector() as selector:
            selector.register(self._requests, selectors.EVENT_READ)
            selector.register(ended, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is ended:
                        with suppress(BlockingIOError):
                            ended.recv(4096)
                        self._reap()
                        continue
                    request, files, _, _ = socket.recv_fds(self._requests, LONGEST_REQUEST, 4)
                    if not request:
                        self._end_all()
                        return None
                    command, directory, environment = json.loads(request)
                    if self._fork(files):
                        signal.set_wakeup_fd(-1)
                        for each in (ended, wakeup):
                            each.close()
                        os.chdir(directory)
                        os.environ.clear()
                        os.environ.update(environment)
                        return list(command)

    def _fork(self, files: list[int]) -> bool:
        """Fork, and return whether this is the child."""
        *standard, channel = files
        pid = os.fork()
        if pid:
            for descriptor in standard:
                os.close(descriptor)
            self._channels[pid] = socket.socket(fileno=channel)
            self._channels[pid].send(str(pid).encode())
            return False
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # even if the tests themselves run in background
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)
        for number, descriptor in enumerate(standard):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.close(channel)
        for other in [self._requests, *self._channels.values()]:
            other.close()
        return True

    def _reap(self) -> None:
        while self._channels:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            with self._channels.pop(pid) as channel, suppress(OSError):
                channel.send(str(os.waitstatus_to_exitcode(status)).encode())

    def _end_all(self) -> None:
        for pid in self._channels:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def become(script: str) -> None:
    """Run a script as the main program of this process."""
    script = str(Path(script).resolve())
    sys.path[0] = str(Path(script).parent)
    module = types.ModuleType("__main__")
    module.__file__ = script
    module.__builtins__ = __builtins__  # type: ignore[attr-defined]
    sys.modules["__main__"] = module
    exec(compile(Path(script).read_bytes(), script, "exec"), module.__dict__)


if __name__ == "__main__":
    for name in PRELOADED:
        __import__(name)
    gc.freeze()  # what every child shares is not looked at by their collectors
    command = Forking(socket.socket(fileno=int(sys.argv[1]))).serve()
    if command is not None:
        sys.argv = command
        become(command[0])
