"""The options that ``twistd netlayer-node`` and ``twistd netlayer-bootstrap`` share, and their help."""

from __future__ import annotations

import os
import sys
import textwrap
import traceback
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from getopt import GetoptError, getopt
from importlib.metadata import version
from typing import Any, ClassVar, NoReturn

import attrs
from twisted.python import reflect, usage

from netlayer.addresses import Address, parse_address, parse_node_id
from netlayer.config import Settings
from netlayer.errors import ConfigurationError
from netlayer.peer import PeerProtocol
from netlayer.storage.admission import read_secrets

__all__ = ["NodeOptions"]


def _option(setting: str) -> str:
    return setting.replace("_", "-")


class NodeOptions(usage.Options):
    """Options of a node. A mistake ends the process with exit code 1 and one line that names the value.

    :cvar command: what the command is called.
    :cvar default_settings: the settings of a node whose operator has given none.
    """

    command: ClassVar[str]
    longdesc: ClassVar[str]
    default_settings: ClassVar[Settings] = Settings()

    synopsis = "--id ID [options]"
    optParameters: ClassVar[list[list[Any]]] = [
        ["id", "i", None, "The id of this node: a whole number from 0 up that no other node has. Required."],
        ["listen", "l", "tcp:0:interface=127.0.0.1", "Where to listen; without it, at a free port of 127.0.0.1."],
        ["network", None, "default", "The name of the network; nodes of another one are refused. Default: default."],
        [
            "data-dir",
            "d",
            None,
            "The directory of this node's key. It is made if need be, and belongs to the user of --uid. Without it "
            "the node has a new key after each start.",
        ],
        [
            "secret-file",
            None,
            None,
            "A file of the network's secret, which only its user can read: one in each line, up to four; all are "
            "accepted and the first is proven. 'netlayer secret' makes one.",
        ],
        ["allowlist", None, None, "A file of the nodes that may link, a line of 'ID sha256:FINGERPRINT' each."],
        ["advertise", None, None, "The address that others dial, if it is not the one listened at."],
        [
            "protocol",
            "p",
            None,
            "The application's subclass of netlayer.PeerProtocol, as package.module.Class, from the Python path or "
            "the working directory.",
        ],
        *([_option(field.name), None, None, field.metadata["what"]] for field in attrs.fields(Settings)),
    ]
    compData = usage.Completions(
        optActions={
            "data-dir": usage.CompleteDirs(),
            "secret-file": usage.CompleteFiles(),
            "allowlist": usage.CompleteFiles(),
        }
    )

    #: What the help shows first, in this order, each with the kind of its value.
    _shown: ClassVar[dict[str, str]] = {
        "id": "ID",
        "listen": "WHERE",
        "bootstrap": "WHERE",
        "peer": "WHERE",
        "network": "NAME",
        "data-dir": "DIRECTORY",
        "secret-file": "FILE",
        "allowlist": "FILE",
        "advertise": "HOST:PORT",
        "protocol": "CLASS",
        "help": "",
        "version": "",
    }

    def __init__(self) -> None:
        super().__init__()
        self["bootstraps"] = []
        self["peers"] = []

    # ---- the options that are no plain parameters

    def opt_bootstrap(self, where: str) -> None:
        """A bootstrap node to register with, such as tcp:127.0.0.1:8000. May be repeated."""
        self["bootstraps"].append(where)

    opt_b = opt_bootstrap

    def opt_peer(self, where: str) -> None:
        """A peer to stay linked to, whatever the bootstrap nodes say. May be repeated."""
        self["peers"].append(where)

    def opt_version(self) -> NoReturn:
        """Display the versions of netlayer and Twisted, and exit."""
        print(f"netlayer {version('netlayer')}, Twisted {version('twisted')}")
        raise SystemExit(0)

    # ---- Twisted's callbacks

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse the command line.

        :raises SystemExit: with one line that says what is wrong. For a usage error ``twistd`` would print all its
            help before that line.
        """
        try:
            self._refuse_repeated(options)
            super().parseOptions(options)
        except (usage.UsageError, ConfigurationError) as error:
            raise self.mistake(error) from None

    def parseArgs(self, *arguments: str) -> None:
        """Refuse what is no option."""
        if arguments:
            raise usage.UsageError(f"{arguments[0]!r} is no option")

    def postOptions(self) -> None:
        """Turn texts into values. What a node checks anyway is left to it, as it is made before anything starts."""
        if self["id"] is None:
            raise usage.UsageError("--id is required: a whole number that no other node of the network has")
        self["id"] = parse_node_id(self["id"])
        if self["advertise"] is not None:
            self["advertise"] = _host_and_port(self["advertise"])
        self["secrets"] = read_secrets(self["secret-file"]) if self["secret-file"] is not None else None
        self["settings"] = self._settings()
        if self["protocol"] is not None:
            self["protocol"] = _protocol_class(self["protocol"])

    def getUsage(self, width: int | None = None) -> str:
        """Return the help: what the command is for, its options, and the settings with units and defaults."""
        width = width if width is not None else int(os.environ.get("COLUMNS", "80"))
        shorts = {long: short for short, long in self.synonyms.items() if len(short) == 1}
        options = [
            (f"-{shorts[name]}, " if name in shorts else "    ", name, kind, self.docs[name])
            for name, kind in self._shown.items()
        ]
        settings = [
            (
                "    ",
                _option(field.name),
                field.metadata["unit"].upper(),
                f"{field.metadata['what']} {self._default(field)}",
            )
            for field in attrs.fields(Settings)
        ]
        about = (
            "WHERE is an endpoint string of Twisted's. To listen: tcp:PORT:interface=127.0.0.1, "
            "tcp6:PORT:interface=\\:\\:1, or systemd:domain=INET:index=0 for a socket that systemd has opened. To "
            "dial: tcp:HOST:PORT."
        )
        return "\n".join(
            [
                "\n" + textwrap.fill(self.longdesc, width),
                "\nOptions:",
                *_columns(options, width),
                "",
                textwrap.fill(about, width),
                "\nSettings, with their defaults, which suit most networks:",
                *_columns(settings, width),
                "",
            ]
        )

    # ---- private

    def _refuse_repeated(self, options: Sequence[str] | None) -> None:
        """Refuse what is given twice and has one value."""
        with suppress(GetoptError):  # which is told when the options are parsed
            given, _ = getopt(list(options if options is not None else sys.argv[1:]), self.shortOpt, self.longOpt)
            names = [self.synonyms.get(option.lstrip("-")) for option, _ in given]
            several = [name for name, count in Counter(names).items() if count > 1 and name in self.defaults]
            if several:
                raise usage.UsageError(f"--{several[0]} is given more than once")

    def mistake(self, error: object) -> SystemExit:
        """Return the end of the process that tells what is wrong, in one line."""
        return SystemExit(f"{self.command}: {' '.join(str(error).split())}")

    def _default(self, field: attrs.Attribute[Any]) -> str:
        default = getattr(self.default_settings, field.name)
        return "[none]" if default == () else f"[{default:.16g}]"

    def _settings(self) -> Settings:
        """Return the settings that were given, and the defaults of the others."""
        given = {field.name: self._setting(field) for field in attrs.fields(Settings)}
        given = {name: value for name, value in given.items() if value is not None}
        return attrs.evolve(self.default_settings, **given)

    def _setting(self, field: attrs.Attribute[Any]) -> Any:
        """Return the value of the option of a setting, or None if it was not given."""
        given, kind = self[_option(field.name)], field.metadata["kind"]
        try:
            return kind(given) if given is not None else None
        except ConfigurationError as error:
            raise ConfigurationError(f"--{_option(field.name)}: {error}") from None
        except ValueError:
            wanted = "a whole number" if kind is int else "a number"
            raise ConfigurationError(f"--{_option(field.name)} takes {wanted}, not {given!r}") from None


def _columns(options: Iterable[tuple[str, str, str, str]], width: int) -> list[str]:
    """Return the lines that tell of options: their names, and beside them what they mean."""
    names = [(f"  {short}--{long} {kind}", text) for short, long, kind, text in options]
    column = max(len(name) for name, _ in names) + 2
    lines = []
    for name, text in names:
        first, *rest = textwrap.wrap(text.strip(), max(20, width - column))
        lines += [name.ljust(column) + first, *(" " * column + line for line in rest)]
    return lines


def _host_and_port(text: str) -> Address:
    shape = f"--advertise takes HOST:PORT, such as node.example:8001, not {text!r}"
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ConfigurationError(shape)
    try:
        return parse_address((host.removeprefix("[").removesuffix("]"), port))
    except ConfigurationError as error:
        raise ConfigurationError(f"{shape}: {error}") from None


def _protocol_class(name: str) -> type[PeerProtocol]:
    """Import the class that the operator names, as ``python -m`` imports: the working directory comes first."""
    sys.path.insert(0, os.getcwd())  # and stays there: the application may import more of itself later
    try:
        found = reflect.namedAny(name)
    except (reflect.ModuleNotFound, reflect.ObjectNotFound):
        searched = f"on the Python path or in the working directory {os.getcwd()}"
        module = name.partition(".")[0]
        raise usage.UsageError(f"--protocol {name}: there is no module {module!r} {searched}") from None
    except Exception as error:  # whatever the application's module raises when it is imported
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename not in (__file__, reflect.__file__) and frame.line]
        where = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
        raise usage.UsageError(f"--protocol {name}: {type(error).__name__}: {error}{where}") from None
    if not (isinstance(found, type) and issubclass(found, PeerProtocol)):
        raise usage.UsageError(f"--protocol {name} is not a subclass of netlayer.PeerProtocol")
    return found
