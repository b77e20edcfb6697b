"""One end of a simulated TCP connection, as its kernel has it: windows, segments, retransmissions and resets.

Bytes arrive in order and without holes, or not at all. What a broken path swallows is sent again after the path is
mended, as late as the retransmission timer says, if the sender's kernel has not forgotten the connection by then.

A kernel outlives its process: it goes on sending what it has taken, and the end behind it. It forgets a connection at
once when that is reset, whether the process knows it yet or not, and when its machine loses its power. From then on it
sends nothing but resets, and takes nothing in. So a stream ends in one of three ways: with a FIN, with a reset, or in
silence; and nothing comes behind its end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netlayer.testing.connection import SimulatedConnection
    from netlayer.testing.reactor import SimulatedReactor

__all__ = ["BUFFER", "SimulatedSocket"]

#: The most that a process reads or writes at once; also Twisted's own buffer.
BUFFER = 65536
#: The first retransmission comes after so many seconds, each further one after twice the time, up to the limit.
_RETRANSMIT_FIRST = 0.2
_RETRANSMIT_LIMIT = 120.0


class SimulatedSocket:
    """What the kernel does with one end of a connection.

    :class:`~netlayer.testing.transport.SimulatedTransport` adds what the process does.

    :ivar connected: whether the process holds it.
    :ivar reading: whether the process wants to know what arrives.
    :ivar host: where the process runs.
    :ivar latency: seconds to the other end, without jitter.
    """

    __slots__ = (
        "_acknowledged",
        "_acknowledgements_lost",
        "_blocked",
        "_cut_after",
        "_cut_silently",
        "_finished",
        "_held",
        "_held_since",
        "_in_flight",
        "_internet",
        "_last_arrival",
        "_over",
        "_peer",
        "_power_losses",
        "_reactor",
        "_received",
        "_was_reset",
        "connected",
        "connection",
        "deaf",
        "host",
        "latency",
        "reading",
        "write_closed",
    )

    def __init__(self, reactor: SimulatedReactor) -> None:
        self.host = reactor.host
        self.latency = 0.0
        self.connected = True
        self.reading = False
        self.write_closed = False
        self.deaf = False  # whether nothing arrives here any more
        self._reactor = reactor
        self._internet = reactor.host.internet
        self._power_losses = reactor.host.power_losses  # of the machine, when the connection was made
        self._was_reset = False
        self._over = False  # whether the stream to here has lost something, so that only a reset can still arrive
        # What was sent and is not known to be read, and from when on what of it is known to be read.
        self._in_flight = 0
        self._acknowledged: list[tuple[float, int]] = []
        self._acknowledgements_lost = 0
        self._blocked = False  # whether room in the window is awaited
        self._last_arrival = 0.0  # of what was sent last, at the other end
        # What has arrived here: bytes that the process has not read; what waits for a retransmission.
        self._received: list[bytes] = []
        self._finished = False  # whether the other end's FIN came after them
        self._held: list[bytes | None] = []
        self._held_since = 0.0
        self._cut_after: int | None = None
        self._cut_silently = False

    @property
    def forgotten(self) -> bool:
        """Whether the kernel here knows the connection no more: it was reset, or the machine has lost its power."""
        return self._was_reset or self._power_losses != self.host.power_losses

    def join(self, connection: SimulatedConnection, peer: SimulatedSocket) -> None:
        """Learn which connection this is an end of."""
        self.connection = connection
        self._peer = peer

    # ---- what the process does, in the subclass

    def flush(self) -> None:
        """Write; the window has room."""

    def _arrived(self) -> None:
        """Something, bytes or the end, waits to be read."""

    def _lost_by_reset(self) -> None:
        """The connection was reset."""

    # ---- for hosts and faults

    def reset(self) -> None:
        """The connection is reset from outside, for this end: at once, though its process learns it a turn later."""
        if not self.forgotten:
            self._was_reset = True
            self._internet.push(self._internet.now, self._tell_of_reset)

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

    # ---- private: sending

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
        self._reactor.sent_at[self._peer.host] = self._internet.now
        self._in_flight += len(data)
        if len(data) <= BUFFER:
            self._transmit(data)
        else:
            for start in range(0, len(data), BUFFER):
                self._transmit(data[start : start + BUFFER])

    def _transmit(self, segment: bytes | None) -> None:
        """Send a segment, or the FIN, to the other end."""
        if self.forgotten:  # the process will hear of it
            return
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

    def _reset_connection(self) -> None:
        """Reset the connection from this end, unless it is reset already."""
        if not self.forgotten:
            self._send_reset()

    def _send_reset(self) -> None:
        self._was_reset = True
        internet, peer = self._internet, self._peer
        internet.push(internet.now + self.latency + internet.jitter * internet.random(), peer._reset_arrives)

    # ---- private: receiving

    def _arrive(self, segment: bytes | None) -> None:
        if self.deaf or self._over:
            return
        if not self._held and self._internet.reachable(self._peer.host, self.host):
            self._take_in(segment)
        elif self._peer.forgotten:
            self._lose()
        else:
            if not self._held:
                self._held_since = self._internet.now
            self._held.append(segment)

    def _arrive_again(self) -> None:
        held = self._held
        if not held or not self._internet.reachable(self._peer.host, self.host):
            return
        if self._peer.forgotten:
            self._lose()
            return
        self._held = []
        for segment in held:
            if not self.deaf and not self._over:
                self._take_in(segment)

    def _lose(self) -> None:
        """Something that was sent will never come: nothing behind it can be taken in either."""
        self._held.clear()
        self._over = True

    def _take_in(self, segment: bytes | None) -> None:
        if not self.connected or self.forgotten:
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
        if self.reading:
            self._arrived()

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

    def _reset_arrives(self) -> None:
        if self.forgotten or self.deaf or not self._internet.reachable(self._peer.host, self.host):
            return
        self._was_reset = True
        self._tell_of_reset()

    def _tell_of_reset(self) -> None:
        if self.connected:
            self._reactor.turn(b"reset", self._lost_by_reset)

    def _acknowledge(self, size: int) -> None:
        """Tell the other kernel that there is room for so many bytes."""
        internet, sender = self._internet, self._peer
        if not sender.connected or self.forgotten:
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
