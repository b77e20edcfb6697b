"""The options that ``twistd netlayer-node`` and ``twistd netlayer-bootstrap`` share, and what comes of them."""

from __future__ import annotations

import os
import sys
import time
from typing import Any, ClassVar

import attrs
from twisted.application.service import MultiService
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.python import usage
from twisted.python.reflect import namedAny

from netlayer.addresses import Address, parse_address, parse_node_id
from netlayer.config import Settings
from netlayer.errors import ConfigurationError, ListenError
from netlayer.peer import PeerProtocol
from netlayer.services import PeerService

__all__ = ["NodeOptions", "OperatedService"]


def _option(setting: str) -> str:
    return setting.replace("_", "-")


class NodeOptions(usage.Options):
    """Options of a node; each mistake is told in one line that names the value."""

    optParameters: ClassVar[list[list[Any]]] = [
        ["id", "i", None, "The id of this node: a whole number, unique in the network. Required."],
        ["listen", "l", "tcp:0:interface=127.0.0.1", "Where to listen, as an endpoint string."],
        ["network", None, "default", "The name of the network. Nodes of other networks are refused."],
        ["data-dir", "d", None, "A directory for the key of this node. Without one it gets a new key at each start."],
        ["advertise", None, None, "The host:port that others dial, if it is not where this node listens."],
        ["protocol", "p", None, "The application's subclass of PeerProtocol, as package.module.Class."],
        *(
            [_option(field.name), None, field.default, f"({field.metadata['unit']}) {field.metadata['what']}"]
            for field in attrs.fields(Settings)
        ),
    ]
    compData = usage.Completions(optActions={"data-dir": usage.CompleteDirs()})

    def __init__(self) -> None:
        super().__init__()
        self["bootstraps"] = []
        self["peers"] = []

    def opt_bootstrap(self, where: str) -> None:
        """A bootstrap node to register with, as an endpoint string such as tcp:127.0.0.1:8000. Repeatable."""
        self["bootstraps"].append(_checked_endpoint(where, clientFromString, "tcp:127.0.0.1:8000"))

    opt_b = opt_bootstrap

    def opt_peer(self, where: str) -> None:
        """A peer to stay linked to whatever the bootstraps say, as an endpoint string. Repeatable."""
        self["peers"].append(_checked_endpoint(where, clientFromString, "tcp:127.0.0.1:8001"))

    def postOptions(self) -> None:
        """Check what can be checked before anything is started."""
        if self["id"] is None:
            raise usage.UsageError("--id is required: a whole number that no other node of the network has")
        try:
            self["id"] = parse_node_id(self["id"])
            _checked_endpoint(self["listen"], serverFromString, "tcp:8001:interface=127.0.0.1")
            if self["advertise"] is not None:
                self["advertise"] = _host_and_port(self["advertise"])
            self["settings"] = Settings(**{field.name: self._setting(field) for field in attrs.fields(Settings)})
        except ConfigurationError as error:
            raise usage.UsageError(str(error)) from None
        if self["protocol"] is not None:
            self["protocol"] = _protocol_class(self["protocol"])

    def _setting(self, field: attrs.Attribute[Any]) -> Any:
        """Return the value of the option of a setting."""
        given, kind = self[_option(field.name)], field.metadata["kind"]
        try:
            return kind(given)
        except ValueError:
            wanted = "a whole number" if kind is int else "a number"
            raise ConfigurationError(f"--{_option(field.name)} takes {wanted}, not {given!r}") from None

    def make_service(self, reactor: Any, kind: type[PeerService]) -> OperatedService:
        """Return the service that these options describe.

        :param kind: PeerService or BootstrapService.
        :raises SystemExit: with one line that says what is wrong.
        """
        reactor.seconds = time.monotonic  # a changed wall clock must fire no timer
        try:
            service = kind(
                reactor,
                node_id=self["id"],
                listen=self["listen"],
                bootstraps=self["bootstraps"],
                peers=self["peers"],
                protocol=self["protocol"],
                advertise=self["advertise"],
                settings=self["settings"],
                data_dir=self["data-dir"],
                network=self["network"],
            )
        except ConfigurationError as error:
            raise SystemExit(f"netlayer: {error}") from None
        parent = getattr(self, "parent", None) or {}
        return OperatedService(service, daemon=not parent.get("nodaemon", True))


class OperatedService(MultiService):
    """A node under ``twistd`` or ``twist``: a start that fails ends the process with one clear line.

    :param daemon: whether the process will have become a daemon. Its parent waits for news, and hangs on SystemExit.
    """

    def __init__(self, service: PeerService, *, daemon: bool) -> None:
        super().__init__()
        self.node = service
        self._daemon = daemon
        service.setServiceParent(self)

    def privilegedStartService(self) -> None:
        """Bind the address, while the process still may."""
        try:
            super().privilegedStartService()
        except (ListenError, ConfigurationError) as error:
            if not self._daemon:
                raise SystemExit(f"netlayer: {error}") from None
            # twistd tells the daemon's parent, removes the pid file and lets the error end the process.
            sys.excepthook = lambda kind, reason, traceback: print(reason, file=sys.stderr)
            raise RuntimeError(f"netlayer: {error}") from None

    def startService(self) -> None:
        """Start the node; ``twist`` begins here."""
        if not self._daemon and self.node.listening is None:
            self.privilegedStartService()
        super().startService()


def _checked_endpoint(where: str, parse: Any, example: str) -> str:
    try:
        parse(None, where)
    except Exception as error:  # endpoint strings raise whatever their parser stumbles over
        reason = f"{error}" if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise usage.UsageError(f"{where!r} is not an endpoint string such as {example}: {reason}") from None
    return where


def _host_and_port(text: str) -> Address:
    host, _, port = text.rpartition(":")
    try:
        return parse_address((host.removeprefix("[").removesuffix("]"), port))
    except ConfigurationError as error:
        raise ConfigurationError(f"--advertise takes host:port, not {text!r}: {error}") from None


def _protocol_class(name: str) -> type[PeerProtocol]:
    sys.path.insert(0, os.getcwd())
    try:
        found = namedAny(name)
    except Exception as error:  # whatever the application's module raises when it is imported
        raise usage.UsageError(f"--protocol {name}: {type(error).__name__}: {error}") from None
    finally:
        sys.path.remove(os.getcwd())
    if not (isinstance(found, type) and issubclass(found, PeerProtocol)):
        raise usage.UsageError(f"--protocol {name} is not a subclass of netlayer.PeerProtocol")
    return found
