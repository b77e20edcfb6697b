"""Join, look around, and leave again: ``python shutting_down.py [port bootstrap_port]``."""

import sys

from netlayer.node import Node

port, bootstrap_port = map(int, sys.argv[1:] or ["8004", "8000"])

node = Node(node_id=5, host="localhost", port=port, bootstrap_address=("localhost", bootstrap_port))
node.start_node()

for peer_id, peer_host, peer_port in node.get_peers():
    print(f"Linked to peer {peer_id} at {peer_host}:{peer_port}")

node.shutdown()
print("Node 5 is", node.status.state)
