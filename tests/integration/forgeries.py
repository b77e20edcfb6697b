"""Registrations that are forged, replayed, or of ids of others: the bootstrap node accepts none and writes nothing.

``python -m tests.integration.forgeries --attempts 10000`` is the long run; the suite has a short one. Half of those who
try know the network's secret, which any member does.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react

from netlayer import BootstrapNode, Node
from netlayer.sansio.link.proof import Channel
from netlayer.sansio.trust.tickets import issue_ticket
from netlayer.storage.admission import Admission
from netlayer.storage.bindings.file import BINDINGS_FILE
from netlayer.wire.messages import Hello, Peers, Record, Register, Registered, Reject, Ticket, Welcome
from tests.integration.killed_bootstrap import dial
from tests.integration.network import QUICK
from tests.integration.stranger import Stranger, reactor, until

__all__ = ["Forgeries"]

SECRET = "the secret of a network that many attack"
#: Attempts under way at once.
AT_ONCE = 16

Forgery = Callable[["Forgeries", Stranger, bool], Any]


class Forgeries:
    """A bootstrap node that holds ids of honest nodes, and those who want them.

    :ivar outcomes: how many attempts of each kind ended with which code.
    """

    def __init__(self, directory: Path, rng: random.Random) -> None:
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self._directory = directory
        self._rng = rng
        self._secrets = Admission.from_options("default", secret=SECRET).secrets
        self._overheard: list[Hello] = []

    async def start(self) -> None:
        """Start the bootstrap node and have two ids bound, of a node that is linked and of one that is away."""
        options: dict[str, Any] = {"network_secret": SECRET, "reactor": reactor, "settings": QUICK}
        self.bootstrap = BootstrapNode(1, "127.0.0.1", 0, data_dir=self._directory / "1", **options)
        await self.bootstrap.start_node()
        self.nodes = [
            Node(n, "127.0.0.1", 0, ("127.0.0.1", self.bootstrap.port), data_dir=self._directory / str(n), **options)
            for n in (2, 3)
        ]
        for node in self.nodes:
            await node.start_node()
        self._tickets: list[Ticket] = [node._service.factory.local.ticket for node in self.nodes]  # type: ignore[misc]
        await self.nodes[1].shutdown()
        self._key = self.bootstrap._service.factory.identity
        self.before = self._file()

    async def stop(self) -> None:
        """Stop all nodes."""
        for node in (*self.nodes, self.bootstrap):
            await node.shutdown()

    async def attempt(self, attempts: int) -> None:
        """Make so many attempts.

        :raises AssertionError: when one of them is accepted, or anything was written.
        """
        numbers = iter(range(attempts))
        await gatherResults([Deferred.fromCoroutine(self._attack(numbers)) for _ in range(AT_ONCE)])
        await until(lambda: {peer.node_id for peer in self.bootstrap.get_peers()} == {2})
        assert self._file() == self.before, "the file of bindings has changed"

    # ---- private

    def _file(self) -> tuple[object, int]:
        store = self.bootstrap._service.factory.store
        file = store._file  # type: ignore[attr-defined]
        return file.holdings(), file._about().changes

    async def _attack(self, numbers: Iterator[int]) -> None:
        for number in numbers:
            kind, forge = FORGERIES[number % len(FORGERIES)]
            stranger = await dial(self.bootstrap.port, self._rng.choice((2, 3)))
            stranger.answers_pings = False
            forge(self, stranger, number // len(FORGERIES) % 2 == 0)
            heard = await self._answer(stranger)
            self.outcomes[kind, heard] += 1
            leaving: Any = stranger.leave()
            if leaving is not None:
                await leaving

    async def _answer(self, stranger: Stranger) -> str:
        """Return with which code the bootstrap node has refused somebody."""
        await until(lambda: stranger.closed or stranger.heard)
        if any(isinstance(message, Welcome) for message in stranger.heard):
            await stranger.next(Welcome)
            await stranger.become_link()
            stranger.say(Register((), False))
            await until(lambda: stranger.closed or any(isinstance(m, Registered) for m in stranger.heard))
        assert not any(isinstance(message, Registered) for message in stranger.heard), stranger.heard
        refusals = [message.code for message in stranger.heard if isinstance(message, Reject)]
        assert refusals, f"closed without a word: {stranger.heard}"
        return refusals[0]

    def _say(self, stranger: Stranger, member: bool, **changes: Any) -> None:
        """Introduce a stranger, with a proof of the secret if it is a member."""
        changes = {"ephemeral": False} | changes
        node_id = changes.get("node_id", stranger.node_id)
        proof = self._channel(stranger).dialer_proof(self._secrets[0], dialer_id=node_id) if member else b""
        hello = stranger.hello(**({"proof": proof} | changes))
        self._overheard = [*self._overheard[-9:], hello]
        stranger.say(hello, Register((), False))

    def _channel(self, stranger: Stranger) -> Channel:
        binding = stranger.transport.getHandle().export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
        return Channel(binding, stranger.identity.fingerprint, stranger.other, "default")

    def _record(self, stranger: Stranger) -> Record:
        return Record(stranger.node_id, stranger.identity.fingerprint, (), 1, False)

    def _ticket(self, stranger: Stranger, signer: Any, *, issued: float) -> Ticket:
        return issue_ticket(signer, "default", self._record(stranger), issued=int(issued), now=time.time())

    # ---- the kinds of forgeries

    def id_of_another(self, stranger: Stranger, member: bool) -> None:
        """Claim the id of another."""
        self._say(stranger, member)

    def ephemeral(self, stranger: Stranger, member: bool) -> None:
        """Claim it as a process that has just started."""
        self._say(stranger, member, ephemeral=True)

    def own_id_of_bootstrap(self, stranger: Stranger, member: bool) -> None:
        """Claim the id of the bootstrap node."""
        self._say(stranger, member, node_id=1, role="bootstrap")

    def stolen_ticket(self, stranger: Stranger, member: bool) -> None:
        """Show the ticket of who holds the id."""
        self._say(stranger, member, ticket=self._tickets[stranger.node_id - 2])

    def altered_ticket(self, stranger: Stranger, member: bool) -> None:
        """Put one's own key into that ticket."""
        ticket = self._tickets[stranger.node_id - 2]
        self._say(
            stranger,
            member,
            ticket=msgspec.structs.replace(ticket, fingerprint=stranger.identity.fingerprint, issued=1),
        )

    def self_signed(self, stranger: Stranger, member: bool) -> None:
        """Sign an early ticket with one's own key."""
        self._say(stranger, member, ticket=self._ticket(stranger, stranger.identity, issued=1))

    def under_its_name(self, stranger: Stranger, member: bool) -> None:
        """Sign it with one's own key, and say that it was the bootstrap node."""
        signed = self._ticket(stranger, stranger.identity, issued=1)
        self._say(stranger, member, ticket=msgspec.structs.replace(signed, signer=self._key.public_key))

    def random_signature(self, stranger: Stranger, member: bool) -> None:
        """Guess a signature."""
        signed = self._ticket(stranger, stranger.identity, issued=1)
        guessed = msgspec.structs.replace(signed, signer=self._key.public_key, signature=self._rng.randbytes(70))
        self._say(stranger, member, ticket=guessed)

    def later_ticket(self, stranger: Stranger, member: bool) -> None:
        """Show a ticket that the bootstrap node did sign, at another time, after it had bound the id."""
        self._say(stranger, member, ticket=self._ticket(stranger, self._key, issued=time.time() + 1))

    def other_network(self, stranger: Stranger, member: bool) -> None:
        """Show an early ticket of the same bootstrap node for another network."""
        ticket = issue_ticket(self._key, "another", self._record(stranger), issued=1, now=time.time())
        self._say(stranger, member, ticket=ticket)

    def expired(self, stranger: Stranger, member: bool) -> None:
        """Show an early ticket that has expired."""
        ticket = issue_ticket(self._key, "default", self._record(stranger), issued=1, now=1000.0)
        self._say(stranger, member, ticket=ticket)

    def replayed(self, stranger: Stranger, member: bool) -> None:
        """Repeat an introduction of another connection, whose proof was good there."""
        hello = self._rng.choice(self._overheard) if self._overheard else stranger.hello()
        stranger.say(msgspec.structs.replace(hello, node_id=stranger.node_id), Register((), False))

    def early(self, stranger: Stranger, member: bool) -> None:
        """Register without an introduction."""
        stranger.say(Register((), False))

    def news(self, stranger: Stranger, member: bool) -> None:
        """Claim an id as a bootstrap node, and tell of bindings that were never made."""
        self._say(stranger, member, role="bootstrap")
        stranger.say(Registered(1.0, records=(self._record(stranger),)), Peers((self._record(stranger),)))


FORGERIES: list[tuple[str, Forgery]] = [
    (name, forge)
    for name, forge in vars(Forgeries).items()
    if callable(forge) and not name.startswith("_") and name not in ("start", "stop", "attempt")
]


async def run(attempts: int, seed: int) -> None:
    """Make so many attempts, and print how each kind of them has ended."""
    with tempfile.TemporaryDirectory() as name:
        forgeries = Forgeries(Path(name), random.Random(seed))
        await forgeries.start()
        began = time.monotonic()
        await forgeries.attempt(attempts)
        took = time.monotonic() - began
        await forgeries.stop()
    for (kind, code), times in sorted(forgeries.outcomes.items()):
        print(f"{kind.replace('_', ' '):<22} {code:<20} {times:>6}")
    print(f"{forgeries.outcomes.total()} attempts in {took:.0f} s: 0 accepted, {BINDINGS_FILE} unchanged")


def main() -> None:
    """Run it as a program."""
    parser = argparse.ArgumentParser(prog="python -m tests.integration.forgeries", description=__doc__)
    parser.add_argument("--attempts", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    react(lambda _: Deferred.fromCoroutine(run(options.attempts, options.seed)), ())


if __name__ == "__main__":
    main()
