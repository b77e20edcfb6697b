"""The application of the property runs: a process that sends what it is asked to and handles as the sender has planned.

The nodes below it are what users run: a PeerService with a subclass of PeerProtocol, a BootstrapService, or a Node.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher

from netlayer import BootstrapService, DataPacket, Node, PeerProtocol, PeerService
from netlayer.config import Settings
from netlayer.errors import LinkLost, NetlayerError
from netlayer.testing import SimulatedHost
from tests.properties.ledger import Handling, Ledger, Plan, Sent

__all__ = ["Life", "Member", "PlannedFailure", "number_in"]


class PlannedFailure(Exception):
    """A handler was asked to fail."""


def number_in(data: Any) -> int:
    """Return the number that the data of a packet carries."""
    if isinstance(data, dict):
        return int(data["number"])
    if isinstance(data, list):
        return int(data[0])
    return int(data.split()[0])


class Member(PeerProtocol):
    """One link of a member of the network."""

    with_bootstraps = True

    def peer_ready(self) -> None:
        """Take the place of the connection before."""
        self._life.ready(self)

    def packet_received(self, packet: DataPacket) -> Any:
        """Handle a packet."""
        self._life.ledger.demand(
            self._life.members.get(self.link.fingerprint) is self, "packets come while a peer is ready"
        )
        return self._life.handle(packet, self)

    def peer_lost(self, reason: LinkLost) -> None:
        """Note which packets have an unknown outcome."""
        self._life.lost(self, reason)

    @property
    def _life(self) -> Life:
        life: Life = self.factory.application
        return life


class Life:
    """One process of a host, from its start to its end.

    :param slack: tells by how many seconds stalls and jumps of the clock may have delayed the timers of a host since a
        moment.
    :param slow: tells for how many seconds one of two hosts has read slowly since a moment.
    :param calm: tells whether nothing has gone wrong yet.
    :ivar members: the protocol that is ready, by the fingerprint of its peer.
    :ivar stopping: whether it was asked to end.
    """

    def __init__(
        self,
        host: SimulatedHost,
        ledger: Ledger,
        *,
        node_id: int,
        kind: str,
        settings: Settings,
        ephemeral: bool,
        has_predecessor: bool,
        slack: Callable[[str, float], float],
        slow: Callable[[str, str, float], float],
        calm: Callable[[], bool],
        **options: Any,
    ) -> None:
        self.host = host
        self.ledger = ledger
        self.node_id = node_id
        self.kind = kind
        self.settings = settings
        self.ephemeral = ephemeral
        self.has_predecessor = has_predecessor
        self.reactor = host.reactor
        ledger.hosts[node_id] = host
        self.began = host.internet.now
        self.stopping = False
        self._slack = slack
        self._slow = slow
        self._calm = calm
        self.members: dict[bytes, PeerProtocol] = {}
        self.former: dict[int, PeerProtocol] = {}  # by node id: the last connection that was lost
        identity = host.identity(ephemeral=ephemeral)
        self.fingerprint = identity.fingerprint
        options |= {"identity": identity, "rng": host.rng, "settings": settings}
        self.program: Any
        if kind == "node":
            self.program = Node(node_id, host.address, 8001, reactor=host.reactor, **options)
            self.service: PeerService = self.program._service
            self.program.handle_data = lambda packet: self.handle(packet, None)
        else:
            service_class = BootstrapService if kind == "bootstrap" else PeerService
            port = 8000 if kind == "bootstrap" else 8001
            self.service = self.program = service_class(
                host.reactor, node_id=node_id, listen=(host.address, port), protocol=Member, **options
            )
            self.service.factory.application = self
        self.program.life = self
        self.service.factory.log.observer = self._observe
        self.reactor.addSystemEventTrigger("before", "shutdown", self._stop_begins)

    def __repr__(self) -> str:
        return f"<{self.host.name} {self.node_id} since {self.began:.2f} s>"

    @property
    def lives(self) -> bool:
        """Whether the process runs, and was not asked to end."""
        return not self.stopping and self.reactor.alive

    @property
    def clock(self) -> float:
        """The time of its clock."""
        return self.reactor.seconds()

    def sent_at(self, target: int) -> float:
        """Return when bytes for a node have last left the process, in virtual time; -inf if none has."""
        return self.reactor.sent_at.get(self.ledger.hosts[target], -inf)

    def slack(self, since: float) -> float:
        """Return by how many seconds its timers may have been delayed since a moment."""
        return self._slack(self.host.name, since)

    def slow(self, target: int, since: float) -> float:
        """Return for how many seconds its host or that of a node has read slowly since a moment."""
        return self._slow(self.host.name, self.ledger.hosts[target].name, since)

    # ---- sending

    def send(self, peer: Any, target: int, plan: Plan, data: Callable[[int], Any]) -> Deferred[bool]:
        """Send a packet to an id; the Deferred fires with whether it was handled."""
        return self._confirmed(target, plan, data, lambda value: self.service.send(peer, value))

    def send_on(self, protocol: PeerProtocol, plan: Plan, data: Callable[[int], Any], *, confirm: bool) -> Any:
        """Send a packet on a connection, which may have been lost."""
        target = protocol.peer.node_id
        if confirm:
            return self._confirmed(target, plan, data, lambda value: protocol.send_packet(value, confirm=True))
        number = self.ledger.next_number()
        value = data(number)
        packet = self.ledger.sent(number, self, target, "plain", plan, value)
        try:
            caller_number = protocol.send_packet(value)
        except NetlayerError as error:
            self.ledger.ended(packet, error)
        else:
            self.ledger.numbered(packet, caller_number)
        return None

    def broadcast(self, plan: Plan, data: Callable[[int], Any]) -> None:
        """Send a packet to everybody who is listed."""
        number = self.ledger.next_number()
        value = data(number)
        copies = {
            peer.node_id: self.ledger.sent(number, self, peer.node_id, "broadcast", plan, value)
            for peer in self.service.factory.peers()
        }

        def reported(report: Any) -> None:
            outcomes: dict[int, Any] = dict.fromkeys(report.delivered) | dict(report.failed)
            self.ledger.demand(
                outcomes.keys() == copies.keys(), "broadcast {} of {} reports on all peers", number, self
            )
            for target, error in outcomes.items():
                if target in copies:
                    self.ledger.ended(copies[target], error)

        def failed(failure: Any) -> None:
            for copy in copies.values():
                self.ledger.ended(copy, failure.value)

        _ = self.service.broadcast(value).addCallbacks(reported, failed)

    def _confirmed(
        self, target: int, plan: Plan, data: Callable[[int], Any], send: Callable[[Any], Deferred[None]]
    ) -> Deferred[bool]:
        number = self.ledger.next_number()
        value = data(number)
        packet = self.ledger.sent(number, self, target, "confirmed", plan, value)
        handled: Deferred[bool] = Deferred()

        def ended(result: Any) -> None:
            error = getattr(result, "value", None)
            self.ledger.ended(packet, error)
            handled.callback(error is None)

        try:
            sent = send(value)
        except NetlayerError as error:
            self.ledger.ended(packet, error)
            handled.callback(False)
        else:
            self._cancel_sometimes(packet, sent)
            _ = sent.addBoth(ended)
        return handled

    def _cancel_sometimes(self, packet: Sent, sent: Deferred[None]) -> None:
        """Change one's mind about every fiftieth packet."""
        if packet.number % 50 == 7:

            def cancel() -> None:
                if not packet.reported and self.lives:
                    packet.cancelled = True
                    sent.cancel()

            self.later(0.05 * (packet.number % 7), cancel)

    # ---- handling

    def handle(self, packet: DataPacket, protocol: PeerProtocol | None) -> Any:
        """Do what the sender of a packet has planned."""
        begun = self.ledger.begun(self, number_in(packet.data), packet)
        if begun is None:
            return None
        sent, handling = begun
        plan = sent.plan
        if plan.is_coroutine:
            return self._coroutine(sent, handling, protocol)
        if plan.delay is None and plan.reply is None:
            return self._end(sent, handling, not plan.fails)
        return self._after_all(sent, protocol).addCallback(lambda good: self._end(sent, handling, good))

    async def _coroutine(self, sent: Sent, handling: Handling, protocol: PeerProtocol | None) -> None:
        self._end(sent, handling, await self._after_all(sent, protocol))

    def _after_all(self, sent: Sent, protocol: PeerProtocol | None) -> Deferred[bool]:
        """Return a Deferred that fires when the handler is through, with whether it succeeds."""
        plan = sent.plan
        over: Deferred[bool] = Deferred()
        if plan.delay is None:
            over.callback(not plan.fails)
        else:
            self.later(plan.delay, over.callback, not plan.fails)
        if plan.reply is not None:
            _ = over.addCallback(lambda good: self._reply(sent, protocol, good))
        return over

    def _reply(self, sent: Sent, protocol: PeerProtocol | None, good: bool) -> Any:
        back = Plan(fails=sent.number % 5 == 0, is_coroutine=sent.number % 3 == 0)

        def data(number: int) -> Any:
            return f"{number} answers {sent.number}"

        if sent.plan.reply == "confirmed" or protocol is None:
            answered = self.send(sent.sender.node_id, sent.sender.node_id, back, data)
            return answered.addCallback(lambda handled: handled and good)
        self.send_on(protocol, back, data, confirm=False)
        return good

    def _end(self, sent: Sent, handling: Handling, good: bool) -> None:
        self.ledger.finished(handling, good)
        if not good:
            raise PlannedFailure(f"as planned for packet {sent.number}.")

    def later(self, seconds: float, function: Callable[..., Any], *args: Any) -> None:
        """Call a function of the process after so many seconds, whatever its clock does."""
        self.host.internet.call_later(seconds, self.reactor.turn, b"application", function, *args)

    # ---- links

    def ready(self, protocol: PeerProtocol) -> None:
        """A peer is linked."""
        before = self.members.get(protocol.link.fingerprint)
        self.ledger.demand(before is None, "{} loses a peer before it is ready again: {}", self, protocol.peer)
        self.ledger.demand(protocol.link.fingerprint != self.fingerprint, "{} has no link to itself", self)
        self.members[protocol.link.fingerprint] = protocol
        self.ledger.tell(self, "is linked to", protocol.peer.node_id)

    def lost(self, protocol: PeerProtocol, reason: LinkLost) -> None:
        """A peer is not linked any more."""
        self.ledger.tell(self, "has lost", protocol.peer.node_id, reason)
        if "replaced" in reason.reason:
            self.ledger.demand(not self._calm(), "{} gives up no link that answers: {}", self, protocol.peer)
        self.ledger.demand(
            self.members.pop(protocol.link.fingerprint, None) is protocol, "{} loses what was ready", self
        )
        self.former[protocol.peer.node_id] = protocol
        self.ledger.unknown(self, protocol.peer.node_id, reason.unknown, "peer_lost")

    def disconnect(self, fingerprint: bytes) -> None:
        """Say goodbye to a peer."""
        if fingerprint in self.members:
            self.members[fingerprint].disconnect()

    # ---- private

    def _observe(self, event: dict[str, Any]) -> None:
        """Pick out of the log what it tells of plain packets."""
        text = event["log_format"]
        if text.endswith("packet {number} to peer {peer} failed: {error}"):
            self.ledger.failed(self, event["peer"], event["number"], event["error"])
        elif "the outcome of {count} packets" in text:
            self.ledger.unknown(self, event["peer"], tuple(event["numbers"]), "the log")
        globalLogPublisher(event)

    def _stop_begins(self) -> None:
        """The process was asked to end, which never takes longer than it may."""
        self.stopping = True
        began, clock = self.host.internet.now, self.clock

        def stopped(_: None) -> None:
            elapsed, limit = self.clock - clock, self.settings.shutdown_timeout + 0.1
            if elapsed > limit:
                limit += self.slack(began)
            self.ledger.demand(elapsed <= limit, "{} stops within {:.2f} s, not {:.2f} s", self, limit, elapsed)
            waiting = [packet for packet in self.ledger.waiting if packet.sender is self]
            self.ledger.demand(not waiting, "{} ends every Deferred before it stops: {}", self, waiting)

        _ = self.service.when_stopped().addCallback(stopped)
