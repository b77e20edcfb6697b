"""The public API, used in any order and with any arguments by programs on a bad network, in the simulated internet.

``python -m tests.properties.api --examples 2000 --steps 50`` is the long run; the suite has a short one. Each example
is a sequence of calls and faults that Hypothesis makes up; after each step everything that the documentation promises
is looked at, and at the end all is shut down and nothing may be left. A sequence that breaks a promise is cut down to
the steps that are needed for it, and printed as a program; ``--seed`` runs the same sequences again.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, seed, settings, strategies
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import Deferred

from netlayer import PeerInfo
from netlayer.errors import (
    AlreadyStarted,
    ConfigurationError,
    DeliveryError,
    InvalidPeer,
    JoinRefused,
    ListenError,
    LocalProtocolError,
    NetlayerError,
    NodeStopped,
    NotStarted,
    PacketTooLarge,
    UnknownPeer,
    UnsupportedData,
)
from tests.properties.api_values import ARGUMENTS, CARRIED, GARBAGE, REFUSED, SETTINGS
from tests.properties.api_world import KINDS, Call, Program, World

__all__ = ["PublicApi", "run"]

BEHAVIOURS = [
    *("return", "raise", "raise without words", "exit", "generator", "async", "async raise", "later", "never"),
    *("send back", "tell all", "shutdown", "odd value"),
]
SECONDS = [0.0, 0.001, 0.05, 0.3, 1.0, 3.0, 7.0, 20.0, 61.0]
#: By how many seconds the time of day is set.
AHEAD = [3600.0, -3600.0, 86400.0, -86400.0, 400 * 86400.0, -400 * 86400.0]
MOST_PROGRAMS = 8
BOOTSTRAP_PORT = 8000

some = strategies.integers(0, MOST_PROGRAMS - 1)
#: For what ends a program: if it were as likely as all else, few would live for long.
rarely = strategies.integers(0, 4 * MOST_PROGRAMS - 1)
some_host = strategies.integers(0, 3)


def one_of(names: Any) -> Any:
    """Draw one of some names, the first of which is the simplest."""
    return strategies.sampled_from(list(names))


class PublicApi(RuleBasedStateMachine):
    """Callers who know the names of the verbs, and nothing else."""

    #: What has come about in all examples so far, and is told about each example that ends.
    counts: ClassVar[Counter[str]] = Counter()
    progress: ClassVar[Callable[[], None]] = lambda: None

    def __init__(self) -> None:
        super().__init__()
        self.world: World

    @initialize(
        number=strategies.integers(0, 2**16),
        nodes=one_of([1, 2, 3, 0]),
        kind=one_of(KINDS),
        limits=one_of(SETTINGS),
        behaviour=one_of(BEHAVIOURS),
    )
    def begin(self, number: int, nodes: int, kind: str, limits: str, behaviour: str) -> None:
        """An internet, and maybe a network in it that runs already."""
        self.world = World(number)
        for host in range(nodes + 1 if nodes else 0):
            what, port = ("BootstrapNode", BOOTSTRAP_PORT) if host == 0 else (kind, 8001)
            self.construct(what, host, host + 1, port, limits, False, "bootstrap")
            self.start(host, "start")
            self.rebind(host, behaviour, hooks_fail=False)
            self.send(host, 0, "tuple", "text")
        self.world.internet.advance(2.0)

    # ---- construction

    @rule(
        kind=one_of(KINDS),
        host=some_host,
        node_id=strategies.integers(0, 5),
        port=one_of([8001, 0, BOOTSTRAP_PORT]),
        limits=one_of(SETTINGS),
        ephemeral=strategies.booleans(),
        knows=one_of(["bootstrap", "nobody", "all", "a wrong port", "itself", "peers"]),
    )
    def construct(
        self, kind: str, host: int, node_id: int, port: int, limits: str, ephemeral: bool, knows: str
    ) -> None:
        """Make a node with good arguments, of which some lead nowhere."""
        world, machine = self.world, self.world.hosts[host]
        if len(world.programs) >= MOST_PROGRAMS or not machine.is_running:
            return
        hosts = world.hosts
        bootstraps, peers = {
            "bootstrap": ([(hosts[0].address, BOOTSTRAP_PORT)], []),
            "nobody": ([], []),
            "all": ([(each.name, BOOTSTRAP_PORT) for each in hosts], [f"tcp:{each.address}:8001" for each in hosts]),
            "a wrong port": ([f"tcp:{hosts[0].address}:8001"], []),
            "itself": ([(machine.address, port or 8001)], [(node_id, machine.address, port or 8001)]),
            "peers": ([], [(number, each.address, 8001) for number, each in enumerate(hosts, 1)]),
        }[knows]
        slot = sum(program.host is machine for program in world.programs)
        self._make(
            machine,
            kind,
            node_id=node_id,
            **self._listen(kind, (machine.address, port)),
            bootstraps=bootstraps,
            peers=peers,
            settings=SETTINGS[limits],
            identity=world.identity(machine, slot, ephemeral=ephemeral),
        )

    @rule(kind=one_of(KINDS), host=some_host, argument=one_of(ARGUMENTS))
    def construct_badly(self, kind: str, host: int, argument: str) -> None:
        """One argument that makes no sense."""
        world, machine = self.world, self.world.hosts[host]
        keyword, value = ARGUMENTS[argument]
        is_node = kind.endswith("Node")
        if not machine.is_running or (is_node and keyword in ("listen", "protocol", "store")):
            return
        if keyword == "store" and kind != "BootstrapService":
            return
        options: dict[str, Any] = {"node_id": 1, **self._listen(kind, (machine.address, 8009))}
        if keyword not in ("identity", "data_dir"):  # they may exclude each other
            options["identity"] = world.identity(machine, 9, ephemeral=True)
        try:
            Program(world, machine, kind, **options | {keyword: value()})
        except ConfigurationError as error:
            world.demand(str(error), "{} with {} is told why", kind, argument)
        except Exception as error:
            world.fault("{} with {} fails with {!r}", kind, argument, error)
        else:
            world.fault("{} with {} is made", kind, argument)

    # ---- life

    @rule(which=some, how=one_of(["start", "startService", "privileged"]))
    def start(self, which: int, how: str) -> None:
        """Start a node, whether it was started or not."""
        if (program := self._program(which)) is None:
            return
        world, state = self.world, program.state
        if how == "start":
            expected = {"new": None, "bound": None, "stopping": NodeStopped, "stopped": NodeStopped}
            allowed = (ListenError, JoinRefused, NodeStopped, AlreadyStarted)
            call = self._call("start", program, program.start, allowed)
            self._expect(call, expected.get(state, AlreadyStarted))
            return
        if how == "privileged":
            error, _ = self._tried(program, program.service.privilegedStartService)
            good = error is None or (isinstance(error, ListenError) and state == "new")
            world.demand(good, "{} is bound or the port is taken, not {!r}", program, error)
        if not program.service.running:
            error, _ = self._tried(program, program.service.startService)
            world.demand(error is None, "{} starts without {!r}", program, error)

    @rule(which=rarely, how=one_of(["shutdown", "stopService"]))
    def shut_down(self, which: int, how: str) -> None:
        """Shut a node down, whether it runs or not."""
        if which < MOST_PROGRAMS and (program := self._program(which)) is not None:
            stop = program.stop if how == "shutdown" else program.service.stopService
            self._call("shutdown", program, stop, ())

    @rule(which=some)
    def wait(self, which: int) -> None:
        """Wait until a node has joined its network, and until it has ended."""
        if (program := self._program(which)) is not None:
            node = program.node
            call = self._call("when_joined", program, node.when_joined, (NodeStopped,))
            if program.state in ("stopping", "stopped"):
                self._expect(call, NodeStopped)
            self._call("when_ended", program, program.when_ended, ())

    @rule(which=strategies.integers(0, 30))
    def cancel(self, which: int) -> None:
        """Wait no longer."""
        calls = [call for call in self.world.calls if not call.ends and call.program.lives]
        if calls:
            call = calls[which % len(calls)]
            call.cancelled = True
            self.world.call(call.program, call.deferred.cancel)
            if call.verb == "start":  # which shuts the node down first
                stops = call.program.state in ("stopping", "stopped")
                self.world.demand(stops, "{} shuts the node down when it is cancelled", call)
            else:
                self.world.demand(call.ends, "{} ends when it is cancelled", call)

    # ---- packets

    @rule(which=some, whom=some, form=one_of(["id", "text", "tuple", "PeerInfo", "list"]), data=one_of(CARRIED))
    def send(self, which: int, whom: int, form: str, data: str) -> None:
        """Send something to one of the nodes that there are, maybe to itself."""
        if (program := self._program(which)) is None or (other := self._program(whom)) is None:
            return
        where = (other.node_id, other.host.address, getattr(other.node, "port", 0) or 8001)
        peer = {"id": where[0], "text": str(where[0]), "tuple": where, "PeerInfo": PeerInfo(*where), "list": [*where]}
        self._send(program, peer[form], CARRIED[data](), InvalidPeer if other.node_id == program.node_id else None)

    @rule(which=some, data=one_of(CARRIED), peer=one_of(["an absent id", "nobody there", "a wrong id", "no such name"]))
    def send_astray(self, which: int, data: str, peer: str) -> None:
        """Send something to whom there is not."""
        if (program := self._program(which)) is not None:
            address = self.world.hosts[0].address
            whom, expected = {
                "an absent id": (99, UnknownPeer),
                "nobody there": ((98, address, 1), None),
                "a wrong id": ((97, address, BOOTSTRAP_PORT), None),
                "no such name": ((96, "nowhere.invalid", 8001), None),
            }[peer]
            self._send(program, whom, CARRIED[data](), expected)

    @rule(which=some, data=one_of(CARRIED), peer=one_of(GARBAGE))
    def send_to_garbage(self, which: int, data: str, peer: str) -> None:
        """Send something to what is no peer."""
        if (program := self._program(which)) is not None:
            self._send(program, GARBAGE[peer](), CARRIED[data](), InvalidPeer)

    @rule(which=some, whom=some, data=one_of(REFUSED))
    def send_refused(self, which: int, whom: int, data: str) -> None:
        """Send what can't be carried."""
        if (program := self._program(which)) is None or (other := self._program(whom)) is None:
            return
        value, expected = REFUSED[data]
        peer = (other.node_id, other.host.address, 8001)
        self._send(program, peer, value(), InvalidPeer if other.node_id == program.node_id else expected)

    @rule(which=some, data=one_of([*CARRIED, *REFUSED]))
    def broadcast(self, which: int, data: str) -> None:
        """Send something to all."""
        if (program := self._program(which)) is None:
            return
        value, expected = (CARRIED[data](), None) if data in CARRIED else (REFUSED[data][0](), REFUSED[data][1])
        self.world.sent(program, value) if data in CARRIED else None
        allowed = (NotStarted, NodeStopped, UnsupportedData, PacketTooLarge)
        state = program.state
        call = self._call("broadcast", program, lambda: program.broadcast(value), allowed)
        self._expect(call, self._life_cycle_error(state) or expected)

    @rule(which=some, data=one_of([*CARRIED, *REFUSED]), confirm=strategies.booleans(), count=one_of([1, 30]))
    def send_packet(self, which: int, data: str, confirm: bool, count: int) -> None:
        """Send something on a connection, which may be lost long since, and wait until all is through."""
        if (program := self._program(which)) is None or not program.protocols:
            return
        world, protocol = self.world, program.protocols[-1]
        value = CARRIED[data]() if data in CARRIED else REFUSED[data][0]()
        if data in CARRIED:
            world.sent(program, value)
        for _ in range(count):
            error, answer = self._tried(program, lambda: protocol.send_packet(value, confirm=confirm))
            if error is not None:
                good = isinstance(error, (DeliveryError, LocalProtocolError))
                world.demand(good, "send_packet raises what is documented, not {!r:.300}", error)
                self.world.counts[f"send_packet: {type(error).__name__}"] += 1
            elif confirm:
                world.track("send", program, answer, (DeliveryError,))
            else:
                world.demand(type(answer) is int and answer > 0, "packets have numbers, not {!r}", answer)
            world.demand(error is not None or data in CARRIED, "{} is refused", data)
        self._call("when_drained", program, protocol.when_drained, ())

    @rule(which=some)
    def disconnect(self, which: int) -> None:
        """Say goodbye to a peer, which may be lost long since."""
        if (program := self._program(which)) is not None and program.protocols:
            error, _ = self._tried(program, program.protocols[-1].disconnect)
            self.world.demand(error is None, "disconnect raises nothing, not {!r}", error)

    @rule(which=some, behaviour=one_of(BEHAVIOURS), hooks_fail=strategies.booleans())
    def rebind(self, which: int, behaviour: str, hooks_fail: bool) -> None:
        """Have handlers do something else from now on."""
        if (program := self._program(which)) is None:
            return
        program.behaviour, program.hooks_fail = behaviour, hooks_fail
        if program.kind.endswith("Node"):
            program.node.handle_data = Program.handle.__get__(program, Program)

    # ---- faults

    @rule(host=rarely, silent=strategies.booleans())
    def crash(self, host: int, silent: bool) -> None:
        """Kill a process, or cut its power."""
        machine = self.world.hosts[host % 4]
        if host < MOST_PROGRAMS and machine.is_running:
            self.world.crash(machine, silent=silent)
            self.world.paths_changed()

    @rule(host=rarely, disk=strategies.booleans())
    def restart(self, host: int, disk: bool) -> None:
        """Begin anew on a host, which is down in most cases."""
        machine = self.world.hosts[host % 4]
        if host < MOST_PROGRAMS or not machine.is_running:
            self.world.restart(machine, disk=disk)
            self.world.paths_changed()

    @rule(group=strategies.integers(1, 7))
    def partition(self, group: int) -> None:
        """Split the network."""
        self.world.internet.partition([[host for n, host in enumerate(self.world.hosts) if group >> n & 1]])
        self.world.paths_changed()

    @rule(sender=some_host, receiver=some_host)
    def cut(self, sender: int, receiver: int) -> None:
        """Cut one direction of a path."""
        if sender != receiver:
            self.world.internet.cut(self.world.hosts[sender], self.world.hosts[receiver])
            self.world.paths_changed()

    @rule()
    def heal(self) -> None:
        """Mend all paths."""
        self.world.internet.heal()
        self.world.paths_changed()

    @rule(host=some_host, seconds=one_of(AHEAD))
    def set_wall_clock(self, host: int, seconds: float) -> None:
        """Set the time of day on a host."""
        self.world.hosts[host].jump_wall_clock(seconds)

    @rule(seconds=one_of(SECONDS))
    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.world.internet.advance(seconds)

    # ---- what is true all the time, and in the end

    @invariant()
    def as_documented(self) -> None:
        """Nothing was noted, and every node tells what makes sense."""
        if hasattr(self, "world"):
            self.world.check()

    def teardown(self) -> None:
        """Shut everything down; nothing is left."""
        if not hasattr(self, "world"):
            return
        world = self.world
        try:
            if not world.faults:  # else the run has failed already
                self._end()
                world.check()
        finally:
            world.close()
            PublicApi.counts += world.counts
            PublicApi.progress()

    def _end(self) -> None:
        world, internet = self.world, self.world.internet
        living = [program for program in world.programs if program.lives]
        for program in living[::2]:
            self._call("shutdown", program, program.stop, ())
        internet.shutdown(timeout=60.0)
        world.check()
        for program in living:
            name, factory = program, program.service.factory
            if program.state != "new":
                world.demand(program.state == "stopped", "{} is shut down, not {}", name, program.state)
                world.demand(len(factory.remotes) == 0, "{} remembers no peer", name)
            world.demand(not factory._connections and not factory._attempts, "{} has no connection", name)
            load = (factory.load.queued, factory.load.reassembling)
            world.demand(load == (0, 0), "{} has nothing in its queues: {}", name, load)
        open_calls = [
            call
            for call in world.calls
            if not call.ends and call.program in living and not (call.program.state == "new" and "when" in call.verb)
        ]
        world.demand(not open_calls, "all Deferreds have fired: {}", open_calls)
        world.demand(internet.leftovers() == [], "nothing is left: {}", internet.leftovers())
        for handler in world.unfinished:
            handler.callback(None)
        for program in living:
            running = program.service.factory.load.handlers - program.asleep
            world.demand(running == 0, "{} has no handlers any more, but for those that slept when it ended", program)
        gc.collect()  # what nobody has heard of is logged by now

    # ---- private

    def _program(self, which: int) -> Program | None:
        living = [program for program in self.world.programs if program.lives]
        return living[which % len(living)] if living else None

    def _make(self, host: Any, kind: str, /, **options: Any) -> None:
        self.world.programs.append(Program(self.world, host, kind, **options))
        self.world.counts[f"constructed: {kind}"] += 1

    @staticmethod
    def _listen(kind: str, where: tuple[str, int]) -> dict[str, Any]:
        return {"host": where[0], "port": where[1]} if kind.endswith("Node") else {"listen": where}

    def _send(self, program: Program, peer: Any, data: Any, expected: type[Exception] | None) -> None:
        if expected is None or expected is UnknownPeer:
            self.world.sent(program, data)
        state = program.state
        call = self._call("send", program, lambda: program.send(peer, data), (DeliveryError, NotStarted))
        too_large = call.ends and isinstance(getattr(call.result, "value", None), PacketTooLarge)
        if not (expected is UnknownPeer and too_large):
            self._expect(call, self._life_cycle_error(state) or expected)

    def _call(
        self, verb: str, program: Program, function: Callable[[], Any], allowed: tuple[type[BaseException], ...]
    ) -> Call:
        """Call what returns a Deferred, and never raises."""
        error, answer = self._tried(program, function)
        good = error is None and isinstance(answer, Deferred)
        self.world.demand(good, "{} of {} returns a Deferred, not {!r}", verb, program, error or answer)
        return self.world.track(verb, program, answer if good else Deferred(), allowed)

    def _tried(self, program: Program, function: Callable[[], Any]) -> tuple[BaseException | None, Any]:
        """Return what a function raises in the process of a program, or returns."""
        try:
            return None, self.world.call(program, function)
        except BaseException as error:
            return error, None

    def _expect(self, call: Call, expected: type[BaseException] | None) -> None:
        """Demand that a call has failed at once in one way."""
        if expected is not None:
            found = call.result.value if call.ends and hasattr(call.result, "value") else call.result
            good = call.ends and isinstance(found, expected)
            self.world.demand(good, "{} fails at once with {}, not {!r:.300}", call, expected.__name__, found)

    @staticmethod
    def _life_cycle_error(state: str) -> type[NetlayerError] | None:
        return {"new": NotStarted, "bound": NotStarted, "stopping": NodeStopped, "stopped": NodeStopped}.get(state)  # type: ignore[return-value]


