"""The bootstrap node of a plain script or of a Twisted application."""

from __future__ import annotations

from typing import Any, overload

from twisted.internet.defer import Deferred

from netlayer.node import Blocking, Mode, Node, Twisted
from netlayer.services import BootstrapService
from netlayer.status import NodeStatus

__all__ = ["BootstrapNode"]


class BootstrapNode(Node[Mode]):
    """A node at a known address that introduces others to each other. It is a :class:`~netlayer.Node` in all else.

    :meth:`~netlayer.Node.get_peers` lists the nodes that are registered with it.
    """

    _service_class = BootstrapService

    @overload
    def start_bootstrap_node(self: BootstrapNode[Blocking]) -> NodeStatus: ...

    @overload
    def start_bootstrap_node(self: BootstrapNode[Twisted]) -> Deferred[NodeStatus]: ...

    def start_bootstrap_node(self) -> Any:
        """Listen, and introduce whoever comes. The same as :meth:`~netlayer.Node.start_node`."""
        return self.start_node()
