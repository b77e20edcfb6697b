"""One end of a simulated TCP connection, as its process has it: the transport of a protocol.

It follows Twisted's ``tcp.Connection``: what is written during a turn goes out at the turn's end, a streaming producer
is paused above 64 KiB and resumed when the kernel has taken everything, and a connection that is being lost reads
nothing more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IHalfCloseableProtocol, IPushProducer, ITCPTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from netlayer.testing.socket import BUFFER, SimulatedSocket

if TYPE_CHECKING:
    from netlayer.testing.reactor import SimulatedReactor

__all__ = ["SimulatedTransport"]


@implementer(ITCPTransport, IConsumer, IPushProducer)
class SimulatedTransport(SimulatedSocket):
    """One end of a connection, with what Twisted's transports offer."""

    __slots__ = (
        "__weakref__",
        "_aborting",
        "_ends_writing",
        "_local",
        "_output",
        "_output_size",
        "_paused_producer",
        "_read_due",
        "_remote",
        "_writing",
        "connector",
        "disconnected",
        "disconnecting",
        "producer",
        "protocol",
        "streamingProducer",
    )

    def __init__(self, reactor: SimulatedReactor, local: IPv4Address, remote: IPv4Address) -> None:
        super().__init__(reactor)
        self.protocol: Any = None
        self.connector: Any = None
        self.disconnecting = False
        self.disconnected = False
        self.producer: Any = None
        self.streamingProducer = False
        self._local = local
        self._remote = remote
        self._aborting = False
        self._paused_producer = False
        self._ends_writing = False
        # What was written and the kernel has not taken yet.
        self._output: list[bytes | memoryview] = []
        self._output_size = 0
        self._writing = False  # whether the end of this turn is awaited
        self._read_due = False
        reactor.transports[self] = None

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
        if self._output_size > BUFFER and self.streamingProducer and self.producer is not None:
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

    # ---- for ports, connectors, hosts and the internet

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
            self._reset_connection()
            self._gone(ConnectionAborted())

    def kill(self) -> None:
        """The process is dead: it is told nothing, and its kernel closes the connection if it lives on."""
        self._close(unread=bool(self._received) or self.protocol is None)
        self.connected = False
        self.disconnected = True
        self.reading = False
        self.protocol = self.producer = self.connector = None
        self._output.clear()
        self._received.clear()
        self._unlist()

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

    # ---- private: writing

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

    # ---- private: reading

    def _arrived(self) -> None:
        """Read what has arrived, at once or a little later."""
        if self._read_due:
            return
        internet = self._internet
        if internet.coalescing and internet.random() < internet.coalescing:
            self._read_due = True
            internet.push(internet.now + internet.random() * internet.coalescing_delay, self._readable)
        else:
            self._readable()

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
                self._reset_connection()
                self._gone(Failure())

    def _gather(self) -> bytes:
        """Join what was received, up to what is read at once."""
        received, size, count = self._received, 0, 0
        for segment in received:
            size += len(segment)
            if size > BUFFER and count:
                break
            count += 1
        gathered = b"".join(received[:count])
        del received[:count]
        return gathered

    def _read_end(self) -> None:
        """The other end has sent its last byte, and it was read."""
        self._finished = False
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self.reading = False
            self.protocol.readConnectionLost()
        else:
            self._shut(ConnectionDone())

    # ---- private: the end

    def _lost_by_reset(self) -> None:
        """Some kernels hand out what came before a reset, some do not."""
        if self._internet.random() < 0.5:
            while self._received and self.reading and self.connected:
                self._read()
        if self.connected:
            self._gone(ConnectionLost())

    def _shut(self, reason: Exception) -> None:
        """The process closes the socket."""
        self._close(unread=bool(self._received))
        self._gone(reason)

    def _close(self, *, unread: bool) -> None:
        """Have the kernel end the connection: by a reset if there was something left to read or to accept."""
        if unread:
            self._reset_connection()
        else:
            self._finish_writing()

    def _abort(self) -> None:
        if self.connected:
            if not self.forgotten and self._internet.random() < 0.5:
                self._peer._lose()
            self._reset_connection()
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
