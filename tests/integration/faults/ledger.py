"""The ledger: judges from the journals of all processes whether every packet came exactly once, or was reported."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import attrs

from tests.integration.faults.journal import Entry

__all__ = ["Life", "Verdict", "judge"]


#: Outcomes that nobody knows, and those of them that had no need to be: one process of the receiver lived all the time.
UNKNOWN = ("unknown", "of them between living processes")


class Life(NamedTuple):
    """One process of a node: the first has number 1, what was started after its death number 2."""

    node: int
    number: int


class Packet(NamedTuple):
    """A packet to one peer. `number` is its sender's."""

    sender: Life
    number: int
    receiver: int


@attrs.define
class Fate:
    """What the journals tell of a packet."""

    kind: str = ""
    sent_at: float = 0.0
    ended: list[str] = attrs.Factory(list)
    ended_at: float = 0.0
    handled: list[tuple[int, bool]] = attrs.Factory(list)  # by which life, and whether it was marked as redelivered
    finished: list[bool] = attrs.Factory(list)  # whether the handler has succeeded


@attrs.frozen
class Verdict:
    """What the ledger has found.

    :ivar faults: whatever must not be; a sentence each.
    :ivar counts: packets by what became of them.
    :ivar errors: what their senders were told, by the class of the error.
    """

    faults: list[str]
    counts: Counter[str]
    errors: Counter[str]

    def __str__(self) -> str:
        return ", ".join(f"{count} {what}" for what, count in self.counts.items())


def judge(journals: Mapping[Life, Sequence[Entry]], *, alive: set[Life]) -> Verdict:
    """Judge everything that has happened.

    :param alive: the processes that still live; nothing is under way between them any more.
    """
    faults: list[str] = []
    errors: Counter[str] = Counter()
    fates: defaultdict[Packet, Fate] = defaultdict(Fate)
    last: dict[tuple[Life, Life], int] = {}
    for life, entries in journals.items():
        unfinished: set[tuple[Packet, int]] = set()
        for entry in entries:
            match entry.what, *entry.details:
                case "sent", number, peer, kind, _:
                    fate = fates[Packet(life, number, peer)]
                    fate.kind, fate.sent_at = kind, entry.at
                case "ended", number, peer, outcome, text:
                    fate = fates[Packet(life, number, peer)]
                    fate.ended.append(outcome)
                    fate.ended_at = entry.at
                    if text:
                        errors[text.partition(":")[0]] += 1
                case "handled", node, sender_life, number, kind, _, flagged:
                    packet = Packet(Life(node, sender_life), number, life.node)
                    fates[packet].handled.append((life.number, flagged))
                    unfinished.add((packet, life.number))
                    if kind != "broadcast":
                        if number < last.get((packet.sender, life), 0):
                            faults.append(f"{packet} came to life {life.number} after a later one")
                        last[packet.sender, life] = number
                case "finished", node, sender_life, number, good:
                    packet = Packet(Life(node, sender_life), number, life.node)
                    fates[packet].finished.append(good)
                    unfinished.discard((packet, life.number))
                case "trouble", text:
                    faults.append(f"{life} has logged: {text}")
        if life in alive:
            faults += [f"{packet} is still being handled" for packet, _ in unfinished]
    counts: Counter[str] = Counter(dict.fromkeys(("sent", "done", "failed", "unhandled", *UNKNOWN), 0))
    lived = {life: (entries[0].at, entries[-1].at) for life, entries in journals.items() if entries}
    for packet, fate in fates.items():
        faults += [f"{packet} ({fate}) {wrong}" for wrong in _wrong(packet, fate, alive=packet.sender in alive)]
        counts["sent"] += 1
        counts[fate.ended[0] if fate.ended else "done" if True in fate.finished else "left by killed senders"] += 1
        if "unknown" in fate.ended:
            counts[UNKNOWN[1]] += any(
                life.node == packet.receiver and began < fate.sent_at and fate.ended_at < last_entry
                for life, (began, last_entry) in lived.items()
            )
        counts["redelivered"] += any(flagged for _, flagged in fate.handled)
        counts["handled by two processes"] += len(fate.handled) > 1
    return Verdict(faults, counts, errors)


def _wrong(packet: Packet, fate: Fate, *, alive: bool) -> list[str]:
    """Return what is wrong with a packet's fate; sentences without a subject."""
    wrong = []
    lives = [life for life, _ in fate.handled]
    outcome = fate.ended[0] if fate.ended else None
    if not fate.kind:
        wrong.append("was never sent")
    if len(set(lives)) < len(lives):
        wrong.append("was handled twice by one process")
    if any(not flagged for life, flagged in fate.handled if life > min(lives)):
        wrong.append("was handled again by another process and not marked as redelivered")
    if (1, True) in fate.handled:
        wrong.append("is marked as redelivered, and its receiver was never restarted")
    if len(fate.ended) > 1:
        wrong.append("has two outcomes")
    if outcome == "done" and True not in fate.finished:
        wrong.append("has a receipt that lies: its handler has not succeeded")
    if outcome == "failed" and False not in fate.finished:
        wrong.append("has a receipt that lies: its handler has not failed")
    if outcome == "unhandled" and fate.handled:
        wrong.append("was handled, and its sender was told that it was not")
    if outcome is None and alive:
        if fate.kind != "plain":
            wrong.append("has no outcome")
        elif True not in fate.finished:  # of plain packets only failures are told
            wrong.append("was lost without a word")
    return wrong
