"""An application of 50 nodes, and a test that cuts its network in two: run it with Python, or with pytest."""

from contextlib import contextmanager

from twisted.logger import formatEvent, globalLogPublisher

from netlayer import BootstrapService, PeerProtocol, PeerService
from netlayer.testing import SimulatedInternet


class Noticeboard(PeerProtocol):
    """Everybody keeps all notices. Peers that meet show each other what they have."""

    def peer_ready(self):
        for notice in self.factory.application:
            self.send_packet(notice)

    def packet_received(self, packet):
        if packet.data not in self.factory.application:
            self.factory.application.append(packet.data)


def post(service, notice):
    """Put a notice up on one node, which tells all that it is linked to."""
    service.factory.application.append(notice)
    return service.broadcast(notice)


# What runs on the simulated hosts; in production, the reactor is Twisted's, and rng and identity are left out.


def bootstrap(host):
    return BootstrapService(
        host.reactor,
        node_id=host.number,
        listen=(host.address, 8000),
        identity=host.identity(),
        rng=host.rng,
    )


def node(host):
    service = PeerService(
        host.reactor,
        node_id=host.number,
        listen=(host.address, 8001),
        bootstraps=[("bootstrap", 8000)],
        protocol=Noticeboard,
        identity=host.identity(),
        rng=host.rng,
    )
    service.factory.application = host.disk.setdefault("notices", [])
    return service


@contextmanager
def noted_errors():
    """Note what hooks and handlers raise; it goes no further than the log."""
    errors = []

    def note(event):
        if "log_failure" in event:
            errors.append(f"{formatEvent(event)}: {event['log_failure'].value!r}")

    globalLogPublisher.addObserver(note)
    try:
        yield errors
    finally:
        globalLogPublisher.removeObserver(note)


def test_partition(seed=7):
    """Notices that were put up on both sides of a partition are everywhere soon after its end."""
    with noted_errors() as errors:
        internet = SimulatedInternet(seed)
        internet.add_host("bootstrap").run(bootstrap)
        hosts = internet.add_hosts(50, "node")
        for host in hosts:
            host.run(node)
        internet.run_until(lambda: all(len(host.application.get_peers()) == 49 for host in hosts))

        internet.partition([hosts[:20], hosts[20:]])
        internet.advance(20.0)
        internet.run(post(hosts[0].application, "seen from the left"))
        internet.run(post(hosts[49].application, "seen from the right"))
        assert [len(host.disk["notices"]) for host in hosts] == [1] * 50

        internet.heal()
        internet.run_until(lambda: all(len(host.disk["notices"]) == 2 for host in hosts), timeout=30.0)

        internet.shutdown()
        assert internet.leftovers() == []
    assert errors == []


if __name__ == "__main__":
    test_partition()
    print("Every notice is everywhere")
