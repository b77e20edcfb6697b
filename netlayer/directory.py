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


class Directory:
    """The latest record of each id, and who was heard of lately.

    :ivar bootstraps: the ids that bootstrap nodes had when they were linked.
    """

    def __init__(self) -> None:
        self._records: OrderedDict[int, Record] = OrderedDict()
        self._heard: OrderedDict[int, float] = OrderedDict()  # when, the latest last
        self.bootstraps: OrderedDict[int, None] = OrderedDict()

    def learn(self, record: Record) -> None:
        """Keep a record in place of what was known of its id before."""
        _put_last(self._records, record.node_id, record)

    def get(self, node_id: int) -> Record | None:
        """Return the latest record of an id, or None."""
        return self._records.get(node_id)

    def forget(self, node_id: int) -> None:
        """Drop what is known of an id."""
        self._records.pop(node_id, None)
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
