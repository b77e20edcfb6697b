"""What a connection is told to do, as frozen values; a connection is named by its number.

Whoever decides about connections returns these, the driver of the connection has it obey them; see
:meth:`netlayer.sansio.link.connection.Connection.obey`.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from netlayer.sansio.delivery.delivery import Delivery
from netlayer.wire.messages import Referral

__all__ = ["Abort", "Accept", "Command", "Ping", "Reject", "Select"]


class Accept(NamedTuple):
    """Accept what the other end has said about itself.

    :ivar delivery: what the connection works for if it becomes the link.
    """

    connection: int
    delivery: Delivery


class Reject(NamedTuple):
    """Refuse the other end, and close the connection."""

    connection: int
    code: str
    text: str = ""
    retry_after: float | None = None
    referrals: tuple[Referral, ...] = ()


class Select(NamedTuple):
    """Make the connection the link, as the arbiter."""

    connection: int


class Ping(NamedTuple):
    """Ask the other end for a sign of life."""

    connection: int


class Abort(NamedTuple):
    """Close the connection at once."""

    connection: int
    reason: Exception


Command: TypeAlias = Accept | Reject | Select | Ping | Abort
