"""What a node tells of itself: frozen values, made when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
from twisted.internet.defer import CancelledError

from netlayer.addresses import PeerInfo
from netlayer.errors import DeliveryError

__all__ = ["BroadcastReport", "LinkStatus", "NodeStatus", "RoomStatus", "WantedStatus"]


@attrs.frozen(kw_only=True)
class WantedStatus:
    """A peer or bootstrap node that this node keeps itself linked to.

    :ivar address: where it is dialed.
    :ivar node_id: its id, once known.
    :ivar state: ``linked``, ``dialing``, ``waiting`` or ``stopped``; or ``mistaken``, while the node that answers at
        the address of a bootstrap node is none: that node is linked as any peer is.
    :ivar attempts: failed attempts since it was last linked.
    :ivar breaks: links in a row that did not last; the log says it once, at the fourth within an hour.
    :ivar last_error: why the last attempt failed or the last link broke, or what is mistaken, or None.
    :ivar next_attempt_in: seconds until the next attempt, or None.
    """

    address: str
    node_id: int | None
    state: str
    attempts: int
    breaks: int
    last_error: str | None
    next_attempt_in: float | None


@attrs.frozen(kw_only=True)
class LinkStatus:
    """A peer that is linked.

    :ivar since: seconds that the link has stood.
    :ivar round_trip: seconds that the last PING took, or None.
    :ivar packets_sent: packets written on this link; ``packets_received`` likewise.
    :ivar bytes_sent: bytes inside TLS; ``bytes_received`` likewise.
    :ivar queued: bytes that are unsent or without a receipt, overhead included.
    """

    peer: PeerInfo
    fingerprint: str
    bootstrap: bool
    since: float
    round_trip: float | None
    packets_sent: int
    packets_received: int
    bytes_sent: int
    bytes_received: int
    queued: int


@attrs.frozen(kw_only=True)
class RoomStatus:
    """How much of its network a node is linked to that has no room for all of it, or whose peers have none.

    ``str()`` of it is the sentence that the log has.

    :ivar linked: how many peers are linked, bootstraps left out.
    :ivar known: how many are known, those included.
    """

    linked: int
    known: int

    def __str__(self) -> str:
        return f"full: linked to {self.linked} of {self.known} known peers"


@attrs.frozen(kw_only=True)
class NodeStatus:
    """The whole situation of a node.

    :ivar fingerprint: ``sha256:`` and hexadecimal digits.
    :ivar state: ``new``, ``bound`` (a service that has taken its address and not started yet), ``starting``,
        ``running``, ``stopping`` or ``stopped``.
    :ivar listening: the ``host:port`` that the node listens at, or None.
    :ivar advertised: the addresses that others are told.
    :ivar joined: whether the node is registered with a bootstrap node that is linked.
    :ivar room: how many of the known peers are linked, while others are not for lack of room; None if there is room.
    """

    node_id: int
    fingerprint: str
    state: str
    listening: str | None
    advertised: tuple[str, ...]
    joined: bool
    bootstraps: tuple[WantedStatus, ...]
    wanted: tuple[WantedStatus, ...]
    links: tuple[LinkStatus, ...]
    room: RoomStatus | None


@attrs.frozen
class BroadcastReport:
    """What became of a broadcast.

    :ivar delivered: the ids of the peers whose handlers finished.
    :ivar failed: for each other peer that was linked, why not. If the broadcast was cancelled, that is CancelledError
        for those that had not answered. A peer that has let its last two deadlines pass is sent to and not waited for:
        it stands here at once, with a DeliveryTimeout after 0 seconds, until it answers again.
    :ivar missed: the ids of the peers that the node wants to be linked to and was not, so that they were not sent to:
        configured ones whose ids are known, those that a bootstrap node has told of, those that are away, and those
        that had no room. Bootstrap nodes are none of them.
    """

    delivered: frozenset[int]
    failed: Mapping[int, DeliveryError | CancelledError]
    missed: frozenset[int] = frozenset()
