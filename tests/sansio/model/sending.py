"""The sender of packets: its queue, what is in flight, and what becomes of it on the next link."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from tests.sansio.model.packets import KIB, LARGE, PART, Broken, Packet, Session
from tests.sansio.model.suspects import Suspects

if TYPE_CHECKING:
    from tests.sansio.model.network import End
    from tests.sansio.model.process import Process

__all__ = ["Sending"]

OVERHEAD = 512
MOST_BREAKS = 3


@attrs.define(eq=False)
class Writing:
    """A packet of which parts are being written.

    :ivar left: bytes that are not written.
    """

    end: End
    packet: Packet
    left: int


@attrs.define(eq=False)
class Announcement:
    """A packet that was announced.

    :ivar granted: whether its GO has come.
    """

    end: End
    packet: Packet
    ordinal: int
    granted: bool = False


class Sending:
    """The sending half of a process.

    :ivar queue: packets that were not begun in this session.
    :ivar writing: the packet of which parts are being written now.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._network = process.network
        self._submitted = 0
        self._announced: Announcement | None = None
        self._announcements = 0
        self.queue: deque[Packet] = deque()
        self.writing: Writing | None = None
        self.suspects = Suspects(process)

    # ---- callers

    def new_packet(
        self,
        size: int,
        kind: str,
        delay: float,
        depth: int,
        plain: bool,
        receipt_now: bool,
        then: Callable[[str], None] | None,
    ) -> Packet:
        """Return a packet, of which the schedule knows."""
        self._submitted += 1
        packet = Packet(self._submitted, self._process, size, kind, delay, depth, plain, receipt_now, then)
        self._network.packets.append(packet)
        return packet

    def submit(self, packet: Packet, timeout: float | None, cancel: float | None) -> None:
        """Queue a packet, or refuse it."""
        process, network = self._process, self._network
        limit = 8192 * KIB if network.reads("queue-fixed") else 2 * process.peer_window
        if process.stopping:
            self.settle(packet, "NodeStopped")
        elif process.link is not None and process.link.parting:
            self.settle(packet, "PeerUnreachable")
        elif self._queued >= limit:
            self.settle(packet, "QueueFull")
        else:
            self.queue.append(packet)
            if timeout:
                network.at(timeout, self._give_up, packet, "DeliveryTimeout")
            if cancel:
                network.at(cancel, self._give_up, packet, "Cancelled")
            process.selecting.wake()
            if process.up:
                network.at(0, self.pump)

    @property
    def _queued(self) -> int:
        """Charged bytes of what is needed, or being written."""
        session, writing = self._process.session, self.writing
        begun = [*session.flying.values(), *session.again] if session else []
        being_written = writing.packet if writing else None
        return sum(
            packet.size + OVERHEAD for packet in (*self.queue, *begun) if not packet.needless or packet is being_written
        )

    def _give_up(self, packet: Packet, outcome: str) -> None:
        """Tell a caller that nobody knows yet what becomes of the packet. It is needed no more."""
        process, network, session = self._process, self._network, self._process.session
        if not process.alive or packet.outcome:
            return
        packet.unwritten = packet.written_at is None
        self.settle(packet, outcome)
        if network.reads("keep-needless"):
            return
        packet.needless = True
        if network.reads("skip-midway") and self.writing and self.writing.packet is packet and session:
            self.writing = None
            session.again.popleft()
        if network.reads("free-number") and session:
            for number in [number for number, flying in session.flying.items() if flying is packet]:
                behind = [session.flying.pop(each) for each in sorted(session.flying) if each >= number][1:]
                session.next = number
                for each in behind:
                    session.flying[session.next] = each
                    session.next += 1
        if process.up:
            network.at(0, self.pump)

    def settle(self, packet: Packet, outcome: str, *, excused: bool = False) -> None:
        """Give a packet its outcome, once, and judge that it is true.

        :param excused: whether a rule has just ended it for good.
        """
        process, network = self._process, self._network
        if excused:
            network.endings.append(network.now)
        if packet.outcome:
            return
        packet.outcome = outcome
        network.stats[outcome] += 1
        results = [run.result for run in packet.runs]
        if (outcome, "ok" in results) == ("ok", False) or (outcome, "fail" in results) == ("HandlerFailed", False):
            raise Broken("a receipt tells what the handler did")
        if outcome == "PeerLost" and process.alive:
            if network.polite and not excused and not network.abrupt and network.now < network.faults_end:
                raise Broken("what is in flight at a farewell gets its receipt")
            if packet.written_at is None:
                raise Broken("what was never written is not lost")
            if not any(packet.written_at - 30 <= ending for ending in network.endings):
                raise Broken("nothing is lost unless a session has ended")
        if packet.certainly_unhandled and packet.runs:
            raise Broken("what was handled is not said not to have been")
        if packet.then is not None and process.alive:
            packet.then(outcome)

    def fail_queue(self, outcome: str) -> None:
        """Fail what waits, as nothing is begun on this link any more."""
        for packet in list(self.queue):
            if packet.boots:
                self._network.endings.append(self._network.now)
            self.settle(packet, "PeerLost" if packet.boots else outcome)
        self.queue.clear()

    def fail_where(self, outcome: Callable[[Packet], str | None]) -> None:
        """Settle those that wait and get an outcome."""
        for packet in list(self.queue):
            if (told := outcome(packet)) is not None:
                self.settle(packet, told)
                self.queue.remove(packet)

    # ---- the link

    def _needless(self, packet: Packet) -> bool:
        return packet.needless or (packet.plain and self._network.reads("skip-plain"))

    def _leave_out(self, session: Session) -> None:
        while session.again and self._needless(session.again[0]) and not self._network.reads("send-empty"):
            session.again.popleft()
            self._network.stats["left out"] += 1
        while self.queue and self.queue[0].needless:
            self.queue.popleft()

    def pump(self) -> None:
        """Begin packets as long as that is allowed."""
        process, network, link, session = self._process, self._network, self._process.link, self._process.session
        while process.alive and process.up and not self.writing:
            assert link is not None and session is not None
            self._leave_out(session)
            packet = session.again[0] if session.again else self.queue[0] if self.queue else None
            self._withdraw(link, packet)
            if packet is None or (not session.again and link.parting):
                return
            if not self._has_room(session) or not self.suspects.may_begin(session):
                return
            if packet.size > LARGE and network.announces and not self._may_write(link, packet):
                if not network.reads("room-overtaken") or session.again or len(self.queue) < 2:
                    return
                if self.queue[1].size > LARGE or self.queue[1].needless:
                    return
                packet = self.queue[1]
                del self.queue[1]
                self.queue.appendleft(packet)
            if not session.again:
                session.again.append(self.queue.popleft())
            self._begin(packet, link, session)
            if packet.size <= PART:
                self._written_whole(packet, link, session)
            else:
                self.writing = Writing(link, packet, packet.size)
                self._write(self.writing)

    def _has_room(self, session: Session) -> bool:
        """Return whether the peer's window has room for one packet more."""
        network = self._network
        counted = [each for each in session.flying.values() if not (each.needless and network.reads("free-window"))]
        window = self._process.peer_window  # one packet takes one window at most
        unreceipted = sum(min(each.size, window) for each in counted)
        if network.reads("window-all"):
            unreceipted += sum(min(each.size, window) for each in session.again)
        widened = self._process.running > 0 and not network.reads("window-strict")
        return unreceipted < window * (2 if widened else 1)

    def _begin(self, packet: Packet, link: End, session: Session) -> None:
        if packet.needless:
            raise Broken("what nobody needs is not begun; its payload is gone")
        if packet.written_at is None:
            packet.written_at = self._network.now
        packet.boots.add(session.boot)
        packet.link = link.opened
        packet.begun_on.append(link)
        self.suspects.begun(packet, session)

    def _write(self, writing: Writing) -> None:
        """Write the next part."""
        process, network = self._process, self._network
        if not process.alive or self.writing is not writing:
            return
        if process.link is not writing.end or not process.up:
            self.writing = None
        elif writing.left > PART:
            writing.left -= PART
            network.send(writing.end, ("PART", writing.packet))
            network.at(network.rng.uniform(0.0005, 0.01), self._write, writing)
        else:
            assert process.session is not None
            self.writing = None
            self._written_whole(writing.packet, writing.end, process.session)
            self.pump()

    def _written_whole(self, packet: Packet, link: End, session: Session) -> None:
        if session.again.popleft() is not packet:
            raise Broken("packets are written in order")
        session.flying[session.next] = packet
        session.next += 1
        packet.whole_at = self._network.now
        packet.whole_boots.add(session.boot)
        self._network.send(link, ("DATA", packet, packet.redelivered))

    # ---- large packets

    def _may_write(self, link: End, packet: Packet) -> bool:
        """Return whether the GO for a large packet has come; announce it before."""
        announced, network = self._announced, self._network
        stale = announced is not None and announced.end is not link and not network.reads("room-old-link")
        if announced is None or stale or announced.packet is not packet:
            self._announcements += 1
            self._announced = announced = Announcement(link, packet, self._announcements)
            network.send(link, ("ANNOUNCE", announced.ordinal, packet.size))
        if announced.granted:
            self._announced = None
            return True
        network.stats["waits for GO"] += 1
        return False

    def go_received(self, link: End, ordinal: int) -> None:
        """The peer has room for what was announced."""
        announced = self._announced
        if announced is not None and announced.end is link:
            announced.granted |= announced.ordinal == ordinal or self._network.reads("room-any-go")
            self.pump()

    def _withdraw(self, link: End, first: Packet | None) -> None:
        """Withdraw the announcement of a packet that is not the next one any more."""
        announced = self._announced
        if announced is None or announced.end is not link or announced.packet is first or link.said_goodbye:
            return
        if not self._network.reads("room-forgotten"):
            self._announced = None
            self._network.stats["withdrawn"] += 1
            self._network.send(link, ("ANNOUNCE", 0, 0))

    # ---- resume

    def resume_behind(self, received: int) -> None:
        """Go on behind the last packet that the peer has whole: the others lose their numbers."""
        network, session = self._network, self._process.session
        assert session is not None and self.writing is None
        lacked = sorted(number for number in session.flying if number > received)
        if lacked != list(range(received + 1, session.next)):
            raise Broken("no packet has a receipt that the peer lacks")
        gone = 0
        if network.reads("skip-received"):
            for number in [each for each, packet in session.flying.items() if packet.needless]:
                if number <= received:
                    del session.flying[number]
                    gone += 1
        again = [session.flying.pop(number) for number in lacked] + list(session.again)
        self._count_breaks(again, session, progress=received > session.base)
        needed = [packet for packet in again if not self._needless(packet)]
        network.stats["left out"] += len(again) - len(needed)
        if network.reads("keep-numbers"):
            gone = len(needed) - len(again)
        if network.reads("send-empty"):
            needed = again
        session.again = deque(packet for packet in needed if packet.outcome not in ("PeerUnreachable", "PeerLost"))
        session.next = received + 1 - gone

    def _count_breaks(self, again: list[Packet], session: Session, *, progress: bool) -> None:
        network = self._network
        if network.reads("break-never") or network.reads("break-unasked"):
            return
        for packet in again if network.reads("break-all") else again[:1]:
            large = packet.size > PART or network.reads("break-small")
            if packet.link == session.link and large and (not progress or network.reads("break-progress")):
                packet.breaks += 1
                network.stats["breaks"] += 1
                if packet.breaks >= MOST_BREAKS:
                    self._end_by_breaks(packet, again[0])

    def _end_by_breaks(self, packet: Packet, first: Packet) -> None:
        fruitless = [end for end in packet.begun_on if end.other is None or end.other.whole == 0]
        if len(fruitless) < MOST_BREAKS or packet.size <= PART or packet is not first:
            raise Broken("only what the path breaks inside, three times, is given up")
        known = packet.deaths == 0 or self._network.reads("break-other-boot")
        self._network.stats["given up: breaks"] += 1
        self.settle(packet, "PeerUnreachable" if known else "PeerLost", excused=True)

    def link_lost(self, end: End) -> None:
        """The link is gone; what was being written is not any more."""
        self.writing = None
        session = self._process.session
        if session is None or not self._network.reads("break-unasked"):
            return
        lacked = [packet for number, packet in sorted(session.flying.items()) if number > session.base]
        for packet in [*lacked, *session.again][:1]:
            if packet.link == end.opened and packet.size > PART and not packet.outcome:
                packet.breaks += 1
                if packet.breaks >= MOST_BREAKS:
                    self.settle(packet, "PeerLost" if packet.deaths else "PeerUnreachable", excused=True)
                    packet.needless = True

    def forgotten(self) -> None:
        """The peer has forgotten the session: what was begun is lost."""
        session = self._process.session
        assert session is not None
        first = session.first
        for packet in session.unfinished():
            self.settle(packet, "PeerLost", excused=True)
        session.flying.clear()
        session.again.clear()
        session.next = first

    def replaced(self, old: Session) -> None:
        """The peer's process was replaced: what has no receipt goes to the next one first, flagged."""
        self.suspects.process_died(old)
        for packet in reversed(old.unfinished()):
            if packet.outcome not in ("PeerLost", "PeerUnreachable") and not self._needless(packet):
                packet.redelivered = True
                self.queue.appendleft(packet)
