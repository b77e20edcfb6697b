"""Faults as values: frozen, printable, drawn from a seed, so that a run can be told, replayed and shrunk.

A fault has a beginning and, for most kinds, an end; what it does is done by the hosts and connections of the internet.
Faults that block paths may overlap: :class:`netlayer.testing.timeline.Timeline` knows which of them stand.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import attrs

from netlayer.testing.errors import SimulationError

if TYPE_CHECKING:
    from netlayer.testing.timeline import Timeline

__all__ = [
    "BlackHole",
    "ClockJump",
    "Crash",
    "Fault",
    "OneWayCut",
    "Partition",
    "RefusedAccepts",
    "Reset",
    "SlowLink",
    "SlowReader",
    "Stall",
]

F = TypeVar("F", bound="Fault")


@attrs.frozen(kw_only=True)
class Fault:
    """Something that goes wrong at a time, and for most kinds is mended later.

    Subclass it for an own kind of fault: :meth:`begin` and :meth:`end` do it, :meth:`draw` makes one by chance. Hosts
    are known by their names.

    :ivar at: seconds from the beginning of the run.
    :ivar seconds: how long it lasts; 0 for what happens at one moment.
    """

    #: Whether localhost sockets can't have it.
    simulated_only: ClassVar[bool] = True
    #: How long one lasts that is drawn by chance: the least and the most seconds.
    lasts: ClassVar[tuple[float, float]] = (0.5, 20.0)

    at: float
    seconds: float = 0.0

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names of the hosts that it is done to."""
        return ()

    def begin(self, timeline: Timeline) -> None:
        """Do it.

        :param timeline: what gives access to hosts and connections.
        """

    def end(self, timeline: Timeline) -> None:
        """Mend it; `timeline` is that of :meth:`begin`."""

    def among(self: F, hosts: Collection[str]) -> F | None:
        """Return what remains of it when there are only these hosts: itself, a smaller one, or None."""
        return self if all(host in hosts for host in self.hosts) else None

    @classmethod
    def draw(
        cls: type[F],
        rng: random.Random,
        hosts: Sequence[str],
        *,
        between: tuple[float, float],
        seconds: tuple[float, float] | None = None,
        **fixed: Any,
    ) -> F:
        """Make one by chance, which begins and ends between two times.

        :param rng: where chance comes from.
        :param hosts: the names of the hosts that it may hit.
        :param between: seconds from the beginning of the run.
        :param seconds: the least and the most that it lasts; by default ``lasts``.
        :param fixed: fields that are not left to chance.
        """
        earliest, latest = between
        least, most = seconds if seconds is not None else cls.lasts
        lasting = min(rng.uniform(least, most), latest - earliest)
        at = rng.uniform(earliest, latest - lasting)
        return cls(**{"at": round(at, 3), "seconds": round(lasting, 3), **cls._draw(rng, hosts), **fixed})

    @classmethod
    def _draw(cls, rng: random.Random, hosts: Sequence[str]) -> dict[str, Any]:
        """Return the other fields, drawn by chance."""
        return {}

    def __str__(self) -> str:
        skipped = ("at", "seconds")
        fields = [a.name for a in attrs.fields(type(self)) if a.name not in skipped]
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in fields)
        lasting = f" for {self.seconds:.3f} s" if self.seconds else ""
        return f"{self.at:9.3f} s  {type(self).__name__}{lasting}: {values}"


@attrs.frozen(kw_only=True)
class _OfHost(Fault):
    host: str

    @property
    def hosts(self) -> tuple[str, ...]:
        """The name of the one host."""
        return (self.host,)

    @classmethod
    def _draw(cls, rng: random.Random, hosts: Sequence[str]) -> dict[str, Any]:
        return {"host": rng.choice(hosts)}


