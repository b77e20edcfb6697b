"""A schedule: what two processes send, what their handlers do, what goes wrong, and whether all promises were kept."""

from __future__ import annotations

from collections.abc import Collection

from tests.sansio.model.faults import FaultyNetwork
from tests.sansio.model.packets import KIB, PART, Broken, Packet

__all__ = ["Schedule"]

#: Seconds from the last fault until the link stands, and until every outcome is known.
HEALED, FAREWELL, SETTLED = 45.0, 30.0, 260.0
#: Seconds more that packets take that go one by one, or that can't get through.
ONE_BY_ONE, KILLING = 1500.0, 300.0

KINDS = ("ok", "ok", "slow", "slow", "fail", "slowfail", "echo", "echo")


class Schedule(FaultyNetwork):
    """One run, all of it decided by the seed.

    :ivar flooded: whether replies wait behind requests, with both windows full.
    :ivar polite: whether nothing happens but goodbyes; `abrupt` whether one came when there was no link.
    :ivar narrowed: whether paths break inside packets; they go on doing so when everything else has ended.
    :ivar killing: whether packets kill their handlers' processes; `calm` whether nothing else kills any.
    :ivar announces: whether the processes announce large packets.
    :ivar room: bytes of large packets that may be arriving at a process.
    :ivar most_killed: how many processes a packet may kill.
    """

    def __init__(self, seed: int, naive: Collection[str] = (), *, aloud: bool = False) -> None:
        super().__init__(seed, naive, aloud=aloud)
        rng = self.rng
        self.packets: list[Packet] = []
        self.gone: int | None = None
        self.abrupt = False
        window = rng.choice((4096 * KIB, 4096 * KIB, 256 * KIB, 64 * KIB))
        self.window = window
        self.windows = [window, window if rng.random() < 0.7 else rng.choice((4096 * KIB, 256 * KIB, 64 * KIB))]
        mishaps = rng.choice((0.0, 0.0, 0.1, 0.3))
        self.dials = rng.choice(((True, True), (True, True), (True, True), (True, False), (False, True)))
        self.flooded = rng.random() < 0.15
        self.polite = rng.random() < 0.08 and not self.flooded
        self.faults_end = rng.choice((10.0, 40.0, 150.0, 250.0))
        for side in (0, 1):
            self.at(rng.uniform(0, 1), self.start, side)
        count = rng.choice((5, 20, 40))
        kind = rng.random()
        self.announces = rng.random() < 0.8
        self.room = rng.choice((4096 * KIB + 2 * PART, 8192 * KIB))
        special = not self.flooded and not self.polite
        self.narrowed, self.killing = special and kind < 0.12, special and 0.12 <= kind < 0.3
        self.mishaps = 0.0 if self.polite or self.narrowed or self.killing else mishaps
        self.slow_killers = self.hanging = self.calm = False
        if self.narrowed:
            count = self._plan_narrow_path()
        if self.killing:
            self.slow_killers, self.hanging = rng.random() < 0.2, rng.random() < 0.15
            count = rng.choice((5, 10, 20))
        self.bursts = [rng.uniform(0, self.faults_end) for _ in range(4)]
        for side in (0, 1):
            for _ in range(count):
                self._plan_packet(side)
        self._plan_faults()
        quick = self.calm and not self.slow_killers and not self.hanging
        self.most_killed = 3 if quick else 7

    def settings(self, side: int) -> tuple[int, int, bool]:
        """Return the windows of a side and of its peer, and whether it dials."""
        return self.windows[side], self.windows[1 - side], self.dials[side]

    # ---- plans

    def _plan_narrow_path(self) -> int:
        rng = self.rng
        limit, count = rng.choice((2 * PART + 2000, 200 * KIB, 400 * KIB, 1000 * KIB)), rng.choice((5, 20))
        if rng.random() < 0.5:
            self.path_limit = limit
            return count
        time = rng.uniform(0, self.faults_end)
        self.at(time, self.narrow, limit)
        side = rng.randrange(2)
        for _ in range(rng.choice((1, 2))):
            self.at(max(0.0, time - rng.choice((0.01, 0.2, 1, 4))), self.restart, side)
        return count

    def _plan_packet(self, side: int) -> None:
        rng = self.rng
        if self.flooded:
            size, kind, delay, depth = self.window // 8, "echo", 0.0, rng.choice((1, 1, 2, 3))
            time = self.bursts[0] + rng.uniform(0, 0.05) + 1
        else:
            size = rng.choice((64, 64, 1000, 10 * KIB, 100 * KIB, 300 * KIB, max(64, self.window // 3)))
            if rng.random() < 0.03:
                size = self.window + PART
            kind = rng.choice(KINDS)
            delay = rng.choice((0.001, 0.02, 0.5, 5.0, rng.uniform(0, 70)))
            if self.polite:
                kind, delay = rng.choice(("ok", "slow", "fail")), rng.uniform(0, 2)
            if self.killing:
                size, kind, delay = self._plan_killer(side, size, kind, delay)
            depth = rng.choice((1, 1, 2))
            calm = rng.random() < 0.5
            time = rng.uniform(0, self.faults_end) if calm else rng.choice(self.bursts) + rng.uniform(0, 0.3)
        timeout = rng.choice((10.0, 10.0, 1.0)) if rng.random() < 0.25 and not self.flooded else None
        receipt_now = rng.random() < 0.3
        cancel = rng.choice((0.05, 0.5, 3.0)) if rng.random() < 0.1 and not self.flooded else None
        self.at(time, self._submit, side, size, kind, delay, depth, receipt_now, timeout, cancel)

    def _plan_killer(self, side: int, size: int, kind: str, delay: float) -> tuple[int, str, float]:
        rng = self.rng
        if delay > 5:
            delay = rng.uniform(0, 5)
        if rng.random() < 0.25 and (side == 0 or rng.random() < 0.1):
            kind, delay = "kill", rng.choice((0.0, 0.0, 0.0, 0.02, 1.0, 1.0))
            if self.slow_killers and rng.random() < 0.3:
                delay = 25.0
        elif self.hanging and rng.random() < 0.05:
            kind = "hang"
        small = rng.random() < 0.5 or kind == "hang"  # a window that a handler never empties is another matter
        return 64 if small else size, kind, delay

    def _submit(
        self,
        side: int,
        size: int,
        kind: str,
        delay: float,
        depth: int,
        receipt_now: bool,
        timeout: float | None,
        cancel: float | None,
    ) -> None:
        process = self.processes[side]
        if process is not None and process.alive:
            process.submit(size, kind, delay, depth, receipt_now=receipt_now, timeout=timeout, cancel=cancel)

    def _plan_faults(self) -> None:
        rng, bursts, end = self.rng, self.bursts, self.faults_end
        count = rng.choice((0, 0, 1, 2) if self.flooded else (0, 1, 3, 6, 12))
        if self.polite or self.narrowed:
            count = 0
        if self.killing:
            kind = rng.random()
            if kind < 0.5:
                count = 0
            elif kind < 0.8:
                self.only_cuts, count = True, rng.choice((3, 6, 12))
            self.calm = self.only_cuts or count == 0
        if self.announces and not self.polite and rng.random() < 0.6:
            for _ in range(rng.choice((5, 30, 100))):
                time = rng.choice((rng.uniform(0, end), rng.choice(bursts) + rng.uniform(-1, 3)))
                self.at(
                    time,
                    self._ask_for_room,
                    rng.randrange(2),
                    rng.choice((300 * KIB, 1000 * KIB, 4000 * KIB)),
                    rng.choice((0.1, 1, 5, 20)),
                )
        times = [
            rng.uniform(0, end) if rng.random() < 0.4 else rng.choice(bursts) + rng.uniform(-0.1, 3)
            for _ in range(count)
        ]
        times += [time + rng.uniform(0, 6) for time in times if rng.random() < 0.4]
        if self.polite:
            for time in bursts:
                side = rng.randrange(2)
                self.at(time + rng.uniform(0, 0.4), self.leave, side)
                if rng.random() < 0.3:
                    self.at(time + rng.uniform(0, 0.4), self.leave, 1 - side)
        for time in times:
            if 0 < time < end:
                self.at(time, self.fault)
        self.lonely = rng.random() < 0.08 and not self.polite and not self.narrowed and not self.killing

    def _ask_for_room(self, side: int, size: int, hold: float) -> None:
        process = self.processes[side]
        if process is not None and process.alive:
            process.room.asked_by_others(size, hold)

    # ---- the run

    def start(self, side: int) -> None:
        """Start a process if none lives, unless it is not to come back."""
        if side != self.gone:
            super().start(side)

    def play(self) -> None:
        """Run the schedule, and judge it.

        :raises Broken: when a promise is not kept.
        """
        self.run(self.faults_end)
        self.tell("the faults end")
        self.partitioned = False
        for connection in self.connections:
            for pipe in connection.pipes:
                pipe.stalled = 0.0
        if self.lonely:
            gone = self.rng.randrange(2)
            self.kill(gone)
            self.gone = gone
        for side in (0, 1):
            self.start(side)
        for process in self.processes:
            if process is not None and process.alive:
                process.room.others_leave()
        if self.killing:
            self.run(self.faults_end + KILLING)
        leaving = any(process is not None and process.stopping for process in self.processes)
        self.run(self.now + HEALED + (FAREWELL if leaving else 0))
        self._judge_links()
        self.run(self.now + SETTLED + (ONE_BY_ONE if self.narrowed or self.killing or self.flooded else 0))
        self._judge_links()
        for packet in self.packets:
            if packet.owner.alive:
                self._judge(packet)
        for process in self.processes:
            if process is not None and process.alive and not self.narrowed:
                process.room.judge()

    def _judge_links(self) -> None:
        first, second = self.processes
        assert first is not None and second is not None
        if self.narrowed or self.killing:
            return
        if self.gone is None:
            agreed = first.up and second.up and first.link is not None and first.link.other is second.link
            if not agreed:
                raise Broken("the processes find each other again")
        for process in (first, second):
            if process.alive and len(process.ends) > (1 if self.gone is None else 2):
                raise Broken("no connection is left behind")

    def _judge(self, packet: Packet) -> None:
        if packet.outcome is None and packet.kind != "hang":
            raise Broken("every packet has an outcome")
        lost = packet.written_at is not None and packet.outcome in ("PeerLost", "PeerUnreachable")
        if lost and self.narrowed and packet.size <= PART:
            raise Broken("a path that breaks inside large packets costs no small ones")
        if lost and self.calm and packet.kind != "kill" and not self.stats["forgotten"]:
            raise Broken("a packet that kills costs no others")
