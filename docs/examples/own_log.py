"""Log to another file than network.log, and less: ``python own_log.py [path]``."""

import logging
import sys

from netlayer import Node, configure_logging

configure_logging(sys.argv[1] if len(sys.argv) > 1 else "node-2.log", level=logging.INFO)

node = Node(2, "localhost", 0)
node.start_node()
node.shutdown()
