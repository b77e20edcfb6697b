"""What callers of the public API give it, good and bad, under the names that a failing run prints."""

from __future__ import annotations

import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from netlayer import PeerProtocol, Settings
from netlayer.errors import DeliveryError, PacketTooLarge, UnsupportedData

__all__ = ["ARGUMENTS", "CARRIED", "GARBAGE", "REFUSED", "SETTINGS"]

KIB = 1024

#: Some quick and small ones, so that limits and times are met within a few steps.
SETTINGS: dict[str, Settings | None] = {
    "default": None,
    "small": Settings(
        buffer_size=4 * KIB,
        max_packet=64 * KIB,
        window=64 * KIB,
        queue_limit=64 * KIB,
        node_queue_limit=96 * KIB,
        reassembly_limit=64 * KIB,
    ),
    "quick": Settings(
        timeout=0.5,
        retry_count=0,
        delivery_timeout=0.7,
        session_timeout=3.0,
        ping_after=0.3,
        dead_after=1.0,
        probe_timeout=0.3,
        backoff_first=0.05,
        backoff_cap=0.5,
        backoff_late_cap=1.0,
        lease_grace=1.0,
        lease_renewal=2.0,
        wanted_for=10.0,
        shutdown_timeout=2.0,
    ),
    "crowded": Settings(max_connections=1, max_wanted=1, records=1, refused_wait=1.0),
}


class Number(int):
    """An int that would arrive as another type."""


class Untold:
    """An object whose own description fails."""

    def __repr__(self) -> str:
        raise ValueError("no description")


def nested(depth: int) -> list[Any]:
    """Return lists inside of each other."""
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def endless() -> list[Any]:
    """Return a list that holds itself."""
    value: list[Any] = []
    value.append(value)
    return value


#: What arrives equal and of the same type.
CARRIED: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "zero": lambda: 0,
    "largest int": lambda: 2**64 - 1,
    "least int": lambda: -(2**63),
    "float": lambda: -0.0,
    "infinity": lambda: float("inf"),
    "empty bytes": lambda: b"",
    "empty text": lambda: "",
    "text": lambda: "Grüße \U0001f600\0",
    "bytes": lambda: bytes(range(256)),
    "3 KiB": lambda: b"x" * 3 * KIB,
    "20 KiB text": lambda: "y" * 20 * KIB,
    "60 KiB": lambda: b"z" * 60 * KIB,
    "300 KiB": lambda: b"z" * 300 * KIB,
    "3 MiB": lambda: b"z" * 3 * KIB * KIB,
    "list": lambda: [1, "a", b"b", None, [True, 1.5], {"k": []}],
    "dict": lambda: {"a": 1, 2: b"x", None: {"deep": [{}]}, b"key": False},
    "64 deep": lambda: nested(64),
}

_HUGE = bytes(17 * KIB * KIB)

#: What is refused at the caller, and how.
REFUSED: dict[str, tuple[Callable[[], Any], type[DeliveryError]]] = {
    "tuple": (lambda: (1, 2), UnsupportedData),
    "set": (lambda: {1}, UnsupportedData),
    "object": (object, UnsupportedData),
    "untold": (Untold, UnsupportedData),
    "untold key": (lambda: {Untold(): 1}, UnsupportedData),
    "bytearray": (lambda: bytearray(b"x"), UnsupportedData),
    "memoryview": (lambda: memoryview(b"x"), UnsupportedData),
    "too large an int": (lambda: 2**64, UnsupportedData),
    "an int of 10,000 digits": (lambda: 10**10_000, UnsupportedData),
    "too small an int": (lambda: [-(2**63) - 1], UnsupportedData),
    "subclass": (lambda: Number(1), UnsupportedData),
    "lone surrogate": (lambda: "\ud800", UnsupportedData),
    "lone surrogate in a key": (lambda: {"\udfff": 1}, UnsupportedData),
    "decimal": (lambda: {"a": [Decimal(1)]}, UnsupportedData),
    "function": (lambda: nested, UnsupportedData),
    "65 deep": (lambda: nested(65), UnsupportedData),
    "endless": (endless, UnsupportedData),
    "17 MiB": (lambda: _HUGE, PacketTooLarge),
    "2 MiB in a list": (lambda: [bytes(2 * KIB * KIB)], PacketTooLarge),
}

#: What is no peer.
GARBAGE: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "negative": lambda: -1,
    "too large": lambda: 2**63,
    "True": lambda: True,
    "float": lambda: 1.0,
    "text": lambda: "alice",
    "empty text": lambda: "",
    "text of other digits": lambda: "\u0663",
    "bytes": lambda: b"2",
    "pair": lambda: (2, "127.0.0.1"),
    "port 0": lambda: (2, "127.0.0.1", 0),
    "port of text": lambda: (2, "127.0.0.1", "http"),
    "host of bytes": lambda: (2, b"127.0.0.1", 8001),
    "host with a space": lambda: (2, "local host", 8001),
    "no host": lambda: (2, "", 8001),
    "id of None": lambda: (None, "127.0.0.1", 8001),
    "dict": lambda: {"node_id": 2},
    "untold": Untold,
    "tuple of the untold": lambda: (Untold(), Untold(), Untold()),
    "an int of 10,000 digits": lambda: 10**10_000,
}


