"""Send to one peer and to all: ``python sending.py [port bootstrap_port peer_port]``."""

import sys

from netlayer.node import Node

port, bootstrap_port, peer_port = map(int, sys.argv[1:] or ["8003", "8000", "8002"])

node = Node(node_id=4, host="localhost", port=port, bootstrap_address=("localhost", bootstrap_port))
node.start_node()

node.send_data(peer=("3", "localhost", peer_port), data="Hello, Peer 3!")
print("Peer 3 has handled its packet")

report = node.broadcast_data(data="Hello, everyone!")
print("The broadcast was handled by", sorted(report.delivered))

node.shutdown()
