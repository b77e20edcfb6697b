"""What help() and the API reference say is complete: every public name, with its parameters, results and errors."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

import netlayer
from netlayer import errors
from tests.pages import DOCS, directives

#: The modules whose ``__all__`` is the public interface.
PUBLIC = ("netlayer", "netlayer.errors", "netlayer.interfaces", "netlayer.testing")
#: What no application makes itself: their constructors are nobody's business.
MADE = {f"netlayer.testing.{name}" for name in ("SimulatedConnection", "SimulatedHost", "SimulatedReactor")}

#: How a docstring tells of a result.
RESULT = r":returns:|\breturns?\b|\A(make|read|tell|build)\b|\bfires\b"


def modules() -> Iterator[ModuleType]:
    """Import every module of the package."""
    yield netlayer
    for found in pkgutil.walk_packages(netlayer.__path__, "netlayer."):
        yield importlib.import_module(found.name)


def listed(module: ModuleType) -> dict[str, Any]:
    """Return what a module's ``__all__`` names, by full names; constants, which carry no docstring, left out."""
    named = {f"{module.__name__}.{name}": getattr(module, name) for name in getattr(module, "__all__", ())}
    return {name: value for name, value in named.items() if inspect.isclass(value) or inspect.isfunction(value)}


def shown() -> dict[str, str]:
    """Return the classes of the API reference, and which of their members it shows: ``""`` for all, ``-`` for none."""
    page = "".join((DOCS / "reference" / name).read_text("utf-8") for name in ("api.rst", "testing.rst"))
    return {name: options.get("members", "-") for name, options, _ in directives(page, "autoclass")}


def callables(name: str, value: Any, members: str) -> Iterator[tuple[str, Callable[..., Any], str]]:
    """Find what can be called in a public name, and the docstring that has to tell of it.

    :param members: which methods count, as :func:`shown` tells.
    """
    if not inspect.isclass(value):
        yield name, value, inspect.getdoc(value) or ""
        return
    of_interest = re.findall(r"\w+|-", members)
    for attribute, member in vars(value).items():
        function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        if attribute == "__init__" and not attrs.has(value) and name not in MADE:
            yield name, function, inspect.getdoc(value) or ""
        elif inspect.isfunction(function) and attribute[0] != "_" and attribute in (of_interest or [attribute]):
            yield f"{name}.{attribute}", function, inspect.getdoc(getattr(value, attribute)) or ""


def undocumented(name: str, function: Callable[..., Any], doc: str) -> Iterator[str]:
    """Find what the docstring of a function does not tell: parameters, the result, errors that it raises itself."""
    signature = inspect.signature(function)
    inherited = "Takes the arguments of" in doc
    for parameter in signature.parameters.values():
        several = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if inherited or several or parameter.name in ("self", "cls"):
            continue
        if not re.search(rf"\b{parameter.name.replace('_', '[_ ]')}s?\b", doc):
            yield f"{name}: parameter {parameter.name}"
    result = signature.return_annotation
    if result not in (None, "None", "Any", signature.empty) and not re.search(RESULT, doc, re.IGNORECASE):
        yield f"{name}: what it returns"
    for raised in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
        if isinstance(raised, ast.Raise) and raised.exc is not None:
            error = raised.exc.func if isinstance(raised.exc, ast.Call) else raised.exc
            kind = getattr(errors, ast.unparse(error), None)
            if kind is not None and not any(f":raises {base.__name__}" in doc for base in kind.__mro__):
                yield f"{name}: that it raises {kind.__name__}"


class DocstringsTests(SynchronousTestCase):
    def test_every_name(self) -> None:
        """Every name that a module offers says what it is for, and so do its methods and properties."""
        silent = []
        for module in modules():
            for name, value in listed(module).items():
                if not inspect.getdoc(value):
                    silent.append(name)
                for attribute, member in vars(value).items() if inspect.isclass(value) else ():
                    public = re.fullmatch(r"[a-z]+(_[a-z]+)*", attribute)
                    function = isinstance(member, property | classmethod | staticmethod) or inspect.isfunction(member)
                    if public and function and not inspect.getdoc(getattr(value, attribute)):
                        silent.append(f"{name}.{attribute}")
        self.assertEqual(silent, [])

    def test_complete(self) -> None:
        """Of what is public, each parameter is documented, each result, and each error that is raised there."""
        missing, members = [], shown()
        for module in modules():
            if module.__name__ in PUBLIC:
                for name, value in listed(module).items():
                    for each in callables(name, value, members.get(name, "")):
                        missing += undocumented(*each)
        self.assertEqual(missing, [])

    def test_errors(self) -> None:
        """Each field of an error is documented, those apart that mean the same in all of them."""
        missing = [
            f"{name}: {field.name}"
            for name, value in listed(errors).items()
            if attrs.has(value)
            for field in attrs.fields(value)
            if field.name not in ("reason", "peer_id")
            and not re.search(rf":ivar {field.name}:|`{field.name}`", value.__doc__)
        ]
        self.assertEqual(missing, [])
