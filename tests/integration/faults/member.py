"""The program of a member process: a node that sends what it is told to, and writes down all that happens to packets.

``python -m tests.integration.faults.member CONFIGURATION`` takes the configuration as JSON, and commands as lines of
JSON from its standard input, at whose end it shuts down. Its journal has these entries:

======================================================= ================================================================
``started`` port                                        it listens
``sent`` number, peer, kind, task                       a packet is about to be sent: ``confirmed``, ``plain``,
                                                        ``broadcast``, or ``reply``; `number` is this process's own
``ended`` number, peer, outcome, text                   its sender was told: ``done``, ``failed`` (by the handler),
                                                        ``unhandled`` or ``unknown``
``handled`` sender, life, number, kind, task, flagged   the handler begins; `life` counts the sender's
                                                        processes, `flagged` are those that are redelivered
``finished`` sender, life, number, good                 the handler has ended
``ready`` peer, ``lost`` peer, reason                   a link
``drained`` token                                       nothing is under way any more
``look`` token, links, listed                           who is linked, by which connection; who holds a lease
``trouble`` text                                        a failure was logged that no handler has raised
======================================================= ================================================================
"""

from __future__ import annotations

import json
import random
import sys
from itertools import count
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.stdio import StandardIO
from twisted.internet.task import deferLater
from twisted.logger import LogEvent, formatEvent, globalLogBeginner, textFileLogObserver
from twisted.protocols.basic import LineReceiver

from netlayer import BootstrapService, DataPacket, PeerProtocol, PeerService, Settings
from netlayer.errors import (
    DeliveryError,
    DeliveryTimeout,
    HandlerFailed,
    LinkLost,
    NetlayerError,
    NodeStopped,
    PeerLost,
)
from tests.integration.faults.journal import Journal

reactor: Any = global_reactor

#: What handlers do, and of how many packets in twenty.
TASKS = ("quick",) * 11 + ("slow",) * 5 + ("fail",) * 2 + ("reply",) * 2
#: How packets are sent.
KINDS = ("confirmed",) * 10 + ("plain",) * 9 + ("broadcast",)
#: Bytes that packets carry besides; the largest go in many frames.
SIZES = (0,) * 8 + (100,) * 6 + (5_000,) * 4 + (60_000, 300_000)


class Refused(Exception):
    """The handler fails as it was told to."""


def outcome(error: Exception) -> str:
    """Return what an error says about a packet."""
    if isinstance(error, HandlerFailed):
        return "failed"
    if isinstance(error, PeerLost) or (isinstance(error, DeliveryTimeout) and error.written):
        return "unknown"
    return "unhandled"


class MemberProtocol(PeerProtocol):
    """Hands everything to the member."""

    with_bootstraps = True

    def peer_ready(self) -> None:
        self.factory.application.journal.write("ready", self.peer.node_id)

    def packet_received(self, packet: DataPacket) -> Any:
        return self.factory.application.handle(packet)

    def peer_lost(self, reason: LinkLost) -> None:
        self.factory.application.journal.write("lost", self.peer.node_id, str(reason))


