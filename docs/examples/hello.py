"""Say hello to everybody and print what they say: ``python hello.py NODE_ID [bootstrap_port]``."""

import sys

from netlayer import Node

node_id = int(sys.argv[1])
bootstrap_port = int(sys.argv[2]) if len(sys.argv) > 2 else 8000

node = Node(node_id, "localhost", 0, ("localhost", bootstrap_port))
node.start_node()

report = node.broadcast_data(f"Hello, I am node {node_id}!")
print("My hello was handled by", sorted(report.delivered))

node.wait()
