"""What the rules about the public API work with: programs on simulated hosts, their calls, and what must be true.

A program is one node, held in one of the four ways; a call is a Deferred that it has returned. Whatever the
documentation does not allow is noted as a fault, and the first one ends the run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import attrs
from attrs.exceptions import FrozenInstanceError
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from twisted.python.failure import Failure

from netlayer import (
    BootstrapNode,
    BootstrapService,
    BroadcastReport,
    DataPacket,
    Node,
    NodeStatus,
    PeerInfo,
    PeerProtocol,
    PeerService,
    Settings,
)
from netlayer.errors import DeliveryError
from netlayer.sansio.delivery.load import PACKET_OVERHEAD
from netlayer.testing import SeededIdentity, SimulatedHost, SimulatedInternet

__all__ = ["KINDS", "Call", "Fault", "PlannedExit", "PlannedFailure", "Program", "World"]

KINDS: dict[str, Any] = {
    "Node": Node,
    "BootstrapNode": BootstrapNode,
    "PeerService": PeerService,
    "BootstrapService": BootstrapService,
}
STATES = ("new", "bound", "starting", "running", "stopping", "stopped")
#: Seconds that a peer may be listed after its process has ended, besides ``dead_after``: a late timer, and a goodbye.
LISTED_AFTER = 3.0


class Fault(AssertionError):
    """Something is not as documented."""


class PlannedFailure(Exception):
    """A handler or a hook was asked to fail."""


class PlannedExit(SystemExit):
    """A handler was asked to end the process, which it can't."""


class Wordless(PlannedFailure):
    """A failure that can't tell what it is."""

    def __str__(self) -> str:
        raise ValueError("no words")


@attrs.define(eq=False)
class Call:
    """A Deferred that a program has returned.

    :ivar allowed: what it may fail with.
    :ivar over: fires when it has ended, whatever came of it.
    """

    verb: str
    program: Program
    deferred: Deferred[Any]
    allowed: tuple[type[BaseException], ...]
    began: float
    ends: bool = False
    cancelled: bool = False
    result: Any = None
    over: Deferred[None] = attrs.field(factory=Deferred)

    def __repr__(self) -> str:
        return f"<{self.verb} of {self.program} at {self.began:g} s>"


class Talker(PeerProtocol):
    """The connection of a program that is a service."""

    def peer_ready(self) -> Any:
        """Note that there is such a connection."""
        program: Program = self.factory.application
        program.protocols = [*program.protocols[-9:], self]
        return program.hook()

    def packet_received(self, packet: DataPacket) -> Any:
        """Handle a packet."""
        return self.factory.application.handle(packet)

    def peer_lost(self, reason: Any) -> Any:
        """Fail, if that is asked for."""
        return self.factory.application.hook()


