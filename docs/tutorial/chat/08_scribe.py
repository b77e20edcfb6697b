"""The scribe of the chat, who never sleeps: run it with ``twistd netlayer-node --protocol 08_scribe.Scribe``."""

from collections import defaultdict, deque

from netlayer import DataPacket, PeerProtocol
from netlayer.errors import LinkLost

#: What is remembered: so many lines of so many rooms. Others decide how much they say, the scribe how much that costs.
REMEMBERED, ROOMS = 100, 1000


class Scribe(PeerProtocol):
    """The link to one participant of the chat."""

    name = "somebody"

    @property
    def rooms(self) -> defaultdict[str, deque[str]]:
        if self.factory.application is None:  # the first link makes what all links share
            self.factory.application = defaultdict(lambda: deque(maxlen=REMEMBERED))
        return self.factory.application

    def peer_ready(self) -> None:
        self.send_packet({"name": "the scribe"})

    async def packet_received(self, packet: DataPacket) -> None:
        match packet.data:
            case {"name": str(name)}:
                self.name = name
            case {"room": str(room), "says": str(text)} if room in self.rooms or len(self.rooms) < ROOMS:
                self.rooms[room].append(f"<{self.name}> {text}")
                print(f"{self.name} has said something in {room}")
            case {"enters": str(room)}:
                if room in self.rooms:
                    await self.send_packet({"room": room, "before": list(self.rooms[room])}, confirm=True)
            case {"room": _, "before": _}:
                pass  # the scribe has heard it already
            case _:
                raise ValueError("the scribe takes no such message")

    def peer_lost(self, reason: LinkLost) -> None:
        print(f"{self.name} is gone: {reason}")
