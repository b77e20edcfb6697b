"""What becomes of packets between processes whose connections are cut at any byte, and which are killed at any moment.

``python -m tests.integration.broken_links --rounds 60`` is the long run; the suite has a short one. In each round all
nodes send to each other for a while, every connection leads through a proxy that cuts it again and again, some
processes are killed with SIGKILL and started again, and others stand still for a while. Then there is peace, until the
outcome of every packet is known, and the ledger judges.
"""

from __future__ import annotations

import argparse
import atexit
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater, react

from tests.integration.faults.ledger import Verdict, judge
from tests.integration.faults.members import MemberNode
from tests.integration.faults.proxy import FaultProxy

__all__ = ["BrokenLinks", "Figures"]

HOST = "127.0.0.1"

#: Dead connections are noticed soon, and sessions outlive any chain of cuts.
SETTINGS = {
    "timeout": 2.0,
    "delivery_timeout": 20.0,
    "session_timeout": 20.0,
    "ping_after": 0.4,
    "dead_after": 1.5,
    "probe_timeout": 0.4,
    "backoff_first": 0.02,
    "backoff_cap": 0.3,
    "backoff_late_cap": 0.5,
    "retry_count": 100,
    "lease_grace": 2.0,
    "lease_renewal": 1.0,
}


@attrs.frozen
class Figures:
    """What a run has measured.

    :ivar settled: seconds of peace until all outcomes were known and all nodes linked, for each round.
    """

    verdict: Verdict
    cuts: Counter[str]
    kills: int
    settled: list[float]

    def __str__(self) -> str:
        settled = sorted(self.settled)
        return (
            f"{self.verdict}\n"
            f"errors: {', '.join(f'{n} {kind}' for kind, n in self.verdict.errors.items())}\n"
            f"cuts: {', '.join(f'{n} {kind}' for kind, n in self.cuts.items())}; kills: {self.kills}\n"
            f"all known after: median {settled[len(settled) // 2]:.2f} s, worst {settled[-1]:.2f} s\n"
            f"faults: {len(self.verdict.faults)}"
        )


