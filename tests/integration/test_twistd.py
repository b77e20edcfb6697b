"""Both roles under twistd and twist, as an operator runs them: real processes on loopback."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import stat
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import skipIf, skipUnless

from cryptography.hazmat.primitives.asymmetric import ed25519
from twisted.trial.unittest import SynchronousTestCase

from netlayer import Identity
from tests.integration.processes import ROOT, Script, free_ports, wait_until
from tests.storage.test_identity import certificate_pem, certified, key_pem

CHAT = """
from netlayer import PeerProtocol

class Greeter(PeerProtocol):
    def peer_ready(self):
        self.send_packet({"hello from": self.factory.local.node_id})

    def packet_received(self, packet):
        import later
        later.log(self.factory.log, packet)
"""
LATER = """
def log(log, packet):
    log.info("greeted by {peer}", peer=packet.sender_id)
"""
#: A protocol's module that lets the bindings fail to open a while after the process has started.
BROKEN = """
from twisted.internet import defer, reactor, task
from netlayer import BootstrapProtocol
from netlayer.errors import ConfigurationError
from netlayer.storage.bindings.sqlite import SQLiteStore

class Broken(BootstrapProtocol):
    pass

def start(self, *args, **options):
    return task.deferLater(reactor, 0.1, defer.fail, ConfigurationError("the disk has gone"))

SQLiteStore.start = start
"""
#: The application's modules, and the programs as an installation would have them.
FILES = {
    "chat.py": CHAT,
    "later.py": LATER,
    "broken.py": BROKEN,
    "twistd.py": "from twisted.scripts.twistd import run; run()",
    "twist.py": "from twisted.application.twist._twist import Twist; Twist.main()",
}
FOREGROUND, DAEMON = ("-n", "--pidfile="), ("--pidfile=node.pid", "--logfile=node.log")

SECRET = "the secret of this network"

#: Seconds in which a node that is told to end has ended.
PROMPT = 5.0

posix = skipUnless(os.name == "posix", "there are daemons, and signals for one process alone, on POSIX only")


def privileged_port() -> int:
    """Return a port below 1024 that nobody listens on."""
    while True:
        port = random.randrange(600, 1024)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class TwistdTestCase(SynchronousTestCase):
    """Runs commands, and looks how they end."""

    def run_command(self, program: str, *arguments: str, starter: tuple[str, ...] = ()) -> Script:
        """Start a command in a directory that holds the application's modules."""
        process = Script(FILES, command=(f"{program}.py", *arguments), starter=starter)
        self.addCleanup(process.kill)
        return process

    def assert_ended(self, process: Script, number: int) -> None:
        """Send a signal: the process says its goodbyes, ends of that signal and complains of nothing."""
        process.process.send_signal(number)
        self.assertEqual(process.wait(within=PROMPT), -number, str(process))  # as twistd and twist end
        self.assertRegex(process.out, r"node \d+: stopped\n")
        self.assertNotIn("Traceback", process.out + process.err)


