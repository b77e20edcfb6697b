"""Chat with one other person: ``python 01_two_people.py MY_ID MY_PORT THEIR_ID THEIR_PORT``."""

import sys

from netlayer import Node

my_id, my_port, their_id, their_port = map(int, sys.argv[1:])

node = Node(my_id, "localhost", my_port)
node.start_node()
print("* you are node", my_id)

for line in sys.stdin:
    node.send_data((their_id, "localhost", their_port), line.rstrip())

node.shutdown()
