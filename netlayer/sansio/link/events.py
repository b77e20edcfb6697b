"""What a connection tells its driver. Packets, registrations and records are events themselves; nothing wraps them."""

from __future__ import annotations

from typing import TypeAlias

import attrs

from netlayer.handlers import DataPacket
from netlayer.sansio.link.handshake import RemoteNode
from netlayer.wire.messages import Goodbye, Peers, Pong, Register, Registered

__all__ = ["Closed", "Event", "Introduced", "Linked", "Proven"]


@attrs.frozen
class Introduced:
    """The other end has introduced itself; answer with ``accept()`` or ``reject()``, now or soon.

    An accepted connection is *proven*.
    """

    remote: RemoteNode


@attrs.frozen
class Proven:
    """The other end was accepted, and this end, as the arbiter, decides which connection to it is the link."""


@attrs.frozen
class Linked:
    """This connection is the link; packets flow."""


@attrs.frozen
class Closed:
    """The connection is over; what it has left to send is its last word.

    :ivar reason: Rejected, RemoteProtocolError, LinkLost or another of our errors.
    :ivar abort: whether waiting for a clean end is pointless, because nobody listens.
    """

    reason: Exception
    abort: bool = False


Event: TypeAlias = Introduced | Proven | Linked | Closed | DataPacket | Goodbye | Pong | Register | Registered | Peers
