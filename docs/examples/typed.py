"""What a strict type checker accepts: both ways to hold a node, and both ways to give it a handler."""

from __future__ import annotations

from typing import Literal

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import react

from netlayer import BroadcastReport, DataPacket, Node, NodeStatus, PeerInfo
from netlayer.errors import LinkLost


class Recorder(Node[Literal["blocking"]]):
    """A node of a plain script: its verbs block. It overrides the hooks."""

    def handle_data(self, packet: DataPacket) -> None:
        print("The recorder received", packet.data)

    def peer_joined(self, peer: PeerInfo) -> None:
        print("The recorder is linked to", peer.node_id)

    def peer_left(self, peer: PeerInfo, reason: LinkLost) -> None:
        print("The recorder lost", peer.node_id)


class Echo(Node[Literal["twisted"]]):
    """A node of a Twisted program: its verbs return Deferreds. Its handler is a coroutine."""

    async def handle_data(self, packet: DataPacket) -> None:
        await self.send_data(packet.sender_id, [packet.data, packet.data])


def custom_handle_data(self: Node[Literal["twisted"]], packet: DataPacket) -> None:
    print(f"Node {self.node_id} received {packet.data}")


async def in_twisted(reactor: IReactorTime) -> None:
    echo = Echo(1, "localhost", 0, reactor=reactor)
    status: NodeStatus = await echo.start_node()
    print("The echo is", status.state)

    node = Node(2, "localhost", 0, peers=[(1, "localhost", echo.port)], reactor=reactor)
    node.handle_data = custom_handle_data.__get__(node, Node)  # bound anew
    await node.start_node()
    report: BroadcastReport = await node.broadcast_data("twice")
    print("The broadcast was handled by", sorted(report.delivered))

    await node.shutdown()
    await echo.shutdown()


def in_a_script() -> None:
    recorder = Recorder(1, "localhost", 0)
    status: NodeStatus = recorder.start_node()
    print("The recorder is", status.state)

    node = Node(2, "localhost", 0, peers=[(1, "localhost", recorder.port)])
    node.handle_data = lambda packet: print("never called:", packet)
    node.start_node()
    report: BroadcastReport = node.broadcast_data("once")
    print("The broadcast was handled by", sorted(report.delivered))

    node.shutdown()
    recorder.shutdown()


if __name__ == "__main__":
    import sys

    if "--in-twisted" in sys.argv:
        react(in_twisted)
    else:
        in_a_script()
