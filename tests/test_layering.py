"""Which module may import which, and what the modules without I/O may not touch: rules, read from the source.

A rule is a function from sources (a module's full name to its text) to violations, so that it can be tested itself.
"""

from __future__ import annotations

import ast
from collections.abc import Container, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parents[1]

#: Lowest first. A module imports from its own layer and from those below; the last one is for tests only.
LAYERS = (
    "addresses config errors handlers log sansio.delivery.timeouts status storage storage.admission",
    "wire wire.frames wire.messages wire.payload wire.succession",
    "sansio sansio.bootstrap sansio.bootstrap.registry sansio.bootstrap.reservations sansio.delivery"
    " sansio.delivery.delivery sansio.delivery.load sansio.delivery.packet sansio.delivery.pauses"
    " sansio.delivery.queue sansio.delivery.reassembly sansio.delivery.session sansio.delivery.streams"
    " sansio.delivery.suspects sansio.delivery.writer sansio.link sansio.link.commands sansio.link.connection"
    " sansio.link.events sansio.link.handshake sansio.link.liveness sansio.link.pacing sansio.link.proof"
    " sansio.link.selection sansio.link.states sansio.outputs sansio.overlay sansio.overlay.backoff"
    " sansio.overlay.directory sansio.overlay.flapping sansio.overlay.room sansio.overlay.rotation"
    " sansio.peers sansio.peers.peer sansio.trust sansio.trust.succession sansio.trust.tickets"
    " sansio.trust.violations",
    "app app.handlers interfaces net net.acceptor net.alarm net.attempt net.bootstrap net.broadcasting"
    " net.claims net.driver net.factory net.forks net.gate net.link net.lookups net.named net.plaintext"
    " net.probing net.remote net.remotes net.resolving net.strangers net.tls net.waiters peer"
    " storage.bindings storage.bindings.file storage.bindings.memory storage.bindings.sqlite"
    " storage.certificate storage.data_directory storage.identity storage.known_peers",
    "net.dialing net.joining net.listening net.membership net.seeking net.sending net.wanted net.wanted_peers",
    "services",
    "bootstrap_node logger node script script.monotonic script.reactor_thread",
    "__main__ netlayer tap tap.bootstrap tap.command tap.node tap.options tap.service",
    "testing testing.__main__ testing.arguments testing.calendar_queue testing.command testing.connection"
    " testing.errors testing.faults testing.host testing.identity testing.internet testing.interrupts"
    " testing.listening testing.loading testing.local_reactor testing.localhost testing.mistakes"
    " testing.names testing.passing testing.progress testing.reactor testing.replay testing.run"
    " testing.scenario testing.shrinking testing.socket testing.system_events testing.timeline testing.timers"
    " testing.transport testing.workers",
)
LEVELS = {
    name if name == "netlayer" else f"netlayer.{name}": level
    for level, names in enumerate(LAYERS)
    for name in names.split()
}

#: Bytes in, events out: here time and chance are arguments, and nobody logs.
PURE = ("netlayer.wire", "netlayer.sansio")
IMPURE_MODULES = {"logging", "time"}
IMPURE_NAMES = {"os.urandom"} | {
    f"{datetime}.{now}" for datetime in ("datetime", "datetime.datetime") for now in ("now", "today", "utcnow")
}


class Import(NamedTuple):
    """One imported name and where its statement stands."""

    target: str
    line: int
    functions: tuple[str, ...]  # the functions around it, outermost first
    type_only: bool


def imports(source: str) -> list[Import]:
    """Return everything that `source` imports, at any depth."""

    def visit(node: ast.AST, functions: tuple[str, ...], type_only: bool) -> Iterator[Import]:
        match node:
            case ast.Import(names=names, lineno=line):
                yield from (Import(alias.name, line, functions, type_only) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level, lineno=line):
                origin = "." * level + (module or "")
                yield from (Import(f"{origin}.{alias.name}", line, functions, type_only) for alias in names)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                functions = (*functions, name)
        checks_types = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for field, value in ast.iter_fields(node):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from visit(child, functions, type_only or (checks_types and field == "body"))

    return list(visit(ast.parse(source), (), False))


