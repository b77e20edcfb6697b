"""Start a node that prints what it receives: ``python node.py [port bootstrap_port]``."""

import sys

from netlayer.node import Node

port, bootstrap_port = map(int, sys.argv[1:] or ["8001", "8000"])

node = Node(node_id=2, host="localhost", port=port, bootstrap_address=("localhost", bootstrap_port))
node.start_node()

print(f"Node 2 listens on port {node.port}")
