"""Two nodes on a network in memory, each of them a Peer and its Connections, as they ship.

Time is virtual. The network keeps the order of bytes as TCP does, and breaks what a schedule tells it to break.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from netlayer.config import Settings
from netlayer.errors import LinkLost, PeerUnreachable, Rejected
from netlayer.handlers import DataPacket
from netlayer.sansio.delivery.load import NodeLoad
from netlayer.sansio.delivery.packet import OutgoingPacket
from netlayer.sansio.delivery.pauses import Pauses
from netlayer.sansio.link.commands import Abort, Accept, Ping, Reject, Select
from netlayer.sansio.link.connection import Connection
from netlayer.sansio.link.events import Closed, Event, Introduced, Linked, Proven
from netlayer.sansio.link.states import State
from netlayer.sansio.outputs import LookAtAll, Output, Replace, Send, Settled
from netlayer.sansio.overlay.backoff import BackOff
from netlayer.sansio.peers.peer import Peer
from netlayer.wire.messages import RejectCode
from tests.sansio.pair import ADDRESS, BINDING, LARGE, SMALL, local_node

KIB = 1024

#: No run makes more calls than this, unless a timer is set again and again.
BUSY = 200_000


class Network:
    """Virtual time, and what carries bytes.

    :ivar parted: whether nothing that is dialed now will ever be accepted.
    """

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self.parted = False
        self.nodes: list[Node | None] = [None, None]
        self.ends: list[End] = []
        self._calls: list[tuple[float, int, Node | None, Callable[..., object], tuple[Any, ...]]] = []
        self._count = itertools.count()

    def at(self, delay: float, node: Node | None, call: Callable[..., object], *arguments: Any) -> None:
        """Call something later, unless `node` is dead by then; when it is frozen, as soon as it goes on."""
        heapq.heappush(self._calls, (self.now + delay, next(self._count), node, call, arguments))

    def run(self, until: float) -> None:
        """Let time pass."""
        while self._calls and self._calls[0][0] <= until:
            self.now, count, node, call, arguments = heapq.heappop(self._calls)
            assert count < BUSY, f"{call} runs in circles"
            if node is not None and node.frozen > self.now:
                heapq.heappush(self._calls, (node.frozen, count, node, call, arguments))
            elif node is None or node.alive:
                call(*arguments)
        self.now = until

    def dial(self, node: Node) -> End:
        """Open a connection to the other node and return its near end."""
        latency = self.rng.choice((0.0005, 0.005, 0.03, 0.15))
        there, back = Pipe(self, latency), Pipe(self, latency)
        end = End(node, there, back, dialed=True)
        if not self.parted:
            self.at(latency, None, self._arrive, end)
        return end

    def write(self, end: End, data: bytes) -> None:
        """Carry bytes."""
        end.out.write(data)

    def live(self) -> list[End]:
        """Return the ends that have not closed."""
        self.ends = [end for end in self.ends if not end.gone and end.node.alive]
        return self.ends

    def _arrive(self, dialer: End) -> None:
        node = self.nodes[1 - dialer.node.side]
        if node is None or not node.alive or node.stopping:
            self.at(dialer.out.latency, dialer.node, dialer.lost)
        elif not self.parted and not dialer.gone and dialer.node.alive:
            self.at(0, node, self._accept, dialer, node)

    def _accept(self, dialer: End, node: Node) -> None:
        End(node, dialer.back, dialer.out, dialed=False).secured()
        self.at(dialer.out.latency, dialer.node, dialer.secured)


class Pipe:
    """One direction of a TCP connection: it keeps the order, is late, and may lose everything from some byte on."""

    def __init__(self, network: Network, latency: float) -> None:
        self.network = network
        self.latency = latency
        self.writer: End | None = None
        self.reader: End | None = None
        self.left = 2**60  # bytes that still get through
        self.unread = 0
        self.stalled = 0.0  # until then
        self._last = 0.0
        self._chunks: deque[bytes] = deque()

    @property
    def sound(self) -> bool:
        """Whether nothing was done to it; what was written while it stood still comes late, also when it goes on."""
        is_late = self._last > self.network.now + 2 * self.latency
        return self.left > 2**59 and self.stalled == 0.0 and not is_late

    def write(self, data: bytes) -> None:
        self.unread += len(data)
        data = data[: self.left]
        self.left -= len(data)
        while data:
            size = self.network.rng.choice((len(data), self.network.rng.randint(1, len(data))))
            self._bring(data[:size])
            data = data[size:]

    def end(self) -> None:
        """Say FIN, behind all that was written."""
        if self.left:
            self._bring(b"")

    def reset(self) -> None:
        """Say RST, which overtakes what was written."""
        if self.left:
            self.left = 0
            self._chunks.clear()
            self.network.at(self.latency, None, self._lost)

    def _bring(self, chunk: bytes) -> None:
        self._last = max(self._last, self.network.now + self.latency * self.network.rng.uniform(1, 1.5), self.stalled)
        self._chunks.append(chunk)
        self.network.at(self._last - self.network.now, None, self._arrive)

    def _arrive(self) -> None:
        if self.stalled > self.network.now:
            self.network.at(self.stalled - self.network.now, None, self._arrive)
            return
        if self._chunks and self.reader is not None:
            chunk = self._chunks.popleft()
            self.unread -= len(chunk)
            self.network.at(0, self.reader.node, self.reader.received if chunk else self.reader.lost, chunk)
            if self.writer is not None and self.writer.full and self.unread < 8 * KIB:
                self.network.at(0, self.writer.node, self.writer.resume)

    def _lost(self) -> None:
        if self.reader is not None:
            self.network.at(0, self.reader.node, self.reader.lost, b"")


class End:
    """One end of a TCP connection: a transport, and the :class:`Connection` that it carries bytes for.

    :ivar ready: whether it has been the link.
    :ivar gone: whether the transport is closed on this side.
    """

    def __init__(self, node: Node, out: Pipe, back: Pipe, *, dialed: bool) -> None:
        self.node, self.out, self.back, self.dialed = node, out, back, dialed
        self.network = network = node.network
        self.connection = Connection(local=node.local, settings=node.settings, dialed=dialed, now=network.now)
        self.ready = self.gone = self.full = False
        self._timer: float | None = None
        out.writer = back.reader = self
        network.ends.append(self)
        self.number = node.add(self)
        self.arm()

    @property
    def sound(self) -> bool:
        """Whether nothing was done to it, and the other end has not closed it."""
        other = self.out.reader
        whole = other is not None and not other.gone and other.node.alive and other.node.frozen == 0.0
        return whole and self.out.sound and self.back.sound

    def secured(self) -> None:
        """TLS is up."""
        if not self.gone:
            self.node.connections.add(self)
            self.act(self.connection.secured((LARGE, SMALL)[self.node.side], ADDRESS, BINDING))

    def received(self, chunk: bytes) -> None:
        """Bytes came."""
        if not self.gone:
            self.node.spoke(self)
            self.act(self.connection.receive_data(chunk, self.network.now))

    def lost(self, _: bytes = b"") -> None:
        """The transport is gone."""
        if not self.gone:
            self.gone = True
            self.act(self.connection.connection_lost(LinkLost("the transport is gone")))

    def resume(self) -> None:
        """The transport has room again."""
        self.full = False
        self.act([])

    def act(self, events: Iterable[Event]) -> None:
        """Hand over what a stimulus has caused; what there is to write is written then."""
        self.node.happened(self, events)

    def flush(self) -> list[Event]:
        """Write what there is to write, and return what the last of it has caused."""
        while not self.full and not self.gone and self.connection.state is not State.CLOSED:
            if data := self.connection.data_to_send(self.network.now):
                self._write(data)
                continue
            return self.connection.after_sending()
        return []

    def close(self, *, abort: bool) -> None:
        """Close the transport, with a FIN behind its last words, or at once."""
        if not self.gone and abort:
            self.out.reset()
        elif not self.gone:
            if data := self.connection.data_to_send(self.network.now):
                self._write(data)
            self.out.end()
        self.gone = True

    def arm(self) -> None:
        """Set the timer."""
        deadline, now = self.connection.next_deadline(), self.network.now
        if deadline is not None and (self._timer is None or deadline < self._timer):
            self._timer = max(now, deadline)
            self.network.at(self._timer - now, self.node, self._deadline_reached, self._timer)

    def _write(self, data: bytes) -> None:
        self.network.write(self, data)
        self.full = self.out.unread > 32 * KIB

    def _deadline_reached(self, timer: float) -> None:
        if timer == self._timer:
            self._timer = None
            self.act(self.connection.deadline_reached(self.network.now))


class Node:
    """One process of a node: the :class:`Peer` that the other one is to it, a dialer, and whoever carries it all out.

    :param dials: whether it knows an address of the other one.
    :ivar wakes: whether a packet for the other one makes it dial at once, however long it wanted to wait.
    """

    def __init__(self, network: Network, side: int, settings: Settings, *, dials: bool) -> None:
        self.network, self.side, self.settings, self.dials = network, side, settings, dials
        self.local = local_node(side, settings, fingerprint=(SMALL, LARGE)[side], boot=network.rng.getrandbits(64))
        self.load = NodeLoad()
        self.peer = Peer(
            node_id=1 - side,
            fingerprint=(LARGE, SMALL)[side],
            settings=settings,
            load=self.load,
            pauses=Pauses(self.load, limit=settings.node_queue_limit // 2),
            rng=network.rng,
            now=network.now,
        )
        self.delivery = self.peer.delivery
        self.delivery.can_dial = dials
        self.back_off = BackOff(settings=settings, rng=network.rng)
        self.alive, self.stopping = True, False
        self.wakes = False
        self.frozen = 0.0  # until then
        self.dialing: End | None = None
        self.connections: set[End] = set()
        self._ends: list[End] = []
        self._todo: deque[tuple[End, Event] | Output] = deque()
        self._changed: dict[End, None] = {}  # those that may have something to write
        self._in_turn = False
        self._timer: float | None = None
        self._redial(network.rng.uniform(0, 0.5))

    @property
    def link(self) -> End | None:
        """The end of the link, or None."""
        return self._ends[self.peer.link] if self.peer.link is not None else None

    # ---- for schedules

    def handle(self, packet: DataPacket) -> None:
        """A packet has arrived; :meth:`handled` is called when its handler has finished."""

    def ended(self, packet: OutgoingPacket) -> None:
        """The outcome of a packet is known."""

    def session_ended(self) -> None:
        """The session was given up."""

    def replaced(self, end: End) -> None:
        """A connection is closed since another one was selected."""

    def dial_failed(self, wait: float, wish: float) -> None:
        """The next attempt is made after `wait` seconds; `wish` is what the other one has asked for."""

    def settle(self) -> None:
        """Everything that has happened was seen to."""

    # ---- packets

    def submit(self, packet: OutgoingPacket) -> None:
        """Queue a packet; it leaves at the end of this turn."""
        outputs = self.peer.submit(packet)
        if self.link is None and self.dials and self.wakes and self.dialing is None:
            self._dial()
        self._todo += outputs
        self.network.at(0, self, self._turn)

    def handled(self, packet: DataPacket, failure: str | None) -> None:
        """A handler has finished."""
        if self.link is not None:
            self.link.act(self.link.connection.packet_handled(packet, failure, self.network.now))
        else:
            self.peer.packet_handled(packet, failure)

    # ---- connections

    def add(self, end: End) -> int:
        """Give a connection its number."""
        self._ends.append(end)
        return len(self._ends) - 1

    def goodbye(self, *, stop: bool) -> None:
        """Disconnect, or shut everything down."""
        self.stopping = self.stopping or stop
        for end in [end for end in self.network.live() if end.node is self and (stop or end is self.link)]:
            end.act(end.connection.goodbye("bye", "", self.network.now))

    def spoke(self, end: End) -> None:
        """Bytes came."""
        if self.peer.awaits_sign:
            self._do(self.peer.spoke(end.number))

    def happened(self, end: End, events: Iterable[Event]) -> None:
        """Take what a connection tells."""
        self._changed[end] = None
        self._todo += [(end, event) for event in events]
        self._turn()

    def linked(self, end: End) -> None:
        """A connection is the link."""
        self._do(self.peer.linked(end.number))
        end.ready = True
        self.back_off.ready()

    def lost(self, end: End, reason: Exception) -> None:
        """A connection is over."""
        self.connections.discard(end)
        over = end.connection.ends_session
        if over and end.number == self.peer.selected:
            self.session_ended()
        self._do(self.peer.lost(end.number, str(reason), session_over=over, now=self.network.now))
        self.dialing = None if self.dialing is end else self.dialing
        if self.link is None and end.ready:
            self._redial(self.network.rng.uniform(0, 0.5))
        elif self.link is None and end.dialed:
            wish = reason.retry_after if isinstance(reason, Rejected) else None
            wait = self.back_off.failed(self.network.now, at_least=wish or 0.0)
            self.dial_failed(wait, wish or 0.0)
            self._redial(wait)
            if self.back_off.attempts % 4 == 0:
                self._do(self.peer.fail_unwritten(PeerUnreachable(None, 4, str(reason))))

    # ---- private: carrying out what was decided

    def _do(self, outputs: Iterable[Output]) -> None:
        self._todo += outputs
        self._turn()

    def _turn(self) -> None:
        """Do all that is to be done, in its order, and write what there is to write; whoever is at it does the rest."""
        if self._in_turn:
            return
        self._in_turn = True
        while self._todo or self._changed:
            self._work_off()
            self._todo += self.peer.settled()
            self._work_off()
            self.settle()
            for end in list(self._changed):
                del self._changed[end]
                self._todo += [(end, event) for event in end.flush()]
                end.arm()
        self._in_turn = False
        self._arm(self.peer.next_deadline())

    def _work_off(self) -> None:
        while self._todo:
            todo = self._todo.popleft()
            if type(todo) is tuple:
                self._event(*todo)
            else:
                self._carry_out(todo)

    def _event(self, end: End, event: Event) -> None:
        match event:
            case DataPacket():
                self.handle(event)
            case Introduced() if self.stopping:
                self.happened(end, end.connection.reject(RejectCode.SHUTTING_DOWN))
            case Introduced():
                self._do(self.peer.accept(end.number))
            case Proven():
                if end.connection.state is State.PROVEN and end.connection.remote is not None:
                    self._do(self.peer.proven(end.number, end.connection.remote.boot, self.network.now))
            case Linked():
                self.linked(end)
            case Closed(reason, abort):
                end.close(abort=abort)
                self.lost(end, reason)

    def _carry_out(self, output: Output) -> None:
        match output:
            case Settled(packet):
                self.ended(packet)
            case Send(connection):
                self._changed[self._ends[connection]] = None
            case Replace(connection):
                for other in sorted(self.connections - {self._ends[connection]}, key=lambda end: end.number):
                    self.replaced(other)
                    self.happened(other, other.connection.connection_lost(LinkLost("replaced")))
            case LookAtAll():
                self._do(self.peer.look())
            case Accept() | Reject() | Select() | Ping() | Abort():
                end = self._ends[output.connection]
                self.happened(end, end.connection.obey(output, self.network.now))

    # ---- private: dialing and time

    def _redial(self, delay: float) -> None:
        if self.dials:
            self.network.at(delay, self, self._dial)

    def _dial(self) -> None:
        if self.link is None and self.dialing is None and not self.stopping:
            self.dialing = self.network.dial(self)

    def _arm(self, deadline: float | None) -> None:
        if deadline is not None and (self._timer is None or deadline < self._timer):
            self._timer = max(self.network.now, deadline)
            self.network.at(self._timer - self.network.now, self, self._deadline_reached, self._timer)

    def _deadline_reached(self, timer: float) -> None:
        if timer != self._timer:
            return
        self._timer = None
        session = self.delivery.session
        outputs = self.peer.deadline_reached(self.network.now)
        if session is not None and self.delivery.session is None:
            self.session_ended()
        self._do(outputs)
