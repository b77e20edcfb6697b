"""Whether nodes hold for hours: real processes that send without end, through a fault every few seconds.

``python -m tests.integration.soak --minutes 60`` starts a bootstrap node and 20 nodes on 127.0.0.1, with the default
settings and a secret. Each node sends 100 packets a second in bursts to random linked peers, half of them with a
receipt that somebody waits for. Every 10 s something happens to one of them:

- ``kill``: SIGKILL, and a new process a moment later; ``leave``: SIGTERM, and a new process when the old one has gone;
- ``freeze``: SIGSTOP, and SIGCONT before or after it is declared dead;
- ``reset``: one connection, or all of a node, broken by RST; ``fin``: the same by a FIN that TLS did not announce;
- ``bootstrap``: the bootstrap node is killed and started again.

Nodes with even ids are never ended, and the bootstrap node only while all warms up, so that they show what grows. Each
process measures itself 60 times: memory, files, threads and objects of each of our types. In the end the traffic stops,
all outcomes come to be known, and three questions are answered: whether each packet was handled exactly once or
reported to its sender, whether what was measured stays flat (see :mod:`tests.integration.faults.flatness` for the
rule), and whether everybody is linked to everybody again. The exit code is 1 if not, and journals and logs are kept.
"""

from __future__ import annotations

import argparse
import atexit
import random
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater, react

from tests.integration.faults.flatness import growth, typical
from tests.integration.faults.ledger import Life
from tests.integration.faults.members import MemberNode
from tests.integration.faults.tally import Sums, TallyReader, judge
from tests.integration.processes import free_ports

__all__ = ["Soak"]

HOST, BOOTSTRAP = "127.0.0.1", 1
#: Seconds that it may take until all is known and linked when the traffic has stopped: a session and a few dials.
PATIENCE = 120.0
#: Objects whose figures are printed even if their number has not changed.
SHOWN = {"Connection", "Deferred", "DelayedCall", "OutgoingPacket", "Remote", "Session", "TLSMemoryBIOProtocol"}
FAULTS = ("kill", "leave", "freeze", "reset", "fin", "bootstrap")


