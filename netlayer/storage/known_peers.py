"""The keys that a node has met, kept in its data directory: who has an id or an address later has to be the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from netlayer.errors import ConfigurationError, NetlayerError
from netlayer.log import NodeLog
from netlayer.storage.identity import fingerprint_text, give_to_owner, parse_fingerprint

__all__ = [
    "KNOWN_PEERS_FILE",
    "MAX_KEYS",
    "DamagedPeers",
    "Entries",
    "Further",
    "KnownPeers",
    "read_known_peers",
    "with_vouched",
    "write_known_peers",
]

#: The name of the file in a data directory.
KNOWN_PEERS_FILE = "known_peers"
#: Keys and addresses that are remembered at most, which makes a file of some 1.5 MB.
MAX_KNOWN = 16384
#: Keys of one name: as many as it has machines that are tried.
MAX_KEYS = 8
#: Bytes of a longer file are not read.
MAX_FILE = 16 * 1024 * 1024
#: Keys that contradict what is known are each told once, and so many of them at most.
MAX_TOLD = 1000
#: Seconds between what is learned and that it is written, and so between two times that the file is written.
WRITE_AFTER = 1.0

_HEAD = "# keys that this node has met; 'netlayer known --forget' removes them"


class Further(NamedTuple):
    """A further key of a name, which a bootstrap node that is known there has vouched for.

    :ivar number: from 1 on; the key that was met first is known by the name itself.
    """

    name: str
    number: int

    def __str__(self) -> str:
        return self.name


#: Who has a key: the id that it holds, or the address at which it answers.
Who: TypeAlias = int | str | Further
#: Known keys.
Entries = dict[Who, bytes]


class DamagedPeers(NetlayerError):
    """A file of known peers does not tell what was written to it."""


def read_known_peers(path: Path) -> dict[str, Entries]:
    """Return what a file tells of each network; nothing if there is none.

    :raises ConfigurationError: when it can't be read.
    :raises DamagedPeers: when it does not tell what was written to it.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_FILE + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}") from None
    body, _, last = content.removesuffix(b"\n").rpartition(b"\n")
    if last != _checksum(body + b"\n"):
        raise DamagedPeers("its checksum is wrong")
    networks: dict[str, Entries] = {}
    try:
        for line in body.decode().split("\n")[1:]:
            kind, rest = line.split(" ", 1)
            if kind == "network":
                entries = networks.setdefault(rest, {})
                continue
            key, who = rest.split(" ", 1)
            entries[_parsed(kind, who)] = parse_fingerprint(key)
    except (ValueError, UnboundLocalError):  # another version, with a checksum of the same kind
        raise DamagedPeers("it is written in another way") from None
    return networks


