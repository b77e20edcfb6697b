"""One end of a simulated TCP connection: what a process may do with it, and what the kernels at both ends do.

The process's side follows Twisted's ``tcp.Connection``: what is written during a turn goes out at the turn's end, a
streaming producer is paused above 64 KiB and resumed when the kernel has taken everything, and a connection that is
being lost reads nothing more. The kernel's side follows TCP: bytes arrive in order and without holes, or not at all.
What a broken path swallows is sent again after the path is mended, as late as the retransmission timer says.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IHalfCloseableProtocol, IPushProducer, ITCPTransport
from twisted.python.failure import Failure
from zope.interface import implementer

if TYPE_CHECKING:
    from netlayer.testing.connection import SimulatedConnection
    from netlayer.testing.reactor import SimulatedReactor

__all__ = ["SimulatedTransport"]

#: Twisted's own buffer; a streaming producer is paused above it. Also the most that is read at once.
_BUFFER = 65536
#: The first retransmission comes after so many seconds, each further one after twice the time, up to the limit.
_RETRANSMIT_FIRST = 0.2
_RETRANSMIT_LIMIT = 120.0


@implementer(ITCPTransport, IConsumer, IPushProducer)
class SimulatedTransport:
    """One end of a connection.

    :ivar connected: whether the process holds it.
    :ivar host: where the process runs.
    :ivar latency: seconds to the other end, without jitter.
    """

    __slots__ = (
        "__weakref__",
        "_aborting",
        "_acknowledged",
        "_acknowledgements_lost",
        "_blocked",
        "_cut_after",
        "_cut_silently",
        "_ends_writing",
        "_finished",
        "_held",
        "_held_since",
        "_in_flight",
        "_internet",
        "_last_arrival",
        "_local",
        "_output",
        "_output_size",
        "_paused_producer",
        "_peer",
        "_reactor",
        "_read_due",
        "_received",
        "_remote",
        "_writing",
        "connected",
        "connection",
        "connector",
        "deaf",
        "disconnected",
        "disconnecting",
        "host",
        "latency",
        "producer",
        "protocol",
        "reading",
        "streamingProducer",
        "swallows",
        "write_closed",
    )

    def __init__(self, reactor: SimulatedReactor, local: IPv4Address, remote: IPv4Address) -> None:
        self.host = reactor.host
        self.latency = 0.0
        self.protocol: Any = None
        self.connector: Any = None
        self.connected = True
        self.disconnecting = False
        self.disconnected = False
        self.producer: Any = None
        self.streamingProducer = False
        self.reading = False
        self.write_closed = False
        self.deaf = False  # whether nothing arrives here any more
        self.swallows = False  # whether what is under way to here gets lost, and only a reset will arrive
        self._reactor = reactor
        self._internet = reactor.host.internet
        self._local = local
        self._remote = remote
        self._aborting = False
        self._paused_producer = False
        self._ends_writing = False
        # What the process has written and the kernel has not taken yet.
        self._output: list[bytes | memoryview] = []
        self._output_size = 0
        self._writing = False  # whether the end of this turn is awaited
        self._blocked = False  # whether room in the window is awaited
        # What the kernel has sent and knows to be read, at which time.
        self._in_flight = 0
        self._acknowledged: list[tuple[float, int]] = []
        self._acknowledgements_lost = 0
        self._last_arrival = 0.0  # of what was sent last, at the other end
        # What has arrived here: bytes that the process has not read; what waits for a retransmission.
        self._received: list[bytes] = []
        self._finished = False  # whether the other end's FIN came after them
        self._read_due = False
        self._held: list[bytes | None] = []
        self._held_since = 0.0
        self._cut_after: int | None = None
        self._cut_silently = False

    def join(self, connection: SimulatedConnection, peer: SimulatedTransport) -> None:
        """Learn which connection this is an end of."""
        self.connection = connection
        self._peer = peer
        self._reactor.transports[self] = None

    def __repr__(self) -> str:
        state = "open" if self.connected else "closed"
        local, remote = self._local, self._remote
        return f"<SimulatedTransport {state} {local.host}:{local.port} to {remote.host}:{remote.port}>"

    # ---- ITransport, IConsumer

    def write(self, data: bytes) -> None:
        """Send bytes, at the end of this turn or later."""
        if not isinstance(data, bytes):
            raise TypeError(f"data must be bytes, not {type(data).__name__}")
        if not data or not self.connected or self.write_closed:
            return
        self._output.append(data)
        self._output_size += len(data)
        if self._output_size > _BUFFER and self.streamingProducer and self.producer is not None:
            self._paused_producer = True
            self.producer.pauseProducing()
        self._write_soon()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send pieces."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close the connection when everything is written. Nothing is read any more."""
        if self.connected and not self.disconnecting:
            self.reading = False
            self.disconnecting = True
            self._write_soon()

    def abortConnection(self) -> None:
        """Reset the connection; what is not read by the other end yet may be lost."""
        if self.connected and not self._aborting:
            self._aborting = True
            self.reading = False
            self._output.clear()
            self._output_size = 0
            self._internet.push(self._internet.now, self._reactor.turn, b"abort", self._abort)

    def loseWriteConnection(self) -> None:
        """Close this direction when everything is written, and go on reading."""
        if self.connected and not self.write_closed:
            self._ends_writing = True
            self._write_soon()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Have a producer told when to pause and when to go on."""
        if self.producer is not None:
            raise RuntimeError(f"{self.producer!r} is registered already, so {producer!r} can't be")
        if self.disconnected:
            producer.stopProducing()
            return
        self.producer = producer
        self.streamingProducer = streaming
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """Forget the producer."""
        self.producer = None
        if self.connected and self.disconnecting:
            self._write_soon()

    def getPeer(self) -> IPv4Address:
        """Return the address of the other end."""
        return self._remote

    def getHost(self) -> IPv4Address:
        """Return the address of this end."""
        return self._local

    # ---- ITCPTransport: options that make no difference here

    def getTcpNoDelay(self) -> bool:
        """Tell that small writes are sent at once."""
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Change nothing: a turn's writes are sent at its end in any case."""

    def getTcpKeepAlive(self) -> bool:
        """Tell that silence is not looked into."""
        return False

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Change nothing: the two hours that keepalive takes are longer than any simulation."""

    # ---- IPushProducer: reading

    def pauseProducing(self) -> None:
        """Read nothing for now; the other end's window fills."""
        self.reading = False

    def resumeProducing(self) -> None:
        """Read again."""
        if self.connected and not self.disconnecting and not self._aborting:
            self.reading = True
            self._read_soon()

    def stopProducing(self) -> None:
        """Close the connection."""
        self.loseConnection()

    # ---- for ports, connectors, hosts and faults

    def open(self, protocol: Any) -> None:
        """Give the connection to a protocol of the process."""
        if not self.connected:  # it came and went before the process has looked
            protocol.makeConnection(self)
            lost = Failure(ConnectionLost())
            self._internet.push(self._internet.now, self._reactor.turn, b"reset", protocol.connectionLost, lost)
            return
        self.protocol = protocol
        self.reading = True
        protocol.makeConnection(self)
        self._read_soon()

    def close_unused(self) -> None:
        """Close a connection that got no protocol."""
        self._shut(ConnectionDone())

    def discard(self) -> None:
        """Reset a connection that nobody has here."""
        if self.connected:
            self._send_reset()
            self._gone(ConnectionAborted())

    def reset(self) -> None:
        """The connection is reset from outside, for this end."""
        self._internet.push(self._internet.now, self._reset_arrives, True)

    def kill(self, *, silently: bool) -> None:
        """The process is dead: nobody is told here, and at the other end only if the kernel lives on."""
        if not silently:
            self._send_reset()
        self._peer._lose_held()
        self.connected = False
        self.disconnected = True
        self.reading = False
        self.protocol = self.producer = self.connector = None
        self._output.clear()
        self._received.clear()
        self._unlist()

    def cut_after(self, count: int, silently: bool) -> None:
        """Cut the connection when `count` more bytes have arrived here."""
        self._cut_after = count
        self._cut_silently = silently

    def retransmit(self) -> None:
        """A path was mended: what it swallowed comes with the next retransmission."""
        if self._held:
            self._internet.push(self._next_retransmission(), self._arrive_again)
        if self._acknowledgements_lost and self.connected:
            self._acknowledge_lost()

    def flush(self) -> None:
        """The turn in which something was written is over: have the kernel take it."""
        self._writing = False
        if not self.connected or self._aborting or not self._reactor.alive:
            return
        if self._output:
            room = self._room()
            if room <= 0:
                self._await_room()
                return
            self._send(self._take(room))
            if self._output:
                self._await_room()
                return
        if self.producer is not None and (self._paused_producer or not self.streamingProducer):
            self._paused_producer = False
            self.producer.resumeProducing()
        elif self.disconnecting:
            self._shut(ConnectionDone())
        elif self._ends_writing and not self.write_closed:
            self._finish_writing()
            if IHalfCloseableProtocol.providedBy(self.protocol):
                self.protocol.writeConnectionLost()

    def failed(self) -> None:
        """Log what a producer has raised."""
        self._reactor.failed("in a producer")

    # ---- private: sending

    def _write_soon(self) -> None:
        if not self._writing and not self._blocked:
            self._writing = True
            self._internet.writers.append(self)

    def _take(self, room: int) -> bytes:
        """Return the first bytes of the output, `room` at most."""
        output = self._output
        if self._output_size <= room:
            data = output[0] if len(output) == 1 and isinstance(output[0], bytes) else b"".join(output)
            output.clear()
            self._output_size = 0
            return bytes(data)
        whole = memoryview(output[0] if len(output) == 1 else b"".join(output))
        self._output = [whole[room:]]
        self._output_size -= room
        return bytes(whole[:room])

    def _room(self) -> int:
        """Return how many bytes the window has room for."""
        acknowledged, now, known = self._acknowledged, self._internet.now, 0
        for at, size in acknowledged:
            if at > now:
                break
            self._in_flight -= size
            known += 1
        del acknowledged[:known]
        return self._internet.window - self._in_flight

    def _await_room(self) -> None:
        self._blocked = True
        if self._acknowledged:
            self._internet.push(self._acknowledged[0][0], self._has_room)

    def _has_room(self) -> None:
        if not self._blocked or not self._reactor.alive:
            return
        if self._reactor.stalled:
            self._reactor.postpone(self._has_room)
            return
        self._blocked = False
        self._reactor.turn(b"write", self.flush)

    def _send(self, data: bytes) -> None:
        self._in_flight += len(data)
        if len(data) <= _BUFFER:
            self._transmit(data)
        else:
            for start in range(0, len(data), _BUFFER):
                self._transmit(data[start : start + _BUFFER])

    def _transmit(self, segment: bytes | None) -> None:
        """Send a segment, or the FIN, to the other end."""
        internet, peer = self._internet, self._peer
        arrival = internet.now + self.latency + internet.jitter * internet.random()
        if internet.bandwidth is not None:
            arrival += internet.sending_time(self.host, len(segment) if segment is not None else 0)
        if arrival < self._last_arrival:
            arrival = self._last_arrival
        self._last_arrival = arrival
        internet.queue.push(arrival, peer._arrive, (segment,))

    def _finish_writing(self) -> None:
        if not self.write_closed:
            self.write_closed = True
            self._transmit(None)

    def _send_reset(self) -> None:
        internet, peer = self._internet, self._peer
        internet.push(internet.now + self.latency + internet.jitter * internet.random(), peer._reset_arrives)

    # ---- private: receiving, by the kernel

    def _arrive(self, segment: bytes | None) -> None:
        if self.deaf or self.swallows:
            return
        if self._held or not self._internet.reachable(self._peer.host, self.host):
            if not self._held:
                self._held_since = self._internet.now
            self._held.append(segment)
            return
        self._take_in(segment)

    def _arrive_again(self) -> None:
        held = self._held
        if not held or not self._internet.reachable(self._peer.host, self.host):
            return
        self._held = []
        for segment in held:
            if not self.deaf and not self.swallows:
                self._take_in(segment)

    def _lose_held(self) -> None:
        """Nobody will send again what the path has swallowed; and behind that hole nothing can be taken in either."""
        if self._held:
            self._held.clear()
            self.swallows = True

    def _take_in(self, segment: bytes | None) -> None:
        if not self.connected:
            if segment is not None and self._peer.connected:
                self._send_reset()
            return
        if segment is None:
            self._finished = True
        else:
            if self._cut_after is not None:
                segment = self._cut(segment, self._cut_after)
            if segment:
                self._received.append(segment)
        if self._read_due or not self.reading:
            return
        internet = self._internet
        if internet.coalescing and internet.random() < internet.coalescing:
            self._read_due = True
            internet.push(internet.now + internet.random() * internet.coalescing_delay, self._readable)
        else:
            self._readable()

    def _cut(self, segment: bytes, count: int) -> bytes:
        if len(segment) < count:
            self._cut_after = count - len(segment)
            return segment
        self._cut_after = None
        if self._cut_silently:
            self.connection.black_hole()
        else:
            self.connection.reset()
        return segment[:count]

    def _next_retransmission(self) -> float:
        now = self._internet.now
        at, wait = self._held_since, _RETRANSMIT_FIRST
        while at < now:
            at, wait = at + wait, min(2 * wait, _RETRANSMIT_LIMIT)
        return at

    def _reset_arrives(self, everywhere: bool = False) -> None:
        if not self.connected:
            return
        if not everywhere and (self.deaf or not self._internet.reachable(self._peer.host, self.host)):
            return
        self._reactor.turn(b"reset", self._lost_by_reset)

    def _lost_by_reset(self) -> None:
        """Some kernels hand out what came before a reset, some do not."""
        if self._internet.random() < 0.5:
            while self._received and self.reading and self.connected:
                self._read()
        if self.connected:
            self._gone(ConnectionLost())

    # ---- private: receiving, by the process

    def _read_soon(self) -> None:
        if (self._received or self._finished) and not self._read_due:
            self._read_due = True
            self._internet.push(self._internet.now, self._readable)

    def _readable(self) -> None:
        self._read_due = False
        if not self.reading or not self.connected:
            return
        reactor, internet = self._reactor, self._internet
        if reactor.stalled:
            self._read_due = True
            reactor.postpone(self._readable)
            return
        if self.host.reads_per_second and internet.now < reactor.read_free_at:
            self._read_due = True
            internet.push(reactor.read_free_at, self._readable)
            return
        if self._received:
            self._read()
            if (self._received or self._finished) and self.connected:
                self._read_soon()
        elif self._finished:
            reactor.turn(b"end", self._read_end)

    def _read(self) -> None:
        """Hand to the protocol what is there, or a part of it."""
        received, internet = self._received, self._internet
        data = received.pop() if len(received) == 1 else self._gather()
        size = len(data)
        rate = self.host.reads_per_second
        if rate:
            size = min(size, max(1, int(rate * 0.05)))
            self._reactor.read_free_at = internet.now + size / rate
        if size > 1 and internet.fragmentation and internet.random() < internet.fragmentation:
            size = internet.rng.randint(1, size)
        if size < len(data):
            received.insert(0, data[size:])
            data = data[:size]
        self._acknowledge(size)
        internet.record(b"read", self.host.number, data)
        try:
            self.protocol.dataReceived(data)
        except Exception:
            self._reactor.failed("in dataReceived")
            if self.connected:
                self._send_reset()
                self._gone(Failure())

    def _gather(self) -> bytes:
        """Join what was received, up to what is read at once."""
        received, size, count = self._received, 0, 0
        for segment in received:
            size += len(segment)
            if size > _BUFFER and count:
                break
            count += 1
        gathered = b"".join(received[:count])
        del received[:count]
        return gathered

    def _acknowledge(self, size: int) -> None:
        """Tell the other kernel that there is room for so many bytes."""
        internet, sender = self._internet, self._peer
        if not sender.connected:
            return
        if sender.deaf or not internet.reachable(self.host, sender.host):
            self._acknowledgements_lost += size
            return
        size += self._acknowledgements_lost
        self._acknowledgements_lost = 0
        at = internet.now + self.latency
        acknowledged = sender._acknowledged
        if acknowledged and at < acknowledged[-1][0]:
            at = acknowledged[-1][0]
        acknowledged.append((at, size))
        if sender._blocked and len(acknowledged) == 1:
            internet.push(at, sender._has_room)

    def _acknowledge_lost(self) -> None:
        self._acknowledge(0)

    def _read_end(self) -> None:
        """The other end has sent its last byte, and it was read."""
        self._finished = False
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self.reading = False
            self.protocol.readConnectionLost()
        else:
            self._shut(ConnectionDone())

    # ---- private: the end

    def _shut(self, reason: Exception) -> None:
        """The process closes the socket. If there was something left to read, that resets the connection."""
        if self._received:
            self._send_reset()
        else:
            self._finish_writing()
        self._gone(reason)

    def _abort(self) -> None:
        if self.connected:
            if self._internet.random() < 0.5:
                self._peer.swallows = True
            self._peer._lose_held()
            self._send_reset()
            self._gone(ConnectionAborted())

    def _gone(self, reason: Exception | Failure) -> None:
        self.connected = False
        self.disconnected = True
        self.reading = False
        self._output.clear()
        self._received.clear()
        self._unlist()
        producer, self.producer = self.producer, None
        protocol, connector = self.protocol, self.connector
        self.protocol = self.connector = None
        failure = reason if isinstance(reason, Failure) else Failure(reason)
        if producer is not None:
            producer.stopProducing()
        if protocol is not None:
            protocol.connectionLost(failure)
        if connector is not None:
            connector.connectionLost(failure)

    def _unlist(self) -> None:
        self._reactor.transports.pop(self, None)
        if not self._peer.connected:
            self._internet.established.pop(self.connection, None)
