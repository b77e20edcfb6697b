"""The data directory of a node: what outlives its process, for one process at a time."""

from __future__ import annotations

import os
import weakref
from pathlib import Path

from netlayer.errors import ConfigurationError
from netlayer.interfaces import IIdentity
from netlayer.storage.identity import IDENTITY_FILE, Identity, give_to_owner, made_directory

try:
    import fcntl
except ImportError:  # Windows, which has locks of another kind
    fcntl = None  # type: ignore[assignment]

__all__ = ["DataDirectory"]

#: The file whose lock says that a process uses the directory; the number of that process stands in it, for people.
LOCK_FILE = "lock"


class DataDirectory:
    """A directory that this process has for itself until :meth:`release`, or until it ends, in whichever way.

    The lock belongs to the open file: a process that becomes a daemon takes it along.

    :ivar path: of the directory.
    :ivar identity: the one in it, or what stands in for it.
    """

    def __init__(self, path: Path, lock: int, identity: IIdentity) -> None:
        self.path = path
        self.identity = identity
        self._lock = lock
        self._release = weakref.finalize(self, os.close, lock)

    def __repr__(self) -> str:
        return f"<DataDirectory {self.path}>"

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, identity: IIdentity | None = None) -> DataDirectory:
        """Lock a directory and read its identity; make what is missing.

        :param identity: to be used in place of the one in the directory.
        :raises ConfigurationError: when another node has it, or it or the identity can't be made or read.
        """
        directory = made_directory(path)
        lock = _locked(directory, shown=os.fspath(path))
        try:
            return cls(directory, lock, identity or Identity.load_or_create(directory / IDENTITY_FILE))
        except BaseException:
            os.close(lock)
            raise

    def note_process(self) -> None:
        """Write down which process has the directory: the one that calls, which may be a child of who has locked it."""
        _write_process(self._lock)

    def release(self) -> None:
        """Let others have the directory. Calling it again does nothing."""
        self._release()

    def leave_to_parent(self) -> None:
        """Close the lock file in a forked child: the parent holds the lock, and it ends with the parent."""
        if self._release.detach() is not None:
            os.close(self._lock)


def _locked(directory: Path, *, shown: str) -> int:
    """Return the descriptor of the lock file, locked; errors name the directory as it was given."""
    try:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        lock = os.open(directory / LOCK_FILE, flags, 0o600)
    except OSError as error:
        raise ConfigurationError(f"data directory {shown!r}: {LOCK_FILE}: {error.strerror or error}") from None
    try:
        give_to_owner(lock, directory)
        _take(lock)
        _write_process(lock)
    except BlockingIOError:
        process = os.read(lock, 20).decode("ascii", "replace").strip()
        os.close(lock)
        by = f"the process {process}" if process.isdigit() else "another process"
        if process == str(os.getpid()):
            by = f"another node of this process ({process})"
        raise ConfigurationError(f"data directory {shown!r} is in use by {by}; each node needs its own") from None
    except OSError as error:
        os.close(lock)
        raise ConfigurationError(f"data directory {shown!r} can't be locked: {error.strerror or error}") from None
    return lock


def _take(lock: int) -> None:
    """Lock a file for as long as it is open.

    :raises BlockingIOError: when somebody else has locked it.
    """
    if fcntl is not None:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike lockf's it is inherited by a daemon
        return
    import msvcrt

    try:
        os.lseek(lock, 1024, os.SEEK_SET)  # behind what is read: locks of Windows keep readers out
        msvcrt.locking(lock, msvcrt.LK_NBLCK, 1)
    except OSError:
        raise BlockingIOError from None
    finally:
        os.lseek(lock, 0, os.SEEK_SET)


def _write_process(lock: int) -> None:
    os.lseek(lock, 0, os.SEEK_SET)
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
