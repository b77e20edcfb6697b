"""The service that an operator's options describe: made and started so that each mistake is told in one line."""

from __future__ import annotations

import atexit
import codecs
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from twisted.application.service import MultiService
from twisted.internet.abstract import isIPv6Address
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.internet.selectreactor import SelectReactor
from twisted.python.failure import Failure
from twisted.python.util import runAsEffectiveUser

from netlayer.errors import ConfigurationError, ListenError
from netlayer.net.strangers import OTHER_FILES
from netlayer.script.monotonic import run_on_monotonic_time
from netlayer.services import BootstrapService, PeerService
from netlayer.storage.bindings.file import BINDINGS_FILE, require_openable
from netlayer.storage.data_directory import DataDirectory
from netlayer.storage.identity import Identity
from netlayer.tap.options import NodeOptions

__all__ = ["OperatedService", "make_service"]

T = TypeVar("T")

#: The select reactor can't see files with higher numbers.
SELECTABLE_FILES = 1024


def make_service(options: NodeOptions, reactor: Any, kind: type[PeerService]) -> OperatedService:
    """Return the service that options describe.

    It is called before the process becomes a daemon and before it gives up its privileges, so whatever can go wrong
    should go wrong here: later a daemon's parent can say little about it.

    :param kind: PeerService or BootstrapService.
    :raises SystemExit: with one line that says what is wrong.
    """
    run_on_monotonic_time(reactor)
    codecs.lookup("idna")  # Python loads it for the first host name; the user of --uid may not be able to read it
    parent = getattr(options, "parent", None) or {}
    try:
        data_dir = _data_directory(options["data-dir"], parent.get("uid"), parent.get("gid"))
        bindings = data_dir.path / BINDINGS_FILE if data_dir is not None else None
        if bindings is not None and issubclass(kind, BootstrapService) and bindings.exists():
            look = partial(require_openable, bindings, network=options["network"])
            _as_user(parent.get("uid"), parent.get("gid"), look)
        service = kind(
            reactor,
            node_id=options["id"],
            listen=options["listen"],
            bootstraps=options["bootstraps"],
            peers=options["peers"],
            protocol=options["protocol"],
            advertise=options["advertise"],
            settings=options["settings"],
            data_dir=data_dir,
            network=options["network"],
            network_secret=options["secrets"],
            allowlist=options["allowlist"],
        )
        _try_to_listen(options["listen"])
    except (ConfigurationError, ListenError) as error:
        raise options.mistake(error) from None
    _prepare_for_links(service, reactor)
    return OperatedService(service, options, reactor, daemon=not parent.get("nodaemon", True))


class OperatedService(MultiService):
    """A node under ``twistd`` or ``twist``: a start that fails ends the process with one clear line.

    :param daemon: whether the process will have become a daemon. Its parent waits for news, and hangs on SystemExit.
    """

    def __init__(self, service: PeerService, options: NodeOptions, reactor: Any, *, daemon: bool) -> None:
        super().__init__()
        self.node = service
        self._options = options
        self._reactor = reactor
        self._daemon = daemon
        service.setServiceParent(self)

    def privilegedStartService(self) -> None:
        """Bind the address, while the process still may."""
        try:
            super().privilegedStartService()
        except (ListenError, ConfigurationError) as error:
            raise self._end(error) from None

    def startService(self) -> None:
        """Start the node; ``twist`` begins here."""
        if not self._daemon and self.node.listening is None:
            self.privilegedStartService()
        super().startService()
        if isinstance(self.node.start_error, ConfigurationError):  # that what it keeps can't be opened shows only now
            raise self._end(self.node.start_error)
        _ = self.node.when_stopped().addCallback(lambda _: self._reactor.callLater(0, self._end_with_node))

    def _end(self, error: Exception) -> BaseException:
        """Return what ends the process, and tells why, if it is raised while the process starts."""
        mistake = self._options.mistake(error)
        if not self._daemon:
            return mistake
        # twistd tells the daemon's parent, removes the pid file and lets the error end the process.
        sys.excepthook = lambda kind, reason, traceback: print(reason, file=sys.stderr)
        return RuntimeError(mistake.code)

    def _end_with_node(self) -> None:
        """End the process if the start has failed after all, which the log has told; who watches over it shall know."""
        if self.node.start_error is not None and self.running:
            atexit.register(_exit_as_failed)
            self._reactor.stop()


