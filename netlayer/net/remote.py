"""A peer at the edge: carries out what is decided about it, keeps its alarm, and has its callers' Deferreds fire."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import LogLevel

from netlayer.config import Settings
from netlayer.errors import LinkLost, NodeStopped
from netlayer.handlers import DataPacket
from netlayer.log import NodeLog
from netlayer.net.alarm import Alarm
from netlayer.sansio.delivery.delivery import Delivery
from netlayer.sansio.delivery.load import NodeLoad
from netlayer.sansio.delivery.packet import OutgoingPacket
from netlayer.sansio.delivery.pauses import Pauses
from netlayer.sansio.delivery.timeouts import Wait
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
from netlayer.sansio.peers.peer import Peer

if TYPE_CHECKING:
    from netlayer.net.driver import Driver

__all__ = ["Remote"]


class Remote:
    """A peer, whose decisions :class:`~netlayer.sansio.peers.peer.Peer` makes.

    :param fingerprint: 32 bytes; None while it is unknown who answers for `node_id`.
    :param is_dialed: tells whether this node dials the peer.
    :param pauses: whose senders pause; shared by all peers.
    :param look_at_all: has every peer look whether its sender has to pause, or may go on.
    :param forget: called when nothing would be lost if this object were forgotten.
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
        self._peer = Peer(
            node_id=node_id,
            fingerprint=fingerprint,
            settings=settings,
            load=load,
            pauses=pauses,
            rng=rng,
            now=clock.seconds(),
        )
        self.delivery: Delivery = self._peer.delivery
        self._clock = clock
        self._log = log
        self._look_at_all = look_at_all
        self._is_dialed = is_dialed
        self._forget = forget
        self._drivers: dict[int, Driver] = {}
        self._alarm = Alarm(clock, self._deadline_reached)
        self._drained: list[Deferred[None]] = []
        self._tell_linked: list[Deferred[Driver]] = []

    @property
    def node_id(self) -> int:
        """The id that it answers for, or that somebody sends to."""
        return self._peer.node_id

    @node_id.setter
    def node_id(self, node_id: int) -> None:
        self._peer.node_id = self.delivery.peer_id = node_id

    @property
    def fingerprint(self) -> bytes | None:
        """Its key's; None while it is unknown."""
        return self._peer.fingerprint

    # ---- packets

    def submit(self, packet: OutgoingPacket) -> int:
        """Queue a packet and return its number.

        :raises QueueFull: when this peer's queue is full.
        :raises PacketTooLarge: when the peer takes no packets of this size.
        """
        outputs = self._peer.submit(packet)
        if outputs:
            self._carry_out(outputs)
        deadline = packet.deadline if self._peer.link is not None else self._peer.next_deadline()
        if deadline is not None:
            self._alarm.set(deadline)
        return packet.number

    def submit_confirmed(self, packet: OutgoingPacket, wait: Wait) -> Deferred[None]:
        """Queue a packet; the Deferred fires when the peer's handler has finished. Cancelling it withdraws the packet.

        :param wait: how long the caller waits.
        :raises QueueFull: when this peer's queue is full.
        :raises PacketTooLarge: when the peer takes no packets of this size.
        """

        def cancel(_: Deferred[None]) -> None:
            self._tell(self._peer.withdraw(packet, CancelledError()))

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
        self._tell(self._peer.fail_unwritten(error, plain=plain))
        self._forget_if_idle()

    def refused(self, attempts: int, reason: str) -> None:
        """Nothing listens where the peer is dialed.

        :param attempts: how many times it was dialed.
        :param reason: what the system says about it.
        """
        self._tell(self._peer.refused(attempts, reason))
        self._forget_if_idle()

    def adopt(self, other: Remote) -> None:
        """Take over what waits for `other`, which was made before it was known that this is who is meant."""
        self._peer.adopt(other._peer)
        self._drained += other._drained
        other._drained = []
        self._set_alarm()

    def packet_handled(self, packet: DataPacket, failure: str | None) -> None:
        """The handler of a packet that came from this peer has finished."""
        link = self.link
        if link is not None:
            link.packet_handled(packet, failure)
        else:
            self._peer.packet_handled(packet, failure)

    def when_drained(self) -> Deferred[None]:
        """Return a Deferred that fires when nothing is queued or in flight any more, whatever its outcome was."""
        drained: Deferred[None] = Deferred()
        self._drained.append(drained)
        self.settle()
        return drained

    def settle(self) -> None:
        """Tell whoever waits for packets that have ended."""
        outputs = self._peer.settled()
        if outputs or self._drained:
            self._tell(outputs)

    # ---- connections

    @property
    def link(self) -> Driver | None:
        """The connection through which packets flow, or None."""
        number = self._peer.link
        return self._drivers[number] if number is not None else None

    @property
    def selected(self) -> Driver | None:
        """The connection that is the link, or that was selected and awaits the other end's answer."""
        number = self._peer.selected
        return self._drivers[number] if number is not None else None

    @property
    def connections(self) -> list[Driver]:
        """All its connections that were accepted, the link included, oldest first."""
        return list(self._drivers.values())

    @property
    def awaits_sign(self) -> bool:
        """Whether the link has to show that it lives, as another connection wants its place."""
        return self._peer.awaits_sign

    @property
    def sending_paused(self) -> bool:
        """Whether the application was asked to stop sending for a while."""
        return self._peer.sending_paused

    def accept(self, driver: Driver) -> None:
        """Accept a connection that has introduced itself."""
        self._drivers[driver.number] = driver
        self._carry_out(self._peer.accept(driver.number))

    def proven(self, driver: Driver) -> None:
        """A connection was accepted, and this end is the arbiter."""
        boot, now = driver.introduction.boot, self._clock.seconds()
        self._carry_out(self._peer.proven(driver.number, boot, now))
        self._set_alarm()

    def spoke(self, driver: Driver) -> None:
        """Bytes came on one of the connections."""
        self._carry_out(self._peer.spoke(driver.number))

    def linked(self, driver: Driver) -> None:
        """A connection was selected by both ends."""
        self._carry_out(self._peer.linked(driver.number))

    def await_link(self, linked: Deferred[Driver]) -> bool:
        """Have a Deferred fire with the link, which another connection is or may become; return whether one may."""
        if not self._drivers:
            return False
        self._tell_linked = [*(each for each in self._tell_linked if not each.called), linked]  # some had enough
        link = self.link
        if link is not None and link.is_link:
            self.tell_linked()
        return True

    def tell_linked(self) -> None:
        """Tell whoever waits for the link that it stands, and has told the application so."""
        waiting, self._tell_linked = self._tell_linked, []
        for linked in waiting:
            link = self.link
            if linked.called:  # cancelled
                continue
            if link is not None:
                linked.callback(link)
            else:
                linked.errback(LinkLost("the link was lost at once"))

    def lost(self, driver: Driver, *, reason: str, session_over: bool) -> None:
        """A connection is over.

        :param session_over: whether the session ends with it, because a GOODBYE was said.
        """
        self._drivers.pop(driver.number, None)
        outputs = self._peer.lost(driver.number, reason, session_over=session_over, now=self._clock.seconds())
        self._set_alarm()
        *others, down = outputs
        self._tell(others)
        if not self._drivers:
            self._link_failed(LinkLost(reason))
        assert isinstance(down, LinkDown)
        driver.link_down(down.unknown)
        self._forget_if_idle()

    def close_all(self, reason: LinkLost) -> None:
        """Abort every connection."""
        self._carry_out(self._peer.abort_all(reason))

    def end(self, reason: str) -> None:
        """Forget this peer: another identity answers for its id. What was never written stays in the queue."""
        self.close_all(LinkLost(reason))
        self._tell(self._peer.end(reason))

    def close(self, error: Exception | None = None) -> None:
        """End everything; the object is not used again."""
        self._tell(self._peer.close(error))
        self._link_failed(NodeStopped())
        self._alarm.cancel()

    def look(self) -> None:
        """Ask the application to pause or to go on with sending to this peer, if that is due."""
        self._carry_out(self._peer.look())

    # ---- private

    def _tell(self, outputs: Iterable[Output]) -> None:
        """Carry out what the end of packets has caused, and tell those who wait until nothing is under way."""
        if outputs:
            self._carry_out(outputs)
        while self._drained and not self.delivery.queued:
            drained = self._drained.pop(0)
            if not drained.called:  # cancelled
                drained.callback(None)

    def _carry_out(self, outputs: Iterable[Output]) -> None:
        for output in outputs:
            match output:
                case Send():  # first, as each packet brings one
                    if (driver := self._drivers.get(output.connection)) is not None:
                        driver.send_soon()
                case Settled():
                    _tell_caller(output.packet)
                case LookAtAll():
                    self._look_at_all()
                case PauseSending(connection):
                    self._drivers[connection].pause_sending()
                case ResumeSending(connection):
                    self._drivers[connection].resume_sending()
                case Note(level, text, fields):
                    self._log.emit(LogLevel.lookupByName(level), text, **fields)
                case Replace(connection):
                    self._replace(self._drivers[connection])
                case LinkDown(connection, unknown):
                    self._drivers[connection].link_down(unknown)
                case command:
                    if (driver := self._drivers.get(command.connection)) is not None:
                        driver.obey(command)

    def _replace(self, driver: Driver) -> None:
        for other in driver.node.connections_to(driver.fingerprint):
            if other is not driver:
                other.give_way(self)

    def _set_alarm(self) -> None:
        deadline = self._peer.next_deadline()
        if deadline is not None:
            self._alarm.set(deadline)

    def _deadline_reached(self) -> None:
        self.delivery.can_dial = self._is_dialed(self)
        self._tell(self._peer.deadline_reached(self._clock.seconds()))
        self._set_alarm()
        self._forget_if_idle()

    def _forget_if_idle(self) -> None:
        if self._peer.is_idle:
            self._forget(self)

    def _link_failed(self, error: Exception) -> None:
        waiting, self._tell_linked = self._tell_linked, []
        for linked in waiting:
            if not linked.called:
                linked.errback(error)


def _tell_caller(packet: OutgoingPacket) -> None:
    """Tell the caller of a packet how it has ended, unless the caller waits no more."""
    waiter, packet.waiter = packet.waiter, None
    if waiter is None or waiter.called:  # cancelled by what the end of another packet has called
        return
    if packet.error is None:
        waiter.callback(None)
    else:
        waiter.errback(packet.error)
