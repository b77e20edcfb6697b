"""Scenarios: what runs on which host, what goes wrong, what is done, and what must be true of it.

A scenario says it once; each seed makes another run of it. :mod:`netlayer.testing.run` runs them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from twisted.internet.defer import Deferred

from netlayer.bootstrap_node import BootstrapNode
from netlayer.testing.errors import ScenarioFailed, SimulationError, SimulationTimeout
from netlayer.testing.faults import Fault
from netlayer.testing.mistakes import known_faults, known_programs, look_at_settings
from netlayer.testing.replay import numbers_text, replay_command
from netlayer.testing.run import Outcome, simulate

__all__ = ["Scenario"]


class Scenario:
    """A way to test an application: subclass it, say what runs, what goes wrong, what is done and what must be true.

    One object is one run. The least that a subclass has is :meth:`node` and :meth:`check`. Hosts that were dropped when
    a failing run was shrunk run nothing, so use :attr:`hosts` and :attr:`running` wherever hosts are chosen.

    :param seed: where all chance comes from.
    :param without: the numbers of faults of the timeline that do not happen.
    :param only_hosts: the names of the hosts on which something runs, or None for all.
    :raises SimulationError: when there is no such fault or host, or when the class has a mistake that can be seen.

    :ivar faults: the timeline: each fault that happens, by its number, which starts at 1.
    :ivar numbers: the numbers of all faults that the seed has.
    :ivar rng: chance for the workload.
    :ivar internet: the internet that it runs on.
    :ivar is_real: whether that is localhost.
    """

    #: How many hosts run what :meth:`node` returns; they are called ``node1``, ``node2`` and so on.
    nodes: ClassVar[int] = 5
    #: How many hosts run what :meth:`bootstrap` returns; they are called ``bootstrap1`` and so on.
    bootstraps: ClassVar[int] = 1
    #: Seconds from the beginning in which faults happen and the workload runs. A fault that ends later prolongs them.
    seconds: ClassVar[float] = 60.0
    #: The faults begin after so many of them.
    quiet: ClassVar[float] = 5.0
    #: Seconds from then in which the workload has to end and :meth:`settled` has to become true; nothing goes wrong.
    peace: ClassVar[float] = 45.0
    #: How many faults of each kind happen: a number, or the least and the most.
    trouble: ClassVar[Mapping[type[Fault], int | tuple[int, int]]] = {}
    #: The keyword arguments of :class:`~netlayer.testing.SimulatedInternet`.
    network: ClassVar[Mapping[str, Any]] = {}
    #: Errors that handlers raise on purpose; any other one that is logged fails the run.
    expected_errors: ClassVar[tuple[type[BaseException], ...]] = ()
    #: Seconds that each of :meth:`settled`, :meth:`check`, :meth:`delivered` and :meth:`check_shutdown` may take.
    patience: ClassVar[float] = 120.0
    #: A run with more events than this, or with more calls at one moment, has got stuck.
    most_events: ClassVar[int] = 5_000_000

    def __init__(self, seed: int = 0, *, without: Iterable[int] = (), only_hosts: Iterable[str] | None = None) -> None:
        self.seed = seed
        look_at_settings(self)
        self.rng = random.Random(f"{seed} workload")
        self.internet: Any = None
        self.is_real = False
        self._programs = known_programs(self)
        self.without = tuple(sorted(set(without)))
        self.only_hosts = self._known_hosts(only_hosts)
        self.faults = self._faults()

    # ---- what a subclass says

    def node(self, host: Any) -> Any:
        """Return the application that runs on a host: a :class:`~netlayer.Node` or a service.

        It is called again for each restart, so it makes everything anew.

        :param host: the :class:`~netlayer.testing.SimulatedHost`.
        """
        raise NotImplementedError(f"{type(self).__name__} has to say what runs on a host: define node(self, host)")

    def bootstrap(self, host: Any) -> Any:
        """Return what runs on a host of a bootstrap node."""
        return BootstrapNode(host.number, host.address, 8000, **self.options(host))

    def options(self, host: Any) -> dict[str, Any]:
        """Return keyword arguments that any node or service of netlayer can do with on a host.

        They are its reactor, its chance, its identity, and the addresses of all bootstrap nodes but itself.
        """
        known = [h.address for h in self.bootstrap_hosts if h is not host]
        return {
            "reactor": host.reactor,
            "rng": host.rng,
            "identity": host.identity(),
            "bootstraps": [(address, 8000) for address in known],
        }

    def programs(self) -> Mapping[str, Callable[[Any], Any]]:
        """Return what runs where, for scenarios that are not made of nodes and bootstrap nodes alone.

        :returns: for each name of a host a function that takes the host and returns what runs on it.
        """
        return {
            **{f"bootstrap{number}": self.bootstrap for number in range(1, self.bootstraps + 1)},
            **{f"node{number}": self.node for number in range(1, self.nodes + 1)},
        }

    def timeline(self, rng: random.Random) -> Iterable[Fault]:
        """Return the faults of a run, by default those of :attr:`trouble` on all hosts.

        It may depend on nothing but `rng` and the class: whoever shrinks a run drops faults by their numbers.
        """
        hosts, between = list(self._programs), (self.quiet, self.seconds)
        for kind, count in self.trouble.items():
            for _ in range(count if isinstance(count, int) else rng.randint(*count)):
                yield kind.draw(rng, hosts, between=between)

    async def workload(self) -> None:
        """Do what the application is there for, from the beginning on, while things go wrong."""

    def invariant(self) -> None:
        """Raise when something is wrong that may never be so, not even for a moment; called after each event."""

    def settled(self) -> Any:
        """Tell whether the network has recovered; it has to within :attr:`peace`."""
        return True

    def check(self) -> Any:
        """Raise when something is not as it has to be in the end; all nodes still run. May be ``async``."""

    def check_shutdown(self) -> Any:
        """Raise when something is not as it has to be after all nodes were shut down."""

    def delivered(self) -> Any:
        """Return what has to be the same in the simulation and on localhost: sets of what was received, say."""
        return None

    # ---- what a subclass uses

    @property
    def hosts(self) -> list[Any]:
        """The hosts on which something runs, bootstrap nodes excluded."""
        return [host for host in self.all_hosts if not self.is_bootstrap(host.name)]

    @property
    def bootstrap_hosts(self) -> list[Any]:
        """The hosts of the bootstrap nodes."""
        return [host for host in self.all_hosts if self.is_bootstrap(host.name)]

    @property
    def all_hosts(self) -> list[Any]:
        """The hosts on which something runs."""
        return [host for host in self.internet.hosts if host.name in self.only_hosts]

    @property
    def running(self) -> list[Any]:
        """What runs on those of the :attr:`hosts` that are not down."""
        return [host.application for host in self.hosts if host.is_running]

    @property
    def peace_begins(self) -> float:
        """When everything that goes wrong has gone wrong and was mended, in seconds from the beginning."""
        ends = [fault.at + fault.seconds for fault in self.faults.values()]
        return max([self.seconds, *(end for end in ends if math.isfinite(end))])

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return self.internet.now  # type: ignore[no-any-return]

    def sleep(self, seconds: float) -> Deferred[None]:
        """Return a Deferred that fires after so many seconds, which may be none.

        :raises SimulationError: when that is no time at all, such as less than nothing.
        """
        if not 0.0 <= seconds < math.inf:
            raise SimulationError(f"one sleeps for a number of seconds from 0 on, not {seconds:g}")
        return self.internet.sleep(seconds)  # type: ignore[no-any-return]

    async def until(self, predicate: Callable[[], object], timeout: float = 60.0) -> None:
        """Wait until something is true; it is looked at twenty times a second.

        :param predicate: called without an argument.
        :raises SimulationTimeout: when it is not, after `timeout` seconds.
        """
        latest = self.now + timeout
        while not predicate():
            if self.now >= latest:
                name = getattr(predicate, "__qualname__", None) or repr(predicate)
                raise SimulationTimeout(f"not true within {timeout:g} s: {name}")
            await self.sleep(0.05)

    # ---- running it

    def run(self) -> Outcome:
        """Run it in the simulation.

        :returns: what came of it.
        :raises ScenarioFailed: when it fails; it says how, and which command replays it.
        """
        outcome = simulate(self)
        if outcome.failure is not None:
            raise ScenarioFailed(outcome.story())
        return outcome

    def command(self) -> str:
        """Return the command that replays this run; empty if none can, as it does not find the class."""
        only_hosts = self.only_hosts if len(self.only_hosts) < len(self._programs) else None
        return replay_command(type(self), self.seed, without=self.without, only_hosts=only_hosts, real=self.is_real)

    def program(self, name: str) -> Callable[[Any], Any]:
        """Return what makes the application of the host of this name."""
        return self._programs[name]

    @property
    def host_names(self) -> list[str]:
        """The names of all hosts, those on which nothing runs included."""
        return list(self._programs)

    def is_bootstrap(self, name: str) -> bool:
        """Tell whether the host of this name runs what :meth:`bootstrap` returns."""
        return getattr(self._programs[name], "__func__", None) is type(self).bootstrap

    # ---- private

    def _known_hosts(self, names: Iterable[str] | None) -> list[str]:
        if names is None:
            return list(self._programs)
        asked = set(names)
        unknown = sorted(asked - set(self._programs))
        if not asked:
            raise SimulationError(f"no host is left on which something runs. There are: {', '.join(self._programs)}")
        if unknown:
            raise SimulationError(f"no such host: {', '.join(unknown)}. There are: {', '.join(self._programs)}")
        return [name for name in self._programs if name in asked]

    def _faults(self) -> dict[int, Fault]:
        chance = random.Random(f"{self.seed} faults")
        timeline = known_faults(type(self).__name__, lambda: self.timeline(chance), self._programs)
        unknown = [number for number in self.without if not 1 <= number <= len(timeline)]
        if unknown:
            known = f"faults 1 to {len(timeline)}" if timeline else "no faults"
            raise SimulationError(f"no such fault: {numbers_text(unknown)}. Seed {self.seed} has {known}")
        self.numbers = range(1, len(timeline) + 1)
        faults: dict[int, Fault] = {}
        for number, fault in enumerate(timeline, 1):
            left = fault.among(self.only_hosts) if number not in self.without else None
            if left is not None:
                faults[number] = left
        return faults
