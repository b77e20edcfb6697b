"""Chat, and see who comes and who goes: ``python 06_coming_and_going.py MY_ID MY_NAME``, then ``/to NAME TEXT``."""

import sys

from netlayer import DataPacket, Node, PeerInfo
from netlayer.errors import DeliveryError, DeliveryTimeout, HandlerFailed, LinkLost, PeerLost

MEETING_POINT = ("localhost", 8000)


class Chat(Node):
    """A participant, who notices when another one leaves."""

    def __init__(self, node_id: str, name: str) -> None:
        super().__init__(node_id, "localhost", 0, MEETING_POINT)
        self.name = name
        self.names: dict[int, str] = {}

    def who(self, node_id: int) -> str:
        return self.names.get(node_id, f"node {node_id}")

    def peer_joined(self, peer: PeerInfo):
        return self.send_data(peer, {"name": self.name})

    def peer_left(self, peer: PeerInfo, reason: LinkLost) -> None:
        if self.status.state == "stopping":
            return  # it is this participant who leaves
        name = self.who(peer.node_id)
        print(f"* {name} has left" if reason.goodbye else f"* {name} is gone: {reason}")

    def handle_data(self, packet: DataPacket) -> None:
        match packet.data:
            case {"name": str(name)}:
                self.names[packet.sender_id] = name
                print(f"* {name} is here")
            case {"says": str(text)}:
                print(f"<{self.who(packet.sender_id)}> {text}")
            case {"whispers": str(text)}:
                if len(text) > 80:
                    raise ValueError("who whispers is brief")
                print(f"<{self.who(packet.sender_id)}, to you alone> {text}")
            case _:
                raise ValueError("this is no message of the chat")

    def whisper(self, name: str, text: str) -> None:
        called_so = [node_id for node_id, known in list(self.names.items()) if known == name]
        if not called_so:
            print(f"* nobody here is called {name}")
            return
        try:
            self.send_data(called_so[-1], {"whispers": text})
        except HandlerFailed as error:
            print(f"* {name} has refused it: {error.text}")
        except (PeerLost, DeliveryTimeout):
            print(f"* perhaps {name} has read it, perhaps not")
        except DeliveryError as error:
            print(f"* {name} has not got it: {error}")
        else:
            print(f"* {name} has read it")


if __name__ == "__main__":
    chat = Chat(*sys.argv[1:])
    chat.start_node()
    for line in sys.stdin:
        match line.rstrip().split(" ", 2):
            case ["/to", name, text]:
                chat.whisper(name, text)
            case _:
                chat.broadcast_data({"says": line.rstrip()})
    chat.shutdown()
