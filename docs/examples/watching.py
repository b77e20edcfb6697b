"""A node that tells how it stands, in one line that a person or a program can watch."""

import time

from netlayer import BootstrapNode, Node


def situation(node):
    """Return whether a node has joined, how many peers are linked, what waits for them, and who is away."""
    status = node.status
    waiting = max([link.queued for link in status.links], default=0)
    away = [wanted.address for wanted in (*status.bootstraps, *status.wanted) if wanted.state != "linked"]
    return f"joined: {status.joined}, linked: {len(node.get_peers())}, waiting: {waiting} bytes, away: {len(away)}"


bootstrap = BootstrapNode(1, "localhost", 0)
bootstrap.start_bootstrap_node()
where = ("localhost", bootstrap.port)
first, second = Node(2, "localhost", 0, where), Node(3, "localhost", 0, where)
for node in (first, second):
    node.start_node()
print(situation(second))

bootstrap.shutdown()
while second.status.joined:
    time.sleep(0.1)
print(situation(second))

first.shutdown()
second.shutdown()
