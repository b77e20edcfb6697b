"""A handler that takes long: it works in a thread, and the sender's receipt waits for it."""

from __future__ import annotations

import time

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from netlayer import DataPacket, Node, Settings


def count_words(text: str) -> int:
    time.sleep(0.5)  # stands for something slow: a query, a large file, a computation
    return len(text.split())


class Counter(Node):
    """Answers each text with the number of its words."""

    def handle_data(self, packet: DataPacket) -> Deferred[None]:
        return deferToThread(self.answer, packet)

    def answer(self, packet: DataPacket) -> None:
        words = count_words(packet.data)
        self.send_data(packet.sender_id, words)  # it blocks, as it may in this thread


counter = Counter(1, "localhost", 0)
counter.start_node()

# Who sends to a slow handler waits longer for the receipt.
client = Node(2, "localhost", 0, settings=Settings(delivery_timeout=60.0))
client.handle_data = lambda packet: print("The text has", packet.data, "words")
client.start_node()

client.send_data((1, "localhost", counter.port), "the quick brown fox jumps")
print("The text was handled")

client.shutdown()
counter.shutdown()
