"""An internet of hosts that are addresses of this machine, for scenarios that run on real sockets, time and keys."""

from __future__ import annotations

import ipaddress
import random
import socket
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred

from netlayer.errors import described
from netlayer.storage.identity import Identity
from netlayer.testing.arguments import checked_addresses, checked_count, checked_number, checked_seconds
from netlayer.testing.errors import SimulationError, SimulationTimeout
from netlayer.testing.host import SimulatedHost
from netlayer.testing.local_reactor import LocalReactor
from netlayer.testing.passing import Passing
from netlayer.testing.replay import numbers_text

if TYPE_CHECKING:
    from netlayer.testing.scenario import Scenario

__all__ = ["LocalConnection", "LocalHost", "LocalInternet", "refuse_on_localhost"]

T = TypeVar("T")

#: Seconds from one look at whether a run is over to the next.
_LOOKS = 0.02


class LocalHost(SimulatedHost):
    """A host that is an address of this machine. What only the simulation can do to one is refused.

    Its processes live in this one; a crash takes their timers and sockets away at once, as a kernel does.
    """

    internet: Any
    reactor: Any

    @property
    def connections(self) -> list[Any]:
        """The transports of the process, oldest first."""
        return list(self.reactor.connections())

    def identity(self, *, ephemeral: bool = False) -> Any:
        """Return who this host is, with a real key: the same for each of its processes until it loses its disk."""
        name = f"{self._disks} {self._processes if ephemeral else ''}"
        first = self._keys.setdefault(name, Identity.generate())
        return Identity(first.key, first.certificate, ephemeral=ephemeral)

    def stall(self, seconds: float) -> None:
        """Refuse.

        :raises SimulationError: always.
        """
        raise _simulated_only("a stall")

    def jump_clock(self, seconds: float) -> None:
        """Refuse.

        :raises SimulationError: always.
        """
        raise _simulated_only("a clock jump")

    def jump_wall_clock(self, seconds: float) -> None:
        """Refuse.

        :raises SimulationError: always.
        """
        raise _simulated_only("a clock jump")

    def read_slowly(self, bytes_per_second: float | None) -> None:
        """Refuse.

        :raises SimulationError: always.
        """
        raise _simulated_only("a slow reader")

    def refuse_accepts(self, refuse: bool = True) -> None:
        """Refuse.

        :raises SimulationError: always.
        """
        raise _simulated_only("refusing connections")

    def _begin_process(self) -> None:
        if self._processes == 0:
            self._keys: dict[str, Identity] = {}
        super()._begin_process()
        self.reactor = LocalReactor(self, self.internet.reactor)

    def _end_process(self) -> None:
        self.reactor.die()


class LocalConnection:
    """A connection between two hosts on this machine.

    :ivar client: one end, with its ``host``, which can be ``reset``; ``server`` is the other one.
    """

    def __init__(self, client: LocalEnd, server: LocalEnd) -> None:
        self.client = client
        self.server = server

    def between(self, one: LocalHost | str, other: LocalHost | str) -> bool:
        """Tell whether these are the hosts at its ends, whoever connected."""
        known = self.client.host.internet.known
        return {self.client.host, self.server.host} == {known(one), known(other)}

    def reset(self) -> None:
        """Have both ends find the connection reset."""
        self.client.reset()
        self.server.reset()

    def black_hole(self) -> None:
        """Refuse.

        :raises SimulationError: always.
        """
        raise _simulated_only("a black hole")

    def cut_after(self, count: int, *, sender: Any, silently: bool = False) -> None:
        """Refuse.

        :raises SimulationError: always.
        """
        raise _simulated_only("a cut after so many bytes")


class LocalEnd:
    """One end of a connection on this machine."""

    def __init__(self, host: LocalHost, transport: Any) -> None:
        self.host = host
        self._transport = transport

    def reset(self) -> None:
        """Have this end find the connection reset; the other one finds out at once, as its kernel is told."""
        if self._transport.connected:
            self.host.reactor.reset(self._transport)