class Soak:
    """A bootstrap node and other nodes, in processes.

    :ivar faults: how often each fault was made.
    """

    def __init__(self, reactor: Any, *, seed: int, nodes: int) -> None:
        self._reactor = reactor
        self._rng = random.Random(seed)
        self._directory = Path(tempfile.mkdtemp(prefix="netlayer-soak-"))
        atexit.register(self._remove_directory)
        self._tallies: dict[Life, TallyReader] = {}
        self._busy: set[int] = set()  # nodes to which something is happening
        self._under_way: list[Deferred[Any]] = []
        self._warm = 0  # the samples of the warm-up
        self.faults: Counter[str] = Counter()
        ports = free_ports(nodes + 1)
        self._nodes = {
            n: MemberNode(
                n,
                self._directory,
                program="tests.integration.faults.soaked",
                bootstrap=n == BOOTSTRAP,
                listen=[HOST, ports[n - 1]],
                advertise=None,
                bootstraps=[] if n == BOOTSTRAP else [[HOST, ports[0]]],
                network_secret="the secret of a long run",
                settings={},
            )
            for n in range(1, nodes + 2)
        }

    async def start(self) -> None:
        """Start all nodes, and wait until everybody is linked."""
        for n in self._nodes:
            await self._start(n)
        await self._until(lambda: not self._missing(), lambda: "; ".join(self._missing()))

    async def soak(
        self,
        *,
        seconds: float,
        every: float,
        freeze: float,
        samples: int = 60,
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Have all nodes send, make faults and measure; then wait until all outcomes are known.

        :param every: seconds between two faults.
        :param freeze: the longest time that a node stands still.
        :param samples: how often each process measures itself.
        """
        self._warm = samples // 6
        began = self._reactor.seconds()
        for n in self._nodes:
            self._send(n)
        next_fault, sample = began + every, 0
        while sample < samples:
            due = min(next_fault, began + seconds * (sample + 1) / samples)
            await deferLater(self._reactor, max(0.0, due - self._reactor.seconds()))
            if due == next_fault:
                next_fault += every
                self._make_fault(freeze, warm=sample >= self._warm)
            else:
                sample += 1
                self._measure(sample)
                progress(self._progress(self._reactor.seconds() - began))
        await DeferredList(self._under_way, fireOnOneErrback=True, consumeErrors=True)
        for node in self._nodes.values():
            node.tell("quiet")
            node.ask("drain")
        await self._until(lambda: not self._open_ends(), lambda: "; ".join(self._open_ends()))

    def sums(self) -> Sums:
        """Return what became of the packets."""
        journals = {life: entries for node in self._nodes.values() for life, entries in node.journals.items()}
        return judge(self._tallies, journals, alive={node.life for node in self._nodes.values()})

    def measured(self) -> dict[int, list[dict[str, int]]]:
        """Return what those processes have measured that were there from the end of the warm-up on, by their nodes."""
        found = {}
        for n, node in self._nodes.items():
            samples = [entry.details for entry in node.journal.read() if entry.what == "measured"]
            if samples and samples[0][0] <= self._warm + 1:
                found[n] = [{}] * (samples[0][0] - 1) + [sample for _, sample in samples]
        return found

    def tracebacks(self) -> list[str]:
        """Return the logs and the error outputs in which there is a traceback."""
        paths = [*self._directory.glob("*.log"), *self._directory.glob("*.err")]
        return [str(path) for path in paths if "Traceback" in path.read_text()]

    async def close(self, *, keep: bool = False) -> None:
        """End everything.

        :param keep: whether to leave journals and logs behind.
        """
        for node in self._nodes.values():
            node.close()
        atexit.unregister(self._remove_directory)
        if keep:
            print(f"journals and logs are in {self._directory}", file=sys.stderr)
        else:
            self._remove_directory()

    # ---- private: the nodes

    async def _start(self, n: int) -> None:
        node = self._nodes[n]
        node.start()
        await self._until(node.started, lambda: f"node {n} does not listen")
        self._tallies[node.life] = TallyReader(self._directory / f"node-{n}-life-{len(node.lives)}.tally")

    def _send(self, n: int) -> None:
        if n != BOOTSTRAP:
            self._nodes[n].tell("soak", seed=self._rng.getrandbits(32))

    def _measure(self, number: int) -> None:
        for n, node in self._nodes.items():
            if n not in self._busy:
                node.check()
                node.tell("measure", number=number)

    def _missing(self) -> list[str]:
        """Return which links there are not. Everybody is linked to the bootstrap node, too."""
        return [
            f"{n} is not linked to {sorted(away)}"
            for n, node in self._nodes.items()
            if (away := set(self._nodes) - {n} - node.linked())
        ]

    def _open_ends(self) -> list[str]:
        busy = [f"{n} waits for outcomes" for n, node in self._nodes.items() if not node.answer("drained")]
        return busy + self._missing()

    def _progress(self, seconds: float) -> str:
        sent = sum(sum(tally.sent().values()) for tally in self._tallies.values())
        handled = sum(tally.handled() for tally in self._tallies.values())
        memory = [samples[-1]["memory"] // 1024 for samples in self.measured().values()]
        faults = ", ".join(f"{count} {kind}" for kind, count in sorted(self.faults.items()))
        text = f"{seconds / 60:5.1f} min: {sent:,} sent, {handled:,} handled; faults: {faults or 'none yet'}"
        return text + (f"; memory {min(memory)} to {max(memory)} MiB" if memory else "")

    # ---- private: faults

    def _make_fault(self, freeze: float, *, warm: bool) -> None:
        kind = self._rng.choice(FAULTS)
        if kind == "bootstrap":
            if warm:
                kind = self._rng.choice(("reset", "freeze"))
            chosen = [BOOTSTRAP]
        else:
            chosen = [n for n in self._nodes if n != BOOTSTRAP and (n % 2 or kind not in ("kill", "leave"))]
        chosen = [n for n in chosen if n not in self._busy]
        if not chosen:
            return
        n = self._rng.choice(chosen)
        self.faults[kind] += 1
        match kind:
            case "freeze":
                making = self._freeze(n, self._rng.uniform(freeze / 20, freeze))
            case "reset" | "fin":
                share, seed = self._rng.choice((0.0, 1.0)), self._rng.getrandbits(32)
                self._nodes[n].tell("cut", share=share, seed=seed, reset=kind == "reset")
                return
            case _:
                making = self._restart(n, politely=kind == "leave")
        self._under_way = [each for each in self._under_way if not each.called or each.result is not None]
        self._under_way.append(Deferred.fromCoroutine(making))

    async def _freeze(self, n: int, seconds: float) -> None:
        self._busy.add(n)
        self._nodes[n].freeze()
        await deferLater(self._reactor, seconds)
        self._nodes[n].thaw()
        self._busy.discard(n)

    async def _restart(self, n: int, *, politely: bool) -> None:
        node = self._nodes[n]
        self._busy.add(n)
        if politely:
            node.terminate()
            await self._until(lambda: node.ended, lambda: f"node {n} does not end")
        node.kill()
        await deferLater(self._reactor, self._rng.uniform(0.0, 1.0))
        await self._start(n)
        self._busy.discard(n)
        self._send(n)

    # ---- private

    def _remove_directory(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)

    async def _until(self, condition: Callable[[], Any], why_not: Callable[[], str]) -> None:
        ends = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > ends:
                raise AssertionError(f"after {PATIENCE:g} s: {why_not()}")
            await deferLater(self._reactor, 0.1)


def figures(measured: dict[int, list[dict[str, int]]]) -> str:
    """Return what was typical in the second and in the last sixth: the medians of all processes that lived.

    Of the objects those that the most depends on, and those that have changed.
    """
    if not measured:
        return "  none"
    lines = []
    pairs = [typical(samples) for samples in measured.values()]
    objects = {name for each in pairs for name in each} - {"memory", "files", "threads"}
    for name in ("memory", "files", "threads", *sorted(objects)):
        found = [each.get(name, (0.0, 0.0)) for each in pairs]
        early, late = (median(pair[part] for pair in found) for part in (0, 1))
        worst = max(late - early for early, late in found)
        if worst > 0 or name not in objects or name in SHOWN:
            lines.append(f"  {name}{' (KiB)' if name == 'memory' else ''}: {early:g}, {late:g}; at worst {worst:+g}")
    return "\n".join(lines)


async def run(reactor: Any, options: argparse.Namespace) -> None:
    """Run it and print the figures."""
    soak = Soak(reactor, seed=options.seed, nodes=options.nodes)
    began, faults = time.monotonic(), ["it did not come to its end"]
    try:
        await soak.start()
        print(f"all linked after {time.monotonic() - began:.1f} s", flush=True)
        seconds = 60 * options.minutes
        await soak.soak(seconds=seconds, every=options.every, freeze=options.freeze, progress=print_now)
        sums, measured = soak.sums(), soak.measured()
        grown = [
            f"node {n}: {text}" for n, samples in measured.items() for text in growth(samples, peers=options.nodes)
        ]
        faults = [*sums.faults, *grown, *[f"a traceback in {path}" for path in soak.tracebacks()]]
        print(f"packets: {sums}")
        print(
            f"{len(measured)} processes lived on after the warm-up; what was typical in the second and the last sixth:"
        )
        print(figures(measured))
    finally:
        await soak.close(keep=bool(faults))
    used = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    print(f"processor: {used:.0f} s, {used / (time.monotonic() - began):.2f} of a core")
    print(f"faults: {len(faults)}")
    for fault in faults[:40]:
        print(fault)
    if faults:
        raise SystemExit(1)


def print_now(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.integration.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--nodes", type=int, default=20, help="besides the bootstrap node")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two faults")
    parser.add_argument("--freeze", type=float, default=25.0, help="seconds that a node stands still at most")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    react(lambda reactor: Deferred.fromCoroutine(run(reactor, options)))


if __name__ == "__main__":
    main()