def owner(target: str, modules: Container[str]) -> str | None:
    """Return which of `modules` an imported name is, or comes from."""
    while target and target not in modules:
        target = target.rpartition(".")[0]
    return target or None


def upward_imports(sources: Mapping[str, str]) -> list[str]:
    """Find imports from a higher layer; those for types alone count, since they couple as well."""
    found = []
    for module, source in sources.items():
        for each in imports(source):
            origin = owner(each.target, LEVELS)
            if each.target.startswith("."):
                found.append(f"{module}:{each.line} imports {each.target}: write the full name")
            elif origin is not None and LEVELS[origin] > LEVELS[module]:
                found.append(f"{module}:{each.line} (L{LEVELS[module]}) imports {origin} (L{LEVELS[origin]})")
    return found


def impurities(sources: Mapping[str, str]) -> list[str]:
    """Find Twisted, clocks, chance and logging where there may be none; `random.Random` may be named, as a type."""
    found = []
    for module, source in sources.items():
        if not module.startswith(PURE):
            continue
        if "twisted" in source.lower():
            found.append(f"{module} says twisted")
        for each in imports(source):
            if each.target.partition(".")[0] in IMPURE_MODULES or each.target in IMPURE_NAMES:
                found.append(f"{module}:{each.line} imports {each.target}")
            elif each.target.startswith("random."):
                found.append(f"{module}:{each.line} imports {each.target}: import random and name random.Random")
        for node in ast.walk(ast.parse(source)):
            match node:
                case ast.Attribute(lineno=line):
                    name = ast.unparse(node)
                    if name in IMPURE_NAMES or (name.startswith("random.") and name != "random.Random"):
                        found.append(f"{module}:{line} uses {name}")
                case ast.alias(name="datetime" | "os" | "random", asname=str(asname), lineno=line):
                    found.append(f"{module}:{line} hides {node.name} behind {asname}")
    return found


def global_reactors(sources: Mapping[str, str]) -> list[str]:
    """Find imports of the global reactor outside the places that choose it for a whole process."""
    return [
        f"{module}:{each.line} imports the global reactor"
        for module, source in sources.items()
        for each in imports(source)
        if owner(each.target, {"twisted.internet.reactor"})
        and not (module == "netlayer.script.reactor_thread" and each.functions)
        and not (module.startswith("netlayer.tap.") and "makeService" in each.functions)
    ]


