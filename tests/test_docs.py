"""The documentation says what is true: its listings exist, its links lead somewhere, its tables are complete."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import re
import runpy
from urllib.parse import urlsplit

import attrs
from twisted.python.reflect import namedAny
from twisted.trial.unittest import SynchronousTestCase

import netlayer
from netlayer import Settings, errors, testing
from tests.pages import DOCS, README, ROOT, directives, holds, pages, sections, targets

LAYERING = ROOT / "tests" / "test_layering.py"
#: The sites that pages may link to. A build fetches nothing, so a new one is looked at by whoever adds it.
OUTSIDE = {"docs.twisted.org", "www.freedesktop.org"}
#: Files that pages tell a reader to make.
TO_BE_MADE = {"docs/_build/html", "docs/newsfragments/SHORT-NAME.KIND.rst"}
INSTALL = "python -m pip install"


class ListingsTests(SynchronousTestCase):
    """What is shown as code is code that tests run.

    tests/integration/test_examples.py runs the examples, test_sessions.py beside it runs what pages show of terminals,
    the programs of the tutorial among it.
    """

    def setUp(self) -> None:
        self.examples = {path: path.read_text("utf-8") for path in (DOCS / "examples").glob("*.py")}
        deployed = [path for name in ("systemd", "deploy") for path in (DOCS / "examples" / name).iterdir()]
        tac = (DOCS / "examples").glob("*.tac")
        run = [*(DOCS / "tutorial" / "chat").glob("*.py"), *tac, *deployed, LAYERING]
        self.shown = self.examples | {path: path.read_text("utf-8") for path in run}

    def test_included(self) -> None:
        """Every file of which a page shows a part exists, and so does the part."""
        for path, text in pages().items():
            for name, options, _ in directives(text, "literalinclude"):
                source = self.shown.get((path.parent / name).resolve())
                self.assertIsNotNone(source, f"{path} includes {name}, which no test runs")
                for option in ("start-at", "start-after", "end-at", "end-before"):
                    self.assertIn(options.get(option, ""), source, f"{path} includes {name}")

    def test_written_out(self) -> None:
        """Every piece of Python on a page is literally a piece of an example."""
        found = 0
        for path, text in pages().items():
            for language, _, listing in directives(text, "code-block"):
                if language == "python":
                    found += 1
                    known = any(holds(source, listing) for source in self.examples.values())
                    self.assertTrue(known, f"{path} shows Python that is in no example:\n{listing}")
        self.assertGreater(found, 0)

    def test_no_other(self) -> None:
        """There is no listing besides: no other language, and no literal block except where a test reads it."""
        for path, text in pages().items():
            if path != DOCS / "reference" / "wire-protocol.rst":  # whose listings are bytes
                languages = {language for language, _, _ in directives(text, "code-block")}
                self.assertLessEqual(languages, {"python", "console"}, path)
            if path != README:
                self.assertEqual(re.findall(r"^(?!\.\. ).*::$", text, re.MULTILINE), [], path)

    def test_readme(self) -> None:
        """Every command that the README shows is one of a session that is played, those apart that install."""
        listings = re.findall(r"::\n\n((?:    .+\n)+)", README.read_text("utf-8"))
        commands = [line.strip() for listing in listings for line in listing.splitlines()]
        everything = "".join(pages().values())
        unknown = [line for line in commands if not line.startswith(INSTALL) and f"\n   $ {line}\n" not in everything]
        self.assertEqual(unknown, [])

    def test_examples_are_shown(self) -> None:
        """There is no example that no page mentions."""
        everything = "".join(pages().values())
        unknown = [path.name for path in self.examples if f"examples/{path.name}" not in everything]
        self.assertEqual(unknown, [])


class LinksTests(SynchronousTestCase):
    def test_resolve(self) -> None:
        """Every link from one page to another, and to a file, leads somewhere."""
        missing = [
            f"{path.relative_to(ROOT)} -> {target}"
            for path, text in pages().items()
            for target in targets(path, text)
            if not target.exists()
        ]
        self.assertEqual(missing, [])

    def test_files(self) -> None:
        """Every file of this repository that a page names is there."""
        named = {
            (str(path.relative_to(ROOT)), name)
            for path, text in pages().items()
            for name in re.findall(r"``((?:docs|tests|netlayer|twisted|\.ci)/[\w./-]+)``", text)
            if not (ROOT / name).exists() and name not in TO_BE_MADE
        }
        self.assertEqual(named, set())

    def test_external(self) -> None:
        """Links that lead out of the repository are well formed, and go where we mean to send readers."""
        hosts = set()
        for path in [*pages(), *(ROOT / "netlayer").rglob("*.py"), *(DOCS / "newsfragments").glob("*.rst")]:
            for link in re.findall(r"\bhttps?:[^\s>`\"')]*", path.read_text("utf-8")):
                parts = urlsplit(link)
                self.assertEqual((parts.scheme, parts.username, parts.port), ("https", None, None), f"{path}: {link}")
                hosts.add(parts.hostname)
        self.assertEqual(hosts, OUTSIDE)

    def test_every_page_is_found(self) -> None:
        """A reader who starts at the index comes to every page."""
        index = DOCS / "index.rst"
        reached = {target.resolve() for target in targets(index, index.read_text("utf-8"))}
        self.assertEqual([path for path in pages() if path not in reached | {index, README}], [])

    def test_readme_leads_to_every_page(self) -> None:
        """So does one who has but the README, the index apart, which is for the built pages."""
        reached = {target.resolve() for target in targets(README, README.read_text("utf-8"))}
        self.assertEqual([path for path in pages() if path not in reached | {DOCS / "index.rst", README}], [])


class ReadmeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.text = README.read_text("utf-8")

    def test_commands(self) -> None:
        """There are two ways to set it up, each one command: to see it work, and to test it."""
        commands = [line.strip() for line in self.text.splitlines() if line.lstrip().startswith(INSTALL)]
        self.assertEqual(
            commands,
            [
                f"{INSTALL} . && python docs/examples/workflow.py",
                f'{INSTALL} -e ".[test]" && python -m pytest',
            ],
        )

    def test_plain(self) -> None:
        """It shows on a package index, which knows reST without Sphinx: no role and no directive of Sphinx's."""
        self.assertEqual(re.findall(r":(?:doc|ref|class|mod|meth|func):`", self.text), [])
        self.assertEqual(set(re.findall(r"^\s*\.\. ([\w-]+)::", self.text, re.MULTILINE)), {"code-block"})

    def test_titles(self) -> None:
        """Each title is underlined in its whole length, as reST wants it."""
        lines = self.text.splitlines()
        underlines = [(lines[i - 1], line) for i, line in enumerate(lines) if re.fullmatch(r"([=-])\1{2,}", line)]
        self.assertGreater(len(underlines), 3)
        self.assertEqual([title for title, underline in underlines if len(title) != len(underline)], [])


