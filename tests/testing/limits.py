"""A campaign: more nodes than links, which have to become one network all the same, and say whom they do not reach.

``python -m netlayer.testing tests.testing.limits:Limits --seeds 1-216`` runs each number of nodes from 5 to 40 with
each limit, started at once and in two waves; the seeds after that do it again with other chance: 1-4320 are twenty
times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import attrs

from netlayer import BootstrapService, PeerService, Settings
from netlayer.testing import Scenario

__all__ = ["Limits", "components"]

SIZES, MOST_LINKS, WAVES = range(5, 41), (4, 8, 16), (1, 2)
#: Seconds between two waves: long enough for the first one to have filled up, and to be told of the second one late.
BETWEEN = 40.0
#: Seconds in which the nodes of a wave start.
SPREAD = 3.0
#: Neighbours that each node has to have at least.
ENOUGH = 2


class Limits(Scenario):
    """Nodes that can't all be linked to each other become one network within a minute, and stay one."""

    peace: ClassVar[float] = 60.0
    quiet: ClassVar[float] = 0.0
    network: ClassVar[Mapping[str, Any]] = {"latency": (0.005, 0.1)}

    def __init__(self, seed: int = 0, **options: Any) -> None:
        rest, self.waves = (seed - 1) // len(WAVES), WAVES[(seed - 1) % len(WAVES)]
        rest, self.most_links = rest // len(MOST_LINKS), MOST_LINKS[rest % len(MOST_LINKS)]
        self.size = SIZES[rest % len(SIZES)]
        self.seconds = SPREAD + (BETWEEN if self.waves == 2 else 0.0)  # type: ignore[misc]
        self._looked_at = 0.0
        super().__init__(seed, **options)

    def programs(self) -> Mapping[str, Callable[[Any], Any]]:
        """Return what runs where: the nodes are made by the workload, when it is their time."""
        return {"bootstrap1": self.bootstrap, **{f"node{n}": self.node for n in range(1, self.size + 1)}}

    def bootstrap(self, host: Any) -> BootstrapService:
        """Return the bootstrap node."""
        options = {"identity": host.identity(), "rng": host.rng}
        return BootstrapService(host.reactor, node_id=host.number, listen=(host.address, 8000), **options)

    def node(self, host: Any) -> Late:
        """Return a node that starts when it is its turn."""
        number = int(host.name.removeprefix("node"))
        wave = 1 if self.waves == 2 and number > self.size // 2 else 0
        return Late(
            host.reactor,
            wait=wave * BETWEEN + host.rng.random() * SPREAD,
            node_id=host.number,
            listen=(host.address, 8000),
            bootstraps=[(self.bootstrap_hosts[0].address, 8000)],
            identity=host.identity(),
            rng=host.rng,
            settings=attrs.evolve(Settings(), max_connections=self.most_links),
        )

    def invariant(self) -> None:
        """There are never more links than allowed."""
        if self.now - self._looked_at < 0.05:
            return
        self._looked_at = self.now
        for host in self.hosts:
            if host.is_running:
                links = len(host.application.factory.link_drivers())
                assert links <= self.most_links, f"{host.name} has {links} links"

    def settled(self) -> bool:
        """Return whether all are one network, each with enough links, and know whom they do not reach."""
        linked = self.neighbours()
        least = min(ENOUGH, self.size - 1)
        return len(components(linked)) == 1 and min(map(len, linked.values())) >= least and not self.unaware()

    def unaware(self) -> list[str]:
        """Return the nodes that do not name everybody else as linked or as not linked for want of room."""
        everybody = {host.number for host in self.hosts}
        return [
            host.name
            for host in self.hosts
            if {host.number}
            | {peer.node_id for peer in host.application.get_peers()}
            | set(host.application.unlinked_peers())
            != everybody
        ]

    async def check(self) -> None:
        """See that it stays so. With few links one may be all that joins two parts, and be given up: not for long."""
        poor = dict.fromkeys((host.number for host in self.hosts), 0)
        apart = 0
        for _ in range(60):
            await self.sleep(0.5)
            linked = self.neighbours()
            for number, neighbours in linked.items():
                poor[number] = poor[number] + 1 if len(neighbours) < ENOUGH else 0
                assert poor[number] < 20, f"node {number} has {len(neighbours)} neighbours for 10 s"
            parts = components(linked)
            apart = apart + 1 if len(parts) > 1 else 0
            assert apart < 40, f"for 20 s there are {len(parts)} networks again: {parts}"
        for host in self.hosts:
            report = await host.application.broadcast("who gets this?")
            named = {host.number} | report.delivered | set(report.failed) | report.missed
            others = {other.number for other in self.hosts} - named
            assert not others, f"a broadcast of {host.name} says nothing of {others}"

    def neighbours(self) -> dict[int, set[int]]:
        """Return the ids of the neighbours of each node."""
        return {host.number: {peer.node_id for peer in host.application.get_peers()} for host in self.hosts}


class Late(PeerService):
    """A node that starts after a while."""

    def __init__(self, reactor: Any, *, wait: float, **options: Any) -> None:
        super().__init__(reactor, **options)
        self._call = reactor.callLater(wait, super().startService)

    def startService(self) -> None:
        """Wait."""

    def stopService(self) -> Any:
        """Stop, also before the start."""
        if self._call.active():
            self._call.cancel()
        return super().stopService()


def components(linked: Mapping[int, set[int]]) -> list[set[int]]:
    """Return the parts of a network that are not linked to each other."""
    parts: list[set[int]] = []
    for start in linked:
        if any(start in part for part in parts):
            continue
        part, rest = {start}, [start]
        while rest:
            new = linked[rest.pop()] - part
            part |= new
            rest += new
        parts.append(part)
    return parts
