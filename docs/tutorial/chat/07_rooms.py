"""Chat in rooms: ``python 07_rooms.py MY_ID MY_NAME``, then ``/join ROOM``, ``/to NAME TEXT``, or just text."""

import sys
from collections import deque

from netlayer import DataPacket, Node, PeerInfo
from netlayer.errors import DeliveryError, DeliveryTimeout, HandlerFailed, LinkLost, PeerLost

MEETING_POINT = ("localhost", 8000)

#: What is remembered of a room: so many lines.
REMEMBERED = 100


class Chat(Node):
    """A participant, who is in a room and remembers what was said in those visited."""

    def __init__(self, node_id: str, name: str) -> None:
        super().__init__(node_id, "localhost", 0, MEETING_POINT)
        self.name = name
        self.names: dict[int, str] = {}
        self.room = "lobby"
        self.rooms = {self.room: deque(maxlen=REMEMBERED)}

    def who(self, node_id: int) -> str:
        return self.names.get(node_id, f"node {node_id}")

    def peer_joined(self, peer: PeerInfo):
        return self.send_data(peer, {"name": self.name})

    def peer_left(self, peer: PeerInfo, reason: LinkLost) -> None:
        if self.status.state == "stopping":
            return  # it is this participant who leaves
        name = self.who(peer.node_id)
        print(f"* {name} has left" if reason.goodbye else f"* {name} is gone: {reason}")

    async def handle_data(self, packet: DataPacket) -> None:
        match packet.data:
            case {"name": str(name)}:
                self.names[packet.sender_id] = name
                print(f"* {name} is here")
            case {"room": str(room), "says": str(text)} if room in self.rooms:
                self.rooms[room].append(f"<{self.who(packet.sender_id)}> {text}")
                if room == self.room:
                    print(self.rooms[room][-1])
            case {"room": _, "says": _}:
                pass  # said where this participant has never been
            case {"enters": str(room)}:
                known = list(self.rooms.get(room, []))
                if known:
                    await self.send_data(packet.sender_id, {"room": room, "before": known})
            case {"room": str(room), "before": list(lines)} if room in self.rooms:
                if len(lines) > len(self.rooms[room]):
                    self.rooms[room] = deque(map(str, lines), maxlen=REMEMBERED)
            case {"whispers": str(text)}:
                if len(text) > 80:
                    raise ValueError("who whispers is brief")
                print(f"<{self.who(packet.sender_id)}, to you alone> {text}")
            case _:
                raise ValueError("this is no message of the chat")

    def enter(self, room: str) -> None:
        self.rooms.setdefault(room, deque(maxlen=REMEMBERED))
        self.room = room
        self.broadcast_data({"enters": room})
        print(f"* you are in {room}, where {len(self.rooms[room])} lines were said")
        for line in self.rooms[room]:
            print(line)

    def say(self, text: str) -> None:
        self.rooms[self.room].append(f"<{self.name}> {text}")
        self.broadcast_data({"room": self.room, "says": text})

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
            case ["/join", room]:
                chat.enter(room)
            case _:
                chat.say(line.rstrip())
    chat.shutdown()
