"""The ledger: every packet that was sent, every handler that ran, every outcome that was told, and what must not be.

What is written down at once is judged at once, so that a fault carries the time at which a promise was broken; what
can be judged only when nothing is under way any more is judged by :meth:`Ledger.close`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from sys import maxsize
from typing import TYPE_CHECKING, Any

import attrs

from netlayer import DataPacket
from netlayer.errors import DeliveryTimeout, HandlerFailed, PeerLost
from netlayer.wire.payload import encode_value

if TYPE_CHECKING:
    from netlayer.testing import SimulatedHost
    from tests.properties.application import Life

__all__ = ["Handling", "Ledger", "Plan", "Sent"]

#: Bytes of a packet that go out at once, at most.
MAX_PART = 65536
#: Seconds that the sign of a packet's arrival may take, where processes read slowly.
WAY_BACK = 2.0


@attrs.frozen
class Plan:
    """What the handler of a packet is going to do.

    :ivar delay: seconds that it takes; None if it finishes before it returns.
    :ivar fails: whether it fails.
    :ivar reply: whether it sends something back: ``confirmed``, then it waits for the receipt, ``plain``, or neither.
    :ivar is_coroutine: whether it is one, or returns a Deferred.
    """

    delay: float | None = None
    fails: bool = False
    reply: str | None = None
    is_coroutine: bool = False


@attrs.define(eq=False)
class Handling:
    """One run of a handler.

    :ivar good: whether it has succeeded; None while it runs.
    """

    life: Life
    redelivered: bool
    began: float
    good: bool | None = None


@attrs.define(eq=False)
class Sent:
    """A packet to one peer.

    :ivar kind: ``confirmed``, ``plain`` or ``broadcast``.
    :ivar size: bytes of its payload.
    :ivar clock: what the sender's clock was.
    :ivar reported: whether the sender was told how it ended, or was told an error that it raised.
    """

    number: int
    sender: Life
    target: int
    kind: str
    size: int
    plan: Plan
    time: float
    clock: float
    handled: list[Handling] = attrs.Factory(list)
    reported: bool = False
    error: BaseException | None = None
    cancelled: bool = False

    def __repr__(self) -> str:
        return f"{self.kind} packet {self.number} from {self.sender} to {self.target}"


def is_unknown(error: BaseException | None) -> bool:
    """Tell whether an error says that the outcome is unknown."""
    return isinstance(error, PeerLost) or (isinstance(error, DeliveryTimeout) and error.written)


class Ledger:
    """Everything that is known about the packets of one run.

    :param now: tells the virtual time.
    :ivar faults: the promises that were broken; a sentence each.
    :ivar hosts: where each node id lives.
    :ivar counts: packets by their outcome.
    """

    def __init__(self, now: Callable[[], float], *, aloud: bool = False) -> None:
        self.faults: list[str] = []
        self.hosts: dict[int, SimulatedHost] = {}
        self.counts: Counter[str] = Counter()
        self.packets: dict[tuple[int, int], Sent] = {}
        self.running: dict[Handling, Sent] = {}
        self.waiting: dict[Sent, None] = {}  # those whose Deferreds have not fired
        self._now = now
        self._aloud = aloud
        self._count = 0
        self._last: dict[tuple[Life, Life], int] = {}
        self._arrived: dict[tuple[Life, int], float] = {}  # when a packet of this sender began to be handled there
        self._plain: dict[tuple[Life, int, int], Sent] = {}  # by sender, target and the number that the sender got
        self._early: dict[tuple[Life, int, int], BaseException] = {}  # told by the log before the number was

    def tell(self, *words: object) -> None:
        """Tell the story to who replays a run."""
        if self._aloud:
            print(f"{self._now():10.4f}", *words)

    def demand(self, kept: object, promise: str, *words: object) -> None:
        """Note a fault unless a promise was kept; it is formatted only then."""
        if not kept:
            promise = promise.format(*words)
            self.tell("BROKEN", promise)
            self.faults.append(f"{promise} (at {self._now():.4f} s)")

    # ---- the sender

    def next_number(self) -> int:
        """Return a number that no packet has."""
        self._count += 1
        return self._count

    def sent(self, number: int, sender: Life, target: int, kind: str, plan: Plan, data: Any) -> Sent:
        """A packet is about to be sent."""
        _, payload = encode_value(data, max_packet=maxsize)  # what is too large is refused later
        packet = Sent(number, sender, target, kind, len(payload), plan, self._now(), sender.clock)
        self.packets[number, target] = packet
        self.counts[kind] += 1
        self.tell(sender, "sends", packet, plan)
        if kind != "plain":
            self.waiting[packet] = None
        return packet

    def numbered(self, packet: Sent, number: int) -> None:
        """The sender of a plain packet got this number for it."""
        self._plain[packet.sender, packet.target, number] = packet
        if (packet.sender, packet.target, number) in self._early:
            self.ended(packet, self._early.pop((packet.sender, packet.target, number)))

    def ended(self, packet: Sent, error: BaseException | None) -> None:
        """The sender was told the outcome of a packet, by its Deferred, by an exception or by the log."""
        self.tell(packet.sender, "is told of", packet.number, "to", packet.target, repr(error))
        self.waiting.pop(packet, None)
        self.demand(not packet.reported, "{} ends once: {!r}, {!r}", packet, packet.error, error)
        packet.reported, packet.error = True, error
        self.counts["done" if error is None else type(error).__name__] += 1
        runs = [handling.good for handling in packet.handled]
        if error is None:
            honest = True in runs
        elif isinstance(error, HandlerFailed) and "the link was refused" not in error.text:
            honest = False in runs
            self.demand(f"packet {packet.number}." in error.text, "{} fails by its own handler: {!r}", packet, error)
        else:
            honest = is_unknown(error) or packet.cancelled or not runs
        self.demand(honest, "{} has a receipt that does not lie: {!r}; its handlers: {}", packet, error, runs)
        if packet.kind != "plain":
            self._judge_time(packet)

    def unknown(self, sender: Life, target: int, numbers: tuple[int, ...], where: str) -> None:
        """The sender was told that the outcome of these plain packets is unknown, by its log or by a hook."""
        for number in numbers:
            packet = self._plain.get((sender, target, number))
            self.demand(packet, "{} is told by {} of packet {} to {}, which it has sent", sender, where, number, target)
            if packet is None:
                continue
            if where == "the log":
                self.ended(packet, PeerLost(target, where))
            else:
                told = isinstance(packet.error, PeerLost)
                self.demand(told, "{} is in peer_lost when its outcome is unknown: {!r}", packet, packet.error)

    def failed(self, sender: Life, target: int, number: int, error: BaseException) -> None:
        """The sender's log tells that a plain packet has failed."""
        packet = self._plain.get((sender, target, number))
        if packet is None:  # it may be in the call that is about to return the number
            self._early[sender, target, number] = error
        else:
            self.ended(packet, error)

    # ---- the receiver

    def begun(self, life: Life, number: int, packet: DataPacket) -> tuple[Sent, Handling] | None:
        """A handler was called."""
        sent = self.packets.get((number, life.node_id))
        if sent is None:
            self.demand(False, "{} handles packet {}, which was sent to somebody else", life, number)
            return None
        self.tell(life, "handles", sent, "redelivered" if packet.redelivered else "")
        handling = Handling(life, packet.redelivered, self._now())
        self.running[handling] = sent
        earlier = [other.life for other in sent.handled]
        self.demand(life not in earlier, "{} is handled once by {}", sent, life)
        self.demand(packet.redelivered or not earlier, "{} is flagged when {} gets it after {}", sent, life, earlier)
        if packet.redelivered:
            self.demand(life.has_predecessor, "{} is flagged only after {} was restarted", sent, life)
            self.counts["redelivered"] += 1
        known = sent.reported and not is_unknown(sent.error) and not sent.cancelled
        self.demand(not known, "{} is not handled after its outcome was told: {!r}", sent, sent.error)
        self.demand(packet.sender_id == sent.sender.node_id, "{} comes from its sender, not {}", sent, packet.sender_id)
        self.demand(packet.broadcast == (sent.kind == "broadcast"), "{} is marked as what it is", sent)
        sent.handled.append(handling)
        self._arrived[sent.sender, life.node_id] = handling.began
        if sent.kind != "broadcast":
            last = self._last.get((sent.sender, life), 0)
            self.demand(last < number, "{} is handled by {} in order, not after {}", sent, life, last)
            self._last[sent.sender, life] = number
        return sent, handling

    def finished(self, handling: Handling, good: bool) -> None:
        """A handler has finished."""
        handling.good = good
        sent = self.running.pop(handling)
        self.tell(handling.life, "has handled", sent.number, "well" if good else "badly")

    # ---- the end

    def open_packets(self) -> list[Sent]:
        """Return the packets of living senders of which something has still to be told."""
        return [
            packet
            for packet in self.packets.values()
            if packet.sender.lives
            and not packet.reported
            and (packet.kind != "plain" or not any(handling.good for handling in packet.handled))
        ]

    def close(self) -> None:
        """Judge what is left when nothing is under way any more."""
        for packet in self.open_packets():
            runs = [handling.good for handling in packet.handled]
            self.demand(
                False, "{}, sent at {:.4f} s, is not lost without a word; handlers: {}", packet, packet.time, runs
            )
        for sender, target, number in self._early:
            self.demand(False, "the log of {} tells of packet {} to {}, which it has sent", sender, number, target)
        for handling, sent in self.running.items():
            self.demand(not handling.life.lives, "the handler of {} at {} finishes", sent, handling.life)

    def _judge_time(self, packet: Sent) -> None:
        """Demand that the sender was told in time.

        The time begins anew while packets are still on their way there, and while parts of a large one still leave.
        """
        sender = packet.sender
        elapsed = sender.clock - packet.clock
        limit = sender.settings.delivery_timeout + 0.01
        if elapsed > limit:
            to_all = packet.kind == "broadcast"  # its outcomes are told together
            times = [
                at for (life, to), at in self._arrived.items() if life is sender and (to_all or to == packet.target)
            ]
            arrived = max(times, default=0.0)
            limit += max(0.0, arrived + WAY_BACK - packet.time)
        if elapsed > limit and packet.size > min(sender.settings.buffer_size, MAX_PART):  # each part that leaves counts
            limit = max(limit, sender.settings.delivery_timeout + 0.01 + sender.sent_at(packet.target) - packet.time)
        if elapsed > limit:
            limit += sender.slack(packet.time) + sender.slow(packet.target, packet.time)
        self.demand(
            elapsed <= limit, "{} ends within {:.2f} s, not {:.2f} s: {!r}", packet, limit, elapsed, packet.error
        )
