"""The reactor of one simulated process: its timers, its sockets, its names, and its end."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError, DNSLookupError
from twisted.internet.interfaces import (
    IDelayedCall,
    IHostnameResolver,
    IReactorCore,
    IReactorFromThreads,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
)
from zope.interface import implementer

from netlayer.interfaces import IWallClock
from netlayer.testing.errors import SimulationError
from netlayer.testing.listening import SimulatedConnector, SimulatedPort
from netlayer.testing.names import SimulatedResolver
from netlayer.testing.system_events import SystemEvents
from netlayer.testing.timers import CALLED, SimulatedCall

if TYPE_CHECKING:
    from netlayer.testing.host import SimulatedHost
    from netlayer.testing.transport import SimulatedTransport

__all__ = ["SimulatedReactor"]

#: Timers may be due this much earlier than the clock says, in seconds: sums of floats are not exact.
_ROUNDING = 1e-9
#: The time of day at which every simulation begins: the first second of 2026.
EPOCH = 1767225600.0


@implementer(IReactorCore, IReactorTime, IReactorTCP, IReactorPluggableNameResolver, IReactorFromThreads, IWallClock)
class SimulatedReactor(SystemEvents):
    """The reactor of one process of a simulated host; a restarted host has another one.

    Code gets it as ``host.reactor``, in place of Twisted's. It offers timers, TCP over IPv4, names and system events.
    There are no threads: whatever would need one raises :class:`~netlayer.testing.SimulationError`.

    :ivar running: whether the process lives and was not stopped.
    :ivar sent_at: when the kernel has last taken bytes of the process for each other host, in virtual time.
    """

    def __init__(self, host: SimulatedHost, *, clock: float) -> None:
        super().__init__(host.name)
        self.alive = True
        self.ports: dict[int, SimulatedPort] = {}
        self.transports: dict[SimulatedTransport, None] = {}
        self.sent_at: dict[SimulatedHost, float] = {}
        self.nameResolver: Any = SimulatedResolver(self)
        self.stalled = False
        self.read_free_at = 0.0
        self._host = host
        self._internet = host.internet
        self._offset = clock - host.internet.now
        self._floor = clock  # what the clock has shown already by making a call that was due then
        self._calls: dict[SimulatedCall, None] = {}
        self._late_calls: list[SimulatedCall] = []
        self._late: list[tuple[Callable[..., object], tuple[Any, ...]]] = []
        self._next_port = 49152

    def __repr__(self) -> str:
        return f"<SimulatedReactor of {self._host.name}>"

    @property
    def host(self) -> SimulatedHost:
        """The host that the process runs on."""
        return self._host

    # ---- IReactorTime

    def seconds(self) -> float:
        """Return the time of the process's clock, in seconds; the clocks of two hosts have nothing in common."""
        now = self._internet.now + self._offset
        return now if now > self._floor else self._floor

    def wall_seconds(self) -> float:
        """Return the time of day at this host, in seconds since 1970; all hosts agree on it unless it is set."""
        return EPOCH + self._internet.now + self._host.ahead

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object, **kw: object) -> IDelayedCall:
        """Call a function `delay` seconds from now."""
        if not delay >= 0:
            raise ValueError(f"a call can't be made {delay!r} seconds from now")
        call = SimulatedCall(self, self.seconds() + delay, callable, args, kw)
        if self.alive:
            internet = self._internet
            self._calls[call] = None
            internet.queue.push(internet.now + delay, self._fire, (call,))
        return call

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        """Return the calls that are due, in the order in which they were asked for."""
        return list(self._calls)

    # ---- IReactorTCP

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> SimulatedPort:
        """Listen at a port of this host.

        :param interface: an address of the host, or ``""`` for all of them.
        :raises CannotListenError: when the port is taken, or the address is not one of this host.
        """
        interface = "127.0.0.1" if interface == "localhost" else interface
        if interface not in ("", "0.0.0.0", "127.0.0.1", self._host.address):
            raise CannotListenError(interface, port, _error(errno.EADDRNOTAVAIL))
        if port == 0:
            port = self.free_port()
        if port in self.ports:
            raise CannotListenError(interface, port, _error(errno.EADDRINUSE))
        listening = SimulatedPort(self, port, factory, backlog, interface)
        listening.startListening()
        return listening

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: tuple[str, int] | None = None
    ) -> SimulatedConnector:
        """Connect to a host of the internet, by name or by address."""
        connector = SimulatedConnector(self, host, port, factory, timeout, bindAddress)
        if self.alive:
            connector.connect()
        return connector

    # ---- IReactorPluggableNameResolver

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        """Resolve names by another resolver; returns the one before."""
        before, self.nameResolver = self.nameResolver, resolver
        return before  # type: ignore[no-any-return]

    # ---- IReactorCore

    def resolve(self, name: str, timeout: Sequence[int] = ()) -> Deferred[str]:
        """Return the address of a name."""
        addresses = self._internet.lookup(self._host, name)
        if not addresses:
            return fail(DNSLookupError(f"no host of the simulated internet is called {name!r}"))
        return succeed(addresses[0])

    def run(self) -> NoReturn:
        """There is nothing to run: time passes in :meth:`SimulatedInternet.advance` and its relatives."""
        raise SimulationError("a simulated reactor runs when its internet does: call internet.advance(seconds)")

    def iterate(self, delay: float = 0) -> NoReturn:
        """There is nothing to iterate; see :meth:`run`."""
        self.run()

    def crash(self) -> None:
        """End the process at once. The kernel closes its connections; see :meth:`SimulatedHost.crash`."""
        self._host.crash(silent=False)

    # ---- threads

    def callFromThread(self, callable: Callable[..., Any], *args: object, **kw: object) -> None:
        """Call a function in the next turn; there is but one thread."""
        self.callLater(0, callable, *args, **kw)

    def callInThread(self, callable: Callable[..., Any], *args: object, **kw: object) -> NoReturn:
        """Threads can't be replayed, so there are none.

        :raises SimulationError: always.
        """
        raise SimulationError(
            f"{callable!r} was to be called in a thread, and a simulated process has none, since no run could be "
            "replayed: give the application a seam, and call such a function directly when it is simulated"
        )

    def getThreadPool(self) -> NoReturn:
        """There is none.

        :raises SimulationError: always.
        """
        raise SimulationError("a simulated process has no threads, so it has no thread pool")

    # ---- for the host

    def die(self) -> None:
        """Run no code of this process ever again."""
        self.alive = self.running = False
        self._calls.clear()
        self._late_calls.clear()
        self._late.clear()
        self.ports.clear()

    def stall(self) -> None:
        """Do nothing until :meth:`wake`."""
        self.stalled = True

    def wake(self) -> None:
        """Go on: late timers first, as in a real reactor, then what the sockets have."""
        self.stalled = False
        internet = self._internet
        calls, self._late_calls = self._late_calls, []
        for call in sorted(calls, key=lambda call: call.time):
            internet.push(internet.now, self._fire, call)
        late, self._late = self._late, []
        for function, args in late:
            internet.push(internet.now, function, *args)

    def jump(self, seconds: float) -> None:
        """Set the clock forward or back."""
        self._offset += seconds
        self._floor = self._internet.now + self._offset
        for call in self._calls:
            self._schedule(call)

    def leftovers(self) -> list[str]:
        """Tell which timers, ports and connections the process has."""
        name = self._host.name
        return [
            *(f"{name}: {call!r}" for call in self._calls),
            *(f"{name}: {port!r}" for port in self.ports.values()),
            *(f"{name}: {transport!r}" for transport in self.transports if transport.protocol is not None),
        ]

    # ---- for timers and sockets

    def turn(self, kind: bytes, function: Callable[..., object], *args: Any) -> None:
        """Have the process do something: now, when it goes on if it is stalled, or never if it is dead."""
        if not self.alive:
            return
        if self.stalled:
            self._late.append((self.turn, (kind, function, *args)))
            return
        self._internet.record(kind, self._host.number)
        try:
            function(*args)
        except Exception:
            self.failed(f"at {kind.decode()}")

    def postpone(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function when the process goes on; it is stalled."""
        self._late.append((function, args))

    def free_port(self) -> int:
        """Return a port that nobody uses."""
        while True:
            port, self._next_port = self._next_port, self._next_port + 1
            if self._next_port > 65535:
                self._next_port = 49152
            if port not in self.ports:
                return port

    # ---- private

    def _forget_call(self, call: SimulatedCall) -> None:
        self._calls.pop(call, None)

    def _schedule(self, call: SimulatedCall) -> None:
        if self.alive:
            internet = self._internet
            internet.push(internet.now + max(0.0, call.time - self.seconds()), self._fire, call)

    def _fire(self, call: SimulatedCall) -> None:
        if call not in self._calls:  # cancelled, or made by another entry, or the process is dead
            return
        if self.stalled:
            self._late_calls.append(call)
            return
        if call.time > self._internet.now + self._offset + _ROUNDING:  # it was moved
            self._schedule(call)
            return
        if call.time > self._floor:
            self._floor = call.time
        del self._calls[call]
        call.state = CALLED
        self._internet.record(b"timer", self._host.number)
        try:
            call.func(*call.args, **call.kw)
        except Exception:
            self.failed("in a delayed call")


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
