"""Outages of a peer, of a bootstrap node, and of both, from a second to a day: back within 30 s, always.

Everything has its default settings. Each seed has another length, victim and kind of outage:

    python -m netlayer.testing tests.testing.outages:Outages --seeds 1-1000 --jobs 2
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from netlayer import BootstrapService, PeerService
from netlayer.testing import Crash, Fault, OneWayCut, Partition, Scenario, Stall

__all__ = ["DAY", "OUTAGES", "VICTIMS", "Outages", "outage"]

DAY = 86_400.0
#: Who is out.
VICTIMS = {"a peer": ("node1",), "the bootstrap node": ("bootstrap1",), "both": ("node1", "bootstrap1")}
OUTAGES = ("killed", "without power", "cut off", "deaf", "mute", "frozen")


class Outages(Scenario):
    """Two nodes and a bootstrap node, one or two of which are out for a while."""

    nodes = 2
    seconds = 10.0
    peace = 30.0
    most_events = 50_000_000

    def node(self, host: Any) -> PeerService:
        """Return a node that knows nobody but the bootstrap node."""
        return PeerService(
            host.reactor,
            node_id=host.number,
            listen=(host.address, 8001),
            bootstraps=[(self.bootstrap_hosts[0].address, 8000)],
            identity=self.identity(host),
            rng=host.rng,
        )

    def bootstrap(self, host: Any) -> BootstrapService:
        """Return the bootstrap node."""
        return BootstrapService(
            host.reactor, node_id=host.number, listen=(host.address, 8000), identity=self.identity(host), rng=host.rng
        )

    def identity(self, host: Any) -> Any:
        """Return an identity that may or may not outlive its process."""
        return host.identity(ephemeral=random.Random(f"{self.seed} {host.name}").random() < 0.5)

    def timeline(self, rng: random.Random) -> Iterable[Fault]:
        """Return one outage; each order of magnitude of its length is as likely as the others."""
        seconds = round(DAY ** rng.random(), 3)
        return outage(rng.choice(OUTAGES), VICTIMS[rng.choice(list(VICTIMS))], self.host_names, self.seconds, seconds)

    async def workload(self) -> None:
        """See that everything was well before anything goes wrong."""
        await self.until(self.settled, timeout=self.seconds - 0.1)

    def settled(self) -> bool:
        """Tell whether the nodes are linked to each other, and both registered."""
        if len(self.running) < 2 or not all(host.is_running for host in self.bootstrap_hosts):
            return False
        one, other = self.running
        listed = {peer.node_id for peer in self.bootstrap_hosts[0].application.get_peers()}
        return (
            [peer.node_id for peer in one.get_peers()] == [self.hosts[1].number]
            and [peer.node_id for peer in other.get_peers()] == [self.hosts[0].number]
            and one.status.joined
            and other.status.joined
            and listed == {host.number for host in self.hosts}
        )

    async def check(self) -> None:
        """See that packets arrive."""
        one, other = self.hosts
        await one.application.send(other.number, "back")
        await other.application.send(one.number, "back")


def outage(kind: str, victims: tuple[str, ...], everybody: list[str], at: float, seconds: float) -> list[Fault]:
    """Return the faults that an outage is made of."""
    common = {"at": at, "seconds": seconds}
    others = {victim: [name for name in everybody if name != victim] for victim in victims}
    match kind:
        case "killed" | "without power":
            silent = kind == "without power"
            return [Crash(**common, host=victim, silent=silent) for victim in victims]
        case "cut off":
            return [Partition(**common, groups=tuple((victim,) for victim in victims))]
        case "deaf":
            return [OneWayCut(**common, one=other, other=victim) for victim in victims for other in others[victim]]
        case "mute":
            return [OneWayCut(**common, one=victim, other=other) for victim in victims for other in others[victim]]
        case _:
            return [Stall(**common, host=victim) for victim in victims]
