"""The simulated internet: the one clock, the one source of chance, the network between the hosts, and its faults."""

from __future__ import annotations

import gc
import hashlib
import ipaddress
import math
import random
import struct
from collections.abc import Callable, Coroutine, Iterable
from itertools import chain
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from netlayer.errors import described
from netlayer.testing.arguments import (
    checked_address,
    checked_addresses,
    checked_count,
    checked_latency,
    checked_network,
    checked_number,
    checked_probability,
    checked_seconds,
)
from netlayer.testing.calendar_queue import CalendarQueue
from netlayer.testing.connection import SimulatedConnection
from netlayer.testing.errors import SimulationError, SimulationTimeout
from netlayer.testing.host import SimulatedHost
from netlayer.testing.passing import Passing
from netlayer.testing.transport import SimulatedTransport

__all__ = ["SimulatedInternet"]

T = TypeVar("T")

_ENTRY = struct.Struct("<dII").pack
#: Garbage is collected at these thresholds at the earliest while time passes.
_GARBAGE = (20_000, 20, 50)
#: Seconds from a host to itself.
_LOOPBACK = 0.00002
#: Addresses that mean the same machine on each one.
_OWN = ("0.0.0.0", "127.0.0.1")


class SimulatedInternet:
    """An internet of simulated hosts, in which the same seed gives the same run, byte for byte.

    Time passes only in :meth:`advance`, :meth:`run_until` and :meth:`run`; there it passes as fast as the events can be
    worked off.

    :param seed: where all chance comes from.
    :param latency: the least and the most seconds that a byte takes from one host to another; hosts have places, and it
        grows with their distance.
    :param jitter: up to so many seconds are added to each segment's time. Bytes of one connection stay in order.
    :param bandwidth: bytes a second that a host can send, or None for any number.
    :param window: bytes that a connection carries before the other end has read them.
    :param fragmentation: how likely it is that a process reads only a random part of what has arrived.
    :param coalescing: how likely it is that a process reads what has arrived later than it could, together with what
        arrives meanwhile.
    :param network: where hosts get their addresses.
    :raises SimulationError: when one of these makes no sense.

    :ivar now: virtual seconds since the beginning.
    :ivar events: how many there were: timers, reads, connections, faults.
    :ivar rng: chance for the network, and for tests.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        latency: tuple[float, float] = (0.001, 0.06),
        jitter: float = 0.001,
        bandwidth: float | None = None,
        window: int = 256 * 1024,
        fragmentation: float = 0.05,
        coalescing: float = 0.05,
        network: str = "127.1.0.0/16",
    ) -> None:
        least, most = checked_latency(latency)
        told = "bandwidth is a number of bytes a second, more than 0, or None for any number"
        self.seed = seed
        self.jitter = checked_seconds(jitter, "jitter")
        self.bandwidth = None if bandwidth is None else checked_number(bandwidth, told, positive=True)
        self.window = checked_count(window, "a window is a whole number of bytes, 1 or more", least=1)
        self.fragmentation = checked_probability(fragmentation, "fragmentation")
        self.coalescing = checked_probability(coalescing, "coalescing")
        self.coalescing_delay = 0.01
        self.now = 0.0
        self.events = 0
        self.rng = random.Random(f"{seed} internet")
        self.random = self.rng.random
        # What the reactors, hosts and connections work with.
        self.queue = CalendarQueue()
        self.writers: list[SimulatedTransport] = []
        self.established: dict[SimulatedConnection, None] = {}
        self._hosts: dict[str, SimulatedHost] = {}
        self._by_address: dict[str, SimulatedHost] = {}
        self._names: dict[str, list[str]] = {}
        self._network = checked_network(network)
        self._latency_base = least
        self._latency_span = (most - least) / math.sqrt(2.0)
        self._latencies: dict[tuple[int, int], float] = {}
        self._cuts: dict[tuple[int, int], None] = {}
        self._digest = hashlib.blake2b(digest_size=16)
        self._trace = self._digest.update
        self._passing = Passing("code that runs inside the simulation can't let more of it pass")

    # ---- hosts and names

    def add_host(self, name: str, *, address: str | None = None) -> SimulatedHost:
        """Add a host, which is found by its name, and return it.

        :param name: unique on this internet.
        :param address: an IPv4 address in dotted form; by default the next free one.
        :raises SimulationError: when there is a host of this name or address already, when one of the two is none, or
            when the network has no free address.
        """
        if not isinstance(name, str) or not name:
            raise SimulationError(f"the name of a host is a text, not {described(name)}")
        if name in self._hosts:
            raise SimulationError(f"there is a host {name!r} already")
        number = len(self._hosts) + 1
        address = self._free_address(number) if address is None else checked_address(address)
        if address in _OWN:
            raise SimulationError(f"no host can be found at {address}: everywhere that is the host itself")
        if address in self._by_address:
            raise SimulationError(f"there is a host at {address} already")
        host = SimulatedHost(self, number, name, address)
        self._hosts[name] = self._by_address[address] = host
        return host

    def add_hosts(self, count: int, prefix: str = "host") -> list[SimulatedHost]:
        """Add several hosts, named ``host1``, ``host2`` and so on, and return them.

        :param count: how many.
        :param prefix: what their names begin with.
        :raises SimulationError: as :meth:`add_host` does.
        """
        count = checked_count(count, "the number of hosts is a whole number, 0 or more")
        return [self.add_host(f"{prefix}{number}") for number in range(1, count + 1)]

    @property
    def hosts(self) -> list[SimulatedHost]:
        """All hosts, in the order in which they were added."""
        return list(self._hosts.values())

    def host(self, name: str) -> SimulatedHost:
        """Return the host of a name.

        :raises SimulationError: when there is none.
        """
        if name not in self._hosts:
            raise SimulationError(f"there is no host {described(name)} on this internet")
        return self._hosts[name]

    def set_name(self, name: str, address: str | Iterable[str] | None) -> None:
        """Have a name lead to an address from now on, to several, or nowhere.

        :param address: an IPv4 address in dotted form, several of them in the order in which look-ups find them, or
            None.
        :raises SimulationError: when it is something else.
        """
        self._names[name] = checked_addresses(address)

    @property
    def connections(self) -> list[SimulatedConnection]:
        """The connections of which at least one end stands, oldest first."""
        return list(self.established)

    # ---- time

    def advance(self, seconds: float) -> None:
        """Let so many virtual seconds pass.

        :raises SimulationError: when they are no number, less than 0, or without end.
        """
        self._loop(self.now + checked_seconds(seconds, "the time that passes"), None)

    def run_until(self, predicate: Callable[[], object], timeout: float = 60.0) -> None:
        """Let time pass until something is true; it is looked at after each event.

        :param predicate: called without an argument.
        :param timeout: virtual seconds.
        :raises SimulationTimeout: when it is not, after `timeout` virtual seconds.
        """
        timeout = checked_seconds(timeout, "a timeout", infinite=True)
        if not self._loop(self.now + timeout, predicate):
            raise SimulationTimeout(
                f"not true within {timeout:g} virtual seconds, with seed {self.seed}: {predicate!r}"
            )

    def run(self, awaited: Deferred[T] | Coroutine[Any, Any, T], timeout: float = 60.0) -> T:
        """Let time pass until a Deferred has fired or a coroutine has returned; return the result or raise the error.

        :param awaited: the Deferred or the coroutine.
        :param timeout: virtual seconds.
        :raises SimulationTimeout: when that takes more than `timeout` virtual seconds.
        """
        timeout = checked_seconds(timeout, "a timeout", infinite=True)
        deferred = awaited if isinstance(awaited, Deferred) else self.begin(lambda: Deferred.fromCoroutine(awaited))
        results: list[T] = []
        failures: list[Any] = []
        _ = deferred.addCallbacks(results.append, failures.append)
        if not self._loop(self.now + timeout, lambda: results or failures):
            raise SimulationTimeout(f"no result within {timeout:g} virtual seconds, with seed {self.seed}: {awaited!r}")
        if failures:
            failures[0].raiseException()
        return results[0]

    def sleep(self, seconds: float) -> Deferred[None]:
        """Return a Deferred that fires after so many virtual seconds, for tests that are coroutines.

        :raises SimulationError: when they are no number, or less than 0.
        """
        over: Deferred[None] = Deferred()
        self.push(self.now + checked_seconds(seconds, "a sleep", infinite=True), over.callback, None)
        return over

    def call_later(self, seconds: float, function: Callable[..., object], *args: Any) -> None:
        """Call a function after so many virtual seconds, outside of all hosts: a fault, say.

        :raises SimulationError: when they are no number, or less than 0.
        """
        self.push(self.now + checked_seconds(seconds, "the time until a call", infinite=True), function, *args)

    # ---- what came of it

    @property
    def trace_hash(self) -> str:
        """A hash over all events so far: when, what, on which host, with which bytes. Equal runs have equal ones."""
        return self._digest.hexdigest()

    def leftovers(self) -> list[str]:
        """Tell which timers, ports and connections there are, or were left when a host was shut down."""
        return [each for host in self._hosts.values() for each in host.leftovers()]

    def shutdown(self, timeout: float = 30.0) -> None:
        """Shut every host down, all at once, and wait until they have ended.

        :param timeout: virtual seconds.
        :raises SimulationTimeout: when one has not ended by then.
        """
        ended = [host.shutdown() for host in self._hosts.values() if host.is_running]
        self.run_until(lambda: all(each.called for each in ended), timeout)

    # ---- faults

    def partition(self, groups: Iterable[Iterable[SimulatedHost | str]]) -> None:
        """Split the internet: hosts reach those of their own group only.

        :param groups: the hosts of each group, or their names; those not named are one more.
        :raises SimulationError: when a group is no list, something in it is no host of this internet, or a host is in
            two groups.
        """
        numbers: dict[SimulatedHost, int] = {}
        for number, group in enumerate(_listed(groups), 1):
            for host in map(self.known, _listed(group)):
                if numbers.setdefault(host, number) != number:
                    raise SimulationError(f"{host!r} can't be in two groups of a partition")
        for host in self._hosts.values():
            host.group = numbers.get(host, 0)
        self.record(b"fault partition", 0, repr([host.group for host in self._hosts.values()]).encode())
        self.mended()

    def cut(self, source: SimulatedHost | str, target: SimulatedHost | str) -> None:
        """Have nothing from one host reach another; the other way is not touched.

        :param source: whose bytes are lost: a host, or its name.
        :param target: whom they don't reach.
        """
        source, target = self.known(source), self.known(target)
        self.record(b"fault cut", source.number, target.name.encode())
        self._cuts[source.number, target.number] = None

    def mend(self, source: SimulatedHost | str, target: SimulatedHost | str) -> None:
        """Have what `source` sends reach `target` again, after :meth:`cut`."""
        source, target = self.known(source), self.known(target)
        self.record(b"mend", source.number, target.name.encode())
        self._cuts.pop((source.number, target.number), None)
        self.mended()

    def heal(self) -> None:
        """End all partitions and cuts."""
        self.record(b"heal", 0)
        self._cuts.clear()
        for host in self._hosts.values():
            host.group = 0
        self.mended()

    def set_latency(self, one: SimulatedHost | str, other: SimulatedHost | str, seconds: float | None) -> None:
        """Have bytes between two hosts, `one` and the `other`, take so many seconds from now on, both ways.

        :param seconds: None, to have them take as long as their distance says again.
        :raises SimulationError: when they are no number, or less than 0.
        """
        one, other = self.known(one), self.known(other)
        if seconds is not None:
            seconds = checked_seconds(seconds, "the latency between two hosts")
        self.record(b"fault latency", one.number)
        for pair in ((one.number, other.number), (other.number, one.number)):
            if seconds is None:
                self._latencies.pop(pair, None)
            else:
                self._latencies[pair] = seconds
        for connection in self.established:
            connection.measure()

    # ---- for hosts, reactors and connections

    def known(self, host: SimulatedHost | str) -> SimulatedHost:
        """Return a host that was given itself, or by its name.

        :raises SimulationError: when it is none of this internet.
        """
        if isinstance(host, str):
            return self.host(host)
        if not isinstance(host, SimulatedHost) or self._hosts.get(host.name) is not host:
            raise SimulationError(f"{described(host)} is no host of this internet, nor the name of one")
        return host

    def begin(self, function: Callable[[], T]) -> T:
        """Call a function that begins what goes on inside the simulation; it can't let time pass itself.

        :raises SimulationError: when time passes already.
        """
        with self._passing:
            return function()

    def push(self, when: float, function: Callable[..., object], *args: Any) -> None:
        """Have a function called at a time."""
        self.queue.push(when, function, args)

    def record(self, kind: bytes, number: int, data: bytes = b"") -> None:
        """Count an event, and have it in the trace."""
        self.events += 1
        self._trace(_ENTRY(self.now, number, len(data)) + kind + data)

    def lookup(self, source: SimulatedHost, name: str) -> list[str]:
        """Return the addresses that a name, or an address, stands for on a host."""
        if name in self._by_address:
            return [name]
        if name == "localhost":
            return ["127.0.0.1"]
        if self._names.get(name):
            return self._names[name]
        if name in self._hosts:
            return [self._hosts[name].address]
        try:
            return [str(ipaddress.IPv4Address(name))]
        except ValueError:
            return []

    def host_at(self, address: str, source: SimulatedHost) -> SimulatedHost | None:
        """Return the host that an address leads to from a host."""
        return source if address == "127.0.0.1" else self._by_address.get(address)

    def reachable(self, source: SimulatedHost, target: SimulatedHost) -> bool:
        """Tell whether bytes from one host get to another."""
        return (
            target.powered
            and source.group == target.group
            and (not self._cuts or (source.number, target.number) not in self._cuts)
        )

    def latency(self, source: SimulatedHost, target: SimulatedHost) -> float:
        """Return how many seconds a segment takes, without jitter."""
        if source is target:
            return _LOOPBACK
        known = self._latencies.get((source.number, target.number)) if self._latencies else None
        if known is None:
            (x, y), (u, v) = source.position, target.position
            known = self._latency_base + self._latency_span * math.sqrt((x - u) * (x - u) + (y - v) * (y - v))
        return known

    def delay(self, source: SimulatedHost, target: SimulatedHost) -> float:
        """Return how many seconds a segment takes, jitter included."""
        return self.latency(source, target) + self.jitter * self.random()

    def sending_time(self, host: SimulatedHost, size: int) -> float:
        """Return in how many seconds a host has sent so many bytes more."""
        if self.bandwidth is None:
            return 0.0
        host.uplink_free_at = max(self.now, host.uplink_free_at) + size / self.bandwidth
        return host.uplink_free_at - self.now

    def mended(self) -> None:
        """Some paths may carry again what they did not."""
        for connection in list(self.established):
            connection.client.retransmit()
            connection.server.retransmit()

    # ---- private

    def _free_address(self, number: int) -> str:
        """Return an address of the network that nobody has: its `number`-th, or else the next one."""
        network = self._network
        last = network.num_addresses - (2 if network.prefixlen < 31 else 1)  # the very last one is for broadcasts
        for offset in chain(range(number, last + 1), range(1, min(number, last + 1))):
            address = str(network.network_address + offset)
            if address not in self._by_address and address not in _OWN:
                return address
        raise SimulationError(f"the network {network} has no address for another host")

    def _loop(self, until: float, done: Callable[[], object] | None) -> bool:
        """Let time pass until a moment, or until something is true; return whether it is."""
        with self._passing:
            thresholds = gc.get_threshold()
            if thresholds[0]:  # it is on: look for garbage less often, as most objects here are old and stay
                gc.set_threshold(*map(max, thresholds, _GARBAGE))
            try:
                return self._work_off(until, done)
            finally:
                gc.set_threshold(*thresholds)

    def _work_off(self, until: float, done: Callable[[], object] | None) -> bool:
        pop = self.queue.pop
        while True:
            if self.writers:
                self._flush()
            if done is not None and done():
                return True
            entry = pop(until)
            if entry is None:
                self.now = max(self.now, until)
                return False
            when, _, function, args = entry
            if when > self.now:
                self.now = when
            function(*args)

    def _flush(self) -> None:
        """The turn is over: what was written in it goes out."""
        while self.writers:
            writers, self.writers = self.writers, []
            for transport in writers:
                try:
                    transport.flush()
                except Exception:  # noqa: PERF203 - it costs nothing until something is raised
                    transport.failed()


def _listed(group: object) -> Iterable[Any]:
    if isinstance(group, str) or not isinstance(group, Iterable):
        raise SimulationError(f"a partition is a list of groups, and a group a list of hosts, not {described(group)}")
    return group
