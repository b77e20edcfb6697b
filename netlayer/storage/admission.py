"""Who may link to a node: everybody, whoever knows the network's secret, or whoever stands on a list.

A secret is stretched once, when the node is made; what proves it on a connection is in
:mod:`netlayer.sansio.link.proof`.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

import attrs

from netlayer.addresses import parse_node_id
from netlayer.errors import ConfigurationError, described

__all__ = ["Admission", "AllowList", "read_secrets"]

#: Bytes of a secret at least; ``netlayer secret`` makes one of 32 random bytes.
MIN_SECRET = 16
#: Secrets that are accepted at once, so that one can be replaced while the network runs.
MAX_SECRETS = 4
#: Bytes of a file of secrets or of a list at most.
MAX_FILE = 1024 * 1024
#: scrypt's cost: 16 MiB and some 50 ms for each guess (RFC 7914; the interactive parameters of its paper).
_COST = {"n": 2**14, "r": 8, "p": 1, "dklen": 32}

_ENTRY = re.compile(r"(\d{1,19})\s+sha256:([0-9a-fA-F]{64})")


class AllowList:
    """The pairs of an id and a key that may link, read from a file and read again when the file changes.

    Each line is ``node_id sha256:hexadecimal``; empty lines and what follows ``#`` mean nothing.

    :raises ConfigurationError: when the file can't be read, or a line is something else.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not isinstance(path, (str, os.PathLike)):
            raise ConfigurationError(f"an allowlist is the path of a file, not {described(path)}")
        self._path = Path(path).absolute()  # it is read again, and the process may change its working directory
        self._seen: tuple[int, int] = (0, 0)
        self._entries = self._read()

    @property
    def is_empty(self) -> bool:
        """Whether nobody stands on it."""
        return not self._entries

    def allows(self, node_id: int, fingerprint: bytes) -> bool:
        """Tell whether an id and a key stand on the list together.

        :raises ConfigurationError: when the file has changed and is not a list any more; nobody is allowed then.
        """
        self._refresh()
        return (node_id, fingerprint) in self._entries

    def names(self, fingerprint: bytes) -> bool:
        """Return whether a key stands on the list, with whichever id.

        :raises ConfigurationError: when the file has changed and is not a list any more; nobody is allowed then.
        """
        self._refresh()
        return any(key == fingerprint for _, key in self._entries)

    def _refresh(self) -> None:
        if self._version() != self._seen:
            self._entries = frozenset()
            self._entries = self._read()

    def _version(self) -> tuple[int, int]:
        try:
            status = os.stat(self._path)
        except (OSError, ValueError) as error:  # ValueError: an embedded null byte
            reason = getattr(error, "strerror", None) or error
            raise ConfigurationError(f"allowlist {str(self._path)!r}: {reason}") from None
        return status.st_mtime_ns, status.st_size

    def _read(self) -> frozenset[tuple[int, bytes]]:
        version = self._version()
        entries = set()
        for number, line in enumerate(_read_text("allowlist", self._path).splitlines(), start=1):
            text = line.partition("#")[0].strip()
            if not text:
                continue
            entry = _ENTRY.fullmatch(text)
            if entry is None:
                wanted = "'node_id sha256:' and 64 hexadecimal digits"
                raise ConfigurationError(f"allowlist {self._path}, line {number}: {wanted}, not {described(text)}")
            entries.add((parse_node_id(entry[1]), bytes.fromhex(entry[2])))
        self._seen = version
        return frozenset(entries)