class BrokenLinks:
    """A bootstrap node, of id 1, and other nodes, each behind a proxy.

    :param reactor: where the proxies run; the nodes are processes of their own.
    :param ephemeral: whether a process that is started again has a new key, as without a data directory.
    """

    def __init__(self, reactor: Any, *, seed: int, nodes: int, ephemeral: bool = False) -> None:
        self._reactor = reactor
        self._rng = random.Random(seed)
        self._directory = Path(tempfile.mkdtemp(prefix="netlayer-broken-links-"))
        atexit.register(self._remove_directory)
        self._proxies = {n: FaultProxy(reactor, self._rng) for n in range(1, nodes + 2)}
        self._nodes: dict[int, MemberNode] = {}
        self._ephemeral = ephemeral
        self._kills = 0
        self._settled: list[float] = []

    async def start(self) -> None:
        """Start all nodes, and wait until everybody is linked."""
        for proxy in self._proxies.values():
            await proxy.listen()
        for n, proxy in self._proxies.items():
            self._nodes[n] = MemberNode(
                n,
                self._directory,
                bootstrap=n == 1,
                ephemeral=self._ephemeral,
                listen=[HOST, 0],
                advertise=[HOST, proxy.port],
                bootstraps=[] if n == 1 else [[HOST, self._proxies[1].port]],
                settings=SETTINGS,
            )
            self._nodes[n].start()
        await gatherResults([Deferred.fromCoroutine(self._started(n)) for n in self._nodes])
        await self._until(lambda: not self._missing(), lambda: "; ".join(self._missing()))

    async def round(self, *, packets: int, seconds: float, kills: int, cuts: int, freezes: int = 0) -> Verdict:
        """Send packets while connections break and processes die, and wait until their outcomes are known.

        :param packets: how many, besides replies.
        :param seconds: how long the storm lasts.
        :param freezes: how many processes stand still for a while, longer or shorter than it takes to be declared dead.
        :returns: what the ledger says of all rounds so far.
        """
        rng = self._rng
        for node in self._nodes.values():
            others = [n for n in self._nodes if n != node.node_id]
            share = packets // len(self._nodes)
            node.tell("send", peers=others, packets=share, seconds=seconds, seed=rng.getrandbits(32))
        ends = self._reactor.seconds() + seconds
        for proxy in self._proxies.values():
            proxy.stormy = 0.3
        cutting = [
            self._later(rng.uniform(0.0, seconds), rng.choice(list(self._proxies.values())).cut_one)
            for _ in range(cuts)
        ]
        victims = rng.sample(list(self._nodes), kills)
        killing = [
            Deferred.fromCoroutine(self._kill(n, after=rng.uniform(0.0, seconds), packets=packets)) for n in victims
        ]
        freezing = [
            Deferred.fromCoroutine(self._freeze(n, after=rng.uniform(0.0, seconds)))
            for n in rng.sample(list(self._nodes), freezes)
        ]
        await deferLater(self._reactor, max(0.0, ends - self._reactor.seconds()))
        await gatherResults([*cutting, *killing, *freezing])
        for proxy in self._proxies.values():
            proxy.stormy = 0.0
        peace = time.monotonic()
        for node in self._nodes.values():
            node.ask("drain")

        def open_ends() -> list[str]:
            busy = [f"{n} waits for outcomes" for n, node in self._nodes.items() if not node.answer("drained")]
            return busy + self._missing()

        await self._until(lambda: not open_ends(), lambda: "; ".join([*open_ends(), *self.judge().faults[:5]]))
        self._settled.append(time.monotonic() - peace)
        return self.judge()

    def judge(self) -> Verdict:
        """Return what the ledger says."""
        journals = {life: entries for node in self._nodes.values() for life, entries in node.journals.items()}
        return judge(journals, alive={node.life for node in self._nodes.values() if node.alive})

    @property
    def figures(self) -> Figures:
        """What was measured so far."""
        cuts = sum((proxy.cuts for proxy in self._proxies.values()), Counter[str]())
        return Figures(self.judge(), cuts, self._kills, self._settled)

    async def close(self, *, keep: bool = False) -> None:
        """End everything.

        :param keep: whether to leave journals and logs behind.
        """
        for node in self._nodes.values():
            node.close()
        for proxy in self._proxies.values():
            await proxy.close()
        atexit.unregister(self._remove_directory)
        if keep:
            print(f"journals and logs are in {self._directory}", file=sys.stderr)
        else:
            self._remove_directory()

    # ---- private

    def _remove_directory(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)

    async def _started(self, n: int) -> None:
        self._proxies[n].target = await self._until(self._nodes[n].started, lambda: f"node {n} does not listen")

    def _missing(self) -> list[str]:
        """Return which links there are not."""
        return [
            f"{n} is not linked to {other}"
            for n, node in self._nodes.items()
            for other in sorted(set(self._nodes) - {n} - node.linked())
        ]

    async def _kill(self, n: int, *, after: float, packets: int) -> None:
        node, rng = self._nodes[n], self._rng
        await deferLater(self._reactor, after)
        node.kill()
        self._kills += 1
        await deferLater(self._reactor, rng.uniform(0.0, 0.5))
        node.start()
        await self._started(n)
        # The new process takes part in the rest of the storm.
        others = [other for other in self._nodes if other != n]
        node.tell("send", peers=others, packets=packets // len(self._nodes) // 4, seconds=0.5, seed=rng.getrandbits(32))

    async def _freeze(self, n: int, *, after: float) -> None:
        await deferLater(self._reactor, after)
        self._nodes[n].freeze()
        await deferLater(self._reactor, self._rng.uniform(0.1, 2 * SETTINGS["dead_after"]))
        self._nodes[n].thaw()

    def _later(self, delay: float, call: Callable[[], None]) -> Deferred[None]:
        return deferLater(self._reactor, delay, call)

    async def _until(self, condition: Callable[[], Any], why_not: Callable[[], str], *, within: float = 60.0) -> Any:
        ends = time.monotonic() + within
        while not (result := condition()):
            if time.monotonic() > ends:
                raise AssertionError(f"after {within:g} s: {why_not()}")
            await deferLater(self._reactor, 0.05)
        return result


async def run(reactor: Any, options: argparse.Namespace) -> None:
    """Run many rounds and print the figures."""
    links = BrokenLinks(reactor, seed=options.seed, nodes=options.nodes, ephemeral=options.ephemeral)
    rng = random.Random(options.seed)
    faults = False
    try:
        await links.start()
        for n in range(1, options.rounds + 1):
            verdict = await links.round(
                packets=options.packets,
                seconds=options.seconds,
                kills=rng.choice((0, 1, 1, 2)),
                cuts=options.cuts,
                freezes=rng.choice((0, 1)),
            )
            done = n * 30 // options.rounds
            bar = f"[{'#' * done}{'.' * (30 - done)}]"
            print(f"{bar} round {n} of {options.rounds}: {verdict}; faults: {len(verdict.faults)}", flush=True)
            if verdict.faults:
                break
        figures = links.figures
        faults = bool(figures.verdict.faults)
        print(figures)
        for fault in figures.verdict.faults[:20]:
            print(fault)
    except AssertionError:
        faults = True
        raise
    finally:
        await links.close(keep=faults)
    if faults:
        sys.exit(f"seed {options.seed} shows faults")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.integration.broken_links", description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--nodes", type=int, default=4, help="besides the bootstrap node")
    parser.add_argument("--packets", type=int, default=600, help="in each round, besides replies")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long the storm of a round lasts")
    parser.add_argument("--cuts", type=int, default=40, help="in each round, besides those of new connections")
    parser.add_argument("--ephemeral", action="store_true", help="processes have keys of their own, kept nowhere")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    react(lambda reactor: Deferred.fromCoroutine(run(reactor, options)))


if __name__ == "__main__":
    main()
