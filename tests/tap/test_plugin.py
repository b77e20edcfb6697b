"""The two commands as twistd finds them, and their options."""

from __future__ import annotations

import inspect
import os
import re
import stat
import sys
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import skipIf

import attrs
from twisted.application.service import IServiceMaker
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.plugin import getPlugins
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from netlayer.config import Settings
from netlayer.net.bootstrap import BOOTSTRAP_CONNECTIONS
from netlayer.peer import PeerProtocol
from netlayer.services import PeerService
from netlayer.storage.identity import Identity
from netlayer.tap import bootstrap, node, service


class ExampleProtocol(PeerProtocol):
    """What an application would name with --protocol."""


class Demanding(PeerProtocol):
    """What nobody can build without an argument."""

    def __init__(self, wish: str) -> None:
        self.wish = wish


class PluginTests(SynchronousTestCase):
    def test_found(self) -> None:
        """An operator sees both commands in ``twistd --help``, and their modules can be loaded."""
        makers = {maker.tapname: maker for maker in getPlugins(IServiceMaker) if maker.tapname.startswith("netlayer-")}
        self.assertEqual(sorted(makers), ["netlayer-bootstrap", "netlayer-node"])
        for maker in makers.values():
            verifyObject(IServiceMaker, maker)
            self.assertTrue(issubclass(maker.options, usage.Options))
            self.assertTrue(inspect.isfunction(maker.makeService))


