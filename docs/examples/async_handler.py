"""Handlers that wait for something: as coroutines, and with a Deferred."""

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater, react

from netlayer import DataPacket, Node


async def main(reactor: IReactorTime) -> None:
    first = Node(1, "localhost", 0, reactor=reactor)
    await first.start_node()
    second = Node(2, "localhost", 0, peers=[(1, "localhost", first.port)], reactor=reactor)
    await second.start_node()

    async def ask_back(packet: DataPacket) -> None:
        await deferLater(reactor, 0.1)
        await first.send_data(packet.sender_id, f"Why do you say {packet.data!r}?")

    def answer_later(packet: DataPacket) -> Deferred[None]:
        print("Node 2 was asked:", packet.data)
        return deferLater(reactor, 0.1, print, "Node 2 has thought about it")

    first.handle_data = ask_back
    second.handle_data = answer_later

    await second.send_data(1, "hello")
    print("Node 1 has handled the hello, its question included")

    await second.shutdown()
    await first.shutdown()


if __name__ == "__main__":
    react(main)
