"""What a connection is told to do, as frozen values; a connection is named by its number.

Whoever decides about connections returns these, the driver of the connection has it obey them; see
:meth:`netlayer.sansio.link.connection.Connection.obey`.
"""

from __future__ import annotations

from typing import TypeAlias

import attrs

from netlayer.sansio.delivery.delivery import Delivery
from netlayer.wire.messages import Referral

__all__ = ["Abort", "Accept", "Command", "Ping", "Reject", "Select"]


@attrs.frozen
class Accept:
    """Accept what the other end has said about itself.

    :ivar delivery: what the connection works for if it becomes the link.
    """

    connection: int
    delivery: Delivery


@attrs.frozen
class Reject:
    """Refuse the other end, and close the connection."""

    connection: int
    code: str
    text: str = ""
    retry_after: float | None = None
    referrals: tuple[Referral, ...] = ()


@attrs.frozen
class Select:
    """Make the connection the link, as the arbiter."""

    connection: int


@attrs.frozen
class Ping:
    """Ask the other end for a sign of life."""

    connection: int


@attrs.frozen
class Abort:
    """Close the connection at once."""

    connection: int
    reason: Exception


Command: TypeAlias = Accept | Reject | Select | Ping | Abort
