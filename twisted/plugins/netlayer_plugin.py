"""Tells ``twistd`` and ``twist`` of netlayer's two commands."""

from twisted.application.service import ServiceMaker

netlayer_bootstrap = ServiceMaker(
    "netlayer bootstrap node",
    "netlayer.tap.bootstrap",
    "A bootstrap node, where the nodes of a network find each other.",
    "netlayer-bootstrap",
)

netlayer_node = ServiceMaker(
    "netlayer node",
    "netlayer.tap.node",
    "A node of a peer-to-peer network.",
    "netlayer-node",
)
