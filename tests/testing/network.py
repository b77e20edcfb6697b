"""Small simulated networks of real nodes, for the tests of the simulated internet."""

from __future__ import annotations

from typing import Any

from netlayer import BootstrapService, DataPacket, PeerProtocol, PeerService
from netlayer.testing import SimulatedHost, SimulatedInternet

__all__ = ["Listener", "network", "node"]


class Listener(PeerProtocol):
    """Notes on its host's disk what has come."""

    def packet_received(self, packet: DataPacket) -> None:
        """Note it."""
        self.factory.application.append(packet.data)


def node(host: SimulatedHost, *, kind: type[PeerService] = PeerService, **options: Any) -> PeerService:
    """Return the node of a host, which knows of the bootstrap node on the host ``alpha``."""
    service = kind(
        host.reactor,
        **{
            "node_id": host.number,
            "listen": (host.address, 8001),
            "bootstraps": [("alpha", 8000)],
            "identity": host.identity(),
            "rng": host.rng,
            "protocol": Listener,
            **options,
        },
    )
    service.factory.application = host.disk.setdefault("received", [])
    return service


def bootstrap(host: SimulatedHost, **options: Any) -> BootstrapService:
    """Return the bootstrap node of a host."""
    options = {"node_id": host.number, "listen": (host.address, 8000), "identity": host.identity(), **options}
    return BootstrapService(host.reactor, rng=host.rng, **options)


def network(size: int, **options: Any) -> tuple[SimulatedInternet, list[SimulatedHost]]:
    """Return an internet with a bootstrap node on ``alpha`` and so many nodes, all linked; the hosts of the nodes."""
    internet = SimulatedInternet(**options)
    internet.add_host("alpha").run(bootstrap)
    hosts = internet.add_hosts(size, "node")
    for host in hosts:
        host.run(node)
    internet.run_until(lambda: meshed(hosts))
    return internet, hosts


def meshed(hosts: list[SimulatedHost]) -> bool:
    """Tell whether all nodes are linked to each other."""
    return all(len(host.application.get_peers()) == len(hosts) - 1 for host in hosts)