class Member(LineReceiver):
    """The node, its traffic, and the commands that it gets.

    :param configuration: the keyword arguments of the service, and ``life``, ``bootstrap`` (whether it is one),
        ``journal`` (a path).
    """

    delimiter = b"\n"

    def __init__(
        self,
        *,
        journal: str,
        life: int,
        bootstrap: bool,
        listen: list[Any],
        advertise: list[Any] | None,
        bootstraps: list[list[Any]],
        settings: dict[str, float],
        **options: Any,
    ) -> None:
        self.journal = Journal(journal)
        self.life = life
        self._service = (BootstrapService if bootstrap else PeerService)(
            reactor,
            listen=tuple(listen),
            advertise=tuple(advertise) if advertise is not None else None,
            bootstraps=[tuple(where) for where in bootstraps],
            settings=Settings(**settings),
            protocol=MemberProtocol,
            **options,
        )
        self._service.factory.application = self
        self._numbers = count(1)
        self._open: set[tuple[int, int]] = set()  # packets whose senders wait, with their peers
        self._plain: dict[tuple[int, int], int] = {}  # by peer and the number that the peer's protocol gave them
        self._sending = 0
        self._probing = False

    async def run(self) -> None:
        """Start; what goes on is said by commands."""
        await self._service.start(patient=True)

    # ---- Twisted's callbacks

    def connectionMade(self) -> None:
        """Standard input is open."""
        running = Deferred.fromCoroutine(self.run())
        address = self._service.listening
        running.addErrback(lambda failure: failure.trap(NodeStopped)).addErrback(self._failed)
        if address is not None:
            self.journal.write("started", address.port)

    def lineReceived(self, line: bytes) -> None:
        """Do what we are told."""
        command = json.loads(line)
        done = Deferred.fromCoroutine(getattr(self, "do_" + command.pop("do"))(**command))
        done.addErrback(lambda failure: failure.trap(NodeStopped)).addErrback(self._failed)

    def connectionLost(self, reason: object = None) -> None:
        """Whoever had started us wants us to end, or has died."""
        self._service.stop().addCallback(lambda _: reactor.stop()).addErrback(
            lambda failure: failure.trap(ReactorNotRunning)  # a signal has stopped it
        )

    def observe(self, event: LogEvent) -> None:
        """Look for outcomes of plain packets in the log, as any application would, and for what should not be there."""
        numbers = event.get("numbers") or [event[key] for key in ("number",) if key in event]
        if event.get("log_namespace") == "netlayer" and numbers and "peer" in event:
            error = event.get("error") or PeerLost(event["peer"], "")
            for number in numbers:
                self._ended(self._plain.pop((event["peer"], number)), event["peer"], error)
        failure = event.get("log_failure")
        if failure is not None and not failure.check(Refused, NetlayerError):
            self.journal.write("trouble", (formatEvent(event) or "") + failure.getTraceback())

    # ---- commands

    async def do_send(self, peers: list[int], packets: int, seconds: float, seed: int) -> None:
        """Send packets of all sorts, in bursts, over a time."""
        rng = random.Random(seed)
        self._sending += 1
        due, pause = reactor.seconds(), seconds / packets
        while packets > 0:
            burst = min(packets, rng.choice((1, 1, 2, 5, 20)))
            for _ in range(burst):
                self._send(rng.choice(peers), rng.choice(KINDS), rng.choice(TASKS), rng.choice(SIZES), rng)
            packets -= burst
            due += burst * pause
            await deferLater(reactor, max(0.0, due - reactor.seconds()))
        self._sending -= 1

    async def do_probe(self, peers: list[int], every: float) -> None:
        """Send each of some peers a small packet again and again, until told to be quiet."""
        rng = random.Random(0)
        self._probing = True
        while self._probing:
            for peer in peers:
                self._send(peer, "confirmed", "quick", 0, rng)
            await deferLater(reactor, every)

    async def do_quiet(self) -> None:
        """Send no more probes."""
        self._probing = False

    async def do_drain(self, token: int) -> None:
        """Tell when nothing is under way any more."""
        while self._sending or self._open:
            await deferLater(reactor, 0.02)
        for remote in list(self._service.factory.remotes):  # linked right now or not
            await remote.when_drained()
        self.journal.write("drained", token)

    async def do_look(self, token: int) -> None:
        """Tell who is linked, and by which connection; and of whom a bootstrap node tells."""
        links = []
        for link in self._service.factory.link_drivers():
            own, other = link.transport.getHost(), link.transport.getPeer()
            links.append([link.peer.node_id, f"{own.host}:{own.port}", f"{other.host}:{other.port}"])
        self.journal.write("look", token, links, [peer.node_id for peer in self._service.get_peers()])

    # ---- packets

    def handle(self, packet: DataPacket) -> Any:
        """Handle a packet as it says."""
        life, number, kind, task, _ = packet.data
        name = (packet.sender_id, life, number)
        self.journal.write("handled", *name, kind, task, packet.redelivered)
        if task == "quick":
            self.journal.write("finished", *name, True)
            return None
        return self._handle_slowly(packet, name, task)

    async def _handle_slowly(self, packet: DataPacket, name: tuple[int, int, int], task: str) -> None:
        try:
            await deferLater(reactor, random.random() * 0.1)
            if task == "fail":
                raise Refused("as I was told")
            if task == "reply":
                await self._send_confirmed(packet.sender_id, "reply", "quick", b"")
        except BaseException:
            self.journal.write("finished", *name, False)
            raise
        self.journal.write("finished", *name, True)

    def _send(self, peer: int, kind: str, task: str, size: int, rng: random.Random) -> None:
        content = rng.randbytes(size)
        if kind == "broadcast":
            self._broadcast(task, content)
            return
        link = next((link for link in self._service.factory.links() if link.peer.node_id == peer), None)
        if kind == "plain" and link is not None:
            self._send_plain(link, task, content)
        else:
            sent = self._send_confirmed(peer, "confirmed", task, content)
            sent.addErrback(lambda failure: failure.trap(DeliveryError)).addErrback(self._failed)

    def _send_confirmed(self, peer: int, kind: str, task: str, content: bytes) -> Deferred[None]:
        number = next(self._numbers)
        self._opened(number, peer, kind, task)

        def ended(result: Any) -> Any:
            self._ended(number, peer, getattr(result, "value", None))
            return result

        return self._service.send(peer, [self.life, number, kind, task, content]).addBoth(ended)

    def _send_plain(self, link: PeerProtocol, task: str, content: bytes) -> None:
        number, peer = next(self._numbers), link.peer.node_id
        self.journal.write("sent", number, peer, "plain", task)
        try:
            self._plain[peer, link.send_packet([self.life, number, "plain", task, content])] = number
        except DeliveryError as error:
            self._ended(number, peer, error)

    def _broadcast(self, task: str, content: bytes) -> None:
        number = next(self._numbers)
        links = [link for link in self._service.factory.links() if not link.is_bootstrap]
        for link in links:
            self._opened(number, link.peer.node_id, "broadcast", task)

        def ended(report: Any) -> None:
            for peer in report.delivered:
                self._ended(number, peer, None)
            for peer, error in report.failed.items():
                self._ended(number, peer, error)

        sent = self._service.broadcast([self.life, number, "broadcast", task, content])
        sent.addCallback(ended).addErrback(self._failed)

    def _opened(self, number: int, peer: int, kind: str, task: str) -> None:
        self._open.add((number, peer))
        self.journal.write("sent", number, peer, kind, task)

    def _ended(self, number: int, peer: int, error: Exception | None) -> None:
        self._open.discard((number, peer))
        if error is None:
            self.journal.write("ended", number, peer, "done", "")
        else:
            self.journal.write("ended", number, peer, outcome(error), f"{type(error).__name__}: {error}")

    def _failed(self, failure: Any) -> None:
        self.journal.write("trouble", failure.getTraceback())


def main(kind: type[Member] = Member) -> None:
    """Run the member that the command line describes."""
    configuration = json.loads(sys.argv[1])
    member = kind(**configuration)
    log = textFileLogObserver(open(configuration["journal"] + ".log", "a"))  # noqa: SIM115 - open until the end
    globalLogBeginner.beginLoggingTo([log, member.observe], redirectStandardIO=False)
    StandardIO(member)
    reactor.run()


if __name__ == "__main__":
    main()
