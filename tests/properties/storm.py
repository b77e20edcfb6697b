"""The storm: 5 to 20 real nodes, their traffic, every fault at random, and what has to be true all the time and after.

Play many seeds of it, or one with its story::

    python -m netlayer.testing tests.properties.storm:Storm --seeds 1-1000 --jobs 2
    STORY=1 python -m netlayer.testing tests.properties.storm:Storm --seed 7
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from netlayer import PeerProtocol
from netlayer.config import Settings
from netlayer.errors import DeliveryTimeout, Rejected, RemoteProtocolError
from netlayer.net.dialing import Dialer, DialerState
from netlayer.net.driver import Driver
from netlayer.testing import Scenario
from netlayer.testing.faults import (
    BlackHole,
    ClockJump,
    Crash,
    Fault,
    OneWayCut,
    Partition,
    RefusedAccepts,
    Reset,
    SlowLink,
    SlowReader,
    Stall,
)
from netlayer.testing.transport import SimulatedTransport
from netlayer.wire.messages import RejectCode
from tests.properties.application import Life, PlannedFailure
from tests.properties.faults import CutWithin, Disconnect, Stop
from tests.properties.ledger import Ledger, Plan, Sent

__all__ = ["Broken", "Storm"]

KIB = 1024

#: Seconds from the last fault until everybody has to be linked to everybody: what the product promises.
HEALED = 30.0
#: Seconds from then until every outcome has to be known: the slowest handlers take 30, and a session lives 60.
SETTLED = 120.0
#: The same where two processes of one host were killed: each packet that both had in hand goes alone to the next one,
#: for as long as its handler takes, and there may be so many.
ALONE = 60
#: Seconds between two looks at the invariants.
TICK = 2.0
#: How long faults last: shorter than a round trip, than a silence, than a session, and longer.
DURATIONS = (0.0, 0.02, 0.3, 1.0, 3.0, 8.0, 20.0, 70.0)
#: How likely each kind of fault is.
KINDS: dict[type[Fault], int] = {
    Crash: 18,
    Stop: 8,
    Stall: 7,
    Partition: 8,
    OneWayCut: 8,
    SlowLink: 4,
    SlowReader: 4,
    ClockJump: 3,
    RefusedAccepts: 3,
    Reset: 14,
    BlackHole: 8,
    CutWithin: 16,
    Disconnect: 3,
}


class Broken(AssertionError):
    """What was promised was not kept."""


class Storm(Scenario):
    """A network whose size, settings, traffic and faults come from the seed.

    :ivar ledger: what is known of its packets.
    """

    quiet = 0.0
    expected_errors = (PlannedFailure,)

    def __init__(self, seed: int = 0, **options: Any) -> None:
        rng = random.Random(f"{seed} network")
        self.bootstraps = rng.choice((1, 1, 2, 2, 3))
        size = rng.choice(
            ((5, 8), (5, 8), (5, 8), (9, 13), (14, 20))
        )  # the time that a run takes grows with the square
        self.nodes = rng.randint(*size) - self.bootstraps
        self.seconds = rng.choice((8.0, 8.0, 20.0, 20.0, 40.0, 90.0))
        self.network = {
            "bandwidth": rng.choice((None, None, 200_000.0, 2_000_000.0)),
            "window": rng.choice((16, 64, 256)) * KIB,
            "fragmentation": rng.choice((0.05, 0.5)),
            "coalescing": rng.choice((0.05, 0.3)),
        }
        self._slowest = rng.choice((1.0, 6.0, 6.0, 30.0))  # handler of this run
        self._options: dict[str, dict[str, Any]] = {}
        self._rng = rng
        super().__init__(seed, **options)
        self.peace = HEALED + self._extra()
        self.patience = self._settled() + 60.0
        self.ledger = Ledger(lambda: self.internet.now, aloud="STORY" in os.environ)
        self.lives: dict[str, Life] = {}
        self._identities: set[bytes] = set()
        self._heard: dict[
            Driver, tuple[float, int]
        ] = {}  # of each link: when its count of bytes was new, and the count
        self._outages: dict[Dialer, float] = {}  # when a dialer was seen to be linked last, or was seen first
        self._next_tick = TICK
        self._next_look = 0.0

    # ---- what runs

    def programs(self) -> Any:
        """Return what runs where, each host with its own settings."""
        programs, rng = super().programs(), self._rng
        settings = [self._some_settings() for _ in range(3)]
        for name in programs:
            kind = rng.choice(("service", "service", "node")) if name.startswith("node") else "bootstrap"
            self._options[name] = {
                "kind": kind,
                "settings": rng.choice(settings),
                "ephemeral": rng.random() < 0.25,
            }
        return programs

    def node(self, host: Any) -> Any:
        """Return what runs on a host. One that has lost its disk comes back as another node."""
        lost = host.disk.setdefault("disks", host._disks)
        options = self._options[host.name]
        life = Life(
            host,
            self.ledger,
            node_id=host.number + 100 * lost,
            has_predecessor=host.identity(ephemeral=options["ephemeral"]).fingerprint in self._identities,
            bootstraps=[(other.name, 8000) for other in self.bootstrap_hosts if other is not host],
            slack=self._slack,
            slow=self._slow,
            calm=self._calm,
            **options,
        )
        self._identities.add(life.fingerprint)
        self.lives[host.name] = life
        self.ledger.tell(life, "starts")
        return life.program

    def bootstrap(self, host: Any) -> Any:
        """Return the bootstrap node of a host."""
        return self.node(host)

    def _some_settings(self) -> Settings:
        rng = self._rng
        if rng.random() < 0.3:
            return Settings()
        return Settings(
            window=rng.choice((64, 64, 256, 4096)) * KIB,
            queue_limit=rng.choice((64, 256, 8192)) * KIB,
            buffer_size=rng.choice((1, 4, 64)) * KIB,
            max_packet=256 * KIB,
            receipt_delay=rng.choice((0.0, 0.005, 0.2)),
            receipt_bytes=rng.choice((1, 4 * KIB, 256 * KIB)),
            session_timeout=rng.choice((12.0, 60.0)),
            delivery_timeout=rng.choice((3.0, 10.0)),
        )

    # ---- what goes wrong

    def timeline(self, rng: random.Random) -> Iterable[Fault]:
        """Return the faults: single ones and bursts, many of them on the same few hosts, as trouble comes together."""
        hosts, end = self.host_names, self.seconds
        few = rng.sample(hosts, 3)
        bursts = [rng.uniform(0.0, end) for _ in range(3)]
        for _ in range(rng.choice((0, 2, 4, 8, 16, 30))):
            at = rng.choice((rng.uniform(0.0, end), rng.choice(bursts) + rng.uniform(0.0, 1.0)))
            at = round(min(at, end - 0.01), 3)
            kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
            lasting = 0.0 if kind.lasts == (0.0, 0.0) else rng.choice(DURATIONS) * rng.uniform(0.5, 1.5)
            lasting = min(lasting, end - at)
            pool = few if rng.random() < 0.5 else hosts
            fixed = self._fixed(kind, rng)
            fault = kind.draw(rng, pool, between=(0.0, end), seconds=(lasting, lasting), at=at, **fixed)
            if isinstance(fault, Crash) and not fault.disk and fault.host.startswith("bootstrap"):
                continue  # running nodes remember its key, and would never trust another one at its address
            yield fault

    @staticmethod
    def _fixed(kind: type[Fault], rng: random.Random) -> dict[str, Any]:
        if kind is Crash:
            return {"disk": rng.random() < 0.8}
        if kind is ClockJump:  # back by little, as timers wait until the clock has come to them again
            return {"by": rng.choice((-5.0, -0.5, 0.5, 3.0, 12.0, 100.0, 3600.0))}
        if kind is SlowLink:
            return {"latency": rng.choice((0.2, 0.8, 1.6, 2.6))}
        return {}

    def _slow(self, one: str, other: str, since: float) -> float:
        """Return for how long one of two hosts has read slowly since a moment: what is on its way comes late then."""
        slow = [fault for fault in self.faults.values() if isinstance(fault, SlowReader) and fault.at <= self.now]
        return sum(
            max(0.0, min(self.now, fault.at + fault.seconds) - max(fault.at, since))
            for fault in slow
            if {one, other} & set(fault.hosts)
        )

    def _slack(self, host: str, since: float) -> float:
        """Return how late the timers of a host may be because of what was done to it since a moment."""
        late = 0.0
        for fault in self.faults.values():
            if fault.at <= self.now and host in fault.hosts:
                if isinstance(fault, Stall):
                    late += max(0.0, fault.at + fault.seconds - max(fault.at, since))
                elif isinstance(fault, ClockJump) and fault.at >= since - 1e-3:
                    late += abs(fault.by)
        return late

    def _calm(self) -> bool:
        """Tell whether every PING has been answered in time so far."""
        quick = self.network["bandwidth"] != 200_000.0  # there, a large packet takes as long as a probe waits
        return quick and not any(fault.at <= self.now for fault in self.faults.values())

    def _extra(self) -> float:
        """Return how many seconds later everything may be: clocks were set back, and stops take their time."""
        back = sum(max(0.0, -fault.by) for fault in self.faults.values() if isinstance(fault, ClockJump))
        return back + (10.0 if any(isinstance(fault, Stop) for fault in self.faults.values()) else 0.0)

    def _settled(self) -> float:
        """Return the seconds within which every outcome has to be known."""
        killed = Counter(host for fault in self.faults.values() if isinstance(fault, Crash) for host in fault.hosts)
        alone = ALONE * self._slowest if max(killed.values(), default=0) > 1 else 0.0
        return SETTLED + alone + self._extra()

    # ---- what is done

    async def workload(self) -> None:
        """Send, evenly and in bursts."""
        rng, end = self.rng, self.seconds
        bursts = [rng.uniform(0.0, end) for _ in range(4)]
        count = rng.choice((20, 60, 150, 300))
        times = [
            min(end, rng.choice((rng.uniform(0.0, end), rng.choice(bursts) + rng.uniform(0.0, 0.2))))
            for _ in range(count)
        ]
        for time in sorted(times):
            await self.sleep(max(0.0, time - self.now))
            life = rng.choice(list(self.lives.values()))
            if life.lives and life.service._state in ("starting", "running"):
                life.reactor.turn(b"send", self._send_something, life)

    def _send_something(self, life: Life) -> None:
        rng = self.rng
        if not life.lives:  # it was stalled meanwhile
            return
        kinds = {"id": 6, "confirmed": 4, "plain": 8, "burst": 2, "former": 1, "broadcast": 2, "large": 2}
        kind = rng.choices(list(kinds), list(kinds.values()))[0]
        protocols = list(life.members.values())
        match kind:
            case "broadcast":
                life.broadcast(self._some_plan(), self._some_data())
            case "former" if life.former:
                former = rng.choice(list(life.former.values()))
                life.send_on(former, self._some_plan(), self._some_data(), confirm=rng.random() < 0.3)
            case "burst" if protocols:
                self._burst(life, rng.choice(protocols))
            case "large" if protocols:
                data = self._some_data(size=rng.choice((20, 60, 200, 300)) * KIB)
                life.send_on(rng.choice(protocols), self._some_plan(), data, confirm=rng.random() < 0.5)
            case "confirmed" | "plain" if protocols:
                confirm = kind == "confirmed"
                life.send_on(rng.choice(protocols), self._some_plan(), self._some_data(), confirm=confirm)
            case _:
                self._send_by_id(life)

    def _send_by_id(self, life: Life) -> None:
        rng = self.rng
        target = rng.choice([other for other in self.all_hosts if other is not life.host])
        node_id = self.lives[target.name].node_id
        port = 8000 if self.is_bootstrap(target.name) else 8001
        peer = rng.choice((node_id, node_id, (node_id, target.address, port), (str(node_id), target.name, port)))
        _ = life.send(peer, node_id, self._some_plan(), self._some_data())

    def _burst(self, life: Life, protocol: PeerProtocol) -> None:
        """Send many at once: some of them may find the queue full."""
        rng = self.rng
        size, plan = rng.choice((0, 100, 3000, 12_000)), self._some_plan()
        for _ in range(rng.choice((5, 20, 40))):
            life.send_on(protocol, plan, self._some_data(size), confirm=rng.random() < 0.1)

    def _some_plan(self) -> Plan:
        rng = self.rng
        return Plan(
            delay=rng.choice((None, None, None, 0.001, 0.02, 0.3, 2.0, rng.uniform(0.0, self._slowest))),
            fails=rng.random() < 0.2,
            reply=rng.choice((None, None, None, "confirmed", "plain")),
            is_coroutine=rng.random() < 0.3,
        )

    def _some_data(self, size: int | None = None) -> Callable[[int], Any]:
        rng = self.rng
        padding = size if size is not None else rng.choice((0, 0, 20, 300, 2000, 9000))
        kind = rng.randrange(4) if size is None else rng.randrange(2)
        if kind == 0:
            return lambda number: b"%d " % number + bytes(padding)
        if kind == 1:
            return lambda number: f"{number} " + "x" * padding
        if kind == 2:
            return lambda number: [number, None, 1.5, "x" * padding]
        return lambda number: {"number": number, "padding": "x" * padding}

    # ---- what is true all the time

    def invariant(self) -> None:
        """Stop at the first fault that the ledger has found, and look at the nodes now and then."""
        now = self.internet.now
        if now >= self._next_tick:
            self._next_tick = now + TICK
            for life in list(self.lives.values()):
                if life.lives and not life.reactor.stalled:
                    self._look_at(life, now)
        if self.ledger.faults:
            raise Broken("; ".join(self.ledger.faults[:3]))

    def _look_at(self, life: Life, now: float) -> None:
        demand, links = self.ledger.demand, life.service.factory.link_drivers()
        keys = {link.fingerprint for link in links}
        demand(len(keys) == len(links), "{} has one link to each peer", life)
        demand(life.fingerprint not in keys, "{} has no link to itself", life)
        configured = life.service.factory.observer.is_configured
        demand(
            sum(not configured(link) for link in links) <= life.settings.max_connections,
            "{} has no more links than it may",
            life,
        )
        ids = {link.introduction.node_id for link in links}
        demand(len(ids) == len(links), "{} has one link to each id", life)
        for link in links:
            received = link.connection.bytes_received
            since, seen = self._heard.get(link, (now, -1))
            if received != seen:
                self._heard[link] = (now, received)
                continue
            limit = life.settings.dead_after + 1.0 + TICK
            if now - since > limit + self._slack(life.host.name, since - TICK):
                demand(False, "{} lists nobody that is gone: {}, silent since {:.2f} s", life, link.peer, since)
        everybody = list(life.service._membership.wanted)
        for wanted in everybody:
            self._outages.setdefault(wanted.dialer, now)
        if life.service._state != "running":
            return
        for wanted in everybody:
            dialer, state = wanted.dialer, wanted.dialer.state
            error = dialer.last_error
            if isinstance(error, RemoteProtocolError) or (
                isinstance(error, Rejected) and error.code == RejectCode.PROTOCOL_VIOLATION
            ):
                demand(False, "nobody violates the protocol towards {}: {}", life, error)
            outage = self._outages[dialer]
            if state is DialerState.LINKED:
                self._outages[dialer] = now
                has_it = wanted.fingerprint in keys or wanted.node_id in ids
                demand(has_it, "{} dials {} unless it is linked", life, wanted.who)
                demand(dialer.attempts == 0, "{} counts attempts to {} anew when it is linked", life, wanted.who)
            elif state is DialerState.WAITING:
                demand(dialer._timer is not None and dialer._timer.active(), "{} will dial {}", life, wanted.who)
                wait, settings = (dialer.next_attempt or 0.0) - life.clock, life.settings
                slack = self._slack(life.host.name, outage - TICK)  # it may have begun right after the last look
                early = now - outage + slack < settings.backoff_late - TICK
                cap = settings.backoff_cap if not dialer.breaks else settings.backoff_late_cap  # it began before a link
                longest = cap * (2 if dialer.connects else 1)  # each end waits on its own then
                if early and wait > longest + slack and not isinstance(error, Rejected):
                    demand(False, "{} does not wait {:.2f} s for {} early in an outage", life, wait, wanted.who)
            else:
                busy = dialer._attempt is not None and not dialer._attempt.called
                demand(state is DialerState.DIALING and busy, "{} dials {} or will: {}", life, wanted.who, state)

    def _hears(self, link: Driver) -> bool:
        """Tell whether what the other end of a link says would come, or may still."""
        transport = transport_of(link)
        other = transport._peer
        if transport.deaf or not other._reactor.alive or other._reactor.stalled or not other.connected:
            return bool(transport.host.reads_per_second)
        return bool(self.internet.reachable(other.host, transport.host))

    # ---- what is true in the end

    def settled(self) -> bool:
        """Tell whether everybody is linked to everybody."""
        if self.now < self._next_look:
            return False
        self._next_look = self.now + 0.25
        wrong = self._unhealed()
        if wrong and self.now > self.peace_begins + self.peace - 0.3:
            raise Broken(f"everybody is linked to everybody within {self.peace:g} s: {wrong}")
        return not wrong

    async def check(self) -> None:
        """Wait until nothing is under way, judge everything, and see that everybody still reaches everybody."""
        await self._until_nothing_is_under_way(self._settled())
        self.ledger.close()
        wrong = await self._last_round()
        if any(isinstance(packet.error, DeliveryTimeout) for packet in wrong):
            # A path was mended whose kernels had waited ever longer between their retransmissions.
            await self.internet.sleep(max(life.settings.dead_after for life in self.lives.values()))
            wrong = await self._last_round()
        self.ledger.demand(not wrong, "everybody reaches everybody in the end: {}", wrong)

    async def _last_round(self) -> list[Sent]:
        """Have everybody send to all others; return the packets that were not handled."""
        before = set(self.ledger.packets)
        for life in self.lives.values():
            life.reactor.turn(b"send", life.broadcast, Plan(), lambda number: f"{number} last round")
        await self._until_nothing_is_under_way(15.0)
        sent = [packet for key, packet in self.ledger.packets.items() if key not in before]
        return [packet for packet in sent if packet.kind == "broadcast" and packet.error is not None]

    def check_shutdown(self) -> None:
        """Every Deferred has fired."""
        self.ledger.demand(not self.ledger.running, "all handlers have finished: {}", self.ledger.running)
        waiting = [packet for packet in self.ledger.waiting if packet.sender.stopping]
        self.ledger.demand(not waiting, "all Deferreds have fired: {}", waiting)

    async def _until_nothing_is_under_way(self, limit: float) -> None:
        began = self.now
        while wrong := self._under_way():
            if self.now - began > limit:
                raise Broken(f"nothing is under way after {limit:g} s: {wrong}")
            await self.sleep(0.5)

    def _unhealed(self) -> str:
        """Return what is not well yet."""
        lives = [self.lives[host.name] for host in self.all_hosts]
        down = [life for life in lives if not life.lives]
        if down:
            return f"{down} do not run"
        members = {life.node_id for life in lives if life.kind != "bootstrap"}
        everybody = {life.node_id for life in lives}
        ends: dict[Any, int] = {}
        for life in lives:
            listed = {peer.node_id for peer in life.service.get_peers()}
            wanted = (everybody if life.kind == "bootstrap" else members) - {life.node_id}
            if listed != wanted:
                return f"{life} lists {sorted(listed)} instead of {sorted(wanted)}"
            for link in life.service.factory.link_drivers():
                if not self._hears(link):
                    return f"{life} is linked to {link.peer}, of whom it hears nothing"
                connection = transport_of(link).connection
                ends[connection] = ends.get(connection, 0) + 1
        pairs = len(lives) * (len(lives) - 1) // 2
        if len(ends) != pairs or any(count != 2 for count in ends.values()):
            return f"{len(ends)} connections are links, {pairs} are needed; {set(ends.values())} ends agree"
        spare = [connection for connection in self.internet.connections if connection not in ends]
        return f"connections that nobody needs: {spare}" if spare else ""

    def _under_way(self) -> str:
        """Return what is under way."""
        if opened := self.ledger.open_packets():
            return f"{len(opened)} packets, such as {opened[0]}, sent at {opened[0].time:.4f} s, {opened[0].handled}"
        for life in self.lives.values():
            load = life.service.factory.load
            if (load.queued, load.handlers, load.reassembling) != (0, 0, 0):
                return f"{life} has {load.queued} B in queues, {load.handlers} handlers, {load.reassembling} B of parts"
        return ""


def transport_of(link: Driver) -> SimulatedTransport:
    """Return the simulated transport at the bottom of a connection."""
    transport = link.transport
    while not isinstance(transport, SimulatedTransport):
        transport = transport.transport
    return transport
