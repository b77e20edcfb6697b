"""The network between two processes: connections that carry frames, and the clock."""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable, Collection
from typing import Any

import attrs

from tests.sansio.model.packets import PART, Broken, Packet
from tests.sansio.model.process import Process

__all__ = ["Connection", "End", "Frame", "Network", "Pipe"]

#: A message, by its name and fields.
Frame = tuple[Any, ...]

#: Frames that are interesting to lose or to delay.
PRECIOUS = ("SELECT", "SELECTED", "WELCOME", "GOODBYE", "NACK")

HANDSHAKE_TIMEOUT = 5.0
MOST_EVENTS = 400_000


@attrs.define(eq=False)
class Pipe:
    """One direction of a connection.

    :ivar lost: whether nothing arrives any more.
    :ivar silent: whether nothing that is sent from now on arrives.
    :ivar left: bytes until the path breaks, or None.
    """

    frames: deque[Frame] = attrs.Factory(deque)
    last: float = 0.0
    stalled: float = 0.0
    lost: bool = False
    silent: bool = False
    left: int | None = None


@attrs.define(eq=False)
class End:
    """One end of a connection.

    :ivar opened: a number that grows with each end that is made.
    :ivar partial: the packet of which parts have come; `whole` counts those that have come whole.
    :ivar claim: the room that the peer has asked for.
    :ivar leaving: whether this end wants to leave; `said_goodbye` and `heard_goodbye` come later.
    """

    connection: Connection
    index: int
    process: Process
    opened: int
    heard_at: float
    ready_at: float = 0.0
    closed: bool = False
    proven: bool = False
    introducing: bool = True
    peer_boot: int = 0
    partial: Packet | None = None
    whole: int = 0
    claim: Any = None
    ticking: bool = False
    leaving: bool = False
    said_goodbye: bool = False
    heard_goodbye: bool = False

    @property
    def other(self) -> End | None:
        """The other end, once it has accepted."""
        return self.connection.ends[1 - self.index]

    @property
    def pipe(self) -> Pipe:
        """The direction that this end sends in."""
        return self.connection.pipes[self.index]

    @property
    def parting(self) -> bool:
        """Whether no new packet is begun here any more."""
        return self.leaving or self.said_goodbye or self.heard_goodbye


@attrs.define(eq=False)
class Connection:
    """A connection: the end that dialed and the one that accepted."""

    latency: float
    ends: list[End | None]
    pipes: tuple[Pipe, Pipe]


