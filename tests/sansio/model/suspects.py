"""Suspects: packets with which two processes have died. One of them may be what kills its handler's process.

A suspect goes to a third process *alone*. Nothing is begun behind it during its *probation*, which ends with its
receipt, or when the peer is heard long enough after the packet was written. Were there no such end, a handler that
hangs would hold up everything behind it for ever. Each further death doubles the probation. A suspect that outlives
its second one has outlived what the last process died of: it is *cleared*, and others may be alone beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sansio.model.packets import Broken, Packet, Session

if TYPE_CHECKING:
    from tests.sansio.model.network import Network
    from tests.sansio.model.process import Process

__all__ = ["PROBATION", "Suspects"]

#: Seconds of the first probation: twice the time after which awaited replies time out. Those that wait behind a
#: suspect, and for which its handler waits, have timed out by then.
PROBATION = 20.0

#: Seconds in which the receipts that were lost with the last link have been repeated on this one.
REPEATED = 1.0

SUSPECT, CLEARED, FATAL = 2, 3, 3  # deaths


class Suspects:
    """Which packets of a process may be begun, and what becomes of them when the peer's process dies."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._network: Network = process.network
        self._next_try: float | None = None

    def may_begin(self, session: Session) -> bool:
        """Return whether a packet may be begun now; if not, try again later.

        What is in flight before a suspect has died with as many processes. So this alone makes suspects go alone.
        """
        network = self._network
        assert self._process.link is not None
        if network.reads("death-never"):
            return True
        for other in session.flying.values():
            if other.deaths < SUSPECT or network.reads("death-behind"):
                continue
            if network.reads("death-link") and other.link != self._process.link.opened:
                continue
            if not self._is_over(other.whole_at, other.deaths):
                network.stats["waits behind a suspect"] += 1
                return False
            if other.deaths >= (SUSPECT if network.reads("death-fixed") else CLEARED):
                other.cleared = not network.reads("death-uncleared")
        return True

    def begun(self, packet: Packet, session: Session) -> None:
        """Note that a packet is begun: whatever is in flight is not alone any more."""
        packet.cleared = False
        packet.alone = self._alone(session)
        for other in session.flying.values():
            other.alone = False

    def process_died(self, session: Session) -> None:
        """Count a death for each packet that was handed whole to the process; give up those that were alone."""
        network = self._network
        if network.reads("death-never"):
            return
        for _, packet in sorted(session.flying.items()):
            if packet.cleared:
                packet.cleared = False
                packet.excused += 1
                network.stats["cleared"] += 1
                continue
            packet.deaths += 1
            if packet.deaths >= FATAL:
                naive = network.reads("death-strict") or network.reads("death-any")
                if packet.alone or naive:
                    self._give_up(packet, session.boot)
                else:
                    packet.excused += 1
                    network.stats["inconclusive deaths"] += 1
            elif packet.deaths >= 2 and network.reads("death-two"):
                self._give_up(packet, session.boot)
        if network.reads("death-waiting"):
            queue = self._process.sending.queue
            for packet in [*session.again, *(each for each in queue if each.boots)]:
                packet.deaths += 1
                if packet.deaths >= FATAL:
                    self._give_up(packet, session.boot)
            for packet in [packet for packet in queue if packet.outcome]:
                queue.remove(packet)

    def _alone(self, session: Session) -> bool:
        return all(packet.cleared for packet in session.flying.values())

    def _is_over(self, since: float, deaths: int) -> bool:
        """Return whether a probation is over: so much later, the peer was heard."""
        assert self._process.link is not None
        network = self._network
        link = self._process.link
        end = since + PROBATION * 2 ** (0 if network.reads("death-fixed") else deaths - SUSPECT)
        if not network.reads("death-lost-receipt"):
            end = max(end, link.ready_at + REPEATED)
        if network.reads("death-strict"):
            return False
        if network.now < end:
            self._try_at(end)
            return False
        return link.heard_at >= end or network.reads("death-clock")

    def _try_at(self, time: float) -> None:
        if self._next_try is None or time < self._next_try:
            self._next_try = time
            self._network.at(max(0.0, time - self._network.now), self._try, time)

    def _try(self, time: float) -> None:
        if self._next_try == time:
            self._next_try = None
        self._process.sending.pump()

    def _give_up(self, packet: Packet, boot: int) -> None:
        network = self._network
        dead = network.by_boot[boot]
        network.stats["given up: deaths"] += 1
        self._process.sending.settle(packet, "PeerLost", excused=True)
        cause = dead.cause
        if cause not in (None, packet) and cause.owner is self._process and cause.outcome != "PeerLost":
            raise Broken("no packet is given up for what another one did")
        if len(packet.whole_boots) < FATAL:
            raise Broken("only what was handed to three processes is given up")
        if network.calm and not any(run.process is dead for run in packet.runs):
            raise Broken("only what has reached the process that died is given up")