class OptionsTests(SynchronousTestCase):
    def parse(self, *arguments: str) -> node.Options:
        options = node.Options()
        options.parseOptions(list(arguments))
        return options

    def refused(self, *arguments: str) -> str:
        """Return the one line that a mistake ends in, be it an option's or the node's."""

        def start() -> None:
            service.make_service(self.parse(*arguments), MemoryReactorClock(), PeerService)

        line = self.assertRaises(SystemExit, start).code
        self.assertRegex(line, r"\Anetlayer-node: [^\n]+\Z")
        return str(line)

    def test_every_setting(self) -> None:
        """Each setting is an option, with the same default."""
        self.assertEqual(self.parse("--id", "2")["settings"], Settings())
        for field in attrs.fields(Settings):
            kind = field.metadata["kind"]
            text = str(kind(field.default)) if kind in (int, float) else "10.0.0.0/8, 192.0.2.7"
            options = self.parse("--id", "2", f"--{field.name.replace('_', '-')}", text)
            self.assertEqual(getattr(options["settings"], field.name), kind(text))

    def test_bootstrap_has_more_links(self) -> None:
        """A bootstrap node has room for more links by default, and takes the same options otherwise."""
        options = bootstrap.Options()
        options.parseOptions(["--id", "1"])
        self.assertEqual(options["settings"], attrs.evolve(Settings(), max_connections=BOOTSTRAP_CONNECTIONS))

    def test_repeatable(self) -> None:
        """Several bootstraps and peers can be given."""
        options = self.parse(
            *("--id", "2", "-b", "tcp:127.0.0.1:1", "--bootstrap", "tcp:localhost:2", "--peer", "tcp:127.0.0.1:3")
        )
        self.assertEqual(options["bootstraps"], ["tcp:127.0.0.1:1", "tcp:localhost:2"])
        self.assertEqual(options["peers"], ["tcp:127.0.0.1:3"])

    def test_protocol(self) -> None:
        """The application's protocol is found by its name."""
        name = f"{__name__}.ExampleProtocol"
        self.assertIs(self.parse("--id", "2", "--protocol", name)["protocol"], ExampleProtocol)

    def test_advertise(self) -> None:
        """An advertised address may be an IPv6 one in brackets."""
        self.assertEqual(self.parse("--id", "2", "--advertise", "[::1]:80")["advertise"], ("::1", 80))

    def test_mistakes(self) -> None:
        """Each mistake is told in one line, with the option or its value in it."""
        listening = "no endpoint to listen at, such as 'tcp:8000:interface=127.0.0.1'"
        searched = f"on the Python path or in the working directory {os.getcwd()}"
        dialed = "no endpoint to dial, such as 'tcp:127.0.0.1:8000'"
        for arguments, told in [
            ((), "--id is required"),
            (("--id",), "option --id requires argument"),
            (("--idd", "2"), "option --idd not recognized"),
            (("--id", "2", "extra"), "'extra' is no option"),
            (("--id", "x"), "'x'"),
            (("--id", "-1"), "'-1'"),
            (("--id", "9223372036854775808"), "'9223372036854775808'"),
            (("--id", "2", "--listen", "foo"), f"'foo' is {listening}"),
            (("--id", "2", "--listen", "tcp:65536:interface=127.0.0.1"), "not 65536"),
            (("--id", "2", "--listen", "tcp:port=-1"), "not -1"),
            (("--id", "2", "--listen", "tcp:8000"), "tcp:8000 is not a loopback address"),
            (("--id", "2", "--listen", "tcp:0:interface=192.0.2.1"), "interface=192.0.2.1 is not a loopback address"),
            (
                ("--id", "2", "--listen", "systemd:domain=INET:index=0"),
                "index=0': systemd has handed over no such socket by name",
            ),
            (("--id", "2", "--bootstrap", "tcp"), f"'tcp' is {dialed}"),
            (("--id", "2", "--bootstrap", "tcp:localhost:0"), "not 0"),
            (("--id", "2", "--bootstrap", "tcp::8000"), "the host is missing"),
            (("--id", "2", "--bootstrap", "tcp:port=8000:host="), "the host is missing"),
            (("--id", "2", "--bootstrap", "tcp:a..b:8000"), "a host is a name or an IP address, not 'a..b'"),
            (("--id", "2", "--peer", "tcp:8000:host=1..2"), "a host is a name or an IP address, not '1..2'"),
            (("--id", "2", "--listen", "tcp:8000:interface=a..b"), "a host is a name or an IP address, not 'a..b'"),
            (("--id", "2", "--peer", "nonsense:1"), f"'nonsense:1' is {dialed}"),
            (("--id", "2", "--peer", "tcp:port=65536:host=localhost"), "not 65536"),
            (("--id", "2", "--advertise", "x"), "--advertise takes HOST:PORT, such as node.example:8001, not 'x'"),
            (("--id", "2", "--advertise", ":80"), "not ':80': a host is"),
            (("--id", "2", "--data-dir", __file__), f"{__file__!r} is a file, not a directory"),
            (("--id", "2", "--id", "3"), "--id is given more than once"),
            (("-i", "2", "--id=2"), "--id is given more than once"),
            (("--id", "2", "--window", "70000", "--wind", "80000"), "--window is given more than once"),
            (
                ("--id", "2", "--protocol", f"{__name__}.Demanding"),
                f"{__name__}.Demanding can't be built without arguments",
            ),
            (("--id", "2", "--network", ""), "a network is named by 1 to 64 printable characters, not ''"),
            (("--id", "2", "--data-dir", ""), "a data directory is a path, not ''"),
            (("--id", "2", "--data-dir", "/dev/null/x"), "/dev/null/x"),
            (("--id", "2", "--window", "many"), "--window takes a whole number, not 'many'"),
            (("--id", "2", "--window", ""), "--window takes a whole number, not ''"),
            (("--id", "2", "--ping-after", "soon"), "--ping-after takes a number, not 'soon'"),
            (
                ("--id", "2", "--exempt-addresses", "10.0.0.0/8,gateway"),
                "--exempt-addresses: 'gateway' is neither an IP address nor a network such as '10.0.0.0/8'",
            ),
            (("--id", "2", "--window", "5"), "setting window must be at least 65536 (bytes), not 5"),
            (("--id", "2", "--protocol", "no.such.Thing"), f"no.such.Thing: there is no module 'no' {searched}"),
            (("--id", "2", "--protocol", "Thing"), f"Thing: there is no module 'Thing' {searched}"),
            (("--id", "2", "--protocol", "netlayer.Thing"), "netlayer.Thing: AttributeError: "),
            (("--id", "2", "--protocol", "os.path"), "os.path is not a subclass"),
        ]:
            self.assertIn(told, self.refused(*arguments))

    def test_failing_protocol(self) -> None:
        """When the application's module can't be imported, the line says where it failed."""
        temporary = TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        directory = Path(temporary.name)
        (directory / "netlayer_failing.py").write_text("x = 1\nraise RuntimeError('one\\ntwo')\n")
        self.patch(sys, "path", [str(directory), *sys.path])
        line = self.refused("--id", "2", "--protocol", "netlayer_failing.Chat")
        failure = f"RuntimeError: one two ({directory / 'netlayer_failing.py'}, line 2)"
        self.assertEqual(line, f"netlayer-node: --protocol netlayer_failing.Chat: {failure}")

    def test_help(self) -> None:
        """The help names each option once, each setting with its unit and its default, in lines that fit."""
        for command, options in (("netlayer-node", node.Options()), ("netlayer-bootstrap", bootstrap.Options())):
            options.parent = usage.Options()
            options.parent.subCommand = command
            text = str(options)
            self.assertRegex(text, rf"\AUsage: .* {command} --id ID \[options\]\n")
            self.assertLessEqual(max(map(len, text.splitlines()[1:])), 80)
            self.assertEqual(
                sorted(re.findall(r"^ .{5}--([a-z-]+)", text, re.MULTILINE)),
                sorted({name.removesuffix("=") for name in options.longOpt}),
            )
            links = {"netlayer-node": 64, "netlayer-bootstrap": BOOTSTRAP_CONNECTIONS}[command]
            words = " ".join(text.split())
            self.assertIn(f"--max-connections LINKS peers that the node is linked to at most [{links}]", words)
            largest = "the largest packet that is sent or taken; structured values end at 1 MiB"
            self.assertIn(f"--max-packet BYTES {largest} [16777216]", words)
            self.assertIn("--receipt-delay SECONDS receipts are gathered for this long [0.005]", words)

    def test_version(self) -> None:
        """The version that is displayed is netlayer's."""
        said = StringIO()
        self.patch(sys, "stdout", said)
        self.assertRaises(SystemExit, self.parse, "--version")
        self.assertRegex(said.getvalue(), rf"\Anetlayer {re.escape(version('netlayer'))}, Twisted [0-9.]+\n\Z")


