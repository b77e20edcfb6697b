"""One of the two processes: its parts, and which of them a frame is for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.sansio.model.packets import Broken, Packet, Session
from tests.sansio.model.receiving import Receiving
from tests.sansio.model.room import Room
from tests.sansio.model.selecting import Selecting
from tests.sansio.model.sending import Sending

if TYPE_CHECKING:
    from tests.sansio.model.network import End, Frame, Network

__all__ = ["Process"]


class Process:
    """A process, from its start to its death.

    :ivar link: the connection that is the link, or that was selected; `up` tells whether packets may flow.
    :ivar cause: the packet whose handler has killed it.
    :ivar running: its handlers that have not finished.
    """

    def __init__(self, network: Network, side: int) -> None:
        self.network = network
        self.side = side
        self.boot = 1000 + network.new_id()
        self.window, self.peer_window, self.dials = network.settings(side)
        self.alive = True
        self.stopping = False
        self.cause: Packet | None = None
        self.ends: list[End] = []
        self.link: End | None = None
        self.up = False
        self.session: Session | None = None
        self.running = 0
        self.sending = Sending(self)
        self.receiving = Receiving(self)
        self.room = Room(self)
        self.selecting = Selecting(self)

    def submit(
        self,
        size: int,
        kind: str,
        delay: float,
        depth: int,
        *,
        receipt_now: bool = False,
        timeout: float | None = None,
        cancel: float | None = None,
        then: Callable[[str], None] | None = None,
    ) -> Packet:
        """Send a packet.

        :param timeout: seconds until its caller is told that it timed out.
        :param cancel: seconds until its caller gives up by itself.
        :param then: told the outcome.
        """
        plain = not timeout and not cancel and then is None
        packet = self.sending.new_packet(size, kind, delay, depth, plain, receipt_now, then)
        self.sending.submit(packet, timeout, cancel)
        return packet

    def receive(self, end: End, frame: Frame) -> None:
        """Take a frame."""
        kind = frame[0]
        self.selecting.heard(end)
        if kind in ("DATA", "PART"):
            self.receiving.data_received(end, frame)
        elif kind in ("ACK", "DONE", "NACK"):
            self._receipt_received(end, frame)
        elif kind == "ANNOUNCE":
            if end is self.link and self.up:
                if end.heard_goodbye:
                    raise Broken("no packet is announced behind GOODBYE")
                self.room.announced(end, frame[1], frame[2])
        elif kind == "GO":
            if end is self.link and self.up:
                self.sending.go_received(end, frame[1])
        elif kind == "PING":
            self.network.send(end, ("PONG",))
        elif kind != "PONG":
            self.selecting.frame_received(end, frame)
        if end is self.link:  # it was heard, which may end a probation
            self.sending.pump()

    def _receipt_received(self, end: End, frame: Frame) -> None:
        if (end is not self.link and not self.network.reads("losers-stay")) or self.session is None:
            return
        flying = self.session.flying
        if frame[0] == "ACK":
            for number in [number for number in flying if number <= frame[1]]:
                self.sending.settle(flying.pop(number), "ok")
        elif frame[1] in flying:
            self.sending.settle(flying.pop(frame[1]), "ok" if frame[0] == "DONE" else "HandlerFailed")
        self.sending.pump()
        if end is self.link:
            self.selecting.close_if_done(end)
