"""Notice who comes and who goes: a subclass of Node that overrides its hooks."""

from netlayer import BootstrapNode, DataPacket, Node, PeerInfo
from netlayer.errors import LinkLost


class Watcher(Node):
    """A node that tells of its peers."""

    def handle_data(self, packet: DataPacket) -> None:
        print(f"Peer {packet.sender_id} says {packet.data!r}")

    def peer_joined(self, peer: PeerInfo) -> None:
        print(f"Peer {peer.node_id} has come")

    def peer_left(self, peer: PeerInfo, reason: LinkLost) -> None:
        print(f"Peer {peer.node_id} has gone: {reason}")


bootstrap_node = BootstrapNode(1, "localhost", 0)
bootstrap_node.start_bootstrap_node()
bootstrap_address = ("localhost", bootstrap_node.port)

watcher = Watcher(2, "localhost", 0, bootstrap_address)
watcher.start_node()

guest = Node(3, "localhost", 0, bootstrap_address)
guest.start_node()
guest.broadcast_data("good evening")
guest.shutdown()

watcher.shutdown()
bootstrap_node.shutdown()
