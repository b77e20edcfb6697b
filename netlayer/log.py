"""A Twisted logger that says which node speaks, as one process may hold many."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

__all__ = ["LimitedLog", "NodeLog"]


class NodeLog(Logger):
    """Puts the node's id in front of each message; the event carries it as ``node``."""

    def __init__(self, node_id: int) -> None:
        super().__init__(namespace="netlayer")
        self._node_id = node_id

    def emit(self, level: Any, format: str | None = None, **fields: Any) -> None:
        """Emit an event, as any logger does."""
        super().emit(level, f"node {{node}}: {format}", node=self._node_id, **fields)


class LimitedLog(NodeLog):
    """For what strangers cause: a flood of them must not fill a disk.

    :param lines: how many a minute are written at most; of the others their number is told in the next minute.
    """

    def __init__(self, node_id: int, *, clock: IReactorTime, lines: int) -> None:
        super().__init__(node_id)
        self._clock = clock
        self._most = lines
        self._written = self._left_out = 0
        self._minute: float | None = None  # when it began; not now, as what tells the time may still change

    def emit(self, level: Any, format: str | None = None, **fields: Any) -> None:
        """Emit an event, unless there were too many."""
        now = self._clock.seconds()
        if self._minute is None or now - self._minute >= 60.0:
            self._minute = now
            left_out, self._written, self._left_out = self._left_out, 0, 0
            if left_out:
                self.warn("{count} lines about strangers were left out", count=left_out)
        if self._written < self._most:
            self._written += 1
            super().emit(level, format, **fields)
        else:
            self._left_out += 1
