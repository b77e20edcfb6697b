"""A simulated TCP connection as a whole: its two ends, and the faults that are done to it alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.address import IPv4Address

from netlayer.testing.arguments import checked_count
from netlayer.testing.errors import SimulationError
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

    def between(self, one: SimulatedHost | str, other: SimulatedHost | str) -> bool:
        """Tell whether `one` and the `other` are the hosts at its ends, whoever connected.

        :raises SimulationError: when one of them is no host of the internet, nor the name of one.
        """
        return {self.client.host, self.server.host} == {self._internet.known(one), self._internet.known(other)}

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

    def cut_after(self, count: int, *, sender: SimulatedHost | str, silently: bool = False) -> None:
        """Cut the connection after `count` more bytes from `sender` have arrived.

        :param sender: the host at one of its ends, or its name.
        :param silently: whether it becomes a black hole then, instead of being reset.
        :raises SimulationError: when the host is at no end of it, or the count is no whole number, 0 or more.
        """
        count = checked_count(count, "a connection is cut after a whole number of bytes, 0 or more")
        host = self._internet.known(sender)
        if host is self.client.host:
            self.server.cut_after(count, silently)
        elif host is self.server.host:
            self.client.cut_after(count, silently)
        else:
            raise SimulationError(f"{host!r} sends nothing on {self!r}")
