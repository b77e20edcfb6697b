"""What an application sends and handles: the packet, and the default handler that prints it."""

from __future__ import annotations

from typing import Any, Protocol

import attrs

__all__ = ["DataHandler", "DataPacket"]


@attrs.define
class DataPacket:
    """One packet as its receiver sees it.

    :ivar sender_id: the node id of its sender, proven by the link that it came on.
    :ivar data: what was sent: equal, and of the same type.
    :ivar broadcast: whether it was sent to everybody.
    :ivar redelivered: whether another process of this node may already have handled it before it was replaced.
    """

    sender_id: int
    data: Any
    broadcast: bool = False
    redelivered: bool = False
    # What the receipt is made from: the stream that the packet came in, its number there, and whether its sender waits.
    _stream: Any = attrs.field(default=None, eq=False, repr=False, alias="stream")
    _number: int = attrs.field(default=0, eq=False, repr=False, alias="number")
    _receipt_now: bool = attrs.field(default=False, eq=False, repr=False, alias="receipt_now")

    def __str__(self) -> str:
        return f"{self.sender_id}: {self.data}"


class _HasNodeId(Protocol):
    @property
    def node_id(self) -> int: ...


class DataHandler:
    """The handler that a node uses until its application brings one."""

    @staticmethod
    def handle_data(node: _HasNodeId, packet: DataPacket) -> None:
        """Print what arrived.

        :param node: the node that received the packet.
        """
        print(f"Node {node.node_id} received data: {packet}", flush=True)
