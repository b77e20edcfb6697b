"""How fast the simulated internet is: run ``python -m tests.benchmarks.simulated_internet``.

Three figures: events a second with 1,000 hosts that are connected in a ring with chords and send to each other, once
with netlayer's nodes on them and once with a small protocol of Twisted's, which costs next to nothing and so shows what
the simulation itself costs; and the time of 60 virtual seconds of 20 nodes under faults. Medians of several runs, in
processor time; on a machine that does other things too they come out too low, as its caches are shared.

An event is what the trace of a run records, each in its order: a timer that goes off, a read, an accept, a connection
that stands or ends, a fault. What processes have written leaves at the end of their turns, which counts as none; nor
does a timer that was cancelled. A packet of the ring makes five: the timer that sends it, the end of that turn, its
read, the timer of its receipt, and the read of that. Counted as entries of a queue, with each writing and each
cancelled timer, there would be 1.4 times as many.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

from twisted.application.internet import StreamServerEndpointService
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import globalLogBeginner
from twisted.protocols.basic import Int32StringReceiver

from netlayer import BootstrapService, DataPacket, PeerProtocol, PeerService
from netlayer.testing import SimulatedHost, SimulatedInternet

#: Virtual seconds that the ring is measured for.
SPAN = 20.0


class Quiet(PeerProtocol):
    """Counts what comes."""

    def packet_received(self, packet: DataPacket) -> None:
        """Count it."""
        self.factory.application += 1


class Chatty(Quiet):
    """Sends its peer a few bytes every now and then, for as long as the link stands."""

    def peer_ready(self) -> None:
        """Begin."""
        self._talk()

    def _talk(self) -> None:
        if self.link.is_up and not self.factory.stopping:
            self.send_packet(b"x" * 64)
            self.factory.clock.callLater(self.factory.rng.uniform(0.5, 1.5), self._talk)


class Pinging(Int32StringReceiver):
    """Sends a few bytes every now and then; the other end of the connection answers them."""

    factory: PingingFactory

    def connectionMade(self) -> None:
        """Begin."""
        self._talk()

    def _talk(self) -> None:
        if self.connected:
            self.sendString(b"?" + b"x" * 64)
            self.factory.host.reactor.callLater(self.factory.host.rng.uniform(0.5, 1.5), self._talk)

    def stringReceived(self, string: bytes) -> None:
        """Answer a question, and count an answer."""
        if string.startswith(b"?"):
            self.sendString(b"!" + string[1:])
        else:
            self.factory.application += 1


class PingingFactory(Factory):
    """What all connections of one host share; it is its own application."""

    protocol = Pinging
    noisy = False

    def __init__(self, host: SimulatedHost) -> None:
        self.host = host
        self.application = 0

    @property
    def factory(self) -> PingingFactory:
        """Where the answers are counted."""
        return self


def around(host: SimulatedHost, hosts: list[SimulatedHost]) -> list[SimulatedHost]:
    """Return the next host and four further ones around the ring."""
    here, size = hosts.index(host), len(hosts)
    return [hosts[(here + step) % size] for step in (1, size // 31, size // 11, size // 5, size // 2 - 1)]


def pinging_node(host: SimulatedHost, hosts: list[SimulatedHost]) -> StreamServerEndpointService:
    """Return what stays connected to some hosts around the ring."""
    factory = PingingFactory(host)
    for target in around(host, hosts):
        host.reactor.callLater(1.0, TCP4ClientEndpoint(host.reactor, target.address, 8000).connect, factory)
    return StreamServerEndpointService(TCP4ServerEndpoint(host.reactor, 8000), factory)


def ring_node(host: SimulatedHost, hosts: list[SimulatedHost]) -> PeerService:
    """Return a node that stays linked to some others around the ring."""
    service = PeerService(
        host.reactor,
        node_id=host.number,
        listen=(host.address, 8000),
        peers=[(target.number, target.address, 8000) for target in around(host, hosts)],
        identity=host.identity(),
        rng=host.rng,
        protocol=Chatty,
    )
    service.factory.application = 0
    return service


def ring(size: int, node: Callable[[SimulatedHost, list[SimulatedHost]], Any], span: float = SPAN) -> tuple[float, int]:
    """Return how many events a second a ring is simulated with, and how many packets or answers came through.

    :param size: how many hosts, 62 at least.
    :param node: returns what runs on a host.
    :param span: virtual seconds that are measured.
    """
    internet = SimulatedInternet(seed=1)
    hosts = internet.add_hosts(size)
    for host in hosts:
        host.run(node(host, hosts))
    internet.advance(5.0)
    gc.collect()
    gc.freeze()
    events, began = internet.events, time.process_time()
    internet.advance(span)
    rate = (internet.events - events) / (time.process_time() - began)
    gc.unfreeze()
    return rate, sum(host.application.factory.application for host in hosts)


def small_node(host: SimulatedHost) -> PeerService:
    """Return a node of the small network."""
    service = PeerService(
        host.reactor,
        node_id=host.number,
        listen=(host.address, 8000),
        bootstraps=[("alpha", 8000)],
        identity=host.identity(),
        rng=host.rng,
        protocol=Quiet,
    )
    service.factory.application = 0
    return service


def small_bootstrap(host: SimulatedHost) -> BootstrapService:
    """Return its bootstrap node."""
    options: dict[str, Any] = {"identity": host.identity(), "rng": host.rng}
    return BootstrapService(host.reactor, node_id=host.number, listen=(host.address, 8000), **options)


def small(seed: int) -> tuple[float, int]:
    """Return the seconds that 60 virtual seconds of 20 nodes take, and the events.

    All nodes are linked to each other. Each sends a packet to one of them about every second; there is a fault about
    every three seconds.
    """
    began = time.process_time()
    internet = SimulatedInternet(seed=seed)
    internet.add_host("alpha").run(small_bootstrap)
    hosts = internet.add_hosts(19)
    for host in hosts:
        host.run(small_node)
    rng, faults = internet.rng, small_faults(internet, hosts)
    while internet.now < 60.0:
        internet.advance(rng.uniform(0.5, 1.5))
        for host in hosts:
            links = host.application.factory.links()
            if links:
                rng.choice(links).send_packet(b"x" * 64)
        if rng.random() < 1 / 3:
            rng.choice(faults)()
    return time.process_time() - began, internet.events


def small_faults(internet: SimulatedInternet, hosts: list[SimulatedHost]) -> list[Callable[[], object]]:
    """Return the faults that may happen to the small network."""
    rng = internet.rng

    def reset() -> None:
        if internet.connections:
            rng.choice(internet.connections).reset()

    return [
        reset,
        lambda: rng.choice(hosts).restart(disk=rng.random() < 0.5),
        lambda: rng.choice(hosts).stall(rng.uniform(0.1, 3.0)),
        lambda: internet.partition([rng.sample(hosts, 10)]),
        lambda: internet.cut(*rng.sample(hosts, 2)),
        internet.heal,
        internet.heal,
    ]


def main() -> None:
    """Measure, and print the figures."""
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    for what, node in (("nodes", ring_node), ("hosts with a small protocol", pinging_node)):
        rates = [ring(1000, node) for _ in range(3)]
        print(f"1,000 {what}: {statistics.median(rate for rate, _ in rates):,.0f} events/s, {rates[0][1]:,} packets")
    runs = [small(seed) for seed in range(15)]
    median, worst = statistics.median(seconds for seconds, _ in runs), max(seconds for seconds, _ in runs)
    events = statistics.median(events for _, events in runs)
    print(f"20 nodes, 60 virtual seconds, with faults: {median:.3f} s (worst {worst:.3f} s), {events:,.0f} events")


if __name__ == "__main__":
    main()
