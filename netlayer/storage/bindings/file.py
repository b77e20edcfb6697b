"""A file of bindings: SQLite, in which a change is durable when it is made, and damage is noticed.

SQLite finds torn writes, but neither every changed bit nor a log whose end is gone. So each row has a checksum, all of
them have one together, and a mark beside the file says how many changes it has to have seen at least.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from netlayer.errors import ConfigurationError, NetlayerError
from netlayer.sansio.bootstrap.registry import Binding, Holdings
from netlayer.sansio.trust.tickets import MAX_SIGNERS, key_fingerprint

__all__ = ["BINDINGS_FILE", "BindingFile", "DamagedFile", "WantedBinding", "move_aside", "require_openable"]

#: The name of the file in the data directory of a bootstrap node.
BINDINGS_FILE = "bindings.sqlite"
#: Seconds to wait for another process that writes; each change takes some 10 ms.
BUSY = 2.0

_SCHEMA = (
    "CREATE TABLE about (one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL, name TEXT NOT NULL, "
    "network TEXT NOT NULL, changes INTEGER NOT NULL, rows BLOB NOT NULL, digest BLOB NOT NULL)",
    "CREATE TABLE banned (fingerprint BLOB PRIMARY KEY, digest BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE bindings (node_id INTEGER PRIMARY KEY, fingerprint BLOB NOT NULL UNIQUE, issued INTEGER NOT NULL, "
    "digest BLOB NOT NULL)",
    "CREATE TABLE ended (node_id INTEGER PRIMARY KEY, at INTEGER NOT NULL, digest BLOB NOT NULL)",
    "CREATE TABLE signers (number INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, digest BLOB NOT NULL)",
    "CREATE TABLE successions (former BLOB PRIMARY KEY, fingerprint BLOB NOT NULL UNIQUE, digest BLOB NOT NULL) "
    "WITHOUT ROWID",
)
_VERSION = 2
#: The last table came with version 2.
_SCHEMA_1 = _SCHEMA[:-1]
_COLUMNS = {
    "banned": ("fingerprint",),
    "bindings": ("node_id", "fingerprint", "issued"),
    "ended": ("node_id", "at"),
    "signers": ("number", "key"),
    "successions": ("former", "fingerprint"),
}
#: What SQLite says when something is in the way and nothing is wrong with the file.
_IN_THE_WAY = ("database is locked", "attempt to write", "unable to open", "database or disk is full", "disk I/O error")


class DamagedFile(NetlayerError):
    """A file of bindings does not hold what was written to it."""


class WantedBinding(NamedTuple):
    """What a binding is asked for with.

    :ivar replacing: the fingerprint of a holder that loses the id.
    :ivar formers: the keys that the new one is in the place of, the oldest first.
    """

    binding: Binding
    replacing: bytes | None = None
    formers: tuple[bytes, ...] = ()


class _About(NamedTuple):
    """What a file tells of itself: for each change there is another one."""

    version: int
    name: str
    network: str
    changes: int
    rows: bytes  # the digests of all rows, combined


def require_openable(path: Path, *, network: str) -> None:
    """Find out, at little cost, whether a file of bindings can be opened and is a network's.

    That it is damaged shows when it is read as a whole.

    :raises ConfigurationError: when it can't, or is another network's.
    """
    try:
        with closing(sqlite3.connect(path, timeout=BUSY)) as database:
            found = database.execute("SELECT network FROM about").fetchone()
    except sqlite3.Error as error:
        if "unable to open" in str(error):
            raise ConfigurationError(f"file of bindings {path}: {error}") from None
        return
    if found is not None and found[0] != network:
        raise _another_network(path, found[0])


def _another_network(path: Path, network: str) -> ConfigurationError:
    return ConfigurationError(f"file of bindings {path} is that of the network {network!r}")


class BindingFile:
    """An open file of bindings. Several may be open at once, in one process or in several.

    :param path: of the file; made if there is none.
    :param network: whose bindings it has to hold; None for whichever it does.
    :raises DamagedFile: when it does not hold what was written.
    :raises ConfigurationError: when it can't be read and written, or is another network's.
    """

    def __init__(self, path: str | os.PathLike[str], *, network: str | None) -> None:
        self.path = Path(path)
        self._mark = self.path.with_name(f"{self.path.name}-mark")
        self._seen: int | None = None
        self._sum = bytes(32)  # during a change, of the rows as they are
        is_new = not self.path.exists()
        if is_new and network is None:
            raise ConfigurationError(f"there is no file of bindings {path}")
        try:
            if is_new:  # SQLite would let everybody read it
                os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600))
            # The thread that commits is not always the same; whoever has an object uses it in one at a time.
            self._database = sqlite3.connect(self.path, timeout=BUSY, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(f"file of bindings {path}: {getattr(error, 'strerror', None) or error}") from None
        try:
            with self._errors():
                self._open(network)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    # ---- reading

    def holdings(self) -> Holdings:
        """Return all that the file holds.

        :raises DamagedFile: when that is not what was written.
        """
        with self._errors(), self._transaction("DEFERRED"):
            self._seen = self._data_version()
            return self._read()

    def changes(self) -> Holdings | None:
        """Return all that the file holds if another object has changed it since it was read; else None."""
        with self._errors():
            if self._data_version() == self._seen:
                return None
        return self.holdings()

    # ---- writing: each method returns when the change is durable

    def bind(self, wanted: Iterable[WantedBinding], *, now: int) -> list[Binding]:
        """Give ids to keys, as :meth:`netlayer.interfaces.IBindingStore.bind` does, all in one change.

        :param now: the time of day, in seconds since 1970.
        :returns: for each of them, the binding that is in effect.
        """
        with self._change():
            return [self._bind(each, now) for each in wanted]

    def end(self, node_id: int, *, now: int) -> Binding | None:
        """End a binding, so that the id is free; return it, or None if there was none."""
        with self._change():
            return self._end(node_id, now)

    def ban(self, fingerprint: bytes) -> bool:
        """Keep a key out from now on; return whether it was not kept out before."""
        with self._change():
            if self._row("banned", "fingerprint", fingerprint) is not None:
                return False
            self._insert("banned", fingerprint)
            return True

    def lift(self, fingerprint: bytes) -> bool:
        """Keep a key out no longer; return whether it was kept out."""
        with self._change():
            return self._delete("banned", "fingerprint", fingerprint)

    def add_signer(self, key: bytes, *, formers: tuple[bytes, ...] = ()) -> None:
        """Note the public key of a bootstrap node that uses the file.

        :param formers: the fingerprints of the keys in whose place it is, which are removed.
        """
        with self._change():
            for number, former in self._rows("signers"):
                if key_fingerprint(former) in formers:
                    self._delete("signers", "number", number)
            rows = self._rows("signers")
            if key in [row[1] for row in rows]:
                return
            for number, _ in rows[: max(0, len(rows) + 1 - MAX_SIGNERS)]:
                self._delete("signers", "number", number)
            self._insert("signers", rows[-1][0] + 1 if rows else 1, key)

    # ---- private: opening

    def _open(self, network: str | None) -> None:
        self._database.execute("PRAGMA journal_mode = WAL").fetchone()
        self._database.execute("PRAGMA synchronous = FULL")
        schema = self._schema()
        if not schema:
            self._create(network)
        elif schema == _SCHEMA_1:
            self._upgrade()
        (found,) = self._database.execute("PRAGMA integrity_check(1)").fetchone()  # quick_check, and the indices
        if found != "ok":
            raise DamagedFile(str(found))
        if self._schema() != _SCHEMA:
            raise DamagedFile("its tables are not those that it was made with")
        self.holdings()
        about = self._about()
        if network is not None and about.network != network:
            raise _another_network(self.path, about.network)
        marked = self._read_mark()
        if marked is not None and marked[0] == about.name and marked[1] > about.changes:
            raise DamagedFile(f"it has seen {about.changes} changes, and its mark says that there were {marked[1]}")
        if marked != (about.name, about.changes):
            self._write_mark(about)

    def _schema(self) -> tuple[str, ...]:
        rows = self._database.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
        return tuple(row[0] for row in rows)

    def _create(self, network: str | None) -> None:
        if self._mark.exists():
            raise DamagedFile("it is gone or empty, and its mark is there")
        if network is None:
            raise ConfigurationError(f"file of bindings {self.path} is empty")
        with self._transaction("IMMEDIATE"):
            if self._schema():  # another process was quicker
                return
            for statement in _SCHEMA:
                self._database.execute(statement)
            self._write_about(_About(_VERSION, secrets.token_hex(8), network, 0, bytes(32)))

    def _upgrade(self) -> None:
        """Add what version 2 has; it is a change like others, by which those who have the file open notice it."""
        with self._transaction("IMMEDIATE"):
            if self._schema() == _SCHEMA_1:
                about = self._about(version=1)
                self._database.execute(_SCHEMA[-1])
                self._write_about(about._replace(version=_VERSION, changes=about.changes + 1))

    # ---- private: rows and their checksums

    def _about(self, *, version: int = _VERSION) -> _About:
        found = self._database.execute("SELECT version, name, network, changes, rows, digest FROM about").fetchall()
        if len(found) != 1 or found[0][-1] != _digest("about", found[0][:-1]):
            raise DamagedFile("what it tells of itself is not what was written")
        about = _About(*found[0][:-1])
        if about.version != version:
            raise ConfigurationError(f"file of bindings {self.path} is of version {about.version}; this is {_VERSION}")
        return about

    def _write_about(self, about: _About) -> None:
        row = (about.version, about.name, about.network, about.changes, about.rows)
        self._database.execute(
            "INSERT OR REPLACE INTO about VALUES (1, ?, ?, ?, ?, ?, ?)", (*row, _digest("about", row))
        )

    def _read(self) -> Holdings:
        """Read everything, and compare the checksums."""
        rows = bytes(32)
        found: dict[str, list[Any]] = {table: [] for table in _COLUMNS}
        for table, columns in _COLUMNS.items():
            for *row, digest in self._database.execute(f"SELECT {', '.join(columns)}, digest FROM {table} ORDER BY 1"):
                if digest != _digest(table, row):
                    raise DamagedFile(f"a row of {table} is not what was written")
                rows = _combined(rows, digest)
                found[table].append(row)
        if rows != self._about().rows:
            raise DamagedFile("rows are missing, or there are more than were written")
        return Holdings(
            tuple(Binding(*row) for row in found["bindings"]),
            tuple((node_id, at) for node_id, at in found["ended"]),
            tuple(fingerprint for (fingerprint,) in found["banned"]),
            tuple(key for _, key in found["signers"]),
            tuple((former, key) for former, key in found["successions"]),
        )

    def _rows(self, table: str) -> list[Any]:
        return self._database.execute(f"SELECT {', '.join(_COLUMNS[table])} FROM {table} ORDER BY 1").fetchall()

    def _row(self, table: str, column: str, value: object) -> list[Any] | None:
        """Return the one row with a value in a column, or None."""
        select = f"SELECT {', '.join(_COLUMNS[table])}, digest FROM {table} WHERE {column} = ?"
        found = self._database.execute(select, (value,)).fetchone()
        if found is None:
            return None
        row, digest = list(found[:-1]), found[-1]
        if digest != _digest(table, row):
            raise DamagedFile(f"a row of {table} is not what was written")
        return row

    def _insert(self, table: str, *row: object) -> None:
        digest = _digest(table, row)
        places = ", ".join("?" * (len(row) + 1))
        self._database.execute(f"INSERT INTO {table} VALUES ({places})", (*row, digest))
        self._sum = _combined(self._sum, digest)

    def _delete(self, table: str, column: str, value: object) -> bool:
        row = self._row(table, column, value)
        if row is None:
            return False
        self._database.execute(f"DELETE FROM {table} WHERE {column} = ?", (value,))
        self._sum = _combined(self._sum, _digest(table, row))
        return True

    # ---- private: changes

    def _bind(self, wanted: WantedBinding, now: int) -> Binding:
        binding = wanted.binding
        row = self._row("bindings", "node_id", binding.node_id)
        holder = Binding(*row) if row is not None else None
        if holder is not None and holder.fingerprint not in (binding.fingerprint, wanted.replacing):
            return holder
        for former, fingerprint in pairwise((*wanted.formers, binding.fingerprint)):
            self._succeed(former, fingerprint)
        for fingerprint in (*wanted.formers, binding.fingerprint):
            other = self._row("bindings", "fingerprint", fingerprint)
            if other is not None and other[0] != binding.node_id:
                self._end(other[0], now)
        if holder is not None and holder.fingerprint == binding.fingerprint:
            return holder
        self._delete("bindings", "node_id", binding.node_id)
        self._insert("bindings", binding.node_id, binding.fingerprint, binding.issued)
        return binding

    def _succeed(self, former: bytes, fingerprint: bytes) -> None:
        """Note that a key was replaced, unless something else was noted first."""
        if (
            self._row("successions", "former", former) is None
            and self._row("successions", "fingerprint", fingerprint) is None
        ):
            self._insert("successions", former, fingerprint)

    def _end(self, node_id: int, now: int) -> Binding | None:
        row = self._row("bindings", "node_id", node_id)
        if row is None:
            return None
        self._delete("bindings", "node_id", node_id)
        self._delete("ended", "node_id", node_id)
        self._insert("ended", node_id, max(now, row[2]))
        return Binding(*row)

    @contextmanager
    def _change(self) -> Iterator[None]:
        """Make one change of what is done inside, or none if it fails; it is durable at the end."""
        with self._errors():
            with self._transaction("IMMEDIATE"):
                about = self._about()
                self._sum = about.rows
                yield
                changed = self._sum != about.rows
                if changed:
                    about = _About(about.version, about.name, about.network, about.changes + 1, self._sum)
                    self._write_about(about)
            if changed:
                self._write_mark(about)

    @contextmanager
    def _transaction(self, kind: str) -> Iterator[None]:
        self._database.execute(f"BEGIN {kind}")
        try:
            yield
        except BaseException:
            with suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Say by the kind of the error whether the file is damaged, or something is in the way."""
        try:
            yield
        except sqlite3.Error as error:
            if str(error).startswith(_IN_THE_WAY):
                raise ConfigurationError(f"file of bindings {self.path}: {error}") from None
            raise DamagedFile(str(error)) from None
        except OSError as error:
            raise ConfigurationError(f"file of bindings {self.path}: {error.strerror or error}") from None

    def _data_version(self) -> int:
        (version,) = self._database.execute("PRAGMA data_version").fetchone()
        return int(version)

    # ---- private: the mark

    def _read_mark(self) -> tuple[str, int] | None:
        """Return what the mark says, or None if it is missing or damaged."""
        try:
            name, changes, digest = self._mark.read_text("ascii").split()
            if digest == _mark_digest(name, changes):
                return name, int(changes)
        except (FileNotFoundError, ValueError):
            pass
        return None

    def _write_mark(self, about: _About) -> None:
        """Note how many changes are durable. The mark itself need not be: it only must never say too much."""
        changes = f"{about.changes:020}"
        text = f"{about.name} {changes} {_mark_digest(about.name, changes)}\n"
        mark = os.open(self._mark, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.write(mark, text.encode())  # one short piece over another of the same length
        finally:
            os.close(mark)


def _digest(table: str, row: Iterable[object]) -> bytes:
    return hashlib.sha256(msgspec.msgpack.encode((table, *row))).digest()


def _combined(one: bytes, other: bytes) -> bytes:
    """Return what stands for both digests in any order, and for one of them when the other is combined again."""
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(32, "big")


def _mark_digest(name: str, changes: str) -> str:
    return _digest("mark", (name, changes)).hex()[:16]


def move_aside(path: Path) -> Path:
    """Rename a file of bindings and what stands beside it, so that another one can be made; return its new name."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    for suffix in ("", "-wal", "-shm", "-mark"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    return aside
