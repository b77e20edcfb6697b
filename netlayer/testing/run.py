"""Running a scenario, and what came of it."""

from __future__ import annotations

import gc
import itertools
import os
import time
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from netlayer.testing.errors import SimulationError, SimulationTimeout
from netlayer.testing.internet import SimulatedInternet
from netlayer.testing.interrupts import interrupts_noted
from netlayer.testing.localhost import LocalInternet, refuse_on_localhost
from netlayer.testing.mistakes import made
from netlayer.testing.replay import replay_command
from netlayer.testing.timeline import Timeline

if TYPE_CHECKING:
    from netlayer.testing.scenario import Scenario

__all__ = ["Failed", "Outcome", "attempt", "run_on_localhost", "simulate"]

#: Seconds that all nodes together may take to shut down: each its ten, and the close of its connections.
_SHUTDOWN = 30.0
#: How many errors of a run are told.
_MOST_TOLD = 10
#: How many lines of the way to where an error was raised are told.
_FRAMES = 4
_NO_COMMAND = "No command replays it, as none finds the class: it has to be at the top of a file, or in a class there."


@attrs.frozen(kw_only=True)
class Failed:
    """Why a run has failed.

    :ivar phase: ``constructor``, ``start``, ``workload``, ``invariant``, ``peace``, ``check``, ``shutdown``, ``log``,
        or ``run`` for what has escaped from everything.
    :ivar error: the name of the error's class.
    :ivar text: what it says, and where it was raised.
    :ivar at: seconds from the beginning.
    """

    phase: str
    error: str
    text: str
    at: float

    def __str__(self) -> str:
        return f"{self.phase}, after {self.at:.3f} s: {self.text}"


@attrs.frozen(kw_only=True)
class Outcome:
    """What came of a run.

    :ivar name: the scenario's.
    :ivar faults: the faults that happened, each in words, with its number.
    :ivar command: what replays it; empty where no command can.
    :ivar failures: why it has failed, first things first; empty if it has not.
    :ivar trace_hash: see :attr:`SimulatedInternet.trace_hash`; empty on localhost.
    :ivar events: how many there were; see ``SimulatedInternet.events``.
    :ivar seconds: how long it took, in virtual seconds.
    :ivar took: how long it took, in seconds of CPU time.
    :ivar settled_after: seconds of peace until it had settled, or None if it never did.
    :ivar delivered: what :meth:`Scenario.delivered` has returned.
    """

    name: str
    seed: int
    faults: tuple[str, ...]
    command: str
    failures: tuple[Failed, ...]
    trace_hash: str
    events: int
    seconds: float
    took: float
    settled_after: float | None
    delivered: Any = None

    @property
    def failure(self) -> Failed | None:
        """Why it has failed, or None."""
        return self.failures[0] if self.failures else None

    def story(self) -> str:
        """Tell it in some lines: the seed, what failed, the timeline, and the command that replays it."""
        lines = [f"{self.name} with seed {self.seed} {'failed' if self.failures else 'passed'}"]
        lines += [f"  {failed}" for failed in self.failures]
        lines += ["  The timeline:" if self.faults else "  Nothing went wrong by itself: there were no faults."]
        lines += [f"    {fault}" for fault in self.faults]
        if self.trace_hash:
            lines += [f"  {self.events:,} events in {self.seconds:.3f} s, trace hash {self.trace_hash}"]
        lines += ["  Replay it:", f"    {self.command}"] if self.command else [f"  {_NO_COMMAND}"]
        return "\n".join(lines)


def simulate(scenario: Scenario) -> Outcome:
    """Run a scenario in the simulation.

    :raises KeyboardInterrupt: after Ctrl-C.
    """
    with interrupts_noted() as look:
        return _run(scenario, SimulatedInternet(scenario.seed, **scenario.network), look)


def attempt(
    kind: type[Scenario], seed: int, *, without: Sequence[int] = (), only_hosts: Sequence[str] | None = None
) -> Outcome:
    """Make a run of a scenario and simulate it; one that can't be made has failed, as others may pass.

    :raises KeyboardInterrupt: after Ctrl-C.
    """
    try:
        scenario = made(kind, seed, without=without, only_hosts=only_hosts)
    except SimulationError as error:
        cause = error.__cause__ or error
        return Outcome(
            name=kind.__name__,
            seed=seed,
            faults=(),
            command=replay_command(kind, seed, without=without, only_hosts=only_hosts),
            failures=(Failed(phase="constructor", error=type(cause).__name__, text=str(error), at=0.0),),
            trace_hash="",
            events=0,
            seconds=0.0,
            took=0.0,
            settled_after=None,
        )
    return simulate(scenario)


