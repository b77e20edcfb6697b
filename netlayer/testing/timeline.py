"""The timeline of a run: has its faults begin and end, and knows which of them stand at a moment."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from netlayer.testing.faults import Fault, OneWayCut, Partition

__all__ = ["Timeline"]


class Timeline:
    """Plays faults on an internet.

    :param internet: a :class:`~netlayer.testing.SimulatedInternet`, or what stands for it on localhost.
    """

    def __init__(self, internet: Any) -> None:
        self.internet = internet
        self._pending = 0
        self._standing: list[Fault] = []
        self._cuts: set[tuple[str, str]] = set()

    def play(self, faults: Iterable[Fault]) -> None:
        """Have faults begin and end in their time; called at the beginning of the run."""
        for fault in faults:
            self._pending += 1
            self.internet.call_later(fault.at, self._begin, fault)

    @property
    def is_over(self) -> bool:
        """Whether all faults have begun, and have ended if they ever do."""
        return not self._pending

    # ---- for faults

    def host(self, name: str) -> Any:
        """Return the host of a name."""
        return self.internet.host(name)

    def connections(self, one: str, other: str) -> list[Any]:
        """Return the connections that stand between the hosts named `one` and `other`."""
        pair = self.host(one), self.host(other)
        return [connection for connection in self.internet.connections if connection.between(*pair)]

    def reset(self, one: str, other: str, *, one_sided: bool) -> None:
        """Reset the connections that stand between two hosts.

        :param one: the name of one host.
        :param other: the name of the other.
        :param one_sided: whether only the former learns of it.
        """
        host = self.host(one)
        for connection in self.connections(one, other):
            if not one_sided:
                connection.reset()
            elif connection.client.host is host:
                connection.client.reset()
            else:
                connection.server.reset()

    def set_latency(self, one: str, other: str, seconds: float | None) -> None:
        """Have bytes between two hosts take so many seconds.

        :param one: the name of one host.
        :param other: the name of the other.
        :param seconds: None, to have them take as many as in the beginning.
        """
        self.internet.set_latency(self.host(one), self.host(other), seconds)

    def paths_changed(self) -> None:
        """Cut what the standing partitions and cuts cut together, and nothing else."""
        internet = self.internet
        partitions = [fault for fault in self._standing if isinstance(fault, Partition)]
        groups: dict[tuple[int, ...], list[Any]] = {}
        for host in internet.hosts:
            sides = tuple(_side(partition, host.name) for partition in partitions)
            groups.setdefault(sides, []).append(host)
        internet.partition(list(groups.values())[1:])
        cuts = {(fault.one, fault.other) for fault in self._standing if isinstance(fault, OneWayCut)}
        for source, target in sorted(self._cuts - cuts):
            internet.mend(self.host(source), self.host(target))
        for source, target in sorted(cuts - self._cuts):
            internet.cut(self.host(source), self.host(target))
        self._cuts = cuts

    # ---- private

    def _begin(self, fault: Fault) -> None:
        self._standing.append(fault)
        if math.isfinite(fault.seconds):
            self.internet.call_later(fault.seconds, self._end, fault)
        else:
            self._pending -= 1
        fault.begin(self)

    def _end(self, fault: Fault) -> None:
        self._pending -= 1
        self._standing.remove(fault)
        fault.end(self)


def _side(partition: Partition, host: str) -> int:
    """Return on which side of a partition a host is."""
    return next((number for number, group in enumerate(partition.groups, 1) if host in group), 0)