class LocalInternet:
    """Hosts on this machine, each with an address of its own in a network of 127.0.0.0/8.

    It has as much of :class:`~netlayer.testing.SimulatedInternet` as scenarios and hosts need.

    :param seed: for what applications do by chance; the network has its own.
    :raises SimulationError: when this system has no such addresses.
    """

    trace_hash = ""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.events = 0
        self.reactor: Any = _new_reactor()
        self.rng = random.Random(f"{seed} internet")
        self._passing = Passing("await what is to be waited for")
        self._hosts: dict[str, LocalHost] = {}
        self._names: dict[str, list[str]] = {}
        self._network = ipaddress.ip_network(_free_network())
        self._began: float = self.reactor.seconds()

    # ---- hosts and names

    def add_host(self, name: str, *, address: str | None = None) -> LocalHost:
        """Add a host, which is found by its name.

        :raises SimulationError: when there is a host of this name already, when the network has no more addresses, or
            when an address is given.
        """
        if address is not None:
            raise _simulated_only("a host with an address of your own")
        if name in self._hosts:
            raise SimulationError(f"there is a host {name!r} already")
        if len(self._hosts) >= self._network.num_addresses - 2:
            raise SimulationError(f"the network {self._network} has no address for another host")
        number = len(self._hosts) + 1
        host = LocalHost(self, number, name, str(self._network.network_address + number))  # type: ignore[arg-type]
        self._hosts[name] = host
        return host

    def add_hosts(self, count: int, prefix: str = "host") -> list[LocalHost]:
        """Add several hosts, as :meth:`SimulatedInternet.add_hosts` does."""
        count = checked_count(count, "the number of hosts is a whole number, 0 or more")
        return [self.add_host(f"{prefix}{number}") for number in range(1, count + 1)]

    @property
    def hosts(self) -> list[LocalHost]:
        """All hosts, in the order in which they were added."""
        return list(self._hosts.values())

    def host(self, name: str) -> LocalHost:
        """Return the host of a name.

        :raises SimulationError: when there is none.
        """
        if name not in self._hosts:
            raise SimulationError(f"there is no host {described(name)} on this internet")
        return self._hosts[name]

    def set_name(self, name: str, address: str | Iterable[str] | None) -> None:
        """Have a name lead to an address from now on, to several, or nowhere."""
        self._names[name] = checked_addresses(address)

    def lookup(self, source: LocalHost, name: str) -> list[str]:
        """Return the addresses that a name, or an address, stands for."""
        if self._names.get(name):
            return self._names[name]
        if name in self._hosts:
            return [self._hosts[name].address]
        try:
            return [str(ipaddress.IPv4Address("127.0.0.1" if name == "localhost" else name))]
        except ValueError:
            return []

    @property
    def connections(self) -> list[LocalConnection]:
        """The connections of which both ends stand, and those of one end whose other end nobody has."""
        ends = {
            (str(transport.getHost()), str(transport.getPeer())): LocalEnd(host, transport)
            for host in self._hosts.values()
            for transport in host.reactor.connections()
        }
        return [
            LocalConnection(end, ends.get((peer, own), end))
            for (own, peer), end in ends.items()
            if own < peer or (peer, own) not in ends
        ]

    # ---- time

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return self.reactor.seconds() - self._began  # type: ignore[no-any-return]

    def sleep(self, seconds: float) -> Deferred[None]:
        """Return a Deferred that fires after so many seconds; at once if it is late already, as it may be here."""
        over: Deferred[None] = Deferred()
        seconds = checked_number(seconds, "a sleep is a number of seconds", infinite=True)
        self.reactor.callLater(max(0.0, seconds), over.callback, None)
        return over

    def call_later(self, seconds: float, function: Callable[..., object], *args: Any) -> None:
        """Call a function after so many seconds, outside of all hosts."""
        self.reactor.callLater(checked_seconds(seconds, "the time until a call", infinite=True), function, *args)

    def advance(self, seconds: float) -> NoReturn:
        """Refuse.

        :raises SimulationError: always.
        """
        raise SimulationError("time passes by itself on localhost: await sleep(seconds)")

    def run(self, awaited: Any, timeout: float = 60.0) -> NoReturn:
        """Refuse.

        :raises SimulationError: always.
        """
        raise SimulationError("time passes by itself on localhost: await what is to be waited for")

    def run_until(self, predicate: Callable[[], object], timeout: float = 60.0) -> None:
        """Let time pass until something is true; can be called once.

        :raises SimulationError: when time passes already.
        :raises SimulationTimeout: when it is not, after `timeout` seconds.
        :raises KeyboardInterrupt: after Ctrl-C.
        """
        self._passing.claim()  # for good
        over = False

        def look() -> None:
            nonlocal over
            over = bool(predicate())
            if over or self.now > timeout:
                self.reactor.stop()
            else:
                self.reactor.callLater(_LOOKS, look)

        self.reactor.callWhenRunning(look)
        try:
            self.reactor.run(installSignalHandlers=False)
        finally:
            interrupted = not over and self.now <= timeout
            self._end()
        if interrupted:
            raise KeyboardInterrupt
        if not over:
            raise SimulationTimeout(f"not over within {timeout:g} s")

    def interrupt(self) -> None:
        """Have :meth:`run_until` end with KeyboardInterrupt; may be called from where a signal is handled."""
        self.reactor.callFromThread(self.reactor.stop)

    # ---- what came of it

    def leftovers(self) -> list[str]:
        """Tell which timers, ports and connections there are, or were left when a host was shut down."""
        return [each for host in self._hosts.values() for each in host.leftovers()]

    def shutdown(self, timeout: float = 30.0) -> NoReturn:
        """Refuse.

        :raises SimulationError: always.
        """
        raise SimulationError("time passes by itself on localhost: await host.shutdown() of each host")

    # ---- faults

    def partition(self, groups: Any) -> None:
        """Refuse.

        :raises SimulationError: always.
        """
        raise _simulated_only("a partition")

    def cut(self, source: Any, target: Any) -> None:
        """Refuse.

        :raises SimulationError: always.
        """
        raise _simulated_only("a cut")

    def mend(self, source: Any, target: Any) -> None:
        """Refuse.

        :raises SimulationError: always.
        """
        raise _simulated_only("a cut, and mend one")

    def heal(self) -> None:
        """Refuse.

        :raises SimulationError: always.
        """
        raise _simulated_only("partitions and cuts, and heal them")

    def set_latency(self, one: Any, other: Any, seconds: float | None) -> None:
        """Refuse.

        :raises SimulationError: always.
        """
        raise _simulated_only("a slow path")

    # ---- for hosts and runs

    def begin(self, function: Callable[[], T]) -> T:
        """Call a function that begins what goes on; it can't let time pass itself.

        :raises SimulationError: when time passes already.
        """
        with self._passing:
            return function()

    def known(self, host: LocalHost | str) -> LocalHost:
        """Return a host that was given itself, or by its name."""
        return self.host(host) if isinstance(host, str) else host

    def push(self, when: float, function: Callable[..., object], *args: Any) -> None:
        """Have a function called at a time."""
        self.reactor.callLater(max(0.0, when - self.now), function, *args)

    def record(self, kind: bytes, number: int, data: bytes = b"") -> None:
        """Do nothing: what happens on real sockets can't be had again, so no trace is kept."""

    def mended(self) -> None:
        """Do nothing: kernels repeat what was lost by themselves."""

    # ---- private

    def _end(self) -> None:
        for host in self._hosts.values():
            if host.is_running:
                host.crash()
        for each in self.reactor.removeAll():
            each.connectionLost(None)
        _close(self.reactor)


