"""Whose senders are asked to pause: those whose packets would be refused soon.

A peer's queue refuses at its own limit, and, while all queues together are at the limit of the node, if it is the
longest of them. The longest of n queues holds an n-th of all at least. So whoever is asked to pause at three quarters
of that share is asked before its packets are refused. Peers with little in their queues go on.
"""

from __future__ import annotations

from netlayer.sansio.delivery.load import NodeLoad

__all__ = ["Pauses"]


class Pauses:
    """Decides for the peers of one node when their senders pause and go on.

    No packet costs more than a few comparisons. All peers are looked at when the node gets tight, when it has room
    again, and, while it is tight, each time the number of queues has grown by a third.

    :param limit: the bytes in all queues from which on the longest one refuses.
    :ivar pause_at: the bytes in all queues from which on the node is tight.
    :ivar tight: whether it is; it has room again when half the limit is free.
    """

    __slots__ = ("_load", "_queues", "_resume_at", "pause_at", "tight")

    def __init__(self, load: NodeLoad, *, limit: int) -> None:
        self._load = load
        self.pause_at = limit * 3 // 4
        self._resume_at = limit // 2
        self.tight = False
        self._queues = 0  # how many have shared the limit when everybody was looked at

    def look(self) -> bool:
        """Take in what the queues hold by now; return whether every peer has to be looked at."""
        queued, filled = self._load.queued, self._load.filled
        if not self.tight:
            if queued < self.pause_at:
                return False
            self.tight = True
        elif queued <= self._resume_at:
            self.tight = False
            return True
        elif filled * 3 <= self._queues * 4:
            if filled * 2 < self._queues:  # shares have grown: who was not asked to pause need not be asked
                self._queues = filled
            return False
        self._queues = filled
        return True

    def must_pause(self, queued: int, limit: int) -> bool:
        """Return whether a peer's sender has to pause.

        :param queued: the bytes in the peer's queue.
        :param limit: the bytes from which on that refuses by itself.
        """
        return queued >= limit * 3 // 4 or (self.tight and queued * self._queues >= self.pause_at)

    def may_resume(self, queued: int, limit: int) -> bool:
        """Return whether the sender of a peer, which was asked to pause, may go on; arguments as before."""
        return queued <= limit // 2 and (not self.tight or queued * self._queues <= self._resume_at)
