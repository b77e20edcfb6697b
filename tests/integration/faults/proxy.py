"""A proxy in front of a node that breaks the connections through it, at any byte, with RST, FIN or silence."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

__all__ = ["FaultProxy", "Pipe"]

HOST = "127.0.0.1"
#: A cut that waits for so many bytes breaks a handshake, which has about 3,000, in any of its steps.
HANDSHAKE = 4_000
#: As long as this, in seconds, a cut waits for its byte; then it comes all the same.
PATIENCE = 0.3


class End(Protocol):
    """One of the two connections of a pipe."""

    transport: Any

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self.other: End
        self.connected_once = False
        self.until_cut: int | None = None  # bytes that may still go from here to the other end
        self.deaf = False  # what comes is not passed on

    def connectionMade(self) -> None:
        self.connected_once = True
        self.pipe.opened(self)

    def dataReceived(self, data: bytes) -> None:
        if self.deaf:
            return
        if self.until_cut is not None:
            data, rest = data[: self.until_cut], data[self.until_cut :]
            self.until_cut -= len(data)
            self.other.transport.write(data)
            if rest:
                self.pipe.cut()
            return
        self.other.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.pipe.ended(self, clean=reason.check(type(connectionDone.value)) is not None)


class Pipe:
    """A connection through the proxy: from the dialer's end to the listener's, and back.

    :ivar cut_off: whether it has been cut.
    """

    def __init__(self, proxy: FaultProxy) -> None:
        self._proxy = proxy
        self.dialer, self.listener = End(self), End(self)
        self.dialer.other, self.listener.other = self.listener, self.dialer
        self.cut_off = False
        self._timer: Any = None

    def opened(self, end: End) -> None:
        """Have the proxy dial its node as soon as it is dialed, and pass bytes on only as fast as they are taken."""
        if end is self.dialer:
            end.transport.pauseProducing()
            dialed = TCP4ClientEndpoint(self._proxy.reactor, HOST, self._proxy.target).connect(
                Factory.forProtocol(lambda: self.listener)
            )
            dialed.addErrback(lambda _: self.dialer.transport.abortConnection())
            self._proxy.pipes[self] = None
            return
        for one in (self.dialer, self.listener):
            one.transport.setTcpNoDelay(True)
            one.other.transport.registerProducer(one.transport, True)
        self.dialer.transport.resumeProducing()
        if self.dialer.transport.disconnected:
            self.listener.transport.abortConnection()

    def ended(self, end: End, *, clean: bool) -> None:
        """One end is gone: the other goes in the same way, unless a cut has decided what becomes of it."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        other = end.other
        if other.connected_once and other.transport.connected:
            other.transport.unregisterProducer()
            if not self.cut_off:
                (other.transport.loseConnection if clean else other.transport.abortConnection)()
        if not other.connected_once or not other.transport.connected:
            self._proxy.pipes.pop(self, None)

    def cut_after(self, end: End, size: int) -> None:
        """Cut it when `size` more bytes have gone from an end to the other."""
        end.until_cut = size
        self._timer = self._proxy.reactor.callLater(PATIENCE, self.cut)

    def cut(self) -> None:
        """Break it, in a way that chance decides."""
        if self.cut_off:
            return
        self.cut_off = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        rng = self._proxy.rng
        ends = [end for end in (self.dialer, self.listener) if end.connected_once and end.transport.connected]
        for end in ends:
            end.deaf = True
            end.transport.unregisterProducer()
            end.transport.resumeProducing()
        if not ends:
            return
        reset = rng.random() < 0.5
        one_sided = rng.random() < 0.25
        self._proxy.cuts["by RST" if reset else "by FIN"] += 1
        self._proxy.cuts["one-sided"] += one_sided
        self._proxy.cuts["in mid-stream"] += any(end.until_cut == 0 for end in ends)
        for end in [rng.choice(ends)] if one_sided else ends:
            if reset:  # a moment later, so that the last bytes have gone
                self._proxy.reactor.callLater(rng.random() * 0.01, self._abort, end)
            else:
                end.transport.loseConnection()

    def close(self) -> None:
        """End it however it stands."""
        self.cut_off = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        for end in (self.dialer, self.listener):
            self._abort(end)

    @staticmethod
    def _abort(end: End) -> None:
        if end.connected_once and end.transport.connected:
            end.transport.abortConnection()


class FaultProxy:
    """Passes connections on to a node, and breaks them when it is told to.

    :param rng: decides how and where.
    :ivar port: where it listens.
    :ivar target: the port that the node listens at; it may change.
    :ivar pipes: the connections through it.
    :ivar stormy: whether new connections are cut early, with this probability.
    :ivar cuts: how many there were, by their kind.
    """

    def __init__(self, reactor: Any, rng: random.Random) -> None:
        self.reactor = reactor
        self.rng = rng
        self.port = 0
        self.target = 0
        self.pipes: dict[Pipe, None] = {}
        self.stormy = 0.0
        self.cuts: Counter[str] = Counter()
        self._listening: IListeningPort | None = None

    async def listen(self) -> None:
        """Begin."""
        self._listening = await TCP4ServerEndpoint(self.reactor, 0, interface=HOST).listen(
            Factory.forProtocol(self._build)
        )
        self.port = self._listening.getHost().port

    def cut_one(self) -> None:
        """Choose a connection, and cut it after some more bytes have passed."""
        pipes = [pipe for pipe in self.pipes if not pipe.cut_off]
        if pipes:
            self._cut_soon(self.rng.choice(pipes), self.rng.choice((100, 5_000, 100_000)))

    def close(self) -> Deferred[None] | None:
        """End, and end all connections."""
        for pipe in list(self.pipes):
            pipe.close()
        return self._listening.stopListening() if self._listening is not None else None

    def _build(self) -> End:
        pipe = Pipe(self)
        if self.rng.random() < self.stormy:
            self._cut_soon(pipe, HANDSHAKE)
        return pipe.dialer

    def _cut_soon(self, pipe: Pipe, within: int) -> None:
        pipe.cut_after(self.rng.choice((pipe.dialer, pipe.listener)), self.rng.randrange(within))