@posix
class TwistdTests(TwistdTestCase):
    def read_file(self, path: Path, pattern: str) -> re.Match[str]:
        """Wait until a file's text matches `pattern`."""

        def found() -> re.Match[str] | None:
            return re.search(pattern, path.read_text()) if path.exists() else None

        match: re.Match[str] = wait_until(found, lambda: f"{pattern!r} in {path.name}")
        return match

    def end_daemon(self, pidfile: Path, logfile: Path) -> None:
        """Send SIGTERM to a daemon, which ends with all that belongs to it."""
        os.kill(int(pidfile.read_text()), signal.SIGTERM)
        self.read_file(logfile, "Server Shut Down")
        self.assertRegex(logfile.read_text(), r"node \d+: stopped\n")
        self.assertNotIn("Traceback", logfile.read_text())

    def assert_greeted(self, process: Script, node_id: int) -> None:
        """The application's protocol has had a packet of the node with this id."""
        process.read(f"greeted by {node_id}$")

    def test_network(self) -> None:
        """Nodes of each kind find each other, run the application's protocol, and say goodbye at SIGTERM and Ctrl-C."""
        bootstrap = self.run_command("twistd", *FOREGROUND, "netlayer-bootstrap", "--id", "1")
        port = bootstrap.read(r"started at 127\.0\.0\.1:(\d+)$")[1]
        options = ("--bootstrap", f"tcp:localhost:{port}", "--protocol", "chat.Greeter")
        two = self.run_command("twistd", *FOREGROUND, "--reactor=asyncio", "netlayer-node", "--id", "2", *options)
        three = self.run_command("twist", "--log-format=text", "netlayer-node", "--id", "3", *options)
        self.assert_greeted(two, 3)
        self.assert_greeted(three, 2)
        for process, node_id, number in ((two, 2, signal.SIGTERM), (three, 3, signal.SIGINT)):
            self.assert_ended(process, number)
            bootstrap.read(f"peer {node_id} lost: goodbye: shutdown$")
        self.assert_ended(bootstrap, signal.SIGTERM)

    def test_daemon(self) -> None:
        """As a daemon, with pidfile and logfile, until SIGTERM."""
        parent = self.run_command("twistd", *DAEMON, "netlayer-bootstrap", "--id", "1")
        self.assertEqual(parent.wait(), 0, str(parent))
        pidfile, logfile = parent.directory / "node.pid", parent.directory / "node.log"
        self.read_file(logfile, r"started at 127\.0\.0\.1:\d+")
        self.end_daemon(pidfile, logfile)
        wait_until(lambda: not pidfile.exists(), lambda: "the end of the pidfile")

    @skipIf(not hasattr(os, "geteuid") or os.geteuid() != 0, "only root can become another user")
    def test_other_user(self) -> None:
        """With --uid it binds a port below 1024 as root, and then is a process of that user, with a key of theirs."""
        with TemporaryDirectory() as name:
            os.chmod(name, 0o755)
            directory, port = Path(name), privileged_port()
            files = (f"--pidfile={directory / 'node.pid'}", f"--logfile={directory / 'node.log'}")
            listen = ("--listen", f"tcp:{port}:interface=127.0.0.1", "--data-dir", str(directory / "data"))
            daemon = self.run_command("twistd", *files, "--uid=nobody", "netlayer-bootstrap", "--id", "1", *listen)
            options = ("--bootstrap", f"tcp:localhost:{port}")
            node = self.run_command("twistd", *FOREGROUND, "--uid=nobody", "netlayer-node", "--id", "2", *options)
            self.assertEqual(daemon.wait(), 0, str(daemon))
            node.read("joined the network")
            nobody = os.stat(directory / "data").st_uid
            self.assertNotEqual(nobody, 0)
            key = os.stat(directory / "data" / "identity.pem")
            self.assertEqual((key.st_uid, stat.S_IMODE(key.st_mode)), (nobody, 0o600))
            again = self.run_command(
                "twistd", *FOREGROUND, "--uid=nobody", "netlayer-bootstrap", "--id", "1", *listen[2:]
            )
            self.assertEqual(again.wait(), 1, str(again))
            pid = (directory / "node.pid").read_text()
            self.assertRegex(again.err, rf"\Anetlayer-bootstrap: .*{name}/data' is in use by the process {pid};.*\n\Z")
            if Path("/proc/self").exists():
                pid = (directory / "node.pid").read_text()
                self.assertEqual(os.stat(f"/proc/{pid}").st_uid, nobody)
            self.assert_ended(node, signal.SIGTERM)
            self.end_daemon(directory / "node.pid", directory / "node.log")

    @skipUnless(shutil.which("systemd-socket-activate"), "systemd-socket-activate is not installed")
    def test_socket_activation(self) -> None:
        """A socket that systemd has opened is listened at; one that others than this machine reach is refused."""
        port, open_port = free_ports(2)
        environment = f"PYTHONPATH={ROOT}"

        def activated(host: str, port: int, *options: str) -> Script:
            starter = ("systemd-socket-activate", "-E", environment, "--fdname=node", "-l", f"{host}:{port}")
            listen = ("--listen", "systemd:domain=INET:index=0")
            return self.run_command("twistd", *options, "netlayer-bootstrap", "--id", "1", *listen, starter=starter)

        bootstrap, refused = activated("127.0.0.1", port, *FOREGROUND), activated("0.0.0.0", open_port, *DAEMON)
        node = self.run_command(
            "twistd", *FOREGROUND, "netlayer-node", "--id", "2", "--bootstrap", f"tcp:localhost:{port}"
        )
        refused.read("^Listening on ", stream="err")
        socket.create_connection(("127.0.0.1", open_port)).close()
        node.read("joined the network")
        self.assertIn(f"node 1: started at 127.0.0.1:{port}\n", bootstrap.out)
        self.assertEqual(refused.wait(), 1, str(refused))
        self.assertIn("systemd:domain=INET:index=0 is not a loopback address", refused.err)
        for process in (node, bootstrap):
            self.assert_ended(process, signal.SIGTERM)

    def test_mistakes(self) -> None:
        """A mistake ends each kind of start with code 1 and one line that names it: no traceback, no pidfile."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            where = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
            port_taken = ("--id", "2", "--listen", where), f"cannot listen on {where}: Address already in use"
            no_id = "a node id is a whole number from 0 to 9223372036854775807, not"
            mistakes = [
                ("twistd", FOREGROUND, *port_taken),
                ("twistd", DAEMON, *port_taken),
                ("twist", (), *port_taken),
                ("twistd", FOREGROUND, ("--id", "-7"), f"{no_id} '-7'"),
                ("twistd", DAEMON, ("--id", "2", "-p", "chat.CHAT"), "--protocol chat.CHAT"),
                ("twist", (), ("--id", "x"), f"{no_id} 'x'"),
            ]
            started = [
                (self.run_command(program, *how, "netlayer-node", *options), told)
                for program, how, options, told in mistakes
            ]
            for process, told in started:
                self.assertEqual(process.wait(), 1, str(process))
                self.assertRegex(process.err, rf"\Anetlayer-node: {re.escape(told)}[^\n]*\n\Z")
                self.assertEqual(process.out, "")
                self.assertFalse((process.directory / "node.pid").exists())

    def test_late_mistakes(self) -> None:
        """So does a mistake that only listening itself shows; a daemon's parent tells it, and the log."""
        options = ("netlayer-node", "--id", "2", "--listen", "unix:socket")
        foreground, daemon = (self.run_command("twistd", *how, *options) for how in (FOREGROUND, DAEMON))
        told = "netlayer-node: unix:socket is not a loopback address"
        self.assertEqual((foreground.wait(), daemon.wait()), (1, 1), f"{foreground}{daemon}")
        logfile, pidfile = daemon.directory / "node.log", daemon.directory / "node.pid"
        self.read_file(logfile, told)  # the daemon may end after its parent
        wait_until(lambda: not pidfile.exists(), lambda: "the end of the pidfile")
        for text in (foreground.out, daemon.err, logfile.read_text()):
            self.assertEqual(text.count(told), 1, text)
            self.assertNotIn("Traceback", text)


