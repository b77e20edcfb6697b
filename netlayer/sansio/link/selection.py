"""Which of several connections to one peer is the link: the arbiter's decision.

Two nodes may dial each other at the same moment, one end may not have noticed that a connection died, and a copied
key may speak from two places. Each connection can be told from the others by one end only if one end decides, so the
end with the larger fingerprint does. It never gives up a link that answers.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeAlias, TypeVar

import attrs

from netlayer.wire.messages import RejectCode

__all__ = ["Decision", "Probe", "Refuse", "Selection", "Take"]

C = TypeVar("C", bound=Hashable)

#: A clone is told to come back this soon: a quick restart meets the late bytes of its predecessor.
CLONE_RETRY = 2.0


@attrs.frozen
class Take(Generic[C]):
    """Make this connection the link, and close every other one to this peer."""

    connection: C


@attrs.frozen
class Refuse(Generic[C]):
    """Reject this connection."""

    connection: C
    code: str
    retry_after: float | None = None


@attrs.frozen
class Probe(Generic[C]):
    """Ask the present link for a sign of life."""

    connection: C


Decision: TypeAlias = Take[C] | Refuse[C] | Probe[C]


class Selection(Generic[C]):
    """The arbiter's view of the connections to one fingerprint.

    :param probe_timeout: seconds of silence after which the present link loses against a new connection.
    :ivar link: the connection that was selected, or None.
    :ivar deadline: when to call :meth:`deadline_reached`, or None. There is one while another connection wants the
        link's place, and the link has to show that it lives.
    """

    def __init__(self, *, probe_timeout: float) -> None:
        self.link: C | None = None
        self._link_boot = 0
        self._candidate: C | None = None
        self._candidate_boot = 0
        self.deadline: float | None = None
        self._probe_timeout = probe_timeout

    def proven(self, connection: C, boot: int, now: float) -> list[Decision[C]]:
        """A connection has introduced itself; `boot` tells which process of the peer it belongs to."""
        if self.link is None:
            return self._take(connection, boot)
        decisions: list[Decision[C]] = []
        if self._candidate is not None:
            decisions.append(Refuse(self._candidate, RejectCode.DUPLICATE))
        if self.deadline is None:
            self.deadline = now + self._probe_timeout
            decisions.append(Probe(self.link))
        self._candidate, self._candidate_boot = connection, boot
        return decisions

    def spoke(self, connection: C) -> list[Decision[C]]:
        """Bytes came on a connection. If it is the link, it lives, and who wanted its place is refused."""
        if connection != self.link or self.deadline is None:
            return []
        candidate, self._candidate, self.deadline = self._candidate, None, None
        if candidate is None:
            return []
        if self._candidate_boot == self._link_boot:
            return [Refuse(candidate, RejectCode.DUPLICATE)]
        return [Refuse(candidate, RejectCode.ID_TAKEN, CLONE_RETRY)]

    def lost(self, connection: C) -> list[Decision[C]]:
        """A connection is gone."""
        if connection == self._candidate:
            self._candidate = None
        if connection != self.link:
            return []
        self.link = self.deadline = None
        return self._take_candidate()

    def deadline_reached(self, now: float) -> list[Decision[C]]:
        """Give the place of a link that stayed silent to who wanted it."""
        if self.deadline is None or self.deadline > now:
            return []
        self.deadline = None
        return self._take_candidate()

    def _take_candidate(self) -> list[Decision[C]]:
        candidate, self._candidate = self._candidate, None
        return [] if candidate is None else self._take(candidate, self._candidate_boot)

    def _take(self, connection: C, boot: int) -> list[Decision[C]]:
        self.link, self._link_boot = connection, boot
        self._candidate = self.deadline = None
        return [Take(connection)]
