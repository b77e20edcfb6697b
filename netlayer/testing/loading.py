"""Finding the scenario that is named on the command line, in a file or a module."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from operator import attrgetter
from pathlib import Path
from types import ModuleType

from netlayer.testing.errors import ScenarioNotFound
from netlayer.testing.scenario import Scenario

__all__ = ["load"]


def load(place: str) -> type[Scenario]:
    """Return the scenario of a place.

    :param place: a file or a module, a colon, and the name of the class, which may be left out if there is but one.
    :raises ScenarioNotFound: when there is none, or when the file or module can't be imported; it says why.
    """
    where, colon, name = place.rpartition(":") if not os.path.exists(place) else ("", "", place)
    where, name = (where, name) if colon else (name, "")
    if not where:
        raise ScenarioNotFound(f"{place!r} names no file or module: write chat.py:Name or package.module:Name")
    try:
        module = _module(where)
    except ScenarioNotFound:
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise ScenarioNotFound(f"{where} can't be imported: {type(error).__name__}: {error}") from error
    scenarios = {
        name: kind
        for name, kind in vars(module).items()
        if isinstance(kind, type) and issubclass(kind, Scenario) and kind.__module__ == module.__name__
    }
    there_are = f"there are {', '.join(sorted(scenarios))}" if scenarios else "there is none"
    if name:
        kind = _found(module, name)
        if isinstance(kind, type) and issubclass(kind, Scenario):
            return kind
        if kind is not None:
            raise ScenarioNotFound(f"{name} in {where} is no subclass of netlayer.testing.Scenario; {there_are}")
        raise ScenarioNotFound(f"{where} has no scenario {name}; {there_are}")
    if len(scenarios) != 1:
        raise ScenarioNotFound(f"which scenario of {where}? {there_are[0].upper()}{there_are[1:]}: write {where}:Name")
    return next(iter(scenarios.values()))


def _found(module: ModuleType, name: str) -> object:
    """Return what a module has under a name, in which dots lead to classes in classes; None if that is nothing."""
    try:
        return attrgetter(name)(module)
    except AttributeError:
        return None


def _module(where: str) -> ModuleType:
    if where.endswith(".py") or os.sep in where:
        return _from_file(Path(where))
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    if where.startswith("."):
        raise ScenarioNotFound(f"{where!r} is no module (a file is named with its .py)")
    try:
        return importlib.import_module(where)
    except ModuleNotFoundError as error:
        if error.name is not None and (where == error.name or where.startswith(f"{error.name}.")):
            raise ScenarioNotFound(f"there is no module {where!r} (a file is named with its .py)") from None
        raise


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ScenarioNotFound(f"there is no file {path}")
    directory = str(path.resolve().parent)
    if directory not in sys.path:  # as for a script: it finds its neighbours
        sys.path.insert(0, directory)
    name = path.stem
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise ScenarioNotFound(f"{path} is no Python file")
    module = importlib.util.module_from_spec(specification)
    module.__dict__["_scenario_file"] = str(path)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module
