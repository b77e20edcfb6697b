"""How simulated connections come about: listening ports, and attempts to connect to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address
from twisted.internet.base import BaseConnector
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectError, ConnectionRefusedError, DNSLookupError, TCPTimedOutError
from twisted.internet.interfaces import IConnector, IListeningPort
from twisted.python.failure import Failure
from zope.interface import implementer

from netlayer.testing.connection import SimulatedConnection

if TYPE_CHECKING:
    from netlayer.testing.reactor import SimulatedReactor
    from netlayer.testing.transport import SimulatedTransport

__all__ = ["SimulatedConnector", "SimulatedPort"]

#: A connection request that gets no answer is repeated after 1, 2, 4 … seconds, this many times, as Linux does it.
_REQUESTS = 7


@implementer(IListeningPort)
class SimulatedPort:
    """A listening port of a process."""

    def __init__(self, reactor: SimulatedReactor, port: int, factory: Any, backlog: int, interface: str) -> None:
        self.port = port
        self.interface = interface
        self.factory = factory
        self.backlog = backlog
        self.waiting: dict[SimulatedTransport, None] = {}  # accepted by the kernel, not yet by the process
        self._reactor = reactor

    def __repr__(self) -> str:
        return f"<SimulatedPort {self.interface or self._reactor.host.address}:{self.port}>"

    def startListening(self) -> None:
        """Begin to listen."""
        self._reactor.ports[self.port] = self
        self.factory.doStart()

    def stopListening(self) -> Deferred[None]:
        """Stop listening. What waits to be accepted is reset."""
        if self._reactor.ports.get(self.port) is not self:
            return succeed(None)
        del self._reactor.ports[self.port]
        for transport in list(self.waiting):
            transport.discard()
        self.waiting.clear()
        stopped: Deferred[None] = Deferred()

        def stop() -> None:
            self.factory.doStop()
            stopped.callback(None)

        internet = self._reactor.host.internet
        internet.push(internet.now, self._reactor.turn, b"stop", stop)
        return stopped

    def getHost(self) -> IPv4Address:
        """Return the address that is listened at."""
        return IPv4Address("TCP", self.interface or "0.0.0.0", self.port)

    def hears(self, address: str) -> bool:
        """Tell whether a request to an address of the host is one to this port."""
        return self.interface in ("", "0.0.0.0", address)

    def accept(self, transport: SimulatedTransport) -> None:
        """The process takes a connection that the kernel has accepted."""
        if transport not in self.waiting:
            return
        del self.waiting[transport]
        protocol = self.factory.buildProtocol(transport.getPeer())
        if protocol is None:
            transport.close_unused()
        else:
            transport.open(protocol)


@implementer(IConnector)
class SimulatedConnector(BaseConnector):
    """An attempt of a process to connect, and what became of it."""

    reactor: SimulatedReactor  # type: ignore[assignment] # Twisted asks for its own base class

    def __init__(
        self,
        reactor: SimulatedReactor,
        host: str,
        port: int,
        factory: Any,
        timeout: float,
        bind_address: tuple[str, int] | None,
    ) -> None:
        super().__init__(factory, timeout, reactor)  # type: ignore[arg-type]
        self._host = host
        self._port = port
        self._bind_address = bind_address

    def getDestination(self) -> IPv4Address:
        """Return the address that is connected to."""
        return IPv4Address("TCP", self._host, self._port)

    def _makeTransport(self) -> Any:
        attempt = _Attempt(self, self._host, self._port, self._bind_address)
        internet = self.reactor.host.internet
        internet.push(internet.now, attempt.look_up)
        return attempt


class _Attempt:
    """One attempt: the request, its repetitions, the answer."""

    def __init__(
        self, connector: SimulatedConnector, host: str, port: int, bind_address: tuple[str, int] | None
    ) -> None:
        self._connector = connector
        self._reactor = connector.reactor
        self._source = connector.reactor.host
        self._internet = self._source.internet
        self._host = host
        self._address = ""
        self._port = port
        self._bind_address = bind_address
        self._over = False

    # ---- what the connector asks for

    def failIfNotConnected(self, error: BaseException) -> None:
        """Give up."""
        if not self._over:
            self._over = True
            self._connector.connectionFailed(Failure(error))

    # ---- the kernel's part

    def look_up(self) -> None:
        """Find the address of the host."""
        addresses = self._internet.lookup(self._source, self._host)
        if not addresses:
            error = DNSLookupError(f"no host of the simulated internet is called {self._host!r}")
            self._reactor.turn(b"unknown", self.failIfNotConnected, error)
            return
        self._address = addresses[0]
        self._send(0)

    def _send(self, request: int) -> None:
        target = self._internet.host_at(self._address, self._source)
        delay = self._internet.delay(self._source, target) if target is not None else 0.0
        self._internet.push(self._internet.now + delay, self._arrive, request)

    def _arrive(self, request: int) -> None:
        """The request is at the target's kernel, if it gets there."""
        internet, source = self._internet, self._source
        if self._over or not self._reactor.alive:
            return
        target = internet.host_at(self._address, source)
        if target is None or not (internet.reachable(source, target) and internet.reachable(target, source)):
            self._repeat(request)
            return
        port = target.reactor.ports.get(self._port)
        if port is None or not port.hears(self._address) or target.refuses_accepts:
            internet.record(b"refuse", target.number)
            error = ConnectionRefusedError(string="Connection refused")
            internet.push(internet.now + internet.delay(target, source), self._answered, self.failIfNotConnected, error)
            return
        if len(port.waiting) > port.backlog:
            self._repeat(request)
            return
        internet.record(b"request", target.number)
        source_address, source_port = self._bind_address or ("", 0)
        if not source_address:
            source_address = "127.0.0.1" if self._address == "127.0.0.1" else source.address
        client_address = IPv4Address("TCP", source_address, source_port or self._reactor.free_port())
        server_address = IPv4Address("TCP", self._address, self._port)
        connection = SimulatedConnection(internet, (self._reactor, client_address), (target.reactor, server_address))
        port.waiting[connection.server] = None
        internet.push(internet.now, target.reactor.turn, b"accept", port.accept, connection.server)
        self._answer(connection)

    def _answer(self, connection: SimulatedConnection) -> None:
        internet = self._internet
        delay = internet.delay(connection.server.host, self._source)
        internet.push(internet.now + delay, self._accepted, connection)

    def _accepted(self, connection: SimulatedConnection) -> None:
        """The target's answer is here, unless it got lost."""
        internet = self._internet
        if not internet.reachable(connection.server.host, self._source):
            internet.push(internet.now + 1.0, self._answer, connection)
        elif self._over or not self._reactor.alive:
            connection.client.discard()
        else:
            self._reactor.turn(b"connect", self._connected, connection.client)

    def _answered(self, function: Any, *args: Any) -> None:
        if not self._over:
            self._reactor.turn(b"refused", function, *args)

    def _repeat(self, request: int) -> None:
        if request + 1 < _REQUESTS:
            self._internet.push(self._internet.now + 2.0**request, self._send, request + 1)
        else:
            error = TCPTimedOutError(string="Connection timed out")
            self._reactor.turn(b"timeout", self.failIfNotConnected, error)

    # ---- the process's part

    def _connected(self, transport: SimulatedTransport) -> None:
        if self._over:
            transport.discard()
            return
        if not transport.connected:
            self.failIfNotConnected(ConnectError(string="Connection reset by peer"))
            return
        self._over = True
        connector = self._connector
        connector.transport = transport  # type: ignore[assignment]
        transport.connector = connector
        protocol = connector.buildProtocol(transport.getPeer())
        if protocol is None:
            transport.close_unused()
        else:
            transport.open(protocol)