def run_on_localhost(scenario: Scenario) -> Outcome:
    """Run a scenario on sockets of this machine, with real keys, in real time.

    A crash takes the timers and sockets of a process away, and resets its connections, silent or not; a reset is told
    to both ends.

    :raises SimulationError: when it can't run there; see :func:`~netlayer.testing.localhost.refuse_on_localhost`.
    :raises KeyboardInterrupt: after Ctrl-C.
    """
    refuse_on_localhost(scenario)
    scenario.is_real = True
    internet = LocalInternet(scenario.seed)
    with interrupts_noted(internet.interrupt) as look:
        return _run(scenario, internet, look)


#: What so many runs have left behind is collected together: it is hidden from the collections of the runs themselves,
#: and looking through all that lives takes as long as a short run.
RUNS_KEPT = 32
_runs = itertools.count(1)


def _run(scenario: Scenario, internet: SimulatedInternet | LocalInternet, look: Callable[[], None]) -> Outcome:
    for name in scenario.host_names:
        internet.add_host(name)
    run = Run(scenario, internet, look)
    frozen = hasattr(gc, "freeze")  # what there was before need not be looked at again by gc.collect()
    if frozen:
        gc.freeze()
    try:
        run.run()
    finally:
        if frozen:
            gc.unfreeze()
            if next(_runs) % RUNS_KEPT == 0:
                gc.collect()
    look()
    return run.outcome()


class Run:
    """One run of a scenario.

    :param internet: where it runs; its hosts are there, and nothing runs on them.
    :param interrupts: called often; raises KeyboardInterrupt after Ctrl-C.
    """

    def __init__(self, scenario: Scenario, internet: Any, interrupts: Callable[[], None]) -> None:
        scenario.internet = internet
        self._scenario = scenario
        self._internet = internet
        self._interrupts = interrupts
        self._began = time.process_time()
        self._failures: list[Failed] = []
        self._over = False
        self._moment = -1.0
        self._calls = 0  # at this moment
        self._settled_after: float | None = None
        self._delivered: Any = None
        self._invariant = _overridden(scenario, "invariant")

    def run(self) -> None:
        """Let time pass until it is over."""
        errors = _Errors(self._logged)
        globalLogPublisher.addObserver(errors)
        try:
            _ = self._internet.begin(self._begin)
            self._internet.run_until(self.after_event, timeout=float("inf"))
        except SimulationTimeout:
            self._fail("run", Failure(SimulationError("nothing is left that could happen")))
        except KeyboardInterrupt:
            raise
        except BaseException:  # whatever it is, sys.exit() too, it has escaped from one run of many
            self._fail("run", Failure())
        finally:
            gc.collect()  # errors of Deferreds that nobody has handled are logged now
            globalLogPublisher.removeObserver(errors)

    def after_event(self) -> bool:
        """Look at the invariants; tell whether the run is over."""
        self._interrupts()
        if self._over:
            return True
        if self._invariant is not None:
            try:
                self._invariant()
            except KeyboardInterrupt:
                raise
            except BaseException:
                self._fail("invariant", Failure())
                return True
        internet, most = self._internet, self._scenario.most_events
        if internet.now != self._moment:
            self._moment, self._calls = internet.now, 0
        self._calls += 1
        if internet.events > most:
            return self._stuck(f"more than {most:,} events: it has got stuck, or most_events is too small")
        if self._calls > most:
            return self._stuck(f"more than {most:,} calls at one moment: it has got stuck, or most_events is too small")
        return False

    def outcome(self) -> Outcome:
        """Return what came of it."""
        scenario, internet = self._scenario, self._internet
        return Outcome(
            name=type(scenario).__name__,
            seed=scenario.seed,
            faults=tuple(f"{number:4} {fault}" for number, fault in scenario.faults.items()),
            command=scenario.command(),
            failures=tuple(self._failures),
            trace_hash=internet.trace_hash,
            events=internet.events,
            seconds=internet.now,
            took=time.process_time() - self._began,
            settled_after=self._settled_after,
            delivered=self._delivered,
        )

    # ---- private

    def _begin(self) -> Deferred[None]:
        def failed(failure: Failure) -> None:
            if failure.check(_Over) is None:
                self._fail("run", failure)

        def over(_: None) -> None:
            self._over = True

        return Deferred.fromCoroutine(self._run()).addErrback(failed).addCallback(over)

    async def _run(self) -> None:
        scenario, internet = self._scenario, self._internet
        timeline = Timeline(internet)
        timeline.play(scenario.faults.values())
        await self._phase("start", self._start)
        working = maybeDeferred(lambda: Deferred.fromCoroutine(scenario.workload())).addErrback(self._workload_failed)
        begins = scenario.peace_begins
        await internet.sleep(begins)
        while not timeline.is_over:  # the last one ends at this very moment, or a little late in real time
            await internet.sleep(0.001)
        latest = begins + scenario.peace
        while True:
            settled = await self._ask("peace", scenario.settled)
            if settled and working.called:
                break
            if internet.now >= latest:
                what = "it has not settled" if not settled else "the workload has not ended"
                self._fail("peace", Failure(SimulationTimeout(f"{what} after {scenario.peace:g} s of peace")))
                raise _Over
            await internet.sleep(0.05)
        self._settled_after = internet.now - begins
        await self._ask("check", scenario.check)
        self._delivered = await self._ask("check", scenario.delivered)
        await self._phase("shutdown", self._shut_down)
        await self._ask("shutdown", scenario.check_shutdown)

    async def _phase(self, phase: str, function: Callable[[], Any]) -> Any:
        try:
            return await maybeDeferred(_awaited, function)
        except (Exception, SystemExit):
            self._fail(phase, Failure())
            raise _Over from None

    async def _ask(self, phase: str, function: Callable[[], Any]) -> Any:
        return await self._phase(phase, lambda: self._in_time(function))

    def _in_time(self, function: Callable[[], Any]) -> Deferred[Any]:
        """Call a function of the scenario; its result comes within the scenario's patience, or an error does."""
        answer, patience = maybeDeferred(_awaited, function), self._scenario.patience
        if answer.called:
            return answer
        in_time: Deferred[Any] = Deferred()

        def late() -> None:
            if not in_time.called:
                text = f"{function.__name__}() has not come to an end within {patience:g} s"
                in_time.errback(SimulationTimeout(text))

        def come(result: Any) -> None:
            if not in_time.called:
                in_time.callback(result)

        self._internet.call_later(patience, late)
        _ = answer.addBoth(come)
        return in_time

    def _workload_failed(self, failure: Failure) -> None:
        self._fail("workload", failure)
        self._over = True

    def _stuck(self, text: str) -> bool:
        self._fail("run", Failure(SimulationError(text)))
        return True

    def _start(self) -> None:
        for host in self._scenario.all_hosts:
            host.run(self._scenario.program(host.name))

    async def _shut_down(self) -> None:
        internet = self._internet
        ended = {host.name: host.shutdown() for host in internet.hosts if host.is_running}
        latest = internet.now + _SHUTDOWN
        while any(not each.called for each in ended.values()):
            if internet.now >= latest:
                late = ", ".join(name for name, each in ended.items() if not each.called)
                raise SimulationTimeout(f"{late} not shut down after {_SHUTDOWN:g} s")
            await internet.sleep(0.05)
        left = [*internet.leftovers(), *(repr(connection) for connection in internet.connections)]
        if left:
            more = f" and {len(left) - _MOST_TOLD} more" if len(left) > _MOST_TOLD else ""
            raise AssertionError(f"left after the shutdown: {'; '.join(left[:_MOST_TOLD])}{more}")

    def _logged(self, event: LogEvent) -> None:
        """An error that was logged fails the run, unless it was expected."""
        failure = event.get("log_failure")
        if failure is None or failure.check(*self._scenario.expected_errors) is None:
            self._fail("log", failure, formatEvent(event))

    def _fail(self, phase: str, failure: Failure | None, text: str = "") -> None:
        if len(self._failures) >= _MOST_TOLD:
            return
        error = failure.type.__name__ if failure is not None and failure.type is not None else "error"
        if failure is not None:
            text = f"{text + ': ' if text else ''}{error}: {failure.value}{_where(failure)}"
        self._failures.append(Failed(phase=phase, error=error, text=text, at=self._internet.now))