@attrs.frozen(kw_only=True)
class _OfTwo(Fault):
    one: str
    other: str

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names of both hosts."""
        return (self.one, self.other)

    @classmethod
    def _draw(cls, rng: random.Random, hosts: Sequence[str]) -> dict[str, Any]:
        if len(hosts) < 2:
            raise SimulationError(f"{cls.__name__} happens between two hosts, and there is but one")
        one, other = rng.sample(hosts, 2)
        return {"one": one, "other": other}


# ---- of a process or its machine


@attrs.frozen(kw_only=True)
class Crash(_OfHost):
    """The process of a host is killed, and started again when the fault ends.

    :ivar silent: whether the machine loses its power, so that its peers are not told; otherwise its kernel closes the
        connections, as :meth:`SimulatedHost.crash` says.
    :ivar disk: whether what was on the disk is still there afterwards, the identity included.
    """

    simulated_only = False

    silent: bool = False
    disk: bool = True

    def begin(self, timeline: Timeline) -> None:
        """Kill the process."""
        host = timeline.host(self.host)
        if host.is_running:
            host.crash(silent=self.silent)

    def end(self, timeline: Timeline) -> None:
        """Start a new one."""
        host = timeline.host(self.host)
        if not host.is_running:
            host.restart(disk=self.disk)

    @classmethod
    def _draw(cls, rng: random.Random, hosts: Sequence[str]) -> dict[str, Any]:
        return {**super()._draw(rng, hosts), "silent": rng.random() < 0.5}


@attrs.frozen(kw_only=True)
class Stall(_OfHost):
    """The process of a host is frozen: its timers fire late, its sockets wait."""

    def begin(self, timeline: Timeline) -> None:
        """Freeze it; it goes on by itself."""
        host = timeline.host(self.host)
        if host.is_running:
            host.stall(self.seconds)


@attrs.frozen(kw_only=True)
class ClockJump(_OfHost):
    """The clock of a process is set.

    :ivar by: seconds; forward, or back if negative.
    """

    lasts = (0.0, 0.0)

    by: float

    def begin(self, timeline: Timeline) -> None:
        """Set it."""
        host = timeline.host(self.host)
        if host.is_running:
            host.jump_clock(self.by)

    @classmethod
    def _draw(cls, rng: random.Random, hosts: Sequence[str]) -> dict[str, Any]:
        return {**super()._draw(rng, hosts), "by": round(rng.uniform(-60.0, 60.0), 3)}


@attrs.frozen(kw_only=True)
class SlowReader(_OfHost):
    """The process of a host reads slowly.

    :ivar bytes_per_second: of all its connections together.
    """

    bytes_per_second: float

    def begin(self, timeline: Timeline) -> None:
        """Slow it down."""
        timeline.host(self.host).read_slowly(self.bytes_per_second)

    def end(self, timeline: Timeline) -> None:
        """Let it read as fast as it can."""
        timeline.host(self.host).read_slowly(None)

    @classmethod
    def _draw(cls, rng: random.Random, hosts: Sequence[str]) -> dict[str, Any]:
        return {**super()._draw(rng, hosts), "bytes_per_second": round(10 ** rng.uniform(2.0, 5.0))}


@attrs.frozen(kw_only=True)
class RefusedAccepts(_OfHost):
    """A host refuses new connections; those that stand are not touched."""

    def begin(self, timeline: Timeline) -> None:
        """Refuse."""
        timeline.host(self.host).refuse_accepts(True)

    def end(self, timeline: Timeline) -> None:
        """Accept again."""
        timeline.host(self.host).refuse_accepts(False)


# ---- of connections


@attrs.frozen(kw_only=True)
class Reset(_OfTwo):
    """The connections between two hosts are reset.

    :ivar one_sided: whether only `one` is told; the other end learns it when it sends something.
    """

    simulated_only = False
    lasts = (0.0, 0.0)

    one_sided: bool = False

    def begin(self, timeline: Timeline) -> None:
        """Reset all connections that stand."""
        timeline.reset(self.one, self.other, one_sided=self.one_sided)

    @classmethod
    def _draw(cls, rng: random.Random, hosts: Sequence[str]) -> dict[str, Any]:
        return {**super()._draw(rng, hosts), "one_sided": rng.random() < 0.5}


@attrs.frozen(kw_only=True)
class BlackHole(_OfTwo):
    """Everything vanishes on the connections that stand between two hosts; new ones are not touched."""

    lasts = (0.0, 0.0)

    def begin(self, timeline: Timeline) -> None:
        """Turn all connections that stand into black holes."""
        for connection in timeline.connections(self.one, self.other):
            connection.black_hole()


# ---- of paths


@attrs.frozen(kw_only=True)
class Partition(Fault):
    """The internet falls into groups of hosts that do not reach each other.

    :ivar groups: names of hosts; those that are in none are one more group.
    """

    groups: tuple[tuple[str, ...], ...]

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names in all groups."""
        return tuple(host for group in self.groups for host in group)

    def begin(self, timeline: Timeline) -> None:
        """Cut all paths between groups."""
        timeline.paths_changed()

    def end(self, timeline: Timeline) -> None:
        """Mend them, unless another fault cuts them."""
        timeline.paths_changed()

    def among(self, hosts: Collection[str]) -> Partition | None:
        """Return the partition of these hosts."""
        groups = tuple(left for group in self.groups if (left := tuple(host for host in group if host in hosts)))
        return attrs.evolve(self, groups=groups) if groups else None

    @classmethod
    def _draw(cls, rng: random.Random, hosts: Sequence[str]) -> dict[str, Any]:
        apart = rng.sample(hosts, rng.randint(1, max(1, len(hosts) - 1)))
        return {"groups": (tuple(host for host in hosts if host in apart),)}


@attrs.frozen(kw_only=True)
class OneWayCut(_OfTwo):
    """Nothing from `one` reaches `other`; the other way is not touched."""

    def begin(self, timeline: Timeline) -> None:
        """Cut the path."""
        timeline.paths_changed()

    def end(self, timeline: Timeline) -> None:
        """Mend it, unless another fault cuts it."""
        timeline.paths_changed()


@attrs.frozen(kw_only=True)
class SlowLink(_OfTwo):
    """Bytes between two hosts take longer, both ways.

    :ivar latency: seconds.
    """

    latency: float

    def begin(self, timeline: Timeline) -> None:
        """Slow the path down."""
        timeline.set_latency(self.one, self.other, self.latency)

    def end(self, timeline: Timeline) -> None:
        """Let it be as fast as it was."""
        timeline.set_latency(self.one, self.other, None)

    @classmethod
    def _draw(cls, rng: random.Random, hosts: Sequence[str]) -> dict[str, Any]:
        return {**super()._draw(rng, hosts), "latency": round(rng.uniform(0.1, 1.5), 3)}
