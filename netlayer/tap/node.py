"""``twistd netlayer-node``: a node of the network."""

from __future__ import annotations

from netlayer.errors import shown
from netlayer.handlers import DataPacket
from netlayer.peer import PeerProtocol
from netlayer.services import PeerService
from netlayer.tap.options import NodeOptions
from netlayer.tap.service import OperatedService, make_service

__all__ = ["LoggingProtocol", "Options", "makeService"]


class LoggingProtocol(PeerProtocol):
    """Logs each packet: what a node does whose operator has given it no protocol."""

    with_bootstraps = True

    def packet_received(self, packet: DataPacket) -> None:
        """Log who has sent what, cut to a line."""
        self.factory.log.info("packet from {peer}: {data}", peer=packet.sender_id, data=shown(repr(packet.data)))


class Options(NodeOptions):
    """Options of ``twistd netlayer-node``."""

    command = "netlayer-node"
    longdesc = (
        "Run a node: it registers with its bootstrap nodes, keeps links to all other nodes and hands packets to the "
        "application's protocol (--protocol), or logs them. It may be started before its bootstrap nodes, and heals "
        "by itself after any outage."
    )


def makeService(options: Options) -> OperatedService:
    """Make the service of a node."""
    if options["protocol"] is None:
        options["protocol"] = LoggingProtocol
    from twisted.internet import reactor

    return make_service(options, reactor, PeerService)
