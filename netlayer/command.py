"""The ``netlayer`` command: what an operator does by hand, beside the nodes that ``twistd`` runs."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from twisted.python import usage

from netlayer.errors import ConfigurationError
from netlayer.identity import IDENTITY_FILE, Identity, fingerprint_text

__all__ = ["main"]

#: Random bytes of a new secret: as hard to guess as the keys that TLS makes.
SECRET_SIZE = 32


class Command(usage.Options):
    """What all commands share."""

    def opt_version(self) -> NoReturn:
        """Display the version of netlayer, and exit."""
        print(f"netlayer {version('netlayer')}")
        raise SystemExit(0)


class SecretOptions(Command):
    """``netlayer secret``."""

    synopsis = ""
    longdesc = (
        "Print a new random secret. Put it into a file that only the nodes' user can read, the same at all nodes, and "
        "give the file to each with --secret-file:\n\n  (umask 077; netlayer secret > secret)"
    )

    def parseArgs(self, *arguments: str) -> None:
        """Take nothing."""
        if arguments:
            raise usage.UsageError(f"it takes no argument, such as {arguments[0]!r}")

    def run(self) -> None:
        """Print a secret."""
        print(secrets.token_urlsafe(SECRET_SIZE))


class IdentityOptions(Command):
    """``netlayer identity``."""

    synopsis = "DATA_DIR"
    longdesc = (
        "Print the fingerprint of the node whose data directory this is, as allowlists have it. A node makes its key "
        "at its first start; with --create this does it before."
    )
    optFlags: ClassVar[list[list[Any]]] = [["create", None, "Make the directory and the key if there are none."]]

    def parseArgs(self, *arguments: str) -> None:
        """Take the directory."""
        if len(arguments) != 1:
            raise usage.UsageError("it takes one argument, the data directory of a node")
        self["data-dir"] = arguments[0]

    def run(self) -> None:
        """Print the fingerprint."""
        directory = Path(self["data-dir"])
        if not self["create"] and not (directory / IDENTITY_FILE).exists():
            raise ConfigurationError(f"{directory} holds no {IDENTITY_FILE}; a node makes one, or --create")
        print(fingerprint_text(Identity.in_directory(directory).fingerprint))


class Options(Command):
    """All commands."""

    synopsis = "Usage: netlayer"
    longdesc = "What operators do by hand; 'netlayer COMMAND --help' tells more. Nodes are run by twistd."
    subCommands: ClassVar[list[list[Any]]] = [
        ["secret", None, SecretOptions, "Print a new network secret."],
        ["identity", None, IdentityOptions, "Print the fingerprint of a node's key."],
    ]

    def postOptions(self) -> None:
        """Ask for a command."""
        if not self.subCommand:
            raise usage.UsageError(f"name a command: {', '.join(name for name, *_ in self.subCommands)}; or --help")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command.

    :param arguments: what stands behind ``netlayer``; by default, on the command line.
    :raises SystemExit: with exit code 1 and one line that says what is wrong, for a mistake of the user's.
    """
    options = Options()
    try:
        options.parseOptions(sys.argv[1:] if arguments is None else arguments)
        options.subOptions.run()
    except (usage.UsageError, ConfigurationError) as error:
        raise SystemExit(f"netlayer: {' '.join(str(error).split())}") from None
    except BrokenPipeError:  # as of | head
        raise SystemExit(1) from None