class ReferenceTests(SynchronousTestCase):
    """The reference names everything that there is."""

    def test_tables(self) -> None:
        """The tables that docs/tables.py makes of the code are in the pages, and as the code is."""
        tables, found = runpy.run_path(str(DOCS / "tables.py")), set()
        for path, text in pages().items():
            found |= {match["name"] for match in tables["PLACE"].finditer(text)}
            self.assertEqual(text, tables["page"](text), f"{path}: run python docs/tables.py")
        self.assertEqual(found, set(tables["TABLES"]))

    def test_settings(self) -> None:
        """There is no setting that the reference does not name."""
        text = (DOCS / "reference" / "settings.rst").read_text("utf-8")
        self.assertEqual([field.name for field in attrs.fields(Settings) if f"``{field.name}``" not in text], [])

    def test_states(self) -> None:
        """Each state of a node is in the table, and no other."""
        page = sections((DOCS / "explanation" / "state-machines.rst").read_text("utf-8"))["A node"]
        source = (ROOT / "netlayer" / "services.py").read_text("utf-8")
        self.assertEqual(
            set(re.findall(r"^   \* - ``(\w+)``$", page, re.MULTILINE)), set(re.findall(r'_state = "(\w+)"', source))
        )

    def test_public_names(self) -> None:
        """Every public name stands in the API reference."""
        text = (DOCS / "reference" / "api.rst").read_text("utf-8")
        documented = re.findall(r"^\.\. auto\w+:: netlayer\.(\w+)$", text, re.MULTILINE)
        self.assertEqual(sorted(documented), sorted(netlayer.__all__))

    def test_modules(self) -> None:
        """Each module has its place in the house."""
        house = sections((DOCS / "explanation" / "design.rst").read_text("utf-8"))["The house"]
        modules = {module.name for module in pkgutil.iter_modules(netlayer.__path__)} - {"__main__"}
        self.assertEqual([name for name in sorted(modules) if f"``{name}``" not in house], [])

    def test_security(self) -> None:
        """Each test that shows a defence is there."""
        text = (DOCS / "explanation" / "security.rst").read_text("utf-8")
        tests = {path: path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py")}
        for name in re.findall(r"``([\w/]+\.py)``", text):
            self.assertIn(ROOT / "tests" / name, tests)
        for name in re.findall(r"``(test_\w+)``", text):
            self.assertTrue(any(f"def {name}(" in source for source in tests.values()), name)

    def test_names(self) -> None:
        """Whatever the table of the seed's names sends a reader to is there."""
        text = (DOCS / "reference" / "names.rst").read_text("utf-8")
        rows = re.findall(r"^   \* - (.+)\n     - (.+)$", text, re.MULTILINE)[1:]
        self.assertGreater(len(rows), 20)
        for names, places in rows:
            for place in re.findall(r"``(\w+(?:\.\w+)*)``", places):
                home = namedAny(place if place.startswith("netlayer") else f"netlayer.{place}")
                for name in re.findall(r"``(\w+)(?:\(.*?\))?``", names):
                    parameters = inspect.signature(home).parameters if inspect.isclass(home) else ()
                    self.assertTrue(hasattr(home, name) or name in parameters, f"{place} has no {name}")

    def test_test_kit(self) -> None:
        """Every name of the test kit stands in its reference."""
        text = (DOCS / "reference" / "testing.rst").read_text("utf-8")
        documented = re.findall(r"^\.\. auto\w+:: netlayer\.testing\.(\w+)$", text, re.MULTILINE)
        self.assertEqual(sorted(documented), sorted(testing.__all__))

    def test_delivery_errors(self) -> None:
        """Of every error of sending the reference says what it means for the packet."""
        text = (DOCS / "reference" / "errors.rst").read_text("utf-8")
        every = [value for name in errors.__all__ if issubclass(value := getattr(errors, name), errors.DeliveryError)]
        missing = [kind.__name__ for kind in every if kind is not errors.DeliveryError]
        self.assertEqual([name for name in missing if f"* - ``{name}``\n" not in text], [])

    def test_log_messages(self) -> None:
        """Every message of a node's log is explained, and no other."""
        text = (DOCS / "reference" / "log-messages.rst").read_text("utf-8")
        explained = set(re.findall(r"^``(.+)``$", text, re.MULTILINE))
        logged = set()
        for path in set((ROOT / "netlayer").rglob("*.py")) - set((ROOT / "netlayer" / "testing").rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                match node:
                    case ast.Call(
                        func=ast.Attribute(
                            value=ast.Attribute(attr="log" | "_log") | ast.Name(id="self"),
                            attr="debug" | "info" | "warn" | "error" | "failure" | "critical",
                        ),
                        args=[ast.Constant(value=str(message)), *_],
                    ):
                        logged.add(message)
                    case ast.Call(func=ast.Name(id="Note"), args=[_, ast.Constant(value=str(message)), *_]):
                        logged.add(message)
        # The lines about packets come from Node itself, in the form of the standard library.
        self.assertEqual(logged, {message for message in explained if not message.startswith("packet to {peer}")})
