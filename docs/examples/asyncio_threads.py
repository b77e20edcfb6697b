"""Nodes in an asyncio program that keeps its own loop: the calls that block go to threads."""

import asyncio

from netlayer import DataPacket, Node


async def main() -> None:
    loop = asyncio.get_running_loop()
    received: asyncio.Queue[DataPacket] = asyncio.Queue()

    def handle_data(packet: DataPacket) -> None:  # called in the reactor's thread
        loop.call_soon_threadsafe(received.put_nowait, packet)

    first = Node(1, "localhost", 0)
    first.handle_data = handle_data
    second = Node(2, "localhost", 0)
    await asyncio.to_thread(first.start_node)
    await asyncio.to_thread(second.start_node)

    await asyncio.to_thread(second.send_data, (1, "localhost", first.port), "Hello from a thread")
    print("Node 1 received:", await received.get())

    await asyncio.to_thread(second.shutdown)
    await asyncio.to_thread(first.shutdown)


asyncio.run(main())
