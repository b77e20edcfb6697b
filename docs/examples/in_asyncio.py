"""Nodes in an asyncio program: Twisted runs on asyncio's loop, and each Deferred becomes a Future."""

import asyncio

from twisted.internet import asyncioreactor
from twisted.internet.defer import Deferred
from twisted.internet.task import react

from netlayer import DataPacket, Node


async def main(reactor: object) -> None:
    loop = asyncio.get_running_loop()
    received: asyncio.Queue[DataPacket] = asyncio.Queue()

    first = Node(1, "localhost", 0, reactor=reactor)
    first.handle_data = received.put_nowait
    await first.start_node().asFuture(loop)

    second = Node(2, "localhost", 0, peers=[(1, "localhost", first.port)], reactor=reactor)
    await second.start_node().asFuture(loop)

    sending = second.send_data(1, "Hello from asyncio").asFuture(loop)
    packet = await asyncio.wait_for(received.get(), timeout=5)
    print("Node 1 received:", packet)
    await sending

    await asyncio.gather(first.shutdown().asFuture(loop), second.shutdown().asFuture(loop))


if __name__ == "__main__":
    loop = asyncio.new_event_loop()
    asyncioreactor.install(loop)
    react(lambda reactor: Deferred.fromFuture(loop.create_task(main(reactor))))
