"""A simulated TCP connection as a whole: its two ends, and the faults that are done to it alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.address import IPv4Address

from netlayer.testing.transport import SimulatedTransport

if TYPE_CHECKING:
    from netlayer.testing.host import SimulatedHost
    from netlayer.testing.internet import SimulatedInternet
    from netlayer.testing.reactor import SimulatedReactor

__all__ = ["SimulatedConnection"]


class SimulatedConnection:
    """One connection; :attr:`SimulatedInternet.connections` lists those that stand.

    :ivar client: the transport of the end that connected.
    :ivar server: the transport of the end that accepted.
    """

    __slots__ = ("_internet", "client", "server")

    def __init__(
        self,
        internet: SimulatedInternet,
        client: tuple[SimulatedReactor, IPv4Address],
        server: tuple[SimulatedReactor, IPv4Address],
    ) -> None:
        self._internet = internet
        self.client = SimulatedTransport(*client, server[1])
        self.server = SimulatedTransport(*server, client[1])
        self.client.join(self, self.server)
        self.server.join(self, self.client)
        self.measure()
        internet.established[self] = None

    def __repr__(self) -> str:
        return f"<SimulatedConnection {self.client.host.name} -> {self.server.host.name}>"

    def measure(self) -> None:
        """Find out how long the path is now."""
        self.client.latency = self._internet.latency(self.client.host, self.server.host)
        self.server.latency = self._internet.latency(self.server.host, self.client.host)

    def between(self, one: SimulatedHost, other: SimulatedHost) -> bool:
        """Tell whether `one` and the `other` are the hosts at its ends, whoever connected."""
        return {self.client.host, self.server.host} == {one, other}

    def reset(self) -> None:
        """Have both ends find the connection reset, at once, as a middlebox may do."""
        self._internet.record(b"fault reset", self.client.host.number)
        for end in (self.client, self.server):
            end.reset()

    def black_hole(self) -> None:
        """Have everything on the connection vanish from now on, its end included, and nobody told."""
        self._internet.record(b"fault black hole", self.client.host.number)
        for end in (self.client, self.server):
            end.deaf = True

    def cut_after(self, count: int, *, sender: SimulatedHost, silently: bool = False) -> None:
        """Cut the connection after `count` more bytes from `sender` have arrived.

        :param silently: whether it becomes a black hole then, instead of being reset.
        """
        receiver = self.server if self.client.host is sender else self.client
        receiver.cut_after(count, silently)
