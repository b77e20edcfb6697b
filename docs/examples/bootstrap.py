"""Start a bootstrap node, a known address at which nodes find each other: ``python bootstrap.py [port]``."""

import sys

from netlayer.bootstrap_node import BootstrapNode

port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000

bootstrap_node = BootstrapNode(node_id=1, host="localhost", port=port)
bootstrap_node.start_bootstrap_node()

print(f"Bootstrap node 1 listens on port {bootstrap_node.port}")
