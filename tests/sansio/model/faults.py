"""What goes wrong between two processes, and with them."""

from __future__ import annotations

from tests.sansio.model.network import Connection, End, Frame, Network

__all__ = ["FaultyNetwork"]


class FaultyNetwork(Network):
    """A network with faults.

    :ivar only_cuts: whether nothing but connections suffers.
    """

    only_cuts = False

    def fault(self) -> None:
        """Have something go wrong."""
        rng = self.rng
        live = [each for each in self.connections if any(end and not end.closed for end in each.ends)]
        self.connections = live
        kind = rng.random() * (0.57 if self.only_cuts else 1)
        if kind < 0.3 and live:
            self.tell("a connection is cut")
            self.cut(rng.choice(live), rng.random() < 0.4)
        elif kind < 0.42 and live:
            connection, which = rng.choice(live), rng.randrange(3)
            self.tell("a connection swallows", which)
            for index in (0, 1):
                if which in (index, 2):
                    connection.pipes[index].silent = True
        elif kind < 0.57 and live:
            connection = rng.choice(live)
            for pipe in connection.pipes:
                if rng.random() < 0.6:
                    pipe.stalled = self.now + rng.choice((0.3, 1, 3, 8, 20))
        elif kind < 0.72:
            self._partition(live)
        elif kind < 0.86:
            side = rng.randrange(2)
            if (process := self.processes[side]) is not None and process.alive:
                self.kill(side)
                self.at(rng.choice((0.05, 0.3, 1, 5, 40, 80)), self.start, side)
        elif kind < 0.93:
            side = rng.randrange(2)
            process = self.processes[side]
            if process is not None and process.alive and not process.stopping:
                self.tell("side", side, "leaves")
                process.selecting.farewell.leave(stop=rng.random() < 0.5)
                if rng.random() < 0.4:
                    self.at(rng.uniform(0, 0.2), self.leave, 1 - side)
        elif kind < 0.97 and live:
            self._late_bytes(rng.choice(live), rng.randrange(2))
        else:
            for connection in live:
                if rng.random() < 0.7:
                    self.cut(connection, True)

    def _partition(self, live: list[Connection]) -> None:
        rng = self.rng
        self.partitioned = True
        durations = (1, 8, 30, rng.uniform(45, 75), rng.uniform(55, 65), rng.uniform(60, 100))
        duration = rng.choice(durations)
        self.tell("a partition of", duration, "s")
        soft = rng.random() < 0.3
        for connection in live:
            if soft and duration < 20:
                for pipe in connection.pipes:
                    pipe.stalled = self.now + duration
            elif rng.random() < 0.6:
                self.cut(connection, rng.random() < 0.3)
            else:
                for pipe in connection.pipes:
                    pipe.silent = True
        self.at(duration, setattr, self, "partitioned", False)

    def _late_bytes(self, connection: Connection, index: int) -> None:
        """Lose one end of a connection; what it has sent arrives late."""
        end = connection.ends[index]
        if end is None or end.closed:
            return
        connection.pipes[index].stalled = self.now + self.rng.uniform(0.3, 6)
        if end.process.alive and end.process.up and end is end.process.link:
            for _ in range(3):
                self.send(end, ("PING",))
        connection.pipes[1 - index].silent = True
        self.at(0.01, self.lose_one, end)

    def leave(self, side: int) -> None:
        """Have a process say goodbye."""
        process = self.processes[side]
        if process is not None and process.alive and not process.stopping:
            process.selecting.farewell.leave(stop=self.rng.random() < 0.5)

    def restart(self, side: int) -> None:
        """Kill a process that another one soon replaces."""
        process = self.processes[side]
        if process is not None and process.alive and self.now < self.faults_end:
            self.kill(side)
            self.at(self.rng.choice((0.02, 0.05, 0.3, 1, 3)), self.start, side)

    def narrow(self, limit: int) -> None:
        """From now on every connection breaks after so many bytes."""
        self.path_limit = limit
        for connection in self.connections:
            for pipe in connection.pipes:
                pipe.left = limit

    def meet_mishap(self, end: End, frame: Frame) -> None:
        """Lose or delay a precious frame, or end a process because of it."""
        rng, connection, pipe = self.rng, end.connection, end.pipe
        kind = rng.random()
        self.tell("a mishap with", frame[0])
        self.stats["mishaps"] += 1
        if kind < 0.25:
            pipe.silent = rng.random() < 0.5
            self.at(0, self.cut, connection, rng.random() < 0.5)
        elif kind < 0.45:
            self.at(connection.latency * rng.uniform(1, 3), self.cut, connection, rng.random() < 0.5)
        elif kind < 0.75:
            pipe.stalled = self.now + rng.choice((0.3, 1, 1.9, 3, 4.5, 8))
        else:
            side = rng.randrange(2)
            if kind < 0.9:
                pipe.stalled = self.now + rng.choice((0.3, 1, 1.9, 3, 4.5))
            self.at(connection.latency * rng.uniform(0, 3), self.restart, side)
