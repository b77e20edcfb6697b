"""Linked nodes whose wall clocks are set forward and back, by an hour and by a day, every second.

``python -m tests.integration.clock_jumps --seconds 30`` is the long run. It has real processes, one for each way in
which netlayer runs a reactor, whose clocks are faked by libfaketime (``apt-get install faketime``). The checks have a
short one, for which Python's ``time.time`` is replaced before anything else is imported, so that it needs no package.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs

from tests.integration.processes import ROOT, Script, wait_until

__all__ = ["ClockJumps", "Figures", "find_library"]

#: Seconds by which a clock is ahead, one after the other; each process begins with another one.
AHEAD = (0, 3600, -86400, 86400, -3600)

#: Run before all else in an interpreter that finds it on its path.
REPLACED = f"""
import os, time

_real, _began, _first = time.time, time.monotonic(), int(os.environ["FIRST_JUMP"])

def _jumping():
    return _real() + {AHEAD}[(int(time.monotonic() - _began) + _first) % {len(AHEAD)}]

time.time = _jumping
time.time_ns = lambda: int(_jumping() * 1e9)
"""

SCRIPT = """
import sys
from netlayer import Node, Settings
from tests.integration.clock_member import Journal
from twisted.internet import reactor

fired = []
reactor.callLater(0.5, fired.append, "before the first node was made")
node = Node(5, "localhost", 0, ("localhost", int(sys.argv[1])), data_dir="data", settings=Settings(lease_renewal=1.0))
node.start_node()

def targets():
    return [lambda peer=peer: node.send_data(peer.node_id, "what is the time?") for peer in [*node.get_peers(), first]]

def begin():
    journal = Journal(reactor, targets)
    node.peer_left = lambda peer, reason: journal.lost.append(f"{peer}: {reason}")

class first:
    node_id = 1

