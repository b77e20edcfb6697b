"""Send many packets without waiting for each: plain sends in batches, and one wait for each batch."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import react

from netlayer import DataPacket, PeerProtocol, PeerService

COUNT, BATCH = 20_000, 1_000


class Source(PeerProtocol):
    """Sends numbers."""

    def peer_ready(self) -> None:
        self.factory.application.callback(self)

    async def send_numbers(self) -> None:
        for start in range(0, COUNT, BATCH):
            for number in range(start, start + BATCH):
                self.send_packet(number)
            await self.when_drained()


class Sink(PeerProtocol):
    """Adds up the numbers that arrive."""

    total = 0

    def packet_received(self, packet: DataPacket) -> None:
        self.total += packet.data

    def peer_lost(self, reason: object) -> None:
        print("The sum of the numbers is", self.total)


async def main(reactor: IReactorTime) -> None:
    sink = PeerService(reactor, node_id=1, listen="tcp:0:interface=127.0.0.1", protocol=Sink)
    await sink.start()

    peers = [f"tcp:{sink.listening}"]
    source = PeerService(reactor, node_id=2, listen="tcp:0:interface=127.0.0.1", peers=peers, protocol=Source)
    source.factory.application = ready = Deferred[Source]()
    await source.start()

    await (await ready).send_numbers()
    print("All numbers were handled")
    await source.stop()
    await sink.stop()


if __name__ == "__main__":
    react(main)
