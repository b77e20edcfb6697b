"""Twelve nodes chat through two partitions and a crash: in the end everybody has all messages."""

from netlayer import Node
from netlayer.testing import Crash, Partition, Scenario


class Chat(Node):
    """Keeps what was said, and tells it to whoever is linked anew."""

    def say(self, text):
        self.said.add(text)
        self.broadcast_data(text)

    def handle_data(self, packet):
        self.said.update(packet.data if isinstance(packet.data, list) else [packet.data])

    def peer_joined(self, peer):
        self.send_data(peer.node_id, sorted(self.said)).addErrback(lambda failure: None)


class EverybodyHasAllMessages(Scenario):
    nodes = 12
    seconds = 20.0
    trouble = {Partition: 2, Crash: 1}

    def node(self, host):
        chat = Chat(host.number, host.address, 8001, **self.options(host))
        chat.said = host.disk.setdefault("said", set())
        return chat

    async def workload(self):
        for number in range(30):
            await self.sleep(self.rng.uniform(0.2, 0.6))
            self.rng.choice(self.running).say(f"message {number}")

    def settled(self):
        return all(len(host.disk["said"]) == 30 for host in self.hosts)

    def delivered(self):
        return {host.name: sorted(host.disk["said"]) for host in self.hosts}


if __name__ == "__main__":
    for seed in range(3):
        EverybodyHasAllMessages(seed).run()
    print("Everybody has all messages")
