"""A whole network in one script: one bootstrap node, three nodes, packets to one and to all, and the shutdown."""

from netlayer.bootstrap_node import BootstrapNode
from netlayer.node import Node

# 1. The bootstrap node introduces the others to each other. Port 0 asks for a free one.
bootstrap_node = BootstrapNode(node_id=1, host="localhost", port=0)
bootstrap_node.start_bootstrap_node()

# 2. Three nodes join. Each of them links to those that are there already.
bootstrap_address = ("localhost", bootstrap_node.port)
node2 = Node(node_id=2, host="localhost", port=0, bootstrap_address=bootstrap_address)
node3 = Node(node_id=3, host="localhost", port=0, bootstrap_address=bootstrap_address)
node4 = Node(node_id=4, host="localhost", port=0, bootstrap_address=bootstrap_address)
for node in (node2, node3, node4):
    node.start_node()
print("Node 4 is linked to", sorted(peer_id for peer_id, host, port in node4.get_peers()))


# 3. Node 3 gets a handler of its own; the others keep the one that prints.
def custom_handle_data(self, packet):
    print(f"Custom handler: Node {self.node_id} received packet: {packet}")


node3.handle_data = custom_handle_data.__get__(node3, Node)  # Bind custom handler

# 4. A packet to one peer, then one to all. Each call returns when the handlers over there have finished.
node2.send_data(peer=("3", "localhost", node3.port), data="Hello, Peer 3!")
node4.send_data(peer=2, data={"numbers": [1, 2.5, None], "raw": b"\x00\xff"})
report = node4.broadcast_data(data="Hello, everyone!")
print("The broadcast was handled by", sorted(report.delivered))

# 5. The end: each node says goodbye to its peers.
for node in (node2, node3, node4, bootstrap_node):
    node.shutdown()
print("All nodes are shut down")
