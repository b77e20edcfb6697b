"""What this node knows of participants of its network that it may not be linked to."""

from __future__ import annotations

from collections import OrderedDict

from netlayer.wire.messages import Record

__all__ = ["Directory"]

#: Records kept at most; the ones learned longest ago are forgotten first.
MAX_KNOWN = 4096


class Directory:
    """The latest record of each id."""

    def __init__(self) -> None:
        self._records: OrderedDict[int, Record] = OrderedDict()

    def learn(self, record: Record) -> None:
        """Keep a record in place of what was known of its id before."""
        self._records[record.node_id] = record
        self._records.move_to_end(record.node_id)
        if len(self._records) > MAX_KNOWN:
            self._records.popitem(last=False)

    def get(self, node_id: int) -> Record | None:
        """Return the latest record of an id, or None."""
        return self._records.get(node_id)

    def forget(self, node_id: int) -> None:
        """Drop what is known of an id."""
        self._records.pop(node_id, None)
