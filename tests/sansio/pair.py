"""Two ends of one connection in memory. Bytes move when a test says so, and time is a number."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from netlayer.config import Settings
from netlayer.handlers import DataPacket
from netlayer.sansio.delivery.delivery import Delivery
from netlayer.sansio.delivery.load import NodeLoad
from netlayer.sansio.delivery.packet import OutgoingPacket
from netlayer.sansio.link.connection import Connection
from netlayer.sansio.link.events import Closed, Event, Introduced, Linked
from netlayer.sansio.link.handshake import LocalNode
from netlayer.sansio.link.states import State
from netlayer.wire.frames import FrameDecoder
from netlayer.wire.messages import (
    DATA_HEADER_SIZE,
    MIN_MAX_FRAME,
    Message,
    MessageType,
    NetAddress,
    Role,
    decode_message,
)

#: The end with the larger fingerprint is the arbiter.
SMALL, LARGE = bytes([1]) * 32, bytes([9]) * 32

ADDRESS = NetAddress("192.0.2.7", 4000)
#: What both ends of a connection have derived from it.
BINDING = bytes([3]) * 32


def local_node(
    node_id: int,
    settings: Settings,
    *,
    fingerprint: bytes,
    boot: int,
    role: Role = "peer",
    secrets: tuple[bytes, ...] = (),
) -> LocalNode:
    """Return what a node with these settings says about itself."""
    return LocalNode(
        network="default",
        node_id=node_id,
        fingerprint=fingerprint,
        role=role,
        boot=boot,
        ephemeral=True,
        window=settings.window,
        max_frame=max(MIN_MAX_FRAME, settings.buffer_size + 1 + DATA_HEADER_SIZE),
        max_packet=settings.max_packet,
        secrets=secrets,
    )


def messages(data: bytes) -> list[Message | tuple[int, bytes]]:
    """Return the messages in `data`, packets as their type and body."""
    decoder = FrameDecoder(limit=2**31)
    decoder.feed(data)
    found: list[Message | tuple[int, bytes]] = []
    while (frame := decoder.next_frame()) is not None:
        if frame[0] in (MessageType.DATA, MessageType.DATA_PART):
            found.append(frame)
        elif (message := decode_message(*frame)) is not None:
            found.append(message)
    assert decoder.waiting == 0, "a frame was not written whole"
    return found


class Side:
    """One end: a connection, the delivery that it works for, and what came of it.

    :ivar events: everything that the connection has reported.
    :ivar accepts: whether introductions are accepted, and selected if it is ours to do.
    :ivar handles: whether handlers finish at once; if not, the test calls :meth:`handled`.
    """

    def __init__(
        self,
        local: LocalNode,
        *,
        dialed: bool,
        settings: Settings,
        delivery: Delivery | None = None,
        expected_id: int | None = None,
        now: float = 0.0,
    ) -> None:
        self.now = now
        self.load = NodeLoad()
        if delivery is None:
            rng = random.Random(local.boot)
            delivery = Delivery(peer_id=None, settings=settings, load=self.load, rng=rng, now=now)
        self.delivery = delivery
        self.connection = Connection(local=local, settings=settings, dialed=dialed, now=now, expected_id=expected_id)
        self.events: list[Event] = []
        self.accepts = self.handles = True

    def secure(self, fingerprint: bytes) -> None:
        """TLS is up, and `fingerprint` is at the other end."""
        self.take(self.connection.secured(fingerprint, ADDRESS, BINDING))

    def receive(self, data: bytes) -> None:
        """Feed bytes."""
        self.take(self.connection.receive_data(data, self.now))

    def take(self, events: Iterable[Event]) -> None:
        """Note events, and do what a driver does about them."""
        for event in events:
            self.events.append(event)
            if isinstance(event, Introduced) and self.accepts:
                self.accept()
            elif isinstance(event, DataPacket) and self.handles:
                self.handled(event)

    def accept(self) -> None:
        """Accept the other end, and select this connection if that is ours to do."""
        self.take(self.connection.accept(self.delivery, self.now))
        if self.connection.state is State.PROVEN and self.connection.is_arbiter:
            self.connection.select()

    def said(self) -> bytes:
        """Return everything there is to say now."""
        said = b""
        while True:
            data = self.connection.data_to_send(self.now)
            said += data
            if not data and not self._after_sending():
                return said

    def messages(self) -> list[Message | tuple[int, bytes]]:
        """Return everything there is to say now, decoded."""
        return messages(self.said())

    def send(self, payload: bytes, **options: Any) -> OutgoingPacket:
        """Queue a packet of bytes."""
        packet = OutgoingPacket(0, payload, **options)
        self.delivery.submit(packet)
        return packet

    def handled(self, packet: DataPacket, failure: str | None = None) -> None:
        """The handler of `packet` finished."""
        self.take(self.connection.packet_handled(packet, failure, self.now))

    def wait(self, seconds: float) -> None:
        """Let time pass, and do what falls due; nothing is written meanwhile."""
        until = self.now + seconds
        for _ in range(1000):
            deadline = self.connection.next_deadline()
            if deadline is None or deadline > until:
                break
            self.now = max(self.now, deadline)
            self.take(self.connection.deadline_reached(self.now))
        else:
            raise AssertionError(f"at {self.now} the deadline is still {deadline}")
        self.now = until

    @property
    def packets(self) -> list[DataPacket]:
        """What arrived for the application."""
        return [event for event in self.events if isinstance(event, DataPacket)]

    @property
    def linked(self) -> bool:
        """Whether this connection has become the link."""
        return any(isinstance(event, Linked) for event in self.events)

    @property
    def closed(self) -> Exception | None:
        """Why the connection is over, or None if it is not."""
        reasons = [event.reason for event in self.events if isinstance(event, Closed)]
        assert len(reasons) <= 1, f"closed more than once: {reasons}"
        return reasons[0] if reasons else None

    def _after_sending(self) -> bool:
        events = self.connection.after_sending()
        self.take(events)
        return bool(events)


class Pair:
    """A dialer (node 1) and a listener (node 2).

    :param dialer_selects: whether the dialer is the arbiter.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        dialer_selects: bool = False,
        deliveries: tuple[Delivery, Delivery] | None = None,
        boots: tuple[int, int] = (11, 22),
        now: float = 0.0,
        roles: tuple[Role, Role] = ("peer", "peer"),
    ) -> None:
        settings = settings or Settings()
        mine, other = deliveries or (None, None)
        small, large = (LARGE, SMALL) if dialer_selects else (SMALL, LARGE)
        local = local_node(1, settings, fingerprint=small, boot=boots[0], role=roles[0])
        self.dialer = Side(local, dialed=True, settings=settings, delivery=mine, now=now)
        local = local_node(2, settings, fingerprint=large, boot=boots[1], role=roles[1])
        self.listener = Side(local, dialed=False, settings=settings, delivery=other, now=now)
        self.sides = (self.dialer, self.listener)
        self.arbiter, self.follower = self.sides if dialer_selects else (self.listener, self.dialer)

    def secure(self) -> Pair:
        """Have TLS up at both ends."""
        self.listener.secure(self.dialer.connection.local.fingerprint)
        self.dialer.secure(self.listener.connection.local.fingerprint)
        return self

    def link(self) -> Pair:
        """Have the link stand, with nothing left to say."""
        self.secure().exchange()
        assert self.dialer.linked and self.listener.linked
        return self

    def exchange(self) -> None:
        """Carry bytes to and fro until both ends have nothing to say."""
        while True:
            there, back = self.dialer.said(), self.listener.said()
            if not there and not back:
                return
            self.listener.receive(there)
            self.dialer.receive(back)

    def wait(self, seconds: float) -> None:
        """Let time pass at both ends; bytes travel at once."""
        until = self.dialer.now + seconds
        while True:
            self.exchange()
            due = [time for side in self.sides if (time := side.connection.next_deadline()) is not None]
            step = max(0.0, min([until, *due]) - self.dialer.now)
            for side in self.sides:
                side.wait(step)
            if self.dialer.now >= until:
                self.exchange()
                return
