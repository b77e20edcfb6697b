"""A peer-to-peer protocol framework for Twisted: authenticated links, receipts, broadcasts, and no broker."""

from netlayer.addresses import PeerInfo
from netlayer.bootstrap_node import BootstrapNode
from netlayer.config import Settings
from netlayer.handlers import DataHandler, DataPacket
from netlayer.logger import configure_logging
from netlayer.net.bootstrap import BootstrapFactory, BootstrapProtocol
from netlayer.net.factory import PeerFactory
from netlayer.node import Node
from netlayer.peer import PeerProtocol
from netlayer.services import BootstrapService, PeerService
from netlayer.status import BroadcastReport, NodeStatus
from netlayer.storage.identity import Identity

__all__ = [
    "BootstrapFactory",
    "BootstrapNode",
    "BootstrapProtocol",
    "BootstrapService",
    "BroadcastReport",
    "DataHandler",
    "DataPacket",
    "Identity",
    "Node",
    "NodeStatus",
    "PeerFactory",
    "PeerInfo",
    "PeerProtocol",
    "PeerService",
    "Settings",
    "configure_logging",
]
