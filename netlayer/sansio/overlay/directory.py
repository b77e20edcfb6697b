"""What this node knows of participants of its network that it may not be linked to."""

from __future__ import annotations

from collections import OrderedDict
from itertools import takewhile
from typing import TypeVar

from netlayer.wire.messages import Record

__all__ = ["Directory"]

T = TypeVar("T")

#: Records kept at most; the ones learned longest ago are forgotten first.
MAX_KNOWN = 4096
#: Seconds of news in which nobody has told of a peer any more, until it is taken to be gone: ten renewals, of each of
#: which a peer of a network of 128 is in one of two samples.
STALE_AFTER = 300.0


class Directory:
    """The latest record of each id, and who was heard of lately.

    :ivar bootstraps: the ids that bootstrap nodes had when they were linked.
    """

    def __init__(self) -> None:
        self._records: OrderedDict[int, Record] = OrderedDict()
        self._heard: OrderedDict[int, float] = OrderedDict()  # when, the latest last
        self.bootstraps: OrderedDict[int, None] = OrderedDict()
        self._learned: OrderedDict[int, float] = OrderedDict()  # when, by id; of those that are not known to be gone
        self._news_at = 0.0

    def learn(self, record: Record, now: float) -> None:
        """Keep a record in place of what was known of its id before."""
        _put_last(self._records, record.node_id, record)
        _put_last(self._learned, record.node_id, now)

    def news_received(self, now: float) -> None:
        """A bootstrap node has told of whom it lists."""
        self._news_at = now

    def get(self, node_id: int) -> Record | None:
        """Return the latest record of an id, or None."""
        return self._records.get(node_id)

    def current(self) -> list[Record]:
        """Return the records of those that are taken to be in the network now, and that can be dialed.

        When nothing is heard of the bootstrap nodes any more, they stay so.
        """
        since = self._news_at - STALE_AFTER
        return [
            record
            for node_id, record in self._records.items()
            if record.addresses and self._learned.get(node_id, -1.0) >= since
        ]

    def doubt(self, node_id: int, fingerprint: bytes | None) -> None:
        """Take a peer to be gone until it is told of again; what is known of it stays."""
        record = self._records.get(node_id)
        if record is not None and record.fingerprint == fingerprint:
            self._learned.pop(node_id, None)

    def forget(self, node_id: int) -> None:
        """Drop what is known of an id."""
        self._records.pop(node_id, None)
        self._learned.pop(node_id, None)
        self._heard.pop(node_id, None)

    def heard_of(self, node_id: int, now: float) -> None:
        """Note that a bootstrap node has told of a peer, or that this one has refused it for lack of room."""
        _put_last(self._heard, node_id, now)

    def heard_since(self, time: float) -> set[int]:
        """Return the ids of the peers that were heard of since then."""
        return {node_id for node_id, _ in takewhile(lambda heard: heard[1] >= time, reversed(self._heard.items()))}

    def linked(self, node_id: int, *, is_bootstrap: bool) -> None:
        """Note what kind of node has an id."""
        if is_bootstrap:
            _put_last(self.bootstraps, node_id, None)
        else:
            self.bootstraps.pop(node_id, None)


def _put_last(kept: OrderedDict[int, T], node_id: int, value: T) -> None:
    kept[node_id] = value
    kept.move_to_end(node_id)
    if len(kept) > MAX_KNOWN:
        kept.popitem(last=False)
