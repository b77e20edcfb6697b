"""Forked children: what they leave to their parent, and how they refuse to stand in for it.

A running reactor does not survive a fork: nothing runs the child's copy, and an epoll object is shared with the parent.
What a node has on such a reactor is the parent's alone. Before a reactor runs, a process forks to become a daemon, and
the child goes on with all that it has.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Any, Protocol
from weakref import WeakKeyDictionary, WeakSet

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorFDSet

from netlayer.errors import LocalProtocolError

__all__ = ["Inherited", "close_inherited", "forked_error", "refused_in_child", "require_own_reactor", "watch_forks"]


class Inherited(Protocol):
    """What a forked child has a copy of, although it works in the parent only."""

    def left_to_parent(self) -> None:
        """Let go, in a forked child, of what the parent holds, and have nothing of that noticed there."""


#: What there is on each reactor with sockets: simulated ones survive a fork.
_watched: WeakKeyDictionary[Any, WeakSet[Inherited]] = WeakKeyDictionary()
#: The reactors that ran when this process was forked.
_of_parent: list[Any] = []


def watch_forks(what: Inherited, reactor: object) -> None:
    """Have `what` left to the parent in children that are forked while its reactor runs."""
    if IReactorFDSet.providedBy(reactor):
        _watched.setdefault(reactor, WeakSet()).add(what)


def require_own_reactor(reactor: object) -> None:
    """Refuse in a child that was forked while `reactor` ran.

    :raises LocalProtocolError: there.
    """
    if _is_parents(reactor):
        raise forked_error()


def refused_in_child(reactor: object) -> Deferred[Any] | None:
    """Return a Deferred that fails with what :func:`require_own_reactor` raises, or None if it raises nothing."""
    return fail(forked_error()) if _is_parents(reactor) else None


def forked_error() -> LocalProtocolError:
    """Return what is raised in a child that can't use its parent's nodes."""
    return LocalProtocolError(
        "this process was forked after its parent had made a node, and a reactor does not survive that: start "
        "the process with multiprocessing's 'spawn' method, or make nodes only after forking"
    )


def close_inherited(transport: Any) -> None:
    """Close a forked child's copy of the socket of a transport or a port.

    While the child has it open, peers do not notice the parent's end. It is closed by its number alone: what the child
    took out of the epoll object, the parent would miss.
    """
    raw = getattr(transport, "socket", None)  # a wrapper, such as TLS, gives that of what it wraps
    if isinstance(raw, socket.socket):
        with suppress(OSError):
            raw.close()


def _is_parents(reactor: object) -> bool:
    return any(each is reactor for each in _of_parent)


def _in_child() -> None:
    running = [reactor for reactor in list(_watched) if getattr(reactor, "running", False)]
    _of_parent.extend(running)
    for reactor in running:
        for what in list(_watched[reactor]):
            what.left_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