class _NoProtocol:
    """Not a PeerProtocol."""


#: Arguments that make no sense: each a keyword, and a value. ``listen`` is for services only.
ARGUMENTS: dict[str, tuple[str, Callable[[], Any]]] = {
    "reactor of an object": ("reactor", object),
    "reactor untold": ("reactor", Untold),
    **{f"node_id {label}": ("node_id", value) for label, value in GARBAGE.items()},
    "bootstraps 5": ("bootstraps", lambda: 5),
    "bootstraps [5]": ("bootstraps", lambda: [5]),
    "bootstraps of bytes": ("bootstraps", lambda: b"tcp:127.0.0.1:8000"),
    "bootstraps of a dict": ("bootstraps", lambda: {"127.0.0.1": 8000}),
    "bootstraps, no endpoint": ("bootstraps", lambda: ["tcp:127.0.0.1"]),
    "bootstraps, port 0": ("bootstraps", lambda: [("127.0.0.1", 0)]),
    "bootstraps, unknown kind": ("bootstraps", lambda: ["carrier-pigeon:coop"]),
    "bootstraps untold": ("bootstraps", Untold),
    "bootstraps, one untold": ("bootstraps", lambda: [Untold()]),
    "peers 5": ("peers", lambda: 5),
    "peers of text": ("peers", lambda: "tcp:127.0.0.1:8001"),
    "peers [(1,)]": ("peers", lambda: [(1,)]),
    "peers untold": ("peers", Untold),
    "peers [None]": ("peers", lambda: [None]),
    "peers, id -1": ("peers", lambda: [(-1, "127.0.0.1", 8001)]),
    "peers, four of it": ("peers", lambda: [(1, "127.0.0.1", 8001, 2)]),
    "advertise 5": ("advertise", lambda: 5),
    "advertise port 0": ("advertise", lambda: ("127.0.0.1", 0)),
    "settings of a dict": ("settings", lambda: {"timeout": 1.0}),
    "settings untold": ("settings", Untold),
    "identity of text": ("identity", lambda: "me"),
    "identity untold": ("identity", Untold),
    "network ''": ("network", lambda: ""),
    "network None": ("network", lambda: None),
    "network of 65": ("network", lambda: "n" * 65),
    "network of a line": ("network", lambda: "a\nb"),
    "network of a surrogate": ("network", lambda: "\ud800"),
    "network untold": ("network", Untold),
    "admission unknown": ("admission", lambda: "everybody"),
    "admission 5": ("admission", lambda: 5),
    "admission of a list": ("admission", list),
    "admission without its secret": ("admission", lambda: "secret"),
    "admission without its list": ("admission", lambda: "allowlist"),
    "a short secret": ("network_secret", lambda: "short"),
    "a secret of an int": ("network_secret", lambda: 5),
    "a secret of a surrogate": ("network_secret", lambda: "\ud800" * 20),
    "no secrets at all": ("network_secret", lambda: [None]),
    "five secrets": ("network_secret", lambda: ["s" * 16] * 5),
    "no such allowlist": ("allowlist", lambda: "/nonexistent/allowlist"),
    "allowlist of an object": ("allowlist", object),
    "allowlist of a file number": ("allowlist", lambda: 0),
    "allowlist in a directory": ("allowlist", lambda: "/"),
    "allowlist with a null": ("allowlist", lambda: "a\0b"),
    "rng 5": ("rng", lambda: 5),
    "rng untold": ("rng", Untold),
    "rng of the module": ("rng", lambda: random),
    "protocol of an object": ("protocol", object),
    "protocol untold": ("protocol", Untold),
    "protocol of another class": ("protocol", lambda: _NoProtocol),
    "protocol of an instance": ("protocol", PeerProtocol),
    "listen None": ("listen", lambda: None),
    "listen 5": ("listen", lambda: 5),
    "listen nowhere": ("listen", lambda: "tcp"),
    "listen at port 99999": ("listen", lambda: "tcp:99999:interface=127.0.0.1"),
    "listen everywhere": ("listen", lambda: "tcp:8001"),
    "listen at all interfaces": ("listen", lambda: ("0.0.0.0", 8001)),
    "listen at a name": ("listen", lambda: ("example.com", 8001)),
    "listen at port -1": ("listen", lambda: ("127.0.0.1", -1)),
    "listen untold": ("listen", Untold),
    "store of an object": ("store", object),
    "store untold": ("store", Untold),
    "data_dir untold": ("data_dir", Untold),
    "data_dir 5": ("data_dir", lambda: 5),
    "data_dir with a null": ("data_dir", lambda: "a\0b"),
    "data_dir in a file": ("data_dir", lambda: "/dev/null/x"),
}
