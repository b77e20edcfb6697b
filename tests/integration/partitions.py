"""How soon nodes agree after a partition, on real networks that are cut, silently or not, both ways or one way only.

``python -m tests.integration.partitions --rounds 20`` is the long run, with the default settings; it needs root and
iproute2. The suite has a short one, with short settings. Each node is a process in a network namespace of its own.

*Agreement* is full when all nodes are linked to each other and to all bootstrap nodes, both ends of every link name the
same connection, every bootstrap node lists all nodes, and a packet that was sent after the heal over each link, in each
direction between nodes, has its receipt.
"""

from __future__ import annotations

import argparse
import atexit
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs

from tests.integration.faults.journal import Entry
from tests.integration.faults.ledger import Verdict, judge
from tests.integration.faults.members import MemberNode
from tests.integration.faults.namespaces import LocalNetwork, why_not
from tests.integration.processes import wait_until

__all__ = ["Partitions"]

PORT = 8000


@attrs.frozen
class Cut:
    """A fault.

    :ivar what: says what it is.
    :ivar deaf: between whom no packets pass, as (sender, receiver) pairs.
    :ivar at: since when, on the monotonic clock.
    """

    what: str
    deaf: frozenset[tuple[int, int]]
    at: float = attrs.Factory(time.monotonic)


class Partitions:
    """Bootstrap nodes and nodes, each at a host of its own in one local network.

    :param settings: of all nodes.
    :param probe: seconds between the packets that each node sends to all others.
    :ivar bootstraps: their ids; ``nodes`` likewise.
    """

    def __init__(
        self,
        *,
        bootstraps: int,
        nodes: int,
        rng: random.Random,
        settings: dict[str, float] | None = None,
        probe: float = 0.5,
    ) -> None:
        self.bootstraps = list(range(1, bootstraps + 1))
        self.nodes = list(range(bootstraps + 1, bootstraps + nodes + 1))
        self._rng = rng
        self._probe = probe
        self._directory = Path(tempfile.mkdtemp(prefix="netlayer-partitions-"))
        atexit.register(self._remove_directory)
        self.network = LocalNetwork([*self.bootstraps, *self.nodes])
        self._members = {n: self._member(n, settings or {}) for n in self.network.numbers}

    def start(self) -> float:
        """Start all, and return after how many seconds they agreed."""
        began = time.monotonic()
        for member in self._members.values():
            member.start()
        for n in self.nodes:
            others = [other for other in self._members if other != n]
            self._members[n].tell("probe", peers=others, every=self._probe)
        return self._agreement(since=began, within=60.0)

    def cut(self, kind: str) -> Cut:
        """Make a fault of a kind, somewhere."""
        everybody = self.network.numbers
        if kind in ("unplugged", "switched off"):
            victim = self._rng.choice(everybody)
            (self.network.unplug if kind == "unplugged" else self.network.switch_off)(victim)
            return self._cut(f"{victim} {kind}", [victim], both_ways=True)
        there = sorted(self._rng.sample(everybody, self._rng.randrange(1, len(everybody))))
        here = [n for n in everybody if n not in there]
        if kind == "split":
            self.network.split(there)
            return self._cut(f"{here} | {there}", there, both_ways=True)
        self.network.mute(there, here)
        return self._cut(f"{there} not heard by {here}", there, both_ways=False)

    def heal(self, cut: Cut, *, within: float) -> float:
        """Undo the fault, and return after how many seconds there was full agreement, which lasts.

        :raises AssertionError: when it took longer than `within` seconds, or when the fault was none.
        """
        leaks = self.heard(since=cut.at + 0.5) & cut.deaf  # what had arrived before may be handled a little later
        self.network.heal()
        if leaks:
            raise AssertionError(f"{cut.what}, and yet packets arrived between {leaks}")
        return self._agreement(since=time.monotonic(), within=within)

    def heard(self, *, since: float) -> set[tuple[int, int]]:
        """Return from whom to whom packets have arrived since a time, as (sender, receiver) pairs."""
        heard = set()
        for n, member in self._members.items():
            for entry in reversed(member.journal.read()):
                if entry.at < since:
                    break
                if entry.what == "handled":
                    heard.add((entry.details[0], n))
        return heard

    def judge(self) -> Verdict:
        """Send no more, wait until all outcomes are known, and return what the ledger says."""
        for member in self._members.values():
            member.tell("quiet")
            member.ask("drain")
        wait_until(lambda: all(member.answer("drained") for member in self._members.values()), lambda: "all outcomes")
        journals = {life: entries for member in self._members.values() for life, entries in member.journals.items()}
        return judge(journals, alive=set(journals))

    def close(self, *, keep: bool = False) -> None:
        """End everything.

        :param keep: whether to leave journals and logs behind.
        """
        for member in self._members.values():
            member.close()
        self.network.close()
        atexit.unregister(self._remove_directory)
        if keep:
            print(f"journals and logs are in {self._directory}", file=sys.stderr)
        else:
            self._remove_directory()

    # ---- private

    def _cut(self, what: str, there: list[int], *, both_ways: bool) -> Cut:
        pairs = [(a, b) for a in there for b in self.network.numbers if b not in there]
        return Cut(what, frozenset(pairs) | (frozenset((b, a) for a, b in pairs) if both_ways else frozenset()))

    def _member(self, n: int, settings: dict[str, float]) -> MemberNode:
        bootstraps = [] if n in self.bootstraps else [[self.network.address(b), PORT] for b in self.bootstraps]
        return MemberNode(
            n,
            self._directory,
            bootstrap=n in self.bootstraps,
            launcher=self.network.launcher(n),
            listen=[self.network.address(n), PORT],
            advertise=None,
            bootstraps=bootstraps,
            network_secret="only for hosts in namespaces",
            settings=settings,
        )

    def _agreement(self, *, since: float, within: float) -> float:
        """Wait for full agreement that still stands a few packets later, and return how long after `since` it came."""
        while True:
            self._wait(lambda: not self._disagreements(since), since, within)
            came = time.monotonic()
            time.sleep(4 * self._probe)
            if not self._disagreements(came - 2 * self._probe):
                return came - since

    def _wait(self, condition: Callable[[], bool], since: float, within: float) -> None:
        while not condition():
            if time.monotonic() > since + within:
                raise AssertionError(f"no agreement after {within:g} s: {'; '.join(self._disagreements(since))}")
            time.sleep(0.1)

    def _disagreements(self, since: float) -> list[str]:
        """Return what there is no agreement about; packets sent before `since` prove nothing."""
        for member in self._members.values():
            member.ask("look")
        views = {n: wait_until(lambda m=m: m.answer("look"), lambda: "a view") for n, m in self._members.items()}
        links = {n: {peer: (own, other) for peer, own, other in view.details[1]} for n, view in views.items()}
        wrong = []
        for n in self.nodes:
            for other in self._members:
                if other == n:
                    continue
                here, there = links[n].get(other), links[other].get(n)
                if here is None or there is None or here != there[::-1]:
                    wrong.append(f"{n} and {other} are linked by {here} and {there}")
                elif not self._receipt(n, other, since):
                    wrong.append(f"{n} has no receipt from {other}")
        listed = {b: views[b].details[2] for b in self.bootstraps}
        wrong += [f"{b} lists {nodes}" for b, nodes in listed.items() if sorted(nodes) != self.nodes]
        return wrong

    def _receipt(self, n: int, peer: int, since: float) -> bool:
        """Tell whether a packet that was sent after `since` has its receipt."""
        receipts: set[int] = set()
        entry: Entry
        for entry in reversed(self._members[n].journal.read()):
            if entry.at < since:
                return False
            if entry.what == "ended" and entry.details[1:3] == (peer, "done"):
                receipts.add(entry.details[0])
            elif entry.what == "sent" and entry.details[1] == peer and entry.details[0] in receipts:
                return True
        return False

    def _remove_directory(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)


