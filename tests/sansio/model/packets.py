"""What the model knows of packets, of the streams that carry them, and of the session that holds both streams."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from tests.sansio.model.network import End
    from tests.sansio.model.process import Process

__all__ = ["KIB", "LARGE", "PART", "Broken", "Incoming", "Packet", "Run", "Session"]

KIB = 1024
PART = 64 * KIB  # what travels in one frame
LARGE = 256 * KIB  # what is announced


class Broken(Exception):
    """What was promised was not kept."""


@attrs.define(eq=False)
class Run:
    """One run of a packet's handler.

    :ivar result: ``ok`` or ``fail``, once it has finished.
    """

    process: Process
    result: str | None = None


@attrs.define(eq=False)
class Packet:
    """A packet, what its handler is going to do, and what became of it.

    :ivar kind: what the handler does: ``ok``, ``fail``, the same after `delay` as ``slow`` and ``slowfail``, ``echo``,
        which sends a packet and finishes with it, ``kill``, which kills its process, or ``hang``.
    :ivar plain: whether nobody waits for the outcome.
    :ivar needless: whether the caller was told an outcome before there was one.
    :ivar unwritten: whether the caller was told that nothing had been written.
    :ivar boots: processes of the peer to which a part of it was written, and `whole_boots` all of it.
    :ivar link: the number of the connection on which it was begun last; `begun_on` has all of them.
    :ivar breaks: links in a row that broke inside it.
    :ivar deaths: processes that have died with it.
    :ivar excused: deaths that were not counted, or did not end it.
    :ivar alone: whether nothing else was in flight with it, cleared suspects apart.
    :ivar cleared: whether it has outlived a probation that was longer than what it had lived through before.
    """

    number: int
    owner: Process
    size: int
    kind: str
    delay: float
    depth: int
    plain: bool
    receipt_now: bool
    then: Callable[[str], None] | None
    redelivered: bool = False
    needless: bool = False
    unwritten: bool = False
    outcome: str | None = None
    runs: list[Run] = attrs.Factory(list)
    boots: set[int] = attrs.Factory(set)
    whole_boots: set[int] = attrs.Factory(set)
    begun_on: list[End] = attrs.Factory(list)
    link: int | None = None
    written_at: float | None = None
    whole_at: float = 0.0
    breaks: int = 0
    deaths: int = 0
    excused: int = 0
    alone: bool = False
    cleared: bool = False

    def __str__(self) -> str:
        return f"packet {self.owner.side}.{self.number} ({self.kind}, {self.size} bytes, {self.deaths} deaths)"

    @property
    def certainly_unhandled(self) -> bool:
        """Whether its caller was told that no handler has seen it."""
        return self.outcome in ("PeerUnreachable", "NodeStopped", "QueueFull") or self.unwritten


@attrs.define(eq=False)
class Incoming:
    """The peer's packets, from `received` + 1 on.

    :ivar handled_through: all packets up to this number are finished.
    :ivar acked: the number that the last ACK has said.
    :ivar states: ``running``, ``ok`` or ``fail`` by number, for as long as the peer may ask.
    :ivar told: numbers above `acked` that a DONE or NACK of this link has told.
    :ivar confirmed: whether a whole packet has come.
    :ivar arrived: bytes in all, and `told_at` what they were when a receipt was sent.
    """

    stream: int
    received: int
    handled_through: int = attrs.field(init=False)
    acked: int = attrs.field(init=False)
    states: dict[int, str] = attrs.Factory(dict)
    sizes: dict[int, int] = attrs.Factory(dict)
    told: set[int] = attrs.Factory(set)
    told_at: dict[int, int] = attrs.Factory(dict)
    confirmed: bool = False
    arrived: int = 0
    largest: int = 0

    def __attrs_post_init__(self) -> None:
        self.handled_through = self.acked = self.received


@attrs.define(eq=False)
class Session:
    """The state towards one process of the peer.

    :ivar flying: our packets that the peer has received, or that were written whole on the last link, by number.
    :ivar next: the number of the next packet that is written whole.
    :ivar again: packets that were begun and have no number: they come before all new ones. The one that is being
        written is the first of them.
    :ivar base: what the peer had received when the last link was resumed.
    :ivar link: the number of the connection on which the session was resumed last.
    :ivar peer_told: the id of the peer's stream as it was told last.
    """

    boot: int
    stream: int
    flying: dict[int, Packet] = attrs.Factory(dict)
    next: int = 1
    again: deque[Packet] = attrs.Factory(deque)
    incoming: Incoming | None = None
    base: int = 0
    link: int | None = None
    peer_told: int | None = None

    @property
    def first(self) -> int:
        """The number of the first packet that has no receipt."""
        return min(self.flying) if self.flying else self.next

    def unfinished(self) -> list[Packet]:
        """Return all packets that were begun and have no receipt, in order."""
        return [packet for _, packet in sorted(self.flying.items())] + list(self.again)
