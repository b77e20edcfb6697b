"""One remote participant as this node sees it: its connections, which of them is the link, and what is under way."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from netlayer.config import Settings
from netlayer.errors import LinkLost, PeerLost
from netlayer.handlers import DataPacket
from netlayer.nodelog import NodeLog
from netlayer.sansio.delivery import Delivery
from netlayer.sansio.load import NodeLoad
from netlayer.sansio.selection import Decision, Probe, Refuse, Selection, Take
from netlayer.sansio.streams import OutgoingPacket

if TYPE_CHECKING:
    from netlayer.driver import Driver

__all__ = ["Remote"]


class Remote:
    """A peer: one fingerprint, or, before that is known, one node id that somebody wants to send to.

    :param fingerprint: 32 bytes; None while it is unknown who answers for `node_id`.
    :param forget: called when nothing would be lost if this object were forgotten.
    :ivar link: the protocol through which packets flow, or None.
    :ivar connections: all its protocols, the link included.
    """

    def __init__(
        self,
        *,
        clock: IReactorTime,
        node_id: int,
        fingerprint: bytes | None,
        settings: Settings,
        load: NodeLoad,
        log: NodeLog,
        rng: random.Random,
        forget: Callable[[Remote], None],
    ) -> None:
        self.node_id = node_id
        self.fingerprint = fingerprint
        self.link: Driver | None = None
        self.connections: set[Driver] = set()
        self.delivery = Delivery(peer_id=node_id, settings=settings, load=load, rng=rng, now=clock.seconds())
        self._clock = clock
        self._log = log
        self._forget = forget
        self._settings = settings
        self._selection: Selection[Driver] = Selection(probe_timeout=settings.probe_timeout)
        self._attached: Driver | None = None  # the connection that the delivery works with
        self._timer: IDelayedCall | None = None
        self._drained: list[Deferred[None]] = []
        self._sending_paused = False

    # ---- packets

    def submit(self, packet: OutgoingPacket) -> int:
        """Queue a packet and return its number.

        :raises QueueFull: when this peer's queue is full.
        :raises PacketTooLarge: when the peer takes no packets of this size.
        """
        number = self.delivery.submit(packet)
        if not self._sending_paused and self.delivery.queued >= self._settings.queue_limit // 2:
            self._sending_paused = True
            if self.link is not None:
                self.link._sending_paused()
        if self.link is not None:
            self.link._send_soon()
        self._arm(packet.deadline)
        return number

    def submit_confirmed(self, packet: OutgoingPacket) -> Deferred[None]:
        """Queue a packet; the Deferred fires when the peer's handler has finished. Cancelling it withdraws the packet.

        :raises QueueFull: when this peer's queue is full.
        :raises PacketTooLarge: when the peer takes no packets of this size.
        """

        def cancel(_: Deferred[None]) -> None:
            packet.waiter = None
            packet.delivery.withdraw(packet, CancelledError())  # another peer's, if that has adopted it
            self.settle()

        done: Deferred[None] = Deferred(cancel)
        packet.waiter = done
        packet.deadline = self._clock.seconds() + self._settings.delivery_timeout
        self.submit(packet)
        return done

    def fail_unwritten(self, error: Exception) -> None:
        """Fail the packets that were never written: the peer can't be reached."""
        self.delivery.fail_unwritten(error)
        self._log_unknown(self.settle())
        self._forget_if_idle()

    def packet_handled(self, packet: DataPacket, failure: str | None) -> None:
        """The handler of a packet that came from this peer has finished."""
        if self.link is not None:
            self.link._packet_handled(packet, failure)
        else:
            self.delivery.handler_finished(packet, failure)

    def when_drained(self) -> Deferred[None]:
        """Return a Deferred that fires when nothing is queued or in flight any more, whatever its outcome was."""
        drained: Deferred[None] = Deferred(lambda d: self._drained.remove(d))
        self._drained.append(drained)
        self.settle()
        return drained

    def settle(self) -> tuple[int, ...]:
        """Tell whoever waits for packets that have ended.

        :returns: the numbers of plain sends of which nobody will ever know what became of them.
        """
        unknown = []
        for packet in self.delivery.take_settled():
            waiter, packet.waiter = packet.waiter, None
            if waiter is not None:
                if packet.error is None:
                    waiter.callback(None)
                else:
                    waiter.errback(packet.error)
            elif isinstance(packet.error, PeerLost):
                unknown.append(packet.number)
            elif packet.error is not None and not isinstance(packet.error, CancelledError):
                self._log.warn(
                    "packet {number} to peer {peer} failed: {error}",
                    number=packet.number,
                    peer=self.node_id,
                    error=packet.error,
                )
        queued = self.delivery.queued
        if self._sending_paused and queued <= self._settings.queue_limit // 4:
            self._sending_paused = False
            if self.link is not None:
                self.link._sending_resumed()
        while self._drained and not self.delivery.queued:
            self._drained.pop(0).callback(None)
        return tuple(unknown)

    # ---- connections

    def proven(self, protocol: Driver, boot: int) -> None:
        """A connection has introduced itself and this end is the arbiter."""
        self._decide(self._selection.proven(protocol, boot, self._clock.seconds()))
        self._arm(self._selection.next_deadline())

    def spoke(self, protocol: Driver) -> None:
        """Bytes came on one of the connections."""
        self._decide(self._selection.spoke(protocol))

    def linked(self, protocol: Driver) -> None:
        """A connection was selected by both ends."""
        self._work_with(protocol)
        self.link = protocol

    def lost(self, protocol: Driver, *, reason: str, session_over: bool) -> tuple[int, ...]:
        """A connection is over.

        :param session_over: whether the session ends with it, because a GOODBYE was said.
        :returns: the numbers of plain sends that became unknown by that.
        """
        self.connections.discard(protocol)
        if self.link is protocol:
            self.link = None
        unknown: tuple[int, ...] = ()
        if self._attached is protocol:
            self._attached = None
            self.delivery.detach(self._clock.seconds())
            if session_over:
                self.delivery.end_session(reason)
            unknown = self.settle()
            self._arm(self.delivery.next_deadline())
        self._decide(self._selection.lost(protocol))
        self._forget_if_idle()
        return unknown

    def close_all(self, reason: LinkLost) -> None:
        """Abort every connection."""
        for protocol in list(self.connections):
            protocol._abort(reason)

    def end(self, reason: str) -> None:
        """Forget this peer: another identity answers for its id. What was never written stays in the queue."""
        self.close_all(LinkLost(reason))
        self.delivery.end_session(reason)
        self._log_unknown(self.settle())

    def close(self, error: Exception | None = None) -> None:
        """End everything; the object is not used again."""
        self.delivery.close(error)
        self._log_unknown(self.settle())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # ---- private

    def _decide(self, decisions: list[Decision[Driver]]) -> None:
        for decision in decisions:
            match decision:
                case Take(protocol):
                    self._work_with(protocol)
                    protocol._select()
                case Refuse(protocol, code, retry_after):
                    protocol._reject(code, "this peer is linked", retry_after)
                case Probe(protocol):
                    protocol._ping()

    def _work_with(self, protocol: Driver) -> None:
        self._attached = protocol
        for other in list(self.connections):
            if other is not protocol:
                other._abort(LinkLost("replaced by a newer connection"))

    def _arm(self, deadline: float | None) -> None:
        """Make sure that the timer fires at `deadline` or earlier."""
        if deadline is None:
            return
        delay = max(0.0, deadline - self._clock.seconds())
        if self._timer is None:
            self._timer = self._clock.callLater(delay, self._deadline_reached)
        elif deadline < self._timer.getTime():
            self._timer.reset(delay)

    def _deadline_reached(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        self.delivery.deadline_reached(now)
        self._log_unknown(self.settle())
        self._decide(self._selection.deadline_reached(now))
        self._arm(self.delivery.next_deadline())
        self._arm(self._selection.next_deadline())
        self._forget_if_idle()

    def _forget_if_idle(self) -> None:
        if not self.connections and self.delivery.idle:
            self._forget(self)

    def _log_unknown(self, numbers: tuple[int, ...]) -> None:
        if numbers:
            self._log.warn(
                "the outcome of {count} packets to peer {peer} is unknown: the session has ended",
                count=len(numbers),
                peer=self.node_id,
                numbers=numbers,
            )
