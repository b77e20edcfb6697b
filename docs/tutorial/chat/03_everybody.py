"""Chat with everybody: ``python 03_everybody.py MY_ID``."""

import sys

from netlayer import Node

MEETING_POINT = ("localhost", 8000)

node = Node(int(sys.argv[1]), "localhost", 0, MEETING_POINT)
node.start_node()
print("* already here:", [peer.node_id for peer in node.get_peers()])

for line in sys.stdin:
    report = node.broadcast_data(line.rstrip())
    print("* heard by", sorted(report.delivered))

node.shutdown()