reactor.callFromThread(begin)
node.wait()
assert fired
"""

FILES = {
    "twistd.py": "from twisted.scripts.twistd import run; run()",
    "twist.py": "from twisted.application.twist._twist import Twist; Twist.main()",
    "script.py": SCRIPT,
}

#: The nodes: by id, the command that runs each.
COMMANDS: dict[int, tuple[str, ...]] = {
    1: ("twistd.py", "-n", "--pidfile=", "netlayer-bootstrap"),
    2: ("twistd.py", "-n", "--pidfile=", "netlayer-node"),
    3: ("twist.py", "--log-format=text", "netlayer-node"),
    4: ("twistd.py", "-n", "--pidfile=", "--reactor=asyncio", "netlayer-node"),
    5: ("script.py",),
}

#: What no log has while clocks jump.
BAD = re.compile(r"^.*(?:#(?:warn|error|critical)\]|WARNING|ERROR|Traceback|Unhandled).*$", re.MULTILINE)

#: Seconds that a timer may be late, and a packet under way: what a busy machine does, and far below every jump.
LATE = 10.0


@attrs.frozen
class Figures:
    """What a run has measured.

    :ivar journals: by node id, what the process has told last.
    :ivar faults: whatever should not be.
    """

    journals: dict[int, dict[str, Any]]
    faults: list[str]

    def __str__(self) -> str:
        lines = [
            f"node {node_id}: {each['jumps']} jumps, {each['handled']} packets handled, {len(each['failed'])} failed, "
            f"{len(each['lost'])} links lost, timers at most {each['late']:.3f} s late, "
            f"packets at most {each['gap']:.3f} s apart"
            for node_id, each in self.journals.items()
        ]
        return "\n".join([*lines, *self.faults, f"faults: {len(self.faults)}"])


class ClockJumps:
    """The processes.

    :param library: of libfaketime, which fakes their clocks; None has ``time.time`` replaced.
    """

    def __init__(self, *, library: Path | None = None) -> None:
        self._library = library
        self._processes: dict[int, Script] = {}
        self._over = threading.Event()
        self._setter = threading.Thread(target=self._set_clocks, daemon=True)

    def run(self, seconds: float) -> Figures:
        """Run the nodes, whose clocks jump from the beginning, for so many seconds from when all are linked."""
        with ExitStack() as stack:
            stack.callback(self._over.set)
            self._setter.start()
            port = ""
            for node_id, command in COMMANDS.items():
                stack.callback(self._start(node_id, command, port).kill)
                if node_id == 1:
                    port = self._processes[1].read(r"started at 127\.0\.0\.1:(\d+)$")[1]
            everybody = len(COMMANDS) - 1
            wait_until(
                lambda: all((self._journal(n) or {"peers": 0})["peers"] == everybody for n in COMMANDS),
                lambda: f"all are linked: {[self._journal(n) for n in COMMANDS]}, {self._processes[5]}",
                within=60.0,
            )
            before = {node_id: self._journal(node_id)["jumps"] for node_id in COMMANDS}
            self._over.wait(seconds)
            return self._judge(seconds, before)

    # ---- private

    def _start(self, node_id: int, command: tuple[str, ...], port: str) -> Script:
        if command[0] == "script.py":
            arguments: tuple[str, ...] = (port,)
        else:
            arguments = ("--id", str(node_id), "--data-dir", "data", "--lease-renewal", "1")
            arguments += ("--listen", "tcp:0:interface=127.0.0.1")
            arguments += ("--protocol", "tests.integration.clock_member.Member")
            arguments += ("--bootstrap", f"tcp:127.0.0.1:{port}") if port else ()
        variables = {"FIRST_JUMP": str(node_id), "PYTHONPATH": f".:{ROOT}"}
        files = dict(FILES)
        if self._library is None:
            files["sitecustomize.py"] = REPLACED
        else:
            files["clock"] = "+0"
            variables |= {
                "LD_PRELOAD": str(self._library),
                "FAKETIME_TIMESTAMP_FILE": "clock",
                "FAKETIME_NO_CACHE": "1",
            }
            variables |= {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}
        starter = ("env", *(f"{name}={value}" for name, value in variables.items()))
        script = Script(files, command=(*command, *arguments), starter=starter)
        self._processes[node_id] = script
        return script

    def _set_clocks(self) -> None:
        """Set the clock of each process, every second, by what libfaketime reads."""
        turn = 0
        while self._library is not None and not self._over.wait(1.0):
            turn += 1
            for node_id, script in list(self._processes.items()):
                if script.directory.exists():
                    new = script.directory / "clock.new"
                    new.write_text(f"{AHEAD[(turn + node_id) % len(AHEAD)]:+d}\n")
                    new.replace(script.directory / "clock")

    def _journal(self, node_id: int) -> Any:
        script = self._processes[node_id]
        if script.process.poll() is not None:
            raise AssertionError(f"node {node_id} has ended: {script}")
        told = re.findall(r"^journal (\{.*\})$", script.out, re.MULTILINE)
        return json.loads(told[-1]) if told else None

    def _judge(self, seconds: float, before: dict[int, int]) -> Figures:
        journals = {node_id: self._journal(node_id) for node_id in COMMANDS}
        faults = []
        for node_id, told in journals.items():
            wrong = {
                "links were lost": told["lost"],
                "packets failed": told["failed"],
                "somebody is missing": told["peers"] != len(COMMANDS) - 1,
                "a timer was late": told["late"] > LATE,
                "no packet was handled for long": told["gap"] > LATE,
                "the clock did not jump": told["jumps"] - before[node_id] < seconds / 2,
            }
            faults += [f"node {node_id}: {what}: {told}" for what, is_so in wrong.items() if is_so]
        for node_id, script in self._processes.items():
            faults += [f"node {node_id} logs: {line}" for line in BAD.findall(script.out + script.err + script.log)]
        for node_id, script in reversed(self._processes.items()):
            script.process.send_signal(signal.SIGTERM)
            code = script.wait()
            if code not in (-signal.SIGTERM, 0):
                faults.append(f"node {node_id} ends with {code}: {script}")
        return Figures(journals, faults)


def find_library() -> Path | None:
    """Return the library that fakes clocks, or None if it is not installed."""
    places = [Path("/usr/lib"), Path("/usr/local/lib"), Path("/usr/lib64")]
    found = [each for place in places for each in place.glob("**/faketime/libfaketimeMT.so.1")]
    return found[0] if found else None


def main() -> int:
    """Run what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.integration.clock_jumps", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="default: %(default)s")
    parser.add_argument("--replace", action="store_true", help="replace Python's time.time, without libfaketime")
    options = parser.parse_args()
    library = None if options.replace else find_library()
    if library is None and not options.replace:
        print("libfaketime is not installed: apt-get install faketime, or --replace", file=sys.stderr)
        return 2
    figures = ClockJumps(library=library).run(options.seconds)
    print(figures)
    return 1 if figures.faults else 0


if __name__ == "__main__":
    sys.exit(main())