@skipIf(os.name != "posix", "Windows has no such limit")
class OpenFilesTests(SynchronousTestCase):
    """How many files a process may have open, each link being one."""

    def make(self, *arguments: str) -> list[str]:
        """Make a service and return what it warns of."""
        warnings: list[str] = []

        def keep(event: LogEvent) -> None:
            if event["log_level"] is LogLevel.warn:
                warnings.append(formatEvent(event))

        globalLogPublisher.addObserver(keep)
        self.addCleanup(globalLogPublisher.removeObserver, keep)
        options = node.Options()
        options.parseOptions(["--id", "2", *arguments])
        service.make_service(options, MemoryReactorClock(), PeerService)
        return warnings

    def test_raised(self) -> None:
        """A low limit is raised, as far as the system lets everybody, to what the settings ask for."""
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (350, hard))
        self.assertEqual(self.make("--max-connections", "64", "--max-handshakes", "100"), [])
        self.assertEqual(resource.getrlimit(resource.RLIMIT_NOFILE), (350, hard))
        self.assertEqual(self.make("--max-connections", "300", "--max-handshakes", "100"), [])
        self.assertEqual(resource.getrlimit(resource.RLIMIT_NOFILE), (528, hard))

    def test_not_enough(self) -> None:
        """When more is not allowed, the log says so, with the numbers."""
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        if hard == resource.RLIM_INFINITY:
            self.skipTest("this system has no limit")
        self.assertEqual(
            self.make("--max-connections", str(hard)),
            [
                f"node 2: this process may have {hard} files open, and max_connections and max_handshakes ask for "
                f"{hard + 256 + service.OTHER_FILES}"
            ],
        )


@skipIf(not hasattr(os, "geteuid") or os.geteuid() != 0, "only root can become another user")
class OtherUserTests(SynchronousTestCase):
    """With --uid, as twistd hands it to the command."""

    def setUp(self) -> None:
        temporary = TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.directory = Path(temporary.name)
        self.directory.chmod(0o755)

    def make(self, data_dir: Path, **parent: int) -> bytes:
        """Make a service for another user and return its fingerprint; we are root before and after."""
        options = node.Options()
        options.parent = usage.Options()
        options.parent.update(parent or {"uid": 4711, "gid": 4712})
        options.parseOptions(["--id", "2", "--data-dir", str(data_dir)])
        try:
            made = service.make_service(options, MemoryReactorClock(), PeerService)
        finally:
            self.assertEqual((os.geteuid(), os.getegid()), (0, 0))
        self.successResultOf(made.node.stop())
        return made.node.factory.identity.fingerprint

    def refused(self, data_dir: Path, **parent: int) -> str:
        return str(self.assertRaises(SystemExit, self.make, data_dir, **parent).code)

    def test_key_is_theirs(self) -> None:
        """The data directory and the key are made for that user, the directories above for root; the key is kept."""
        data_dir = self.directory / "new" / "data"
        fingerprint = self.make(data_dir)
        for path, mode in ((data_dir, 0o700), (data_dir / "identity.pem", 0o600), (data_dir / "lock", 0o600)):
            owner = (4711, 4712)
            found = path.stat()
            self.assertEqual((found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)), (*owner, mode))
        self.assertEqual(data_dir.parent.stat().st_uid, 0)
        self.assertEqual(self.make(data_dir), fingerprint)

    def test_directory_of_another_user(self) -> None:
        """A directory that the user can't use, or a key of somebody else, is refused; nothing changes hands."""
        roots = self.directory / "root"
        Identity.in_directory(roots)
        line = self.refused(roots)
        self.assertEqual(
            line,
            f"netlayer-node: data directory '{roots}': lock: Permission denied (as the user with the uid 4711)",
        )
        planted = self.directory / "planted"
        planted.mkdir()
        os.chown(planted, 4711, 4712)
        (planted / "identity.pem").symlink_to(roots / "identity.pem")
        self.assertIn(f"identity file {planted}/identity.pem: ", self.refused(planted))
        self.assertEqual((roots / "identity.pem").stat().st_uid, 0)

    def test_not_root(self) -> None:
        """Whoever is not root can't become another user, and is told so before anything is done."""
        options = node.Options()
        options.parent = usage.Options()
        options.parent["uid"] = 4712
        options.parseOptions(["--id", "2"])
        os.seteuid(4711)
        self.addCleanup(os.seteuid, 0)
        refused = self.assertRaises(SystemExit, service.make_service, options, MemoryReactorClock(), PeerService)
        self.assertEqual(refused.code, "netlayer-node: --uid: to become the user with the uid 4712, start it as root")

    def test_unknown_user(self) -> None:
        """A uid that no user has needs a group."""
        self.assertEqual(
            self.refused(self.directory / "data", uid=4711),
            "netlayer-node: --uid: no user has the uid 4711, so its group has to be given by --gid",
        )