def circle(sources: Mapping[str, str]) -> list[str]:
    """Return modules that import each other in a circle when they are loaded, or nothing."""
    graph = {
        module: {
            origin
            for each in imports(source)
            if not each.functions
            and not each.type_only
            and (origin := owner(each.target, sources)) not in (None, module)
        }
        for module, source in sources.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


class LayeringTests(SynchronousTestCase):
    """The rules, applied to netlayer."""

    def setUp(self) -> None:
        self.sources = {
            ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path.read_text("utf-8")
            for path in sorted(ROOT.glob("netlayer/**/*.py"))
        }

    def test_every_module_has_a_layer(self) -> None:
        """Who adds a module says where it belongs."""
        self.assertIn("netlayer.errors", self.sources)
        unknown = sorted(self.sources.keys() - LEVELS.keys())
        self.assertEqual(unknown, [], "add these modules to LAYERS in tests/test_layering.py, each to its layer")

    def test_imports_point_down(self) -> None:
        """A layer can be used, tested and understood without those above it; the test kit is in no production code."""
        self.assertEqual(upward_imports(self.sources), [])

    def test_pure(self) -> None:
        """The wire and the decisions have no event loop, clock or dice of their own: every run can be replayed."""
        self.assertEqual(impurities(self.sources), [])

    def test_reactor_is_an_argument(self) -> None:
        """An application chooses the reactor, or gives a simulated one, and all of netlayer uses that."""
        self.assertEqual(global_reactors(self.sources), [])

    def test_no_circles(self) -> None:
        """Any module can be the first one that a program imports."""
        self.assertEqual(circle(self.sources), [])


class RulesTests(SynchronousTestCase):
    """The rules themselves: each finds what it forbids and lets pass what it allows."""

    def assertFound(self, found: list[str], *expected: str) -> None:
        """Assert that there is one violation for each expectation, and that it says so."""
        self.assertEqual(len(found), len(expected), found)
        for violation, text in zip(found, expected, strict=True):
            self.assertIn(text, violation)

    def test_upward(self) -> None:
        """An import from above is found in every spelling and at every depth, the test kit's included."""
        source = (
            "import netlayer.node\n"
            "from netlayer import services\n"
            "from netlayer import Node\n"
            "def late():\n    from netlayer.testing import SimulatedInternet\n"
            "if TYPE_CHECKING:\n    from netlayer.peer import PeerProtocol\n"
            "from . import wire\n"
        )
        self.assertFound(
            upward_imports({"netlayer.errors": source}),
            "netlayer.errors:1 (L0) imports netlayer.node (L6)",
            "netlayer.services",
            "netlayer (L7)",
            "netlayer.testing",
            "netlayer.peer",
            "write the full name",
        )

    def test_downward(self) -> None:
        """Imports from below, from the same layer and from other projects pass."""
        source = "import twisted.internet\nfrom netlayer.net import tls\nfrom netlayer.errors import NetlayerError\n"
        self.assertEqual(upward_imports({"netlayer.peer": source}), [])

    def test_impure(self) -> None:
        """Every way to Twisted, a clock, chance or a log is found."""
        for source in (
            "# as Twisted does",
            "import time",
            "from time import monotonic",
            "import logging.handlers",
            "from os import urandom",
            "import os\nos.urandom(8)",
            "import datetime\ndatetime.datetime.now()",
            "from datetime import datetime\ndatetime.now()",
            "from datetime import datetime\ndatetime.utcnow()",
            "import random\nrandom.choice([1, 2])",
            "from random import choice",
            "import random as chance",
        ):
            self.assertEqual(len(impurities({"netlayer.sansio.link.liveness": source})), 1, source)

    def test_pure(self) -> None:
        """Time and chance as arguments pass, and so does everything in a module that may have I/O."""
        source = (
            "import datetime, os, random\n"
            "def due(link, now: float, rng: random.Random) -> float:\n"
            "    return max(now, link.now) + rng.random()\n"
        )
        self.assertEqual(impurities({"netlayer.sansio.overlay.backoff": source}), [])
        self.assertEqual(impurities({"netlayer.net.tls": "import time, twisted"}), [])

    def test_reactor(self) -> None:
        """The global reactor is found everywhere but where a process is set up."""
        importing = "from twisted.internet import reactor"
        setting_up = f"class Maker:\n    def makeService(self, options):\n        {importing}\n"
        starting = f"def start():\n    {importing}\n"
        passes = {"netlayer.tap.node": setting_up, "netlayer.script.reactor_thread": starting}
        self.assertEqual(global_reactors(passes), [])
        self.assertEqual(global_reactors({"netlayer.net.tls": "from twisted.internet import ssl"}), [])
        for module, source in {
            "netlayer.node": starting,
            "netlayer.services": setting_up,
            "netlayer.tap.node": starting,
            "netlayer.script.reactor_thread": importing,
            "netlayer.peer": "import twisted.internet.reactor",
            "netlayer.tap.bootstrap": "from twisted.internet.reactor import callLater",
        }.items():
            self.assertFound(global_reactors({module: source}), module)

    def test_circle(self) -> None:
        """Modules that load each other are found, those that wait with it or only name types are not."""
        one, two = "netlayer.one", "netlayer.two"
        back = "from netlayer.one import name"
        self.assertEqual(set(circle({one: "from netlayer import two", two: back})), {one, two})
        for harmless in (f"def late():\n    {back}", f"if typing.TYPE_CHECKING:\n    {back}"):
            self.assertEqual(circle({one: "from netlayer import two", two: harmless}), [])
