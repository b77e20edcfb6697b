"""A Twisted logger that says which node speaks, as one process may hold many."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

__all__ = ["NodeLog"]


class NodeLog(Logger):
    """Puts the node's id in front of each message; the event carries it as ``node``."""

    def __init__(self, node_id: int) -> None:
        super().__init__(namespace="netlayer")
        self._node_id = node_id

    def emit(self, level: Any, format: str | None = None, **fields: Any) -> None:
        """Emit an event, as any logger does."""
        super().emit(level, f"node {{node}}: {format}", node=self._node_id, **fields)
