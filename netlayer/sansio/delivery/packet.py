"""A packet on its way, with everything that is known of it at the sender."""

from __future__ import annotations

from typing import Any, TypeAlias

from netlayer.sansio.delivery.load import PACKET_OVERHEAD, SharedPayload

__all__ = ["Deadline", "OutgoingPacket"]

#: What a queue notes of a deadline: the time, the packet's number, and the packet. A list, as it changes: the packet is
#: replaced by None when its deadline can't pass any more.
Deadline: TypeAlias = list[Any]

#: Processes that have ended with a packet in hand, from which on it goes alone: one may have been chance.
SUSPECT_DEATHS = 2


class OutgoingPacket:
    """A packet on its way, from the moment it is queued until it is settled.

    :ivar number: the caller's number for it: how many packets its node has queued up to it, for whichever peer. The
        wire counts for itself.
    :ivar waiter: whatever the driver wants to find again when the packet is settled, or None if nobody waits.
    :ivar began: when the caller began to wait.
    :ivar deadline: the time at which the caller gives up, or None. It may be moved to a later one.
    :ivar patience: seconds that the caller goes on waiting after each sign that the packet makes progress; None if the
        deadline stands.
    :ivar until_link: whether the caller gives up as soon as the peer is not linked and can't be dialed.
    :ivar entry: what its queue has noted of the deadline, while that can pass.
    :ivar from_handler: whether a handler sends it, which has not finished: it may use more of the queue.
    :ivar queue: the send queue that it is charged to.
    :ivar queued: whether it waits there; if not, a stream holds it.
    :ivar written: whether any of it was ever written to the peer, by whichever connection.
    :ivar share: what it takes of the window, from when the link has all of it until its receipt.
    :ivar sequence: its number in the stream, once the present link has all of it, or the peer is known to; else 0.
    :ivar breaks: how many links in a row were broken inside of it and have brought nothing else through.
    :ivar deaths: how many processes of the peer were handed it whole and have ended without a receipt for it.
    :ivar underway: whether the present link has a part of it, and not all.
    :ivar charged: whether its queue counts it.
    :ivar settled: whether its outcome is known, or is known to stay unknown; nobody needs it any more then.
    :ivar error: what went wrong, once settled; None if the peer's handler finished.
    """

    __slots__ = (
        "began",
        "breaks",
        "charge",
        "charged",
        "deadline",
        "deaths",
        "entry",
        "error",
        "flags",
        "from_handler",
        "number",
        "patience",
        "payload",
        "queue",
        "queued",
        "sequence",
        "settled",
        "share",
        "shared",
        "tag",
        "underway",
        "until_link",
        "waiter",
        "written",
    )

    def __init__(
        self,
        tag: int,
        payload: bytes,
        *,
        flags: int = 0,
        waiter: Any = None,
        deadline: float | None = None,
        patience: float | None = None,
        shared: SharedPayload | None = None,
        from_handler: bool = False,
    ) -> None:
        self.number = 0
        self.tag = tag
        self.payload = payload
        self.flags = flags
        self.waiter = waiter
        self.began = 0.0
        self.deadline = deadline
        self.until_link = False
        self.entry: Deadline | None = None
        self.patience = patience
        self.shared = shared
        self.from_handler = from_handler
        self.charge = len(payload) + PACKET_OVERHEAD
        self.queue: Any = None
        self.queued = True
        self.written = False
        self.sequence = 0
        self.share = 0
        self.breaks = 0
        self.deaths = 0
        self.underway = False
        self.charged = False
        self.settled = False
        self.error: Exception | None = None

    def wait(self, seconds: float, now: float, *, patient: bool = False) -> None:
        """Note that the caller waits from now on, for so many seconds.

        :param patient: whether it goes on waiting for as long after each progress of the packet.
        """
        self.began = now
        self.deadline = now + seconds
        self.patience = seconds if patient else None

    @property
    def waited(self) -> float:
        """The seconds that the caller waits in all, by the present deadline."""
        return 0.0 if self.deadline is None else round(self.deadline - self.began, 6)

    @property
    def is_suspect(self) -> bool:
        """Whether so many processes have ended with it in hand that it may be the cause."""
        return self.deaths >= SUSPECT_DEATHS

    @property
    def is_fresh_suspect(self) -> bool:
        """Whether it has gone to one process as a suspect at most."""
        return self.deaths == SUSPECT_DEATHS
