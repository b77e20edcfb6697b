"""The tally of a long run: which packets came, kept in a file of fixed size, and judged when all is over.

A run of an hour sends millions of packets. A list of them would grow, and hide what grows in the nodes. Packets from
one process to one peer are numbered from 1 and arrive in order, so a process keeps three numbers for each peer: the
first packet that it handled, the last, and the last that was marked as redelivered. Only when numbers are skipped,
because the sender was told of a failure, a line of the journal closes that run and a new one begins.

The file is mapped into memory. What was written there outlives a process that is killed with SIGKILL.
"""

from __future__ import annotations

import mmap
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import attrs

from tests.integration.faults.journal import Entry, Journal
from tests.integration.faults.ledger import Life

__all__ = ["Run", "Sums", "Tally", "TallyReader", "judge"]

#: Ids are below this.
IDS = 64
#: Numbers kept for each id: packets sent to it; and of those from it, the life of the sender, the first number of the
#: present run, the last one, the last that was marked as redelivered, and how many were handled in all.
SENT, LIFE, FIRST, THROUGH, FLAGGED, HANDLED = range(6)
WIDTH = 6
SIZE = IDS * WIDTH * 8

#: What packets are counted by, whether there is any such or not.
COUNTS = (
    "sent",
    "handled",
    "reported as not sent",
    "reported as unknown",
    "redelivered",
    "left by killed senders",
    "lost",
)


class Run(NamedTuple):
    """Packets of one sender's process that one process has handled, without a gap.

    :ivar flagged: the last of them that was marked as redelivered; 0 if none was.
    """

    sender: Life
    first: int
    through: int
    flagged: int


class Tally:
    """The writing end.

    :param journal: gets ``run`` entries (sender, life, first, through, flagged), and ``twice`` entries (sender, life,
        number) for what must not be.
    """

    def __init__(self, path: Path, journal: Journal) -> None:
        with path.open("x+b") as file:
            file.truncate(SIZE)
            # One store of eight bytes a number: a killed process has made it, or not begun.
            self._numbers = memoryview(mmap.mmap(file.fileno(), SIZE)).cast("Q")
        self._journal = journal

    def next_number(self, peer: int) -> int:
        """Return the number of the next packet to a peer, which counts as sent from now on."""
        at = peer * WIDTH + SENT
        self._numbers[at] += 1
        return self._numbers[at]

    def handled(self, sender: int, life: int, number: int, *, flagged: bool) -> None:
        """Note that the handler of a packet begins."""
        numbers, at = self._numbers, sender * WIDTH
        if numbers[at + LIFE] != life:
            self._close_run(sender)
            self._begin_run(sender, life, number)
        elif number <= numbers[at + THROUGH]:
            self._journal.write("twice", sender, life, number)
            return
        elif number > numbers[at + THROUGH] + 1:
            self._close_run(sender)
            self._begin_run(sender, life, number)
        else:
            numbers[at + THROUGH] = number
        if flagged:
            numbers[at + FLAGGED] = number
        numbers[at + HANDLED] += 1

    def _close_run(self, sender: int) -> None:
        numbers, at = self._numbers, sender * WIDTH
        if numbers[at + LIFE]:
            run = [numbers[at + which] for which in (LIFE, FIRST, THROUGH, FLAGGED)]
            self._journal.write("run", sender, *run)

    def _begin_run(self, sender: int, life: int, number: int) -> None:
        numbers, at = self._numbers, sender * WIDTH
        numbers[at + LIFE] = 0  # whoever reads this in between finds no run; the old one stands in the journal
        numbers[at + FIRST] = numbers[at + THROUGH] = number
        numbers[at + FLAGGED] = 0
        numbers[at + LIFE] = life