def run(
    *, examples: int, steps: int, number: int, shrink: bool = False, progress: Callable[[], None] = lambda: None
) -> Counter[str]:
    """Run so many examples, and return what has come about in them.

    :param steps: of each example at most.
    :param number: the seed of all chance.
    :param shrink: whether a sequence that breaks a promise is cut down before it is printed, which may take minutes.
    :raises Fault: when a promise is broken.
    """
    PublicApi.counts = Counter()
    PublicApi.progress = staticmethod(progress)  # type: ignore[assignment]
    seed(number)(PublicApi)
    run_state_machine_as_test(
        PublicApi,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, *([Phase.shrink] if shrink else [])],
            report_multiple_bugs=False,
        ),
    )
    return PublicApi.counts


def main() -> int:
    """Run what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.properties.api", description=__doc__)
    parser.add_argument("--examples", type=int, default=2000, help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=50, help="of each example at most (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="by default another one for each run")
    parser.add_argument("--no-shrink", action="store_true", help="print the first sequence that breaks a promise")
    options = parser.parse_args()
    number = options.seed if options.seed is not None else time.time_ns() % 2**32
    began, ended = time.monotonic(), [0]

    def progress() -> None:
        ended[0] += 1
        if ended[0] % 20 == 0:
            text = f"\r{ended[0]} sequences in {time.monotonic() - began:.0f} s, seed {number} "
            print(text, end="", file=sys.stderr, flush=True)

    try:
        counts = run(
            examples=options.examples,
            steps=options.steps,
            number=number,
            shrink=not options.no_shrink,
            progress=progress,
        )
    except BaseException:
        command = f"python -m tests.properties.api --examples {options.examples} --steps {options.steps}"
        print(f"\nagain: {command} --seed {number}", file=sys.stderr, flush=True)
        raise
    print(f"\n{ended[0]} sequences of up to {options.steps} steps, seed {number}, nothing found", file=sys.stderr)
    for what, count in sorted(counts.items()):
        print(f"{count:8} {what}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
