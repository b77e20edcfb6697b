"""One remote participant as this node sees it: its connections, which of them is the link, and what is under way."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime

from netlayer.config import Settings
from netlayer.errors import LinkLost, NodeStopped, PeerLost
from netlayer.handlers import DataPacket
from netlayer.log import NodeLog
from netlayer.net.alarm import Alarm
from netlayer.sansio.delivery.delivery import Delivery
from netlayer.sansio.delivery.load import NodeLoad
from netlayer.sansio.delivery.packet import OutgoingPacket
from netlayer.sansio.delivery.pauses import Pauses
from netlayer.sansio.delivery.timeouts import Wait
from netlayer.sansio.link.selection import Decision, Probe, Refuse, Selection, Take
from netlayer.sansio.link.states import State

if TYPE_CHECKING:
    from netlayer.net.driver import Driver

__all__ = ["Remote"]


class Remote:
    """A peer: one fingerprint, or, before that is known, one node id that somebody wants to send to.

    :param fingerprint: 32 bytes; None while it is unknown who answers for `node_id`.
    :param is_dialed: tells whether this node dials the peer.
    :param pauses: whose senders pause; shared by all peers.
    :param look_at_all: has every peer look whether its sender has to pause, or may go on.
    :param forget: called when nothing would be lost if this object were forgotten.
    :ivar link: the protocol through which packets flow, or None.
    :ivar connections: all its protocols, the link included.
    :ivar sending_paused: whether the application was asked to stop sending for a while.
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
        pauses: Pauses,
        look_at_all: Callable[[], None],
        is_dialed: Callable[[Remote], bool],
        forget: Callable[[Remote], None],
    ) -> None:
        self.node_id = node_id
        self.fingerprint = fingerprint
        self.link: Driver | None = None
        self.connections: dict[Driver, None] = {}  # ordered by age
        self.delivery = Delivery(
            peer_id=node_id,
            settings=settings,
            load=load,
            rng=rng,
            now=clock.seconds(),
            can_dial=lambda: is_dialed(self),
        )
        self._clock = clock
        self._log = log
        self._forget = forget
        self._load = load
        self._pauses = pauses
        self._look_at_all = look_at_all
        self._selection: Selection[Driver] = Selection(probe_timeout=settings.probe_timeout)
        self._attached: Driver | None = None  # the connection that the delivery works with
        self._alarm = Alarm(clock, self._deadline_reached)
        self._drained: list[Deferred[None]] = []
        self._tell_linked: list[Deferred[Driver]] = []
        self._unknown: list[int] = []  # what the end of the link will tell
        self.sending_paused = False

    # ---- packets

    def submit(self, packet: OutgoingPacket) -> int:
        """Queue a packet and return its number.

        :raises QueueFull: when this peer's queue is full.
        :raises PacketTooLarge: when the peer takes no packets of this size.
        """
        number = self.delivery.submit(packet)
        pauses, delivery = self._pauses, self.delivery
        if (
            pauses.tight
            or self._load.queued >= pauses.pause_at
            or (not self.sending_paused and delivery.queued >= delivery.queue_limit * 3 // 4)
        ):
            self._look()
        if self.link is not None:
            self.link._send_soon()
            if packet.deadline is not None:
                self._alarm.set(packet.deadline)
        else:
            self._set_alarm(self.delivery.next_deadline())
        return number

    def submit_confirmed(self, packet: OutgoingPacket, wait: Wait) -> Deferred[None]:
        """Queue a packet; the Deferred fires when the peer's handler has finished. Cancelling it withdraws the packet.

        :param wait: how long the caller waits.
        :raises QueueFull: when this peer's queue is full.
        :raises PacketTooLarge: when the peer takes no packets of this size.
        """

        def cancel(_: Deferred[None]) -> None:
            self.delivery.withdraw(packet, CancelledError())
            self.settle()

        done: Deferred[None] = Deferred(cancel)
        packet.waiter = done
        packet.wait(wait.seconds, self._clock.seconds(), patient=wait.patient)
        packet.until_link = wait.until_link
        self.submit(packet)
        return done

    def fail_unwritten(self, error: Exception, *, plain: bool = True) -> None:
        """Fail the packets that were never written: the peer can't be reached.

        :param plain: whether those fail, too, whose outcome nobody waits for.
        """
        self.delivery.fail_unwritten(error, plain=plain)
        self.settle()
        self._forget_if_idle()

    def refused(self, attempts: int, reason: str) -> None:
        """Nothing listens where the peer is dialed, and no connection of its own is on the way.

        :param attempts: how many times it was dialed.
        :param reason: what the system says about it.
        """
        if not self.connections:
            self.delivery.refused(attempts, reason)
            self.settle()
            self._forget_if_idle()

    def adopt(self, other: Remote) -> None:
        """Take over what waits for `other`, which was made before it was known that this is who is meant."""
        self.delivery.adopt(other.delivery)
        self._drained += other._drained
        other._drained = []
        self._set_alarm(self.delivery.next_deadline())

    def packet_handled(self, packet: DataPacket, failure: str | None) -> None:
        """The handler of a packet that came from this peer has finished."""
        if self.link is not None:
            self.link._packet_handled(packet, failure)
        else:
            self.delivery.handler_finished(packet, failure)

    def when_drained(self) -> Deferred[None]:
        """Return a Deferred that fires when nothing is queued or in flight any more, whatever its outcome was."""
        drained: Deferred[None] = Deferred()
        self._drained.append(drained)
        self.settle()
        return drained

    def settle(self) -> None:
        """Tell whoever waits for packets that have ended."""
        if not (self.delivery.settled or self.sending_paused or self._drained or self._pauses.tight):
            return
        unknown = []
        for packet in self.delivery.take_settled():
            waiter, packet.waiter = packet.waiter, None
            if waiter is not None:
                if waiter.called:  # cancelled by what one before it has called
                    continue
                if packet.error is None:
                    waiter.callback(None)
                else:
                    waiter.errback(packet.error)
            elif isinstance(packet.error, PeerLost):
                unknown.append(packet.number)
            elif packet.error is not None:
                self._log.warn(
                    "packet {number} to peer {peer} failed: {error}",
                    number=packet.number,
                    peer=self.node_id,
                    error=packet.error,
                )
        if self.delivery.must_take_back and self.link is not None:
            self.link._send_soon()
        if unknown:
            self._unknown += unknown
            self._log.warn(
                "the outcome of {count} packets to peer {peer} is unknown: the session has ended",
                count=len(unknown),
                peer=self.node_id,
                numbers=unknown,
            )
        if self.sending_paused or self._pauses.tight:
            self._look()
        while self._drained and not self.delivery.queued:
            drained = self._drained.pop(0)
            if not drained.called:  # cancelled
                drained.callback(None)

    # ---- connections

    @property
    def selected(self) -> Driver | None:
        """The connection that is the link, or that was selected and awaits the other end's answer."""
        return self._attached

    def proven(self, protocol: Driver, boot: int) -> None:
        """A connection has introduced itself and this end is the arbiter."""
        self._decide(self._selection.proven(protocol, boot, self._clock.seconds()))
        self._set_alarm(self._selection.deadline)

    def spoke(self, protocol: Driver) -> None:
        """Bytes came on one of the connections."""
        if self._selection.deadline is not None:
            self._decide(self._selection.spoke(protocol))

    def linked(self, protocol: Driver) -> None:
        """A connection was selected by both ends."""
        self._work_with(protocol)
        self.link = protocol
        self._unknown = []

    def await_link(self, linked: Deferred[Driver]) -> bool:
        """Have a Deferred fire with the link, which another connection is or may become; return whether one may."""
        if not self.connections:
            return False
        self._tell_linked = [*(each for each in self._tell_linked if not each.called), linked]  # some had enough
        if self.link is not None and self.link.is_link:
            self.tell_linked()
        return True

    def tell_linked(self) -> None:
        """Tell whoever waits for the link that it stands, and has told the application so."""
        waiting, self._tell_linked = self._tell_linked, []
        for linked in waiting:
            if linked.called:  # cancelled
                continue
            if self.link is not None:
                linked.callback(self.link)
            else:
                linked.errback(LinkLost("the link was lost at once"))

    def lost(self, protocol: Driver, *, reason: str, session_over: bool) -> tuple[int, ...]:
        """A connection is over.

        :param session_over: whether the session ends with it, because a GOODBYE was said.
        :returns: the numbers of plain sends that became unknown by that.
        """
        self.connections.pop(protocol, None)
        was_link, was_attached = self.link is protocol, self._attached is protocol
        if was_link:
            self.link = None
        if was_attached:
            self._attached = None
            self.delivery.detach(self._clock.seconds())
            if session_over:
                self.delivery.end_session(reason)
        unknown: list[int] = []
        if was_link or was_attached:
            self.settle()  # also what the connection that replaces this one has made unknown
            unknown, self._unknown = self._unknown, []
            self._set_alarm(self.delivery.next_deadline())
        self._decide(self._selection.lost(protocol))
        if not self.connections:
            self._link_failed(LinkLost(reason))
        self._forget_if_idle()
        return tuple(unknown)

    def close_all(self, reason: LinkLost) -> None:
        """Abort every connection."""
        for protocol in list(self.connections):
            protocol._abort(reason)

    def end(self, reason: str) -> None:
        """Forget this peer: another identity answers for its id. What was never written stays in the queue."""
        self.close_all(LinkLost(reason))
        self.delivery.end_session(reason)
        self.settle()

    def close(self, error: Exception | None = None) -> None:
        """End everything; the object is not used again."""
        self.delivery.close(error)
        self.settle()
        self._link_failed(NodeStopped())
        self._alarm.cancel()

    def look(self) -> None:
        """Ask the application to pause or to go on with sending to this peer, if that is due."""
        queued, limit = self.delivery.queued, self.delivery.queue_limit
        if self.sending_paused:
            if self._pauses.may_resume(queued, limit):
                self.sending_paused = False
                if self.link is not None:
                    self.link._sending_resumed()
        elif self._pauses.must_pause(queued, limit):
            self.sending_paused = True
            if self.link is not None:
                self.link._sending_paused()

    # ---- private

    def _look(self) -> None:
        """The queue has grown or shrunk."""
        if self._pauses.look():
            self._look_at_all()
        else:
            self.look()

    def _decide(self, decisions: list[Decision[Driver]]) -> None:
        for decision in decisions:
            match decision:
                case Take(protocol):
                    self._work_with(protocol)
                    if protocol.state is not State.CLOSED:  # by what others did when theirs gave way
                        protocol._select()
                case Refuse(protocol, code, retry_after):
                    protocol._reject(code, "this peer is linked", retry_after)
                case Probe(protocol):
                    protocol._ping()

    def _work_with(self, protocol: Driver) -> None:
        self._attached = protocol
        for other in protocol.factory.connections_to(protocol.fingerprint):
            if other is not protocol:
                other._give_way(self)

    def _set_alarm(self, deadline: float | None) -> None:
        if deadline is not None:
            self._alarm.set(deadline)

    def _deadline_reached(self) -> None:
        now = self._clock.seconds()
        self.delivery.deadline_reached(now)
        self.settle()
        self._decide(self._selection.deadline_reached(now))
        self._set_alarm(self.delivery.next_deadline())
        self._set_alarm(self._selection.deadline)
        self._forget_if_idle()

    def _forget_if_idle(self) -> None:
        if not self.connections and self.delivery.idle:
            self._forget(self)

    def _link_failed(self, error: Exception) -> None:
        waiting, self._tell_linked = self._tell_linked, []
        for linked in waiting:
            if not linked.called:
                linked.errback(error)
