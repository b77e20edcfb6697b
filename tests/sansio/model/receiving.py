"""The receiver of packets: handlers, in order, and their receipts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sansio.model.packets import KIB, LARGE, Broken, Incoming, Packet, Run

if TYPE_CHECKING:
    from tests.sansio.model.network import End, Frame
    from tests.sansio.model.process import Process

__all__ = ["Receiving"]

RECEIPT_DELAY = 0.005


class Receiving:
    """The receiving half of a process.

    :ivar last: the number of the last packet that was handled, by the process that has sent it.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._network = process.network
        self._flush_due = False
        self.last: dict[Process, int] = {}

    def data_received(self, end: End, frame: Frame) -> None:
        """Take a packet, or a part of one."""
        process, network = self._process, self._network
        if end is not process.link or not process.up:
            network.stats["fenced"] += 1
            return
        packet: Packet = frame[1]
        assert process.session is not None and process.session.incoming is not None
        incoming = process.session.incoming
        if end.heard_goodbye:
            raise Broken("no packet comes behind GOODBYE")
        if end.partial is None:
            self._judge_begun(end, packet, incoming)
        elif end.partial is not packet:
            raise Broken("packets don't come between the parts of another one")
        if frame[0] == "PART":
            end.partial = packet
            return
        end.partial = None
        end.whole += 1
        process.room.release(end)
        incoming.confirmed = True
        incoming.received += 1
        incoming.sizes[incoming.received] = min(packet.size, process.window)
        incoming.states[incoming.received] = "running"
        incoming.arrived += packet.size
        incoming.largest = max(incoming.largest, packet.size)
        self._handle(packet, frame[2], incoming, incoming.received)

    def _judge_begun(self, end: End, packet: Packet, incoming: Incoming) -> None:
        network = self._network
        if network.announces and packet.size > LARGE:
            if end.claim is None or not end.claim.granted or end.claim.size != packet.size:
                raise Broken("a large packet has room when it comes")
        elif network.announces:
            self._process.room.release(end)
        unreceipted = sum(
            size
            for number, size in incoming.sizes.items()
            if incoming.states.get(number) == "running" or (number > incoming.acked and number not in incoming.told)
        )
        if unreceipted >= self._process.window * (1 if network.reads("window-strict") else 2):
            raise Broken("the window is kept")

    def _judge_run(self, packet: Packet, redelivered: bool) -> None:
        process, network = self._process, self._network
        last = self.last.get(packet.owner, 0)
        if packet.number <= last:
            twice = any(run.process is process for run in packet.runs)
            raise Broken("a packet is handled once in a process" if twice else "packets are handled in order")
        self.last[packet.owner] = packet.number
        if packet.runs and not redelivered:
            raise Broken("a packet that another process may have handled is flagged")
        if redelivered and len(packet.boots) < 2:
            raise Broken("only what was written to another process is flagged")
        if packet.certainly_unhandled:
            raise Broken("a packet is not handled after its caller was told that it was not")
        most = 7 if network.reads("death-never") else 3 + packet.excused
        if len(packet.runs) >= min(most, network.most_killed if packet.kind == "kill" else most):
            raise Broken("a packet kills three processes at most")

    def _handle(self, packet: Packet, redelivered: bool, incoming: Incoming, number: int) -> None:
        process, network = self._process, self._network
        self._judge_run(packet, redelivered)
        network.stats["redelivered"] += redelivered
        run = Run(process)
        packet.runs.append(run)
        process.running += 1

        def finish(result: str) -> None:
            if process.alive and run.result is None:
                run.result = result
                process.running -= 1
                self._finished(packet, result, incoming, number)

        match packet.kind:
            case "ok" | "fail":
                finish(packet.kind)
            case "slow" | "slowfail":
                network.at(packet.delay, finish, "ok" if packet.kind == "slow" else "fail")
            case "kill":
                network.at(packet.delay, self._die, packet)
            case "echo":
                again = ("ok",) if network.flooded else ("ok", "slow", "ok", "fail")
                process.submit(
                    packet.size,
                    "echo" if packet.depth > 1 else network.rng.choice(again),
                    0.01,
                    packet.depth - 1,
                    then=lambda outcome: finish("ok" if outcome == "ok" else "fail"),
                    receipt_now=True,
                    timeout=None if network.flooded else 10,
                )
        if process.up:
            process.sending.pump()

    def _die(self, packet: Packet) -> None:
        side, network = self._process.side, self._network
        if self._process.alive:
            network.stats["killed by a packet"] += 1
            network.kill(side, packet)
            network.at(network.rng.choice((0.02, 0.05, 0.3, 1)), network.start, side)

    def _finished(self, packet: Packet, result: str, incoming: Incoming, number: int) -> None:
        process, network = self._process, self._network
        current = process.session.incoming if process.session else None
        if current is not incoming:
            if current is None or not network.reads("unbound"):
                return
            incoming = current
        incoming.states[number] = result
        while incoming.states.get(incoming.handled_through + 1) in ("ok", "fail"):
            incoming.handled_through += 1
        if process.link is None or not process.up:
            return
        untold = sum(incoming.sizes.get(each, 0) for each in range(incoming.acked + 1, incoming.handled_through + 1))
        if result == "fail" or packet.receipt_now or untold >= min(256 * KIB, process.window // 4):
            self.flush()
        elif not self._flush_due:
            self._flush_due = True
            network.at(RECEIPT_DELAY, self._flush_later)

    def _flush_later(self) -> None:
        self._flush_due = False
        if self._process.alive:
            self.flush()

    def flush(self) -> None:
        """Send the receipts that the peer was not told on this link. A NACK precedes the ACK over it."""
        process, network = self._process, self._network
        if not process.up:
            return
        assert process.session is not None and process.session.incoming is not None and process.link is not None
        incoming = process.session.incoming
        self._tell_each(process.link, incoming, "fail", "NACK")
        if incoming.handled_through > incoming.acked:
            incoming.acked = incoming.handled_through
            network.send(process.link, ("ACK", incoming.acked))
            incoming.told = {number for number in incoming.told if number > incoming.acked}
        self._tell_each(process.link, incoming, "ok", "DONE")
        process.selecting.close_if_done(process.link)

    def _tell_each(self, end: End, incoming: Incoming, state: str, message: str) -> None:
        for number in sorted(incoming.states):
            if incoming.states[number] == state and number > incoming.acked and number not in incoming.told:
                incoming.told.add(number)
                incoming.told_at[number] = incoming.arrived
                self._network.send(end, (message, number))

    def resume(self, stream: int, first: int, receipted: int) -> None:
        """Apply what the peer has told of its stream."""
        process, network, session = self._process, self._network, self._process.session
        assert session is not None
        incoming = session.incoming
        if incoming is None or incoming.stream != stream or not (incoming.confirmed or network.reads("held-early")):
            session.incoming = Incoming(stream, first - 1)
            return
        for number in [number for number in incoming.states if number <= receipted]:
            del incoming.states[number]
            incoming.sizes.pop(number, None)
        self._judge_repeated(incoming, process, receipted)
        incoming.acked = min(receipted, incoming.handled_through)
        incoming.told = set()

    def _judge_repeated(self, incoming: Incoming, process: Process, receipted: int) -> None:
        """Raise if a receipt is missing at the peer that need not be kept any more."""
        peer = self._network.processes[1 - process.side]
        session = peer.session if peer is not None and peer.alive else None
        flying = session.flying if session is not None and session.stream == incoming.stream else {}
        for number in incoming.told:
            if number > receipted and number in flying:
                self._network.stats["receipts lost"] += 1
                since = incoming.arrived - incoming.told_at[number]
                if since >= 2 * process.window + incoming.largest:
                    raise Broken("a receipt has come when two windows and a packet have")
