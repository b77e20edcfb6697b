"""Connections of a process: which of them is the link, how sessions are resumed on it, and when it is dialed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sansio.model.farewell import Farewell
from tests.sansio.model.packets import Broken, Packet, Session

if TYPE_CHECKING:
    from tests.sansio.model.network import End, Frame
    from tests.sansio.model.process import Process

__all__ = ["Selecting"]

PROBE_TIMEOUT = 2.0
PING_AFTER, DEAD_AFTER = 5.0, 15.0
SESSION_TIMEOUT = 60.0
ID_TAKEN_WAIT = 2.0
ATTEMPTS = 4  # that fail before what was never written does


class Selecting:
    """Dialing, selection and the life of the link, with the time for which a session is kept without one.

    :ivar dialing: the attempt that is under way.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._network = process.network
        self._is_arbiter = process.side == 1
        self.dialing: End | None = None
        self._dial_planned = 0
        self._waiting = False
        self._quiet = False
        self._failures = 0
        self._wish = 0.0
        self._candidate: End | None = None
        self._probing = False
        self._probes = 0
        self._forgetting = 0
        self._session_timeout = SESSION_TIMEOUT * process.network.rng.uniform(0.6, 1.4)
        self.farewell = Farewell(process)
        self._forget_later()

    # ---- dialing

    def dial_later(self, delay: float) -> None:
        """Dial after a while, and not before."""
        if self._process.dials and self._process.alive and not self._process.stopping:
            self._dial_planned += 1
            self._waiting = True
            self._network.at(delay, self._dial, self._dial_planned)

    def wake(self) -> None:
        """There is something to send: some nodes dial at once."""
        idle = self._process.link is None and self._waiting and not self._quiet
        if idle and self._network.rng.random() < 0.3:
            self.dial_later(0)

    def _dial(self, planned: int) -> None:
        process = self._process
        if planned == self._dial_planned and process.alive:
            self._waiting = False
            if process.link is None and self.dialing is None and not process.stopping and not self._quiet:
                self._network.dial(process)

    def _attempt_failed(self, wish: float = 0.0) -> None:
        process = self._process
        if process.link is not None and process.up:
            return
        self._failures += 1
        if self._failures % ATTEMPTS == 0:
            process.sending.fail_where(lambda packet: None if packet.boots else "PeerUnreachable")
        self.dial_later(max(wish, self._network.rng.uniform(0, min(20, 0.5 * 2**self._failures))))

    # ---- selection

    def heard(self, end: End) -> None:
        """A sign of life: a link that answers stays, and the candidate is refused."""
        if end is self._process.link and self._probing:
            self._probing = False
            if (candidate := self._candidate) is not None:
                self._candidate = None
                self._refuse(candidate, "duplicate" if candidate.peer_boot == end.peer_boot else "id-taken")

    def frame_received(self, end: End, frame: Frame) -> None:
        """Take a frame that is about connections."""
        process, network = self._process, self._network
        match frame[0]:
            case "HELLO":
                if process.stopping:
                    self._refuse(end, "shutting-down")
                    return
                end.peer_boot, end.proven = frame[1], True
                network.send(end, ("WELCOME", process.boot))
                if self._is_arbiter:
                    self._proven(end)
            case "WELCOME":
                end.peer_boot, end.proven = frame[1], True
                if self._is_arbiter:
                    self._proven(end)
            case "REJECT":
                network.stats["REJECT " + frame[1]] += 1
                if self.dialing is end:
                    linked = process.link is not None or network.reads("duplicate-quiets")
                    self._quiet |= frame[1] == "duplicate" and linked
                    if frame[1] == "id-taken":
                        self._wish = ID_TAKEN_WAIT
                network.close(end)
                self.lost(end)
            case "SELECT":
                self._selected(end, frame[1])
            case "SELECTED":
                if end is process.link and not process.up:
                    self._resume(frame[1], end)
                    self._ready(end)
            case "GOODBYE":
                self.farewell.goodbye_received(end)

    def _refuse(self, end: End, code: str) -> None:
        self._network.send(end, ("REJECT", code))
        self._network.close(end)
        self.lost(end)

    def _proven(self, end: End) -> None:
        """Judge a proven connection, as the arbiter."""
        process, network = self._process, self._network
        if process.stopping:
            self._refuse(end, "shutting-down")
        elif process.link is None:
            self._select(end)
        else:
            if (former := self._candidate) is not None:
                self._candidate = None
                self._refuse(former, "duplicate")
            self._candidate = end
            if not self._probing:
                self._probing = True
                self._probes += 1
                network.send(process.link, ("PING",))
                network.at(PROBE_TIMEOUT, self._silent, self._probes, process.link)

    def _silent(self, probe: int, link: End) -> None:
        if probe != self._probes or not self._probing or not self._process.alive:
            return
        self._probing = False
        if (candidate := self._candidate) is not None and self._process.link is link:
            self._candidate = None
            self._network.stats["silent link replaced"] += 1
            self._select(candidate)

    def _select(self, end: End) -> None:
        process, network = self._process, self._network
        self._close_others(end)
        process.link, process.up = end, False
        self._forgetting += 1  # the time stands still
        self._have_session(end.peer_boot)
        network.send(end, ("SELECT", self._state()))

    def _selected(self, end: End, told: tuple[int, ...]) -> None:
        process = self._process
        if process.stopping:
            self._network.close(end)
            self.lost(end)
            return
        if end is not process.link:
            self._close_others(end)
        process.link, process.up = end, False
        self._have_session(end.peer_boot)
        held = self._state()[2:4]  # as it was before the SELECT
        self._resume(told, end)
        state = self._state()
        self._network.send(end, ("SELECTED", (state[0], state[1], *held, state[4])))
        self._ready(end)

    def _close_others(self, end: End) -> None:
        """Close every connection but the selected one; nothing that comes there counts."""
        process, network = self._process, self._network
        process.sending.writing = None
        link, keep = process.link, network.reads("losers-stay")
        if link is not None and link is not end:
            process.link, process.up = None, False
            link.introducing = False
            if not keep:
                network.close(link)
                self.lost(link)
        if not keep and not network.reads("others-stay"):
            for other in list(process.ends):
                if other is not end:
                    network.close(other)
                    self.lost(other)

    def _ready(self, end: End) -> None:
        process = self._process
        process.link, process.up = end, True
        self._forgetting += 1
        self._failures = 0
        self._quiet = False
        end.introducing = False
        end.ready_at = self._network.now
        process.sending.writing = None
        if self.dialing is end:
            self.dialing = None
        if not end.ticking:
            end.ticking = True
            self._network.at(PING_AFTER, self._tick, end)
        process.receiving.flush()
        process.sending.pump()

    def _tick(self, end: End) -> None:
        """Ask a silent peer for a sign of life, and give up a dead link."""
        if end.closed or not self._process.alive:
            return
        silence = self._network.now - end.heard_at
        if silence >= DEAD_AFTER - 0.001:
            self._network.lose(end)
        elif silence >= PING_AFTER - 0.001:
            self._network.send(end, ("PING",))
            self._network.at(min(PING_AFTER, DEAD_AFTER - silence), self._tick, end)
        else:
            self._network.at(PING_AFTER - silence, self._tick, end)

    def lost(self, end: End) -> None:
        """A connection is gone."""
        process = self._process
        if end in process.ends:
            process.ends.remove(end)
        process.room.release(end)
        if end is self._candidate:
            self._candidate = None
        if end is process.link and process.up:
            process.sending.link_lost(end)
        if end is self.dialing:
            self.dialing = None
            if end is not process.link and not self._quiet:
                self._attempt_failed(self._wish)
                self._wish = 0.0
        if end is process.link:
            self._link_lost(end)

    def _link_lost(self, end: End) -> None:
        process, network = self._process, self._network
        was_up = process.up
        process.link, process.up = None, False
        process.sending.writing = None
        self._probing = self._quiet = False
        if end.parting:
            self.end_session()
            process.sending.fail_where(lambda packet: "PeerLost" if packet.boots else None)
        if process.stopping:
            self.farewell.die()
        elif (candidate := self._candidate) is not None:
            self._candidate = None
            self._select(candidate)
        else:
            self._forget_later()
            if self.dialing is None and not was_up:
                self._attempt_failed()
            elif self.dialing is None:
                self.dial_later(network.rng.uniform(0, 0.5))

    # ---- the session

    def _have_session(self, boot: int) -> None:
        """Make a session, or replace one with another process of the peer."""
        process, network = self._process, self._network
        old = process.session
        if old is None or old.boot != boot:
            process.session = Session(boot, network.new_id())
            if old is not None:
                network.stats["process replaced"] += 1
                process.sending.replaced(old)

    def _state(self) -> tuple[int, int, int, int, int]:
        """Return what SELECT tells: stream, first, peer_stream, received, receipted."""
        session = self._process.session
        assert session is not None
        incoming, held = session.incoming, (0, 0)
        if incoming is not None and (incoming.confirmed or self._network.reads("held-early")):
            held = incoming.stream, incoming.received
        return (session.stream, session.first, *held, session.first - 1)

    def _resume(self, told: tuple[int, ...], end: End) -> None:
        """Apply what the peer has told in its SELECT or SELECTED."""
        stream, first, peer_stream, received, receipted = told
        process, network, session = self._process, self._network, self._process.session
        assert session is not None
        if peer_stream == session.stream:
            if not session.first - 1 <= received < session.next:
                raise Broken("the peer has received what was sent, and what has a receipt")
            process.sending.resume_behind(received)
        elif session.peer_told == stream and not network.reads("never-had-is-forgotten"):
            process.sending.resume_behind(session.first - 1)
            network.stats["never had a packet"] += 1
        else:
            used = session.next > 1 or peer_stream
            process.sending.forgotten()
            if network.reads("new-stream") and used:
                session.stream, session.next = network.new_id(), 1
        session.peer_told = stream
        session.base = session.next - 1
        session.link = end.opened
        process.receiving.resume(stream, first, receipted)

    def end_session(self) -> None:
        """Forget the session: what was begun is lost."""
        process, network = self._process, self._network
        network.endings.append(network.now)
        session, process.session = process.session, None
        for packet in session.unfinished() if session else []:
            process.sending.settle(packet, "PeerLost")

    def _forget_later(self) -> None:
        self._forgetting += 1
        self._network.at(self._session_timeout, self._forget, self._forgetting)

    def _forget(self, forgetting: int) -> None:
        process, network = self._process, self._network
        if forgetting != self._forgetting or not process.alive:
            return
        if process.link is not None:
            return
        network.stats["forgotten"] += 1
        self.end_session()

        def outcome(packet: Packet) -> str | None:
            if packet.boots:
                return "PeerLost"
            return None if process.dials else "PeerUnreachable"

        if not network.reads("redelivery-waits"):
            process.sending.fail_where(outcome)
        self._forget_later()

    def close_if_done(self, end: End) -> None:
        """Close a link on which everything was said."""
        self.farewell.close_if_done(end)
