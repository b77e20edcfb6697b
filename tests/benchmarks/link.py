"""How many packets go through one link over TLS: run ``python -m tests.benchmarks.link``.

Plain sends of 64 bytes and of 1 MiB, as fast as the send queue takes them, until the last has its receipt; with both
ends in one process, and with each in its own. Medians of several runs. Processor time is that of both ends together,
and the figure to compare: on a machine that does other things too, the packets a second come out too low.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import react
from twisted.logger import globalLogBeginner

from netlayer import PeerFactory, PeerProtocol
from netlayer.errors import LinkLost

HOST = "127.0.0.1"
KIB, MIB = 1024, 1024 * 1024
RUNS = 5


@attrs.frozen
class Result:
    """What one run has taken.

    :ivar seconds: from the first packet to the last receipt.
    :ivar processor: seconds of both ends.
    """

    packets: int
    seconds: float
    processor: float


class Sender(PeerProtocol):
    """Sends so many packets, as fast as it may."""

    def start(self, payload: bytes, count: int) -> Deferred[None]:
        """Begin; fires when the last packet has its receipt."""
        self._payload, self._left, self._paused = payload, count, False
        self._sent: Deferred[None] = Deferred()
        self._send()
        return self._sent.addCallback(lambda _: self.when_drained())

    def sending_paused(self) -> None:
        """Wait."""
        self._paused = True

    def sending_resumed(self) -> None:
        """Go on."""
        self._paused = False
        self._send()

    def _send(self) -> None:
        while self._left and not self._paused:
            self._left -= 1
            self.send_packet(self._payload)
        if not self._left and not self._sent.called:
            self._sent.callback(None)


class Receiver(PeerProtocol):
    """Takes what comes; in a process of its own it tells at the end what that has cost."""

    def peer_ready(self) -> None:
        """Begin to count."""
        self._began = time.process_time()

    def peer_lost(self, reason: LinkLost) -> None:
        """Say how many seconds of processor time the link has taken."""
        if self.factory.application == "alone":
            print(time.process_time() - self._began, flush=True)
            self.factory.clock.stop()


async def run(payload: bytes, count: int, port: int) -> Result:
    """Send packets to whoever listens at a port of this machine."""
    factory = PeerFactory(reactor, node_id=2, protocol=Sender)
    link: Any = await factory.connect(TCP4ClientEndpoint(reactor, HOST, port))
    began, busy = time.perf_counter(), time.process_time()
    await link.start(payload, count)
    result = Result(count, time.perf_counter() - began, time.process_time() - busy)
    await factory.stop()
    return result


async def receiver(application: object) -> tuple[PeerFactory, IListeningPort]:
    """Return the factory of a receiver, and the port at which it listens."""
    factory = PeerFactory(reactor, node_id=1, protocol=Receiver)
    factory.application = application
    return factory, await factory.listen(TCP4ServerEndpoint(reactor, 0, interface=HOST))


async def apart(payload: bytes, count: int) -> Result:
    """Send packets to a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.link", "receive"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        here = await run(payload, count, int(process.stdout.readline()))
        there = float(process.stdout.readline())
    return attrs.evolve(here, processor=here.processor + there)


async def measure(_: object) -> None:
    """Measure, and print the figures."""
    factory, listening = await receiver("together")
    port = listening.getHost().port
    for size, count in ((64, 50_000), (MIB, 200)):
        payload = bytes(size)
        for where, once in (("one process", lambda p, c: run(p, c, port)), ("two processes", apart)):
            results = [await once(payload, count) for _ in range(RUNS)]
            rate = statistics.median(result.packets / result.seconds for result in results)
            cost = statistics.median(result.processor / result.packets for result in results)
            name = "64 B" if size == 64 else "1 MiB"
            print(f"{name:>5}, {where:<13}  {rate:>9,.0f} packets/s  {cost * 1e6:>8,.1f} µs of processor time a packet")
    await listening.stopListening()
    await factory.stop()


async def receive() -> None:
    """Print the port of a receiver."""
    _, listening = await receiver("alone")
    print(listening.getHost().port, flush=True)


if __name__ == "__main__":
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    if sys.argv[1:] == ["receive"]:
        _ = Deferred.fromCoroutine(receive())
        reactor.run()  # type: ignore[attr-defined]
    else:
        react(lambda _: Deferred.fromCoroutine(measure(None)))
