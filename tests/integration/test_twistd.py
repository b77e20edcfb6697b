"""Both roles under twistd and twist, as an operator runs them: real processes on loopback."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.processes import interruptible

PATIENCE = 20.0

CHAT = """
from netlayer import PeerProtocol

class Greeter(PeerProtocol):
    def peer_ready(self):
        self.send_packet({"hello from": self.factory.local.node_id})

    def packet_received(self, packet):
        self.factory.log.info("greeted by {peer}", peer=packet.sender_id)
"""


class TwistdTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        (self.directory / "chat.py").write_text(CHAT)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.addCleanup(self.end_all)

    def end_all(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()

    def run_command(self, name: str, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command whose output goes to the file `name`.out."""
        with open(self.directory / f"{name}.out", "wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "twisted", *arguments]
                if program == "twist"
                else [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", *arguments],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=interruptible,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(["", *filter(None, sys.path)])},
            )
        self.processes.append(process)
        return process

    def output(self, name: str) -> str:
        path = self.directory / name
        return path.read_text(errors="replace") if path.exists() else ""

    def wait_for(self, name: str, pattern: str) -> re.Match[str]:
        """Wait until a file's text matches."""
        deadline = time.monotonic() + PATIENCE
        while (found := re.search(pattern, self.output(name))) is None:
            if time.monotonic() > deadline:
                self.fail(f"no {pattern!r} in {name}:\n{self.output(name)}")
            time.sleep(0.02)
        return found

    def ends(self, process: subprocess.Popen[bytes]) -> int:
        return process.wait(PATIENCE)

    def test_network(self) -> None:
        """A bootstrap and two nodes find each other, run the application's protocol, and end cleanly on Ctrl-C."""
        foreground = ("-n", "--pidfile=")
        bootstrap = self.run_command("bootstrap", "twistd", *foreground, "netlayer-bootstrap", "--id", "1")
        port = self.wait_for("bootstrap.out", r"started at 127\.0\.0\.1:(\d+)")[1]
        options = ("--bootstrap", f"tcp:127.0.0.1:{port}", "--protocol", "chat.Greeter")
        two = self.run_command("two", "twistd", *foreground, "netlayer-node", "--id", "2", *options)
        three = self.run_command("three", "twist", "--log-format=text", "netlayer-node", "--id", "3", *options)
        self.wait_for("two.out", "greeted by 3")
        self.wait_for("three.out", "greeted by 2")
        for process in (two, three, bootstrap):
            process.send_signal(signal.SIGINT)
        for process, name in ((two, "two"), (three, "three"), (bootstrap, "bootstrap")):
            self.assertEqual(self.ends(process), -signal.SIGINT, self.output(f"{name}.out"))  # as twistd ends
            self.assertNotIn("Traceback", self.output(f"{name}.out"))

    def test_daemon(self) -> None:
        """As a daemon, with pidfile and logfile, until SIGTERM."""
        process = self.run_command(
            "daemon", "twistd", "--pidfile=d.pid", "--logfile=d.log", "netlayer-bootstrap", "--id", "1"
        )
        self.assertEqual(self.ends(process), 0)
        self.wait_for("d.log", r"started at 127\.0\.0\.1:\d+")
        os.kill(int(self.output("d.pid")), signal.SIGTERM)
        self.wait_for("d.log", "Server Shut Down")
        self.assertNotIn("Traceback", self.output("d.log"))

    def test_taken_port(self) -> None:
        """A taken port ends each kind of start with code 1 and one line that names it; no traceback, no pidfile."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            where = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
            options = ("netlayer-node", "--id", "2", "--listen", where)
            started = {
                "foreground": self.run_command("foreground", "twistd", "-n", "--pidfile=", *options),
                "daemon": self.run_command("daemon", "twistd", "--pidfile=d.pid", "--logfile=d.log", *options),
                "twist": self.run_command("twist", "twist", *options),
            }
            for name, process in started.items():
                self.assertEqual(self.ends(process), 1, name)
                self.assertIn(f"cannot listen on {where}: Address already in use", self.output(f"{name}.out"))
                self.assertNotIn("Traceback", self.output(f"{name}.out") + self.output("d.log"))
        self.assertFalse((self.directory / "d.pid").exists())

    def test_mistakes(self) -> None:
        """A wrong option ends the command with code 1 and one line that names the value, and no traceback."""
        mistakes = {
            "not loopback": (("--id", "2", "--listen", "tcp:0:interface=192.0.2.1"), "192.0.2.1"),
            "no directory": (("--id", "2", "--data-dir", "/dev/null/x"), "/dev/null/x"),
            "bad id": (("--id", "-7"), "'-7'"),
        }
        started = {
            name: self.run_command(name, "twistd", "-n", "--pidfile=", "netlayer-node", *options)
            for name, (options, _) in mistakes.items()
        }
        for name, process in started.items():
            self.assertEqual(self.ends(process), 1, self.output(f"{name}.out"))
            self.assertIn(mistakes[name][1], self.output(f"{name}.out"))
            self.assertNotIn("Traceback", self.output(f"{name}.out"))
