"""What all links of one node share: the memory of queues and half-received packets, and the handlers that run."""

from __future__ import annotations

from typing import Protocol

from netlayer.sansio.bootstrap.reservations import Reservations

__all__ = ["PACKET_OVERHEAD", "NodeLoad", "Queue", "SharedPayload"]

#: Bytes that each packet is charged besides its payload, in queues and in windows: about what its objects take, so
#: that a flood of empty packets is bounded like any other.
PACKET_OVERHEAD = 512


class Queue(Protocol):
    """The send queue of one peer."""

    @property
    def queued(self) -> int:
        """Bytes that wait in it."""


class Arriving(Protocol):
    """A packet of which parts have arrived, and more are to come."""

    def may_give_way(self, now: float) -> bool:
        """Return whether it has taken its time already."""

    def give_way(self) -> None:
        """Forget what has arrived."""


class NodeLoad:
    """Counters of one node, kept by their owners.

    :ivar handlers: handlers that have started and not finished, for whichever peer.
    :ivar queued: bytes in all send queues; a payload that several of them share is counted once.
    :ivar queues: the send queues themselves.
    :ivar filled: how many of them are not empty.
    :ivar reservations: the room for packets that were announced.
    :ivar reassembling: bytes of other packets of which parts have arrived.
    :ivar arriving: these packets, in the order in which they have begun.
    :ivar submitted: how many packets were queued so far, for whichever peer.
    """

    __slots__ = ("arriving", "filled", "handlers", "queued", "queues", "reassembling", "reservations", "submitted")

    def __init__(self) -> None:
        self.handlers = 0
        self.queued = 0
        self.queues: set[Queue] = set()
        self.reservations = Reservations()
        self.filled = 0
        self.reassembling = 0
        self.arriving: dict[Arriving, None] = {}
        self.submitted = 0

    def is_longest(self, queue: Queue) -> bool:
        """Return whether no other queue is longer than `queue`."""
        if queue.queued * self.filled < self.queued:  # it holds less than the average, as nearly all do
            return False
        return all(other.queued <= queue.queued for other in self.queues)


class SharedPayload:
    """The payload of a broadcast: encoded once, held by the queues of many peers, charged once."""

    __slots__ = ("holders",)

    def __init__(self) -> None:
        self.holders = 0