def _exit_as_failed() -> None:
    """End with exit code 1 a process that is ending: nothing that Twisted runs in its reactor can ask it for that."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(1)


def _prepare_for_links(service: PeerService, reactor: Any) -> None:
    """Have files enough for the links of a node, which are more than systems allow by default; or warn."""
    settings = service.factory.settings
    wanted = settings.max_connections + settings.max_handshakes + OTHER_FILES
    allowed = _allow_files(wanted, reactor)
    if allowed < wanted:
        service.factory.log.warn(
            "this process may have {allowed} files open, and max_connections and max_handshakes ask for {wanted}",
            allowed=allowed,
            wanted=wanted,
        )


def _allow_files(wanted: int, reactor: Any) -> int:
    """Let this process open so many files, as far as the system and the reactor allow; return how many that are."""
    try:
        import resource
    except ImportError:  # on Windows, where there is no such limit
        return wanted
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = (wanted if limit == resource.RLIM_INFINITY else limit for limit in limits)
    most = min(hard, SELECTABLE_FILES) if isinstance(reactor, SelectReactor) else hard
    if soft < min(wanted, most):
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, most), limits[1]))
            return min(wanted, most)
    return min(soft, most)


def _data_directory(data_dir: str | None, uid: int | None, gid: int | None) -> DataDirectory | None:
    """Return a data directory, locked, which belongs to the user that the process will become.

    In the directory everything is done as that user: what they may have planted there makes root do nothing.

    :param uid: of that user; None if it stays the one it is.
    :param gid: of its group; None for the user's own.
    """
    if uid is not None and os.geteuid() not in (0, uid):
        raise ConfigurationError(f"--uid: to become the user with the uid {uid}, start it as root")
    if data_dir is None:
        return None
    if uid is None or uid == os.geteuid():
        return DataDirectory.open(data_dir)
    if gid is None:
        gid = _group_of(uid)
    directory = Path(data_dir)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700)
            os.chown(directory, uid, gid, follow_symlinks=False)
        Identity.generate()  # loads what cryptography loads late; that user may not be able to read it
        return _as_user(uid, gid, DataDirectory.open, data_dir)
    except OSError as error:
        raise ConfigurationError(f"data directory {data_dir!r}: {error.strerror or error}") from None
    except ConfigurationError as error:
        raise ConfigurationError(f"{error} (as the user with the uid {uid})") from None


def _as_user(uid: int | None, gid: int | None, call: Callable[..., T], *arguments: Any) -> T:
    """Call something as the user that the process will become."""
    if uid is None or uid == os.geteuid():
        return call(*arguments)
    done: T = runAsEffectiveUser(uid, _group_of(uid) if gid is None else gid, call, *arguments)
    return done


def _group_of(uid: int) -> int:
    import pwd  # there is none on Windows, nor --uid

    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        raise ConfigurationError(f"--uid: no user has the uid {uid}, so its group has to be given by --gid") from None


class _Trial:
    """A reactor by which a server endpoint finds out whether it may listen, and no more."""

    def listenTCP(self, port: int, factory: object, backlog: int = 50, interface: str = "") -> None:
        """Bind as Twisted's reactors do, and let go."""
        ipv6 = isIPv6Address(interface)
        try:
            with socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET) as trial:
                if os.name == "posix":
                    trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                trial.bind(socket.getaddrinfo(interface, port)[0][4] if ipv6 else (interface, port))
        except OSError as error:
            raise CannotListenError(interface, port, error) from None


def _try_to_listen(where: str) -> None:
    """Find out whether an address is free, if that can be done without taking it.

    :raises ListenError: when it is not.
    """

    failures: list[Failure] = []
    _ = maybeDeferred(serverFromString(_Trial(), where).listen, Factory()).addErrback(failures.append)
    for error in [failure.value for failure in failures]:
        if isinstance(error, CannotListenError):  # other endpoints than tcp can't be tried
            raise ListenError(where, error.socketError.strerror or str(error.socketError))
