"""Scenarios that pass, fail and get stuck, for the tests of what runs them."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from collections.abc import Iterable
from typing import Any, ClassVar

from twisted.internet.defer import Deferred, gatherResults

from netlayer import DataPacket, Node, PeerInfo
from netlayer.errors import DeliveryError, LinkLost
from netlayer.testing import Crash, Fault, Partition, Reset, Scenario, Stall


class Told(Node[Any]):
    """Tells everybody whom it has lost."""

    def handle_data(self, packet: DataPacket) -> None:
        if packet.data == "raise":
            raise ValueError("as it was asked to")
        if packet.data == "leak":
            self._service.factory.reactor.callLater(1000.0, lambda: None)
        if packet.data == "drop":
            Deferred().errback(ValueError("dropped"))

    def peer_left(self, peer: PeerInfo, reason: LinkLost) -> None:
        self.lost.append(peer.node_id)

    @property
    def lost(self) -> list[int]:
        return self.__dict__.setdefault("_lost", [])  # type: ignore[no-any-return]


class Small(Scenario):
    """Three nodes for ten seconds; each test makes something else of it."""

    nodes = 3
    seconds = 10.0
    quiet = 2.0

    def node(self, host: Any) -> Told:
        return Told(host.number, host.address, 8001, **self.options(host))

    def settled(self) -> bool:
        return all(len(node.get_peers()) == len(self.hosts) - 1 for node in self.running)


class Alone(Small):
    """One node for a second, which takes no time."""

    nodes = 1
    seconds = 1.0
    quiet = 0.5


class Troubled(Small):
    """Passes, whatever goes wrong."""

    trouble: ClassVar = {Crash: (1, 3), Partition: 1, Reset: 2, Stall: 1}


class Exchange(Small):
    """Has each of many packets sent until it has arrived; what has arrived is the same wherever it runs."""

    seconds = 4.0
    quiet = 1.0
    trouble: ClassVar = {Crash: 1, Reset: 3}

    def node(self, host: Any) -> Told:
        node = super().node(host)
        node.handle_data = lambda packet: host.disk.setdefault("received", set()).add(packet.data)
        return node

    async def workload(self) -> None:
        await self.until(self.settled)
        pairs = [self.rng.sample(self.hosts, 2) for _ in range(60)]
        await gatherResults([Deferred.fromCoroutine(self.bring(n, *pair)) for n, pair in enumerate(pairs)])

    async def bring(self, number: int, source: Any, target: Any) -> None:
        await self.sleep(number * 0.05)
        arrived = False
        while not arrived:
            await self.until(lambda: source.is_running)
            sent = source.application.send_data(target.number, number)
            arrived = await sent.addCallbacks(lambda _: True, lambda failure: failure.trap(DeliveryError) is None)
            await self.sleep(0.1)

    def delivered(self) -> dict[str, set[int]]:
        return {host.name: host.disk["received"] for host in self.hosts}


class LosesOne(Small):
    """Fails when node1 loses node3; of its eight faults only a crash of node3 does that."""

    nodes = 5

    def timeline(self, rng: random.Random) -> Iterable[Fault]:
        for number in range(7):
            yield Reset(at=2.0 + number, one="node2", other="node4")
        yield Crash(at=5.5, seconds=1.0, host="node3")

    def check(self) -> None:
        lost = self.hosts[0].application.lost
        assert 4 not in lost, f"node1 has lost node3: {lost}"


class OnlySimulated(Small):
    """Passes in the simulation only."""

    seconds = 0.5

    def check(self) -> None:
        assert not self.is_real, "this is no simulation"


class Different(Small):
    """Delivers other things on localhost."""

    seconds = 0.5

    def delivered(self) -> list[str]:
        return ["localhost" if self.is_real else "a simulation"]


class Commanded(Small):
    """Has node2 do something that its handler may not do."""

    command_to_handler = "raise"

    async def workload(self) -> None:
        await self.until(self.settled)
        await (
            self.hosts[0]
            .application.send_data(self.hosts[1].number, self.command_to_handler)
            .addErrback(lambda _: None)
        )


class Raises(Commanded):
    """Fails, as an error was logged."""


class RaisesOnPurpose(Commanded):
    """Passes, as that error was expected."""

    expected_errors = (ValueError,)


class Leaks(Commanded):
    """Fails, as a timer is left."""

    command_to_handler = "leak"


class Drops(Commanded):
    """Fails, as an error was dropped."""

    command_to_handler = "drop"


class NeverSettles(Small):
    """Fails, as it does not settle."""

    peace = 3.0

    def settled(self) -> bool:
        return False


class NeverEnds(Small):
    """Fails, as its workload waits for ever."""

    peace = 3.0

    async def workload(self) -> None:
        await Deferred()


class Stuck(Small):
    """Fails, as it makes calls that take no time."""

    most_events = 10_000

    async def workload(self) -> None:
        reactor = self.hosts[0].reactor

        def again() -> None:
            reactor.callLater(0, again)

        again()


class NeverLinked(Small):
    """Fails, as its invariant does not hold."""

    def invariant(self) -> None:
        assert not any(node.get_peers() for node in self.running), "somebody is linked"


class Abstract(Scenario):
    """Fails, as nobody has said what runs."""


class Sleepless(Small):
    """Fails, as it sleeps for no time, again and again."""

    most_events = 10_000

    async def workload(self) -> None:
        while True:
            await self.sleep(0)


class FailsSoon(Small):
    """Fails, as its workload does, long before the peace begins."""

    async def workload(self) -> None:
        await self.sleep(0.5)
        raise ValueError("at half a second")


class Exits(Small):
    """Fails wherever it is told to call sys.exit()."""

    where = ""

    def exit(self, where: str) -> None:
        if where == self.where:
            sys.exit(0)

    def node(self, host: Any) -> Told:
        self.exit("node")
        host.reactor.callLater(1.0, self.exit, "timer")
        return super().node(host)

    async def workload(self) -> None:
        self.exit("workload")

    def invariant(self) -> None:
        self.exit("invariant")

    def check(self) -> None:
        self.exit("check")


class WaitsForEver(Small):
    """Fails wherever it is told to wait for what never comes."""

    where = ""
    patience = 4.0

    async def wait(self, where: str) -> bool:
        if where == self.where:
            await Deferred()
        return True

    async def settled(self) -> bool:
        return await self.wait("settled")

    async def check(self) -> None:
        await self.wait("check")

    async def delivered(self) -> None:
        await self.wait("delivered")

    async def check_shutdown(self) -> None:
        await self.wait("check_shutdown")


class CheckWaits(WaitsForEver):
    """Passes in the simulation, and waits for ever on localhost."""

    seconds = 0.5
    patience = 0.5

    async def check(self) -> None:
        if self.is_real:
            await Deferred()


class Interrupted(Small):
    """Is interrupted in a Deferred's callback, whose errors nobody looks at."""

    async def workload(self) -> None:
        await self.sleep(1.0)
        await Deferred.fromCoroutine(self.interrupt()).addErrback(lambda _: None)

    async def interrupt(self) -> None:
        signal.raise_signal(signal.SIGINT)


class InterruptedLater(Interrupted):
    """Is interrupted on localhost, in what would never end."""

    seconds = 0.5

    async def interrupt(self) -> None:
        if self.is_real:
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
            while True:
                pass


class HangsLater(LosesOne):
    """Fails with its first seed; what runs with the third never ends, whatever it is asked."""

    async def workload(self) -> None:
        while self.seed == 3:
            pass


class OneSeedBroken(Small):
    """Can't be made with one seed."""

    seconds = 0.5
    quiet = 0.5

    def __init__(self, seed: int = 0, **options: Any) -> None:
        super().__init__(seed, **options)
        if seed == 3:
            raise ValueError("not the third")


class OneSeedDies(Small):
    """With one seed the process ends."""

    seconds = 0.5
    quiet = 0.5

    async def workload(self) -> None:
        if self.seed == 2:
            os._exit(7)


class Outer:
    """Has a scenario inside."""

    class Inner(FailsSoon):
        """Fails, and is named with a dot."""
