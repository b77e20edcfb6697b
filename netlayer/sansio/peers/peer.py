"""One peer over its connections: which of them is the link, and what is under way.

Connections are numbers, which whoever has the sockets gives them. Each call takes the time and returns what has to be
done for it, in order.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from netlayer.config import Settings
from netlayer.errors import LinkLost, PeerLost
from netlayer.handlers import DataPacket
from netlayer.sansio.delivery.delivery import Delivery
from netlayer.sansio.delivery.load import NodeLoad
from netlayer.sansio.delivery.packet import OutgoingPacket
from netlayer.sansio.delivery.pauses import Pauses
from netlayer.sansio.link.commands import Abort, Accept, Ping, Reject, Select
from netlayer.sansio.link.selection import Decision, Refuse, Selection, Take
from netlayer.sansio.outputs import (
    LinkDown,
    LookAtAll,
    Note,
    Output,
    PauseSending,
    Replace,
    ResumeSending,
    Send,
    Settled,
)

__all__ = ["Peer"]


class Peer:
    """A peer: one fingerprint, or, before that is known, one node id that somebody wants to send to.

    Its delivery is lent to the connections that are accepted: the one that is selected works with it.

    :param fingerprint: 32 bytes; None while it is unknown who answers for `node_id`.
    :param pauses: whose senders pause; shared by all peers.
    :ivar connections: the numbers of those that were accepted, oldest first.
    :ivar link: the connection through which packets flow, or None.
    :ivar selected: the connection that is the link, or that was selected and awaits the other end's answer.
    :ivar sending_paused: whether the application was asked to stop sending for a while.
    """

    def __init__(
        self,
        *,
        node_id: int,
        fingerprint: bytes | None,
        settings: Settings,
        load: NodeLoad,
        pauses: Pauses,
        rng: random.Random,
        now: float,
    ) -> None:
        self.node_id = node_id
        self.fingerprint = fingerprint
        self.delivery = Delivery(peer_id=node_id, settings=settings, load=load, rng=rng, now=now)
        self.connections: dict[int, None] = {}
        self.link: int | None = None
        self.selected: int | None = None
        self.sending_paused = False
        self._load = load
        self._pauses = pauses
        self._selection: Selection[int] = Selection(probe_timeout=settings.probe_timeout)
        self._send: tuple[Output, ...] = ()  # what a packet asks of the link
        self._unknown: list[int] = []  # what the end of the link will tell
        self._replaced: dict[int, tuple[int, ...]] = {}  # what the ends of former links will tell, which come next

    # ---- packets

    def submit(self, packet: OutgoingPacket) -> Sequence[Output]:
        """Queue a packet, which gets its number.

        :raises QueueFull: when this peer's queue is full.
        :raises PacketTooLarge: when the peer takes no packets of this size.
        """
        pauses, delivery = self._pauses, self.delivery
        delivery.submit(packet)
        if (
            pauses.tight
            or self._load.queued >= pauses.pause_at
            or (not self.sending_paused and delivery.queued >= delivery.queue_limit * 3 // 4)
        ):
            return [*self._look(), *self._send]
        return self._send

    def withdraw(self, packet: OutgoingPacket, error: Exception) -> list[Output]:
        """Settle a packet whose caller waits no longer."""
        self.delivery.withdraw(packet, error)
        return self.settled()

    def fail_unwritten(self, error: Exception, *, plain: bool = True) -> list[Output]:
        """Fail the packets that were never written: the peer can't be reached.

        :param plain: whether those fail, too, whose outcome nobody waits for.
        """
        self.delivery.fail_unwritten(error, plain=plain)
        return self.settled()

    def refused(self, attempts: int, reason: str) -> list[Output]:
        """Note that nothing listens where the peer is dialed; nothing changes if a connection of its own is on the way.

        :param attempts: how many times it was dialed.
        :param reason: what the system says about it.
        """
        if self.connections:
            return []
        self.delivery.refused(attempts, reason)
        return self.settled()

    def packet_handled(self, packet: DataPacket, failure: str | None) -> None:
        """Note that the handler of a packet has finished while the peer is not linked.

        On a link the connection is told, which has the receipt to send.
        """
        self.delivery.handler_finished(packet, failure)

    def settled(self) -> list[Output]:
        """Return what there is to tell of packets that have ended."""
        delivery = self.delivery
        if not (delivery.settled or self.sending_paused or self._pauses.tight):
            return []
        outputs, unknown = list[Output](), []
        for packet in delivery.take_settled():
            error = packet.error
            if packet.waiter is not None:
                outputs.append(Settled(packet))
            elif isinstance(error, PeerLost):
                unknown.append(packet.number)
            elif error is not None:
                told = {"number": packet.number, "peer": self.node_id, "error": error}
                outputs.append(Note("warn", "packet {number} to peer {peer} failed: {error}", told))
        if delivery.must_take_back:
            outputs += self._send
        if unknown:
            self._unknown += unknown
            outputs.append(
                Note(
                    "warn",
                    "the outcome of {count} packets to peer {peer} is unknown: the session has ended",
                    {"count": len(unknown), "peer": self.node_id, "numbers": unknown},
                )
            )
        if self.sending_paused or self._pauses.tight:
            outputs += self._look()
        return outputs

    def adopt(self, other: Peer) -> None:
        """Take over what waits for `other`, which was made before it was known that this is who is meant."""
        self.delivery.adopt(other.delivery)

    def look(self) -> list[Output]:
        """Ask the application to pause or to go on with sending to this peer, if that is due."""
        queued, limit = self.delivery.queued, self.delivery.queue_limit
        if self.sending_paused:
            if not self._pauses.may_resume(queued, limit):
                return []
            self.sending_paused = False
            return [ResumeSending(self.link)] if self.link is not None else []
        if not self._pauses.must_pause(queued, limit):
            return []
        self.sending_paused = True
        return [PauseSending(self.link)] if self.link is not None else []

    # ---- connections

    def accept(self, connection: int) -> list[Output]:
        """Accept a connection that has introduced itself."""
        self.connections[connection] = None
        return [Accept(connection, self.delivery)]

    def proven(self, connection: int, boot: int, now: float) -> list[Output]:
        """Decide about a connection that was accepted, if this end is the arbiter.

        :param boot: which process of the peer it leads to.
        """
        return self._decided(self._selection.proven(connection, boot, now))

    @property
    def awaits_sign(self) -> bool:
        """Whether the link has to show that it lives, as another connection wants its place."""
        return self._selection.deadline is not None

    def spoke(self, connection: int) -> list[Output]:
        """Note that bytes came on a connection, while :attr:`awaits_sign`."""
        return self._decided(self._selection.spoke(connection))

    def linked(self, connection: int) -> list[Output]:
        """Note that both ends have selected a connection."""
        outputs = self.settled()  # also what this connection has made unknown
        if self.link is not None:
            self._replaced[self.link] = tuple(self._unknown)
        self.selected = self.link = connection
        self._send = (Send(connection),)
        self._unknown = []
        return [*outputs, Replace(connection)]

    def lost(self, connection: int, reason: str, *, session_over: bool, now: float) -> list[Output]:
        """Note that a connection is over.

        :param session_over: whether the session ends with it, because a GOODBYE was said.
        """
        self.connections.pop(connection, None)
        was_in_use = connection in (self.link, self.selected)
        unknown = self._replaced.pop(connection, ())
        if connection == self.link:
            self.link, self._send = None, ()
        if connection == self.selected:
            self.selected = None
            self.delivery.detach(now)
            if session_over:
                self.delivery.end_session(reason)
        outputs = list[Output]()
        if was_in_use:
            outputs += self.settled()
            unknown, self._unknown = tuple(self._unknown), []
        return [*outputs, *self._decided(self._selection.lost(connection)), LinkDown(connection, unknown)]

    def abort_all(self, reason: LinkLost) -> list[Output]:
        """Close every connection at once."""
        return [Abort(connection, reason) for connection in self.connections]

    def end(self, reason: str) -> list[Output]:
        """End the session: another identity answers for the id. What was never written stays in the queue."""
        self.delivery.end_session(reason)
        return self.settled()

    def close(self, error: Exception | None = None) -> list[Output]:
        """End everything; the object is not used again."""
        self.delivery.close(error)
        return self.settled()

    @property
    def is_idle(self) -> bool:
        """Whether nothing would be lost if this object were forgotten."""
        return not self.connections and self.delivery.idle

    # ---- time

    def next_deadline(self) -> float | None:
        """Return when :meth:`deadline_reached` has to be called, or None."""
        first, other = self.delivery.next_deadline(), self._selection.deadline
        return other if first is None or (other is not None and other < first) else first

    def deadline_reached(self, now: float) -> list[Output]:
        """Do what is due."""
        self.delivery.deadline_reached(now)
        return [*self.settled(), *self._decided(self._selection.deadline_reached(now))]

    # ---- private

    def _look(self) -> Sequence[Output]:
        """Look at the queue, which has grown or shrunk."""
        return [LookAtAll()] if self._pauses.look() else self.look()

    def _decided(self, decisions: Iterable[Decision[int]]) -> list[Output]:
        outputs = list[Output]()
        for decision in decisions:
            match decision:
                case Take(connection):
                    self.selected = connection
                    outputs += [Replace(connection), Select(connection)]
                case Refuse(connection, code, retry_after):
                    outputs.append(Reject(connection, code, "this peer is linked", retry_after))
                case _:
                    outputs.append(Ping(decision.connection))
        return outputs
