"""Two nodes and the network between them, with everything that goes wrong there, by seeds.

A schedule sends packets both ways while connections are cut at any byte, stall or turn into black holes, processes are
killed, restarted, stopped or frozen, sessions are forgotten, and both ends dial. Then the faults end, and what the
nodes have told their callers is compared with what the handlers have seen. More of them, or one with its story:

    python -m tests.sansio.test_schedules FIRST [LAST]
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable

import attrs
from twisted.trial.unittest import SynchronousTestCase

from netlayer.config import Settings
from netlayer.errors import (
    DeliveryError,
    DeliveryTimeout,
    HandlerFailed,
    NodeStopped,
    PeerLost,
    PeerUnreachable,
    QueueFull,
    Rejected,
    RemoteProtocolError,
)
from netlayer.handlers import DataPacket
from netlayer.sansio.delivery.delivery import MAX_BREAKS
from netlayer.sansio.delivery.packet import OutgoingPacket
from netlayer.sansio.delivery.session import Session
from netlayer.wire.messages import Flag, MessageType, RejectCode
from tests.sansio.network import KIB, End, Network, Node

#: Seconds from the last fault until the link has to stand again; a farewell or an unlucky black hole comes on top.
HEALED, FAREWELL = 45.0, 30.0

#: Seconds from then until every outcome has to be known: the slowest handlers take 70, a session lives up to 84, and
#: each packet that two processes have ended over may hold others up for 20 or 40.
SETTLED = 600.0

#: How many schedules a run of the tests plays; .ci/run plays more of them.
SEEDS = 80

#: Messages that are interesting to lose, to delay, or to be the last words of a process.
PRECIOUS = {MessageType.WELCOME, MessageType.SELECT, MessageType.SELECTED, MessageType.GOODBYE, MessageType.NACK}


class Broken(Exception):
    """What was promised was not kept."""


@attrs.define(eq=False)
class Sent:
    """A packet, what its handler is going to do, and what became of it.

    :ivar delay: seconds that the handler takes; None if it is synchronous.
    :ivar stubborn: whether its handlers try again when the queue has no room for what they send back.
    :ivar echoes: how many more times its handlers send it back, and finish when that is handled.
    :ivar runs: the handlers that have started, and how each has ended.
    """

    number: int
    owner: Process
    payload: bytes
    time: float
    delay: float | None
    fails: bool
    echoes: int
    stubborn: bool = False
    then: Callable[[bool], None] | None = None
    runs: list[str] = attrs.Factory(list)
    told: bool = False
    error: Exception | None = None


class Process(Node):
    """A node that notes what it sends and compares what it is told."""

    network: Schedule
    last: dict[Node, int]
    session: Session | None = None
    since = 0.0  # when the session began
    failures = 0  # attempts that have failed since the link stood

    def send(
        self,
        size: int,
        delay: float | None,
        fails: bool,
        echoes: int,
        timeout: bool,
        *,
        now: bool = False,
        stubborn: bool = False,
        from_handler: bool = False,
    ) -> Sent:
        """Submit a packet.

        :param timeout: whether its caller gives up some time.
        :param now: whether its receipt is wanted at once.
        """
        number, flags = len(self.network.sent), Flag.RECEIPT_NOW if now else 0
        sent = Sent(number, self, b"%d " % number + bytes(size), self.network.now, delay, fails, echoes, stubborn)
        self.network.sent.append(sent)
        packet = OutgoingPacket(0, sent.payload, flags=flags, waiter=sent, from_handler=from_handler)
        packet.deadline = sent.time + self.settings.delivery_timeout if timeout else None
        try:
            if self.stopping:
                raise NodeStopped
            self.submit(packet)
        except DeliveryError as error:
            packet.error = error
            self.ended(packet)
        return sent

    def handle(self, packet: DataPacket) -> None:
        """Run the handler that the sender has planned."""
        sent = self.network.sent[int(packet.data.split()[0])]
        last, self.last[sent.owner] = self.last.get(sent.owner, -1), sent.number
        self.network.tell(self, "handles", sent.number)
        self.demand(packet.data == sent.payload, f"packet {sent.number} arrives as it was sent")
        self.demand(last < sent.number, f"packet {sent.number} comes once and in order, not after {last}")
        self.demand(packet.redelivered or not sent.runs, f"packet {sent.number} is flagged when it comes again")
        self.demand(not packet.redelivered or self.network.boots[self.side] > 1, "only a second process is warned")
        never = sent.told and not isinstance(sent.error, (PeerLost, DeliveryTimeout))
        self.demand(not never, f"packet {sent.number} is not handled after its end: {sent.error}")
        sent.runs.append("running")
        run, self.load.handlers = len(sent.runs) - 1, self.load.handlers + 1

        def finish(fails: bool) -> None:
            sent.runs[run] = "failed" if fails else "done"
            self.load.handlers -= 1
            self.handled(packet, "as planned" if fails else None)

        def send_back() -> None:
            size, echoes, stubborn = len(sent.payload), sent.echoes - 1, sent.stubborn
            echo = self.send(
                size, sent.delay, sent.fails, echoes, False, now=True, stubborn=stubborn, from_handler=True
            )
            echo.then = finish
            if stubborn and isinstance(echo.error, QueueFull):
                self.network.at(0.05, self, send_back)
            elif echo.told:
                finish(True)

        if sent.echoes:
            send_back()
        elif sent.delay is None:
            finish(sent.fails)
        else:
            self.network.at(sent.delay, self, finish, sent.fails)

    def ended(self, packet: OutgoingPacket) -> None:
        """Compare what a caller is told with what has happened."""
        sent, error, now = packet.waiter, packet.error, self.network.now
        self.network.tell(self, "is told of", sent.number, error)
        self.demand(not sent.told, f"packet {sent.number} ends once: {sent.error}, {error}")
        sent.told, sent.error = True, error
        self.network.outcomes[type(error).__name__] += 1
        match error:
            case None:
                honest = "done" in sent.runs
            case HandlerFailed():
                honest = "failed" in sent.runs
            case PeerLost(processes=processes) if processes:
                honest = packet.written and self.network.boots[1 - self.side] > processes
            case PeerLost() if packet.breaks == MAX_BREAKS:
                honest = packet.flags & Flag.REDELIVERED != 0
            case PeerLost():
                honest = packet.written and any(time >= self.since for time in self.network.endings)
                honest = honest and not self.network.polite
            case DeliveryTimeout():
                honest = error.written == packet.written and now >= sent.time + self.settings.delivery_timeout
                honest = honest and (packet.written or not sent.runs)
            case PeerUnreachable() if packet.breaks == MAX_BREAKS:
                honest = not sent.runs
            case _:
                honest = not packet.written and not sent.runs
        self.demand(honest, f"the end of packet {sent.number} is true: {error!r}; {sent.runs}")
        if sent.then is not None:
            self.network.at(0, self, sent.then, error is not None)

    def settle(self) -> None:
        """Note that what is lost from now on may have been lost since the session began."""
        if self.session is not self.delivery.session:
            self.session, self.since = self.delivery.session, self.network.now

    def lost(self, end: End, reason: Exception) -> None:
        """Both nodes keep to the protocol, so nobody is told otherwise."""
        violation = isinstance(reason, RemoteProtocolError)
        violation |= isinstance(reason, Rejected) and reason.code == RejectCode.PROTOCOL_VIOLATION
        self.demand(not violation, f"nobody violates the protocol: {reason}")
        if end.connection.is_arbiter and self.frozen == 0.0:
            self.demand("(proven)" not in str(reason), "the arbiter judges every connection in time")
        self.network.tell(self, "has lost", end, reason)
        super().lost(end, reason)

    def replaced(self, end: End) -> None:
        """Only a link that has suffered is replaced."""
        suffered = not end.sound or self.frozen > 0.0 or not end.connection.is_arbiter
        self.demand(suffered or not end.ready, "a link that answers is never given up")

    def linked(self, end: End) -> None:
        """Tell the story."""
        self.network.tell(self, "has linked", end)
        super().linked(end)
        self.failures = 0

    def dial_failed(self, wait: float, wish: float) -> None:
        """Waits grow with the attempts that have failed since the link stood, and only with those."""
        longest = min(20.0, 0.5 * 2.0**self.failures)
        self.failures += 1
        self.demand(wish in (0.0, 2.0), "a clone, or who is taken for one, is told to come back soon")
        self.demand(wish <= wait <= max(wish, longest), f"attempt {self.failures} is followed in time, not in {wait}")

    def session_ended(self) -> None:
        """From now on outcomes may be unknown."""
        self.network.endings.append(self.network.now)

    def demand(self, kept: bool, promise: str) -> None:
        """Fail the schedule unless a promise is kept."""
        if not kept:
            raise Broken(f"{promise} (side {self.side}, {self.network.now:.3f} s)")


class Schedule(Network):
    """What happens in one run, all of it decided by the seed.

    :ivar polite: whether nothing has gone wrong but goodbyes, so that whatever was written gets its receipt.
    """

    def __init__(self, seed: int, *, aloud: bool = False) -> None:
        super().__init__(seed)
        rng = self.rng
        self.aloud = aloud
        self.sent: list[Sent] = []
        self.endings: list[float] = []
        self.outcomes: Counter[str] = Counter()
        self.boots = [0, 0]
        window = rng.choice((64, 64, 256, 4096)) * KIB
        other = window if rng.random() < 0.7 else rng.choice((64, 256, 4096)) * KIB
        sizes = {"buffer_size": rng.choice((1, 4, 64)) * KIB, "max_packet": 512 * KIB}
        self.settings = [Settings(window=size, **sizes) for size in (window, other)]
        self.dials = rng.choice(((True, True), (True, True), (True, False), (False, True)))
        self.end = rng.choice((10.0, 40.0, 150.0, 250.0))
        self.lonely = rng.randrange(2) if rng.random() < 0.08 else None  # the side that does not come back
        self.bursts = [rng.uniform(0, self.end) for _ in range(4)]
        kind = rng.random()
        self.flooded, self.polite = kind < 0.15, kind > 0.93
        self.mishaps = 0.0 if self.polite else rng.choice((0.0, 0.0, 0.1, 0.3))  # how many of the precious messages
        for side in (0, 1):
            self.at(rng.uniform(0, 1), None, self.start, side)
            for _ in range(rng.choice((5, 20, 40))):
                time = rng.choice((rng.uniform(0, self.end), *self.bursts)) + rng.uniform(0, 0.3)
                if self.flooded:
                    time = self.bursts[0] + 1 + rng.uniform(0, 0.05)
                self.at(time, None, self._send, side)
        self._plan_faults()

    def _plan_faults(self) -> None:
        rng = self.rng
        faults = {self._cut: 30, self._cut_all: 3, self._blind: 12, self._stall: 15, self._part: 15, self._restart: 14}
        faults |= {self._leave: 8, self._freeze: 6, self._die_late: 4, self._dial_again: 4}
        faults |= {self._replace_at_once: 4}
        if self.polite:
            faults = {self._leave: 1}
        for _ in range(rng.choice((0, 0, 1, 2) if self.flooded else (0, 1, 3, 6, 12))):
            time = rng.choice((rng.uniform(0, self.end), rng.choice(self.bursts) + rng.uniform(-0.1, 3)))
            for _ in range(rng.choice((1, 1, 2))):
                self.at(min(max(0.0, time), self.end), None, rng.choices(list(faults), list(faults.values()))[0])
                time += rng.uniform(0, 6)

    # ---- what nodes do

    def start(self, side: int) -> None:
        """Start a process if none lives."""
        node = self.nodes[side]
        if (node is None or not node.alive) and not (side == self.lonely and self.now >= self.end):
            settings = attrs.evolve(self.settings[side], session_timeout=60 * self.rng.uniform(0.6, 1.4))
            self.nodes[side] = node = Process(self, side, settings, dials=self.dials[side])
            node.last = {}
            self.boots[side] += 1
            self.tell(node, "starts")

    def kill(self, side: int, *, late: float | None = None) -> None:
        """Kill a process; its connections may die with it, or not, or its last bytes may be late."""
        node, how = self.nodes[side], self.rng.choice(("end", "reset", "silence"))
        if node is None or not node.alive:
            return
        self.tell(node, "is killed:", how)
        if late is None:
            late = self.rng.uniform(0.2, 6) if self.rng.random() < 0.3 else 0.0
        for end in self.live():
            if end.node is node:
                if late and end.ready:  # last words, which arrive when a successor may live
                    end.out.stalled = max(end.out.stalled, self.now + late)
                    end.connection.ping(self.now)
                    end.act([])
                end.out.stalled = max(end.out.stalled, self.now + late)
                end.gone = True
                if how != "silence":
                    getattr(end.out, how)()
        node.alive = False

    def _send(self, side: int) -> None:
        rng, node, window = self.rng, self.nodes[side], self.settings[1 - side].window
        size = rng.choice((0, 64, 1000, 3 * KIB, 10 * KIB, 40 * KIB, 300 * KIB, min(window // 3, 100 * KIB)))
        delay = rng.choice((None, None, 0.001, 0.02, 0.5, 5.0, rng.uniform(0, 70)))
        fails, echoes, timeout, now = rng.random() < 0.25, rng.choice((0, 0, 0, 1, 2)), rng.random() < 0.3, False
        if self.flooded:  # replies behind requests, with windows and queues full of both
            size, delay, fails, echoes, timeout = min(window // 8, 64 * KIB), None, False, rng.choice((1, 1, 2)), False
        elif self.polite:
            delay, echoes = rng.choice((None, rng.uniform(0, 2))), 0
        elif rng.random() < 0.03 and window < 512 * KIB:
            size = window + KIB
        if rng.random() < 0.3:
            now = True
        if isinstance(node, Process) and node.alive:
            node.wakes = rng.random() < 0.3
            stubborn = echoes == 1 and rng.random() < 0.5  # replies to replies to replies have no room of their own
            node.send(size, delay, fails, echoes, timeout, now=now, stubborn=stubborn)

    # ---- what goes wrong

    def write(self, end: End, data: bytes) -> None:
        """Carry bytes, unless they are precious."""
        rng, pipe = self.rng, end.out
        self._judge_window(end)
        if data[4] in PRECIOUS and self.now < self.end and rng.random() < self.mishaps:
            self.tell(end.node, "has a mishap with", MessageType(data[4]).name)
            kind = rng.random()
            if kind < 0.25:
                pipe.left = min(pipe.left, rng.randint(0, len(data)))
                self._notice(end)
            elif kind < 0.45:
                self.at(pipe.latency * rng.uniform(1, 3), None, self._cut, end)
            elif kind < 0.75:
                pipe.stalled = self.now + rng.choice((0.3, 1.0, 1.9, 3.0, 4.5, 8.0))
            else:
                self.at(pipe.latency * rng.uniform(0, 3), None, self._restart)
        super().write(end, data)

    def _judge_window(self, end: End) -> None:
        """Demand that what is in flight is counted right, and that the last packet was begun below the window."""
        node, session = end.node, end.node.delivery.session
        if session is None or not end.connection.is_link:
            return
        stream, window = session.outgoing, self.settings[1 - node.side].window
        charges = {packet.sequence: packet.share for packet in stream.whole()}
        assert sum(charges.values()) == stream.in_flight, f"{stream.in_flight} bytes in flight, not {charges}"
        last = charges.get(stream.next - 1, 0)
        assert stream.in_flight - last < 2 * window, f"{stream.in_flight} bytes in flight, window {window}"

    def _cut(self, end: End | None = None) -> None:
        """Cut a connection, each direction at some byte; the ends notice it each in its time."""
        rng, live = self.rng, self.live()
        if end is not None or live:
            end = end or rng.choice(live)
            self.tell(end.node, "is cut")
            for pipe in (end.out, end.back):
                pipe.left = min(pipe.left, rng.choice((0, rng.randint(0, 200), rng.randint(0, 20000))))
            self._notice(end)

    def _cut_all(self) -> None:
        for end in self.live():
            if self.rng.random() < 0.7:
                self._cut(end)

    def _die_late(self) -> None:
        """Have an end believe that its connection is dead, while its last bytes are still under way."""
        if live := self.live():
            end = self.rng.choice(live)
            self.tell(end.node, "believes that it is dead")
            end.out.stalled = self.now + self.rng.uniform(0.3, 6)
            if end.ready:
                end.connection.ping(self.now)
                end.act([])
            end.back.left = 0
            self.at(0.01, end.node, end.lost)

    def _dial_again(self) -> None:
        """Have a node dial though it may be linked, as one may that knows its peer by two addresses."""
        node = self.rng.choice(self.nodes)
        if node is not None and node.alive and node.dials and not node.stopping:
            self.tell(node, "dials again")
            self.dial(node)

    def _notice(self, end: End) -> None:
        rng, late = self.rng, self.rng.randrange(4)
        for side, each in enumerate((end, end.out.reader)):
            if each is not None:
                self.at(rng.uniform(5, 25) if side == late else rng.uniform(0, 0.25), each.node, each.lost)

    def _blind(self) -> None:
        """Lose everything from now on, in one direction or both, and tell nobody."""
        if live := self.live():
            end = self.rng.choice(live)
            self.tell(end.node, "is blind")
            for pipe in self.rng.choice(((end.out,), (end.back,), (end.out, end.back))):
                pipe.left = 0

    def _stall(self) -> None:
        if live := self.live():
            end = self.rng.choice(live)
            self.tell(end.node, "is stalled")
            end.out.stalled = self.now + self.rng.choice((0.3, 1.0, 3.0, 8.0, 20.0))

    def _part(self) -> None:
        """Part the nodes for a while, which may be as long as a session lives."""
        seconds = self.rng.choice((1, 8, 30, self.rng.uniform(30, 100), self.rng.uniform(55, 65)))
        self.tell(None, "parted for", seconds)
        self.parted = True
        self.at(seconds, None, self._join)
        soft = seconds < 20 and self.rng.random() < 0.3
        for end in self.live():
            if soft:
                end.out.stalled = end.back.stalled = self.now + seconds
            elif self.rng.random() < 0.6:
                self._cut(end)
            else:
                end.out.left = end.back.left = 0

    def _join(self) -> None:
        self.parted = False

    def _restart(self) -> None:
        side = self.rng.randrange(2)
        if self.now < self.end:
            self.kill(side)
            self.at(self.rng.choice((0.02, 0.05, 0.3, 1, 5, 40, 80)), None, self.start, side)

    def _replace_at_once(self) -> None:
        """Replace a process so quickly that its successor meets its last words, and is taken for a clone."""
        side = self.rng.randrange(2)
        self.kill(side, late=self.rng.uniform(0.3, 1.9))
        self.at(0.02, None, self.start, side)

    def _leave(self) -> None:
        """Say goodbye, at one end or at both."""
        for side in self.rng.choice(((0,), (1,), (0, 1))):
            node, stop = self.nodes[side], self.rng.random() < 0.5
            if node is not None and node.alive and not node.stopping:
                self.tell(node, "leaves", "for good" if stop else "")
                self.endings.append(self.now)
                self.polite = self.polite and not (stop and node.link is None)  # what is written now is lost
                node.goodbye(stop=stop)
                if stop:
                    self.at(9, None, self._replace, node)

    def _replace(self, node: Node) -> None:
        """A process has ended by itself; another one follows."""
        if self.nodes[node.side] is node:
            self.kill(node.side)
            self.at(self.rng.choice((0.1, 3, 20)), None, self.start, node.side)

    def _freeze(self) -> None:
        if (node := self.rng.choice(self.nodes)) and not node.stopping:
            node.frozen = max(node.frozen, self.now + self.rng.choice((0.5, 1.5, 3.0, 8.0, 20.0)))
            self.tell(node, "is frozen until", node.frozen)

    # ---- what has to be true in the end

    def play(self) -> None:
        """Run it all.

        :raises Broken: when a promise was not kept.
        """
        self.run(self.end)
        self.tell(None, "--- no faults from now on")
        self.mishaps, self.parted, self.polite = 0.0, False, False
        for end in self.live():
            end.out.stalled = end.back.stalled = 0.0
        for side in (0, 1):
            if side == self.lonely:
                self.kill(side)
            self.start(side)
        stopping = any(node is not None and node.stopping for node in self.nodes)
        self.run(self.end + HEALED + FAREWELL * stopping)
        self._judge_links()
        self.run(self.now + SETTLED)
        self._judge_links()
        for sent in self.sent:
            if sent.owner.alive and not sent.told:
                raise Broken(f"packet {sent.number} of side {sent.owner.side} has no end; {sent.runs}")
        for node in self.nodes:
            if node is not None and node.alive:
                left = (node.delivery.queued, node.load.queued, node.load.handlers, node.load.reassembling)
                if left != (0, 0, 0, 0):
                    raise Broken(f"side {node.side} is left with {left}")

    def _judge_links(self) -> None:
        nodes = [node for node in self.nodes if node is not None and node.alive]
        links = [(node.link.out, node.link.back) for node in nodes if node.link is not None]
        if self.lonely is None and (len(links) != 2 or links[0] != links[1][::-1]):
            raise Broken(f"{len(links)} of 2 nodes agree about the link at {self.now}")
        spare = [node.side for node in nodes if len(node.connections) > (self.lonely is None)]
        if spare:
            raise Broken(f"sides {spare} keep connections that nobody needs")

    def tell(self, node: Node | None, *words: object) -> None:
        """Tell the story to who replays a schedule."""
        if self.aloud:
            print(f"{self.now:9.4f}", "" if node is None else f"side {node.side}", *words)


def play(seed: int, *, aloud: bool = False) -> Schedule:
    """Run a schedule; what it raises says how to see it again."""
    schedule = Schedule(seed, aloud=aloud)
    try:
        schedule.play()
    except Exception as error:
        raise Broken(f"seed {seed}: {error!r}; see `python -m tests.sansio.test_schedules {seed}`") from error
    return schedule


def outcomes(seed: int, *, aloud: bool) -> Counter[str]:
    """Run a schedule and count what it has led to, a broken promise included."""
    try:
        return play(seed, aloud=aloud).outcomes
    except Broken as broken:
        print(broken)
        return Counter(["BROKEN"])


class ScheduleTests(SynchronousTestCase):
    """Whatever goes wrong, a sender learns the truth about each packet, and the nodes find each other again."""

    def test_schedules(self) -> None:
        """Packets are handled once and in order, or their senders are told otherwise."""
        seen: Counter[str] = Counter()
        for seed in range(SEEDS):
            seen += play(seed).outcomes
        expected = {"NoneType", "HandlerFailed", "PeerLost", "DeliveryTimeout", "PeerUnreachable", "QueueFull"}
        self.assertEqual(expected - seen.keys(), set(), "these schedules are too peaceful")


class Busy(Node):
    """A node that sends requests as fast as its queue takes them, and whose handlers answer each with a reply."""

    def __init__(self, network: Network, side: int, settings: Settings) -> None:
        super().__init__(network, side, settings, dials=side == 0)
        self.requests = 60
        self.outcomes: list[Exception | None] = []
        network.nodes[side] = self
        self.request()

    def request(self) -> None:
        """Send what the queue takes, and try again soon."""
        try:
            while self.requests:
                self.submit(self.packet(self.outcomes.append, from_handler=False))
                self.requests -= 1
        except QueueFull:
            self.network.at(0.02, self, self.request)

    def packet(self, then: Callable[[Exception | None], None], *, from_handler: bool) -> OutgoingPacket:
        """Return a packet that somebody waits for as long as anybody does."""
        payload = (b"reply" if from_handler else b"request").ljust(6000)
        packet = OutgoingPacket(0, payload, flags=Flag.RECEIPT_NOW, waiter=then, from_handler=from_handler)
        packet.deadline = self.network.now + self.settings.delivery_timeout
        return packet

    def handle(self, packet: DataPacket) -> None:
        """Answer a request; the handler finishes when the reply is handled."""
        if packet.data.startswith(b"reply"):
            self.handled(packet, None)
        else:
            self.load.handlers += 1
            self.reply(packet)

    def reply(self, packet: DataPacket) -> None:
        """Send a reply, until the queue takes it."""

        def then(error: Exception | None) -> None:
            self.load.handlers -= 1
            self.handled(packet, error and str(error))

        try:
            self.submit(self.packet(then, from_handler=True))
        except QueueFull:
            self.network.at(0.02, self, self.reply, packet)

    def ended(self, packet: OutgoingPacket) -> None:
        """Tell the sender."""
        self.network.at(0, self, packet.waiter, packet.error)


class FloodTests(SynchronousTestCase):
    """Requests that fill the queues of both ends leave room for the replies that they wait for."""

    def test_replies(self) -> None:
        """Two nodes that send each other as many requests as they can, and reply to each, get all of them answered."""
        for seed in range(20):
            network = Network(seed)
            nodes = [Busy(network, side, Settings(window=64 * KIB)) for side in (0, 1)]
            network.run(10.0)
            for node in nodes:
                self.assertEqual(node.outcomes, [None] * 60, f"seed {seed}, side {node.side}")


if __name__ == "__main__":
    first, last = int(sys.argv[1]), int(sys.argv[-1])
    total = sum((outcomes(seed, aloud=first == last) for seed in range(first, last + 1)), Counter[str]())
    print(f"seeds {first} to {last}: {dict(total)}")
    sys.exit(1 if total["BROKEN"] else 0)