#: In this order, again and again.
KINDS = ("split", "one-way", "unplugged", "one-way", "switched off")


def run(options: argparse.Namespace) -> None:
    """Run many rounds and print the figures."""
    rng = random.Random(options.seed)
    partitions = Partitions(bootstraps=options.bootstraps, nodes=options.nodes, rng=rng)
    took: list[float] = []
    keep = False
    try:
        print(f"all agree {partitions.start():.1f} s after the start", flush=True)
        for n in range(options.rounds):
            seconds = rng.uniform(1.0, 20.0)
            cut = partitions.cut(KINDS[n % len(KINDS)])
            time.sleep(seconds)
            took.append(partitions.heal(cut, within=options.within))
            done = (n + 1) * 30 // options.rounds
            print(
                f"[{'#' * done}{'.' * (30 - done)}] {n + 1} of {options.rounds}: "
                f"{cut.what} for {seconds:.1f} s, all agree {took[-1]:.1f} s after the heal",
                flush=True,
            )
        verdict = partitions.judge()
        print(f"{verdict}\nerrors: {', '.join(f'{n} {kind}' for kind, n in verdict.errors.items())}")
        print(f"agreement: median {_median(took):.1f} s, worst {max(took):.1f} s")
        print(f"faults: {len(verdict.faults)}", *verdict.faults[:20], sep="\n")
        keep = bool(verdict.faults)
    except AssertionError:
        keep = True
        raise
    finally:
        partitions.close(keep=keep)
    if keep:
        sys.exit(f"seed {options.seed} shows faults")


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.integration.partitions", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--bootstraps", type=int, default=2)
    parser.add_argument("--within", type=float, default=30.0, help="seconds in which all have to agree after a heal")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    reason = why_not()
    if reason is not None:
        sys.exit(reason)

    def terminated(*_: Any) -> None:
        sys.exit("terminated")

    signal.signal(signal.SIGTERM, terminated)
    print(f"seed {options.seed}")
    run(options)


if __name__ == "__main__":
    main()
