"""Chat with everybody, by name: ``python 04_names.py MY_ID MY_NAME``."""

import sys

from netlayer import DataPacket, Node, PeerInfo

MEETING_POINT = ("localhost", 8000)


class Chat(Node):
    """A participant, who has a name and knows those of the others."""

    def __init__(self, node_id: str, name: str) -> None:
        super().__init__(node_id, "localhost", 0, MEETING_POINT)
        self.name = name
        self.names: dict[int, str] = {}

    def who(self, node_id: int) -> str:
        return self.names.get(node_id, f"node {node_id}")

    def peer_joined(self, peer: PeerInfo):
        return self.send_data(peer, {"name": self.name})

    def handle_data(self, packet: DataPacket) -> None:
        match packet.data:
            case {"name": str(name)}:
                self.names[packet.sender_id] = name
                print(f"* {name} is here")
            case {"says": str(text)}:
                print(f"<{self.who(packet.sender_id)}> {text}")
            case _:
                raise ValueError("this is no message of the chat")


if __name__ == "__main__":
    chat = Chat(*sys.argv[1:])
    chat.start_node()
    for line in sys.stdin:
        chat.broadcast_data({"says": line.rstrip()})
    chat.shutdown()
