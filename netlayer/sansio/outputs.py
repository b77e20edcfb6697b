"""What a node's decisions ask of whoever has the sockets and the clock, as frozen values.

Connections and peers hold no callbacks: each call returns a sequence of these and of the
:mod:`~netlayer.sansio.link.commands` to connections, and the state has fully advanced by then. They are carried out in
their order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

from netlayer.sansio.delivery.packet import OutgoingPacket
from netlayer.sansio.link.commands import Command

__all__ = ["LinkDown", "LookAtAll", "Note", "Output", "PauseSending", "Replace", "ResumeSending", "Send", "Settled"]


class Send(NamedTuple):
    """Something waits to be sent on a connection: drain it at the end of this turn."""

    connection: int


class Replace(NamedTuple):
    """Close every connection to the peer but this one, those included that have only proven the peer's key."""

    connection: int


class LinkDown(NamedTuple):
    """A connection of the peer is over.

    :ivar unknown: the numbers of plain packets whose outcome became unknown with it.
    """

    connection: int
    unknown: tuple[int, ...]


class Settled(NamedTuple):
    """The outcome of a packet is known, and its caller waits for it."""

    packet: OutgoingPacket


class PauseSending(NamedTuple):
    """Ask the application to stop sending to the peer for a while."""

    connection: int


class ResumeSending(NamedTuple):
    """Tell the application that it may go on sending to the peer."""

    connection: int


class LookAtAll:
    """The queues of the node have become tight, or have room again: every peer has to look at its own."""


class Note(NamedTuple):
    """Something to log.

    :ivar format: the text, with the names of `fields` in braces.
    """

    level: Literal["info", "warn", "error"]
    format: str
    fields: Mapping[str, Any]


Output: TypeAlias = Command | Send | Replace | LinkDown | Settled | PauseSending | ResumeSending | LookAtAll | Note
