"""Every terminal session that the documentation shows happens just so: commands are run, their output is compared."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from unittest import skipUnless

from twisted.trial.unittest import SynchronousTestCase

from tests.directories import new_directory
from tests.integration.launcher import launcher
from tests.integration.processes import Script, free_ports
from tests.integration.terminals import Block, play
from tests.pages import DOCS, directives, pages, sections

#: Sections that any other section of a page needs to be played before it; all pages else are played from top to bottom.
FIRST = {"tutorial/chat": ("", "A meeting point")}
#: Programs that pages need and that not every machine has.
NEEDED = {"howto/run-with-systemd": "systemd-socket-activate"}
#: So many at once: they wait for each other most of the time.
PLAYERS = 6


def session(text: str) -> list[Block]:
    """Return the terminal session of a page or of a part of it."""
    return [
        Block(options.get("caption", "the terminal"), listing.splitlines())
        for language, options, listing in directives(text, "code-block")
        if language == "console"
    ]


@cache
def sessions() -> dict[str, list[list[Block]]]:
    """Return the sessions of each page that has any."""
    found = {}
    for path, text in pages().items():
        name = str(path.relative_to(DOCS).with_suffix("")) if path.is_relative_to(DOCS) else path.name
        if name in FIRST:
            before = "".join(sections(text)[title] for title in FIRST[name])
            parts = [before + part for title, part in sections(text).items() if title not in FIRST[name]]
        else:
            parts = [text]
        found[name] = [blocks for part in parts if (blocks := session(part))]
    return {name: parts for name, parts in found.items() if parts}


@cache
def played() -> dict[str, list[Future[None]]]:
    """Start to play the sessions of all pages, and return what comes of each."""
    launcher()
    players = ThreadPoolExecutor(PLAYERS)
    return {
        name: [players.submit(play, part) for part in parts]
        for name, parts in sessions().items()
        if name not in NEEDED or shutil.which(NEEDED[name])
    }


@skipUnless(os.name == "posix", "the sessions are those of a POSIX shell")
class SessionsTests(SynchronousTestCase):
    def assert_true(self, name: str) -> None:
        """Wait until the sessions of a page are played: they show what the page says."""
        for outcome in played()[name]:
            outcome.result()

    def test_tutorial(self) -> None:
        """Each step of the tutorial shows what it says, begun anew at the meeting point."""
        self.assert_true("tutorial/chat")

    def test_first_network(self) -> None:
        """The first tutorial shows what it says."""
        self.assert_true("tutorial/first-network")

    def test_twistd(self) -> None:
        """The commands for operators work in the foreground, as a daemon, under twist, and tell of mistakes."""
        self.assert_true("howto/run-with-twistd")

    @skipUnless(shutil.which("systemd-socket-activate"), "it comes with systemd")
    def test_systemd(self) -> None:
        """A node takes over the socket that systemd has opened."""
        self.assert_true("howto/run-with-systemd")

    def test_secret(self) -> None:
        """Nodes with a secret, or on a list, link; others are told why not."""
        self.assert_true("howto/use-a-secret")

    def test_deploy(self) -> None:
        """Two bootstrap nodes and a node, of which a bootstrap node is restarted while the others run."""
        self.assert_true("howto/deploy")

    def test_ids(self) -> None:
        """Ids stay with their keys, are freed, and keys are banned, while the bootstrap node runs."""
        self.assert_true("howto/keep-ids")

    def test_application(self) -> None:
        """An application of Twisted's that holds nodes is run by twistd."""
        self.assert_true("howto/embed-in-twisted")

    def test_scenario(self) -> None:
        """A scenario is run for several seeds."""
        self.assert_true("howto/test-your-application")

    def test_pages(self) -> None:
        """There is no page with a session that is not played."""
        howto = "run-with-twistd", "run-with-systemd", "use-a-secret", "deploy", "keep-ids", "test-your-application"
        tested = {"tutorial/chat", "tutorial/first-network", *(f"howto/{name}" for name in howto)}
        tested.add("howto/embed-in-twisted")
        self.assertEqual(set(sessions()), tested)


class UnitFilesTests(SynchronousTestCase):
    """The unit files of the documentation, and what they start."""

    @skipUnless(shutil.which("systemd-analyze"), "it comes with systemd")
    def test_verified(self) -> None:
        """The unit files are such as systemd takes."""
        for name in ("systemd", "deploy"):
            directory = new_directory(self)
            for path in (DOCS / "examples" / name).glob("netlayer-*"):
                text = path.read_text("utf-8").replace("/opt/netlayer/bin/twistd", "/bin/true")
                (directory / path.name.replace("@", "@2")).write_text(text, "utf-8")
            command = ["systemd-analyze", "verify", *map(str, sorted(directory.iterdir()))]
            verified = subprocess.run(command, capture_output=True, text=True, timeout=60)
            self.assertEqual((verified.stderr, verified.returncode), ("", 0))

    @skipUnless(os.name == "posix", "systemd runs on Linux")
    def test_deployed(self) -> None:
        """The commands of the units for several machines, with their one file, make a network that says goodbye."""
        ports = dict(zip(("8000", "8101"), map(str, free_ports(2)), strict=True))
        bootstrap = self.started("netlayer-bootstrap@.service", "1", ports)
        node = self.started("netlayer-node@.service", "101", ports)
        node.read("joined the network through the bootstrap node at 127.0.0.1:" + ports["8000"])
        for process in (node, bootstrap):
            process.process.terminate()
            self.assertEqual(process.wait(), -signal.SIGTERM, str(process))
            self.assertNotIn("Traceback", str(process))
        self.assertIn("peer 101 lost: goodbye: shutdown", bootstrap.out)

    def started(self, unit: str, instance: str, ports: dict[str, str]) -> Script:
        """Start what a unit starts, with the paths and the addresses of this machine."""
        directory = new_directory(self)
        secret = directory / "secret"
        secret.write_text("the secret of two machines\n")
        secret.chmod(0o600)
        examples = DOCS / "examples" / "deploy"
        (bootstraps,) = re.findall("^BOOTSTRAPS=(.*)$", (examples / "network").read_text("utf-8"), re.MULTILINE)
        text = (examples / unit).read_text("utf-8").replace("\\\n", " ")
        (command,) = re.findall("^ExecStart=/opt/netlayer/bin/twistd (.*)$", text, re.MULTILINE)
        values = {
            "$BOOTSTRAPS": bootstraps,
            "%i": instance,
            "/etc/netlayer/secret": str(secret),
            "${STATE_DIRECTORY}": str(directory / "state"),
            "192.0.2.10": "127.0.0.1",
            "192.0.2.20": "localhost",
            **ports,
        }
        for name, value in values.items():
            command = command.replace(name, value)
        program = "from twisted.scripts.twistd import run; run()"
        process = Script({"twistd.py": program}, command=("twistd.py", *command.split()))
        self.addCleanup(process.kill)
        return process
