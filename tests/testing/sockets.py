"""Plain Twisted protocols on two simulated hosts, for the tests of the simulated transports."""

from __future__ import annotations

from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from netlayer.testing import SimulatedHost, SimulatedInternet

__all__ = ["Notes", "Pair", "factory_of"]


class Notes(Protocol):
    """Notes what comes, and when.

    :ivar pieces: what each call of dataReceived brought.
    :ivar times: when, in virtual seconds.
    :ivar lost: why the connection ended, or None.
    """

    internet: SimulatedInternet

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.times: list[float] = []
        self.lost: Failure | None = None

    @property
    def received(self) -> bytes:
        """Everything that came."""
        return b"".join(self.pieces)

    @property
    def end(self) -> str | None:
        """The name of the error that the connection ended with."""
        return type(self.lost.value).__name__ if self.lost is not None else None

    def dataReceived(self, data: bytes) -> None:
        """Note it."""
        self.pieces.append(data)
        self.times.append(self.internet.now)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note why."""
        self.lost = reason


def factory_of(protocol: Any) -> Factory:
    """Return a factory that builds this one protocol."""
    factory = Factory()
    factory.noisy = False
    factory.buildProtocol = lambda addr: protocol  # type: ignore[method-assign,assignment]
    return factory


class Pair:
    """Two hosts, and a connection between them.

    :ivar client: the protocol on the host ``one``, which has connected.
    :ivar server: the protocol on the host ``two``.
    """

    def __init__(self, client: Notes | None = None, server: Notes | None = None, **options: Any) -> None:
        options = {"latency": (0.01, 0.01), "jitter": 0.0, "fragmentation": 0.0, "coalescing": 0.0, **options}
        self.internet = SimulatedInternet(seed=options.pop("seed", 1), **options)
        self.one: SimulatedHost = self.internet.add_host("one")
        self.two: SimulatedHost = self.internet.add_host("two")
        self.client = client if client is not None else Notes()
        self.server = server if server is not None else Notes()
        self.client.internet = self.server.internet = self.internet
        endpoint = TCP4ServerEndpoint(self.two.reactor, 80)
        self.port = self.internet.run(endpoint.listen(factory_of(self.server)))
        self.connect()

    def connect(self) -> None:
        """Connect."""
        endpoint = TCP4ClientEndpoint(self.one.reactor, self.two.address, 80)
        self.internet.run(endpoint.connect(factory_of(self.client)))
        self.connection = self.internet.connections[-1]
        self.internet.advance(0.1)