class TallyReader:
    """The reading end: what a process has written, while it lives or after."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._numbers = memoryview(mmap.mmap(file.fileno(), SIZE, access=mmap.ACCESS_READ)).cast("Q")

    def sent(self) -> dict[int, int]:
        """Return the number of the last packet to each peer."""
        return {peer: sent for peer in range(IDS) if (sent := self._numbers[peer * WIDTH + SENT])}

    def handled(self) -> int:
        """Return how many packets were handled."""
        return sum(self._numbers[sender * WIDTH + HANDLED] for sender in range(IDS))

    def runs(self, journal: Iterable[Entry]) -> list[Run]:
        """Return all runs.

        :param journal: the entries of the same process.
        """
        found = [Run(Life(*entry.details[:2]), *entry.details[2:]) for entry in journal if entry.what == "run"]
        for sender in range(IDS):
            life, first, through, flagged = self._numbers[sender * WIDTH + LIFE : sender * WIDTH + FLAGGED + 1]
            if life:
                found.append(Run(Life(sender, life), first, through, flagged))
        return found


@attrs.frozen
class Sums:
    """What became of all packets.

    :ivar faults: whatever must not be; a sentence each.
    """

    faults: list[str]
    counts: Counter[str]

    def __str__(self) -> str:
        return ", ".join(f"{count:,} {what}" for what, count in self.counts.items())


def judge(tallies: Mapping[Life, TallyReader], journals: Mapping[Life, Sequence[Entry]], *, alive: set[Life]) -> Sums:
    """Judge everything that has happened.

    :param alive: the processes that still live; nothing is under way between them any more.
    """
    faults: list[str] = []
    counts: Counter[str] = Counter(dict.fromkeys(COUNTS, 0))
    came: defaultdict[tuple[Life, int], list[tuple[int, Run]]] = defaultdict(list)  # by sender and receiving node
    told: defaultdict[tuple[Life, int], dict[int, str]] = defaultdict(dict)  # by sender and peer
    for life, journal in journals.items():
        counts["handled"] += tallies[life].handled()
        for run in tallies[life].runs(journal):
            came[run.sender, life.node].append((life.number, run))
        for entry in journal:
            match entry.what, *entry.details:
                case "ended", number, peer, outcome, _:
                    told[life, peer][number] = outcome
                case "twice", node, number_of_life, number:
                    faults.append(f"{life} has handled packet {number} of {Life(node, number_of_life)} twice")
                case "trouble", text:
                    faults.append(f"{life} has logged: {text}")
    for sender, tally in tallies.items():
        for peer, sent in tally.sent().items():
            runs, outcomes = sorted(came.pop((sender, peer), [])), told.pop((sender, peer), {})
            faults += [f"{sender} to node {peer}: {wrong}" for wrong in _wrong(runs, outcomes, sent)]
            missing = _missing([run for _, run in runs], sent) - outcomes.keys()
            counts["sent"] += sent
            counts["reported as not sent"] += Counter(outcomes.values())["unhandled"]
            counts["reported as unknown"] += Counter(outcomes.values())["unknown"]
            counts["redelivered"] += sum(run.flagged - run.first + 1 for _, run in runs if run.flagged)
            counts["lost" if sender in alive else "left by killed senders"] += len(missing)
            if sender in alive and missing:
                faults.append(f"{sender} to node {peer}: lost without a word: {sorted(missing)[:10]}")
    faults += [f"{sender} to node {peer}: handled and never sent: {runs}" for (sender, peer), runs in came.items()]
    return Sums(faults, counts)


def _wrong(runs: list[tuple[int, Run]], outcomes: Mapping[int, str], sent: int) -> Iterator[str]:
    """Yield what is wrong with what came of one process's packets to one node.

    :param runs: with the lives of the receiving node, in their order.
    """
    for life, run in runs:
        if run.through > sent:
            yield f"life {life} has handled {run}, and the last that was sent is {sent}"
        if run.flagged and life == 1:
            yield f"life 1 was handed {run} as redelivered, and there was none before it"
        for earlier, before in runs:
            last_of_both = min(run.through, before.through)
            if earlier < life and max(run.first, before.first) <= last_of_both and last_of_both > run.flagged:
                yield f"life {life} has handled {run} after life {earlier} had handled {before}"
        for number, outcome in outcomes.items():
            if outcome == "unhandled" and run.first <= number <= run.through:
                yield f"packet {number} was handled, and its sender was told that it was not"


def _missing(runs: list[Run], sent: int) -> set[int]:
    """Return the numbers up to `sent` that no run has."""
    missing: set[int] = set()
    expected = 1
    for run in sorted(runs, key=lambda run: run.first):
        missing.update(range(expected, run.first))
        expected = max(expected, run.through + 1)
    missing.update(range(expected, sent + 1))
    return missing