@posix
class FilesTests(TwistdTestCase):
    """Files of keys, secrets and lists that an operator has got wrong."""

    def refusals(self, cases: dict[str, tuple[tuple[str, ...], str]]) -> None:
        """Start a node with each of some options; each ends with code 1 and one line that names the file."""
        started = {
            what: self.run_command(
                "twistd", *FOREGROUND, "netlayer-node", "--id", "2", "--bootstrap", "tcp:127.0.0.1:9", *options
            )
            for what, (options, _) in cases.items()
        }
        for what, process in started.items():
            self.assertEqual(process.wait(), 1, f"{what}: {process}")
            self.assertRegex(process.err, r"\Anetlayer-node: [^\n]+\n\Z", what)
            self.assertIn(cases[what][1], process.err, what)
            self.assertNotIn(SECRET, process.err)
            self.assertEqual((process.out, process.log), ("", ""), what)

    def test_keys(self) -> None:
        """A key that others may read, or that is none, is refused and left as it is."""
        with TemporaryDirectory() as name:
            whole, other = Identity.generate(), Identity.generate()
            pem, foreign = key_pem(whole.key), ed25519.Ed25519PrivateKey.generate()
            damaged = "is damaged or holds no key and certificate"
            contents: dict[str, tuple[bytes, str]] = {
                "readable": (pem + certificate_pem(whole.certificate), "can be read by others: chmod 600 it"),
                "damaged": (pem[:100] + certificate_pem(whole.certificate), damaged),
                "empty": (b"", damaged),
                "encrypted": (key_pem(whole.key, b"password") + certificate_pem(whole.certificate), damaged),
                "another certificate": (pem + certificate_pem(other.certificate), "the certificate of another one"),
                "another type": (key_pem(foreign) + certificate_pem(certified(foreign)), "another kind of key"),
            }
            cases = {}
            for what, (content, words) in contents.items():
                path = Path(name) / what / "identity.pem"
                path.parent.mkdir()
                path.write_bytes(content)
                path.chmod(0o644 if what == "readable" else 0o600)
                cases[what] = ("--data-dir", str(path.parent)), words
            self.refusals(cases)
            for what, (content, _) in contents.items():
                self.assertEqual((Path(name) / what / "identity.pem").read_bytes(), content)

    def test_secrets_and_lists(self) -> None:
        """Secrets that others may read, that are none or too many, and lists that are none."""
        with TemporaryDirectory() as name:
            contents: dict[str, tuple[str, str, str]] = {
                "readable": ("--secret-file", SECRET, "can be read by others: chmod 600 it"),
                "empty": ("--secret-file", "", "holds no secret"),
                "short": ("--secret-file", "short", "16 bytes at least, this one has 5"),
                "five": ("--secret-file", f"{SECRET}\n" * 5, "up to 4"),
                "too long": ("--secret-file", f"# {'x' * 2**20}\n{SECRET}", "has more than 1048576 bytes"),
                "damaged list": ("--allowlist", "2 sha256:cut\n", "line 1"),
                "missing list": ("--allowlist", "", "No such file"),
            }
            cases = {}
            for what, (option, content, words) in contents.items():
                path = Path(name) / what
                if what != "missing list":
                    path.write_text(content)
                    path.chmod(0o644 if what == "readable" else 0o600)
                cases[what] = (option, str(path)), words
            self.refusals(cases)

    def test_bindings(self) -> None:
        """Bindings that are another network's are refused at once, and an error that shows later ends the process."""
        with TemporaryDirectory() as name:
            options = ("netlayer-bootstrap", "--id", "1", "--data-dir", name)
            first = self.run_command("twistd", *FOREGROUND, *options)
            first.read("started at")
            self.assert_ended(first, signal.SIGTERM)
            for way in (FOREGROUND, DAEMON):
                other = self.run_command("twistd", *way, *options, "--network", "other")
                self.assertEqual(other.wait(), 1, str(other))
                self.assertRegex(other.err, r"\Anetlayer-bootstrap: [^\n]+ is that of the network 'default'\n\Z")
            failing = self.run_command("twistd", *FOREGROUND, *options, "--protocol", "broken.Broken")
            self.assertEqual(failing.wait(), 1, str(failing))
            self.assertIn("could not start: the disk has gone", failing.out)
            self.assertNotIn("Traceback", failing.out + failing.err)

    def test_working_directory(self) -> None:
        """Relative paths mean what they meant where the command was given, whatever twistd changes its directory to."""
        with TemporaryDirectory() as name:
            options = ("netlayer-bootstrap", "--id", "1", "--data-dir", "data")
            node = self.run_command("twistd", *FOREGROUND, "--rundir", name, *options)
            node.read("started at")
            self.assert_ended(node, signal.SIGTERM)
            self.assertTrue((node.directory / "data" / "bindings.sqlite").exists())
            self.assertEqual(os.listdir(name), [])

    def test_two_processes(self) -> None:
        """The second process on a data directory is refused by the number of the first, which notices nothing."""
        with TemporaryDirectory() as name:
            options = ("netlayer-bootstrap", "--id", "1", "--data-dir", name)
            first = self.run_command("twistd", *FOREGROUND, *options)
            first.read("started at")
            self.refusals({"in use": (("--data-dir", name), f"is in use by the process {first.process.pid};")})
            self.assert_ended(first, signal.SIGTERM)

    @skipIf(not hasattr(os, "geteuid") or os.geteuid() != 0, "only root can make files of another user's")
    def test_wrong_owner(self) -> None:
        """A data directory or a key of somebody else is refused by its name, not replaced."""
        with TemporaryDirectory() as name:
            os.chmod(name, 0o755)
            directory = Path(name) / "data"
            Identity.in_directory(directory)
            os.chmod(directory, 0o755)
            node = self.run_command(
                "twistd", *FOREGROUND, "--uid=nobody", "netlayer-node", "--id", "2", "--data-dir", str(directory)
            )
            self.assertEqual(node.wait(), 1, str(node))
            self.assertRegex(
                node.err, r"\Anetlayer-node: [^\n]*Permission denied \(as the user with[^\n]*\n\Z", str(node)
            )
