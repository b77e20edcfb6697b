"""Start a node with a handler of its own: ``python handling.py [port bootstrap_port]``."""

import sys

from netlayer.node import Node

port, bootstrap_port = map(int, sys.argv[1:] or ["8002", "8000"])

node = Node(node_id=3, host="localhost", port=port, bootstrap_address=("localhost", bootstrap_port))


def custom_handle_data(self, packet):
    print(f"Custom handler: Node {self.node_id} received packet: {packet}")


node.handle_data = custom_handle_data.__get__(node, Node)  # Bind custom handler
node.start_node()

print(f"Node 3 listens on port {node.port}")
