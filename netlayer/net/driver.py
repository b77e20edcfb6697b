"""The driver: moves bytes between a transport and a connection, arms its timers, and hands its events over.

Everything that is decided is decided in :mod:`netlayer.sansio`. After each stimulus of the connection one method,
``_act``, hands its events over, writes what it has to say and sets the alarm.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IHandshakeListener, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from netlayer.addresses import (
    PeerInfo,
    believed,
    is_link_local,
    is_loopback,
    shown_address,
    unmapped,
    without_zone,
    zone_of,
)
from netlayer.errors import LinkLost, LocalProtocolError, PeerIdentityMismatch, Rejected, RemoteProtocolError
from netlayer.handlers import DataPacket
from netlayer.net.alarm import Alarm
from netlayer.net.link import Link
from netlayer.net.probing import Probes
from netlayer.net.remote import Remote
from netlayer.net.tls import tune_socket, why_lost
from netlayer.sansio.link.commands import Accept, Command
from netlayer.sansio.link.connection import PIECE, Connection
from netlayer.sansio.link.events import Closed, Event, Introduced, Linked, Proven
from netlayer.sansio.link.handshake import RemoteNode
from netlayer.sansio.link.states import State
from netlayer.sansio.trust.succession import Succession
from netlayer.storage.identity import fingerprint_text
from netlayer.wire.messages import (
    Goodbye,
    Links,
    NetAddress,
    Peers,
    Pong,
    Record,
    Referral,
    Register,
    Registered,
    RejectCode,
)

if TYPE_CHECKING:
    from netlayer.net.acceptor import AcceptedConnection
    from netlayer.net.attempt import Attempt
    from netlayer.net.factory import PeerFactory
    from netlayer.peer import PeerProtocol

__all__ = ["Driver"]

#: Seconds that one connection hands packets over before the others have their turn, and after how many packets it
#: looks at the clock. A chunk may hold thousands of small packets, and while their handlers run nobody is heard.
TURN, LOOK_AFTER = 0.005, 32


@implementer(IHandshakeListener, IPushProducer)
class Driver(Protocol):
    """One connection between Twisted and the protocol.

    :param node: whose connection it is.
    :param attempt: what has dialed it, if this end has.
    :ivar accepted: what it came by, if the other end has dialed; set before the connection is made.
    :ivar number: what decisions call it.
    :ivar peer: who the peer is, once this connection is the link.
    :ivar link: what the application sees of it, likewise.
    :ivar remote: the peer whose connection it is, once it was accepted.
    :ivar succession: what the other end has shown of its former keys, unchecked.
    :ivar linked_at: when it became the link, by the clock of the reactor; of no meaning before that.
    :ivar refusal: with which the other end has ended the connection.
    """

    transport: Any  # Twisted's TLS wrapper; its interfaces declare but a part of it

    def __init__(self, node: PeerFactory, attempt: Attempt | None = None) -> None:
        self.node = node
        self.accepted: AcceptedConnection | None = None
        self.peer: PeerInfo | None = None
        self.link: Link | None = None
        self.remote: Remote | None = None
        self.number = node.next_number()
        self._attempt = attempt
        self.succession: Succession | None = None
        self._ready = False
        self._transport_lost = False
        self._protocol: PeerProtocol | None = None  # the application's
        self._closed_for: Exception = LinkLost("the connection stands")  # why it has ended, once it has
        self._events: deque[Event] = deque()  # not handed over yet
        self._in_turn = False
        self._next_turn: IDelayedCall | None = None  # if there was more to hand over than fits in one
        self._full = False
        self._flushing: IDelayedCall | None = None
        self._abort_timer: IDelayedCall | None = None
        self._patience: IDelayedCall | None = None  # for the first PONG
        self.linked_at = 0.0
        self.refusal: Rejected | None = None

    # ---- Twisted's callbacks

    def connectionMade(self) -> None:
        """TCP stands; the time for the handshake begins to run."""
        node, attempt = self.node, self._attempt
        self._clock = node.clock
        self._alarm = Alarm(node.clock, self._deadline_reached)
        self._probes = Probes(node.clock, node.settings.probe_timeout)
        self._connection = Connection(
            local=node.local_on(self),
            settings=node.settings,
            dialed=attempt is not None,
            now=self.accepted.since if self.accepted is not None else self._clock.seconds(),
            expected_id=attempt.expected_id if attempt is not None else None,
        )
        tune_socket(self.transport, dead_after=node.settings.dead_after)
        self.transport.registerProducer(self, True)
        self._act()
        node.connection_opened(self)

    def handshakeCompleted(self) -> None:
        """TLS stands; the other end has proven its key."""
        if self._connection.state is not State.SECURING:
            return
        try:
            fingerprint = self.node.security.proven_fingerprint(self.transport)
            self.succession = self.node.security.succession(self.transport)
            expected = tuple(self._attempt.expected_fingerprints) if self._attempt is not None else ()
            if (
                expected
                and fingerprint not in expected
                and not any(self.node.claims.has_replaced(each, fingerprint, self.succession) for each in expected)
            ):
                others = " or another known one" if len(expected) > 1 else ""
                raise PeerIdentityMismatch(f"{fingerprint_text(expected[0])}{others}", fingerprint_text(fingerprint))
        except (RemoteProtocolError, PeerIdentityMismatch) as error:
            self.abort(error)
            return
        binding = self.node.security.binding(self.transport)
        self._connection.local = self.node.local_on(self)  # as it is now: TLS has taken its time
        self._act(self._connection.secured(fingerprint, self.seen_at, binding))

    def dataReceived(self, data: bytes) -> None:
        """Bytes came."""
        if self.remote is not None and self.remote.awaits_sign:
            self.remote.spoke(self)
        self._act(self._connection.receive_data(data, self._clock.seconds()))
        self._probes.heard = True

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The transport is gone."""
        self._transport_lost = True
        self._act(self._connection.connection_lost(LinkLost(why_lost(reason))))
        if self._abort_timer is not None:
            self._abort_timer.cancel()
            self._abort_timer = None
        self.node.connection_closed(self)

    def pauseProducing(self) -> None:
        """The transport is full."""
        self._full = True

    def resumeProducing(self) -> None:
        """The transport has room again."""
        self._full = False
        self._act()

    def stopProducing(self) -> None:
        """The transport will take nothing any more; connectionLost follows."""
        self._full = True

    # ---- what is known of this connection

    @property
    def dialed(self) -> bool:
        """Whether this end dialed."""
        return self._attempt is not None

    @property
    def expected_id(self) -> int | None:
        """The id of the other end, as far as it is known: what it has said, or what was dialed."""
        if self._connection.remote is not None:
            return self._connection.remote.node_id
        return self._attempt.expected_id if self._attempt is not None else None

    @property
    def state(self) -> State:
        """Where the connection stands."""
        return self._connection.state

    @property
    def protocol(self) -> PeerProtocol | None:
        """The application's, while this connection is the link."""
        return self._protocol if self._ready else None

    @property
    def is_link(self) -> bool:
        """Whether this connection is the link to its peer, ready for packets."""
        return self._ready

    @property
    def is_chosen(self) -> bool:
        """Whether this connection is the link at this end, or may be it at the other end already."""
        return self._ready or self.state is State.SELECTING

    @property
    def is_parting(self) -> bool:
        """Whether a GOODBYE was said, or waits for a packet that was begun."""
        return self._connection.is_parting

    @property
    def gives_way(self) -> bool:
        """Whether this link ends for want of room, and the session does not."""
        return self._connection.is_parting and not self._connection.ends_session

    @property
    def is_bootstrap(self) -> bool:
        """Whether the other end is a bootstrap node."""
        return self._connection.remote is not None and self._connection.remote.role == "bootstrap"

    @property
    def has_refused(self) -> bool:
        """Whether this end has refused the other one."""
        return self._connection.has_refused

    @property
    def is_introduced(self) -> bool:
        """Whether the other end has said something about itself."""
        return self._connection.remote is not None

    @property
    def fingerprint(self) -> bytes:
        """The proven fingerprint of the other end; empty before TLS stands."""
        return self._connection.fingerprint

    @property
    def introduction(self) -> RemoteNode:
        """What the other end has said about itself.

        :raises LocalProtocolError: before it has said anything.
        """
        if self._connection.remote is None:
            raise LocalProtocolError("the other end has not introduced itself yet")
        return self._connection.remote

    def is_outcome_of(self, attempt: Deferred[Any]) -> bool:
        """Tell whether this connection is what an attempt of ours has made."""
        return self._attempt is not None and self._attempt.outcome is attempt

    @property
    def record(self) -> Record:
        """What is known of the other end, as a record for the directory."""
        said = self.introduction
        addresses = believed(said.addresses, local=self.is_local, zone=self.zone)
        return Record(said.node_id, self.fingerprint, addresses, said.boot, said.ephemeral, said.ticket)

    @property
    def connection(self) -> Connection:
        """The state of the connection: its counters and its round trip time."""
        return self._connection

    @property
    def lasted(self) -> float:
        """Seconds for which the peer was heard on this link."""
        return max(0.0, self._connection.heard_at - self.linked_at)

    @property
    def queued(self) -> int:
        """Bytes to the peer that are unsent or without a receipt, overhead included."""
        return self.remote.delivery.queued if self.remote is not None else 0

    @property
    def seen_at(self) -> NetAddress | None:
        """The address of the other end, as this one sees it; None if it is none of TCP."""
        seen = self.transport.getPeer()
        if not isinstance(seen, (IPv4Address, IPv6Address)):
            return None
        return NetAddress(without_zone(unmapped(seen.host)), seen.port)

    @property
    def is_local(self) -> bool:
        """Whether the connection stays on this machine."""
        host = getattr(self.transport.getPeer(), "host", None)
        return host is None or is_loopback(host)

    @property
    def zone(self) -> str | None:
        """The zone of the interface that a link-local connection goes through, "" if it has none; None for others."""
        peer = self.transport.getPeer()
        host = getattr(peer, "host", None)
        if host is None or not is_link_local(host):
            return None
        return zone_of(host) or str(getattr(peer, "scopeID", 0) or "")

    @property
    def address(self) -> str:
        """Where the other end of the transport is."""
        return shown_address(self.transport.getPeer())

    # ---- for the node and the peer

    def obey(self, command: Command) -> None:
        """Do what was decided about this connection."""
        if isinstance(command, Accept) and not self.dialed:
            self._connection.local = self.node.local_on(self)  # as it is now
        self._act(self._connection.obey(command, self._clock.seconds()))

    def accept(self, remote: Remote) -> None:
        """Accept the other end, which is this peer."""
        self.remote = remote
        remote.accept(self)

    def reject(
        self, code: str, text: str = "", retry_after: float | None = None, referrals: tuple[Referral, ...] = ()
    ) -> None:
        """Refuse the other end and close the connection."""
        self._act(self._connection.reject(code, text, retry_after, referrals))

    def abort(self, reason: Exception) -> None:
        """Close the connection at once."""
        self._act(self._connection.connection_lost(reason))

    def end(self, reason: Exception) -> None:
        """Abort, also if the connection is over and waits for the other end to close the transport."""
        self.abort(reason)
        if self._abort_timer is not None:
            self._abort_timer.cancel()
            self._abort_transport()

    def give_way(self, remote: Remote) -> None:
        """Close the connection at once, as another one to the same peer is the link."""
        self.remote = remote  # not known here yet if nothing but TLS stood
        self.abort(LinkLost("replaced by a newer connection"))

    def say_goodbye(self, code: str, text: str = "", *, retry_after: float | None = None) -> None:
        """Begin the end of the link; a connection that is none is closed."""
        self._act(self._connection.goodbye(code, text, self._clock.seconds(), retry_after=retry_after))

    def say(self, message: Register | Registered | Peers | Links) -> None:
        """Send what is said on a link besides packets."""
        self._connection.say(message)
        self._act()

    def probe(self) -> Deferred[bool]:
        """Ask for a sign of life; fires with whether there was one."""
        alive = self._probes.add(self._connection.ping(self._clock.seconds()))
        self._act()
        return alive

    def send_soon(self) -> None:
        """Send what was queued at the end of this turn of the reactor."""
        if not self._in_turn and self._flushing is None and not self._full:
            self._flushing = self._clock.callLater(0, self._flush_queued)

    def packet_handled(self, packet: DataPacket, failure: str | None) -> None:
        """Have the peer told that the handler of a packet has finished."""
        events = self._connection.packet_handled(packet, failure, self._clock.seconds())
        if events or not self._in_turn:
            self._act(events)

    def pause_sending(self) -> None:
        """Ask the application to send nothing to the peer for a while."""
        if self._protocol is not None:
            self.node.handlers.call(self._protocol.sending_paused)

    def resume_sending(self) -> None:
        """Tell the application that it may go on sending."""
        if self._protocol is not None:
            self.node.handlers.call(self._protocol.sending_resumed)

    # ---- private: the driver

    def _act(self, events: Sequence[Event] = ()) -> None:
        """Hand the events of a stimulus over, write what the connection has to say, set the alarm."""
        if events:
            self._events += events
        if self._in_turn:  # a hook has called us: whoever called the hook does the rest, in order
            return
        self._in_turn = True
        try:
            while True:
                if self._events:
                    self._hand_over()
                remote = self.remote
                if remote is not None:
                    remote.settle()
                self._flush()
                if remote is not None and remote.delivery.settled:  # by finding that the peer takes no such packets
                    continue
                if not self._events or not self._has_turn:  # whoever waited for a packet may have done something
                    break
        finally:
            self._in_turn = False
        if self.node.load.reservations.has_news:
            self.node.room_given()
        deadline = self._connection.next_deadline()
        if deadline is None:
            self._alarm.cancel()
        elif deadline < self._alarm.next:
            self._alarm.set(deadline)

    def _hand_over(self) -> None:
        """Hand events over, in their order. What is too much for one turn waits for the next, whatever it is.

        Receipts and signs of life do not wait: the connection has seen to them already.
        """
        events, packets = self._events, 0
        began = self._clock.seconds()
        while events and self._has_turn:
            event = events.popleft()
            if type(event) is DataPacket:
                self._handle(event)
                packets += 1
                if packets % LOOK_AFTER == 0 and self._clock.seconds() - began > TURN:
                    self._next_turn = self._next_turn or self._clock.callLater(0, self._begin_turn)
            else:
                self._event(event)

    @property
    def _has_turn(self) -> bool:
        return self._next_turn is None or self._connection.state is State.CLOSED  # its last packets come at once

    def _begin_turn(self) -> None:
        self._next_turn = None
        self._act()

    def _event(self, event: Event) -> None:
        match event:
            case Introduced():
                self.node.introduced(self)
            case Proven():
                if self.remote is not None and self.state is State.PROVEN:
                    self.remote.proven(self)
            case Linked():
                self._linked()
            case Pong(opaque):
                self._probes.answered(opaque)
                self._link_stands()
            case Goodbye():
                pass  # its code stands in the reason of peer_lost
            case Register() | Registered() | Peers():
                if self._ready:
                    self.node.news_received(self, event)
            case Closed(reason, abort):
                self._closed(reason, abort)

    def _linked(self) -> None:
        remote, said = self.remote, self._connection.remote
        assert remote is not None and said is not None
        remote.linked(self)
        if self.node.contested(self):
            return
        if self._connection.state is not State.CLOSED:  # what came with the link ended it, or the hook of a former one
            self._connection.ping(self._clock.seconds())  # measures the round trip
        address = next(iter(self.record.addresses), self.transport.getPeer())
        self.peer = PeerInfo(said.node_id, getattr(address, "host", "?"), getattr(address, "port", 0))
        self._ready, self.linked_at = True, self._clock.seconds()
        self.link = Link(self, self.peer)
        self.node.link_ready(self)
        was_paused = remote.sending_paused
        try:
            self._protocol = self.node.application_protocol(self.link)
        except LinkLost as error:
            self.abort(error)
            return
        if self._protocol is not None:
            self.node.handlers.call(self._protocol.makeConnection, self.link)
            self.node.handlers.call(self._protocol.peer_ready)
        if was_paused and remote.sending_paused:
            self.pause_sending()
        else:  # the peer has told its limits, and what has waited for its id is in its queue now
            remote.look()
        if self._connection.is_arbiter:
            self._link_stands()
        elif self._ready:
            self._patience = self._clock.callLater(self.node.settings.timeout, self._link_stands)

    def _link_stands(self) -> None:
        """Both ends have the link: the arbiter knows by the SELECTED, the other end by the first PONG after it.

        Who lives and does not answer is believed after a while; whoever waits for the link need not wait for ever.
        """
        self._lose_patience()
        if self._attempt is not None:
            self._attempt.succeeded(self)
        if self.remote is not None:
            self.remote.tell_linked()

    def _lose_patience(self) -> None:
        patience, self._patience = self._patience, None
        if patience is not None and patience.active():
            patience.cancel()

    def _handle(self, packet: DataPacket) -> None:
        protocol = self._protocol
        if protocol is not None and self._ready:
            self.node.handlers.run(protocol.packet_received, packet, self._handled, name=protocol.handler_name)
        elif self._ready:
            self._handled(packet, "this application takes no packets of bootstrap nodes")
        else:  # it came together with what made this connection the link, and that was contested
            self._handled(packet, "the link was refused")

    def _handled(self, packet: DataPacket, failure: str | None) -> None:
        if self._ready:
            self.packet_handled(packet, failure)
        elif self.remote is not None:
            self.remote.packet_handled(packet, failure)

    def _flush_queued(self) -> None:
        self._flushing = None
        self._act()

    def _flush(self) -> None:
        """Write until there is nothing more to say or the transport is full."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        connection = self._connection
        while not self._full and connection.state is not State.CLOSED:
            data = connection.data_to_send(self._clock.seconds())
            if data:
                self.transport.write(data)
                if self._full or len(data) >= PIECE or connection.is_parting:
                    continue  # there may be more
            if connection.is_parting:
                self._events += connection.after_sending()
            return

    def _deadline_reached(self) -> None:
        self._act(self._connection.deadline_reached(self._clock.seconds()))

    # ---- private: the end

    def _closed(self, reason: Exception, abort: bool) -> None:
        """The connection is over, whatever becomes of the transport."""
        if self._next_turn is not None:
            self._next_turn.cancel()
            self._next_turn = None
        self._lose_patience()
        own = self.node.local.fingerprint
        if isinstance(reason, Rejected) and reason.code == RejectCode.SELF and self.fingerprint != own:
            reason = RemoteProtocolError("the other end claims to be this node itself")
        if isinstance(reason, RemoteProtocolError):
            self.node.violated(self, reason)
        elif isinstance(reason, Rejected) and not self.has_refused:
            self.refusal = reason
            self.node.refused(self, reason)
        self._leave_transport(abort)
        self._closed_for = reason
        if self.remote is not None:
            self.remote.lost(self, reason=str(reason), session_over=self._connection.ends_session)
        else:
            self.link_down(())

    def link_down(self, unknown: tuple[int, ...]) -> None:
        """Tell the application and the node that the connection is over; whoever waits for a link may get another one.

        :param unknown: the numbers of plain packets whose outcome became unknown with it.
        """
        reason, goodbye = self._closed_for, self._connection.goodbye_received
        code, retry_after = (goodbye.code, goodbye.retry_after) if goodbye is not None else (None, None)
        lost = LinkLost(str(reason), code, unknown, retry_after)
        if self._ready:
            self._ready = False
            if self._protocol is not None:
                self.node.handlers.call(self._protocol.peer_lost, lost)
                self._protocol.connectionLost(Failure(lost))
            self.node.link_lost(self, lost)
        else:
            self.node.attempt_failed(self, reason)
        attempt, remote = self._attempt, self.remote
        if attempt is not None and not attempt.outcome.called:
            if remote is not None and remote.await_link(attempt.outcome):  # on another connection, in time
                attempt.fail_after(self.node.settings.timeout, self._clock, reason)
            else:
                attempt.failed(reason)
        self._probes.end(alive=False)

    def _leave_transport(self, abort: bool) -> None:
        """Close the transport: last words and FIN, or at once; never later than the abort timer."""
        if self._transport_lost:
            return
        if abort:
            self.transport.abortConnection()
            return
        self.transport.unregisterProducer()
        self._full = False
        data = self._connection.data_to_send(self._clock.seconds())
        if data:
            self.transport.write(data)
        self.transport.loseConnection()
        self._abort_timer = self._clock.callLater(self.node.settings.abort_after, self._abort_transport)

    def _abort_transport(self) -> None:
        self._abort_timer = None
        self.transport.abortConnection()
