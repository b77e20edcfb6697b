"""``twistd netlayer-bootstrap``: a bootstrap node, where others find each other."""

from __future__ import annotations

import attrs

from netlayer.config import Settings
from netlayer.net.bootstrap import BOOTSTRAP_CONNECTIONS
from netlayer.services import BootstrapService
from netlayer.tap.options import NodeOptions
from netlayer.tap.service import OperatedService, make_service

__all__ = ["Options", "makeService"]


class Options(NodeOptions):
    """Options of ``twistd netlayer-bootstrap``."""

    command = "netlayer-bootstrap"
    default_settings = attrs.evolve(Settings(), max_connections=BOOTSTRAP_CONNECTIONS)
    longdesc = (
        "Run a bootstrap node: it keeps ids unique and tells nodes of each other. No packet passes through it, and the "
        "network outlives it. Give nodes its address with --bootstrap."
    )


def makeService(options: Options) -> OperatedService:
    """Make the service of a bootstrap node."""
    from twisted.internet import reactor

    return make_service(options, reactor, BootstrapService)