class Program:
    """One node, and the application on top of it.

    :ivar behaviour: what its handlers do.
    :ivar gone: when its node or its process ended, or None.
    """

    def __init__(self, world: World, host: SimulatedHost, kind: str, /, **options: Any) -> None:
        self.world = world
        self.host = host
        self.reactor = host.reactor
        self.kind = kind
        self.behaviour = "return"
        self.hooks_fail = False
        self.gone: float | None = None
        self.asleep = 0  # of its handlers; those whose process has ended stay so
        self.crashed = False
        self.protocols: list[PeerProtocol] = []
        is_node = kind.endswith("Node")
        if not is_node:
            options = {"protocol": Talker} | options
        options = {"reactor": host.reactor, "rng": host.rng} | options
        reactor = options.pop("reactor")
        self.node: Any = KINDS[kind](reactor=reactor, **options) if is_node else KINDS[kind](reactor, **options)
        self.service: PeerService = self.node._service if is_node else self.node
        if is_node:
            self.node.handle_data = self.handle
            self.node.peer_joined = self.node.peer_left = lambda *_: self.hook()
        else:
            self.service.factory.application = self
        self.node_id = self.service.factory.node_id
        _ = self.service.when_stopped().addCallback(lambda _: self.ended())

    def __repr__(self) -> str:
        return f"<{self.kind} {self.node_id} on {self.host.name}>"

    @property
    def lives(self) -> bool:
        """Whether its process was not killed."""
        return self.reactor.alive

    @property
    def settings(self) -> Settings:
        """Those of its node."""
        return self.service.factory.settings

    @property
    def state(self) -> str:
        """The one that its status tells."""
        return self.node.status.state

    def ended(self) -> None:
        """Its node has stopped, or its process was killed."""
        if self.gone is None:
            self.gone = self.world.internet.now

    # ---- the application

    def hook(self) -> None:
        """Fail, if hooks are to fail."""
        if self.hooks_fail:
            raise PlannedFailure("a hook, as planned")

    def handle(self, packet: DataPacket) -> Any:
        """Handle a packet as planned."""
        self.world.counts["handled"] += 1
        self.world.received(self, packet)
        match self.behaviour:
            case "raise":
                raise PlannedFailure("as planned")
            case "raise without words":
                raise Wordless
            case "exit":
                raise PlannedExit(3)
            case "generator":
                return (number for number in (1, 2))
            case "async":
                return self._coroutine(packet, fails=False)
            case "async raise":
                return self._coroutine(packet, fails=True)
            case "later":
                return self._later(0.4)
            case "never":
                self.world.unfinished.append(Deferred())
                return self.world.unfinished[-1]
            case "send back" if packet.data != "sent back":
                return self.answer(packet.sender_id)
            case "tell all" if packet.data != "sent back":
                return self.world.track("broadcast", self, self.broadcast("sent back"), (DeliveryError,)).over
            case "shutdown":
                return self.world.track("shutdown", self, self.stop(), ()).over
            case "odd value":
                return object()
        return None

    async def _coroutine(self, packet: DataPacket, *, fails: bool) -> None:
        await self._later(0.2)
        if packet.data != "sent back":
            await self.answer(packet.sender_id)
        if fails:
            raise PlannedFailure("as planned, later")

    def _later(self, seconds: float) -> Deferred[None]:
        over: Deferred[None] = Deferred()
        self.asleep += 1
        self.world.internet.call_later(seconds, self.reactor.turn, b"handler", self._wake, over)
        return over

    def _wake(self, over: Deferred[None]) -> None:
        self.asleep -= 1
        over.callback(None)

    def answer(self, peer: Any) -> Deferred[Any]:
        """Send something from a handler, which fails if that does."""
        call = self.world.track("send", self, self.send(peer, "sent back"), (DeliveryError,))

        def over(_: None) -> None:
            if isinstance(call.result, Failure):
                raise PlannedFailure("the answer was not handled")

        return call.over.addCallback(over)

    # ---- verbs, as each kind calls them

    def start(self) -> Deferred[NodeStatus]:
        """Start."""
        if self.kind == "BootstrapNode":
            started: Deferred[NodeStatus] = self.node.start_bootstrap_node()
            return started
        return self.node.start_node() if self.kind == "Node" else self.service.start()

    def stop(self) -> Deferred[None]:
        """Shut down."""
        return self.node.shutdown() if self.kind.endswith("Node") else self.service.stop()

    def send(self, peer: Any, data: Any) -> Deferred[None]:
        """Send a packet."""
        return self.node.send_data(peer, data) if self.kind.endswith("Node") else self.service.send(peer, data)

    def broadcast(self, data: Any) -> Deferred[BroadcastReport]:
        """Send a packet to all."""
        return self.node.broadcast_data(data) if self.kind.endswith("Node") else self.service.broadcast(data)

    def when_ended(self) -> Deferred[None]:
        """Wait for the shutdown."""
        return self.node.wait() if self.kind.endswith("Node") else self.service.when_stopped()


