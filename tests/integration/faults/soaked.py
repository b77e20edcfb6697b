"""The program of a process of a long run: a member that sends without end, in bursts, and measures itself.

``python -m tests.integration.faults.soaked CONFIGURATION`` is a member (see :mod:`tests.integration.faults.member`)
that keeps its packets in a :mod:`tally <tests.integration.faults.tally>` instead of its journal, which has the entries
``ended`` for what its senders were told, and ``measured`` number, {what: how much}.
"""

from __future__ import annotations

import gc
import os
import random
import socket
import threading
from collections import Counter, deque
from pathlib import Path
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from netlayer import DataPacket, PeerProtocol
from netlayer.errors import DeliveryError
from tests.integration.faults.member import Member, main
from tests.integration.faults.tally import Tally

reactor: Any = global_reactor

#: Packets of a burst, which go to one peer, and seconds between two bursts. Few wake-ups make few costs.
BURST, PAUSE = 10, 0.1
#: Bytes that packets of a burst carry; the largest go in several frames.
SIZES = (0,) * 20 + (100,) * 20 + (1_000,) * 10 + (100_000,)
#: Types of others whose number tells whether something is left behind.
FOREIGN = ("Deferred", "DelayedCall", "Failure", "TLSMemoryBIOProtocol", "Client", "Server", "coroutine")


def measure() -> dict[str, int]:
    """Return what this process takes: ``memory`` in KiB, ``files``, ``threads``, and objects by their type."""
    memory = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
    files = len(os.listdir("/proc/self/fd"))
    gc.collect()
    types = Counter(type(each) for each in gc.get_objects())
    ours = {kind.__name__: n for kind, n in types.items() if str(kind.__module__).startswith("netlayer.")}
    foreign = {kind.__name__: n for kind, n in types.items() if kind.__name__ in FOREIGN}
    return {"memory": memory, "files": files, "threads": threading.active_count()} | ours | foreign


class Soaked(Member):
    """A member for a long run.

    :param options: of :class:`Member`.
    """

    def __init__(self, *, journal: str, **options: Any) -> None:
        super().__init__(journal=journal, **options)
        self._tally = Tally(Path(journal + ".tally"), self.journal)
        # Of each peer, the bursts that may not have all their receipts: the last number, and the plain packets by the
        # numbers that the peer's protocol gave them.
        self._bursts: dict[int, deque[tuple[int, dict[int, int]]]] = {}

    def handle(self, packet: DataPacket) -> None:
        """Note a packet."""
        life, number, _ = packet.data
        self._tally.handled(packet.sender_id, life, number, flagged=packet.redelivered)

    async def do_soak(self, seed: int) -> None:
        """Send a burst to a random linked peer, again and again, until told to be quiet."""
        rng = random.Random(seed)
        self._probing = True
        self._sending += 1
        due = reactor.seconds() + rng.random() * PAUSE
        while self._probing:
            links = [link for link in self._service.factory.links() if not link.is_bootstrap]
            if links:
                self._burst(rng.choice(links), rng)
            due = max(due + PAUSE, reactor.seconds() - PAUSE)  # who stood still does not catch up
            await deferLater(reactor, max(0.0, due - reactor.seconds()))
        self._sending -= 1

    async def do_measure(self, number: int) -> None:
        """Measure this process."""
        self.journal.write("measured", number, measure())

    async def do_cut(self, share: float, seed: int, reset: bool) -> None:
        """Break connections: a share of them, one at least, at random.

        :param reset: by RST; otherwise by FIN, under the feet of TLS and without a word to this process.
        """
        rng = random.Random(seed)
        links = self._service.factory.link_drivers()
        for link in rng.sample(links, min(len(links), max(1, round(share * len(links))))):
            if reset:
                link.transport.abortConnection()
            else:
                link.transport.socket.shutdown(socket.SHUT_RDWR)

    # ---- private

    def _burst(self, link: PeerProtocol, rng: random.Random) -> None:
        peer, content = link.peer.node_id, bytes(rng.choice(SIZES))
        plain: dict[int, int] = {}
        for n in range(BURST):
            number = self._tally.next_number(peer)
            packet = [self.life, number, content if n == 0 else b""]
            try:
                if n == BURST - 1:
                    self._bursts.setdefault(peer, deque()).append((number, plain))
                    self._confirmed(link.send_packet(packet, confirm=True), number, peer).addCallback(self._whole, peer)
                elif rng.random() < 0.5:
                    self._confirmed(link.send_packet(packet, confirm=True), number, peer)
                else:
                    theirs = link.send_packet(packet)
                    self._plain[peer, theirs] = plain[theirs] = number
            except DeliveryError as error:
                self._ended(number, peer, error)

    def _confirmed(self, sent: Deferred[None], number: int, peer: int) -> Deferred[int | None]:
        self._open.add((number, peer))

        def done(_: None) -> int:
            self._open.discard((number, peer))
            return number

        return sent.addCallbacks(done, lambda failure: self._ended(number, peer, failure.value))

    def _whole(self, number: int | None, peer: int) -> None:
        """A burst has its receipts up to its last packet; no plain one before it will be told of any more."""
        bursts = self._bursts[peer]
        while number is not None and bursts and bursts[0][0] <= number:
            for theirs, ours in bursts.popleft()[1].items():
                if self._plain.get((peer, theirs)) == ours:  # it is another packet's since the peer was forgotten
                    del self._plain[peer, theirs]


if __name__ == "__main__":
    main(Soaked)