@attrs.frozen
class Admission:
    """The rule of one node.

    :ivar secrets: the stretched secrets, 32 bytes each, of which any is accepted and the first is used to prove; empty
        if none is asked for.
    :ivar allowlist: who may link besides, or None for everybody.
    """

    secrets: tuple[bytes, ...] = attrs.field(default=(), repr=False)
    allowlist: AllowList | None = None

    @property
    def is_open(self) -> bool:
        """Whether everybody may link who can connect."""
        return not self.secrets and self.allowlist is None

    @classmethod
    def from_options(
        cls,
        network: str,
        *,
        policy: str | None = None,
        secret: str | bytes | Iterable[str | bytes] | None = None,
        allowlist: str | os.PathLike[str] | None = None,
    ) -> Admission:
        """Return the rule that a node was given.

        :param policy: ``open``, ``secret`` or ``allowlist``; by default what the other two ask for.
        :param secret: one secret or up to four, of 16 bytes at least; the first is the one that this node proves.
        :param allowlist: the path of a list; see :class:`AllowList`.
        :raises ConfigurationError: when that makes no sense.
        """
        if policy not in (None, "open", "secret", "allowlist"):
            raise ConfigurationError(f"admission is 'open', 'secret' or 'allowlist', not {described(policy)}")
        secrets = _several(secret)
        if policy == "open" and (secrets or allowlist is not None):
            raise ConfigurationError("admission 'open' takes neither a secret nor an allowlist")
        if policy == "secret" and not secrets:
            raise ConfigurationError(
                "admission 'secret' needs network_secret: the same at all nodes, such as 'netlayer secret' prints"
            )
        if policy == "allowlist" and allowlist is None:
            raise ConfigurationError("admission 'allowlist' needs allowlist: a file of 'node_id sha256:...' lines")
        return cls(
            tuple(_stretched(each, network) for each in secrets),
            AllowList(allowlist) if allowlist is not None else None,
        )


def read_secrets(path: str | os.PathLike[str]) -> list[str]:
    """Read a file of secrets: one in each line, the one to prove first; empty lines and ``#`` comments mean nothing.

    :raises ConfigurationError: when others can read the file, or it holds no secret.
    """
    path = Path(path)
    lines = [line.strip() for line in _read_text("secret file", path, private=True).splitlines()]
    secrets = [line for line in lines if line and not line.startswith("#")]
    if not secrets:
        raise ConfigurationError(f"secret file {path} holds no secret: 'netlayer secret > {path}' makes one")
    try:
        for secret in secrets:
            _checked(secret)
    except ConfigurationError as error:
        raise ConfigurationError(f"secret file {path}: {error}") from None
    return _several(secrets)  # type: ignore[return-value] # they are text, as they were


def _several(secret: str | bytes | Iterable[str | bytes] | None) -> list[str | bytes]:
    if secret is None:
        return []
    if not isinstance(secret, (str, bytes)) and not isinstance(secret, Iterable):
        raise ConfigurationError(f"a network secret is text or bytes, not {type(secret).__name__}")
    secrets = [secret] if isinstance(secret, (str, bytes)) else list(secret)
    if len(secrets) > MAX_SECRETS:
        raise ConfigurationError(f"up to {MAX_SECRETS} network secrets are accepted at once, not {len(secrets)}")
    return secrets


def _checked(secret: object) -> bytes:
    """Return the bytes of a secret; what is wrong with it is said without saying it."""
    if not isinstance(secret, (str, bytes)):
        raise ConfigurationError(f"a network secret is text or bytes, not {type(secret).__name__}")
    try:
        given = secret.encode() if isinstance(secret, str) else secret
    except UnicodeEncodeError:
        raise ConfigurationError("a network secret must be valid Unicode") from None
    if len(given) < MIN_SECRET:
        raise ConfigurationError(
            f"a network secret has {MIN_SECRET} bytes at least, this one has {len(given)}: 'netlayer secret' makes one"
        )
    return given


def _stretched(secret: object, network: str) -> bytes:
    return hashlib.scrypt(_checked(secret), salt=b"netlayer secret 1\0" + network.encode(), **_COST)


def _read_text(kind: str, path: Path, *, private: bool = False) -> str:
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if private and os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise ConfigurationError(f"{kind} {path} can be read by others: chmod 600 it")
            content = file.read(MAX_FILE + 1)
        if len(content) > MAX_FILE:
            raise ConfigurationError(f"{kind} {path} has more than {MAX_FILE} bytes")
        return content.decode()
    except OSError as error:
        raise ConfigurationError(f"{kind} {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{kind} {path} is not UTF-8 text") from None
