"""What became of a packet: a call that returns is a receipt, and everything else is an error of some type."""

from netlayer import DataPacket, Node
from netlayer.errors import HandlerFailed, PeerUnreachable, UnknownPeer, UnsupportedData

alice = Node(1, "localhost", 0)
alice.start_node()
bob = Node(2, "localhost", 0)
bob.start_node()
bobs_address = (2, "localhost", bob.port)


def handle_data(packet: DataPacket) -> None:
    if packet.data == 0:
        raise ValueError("zero is not allowed")


bob.handle_data = handle_data

alice.send_data(bobs_address, 1)
print("1 was handled")

try:
    alice.send_data(bobs_address, 0)
except HandlerFailed as error:
    print("0 was not:", error.text)

try:
    alice.send_data(99, "hello")
except UnknownPeer as error:
    print("Nobody knows where peer", error.peer_id, "is")

try:
    alice.send_data(bobs_address, object())
except UnsupportedData as error:
    print("It can't be sent:", error.reason)

bob.shutdown()
try:
    alice.send_data(bobs_address, 1)
except PeerUnreachable as error:
    print("Peer", error.peer_id, "was dialed", error.attempts, "times")

alice.shutdown()
