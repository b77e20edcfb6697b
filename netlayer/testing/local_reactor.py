"""The reactor of one process among several on localhost: real sockets and time, which can be taken away at once."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from twisted.internet import tcp
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionLost, DNSLookupError
from twisted.internet.interfaces import (
    IDelayedCall,
    IReactorFDSet,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from netlayer.testing.errors import SimulationError
from netlayer.testing.names import SimulatedResolver
from netlayer.testing.system_events import SystemEvents

if TYPE_CHECKING:
    from netlayer.testing.localhost import LocalHost

__all__ = ["LocalReactor"]

#: With this a socket that is closed resets its connection.
_RESETTING = struct.pack("ii", 1, 0)


@implementer(IReactorTime, IReactorTCP, IReactorFDSet, IReactorPluggableNameResolver)
class LocalReactor(SystemEvents):
    """What a process on localhost gets in place of Twisted's reactor, which all of them share.

    It remembers the timers and sockets that the process has, and can kill it: none of its code runs again, its sockets
    are closed, and nothing listens any more. Names are those of the hosts of the internet.

    :param shared: Twisted's.
    """

    def __init__(self, host: LocalHost, shared: Any) -> None:
        super().__init__(host.name)
        self.alive = True
        self.nameResolver: Any = SimulatedResolver(self)  # type: ignore[arg-type] # it needs no more than this has
        self._host = host
        self._shared = shared
        self._calls: dict[IDelayedCall, None] = {}
        self._sockets: dict[Any, None] = {}

    def __repr__(self) -> str:
        return f"<LocalReactor of {self._host.name}>"

    @property
    def host(self) -> LocalHost:
        """The host that the process runs on."""
        return self._host

    # ---- IReactorTime

    def seconds(self) -> float:
        """Return the time, in seconds."""
        return self._shared.seconds()  # type: ignore[no-any-return]

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object, **kw: object) -> IDelayedCall:
        """Call a function `delay` seconds from now, if the process still lives then."""
        calls: list[IDelayedCall] = []

        def call() -> None:
            del self._calls[calls[0]]
            try:
                callable(*args, **kw)
            except Exception:
                self.failed("in a delayed call")

        later: IDelayedCall = self._shared.callLater(delay, call)
        if self.alive:
            calls.append(later)
            self._calls[later] = None
        else:
            later.cancel()
        return later

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        """Return the calls that are due, in the order in which they were asked for."""
        self._calls = {call: None for call in self._calls if call.active()}
        return list(self._calls)

    # ---- IReactorTCP

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> tcp.Port:
        """Listen at a port, by default of the address of this host."""
        listening = tcp.Port(port, factory, backlog, interface or self._host.address, self)
        listening.startListening()
        return listening

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: tuple[str, int] | None = None
    ) -> tcp.Connector:
        """Connect to a host, from the address of this one."""
        connector = tcp.Connector(host, port, factory, timeout, bindAddress or (self._host.address, 0), self)
        connector.connect()
        return connector

    def resolve(self, name: str, timeout: Sequence[int] = ()) -> Deferred[str]:
        """Return the address of a name."""
        addresses = self._host.internet.lookup(self._host, name)
        if not addresses:
            return fail(DNSLookupError(f"no host of the internet is called {name!r}"))
        return succeed(addresses[0])

    def installNameResolver(self, resolver: Any) -> Any:
        """Resolve names by another resolver; returns the one before."""
        before, self.nameResolver = self.nameResolver, resolver
        return before

    # ---- IReactorFDSet, by which sockets come to the shared reactor

    def addReader(self, reader: Any) -> None:
        """Watch a socket for what comes."""
        if self.alive:
            self._sockets[reader] = None
            self._shared.addReader(reader)

    def addWriter(self, writer: Any) -> None:
        """Watch a socket for room."""
        if self.alive:
            self._sockets[writer] = None
            self._shared.addWriter(writer)

    def removeReader(self, reader: Any) -> None:
        """Watch it no longer."""
        self._shared.removeReader(reader)

    def removeWriter(self, writer: Any) -> None:
        """Watch it no longer."""
        self._shared.removeWriter(writer)

    def removeAll(self) -> list[Any]:
        """Watch nothing any more."""
        sockets = self.open_sockets()
        for each in sockets:
            self._shared.removeReader(each)
            self._shared.removeWriter(each)
        return sockets

    def getReaders(self) -> list[Any]:
        """Return the sockets that are watched for what comes."""
        return [each for each in self._shared.getReaders() if each in self._sockets]

    def getWriters(self) -> list[Any]:
        """Return the sockets that are watched for room."""
        return [each for each in self._shared.getWriters() if each in self._sockets]

    # ---- threads

    def callFromThread(self, callable: Callable[..., Any], *args: object, **kw: object) -> None:
        """Call a function in the next turn; the process has but one thread."""
        self.callLater(0, callable, *args, **kw)

    def callInThread(self, callable: Callable[..., Any], *args: object, **kw: object) -> NoReturn:
        """Do as the simulation does.

        :raises SimulationError: always.
        """
        raise SimulationError(f"{callable!r} was to be called in a thread; the processes of a scenario have none")

    def getThreadPool(self) -> NoReturn:
        """There is none.

        :raises SimulationError: always.
        """
        raise SimulationError("the processes of a scenario have no threads, so they have no thread pool")

    # ---- for the host and the internet

    def open_sockets(self) -> list[Any]:
        """Return the sockets that are open: connections, and what listens."""
        self._sockets = {each: None for each in self._sockets if _is_open(each)}
        return list(self._sockets)

    def connections(self) -> list[Any]:
        """Return the transports of the connections that stand."""
        return [each for each in self.open_sockets() if isinstance(each, tcp.Connection) and each.connected]

    def reset(self, transport: Any) -> None:
        """Have a connection found reset, here and at the other end."""
        transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESETTING)
        transport.connectionLost(Failure(ConnectionLost()))

    def die(self) -> None:
        """Run no code of this process ever again, and close its sockets, as a kernel does when a process is killed."""
        self.alive = self.running = False
        for call in self.getDelayedCalls():
            call.cancel()
        self._calls.clear()
        for each in self.removeAll():
            each.socket.close()
        self._sockets.clear()

    def leftovers(self) -> list[str]:
        """Tell which timers and sockets the process has."""
        name = self._host.name
        return [f"{name}: {each!r}" for each in [*self.getDelayedCalls(), *self.open_sockets()]]


def _is_open(each: Any) -> bool:
    handle = getattr(each, "socket", None)
    return handle is not None and handle.fileno() != -1
