"""A simulated host: the machine, the process that runs on it, its disk, and what can happen to them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from twisted.application.service import IService, IServiceCollection
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from netlayer.errors import NodeStopped, described
from netlayer.net.factory import PeerFactory
from netlayer.node import Node
from netlayer.services import PeerService
from netlayer.testing.arguments import checked_number, checked_seconds
from netlayer.testing.errors import SimulationError
from netlayer.testing.identity import SeededIdentity
from netlayer.testing.reactor import SimulatedReactor

if TYPE_CHECKING:
    from netlayer.testing.internet import SimulatedInternet
    from netlayer.testing.transport import SimulatedTransport

__all__ = ["SimulatedHost"]


#: Which settings of a clock make sense.
_JUMP = "a clock jumps by a number of seconds, forward or back"


class SimulatedHost:
    """One machine, with one process at a time; made by :meth:`SimulatedInternet.add_host`.

    :ivar name: what others find it by.
    :ivar address: its IPv4 address.
    :ivar reactor: the reactor of its process; a restart makes another one.
    :ivar rng: chance for the process, from the internet's seed; a restart makes another one.
    :ivar disk: what outlives the process, unless the disk is lost too: for the application, by whatever keys it likes.
    :ivar application: what :meth:`run` runs, or None.
    """

    def __init__(self, internet: SimulatedInternet, number: int, name: str, address: str) -> None:
        self.internet = internet
        self.number = number
        self.name = name
        self.address = address
        self.disk: dict[Any, Any] = {}
        self.application: Any = None
        self.powered = True
        self.power_losses = 0  # each makes the kernel forget its connections
        self.refuses_accepts = False
        self.reads_per_second: float | None = None
        self.group = 0  # hosts of one group reach each other
        self.ahead = 0.0  # seconds by which the time of day is ahead here
        self.position = (internet.rng.random(), internet.rng.random())
        self.uplink_free_at = 0.0
        self._program: Callable[[SimulatedHost], Any] | None = None
        self._processes = 0
        self._disks = 0
        self._stalled_until = 0.0
        self._ends: list[Deferred[None]] = []
        self._begin_process()

    def __repr__(self) -> str:
        return f"<SimulatedHost {self.name} {self.address}{'' if self.is_running else ' (down)'}>"

    # ---- the process

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self.reactor.alive

    @property
    def connections(self) -> list[SimulatedTransport]:
        """The transports of the process, oldest first."""
        return list(self.reactor.transports)

    def identity(self, *, ephemeral: bool = False) -> SeededIdentity:
        """Return who this host is: the same for each of its processes until it loses its disk.

        :param ephemeral: whether each process is somebody else instead.
        """
        name = f"{self.name} {self._disks}" + (f" process {self._processes}" if ephemeral else "")
        return SeededIdentity(name, seed=self.internet.seed, ephemeral=ephemeral)

    def run(self, program: Any) -> Any:
        """Run something as the process of this host.

        :param program: a Twisted service, which is started as ``twistd`` does it; a :class:`netlayer.Node`; or a
            function that takes the host and returns one of them. A function is called again at each
            :meth:`restart`, so it makes everything anew; a service runs once.
        :returns: the service or node.
        :raises SimulationError: when it is something else, or a node in it was given another reactor than the host's,
            so that it would use real sockets; or when the host is down.
        """
        if not self.is_running:
            raise SimulationError(f"{self.name} is down: restart it first")
        if callable(program) and not IService.providedBy(program):
            self._program = program
            program = program(self)
        if not IService.providedBy(program) and not hasattr(program, "start_node"):
            raise SimulationError(
                f"what runs on {self.name} has to be a service, a Node, or a function that takes the host and returns "
                f"one of them, not {described(program)}"
            )
        for factory in _factories(program):
            if factory.reactor is not self.reactor:
                raise SimulationError(
                    f"node {factory.node_id} on {self.name} was given another reactor, such as Twisted's own, and "
                    "would use real sockets: a function that takes the host gives host.reactor to what it makes"
                )
        self.application = program
        if IService.providedBy(program):
            self.reactor.addSystemEventTrigger("before", "shutdown", program.stopService)
            program.privilegedStartService()
            program.startService()
        elif hasattr(program, "start_node"):
            _ = program.start_node().addErrback(self._not_started)
        return program

    def shutdown(self) -> Deferred[None]:
        """End the process in good order, as Ctrl-C does; fires when it has ended, at once if it is down already.

        Timers and connections that it should have ended, and has not, are noted for :meth:`leftovers`.
        """
        if not self.is_running:
            return succeed(None)
        reactor = self.reactor

        def ended(_: object) -> None:
            self.internet.push(self.internet.now, self._ended, reactor)

        over: Deferred[None] = Deferred()
        self._ends.append(over)
        _ = reactor.shut_down().addCallback(ended)
        return over

    def leftovers(self) -> list[str]:
        """Tell which timers, ports and connections the process has, or had when it was shut down."""
        return list(self._left) if not self.is_running else self.reactor.leftovers()

    # ---- faults

    def crash(self, *, silent: bool = False) -> None:
        """End the process at once, as ``kill -9`` does; none of its code runs again.

        Its kernel lives on. It sends what it had taken of the process, then closes the connections: with a reset if
        something was unread, else in good order. It refuses new ones.

        :param silent: whether the machine loses its power instead, so that nobody is told.
        """
        self.internet.record(b"fault crash", self.number)
        if silent:
            self.powered = False
            self.power_losses += 1
        self._end_process()
        ends, self._ends = self._ends, []
        for over in ends:  # not at once: whoever waits may restart the host, which may just be restarted
            self.internet.push(self.internet.now, over.callback, None)

    def restart(self, *, disk: bool = True) -> Any:
        """Begin a new process, ending the present one if there is one, and run the program that :meth:`run` was given.

        :param disk: whether what was on the disk is still there: ``disk``, and with it the :meth:`identity`.
        :returns: what the program has returned, or None.
        """
        if self.is_running:
            self.crash()
        self.internet.record(b"fault restart", self.number)
        if not disk:
            self.disk.clear()
            self._disks += 1
        self.powered = True
        self._begin_process()
        self.internet.mended()
        return self.run(self._program) if self._program is not None else None

    def stall(self, seconds: float) -> None:
        """Freeze the process, as a debugger or a full machine does: its timers fire late, its sockets wait.

        :param seconds: of virtual time, from now on.
        :raises SimulationError: when they are no number, or less than 0.
        """
        seconds = checked_seconds(seconds, "a stall", infinite=True)
        self.internet.record(b"fault stall", self.number)
        self._stalled_until = max(self._stalled_until, self.internet.now + seconds)
        self.reactor.stall()
        self.internet.push(self._stalled_until, self._wake, self.reactor)

    def jump_clock(self, seconds: float) -> None:
        """Set the clock of the process; timers follow it, as they do where a reactor runs on the time of day.

        :param seconds: by how many forward, or back if negative.
        :raises SimulationError: when they are no number, or infinite.
        """
        seconds = checked_number(seconds, _JUMP)
        self.internet.record(b"fault clock", self.number)
        self.reactor.jump(seconds)

    def jump_wall_clock(self, seconds: float) -> None:
        """Set the time of day of the machine, which outlives its processes. No timer follows it.

        :param seconds: by how many forward, or back if negative.
        :raises SimulationError: when they are no number, or infinite.
        """
        seconds = checked_number(seconds, _JUMP)
        self.internet.record(b"fault wall clock", self.number)
        self.ahead += seconds

    def read_slowly(self, bytes_per_second: float | None) -> None:
        """Have the process read so many bytes a second at most, all connections together.

        :param bytes_per_second: None, to read as fast as they come again.
        :raises SimulationError: when they are no number over 0. A process that reads nothing is one that is stalled.
        """
        if bytes_per_second is not None:
            told = "a slow reader reads a number of bytes a second, more than 0, or None for as many as come"
            bytes_per_second = checked_number(bytes_per_second, told, positive=True)
        self.internet.record(b"fault read slowly", self.number)
        self.reads_per_second = bytes_per_second

    def refuse_accepts(self, refuse: bool = True) -> None:
        """Refuse new connections, or accept them again; those that stand are not touched.

        :param refuse: False, to accept them again.
        """
        self.internet.record(b"fault refuse", self.number)
        self.refuses_accepts = refuse

    # ---- private

    def _not_started(self, failure: Failure) -> None:
        if failure.check(NodeStopped) is None:  # it was shut down meanwhile, which is no mistake of anybody
            self.reactor.log_failure("could not start", failure)

    def _begin_process(self) -> None:
        self._processes += 1
        self._stalled_until = 0.0
        self._left: list[str] = []
        self.application = None
        self.rng = random.Random(f"{self.internet.seed} {self.name} {self._processes}")
        self.reactor = SimulatedReactor(self, clock=float(self.rng.randrange(1_000_000)))

    def _end_process(self) -> None:
        reactor = self.reactor
        for transport in list(reactor.transports):
            transport.kill()
        reactor.die()

    def _ended(self, reactor: SimulatedReactor) -> None:
        if reactor.alive:
            self._left = reactor.leftovers()
            self._end_process()
            ends, self._ends = self._ends, []
            for over in ends:
                over.callback(None)

    def _wake(self, reactor: SimulatedReactor) -> None:
        if reactor is self.reactor and reactor.stalled and self.internet.now >= self._stalled_until:
            reactor.wake()


def _factories(program: Any) -> Iterator[PeerFactory]:
    """Find the nodes of a program."""
    if isinstance(program, Node):
        yield program._service.factory
    if isinstance(program, PeerService):
        yield program.factory
    if IServiceCollection.providedBy(program):
        for service in program:
            yield from _factories(service)