def write_known_peers(path: Path, networks: Mapping[str, Entries]) -> None:
    """Replace a file, in one step.

    :raises OSError: when that can't be done.
    """
    lines = [_HEAD]
    for network, entries in networks.items():
        lines.append(f"network {network}")
        lines += [_line(who, key) for who, key in entries.items()]
    body = "".join(f"{line}\n" for line in lines).encode()
    temporary = path.with_name(f"{path.name}.tmp")
    with open(temporary, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        give_to_owner(file.fileno(), path.parent)
        file.write(body + _checksum(body) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def with_vouched(keys: Iterable[bytes], vouched: Iterable[bytes]) -> tuple[bytes, ...]:
    """Return the keys of a name, with those that a bootstrap node has vouched for which is known by one of them.

    The first one stays the first; if there are too many, those that nobody has vouched for lately are left out.
    """
    first, *others = keys
    return tuple(dict.fromkeys((first, *vouched, *others)))[:MAX_KEYS]


class KnownPeers:
    """What one node has learned, this time and the times before.

    :param path: of the file, which belongs to nobody else while the node runs; None to remember nothing.
    """

    def __init__(self, path: Path | None, *, network: str, clock: IReactorTime, log: NodeLog) -> None:
        self._path = path
        self._network = network
        self._clock = clock
        self._log = log
        self._networks: dict[str, Entries] = {}  # a data directory may have been used in others
        self._take({})
        self._writing: IDelayedCall | None = None
        self._told: dict[object, None] = {}

    def load(self) -> None:
        """Read the file. One that is damaged is moved aside, which is an ERROR in the log.

        :raises ConfigurationError: when it can't be read, or a damaged one can't be moved.
        """
        if self._path is None:
            return
        try:
            self._take(read_known_peers(self._path))
        except DamagedPeers as damage:
            aside = _free_name(self._path)
            try:
                os.replace(self._path, aside)
            except OSError as error:
                raise ConfigurationError(f"{self._path} is damaged, and stays: {error.strerror or error}") from None
            self._log.error(
                "{path} is damaged ({damage}) and is now {aside}; the next key that is met with an id is believed",
                path=str(self._path),
                damage=str(damage),
                aside=str(aside),
            )

    def close(self) -> None:
        """Write what is not written yet."""
        if self._writing is not None:
            self._writing.cancel()
            self._write()

    def key_of(self, who: int | str | None) -> bytes | None:
        """Return the fingerprint that is known of an id, or of whoever answers at an address; None if none is."""
        return self._entries.get(who) if who is not None else None

    def keys_of(self, name: str) -> tuple[bytes, ...]:
        """Return the fingerprints that are known of a name, which may stand for several machines."""
        whos: list[Who] = [name, *(Further(name, number) for number in range(1, MAX_KEYS))]
        return tuple(self._entries[who] for who in whos if who in self._entries)

    def knows(self, fingerprint: bytes) -> bool:
        """Return whether a key is known, of an id or of an address."""
        return fingerprint in self._ids or fingerprint in self._entries.values()

    def learn(self, who: int | str, fingerprint: bytes) -> None:
        """Remember who holds an id, or answers at an address, unless another key is known there.

        :param fingerprint: of a key that lasts. If it is known to hold another id, it has given that up.
        """
        if self._path is None or who in self._entries or (isinstance(who, str) and not who.isprintable()):
            return
        if isinstance(who, int) and fingerprint in self._ids:
            del self._entries[self._ids.pop(fingerprint)]
        if not self._has_room():
            return
        self._entries[who] = fingerprint
        if isinstance(who, int):
            self._ids[fingerprint] = who
        self._write_soon()

    def vouch(self, name: str, vouched: Iterable[bytes]) -> None:
        """Remember which other keys answer at a name, by the word of a bootstrap node that is known there.

        :param vouched: their fingerprints.
        """
        before = self.keys_of(name)
        if name not in self._entries:
            return
        keys = with_vouched(before, vouched)
        for number, key in enumerate(keys[1:], 1):
            who = Further(name, number)
            if who not in self._entries and not self._has_room():
                break
            self._entries[who] = key
        if keys != before:
            self._write_soon()

    def replace(self, former: bytes, fingerprint: bytes) -> None:
        """Have a key take the place of another one, which has agreed to that."""
        changed = [who for who, key in self._entries.items() if key == former]
        for who in changed:
            self._entries[who] = fingerprint
        if former in self._ids:
            self._ids[fingerprint] = self._ids.pop(former)
        if changed:
            self._log.info(
                "{key} has taken the place of {known}, by which {who} was known",
                key=fingerprint_text(fingerprint),
                known=fingerprint_text(former),
                who=", ".join(f"peer {who}" if isinstance(who, int) else str(who) for who in changed),
            )
            self._write_soon()

    def has_refused(self, node_id: int, fingerprint: bytes) -> bool:
        """Tell whether a key was refused that has shown itself with an id, as :meth:`contradicts` has told the log."""
        return (node_id, fingerprint) in self._told

    def contradicts(self, node_id: int, fingerprint: bytes) -> bool:
        """Tell whether another key is known to hold an id; the log has a WARNING, once for each pair."""
        known = self._entries.get(node_id)
        if known is None or known == fingerprint:
            return False
        if self._is_news((node_id, fingerprint)):
            self._log.warn(
                "peer {peer} is refused: it is known by the key {known}, not {found}",
                peer=node_id,
                known=fingerprint_text(known),
                found=fingerprint_text(fingerprint),
            )
        return True

    # ---- private

    def _has_room(self) -> bool:
        """Return whether another key can be remembered; the log has a WARNING the first time that none can."""
        if self._elsewhere + len(self._entries) < MAX_KNOWN:
            return True
        if self._is_news("full"):
            self._log.warn("{count} keys are known, and no more are remembered", count=MAX_KNOWN)
        return False

    def _take(self, networks: dict[str, Entries]) -> None:
        self._networks = networks
        self._entries = networks.setdefault(self._network, {})
        self._ids = {key: who for who, key in self._entries.items() if isinstance(who, int)}
        self._elsewhere = sum(map(len, networks.values())) - len(self._entries)

    def _is_news(self, what: object) -> bool:
        """Tell whether the log has not said something yet; of very many things nothing more is said."""
        if what in self._told or len(self._told) >= MAX_TOLD:
            return False
        self._told[what] = None
        return True

    def _write_soon(self) -> None:
        if self._writing is None:
            self._writing = self._clock.callLater(WRITE_AFTER, self._write)

    def _write(self) -> None:
        self._writing = None
        assert self._path is not None
        try:
            write_known_peers(self._path, self._networks)
        except OSError as error:
            self._log.error("{path} can't be written: {error}", path=str(self._path), error=error.strerror or error)


def _line(who: Who, key: bytes) -> str:
    if isinstance(who, Further):
        return f"for {fingerprint_text(key)} {who.number} {who.name}"
    return f"{'id' if isinstance(who, int) else 'at'} {fingerprint_text(key)} {who}"


def _parsed(kind: str, who: str) -> Who:
    if kind == "for":
        number, name = who.split(" ", 1)
        return Further(name, int(number))
    return int(who) if kind == "id" else who


def _checksum(body: bytes) -> bytes:
    return b"# " + hashlib.sha256(b"netlayer known peers 1\0" + body).hexdigest()[:32].encode()


def _free_name(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return aside