class World:
    """The internet, its programs, and everything that was noted about them.

    :ivar counts: how often what came about.
    """

    def __init__(self, seed: int) -> None:
        self.internet = SimulatedInternet(seed)
        self.hosts = self.internet.add_hosts(4)
        self.programs: list[Program] = []
        self._departed: list[Program] = []  # their processes have ended
        self.calls: list[Call] = []
        self.unfinished: list[Deferred[None]] = []
        self.faults: list[str] = []
        self.counts: Counter[str] = Counter()
        self._sent: dict[int, set[str]] = {}
        self._apart: dict[tuple[int, int], float] = {}
        self._lost_disks: Counter[str] = Counter()
        globalLogPublisher.addObserver(self._logged)

    def close(self) -> None:
        """Hear no more of the log."""
        globalLogPublisher.removeObserver(self._logged)

    def fault(self, text: str, *values: Any) -> None:
        """Note that something is wrong."""
        self.faults.append(f"at {self.internet.now:.3f} s: {text.format(*values)}")

    def demand(self, holds: object, text: str, *values: Any) -> None:
        """Note a fault unless something holds."""
        if not holds:
            self.fault(text, *values)

    # ---- programs

    def identity(self, host: SimulatedHost, slot: int, *, ephemeral: bool) -> SeededIdentity:
        """Return who a program is: the same after a restart of its host, if it lasts and the disk was not lost."""
        name = f"{host.name} {slot} {self._lost_disks[host.name]} {host.reactor.seconds() if ephemeral else ''}"
        return SeededIdentity(name, seed=self.internet.seed, ephemeral=ephemeral)

    def call(self, program: Program, function: Callable[[], Any]) -> Any:
        """Call something in the process of a program, in a turn of its own; return or raise what it does."""
        outcome: list[Any] = []

        def run() -> None:
            try:
                outcome.append(function())
            except BaseException as error:
                outcome.append(Failure(error))

        self.internet.call_later(0.0, program.reactor.turn, b"call", run)
        self.internet.advance(0.0)
        if isinstance(outcome[0], Failure):
            raise outcome[0].value
        return outcome[0]

    def track(
        self, verb: str, program: Program, deferred: Deferred[Any], allowed: tuple[type[BaseException], ...]
    ) -> Call:
        """Watch a Deferred."""
        call = Call(verb, program, deferred, allowed, self.internet.now)
        self.calls.append(call)

        def ended(result: Any) -> None:
            self.demand(not call.ends, "{} fires once", call)
            call.ends, call.result = True, result
            self._judge(call)
            call.over.callback(None)

        _ = deferred.addBoth(ended)
        return call

    def crash(self, host: SimulatedHost, *, silent: bool) -> None:
        """Kill the process of a host, or take its power."""
        host.crash(silent=silent)
        for program in self.programs:
            if program.host is host and not program.lives:
                program.crashed = True
                program.ended()

    def restart(self, host: SimulatedHost, *, disk: bool) -> None:
        """Begin a new process."""
        if host.is_running:
            self.crash(host, silent=False)
        self._lost_disks[host.name] += not disk
        host.restart(disk=disk)
        self._departed += [program for program in self.programs if not program.lives]
        self.programs = [program for program in self.programs if program.lives]

    def paths_changed(self) -> None:
        """Note since when hosts can't be reached."""
        for source in self.hosts:
            for target in self.hosts:
                pair = source.number, target.number
                if source is target or self.internet.reachable(source, target):
                    self._apart.pop(pair, None)
                else:
                    self._apart.setdefault(pair, self.internet.now)

    # ---- packets

    def sent(self, program: Program, data: Any) -> None:
        """Note that somebody sends something."""
        self._sent.setdefault(program.node_id, set()).add(_exactly(data))

    def received(self, program: Program, packet: DataPacket) -> None:
        """Somebody has something: an equal value of the same type, from who has sent it."""
        known = self._sent.get(packet.sender_id, set()) | {_exactly("sent back")}
        self.demand(_exactly(packet.data) in known, "{} has received what was sent: {!r:.200}", program, packet)

    # ---- what must be true

    def _judge(self, call: Call) -> None:
        result = call.result
        if isinstance(result, Failure):
            error = result.value
            self.counts[f"{call.verb}: {type(error).__name__}"] += 1
            if call.cancelled and isinstance(error, CancelledError):
                return
            self.demand(isinstance(error, call.allowed), "{} fails with what is documented, not {!r:.500}", call, error)
            try:
                str(error)
            except Exception as broken:
                self.fault("{} has an error that can't be told: {!r}", call, broken)
            return
        self.counts[f"{call.verb}: done"] += 1
        if call.verb == "start":
            self.demand(isinstance(result, NodeStatus), "{} has a status, not {!r}", call, result)
        elif call.verb == "broadcast":
            good = isinstance(result, BroadcastReport) and all(
                isinstance(error, DeliveryError) or (call.cancelled and isinstance(error, CancelledError))
                for error in result.failed.values()
            )
            self.demand(good, "{} has a report of delivery errors, not {!r:.500}", call, result)
            for error in result.failed.values() if good else ():
                self.counts[f"broadcast to one: {type(error).__name__}"] += 1
        elif result is not None:
            self.fault("{} gives {!r}", call, result)

    def check(self) -> None:
        """Judge everything that has to be true between any two steps."""
        for program in self.programs:
            if program.lives:
                self._check_status(program)
                self._check_queues(program)
        self._check_calls()
        if self.faults:
            raise Fault("; ".join(self.faults[:3]))

    def _check_calls(self) -> None:
        now, waiting = self.internet.now, []
        for call in self.calls:
            if call.ends or not call.program.lives:
                continue
            waiting.append(call)
            settings = call.program.settings
            attempts = 2 * (settings.timeout + settings.backoff_late_cap) * (1 + settings.retry_count) + 5.0
            limits = {
                "send": settings.delivery_timeout,
                "broadcast": settings.delivery_timeout,
                "shutdown": settings.shutdown_timeout,
                "start": attempts,
            }
            late = now - call.began - limits.get(call.verb, float("inf"))
            self.demand(late <= 0.01, "{} is over in time, not {:.3f} s late", call, late)
        self.calls = waiting

    def _check_queues(self, program: Program) -> None:
        factory, settings = program.service.factory, program.settings
        most = settings.queue_limit + settings.max_packet + PACKET_OVERHEAD
        for remote in factory.remotes:
            queued = remote.delivery.queued
            self.demand(0 <= queued <= most, "{} queues no more than it may: {} of {} B", program, queued, most)
        together = sum(remote.delivery.queued for remote in factory.remotes)
        self.demand(0 <= factory.load.queued <= together, "{} counts what it queues", program)
        self.demand(
            0 <= factory.load.reassembling <= settings.reassembly_limit, "{} holds no more parts than it may", program
        )
        others = [link for link in factory.link_drivers() if not factory.observer.is_configured(link)]
        self.demand(len(others) <= settings.max_connections, "{} has no more links than it may", program)

    def _check_status(self, program: Program) -> None:
        status, demand = program.node.status, self.demand
        demand(isinstance(status, NodeStatus), "the status of {} is one", program)
        for value in (status, *status.bootstraps, *status.wanted, *status.links):
            for field in attrs.fields(type(value)):
                name = f"{type(value).__name__}.{field.name}"
                self._check_field(program, name, field.type, getattr(value, field.name))
            try:
                value.state = "other"  # type: ignore[misc, union-attr]
            except FrozenInstanceError:
                continue
            self.fault("the status of {} can be changed", program)
        demand(
            status.state in ("new", "bound", "starting", "running", "stopping", "stopped"), "{} has a state", program
        )
        demand(not (status.joined and not any(link.bootstrap for link in status.links)), "{} has joined", program)
        if status.state in ("new", "stopped"):
            none = status.listening is None and not status.links and not status.joined
            demand(none, "{} does nothing while it is {}: {}", program, status.state, status)
        for wanted in (*status.bootstraps, *status.wanted):
            states = ("linked", "mistaken", "dialing", "waiting", "stopped")
            demand(wanted.state in states, "{} dials: {}", program, wanted)
            demand((wanted.state == "waiting") == (wanted.next_attempt_in is not None), "{} dials: {}", program, wanted)
        keys = [link.fingerprint for link in status.links]
        ids = [link.peer.node_id for link in status.links]
        demand(len({*keys}) == len(keys) and len({*ids}) == len(ids), "{} has one link to each peer", program)
        demand(program.node_id not in ids and status.fingerprint not in keys, "{} has no link to itself", program)
        for link in status.links:
            self._check_listed(program, link.fingerprint, link.peer)
        self._check_peers(program, status)

    def _check_field(self, program: Program, name: str, kind: Any, value: Any) -> None:
        if type(value) in (int, float):
            self.demand(value >= 0, "{} tells {} = {!r}", program, name, value)
        expected = kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))
        allowed = [each.strip().partition("[")[0] for each in expected.split("|")]
        good = type(value).__name__ in allowed or (value is None and "None" in allowed)
        self.demand(good, "{} tells {} of type {}, not {!r}", program, name, expected, value)

    def _check_peers(self, program: Program, status: NodeStatus) -> None:
        peers = program.node.get_peers()
        good = isinstance(peers, list) and all(isinstance(peer, PeerInfo) for peer in peers)
        self.demand(good, "{} lists peers, not {!r}", program, peers)
        self.demand(len({peer.node_id for peer in peers}) == len(peers), "{} lists each once: {}", program, peers)
        if not program.kind.startswith("Bootstrap"):
            linked = [link.peer for link in status.links if not link.bootstrap]
            self.demand(peers == linked, "{} lists who is linked, {}, not {}", program, linked, peers)

    def _check_listed(self, program: Program, fingerprint: str, peer: PeerInfo) -> None:
        """Judge a link: its other end has lived, and was in reach, until shortly."""
        limit = program.settings.dead_after + LISTED_AFTER
        since = 0.0
        for other in (*self.programs, *self._departed):
            if f"sha256:{other.service.factory.identity.fingerprint.hex()}" != fingerprint:
                continue
            apart = self._apart.get((other.host.number, program.host.number))
            until = min(each for each in (other.gone, apart, float("inf")) if each is not None)
            since = max(since, until)
        silent = self.internet.now - since
        self.demand(silent <= limit, "{} lists nobody that is gone: {} since {:.2f} s", program, peer, silent)

    def _logged(self, event: dict[str, Any]) -> None:
        failure = event.get("log_failure")
        if failure is None:
            if event.get("log_level") is LogLevel.critical:
                self.fault("the log has {}", formatEvent(event))
            return
        self.counts["logged: failure"] += 1
        yields = isinstance(failure.value, TypeError) and "a handler with yield" in str(failure.value)
        if not yields and not isinstance(failure.value, (PlannedFailure, PlannedExit)):
            self.fault("the log has {}:\n{}", formatEvent(event), failure.getTraceback()[-3000:])


def _exactly(data: Any) -> str:
    text = repr(data)
    return text if len(text) <= 100 else f"{text[:50]} {hash(text)}"
