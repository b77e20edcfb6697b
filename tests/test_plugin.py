"""The two commands as twistd finds them, and their options."""

from __future__ import annotations

import inspect

import attrs
from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from netlayer.bootstrap import BOOTSTRAP_CONNECTIONS
from netlayer.config import Settings
from netlayer.peer import PeerProtocol
from netlayer.tap import bootstrap, node


class ExampleProtocol(PeerProtocol):
    """What an application would name with --protocol."""


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
        return str(self.assertRaises(usage.UsageError, self.parse, *arguments))

    def test_every_setting(self) -> None:
        """Each setting is an option, with the same default."""
        self.assertEqual(self.parse("--id", "2")["settings"], Settings())
        for field in attrs.fields(Settings):
            given = field.metadata["kind"](field.default)
            options = self.parse("--id", "2", f"--{field.name.replace('_', '-')}", str(given))
            self.assertEqual(getattr(options["settings"], field.name), given)

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
        """Each mistake is told with the option or its value in the text."""
        for arguments, told in [
            ((), "--id is required"),
            (("--id", "x"), "'x'"),
            (("--id", "-1"), "'-1'"),
            (("--id", "2", "--listen", "foo"), "'foo'"),
            (("--id", "2", "--bootstrap", "tcp"), "'tcp'"),
            (("--id", "2", "--peer", "nonsense:1"), "'nonsense:1'"),
            (("--id", "2", "--advertise", "x"), "'x'"),
            (("--id", "2", "--window", "many"), "--window takes a whole number, not 'many'"),
            (("--id", "2", "--ping-after", "soon"), "--ping-after takes a number, not 'soon'"),
            (("--id", "2", "--window", "5"), "window"),
            (("--id", "2", "--protocol", "no.such.Thing"), "no.such.Thing"),
            (("--id", "2", "--protocol", "os.path"), "os.path is not a subclass"),
        ]:
            self.assertIn(told, self.refused(*arguments))