def refuse_on_localhost(scenario: Scenario) -> None:
    """Find out, before anything runs, whether a scenario can run on localhost.

    :raises SimulationError: when a fault of it is one that only the simulation can make, or when this system has not
        the addresses.
    """
    impossible = {number: fault for number, fault in scenario.faults.items() if fault.simulated_only}
    if impossible:
        kinds = ", ".join(sorted({type(fault).__name__ for fault in impossible.values()}))
        numbers = numbers_text({*impossible, *scenario.without})
        raise SimulationError(
            f"only the simulation can make these faults: {kinds}. Leave them out: --without {numbers}"
        )
    _free_network()


def _simulated_only(what: str) -> SimulationError:
    return SimulationError(f"only the simulation can make {what}")


def _free_network() -> str:
    chance = random.SystemRandom()
    network = f"127.{chance.randint(16, 254)}.{chance.randint(0, 254)}.0"
    with socket.socket() as probe:
        try:
            probe.bind((f"{network[:-1]}1", 0))
        except OSError:
            raise SimulationError("this system has no addresses 127.x.y.z, one of which each host needs") from None
    return f"{network}/24"


def _new_reactor() -> ReactorBase:
    """Return a reactor of our own, so that it can end and another one begin."""
    try:
        from twisted.internet.epollreactor import EPollReactor
    except ImportError:
        from twisted.internet.selectreactor import SelectReactor

        return SelectReactor()
    return EPollReactor()


def _close(reactor: Any) -> None:
    poller = getattr(reactor, "_poller", None)
    if poller is not None:
        poller.close()
