"""``twistd netlayer-bootstrap``: a bootstrap node, where others find each other."""

from __future__ import annotations

from typing import Any, ClassVar

from netlayer.bootstrap import BOOTSTRAP_CONNECTIONS
from netlayer.services import BootstrapService
from netlayer.tap.options import NodeOptions, OperatedService

__all__ = ["Options", "makeService"]


class Options(NodeOptions):
    """Options of ``twistd netlayer-bootstrap``."""

    synopsis = "[options]"
    longdesc = (
        "Run a bootstrap node: it keeps ids unique and tells nodes of each other. No packet passes through it, and the "
        "network outlives it. Give nodes its address with --bootstrap."
    )
    optParameters: ClassVar[list[list[Any]]] = [
        [name, short, BOOTSTRAP_CONNECTIONS if name == "max-connections" else default, *rest]
        for name, short, default, *rest in NodeOptions.optParameters
    ]


def makeService(options: Options) -> OperatedService:
    """Make the service of a bootstrap node."""
    from twisted.internet import reactor

    return options.make_service(reactor, BootstrapService)
