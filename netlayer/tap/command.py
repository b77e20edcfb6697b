"""The ``netlayer`` command: what an operator does by hand, beside the nodes that ``twistd`` runs."""

from __future__ import annotations

import datetime
import getopt
import os
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from twisted.python import usage

from netlayer.addresses import parse_node_id
from netlayer.errors import ConfigurationError
from netlayer.storage.bindings.file import BINDINGS_FILE, BindingFile, DamagedFile
from netlayer.storage.data_directory import DataDirectory
from netlayer.storage.identity import IDENTITY_FILE, Identity, fingerprint_text, parse_fingerprint
from netlayer.storage.known_peers import KNOWN_PEERS_FILE, DamagedPeers, read_known_peers, write_known_peers

__all__ = ["main"]

#: Random bytes of a new secret: as hard to guess as the keys that TLS makes.
SECRET_SIZE = 32


class Command(usage.Options):
    """What all commands share. Options may stand behind arguments."""

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse a command line."""
        if not hasattr(self, "subCommands") and options is not None:
            try:
                found, arguments = getopt.gnu_getopt(list(options), self.shortOpt, self.longOpt)
            except getopt.GetoptError as error:
                raise usage.UsageError(str(error)) from None
            options = [*(text for option in found for text in option if text), "--", *arguments]
        super().parseOptions(options)

    def opt_version(self) -> NoReturn:
        """Display the version of netlayer, and exit."""
        print(f"netlayer {version('netlayer')}")
        raise SystemExit(0)


class DirectoryCommand(Command):
    """What commands share that take a data directory."""

    owner = "a node"

    def parseArgs(self, *arguments: str) -> None:
        """Take the directory."""
        if len(arguments) != 1:
            raise usage.UsageError(f"it takes one argument, the data directory of {self.owner}")
        self.take_directory(arguments[0])

    def take_directory(self, text: str) -> None:
        """Note the data directory."""
        if not text:
            raise usage.UsageError("a data directory is a path, not ''")
        self["data-dir"] = text


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


class IdentityOptions(DirectoryCommand):
    """``netlayer identity``."""

    synopsis = "DATA_DIR"
    longdesc = (
        "Print the fingerprint of the node whose data directory this is, as allowlists have it. A node makes its key "
        "at its first start; with --create this does it before."
    )
    optFlags: ClassVar[list[list[Any]]] = [["create", None, "Make the directory and the key if there are none."]]

    def run(self) -> None:
        """Print the fingerprint."""
        directory = Path(self["data-dir"])
        if not self["create"] and not (directory / IDENTITY_FILE).exists():
            raise ConfigurationError(f"{directory} holds no {IDENTITY_FILE}; a node makes one, or --create")
        print(fingerprint_text(Identity.in_directory(directory).fingerprint))


class BindingsOptions(DirectoryCommand):
    """``netlayer bindings``."""

    synopsis = "DATA_DIR"
    longdesc = (
        "Print which key holds which id for good, by the bootstrap node whose data directory this is: an id, the "
        "fingerprint and since when, in each line; which keys are banned; and which were replaced. The bootstrap node "
        "may run meanwhile; it notices changes within some seconds."
    )
    optParameters: ClassVar[list[list[Any]]] = [
        ["remove", None, None, "End the binding of this id: whoever registers with it next has it."],
    ]
    owner = "a bootstrap node"

    def postOptions(self) -> None:
        """Turn texts into values."""
        if self["remove"] is not None:
            self["remove"] = parse_node_id(self["remove"])

    def run(self) -> None:
        """Print all bindings, or end one."""
        with bindings_of(self["data-dir"]) as file:
            if self["remove"] is None:
                holdings = file.holdings()
                for binding in holdings.bindings:
                    since = datetime.datetime.fromtimestamp(binding.issued, datetime.timezone.utc)
                    print(f"{binding.node_id} {fingerprint_text(binding.fingerprint)} {since:%Y-%m-%dT%H:%M:%SZ}")
                for fingerprint in holdings.banned:
                    print(f"banned {fingerprint_text(fingerprint)}")
                for former, fingerprint in holdings.successions:
                    print(f"replaced {fingerprint_text(former)} by {fingerprint_text(fingerprint)}")
                return
            ended = file.end(self["remove"], now=int(time.time()))
        if ended is None:
            raise ConfigurationError(f"no key holds the id {self['remove']} for good")
        print(f"{ended.node_id} is free; it was that of {fingerprint_text(ended.fingerprint)}")


class BanOptions(DirectoryCommand):
    """``netlayer ban``."""

    synopsis = "DATA_DIR KEY"
    longdesc = (
        "Keep a key out: the bootstrap node whose data directory this is ends its link within some seconds, and "
        "refuses it from then on. KEY is a fingerprint, sha256:..., or the id that it holds for good. The id stays "
        "bound to it. Links between other nodes are not touched."
    )
    optFlags: ClassVar[list[list[Any]]] = [["lift", None, "Let it in again."]]

    def parseArgs(self, *arguments: str) -> None:
        """Take the directory and the key."""
        if len(arguments) != 2:
            raise usage.UsageError("it takes two arguments, the data directory of a bootstrap node and a key or an id")
        self.take_directory(arguments[0])
        self["key"] = arguments[1]

    def run(self) -> None:
        """Ban a key, or let it in again."""
        with bindings_of(self["data-dir"]) as file:
            fingerprint = self._fingerprint(file)
            changed = file.lift(fingerprint) if self["lift"] else file.ban(fingerprint)
        state = "not banned" if self["lift"] else "banned"
        print(f"{fingerprint_text(fingerprint)} is {state}{'' if changed else ', as it was before'}")

    def _fingerprint(self, file: BindingFile) -> bytes:
        text: str = self["key"]
        if text.startswith("sha256:"):
            return parse_fingerprint(text)
        node_id = parse_node_id(text)
        for binding in file.holdings().bindings:
            if binding.node_id == node_id:
                return binding.fingerprint
        raise ConfigurationError(f"no key holds the id {node_id} for good")


@contextmanager
def bindings_of(data_dir: str) -> Iterator[BindingFile]:
    """Open the file of bindings in a data directory.

    :raises ConfigurationError: when there is none, or it is damaged.
    """
    path = Path(data_dir) / BINDINGS_FILE
    if not path.exists():
        raise ConfigurationError(f"{data_dir} holds no {BINDINGS_FILE}; bootstrap nodes make one")
    try:
        file = BindingFile(path, network=None)
        try:
            yield file
        finally:
            file.close()
    except DamagedFile as error:
        raise ConfigurationError(f"{path} is damaged: {error}") from None


class KnownOptions(DirectoryCommand):
    """``netlayer known``."""

    synopsis = "DATA_DIR"
    longdesc = (
        "Print the keys that the node whose data directory this is has met: an id or an address and the fingerprint, "
        "in each line. The node links to nobody else under that id, or at that address."
    )
    optParameters: ClassVar[list[list[Any]]] = [
        [
            "forget",
            None,
            None,
            "Forget the key of this id or address, and all else known of it. The node must not run.",
        ],
    ]

    def run(self) -> None:
        """Print what is known, or forget a part of it."""
        directory = Path(self["data-dir"])
        if not (directory / IDENTITY_FILE).exists():
            raise ConfigurationError(f"{directory} holds no {IDENTITY_FILE}; nodes make one")
        path = directory / KNOWN_PEERS_FILE
        try:
            if self["forget"] is not None:
                self._forget(directory, path)
                return
            for entries in read_known_peers(path).values():
                for who, key in entries.items():
                    print(f"{who} {fingerprint_text(key)}")
        except DamagedPeers as error:
            raise ConfigurationError(f"{path} is damaged: {error}") from None

    def _forget(self, directory: Path, path: Path) -> None:
        held = DataDirectory.open(directory)
        try:
            networks = read_known_peers(path)
            text: str = self["forget"]
            keys = {key for entries in networks.values() for who, key in entries.items() if str(who) == text}
            if not keys:
                raise ConfigurationError(f"nothing is known of {text}")
            left = {
                network: {who: key for who, key in entries.items() if key not in keys}
                for network, entries in networks.items()
            }
            write_known_peers(path, left)
        except OSError as error:
            raise ConfigurationError(f"{path}: {error.strerror or error}") from None
        finally:
            held.release()
        for key in keys:
            print(f"{fingerprint_text(key)} is forgotten")


class RotateOptions(DirectoryCommand):
    """``netlayer rotate``."""

    synopsis = "DATA_DIR"
    longdesc = (
        "Put a new key in the place of the one of the node whose data directory this is, and destroy that one. Both "
        "sign that, and the node shows it from its next start on: it keeps its id, and those who know it by the "
        "former key believe the new one. The node must not run. Lists of who may link have to be changed by hand."
    )

    def run(self) -> None:
        """Replace the key."""
        directory = Path(self["data-dir"])
        path = directory / IDENTITY_FILE
        if not path.exists():
            raise ConfigurationError(f"{directory} holds no {IDENTITY_FILE}; nodes make one")
        held = DataDirectory.open(directory)
        try:
            former, new = Identity.replace(path)
        finally:
            held.release()
        print(f"{fingerprint_text(former.fingerprint)} is replaced by {fingerprint_text(new.fingerprint)}")


class Options(Command):
    """All commands."""

    synopsis = "Usage: netlayer"
    longdesc = "What operators do by hand; 'netlayer COMMAND --help' tells more. Nodes are run by twistd."
    subCommands: ClassVar[list[list[Any]]] = [
        ["secret", None, SecretOptions, "Print a new network secret."],
        ["identity", None, IdentityOptions, "Print the fingerprint of a node's key."],
        ["bindings", None, BindingsOptions, "Print which key holds which id, or free an id."],
        ["known", None, KnownOptions, "Print the keys that a node has met, or forget one."],
        ["ban", None, BanOptions, "Keep a key out."],
        ["rotate", None, RotateOptions, "Put a new key in the place of a node's key."],
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
        sys.stdout.flush()
    except (usage.UsageError, ConfigurationError) as error:
        raise SystemExit(f"netlayer: {' '.join(str(error).split())}") from None
    except BrokenPipeError:  # as of | head
        raise SystemExit(1) from None
    except OSError as error:
        what = f"{os.fspath(error.filename)}: " if isinstance(error.filename, (str, os.PathLike)) else ""
        raise SystemExit(f"netlayer: {what}{error.strerror or error}") from None