@implementer(ILogObserver)
class _Errors:
    """Picks the errors out of what is logged."""

    def __init__(self, tell: Callable[[LogEvent], None]) -> None:
        self._tell = tell

    def __call__(self, event: LogEvent) -> None:
        announces = "isError" in event and "log_failure" not in event  # the error itself follows
        if event.get("log_failure") is not None or (event.get("log_level") is LogLevel.critical and not announces):
            self._tell(event)


class _Over(Exception):
    """The run has failed, and that has been told."""


async def _awaited(function: Callable[[], Any]) -> Any:
    """Call a function, which may be ``async`` or return a Deferred."""
    result = function()
    return await result if hasattr(result, "__await__") else result


def _overridden(scenario: Scenario, name: str) -> Callable[[], object] | None:
    """Return a method of a scenario if it is not the one that does nothing."""
    own = getattr(type(scenario), name)
    base = next(kind for kind in reversed(type(scenario).__mro__) if name in vars(kind))
    return getattr(scenario, name) if own is not vars(base)[name] else None


def _where(failure: Failure) -> str:
    """Return in which line an error was raised, and from where that was called, as far as it is known."""
    frames = traceback.extract_tb(failure.getTracebackObject())[-_FRAMES:]
    places = [f"\n      in {f.name}, {os.path.relpath(f.filename)}:{f.lineno}" for f in reversed(frames)]
    return "".join(places)