class Network:
    """Clock, events and connections.

    :param naive: the naive readings to follow.
    :ivar mishaps: how many of the precious frames meet one.
    :ivar faults_end: until when anything goes wrong.
    :ivar path_limit: bytes after which each connection breaks, or None.
    :ivar endings: when a session was forgotten, or packets given up.
    """

    # What the schedule decides, and explains.
    packets: list[Packet]
    flooded: bool
    polite: bool
    abrupt: bool
    calm: bool
    announces: bool
    room: int
    most_killed: int

    def __init__(self, seed: int, naive: Collection[str] = (), *, aloud: bool = False) -> None:
        self.rng = random.Random(seed)
        self.naive = frozenset(naive)
        self.aloud = aloud
        self.now = 0.0
        self.stats: Counter[str] = Counter()
        self.events = 0
        self.partitioned = False
        self.mishaps = 0.0
        self.faults_end = 0.0
        self.path_limit: int | None = None
        self.connections: list[Connection] = []
        self.processes: list[Process | None] = [None, None]
        self.by_boot: dict[int, Process] = {}
        self.endings: list[float] = []
        self._heap: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._events_made = self._ids = self._opened = 0

    def reads(self, reading: str) -> bool:
        """Return whether a naive reading is followed."""
        return reading in self.naive

    def tell(self, *words: object) -> None:
        """Tell the story."""
        if self.aloud:
            print(f"{self.now:9.4f}", *words)

    def new_id(self) -> int:
        """Return a number that was not used before."""
        self._ids += 1
        return self._ids

    def at(self, delay: float, function: Callable[..., object], *arguments: Any) -> None:
        """Have something happen later."""
        self._events_made += 1
        heapq.heappush(self._heap, (self.now + delay, self._events_made, function, arguments))

    def run(self, until: float) -> None:
        """Let everything happen that is due.

        :raises Broken: when a promise is not kept.
        """
        heap = self._heap
        while heap and heap[0][0] <= until:
            self.now, _, function, arguments = heapq.heappop(heap)
            self.events += 1
            function(*arguments)
            if self.events > MOST_EVENTS:
                raise Broken("the processes come to rest")
        self.now = until

    # ---- connections

    def dial(self, process: Process) -> None:
        """Open a connection to the other process, if that listens."""
        latency = self.rng.choice((0.0005, 0.005, 0.03, 0.15))
        pipes = (Pipe(left=self.path_limit), Pipe(left=self.path_limit))
        connection = Connection(latency, [None, None], pipes)
        end = self._open(connection, 0, process)
        process.selecting.dialing = end
        if not self.partitioned:
            self.at(latency, self._accept, connection, end)

    def _open(self, connection: Connection, index: int, process: Process) -> End:
        self._opened += 1
        end = End(connection, index, process, self._opened, self.now)
        connection.ends[index] = end
        process.ends.append(end)
        self.at(HANDSHAKE_TIMEOUT, self._handshake_timeout, end)
        return end

    def _accept(self, connection: Connection, dialer: End) -> None:
        listener = self.processes[1 - dialer.process.side]
        if dialer.closed or not dialer.process.alive or self.partitioned:
            return
        if listener is None or not listener.alive or listener.stopping:
            self.at(connection.latency, self.lose, dialer)
            return
        self._open(connection, 1, listener)
        self.connections.append(connection)
        self.at(connection.latency, self._connected, dialer)

    def _connected(self, end: End) -> None:
        if not end.closed and end.process.alive:
            self.send(end, ("HELLO", end.process.boot))

    def _handshake_timeout(self, end: End) -> None:
        if not end.closed and end.process.alive and end.introducing:
            self.close(end)
            end.process.selecting.lost(end)

    def send(self, end: End, frame: Frame) -> None:
        """Send a frame, unless the path is broken; it may be a precious one."""
        pipe = end.pipe
        if end.closed or pipe.silent or pipe.lost:
            return
        if pipe.left is not None:
            pipe.left -= min(PART, frame[1].size) if frame[0] in ("DATA", "PART") else 40
            if pipe.left < 0:
                pipe.silent = True
                self.stats["path broke"] += 1
                self.at(0, self.cut, end.connection, False)
                return
        risk = self.mishaps * (0.15 if frame[0] == "NACK" else 1)
        if self.now < self.faults_end and risk and frame[0] in PRECIOUS and self.rng.random() < risk:
            self.meet_mishap(end, frame)
        latency = end.connection.latency * self.rng.uniform(1, 1.5)
        pipe.last = max(pipe.last, self.now + latency, pipe.stalled)
        pipe.frames.append(frame)
        self.tell(f"side {end.process.side} sends", *frame, f"on {end.opened}")
        self.at(pipe.last - self.now, self._deliver, end.connection, end.index)

    def meet_mishap(self, end: End, frame: Frame) -> None:
        """Lose or delay a precious frame, or end a process because of it."""
        raise NotImplementedError

    def _deliver(self, connection: Connection, index: int) -> None:
        end, pipe = connection.ends[1 - index], connection.pipes[index]
        if pipe.lost or end is None or end.closed or not end.process.alive:
            return
        if pipe.stalled > self.now:  # the pipe has stalled since the frame was sent
            self.at(pipe.stalled - self.now, self._deliver, connection, index)
            pipe.last = max(pipe.last, pipe.stalled)
            return
        frame = pipe.frames.popleft()
        if frame[0] == "FIN":
            self.lose(end)
            return
        end.heard_at = self.now
        end.process.receive(end, frame)

    def lose(self, end: End) -> None:
        """Have an end find that its connection is gone; the other end soon notices, too."""
        if end.closed or not end.process.alive:
            return
        end.closed = True
        other = end.other
        if other is not None and not other.closed and other.process.alive and not end.pipe.silent:
            self.at(end.connection.latency, self.lose, other)
        end.process.selecting.lost(end)

    def lose_one(self, end: End) -> None:
        """Have one end find that its connection is gone."""
        if not end.closed and end.process.alive:
            end.closed = True
            end.process.selecting.lost(end)

    def close(self, end: End, *, politely: bool = False) -> None:
        """Close a connection, by FIN or by a reset that may overtake what was sent."""
        if end.closed:
            return
        if politely or self.rng.random() < 0.6:
            self.send(end, ("FIN",))
        else:
            self.reset(end)
        end.closed = True

    def reset(self, end: End) -> None:
        """Have the other end reset."""
        other = end.other
        if other is not None and not end.pipe.silent:
            self.at(end.connection.latency, self._was_reset, end.pipe, other)

    def _was_reset(self, pipe: Pipe, end: End) -> None:
        pipe.lost = True
        self.lose(end)

    def cut(self, connection: Connection, one_sided: bool) -> None:
        """Cut a connection; both ends notice soon, or one of them late."""
        rng = self.rng
        for pipe in connection.pipes:
            self.at(rng.choice((0, rng.uniform(0, 0.2))), setattr, pipe, "lost", True)
        for index, end in enumerate(connection.ends):
            if end is not None:
                late = one_sided and index == rng.randrange(2)
                self.at(rng.uniform(5, 25) if late else rng.uniform(0.2, 0.25), self.lose_one, end)

    # ---- processes

    def start(self, side: int) -> None:
        """Start a process if none lives."""
        process = self.processes[side]
        if process is None or not process.alive:
            self.processes[side] = process = Process(self, side)
            self.by_boot[process.boot] = process
            self.tell("side", side, "starts, boot", process.boot)
            if process.dials:
                process.selecting.dial_later(self.rng.uniform(0, 0.5))

    def kill(self, side: int, cause: Packet | None = None) -> None:
        """Kill a process; its connections end at once, late, or in silence."""
        process, rng = self.processes[side], self.rng
        assert process is not None
        if not process.alive:
            return
        self.tell("side", side, "is killed", cause or "")
        process.alive = False
        process.cause = cause
        how = rng.choice(("fin", "rst", "silent"))
        late = rng.uniform(0.2, 6) if rng.random() < 0.3 and self.now < self.faults_end else 0.0
        for end in process.ends:
            if end.closed:
                continue
            if late:
                end.pipe.stalled = self.now + late
            if how == "fin":
                self.send(end, ("FIN",))
            elif how == "rst":
                self.reset(end)
            end.closed = True

    def settings(self, side: int) -> tuple[int, int, bool]:
        """Return the windows of a side and of its peer, and whether it dials."""
        raise NotImplementedError
