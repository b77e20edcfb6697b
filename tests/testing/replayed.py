"""A run with every kind of fault; ``python -m tests.testing.replayed SEED`` prints the hashes of one."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable

from twisted.logger import globalLogBeginner

from netlayer.testing import SimulatedConnection, SimulatedHost, SimulatedInternet
from tests.testing.network import bootstrap, node

__all__ = ["replay"]


def replay(seed: int, *, span: float = 60.0) -> tuple[str, str]:
    """Run eight nodes for so many virtual seconds under faults, and shut them down.

    :returns: the trace hash, and a hash over what the handlers of each node got.
    """
    internet = SimulatedInternet(seed=seed)
    alpha = internet.add_host("alpha")
    alpha.run(bootstrap)
    hosts = internet.add_hosts(8, "node")
    for host in hosts:
        host.run(node)
    rng, faults = internet.rng, every_fault(internet, hosts)
    while internet.now < span:
        internet.advance(rng.uniform(0.1, 1.0))
        host = rng.choice(hosts)
        for peer in host.application.get_peers():
            _ = host.application.send(peer, f"{internet.now} from {host.name}").addErrback(lambda _: None)
        rng.choice(faults)()
    internet.shutdown()
    assert internet.leftovers() == [], internet.leftovers()
    received = repr([host.disk["received"] for host in hosts]).encode()
    return internet.trace_hash, hashlib.sha256(received).hexdigest()


def every_fault(internet: SimulatedInternet, hosts: list[SimulatedHost]) -> list[Callable[[], object]]:
    """Return what may happen; each chooses whom it happens to."""
    rng = internet.rng

    def one() -> SimulatedHost:
        return rng.choice(hosts)

    def one_connection() -> SimulatedConnection:
        return rng.choice(internet.connections)

    def cut() -> None:
        connection, count, host = one_connection(), rng.randrange(2000), one()
        client, server = connection.client.host, connection.server.host
        connection.cut_after(count, sender=client if host is client else server)

    def any_stands() -> bool:
        return bool(internet.connections)

    return [
        lambda: one().restart(),
        lambda: one().restart(disk=False),
        lambda: one().stall(rng.uniform(0.0, 3.0)),
        lambda: one().jump_clock(rng.uniform(-2.0, 20.0)),
        lambda: one().read_slowly(rng.choice([None, 1_000.0, 100_000.0])),
        lambda: one().refuse_accepts(rng.random() < 0.5),
        lambda: internet.partition([rng.sample(hosts, 4)]),
        lambda: internet.cut(*rng.sample(hosts, 2)),
        lambda: internet.set_latency(*rng.sample(hosts, 2), rng.uniform(0.0, 0.5)),
        lambda: any_stands() and one_connection().reset(),
        lambda: any_stands() and one_connection().black_hole(),
        lambda: any_stands() and cut(),
        internet.heal,
        internet.heal,
    ]


if __name__ == "__main__":
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    print(*replay(int(sys.argv[1])))
