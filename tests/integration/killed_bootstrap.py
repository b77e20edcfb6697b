"""A bootstrap node is killed with SIGKILL while ids register: no id is lost that a node was told it has.

Half of the nodes then replace their key: no former key comes back when a node was told that its successor has the id.

``python -m tests.integration.killed_bootstrap --rounds 200`` is the long run; the suite has a short one. The bootstrap
node is a process of its own, on one data directory from the first round to the last.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater, react

from netlayer import Identity
from netlayer.storage.bindings.file import BINDINGS_FILE, BindingFile
from netlayer.wire.messages import Register, Registered, RejectCode
from tests.integration.processes import Script
from tests.integration.stranger import Stranger, reactor, until

__all__ = ["KilledBootstrap", "dial"]

SOURCE = """
    from netlayer import BootstrapNode

    bootstrap = BootstrapNode(1, "localhost", 0, data_dir={directory!r})
    bootstrap.start_bootstrap_node()
    print("port", bootstrap.port, flush=True)
    bootstrap.wait()
    """
#: Nodes that register at once.
NODES = 16


async def dial(port: int, node_id: int, identity: Identity | None = None) -> Stranger:
    """Return a stranger that is connected to a node of this machine."""
    stranger = Stranger(node_id, identity=identity)
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
    await endpoint.connect(stranger.tls.secured(Factory.forProtocol(lambda: stranger), dials=True))
    await stranger.secured
    return stranger


@attrs.define
class KilledBootstrap:
    """A bootstrap node that is killed again and again.

    :param directory: its data directory.
    :ivar acknowledged: the key of each id of which a node was told that it has it.
    :ivar rounds: how often it was killed.
    :ivar replaced: the former identity of each id whose key was replaced since, as its node was told.
    :ivar under_way: registrations that were under way when it was killed.
    """

    directory: Path
    rng: random.Random
    acknowledged: dict[int, bytes] = attrs.Factory(dict)
    replaced: dict[int, Identity] = attrs.Factory(dict)
    rounds: int = 0
    under_way: int = 0
    _next_id: int = 2
    _wanted: dict[int, bytes] = attrs.Factory(dict)  # new keys of ids, of which nobody knows whether they have them

    @property
    def answers(self) -> int:
        """How many registrations were acknowledged."""
        return len(self.acknowledged) + len(self.replaced)

    async def round(self) -> None:
        """Have nodes register until the bootstrap node is killed, at a random moment, and look what it has kept.

        :raises AssertionError: when an id was lost, or another key may have it.
        """
        script = Script(SOURCE.format(directory=str(self.directory)))
        try:
            port = int(script.read(r"^port (\d+)$")[1])
            if self.acknowledged:
                await self._refused(port, self.rng.choice(list(self.acknowledged)), None)
            if self.replaced:
                await self._refused(port, *self.rng.choice(list(self.replaced.items())))
            registering = gatherResults([Deferred.fromCoroutine(self._register(port)) for _ in range(NODES)])
            enough = self.answers + self.rng.randrange(40)
            await until(lambda: self.answers >= enough, within=60.0)
            await deferLater(reactor, self.rng.uniform(0.0, 0.02))
            script.process.kill()
            script.process.wait()
            await registering
            self.rounds += 1
            self._judge()
            assert "Traceback" not in script.err, str(script)
        finally:
            script.kill()

    # ---- private

    async def _register(self, port: int) -> None:
        """Register one id after the other, and new keys of some, until the bootstrap node is gone."""
        while True:
            self._next_id += 1
            node_id, identity = self._next_id, Identity.generate()
            if not await self._registered(port, node_id, identity):
                return
            if self.rng.random() < 0.5:
                new = identity.successor()
                self._wanted[node_id] = new.fingerprint
                if not await self._registered(port, node_id, new):
                    return
                self.replaced[node_id] = identity

    async def _registered(self, port: int, node_id: int, identity: Identity) -> bool:
        """Register with a key; return whether that was acknowledged before the bootstrap node was gone."""
        try:
            stranger = await dial(port, node_id, identity)
        except Exception:  # whatever a connection to a killed process ends with
            return False
        try:
            await stranger.link(ephemeral=False)
            stranger.say(Register((), False))
            await stranger.next(Registered)
        except AssertionError:  # closed, without the message
            self.under_way += 1
            return False
        self.acknowledged[node_id] = identity.fingerprint
        self._wanted.pop(node_id, None)
        leaving: Any = stranger.leave()
        if leaving is not None:
            await leaving
        return True

    async def _refused(self, port: int, node_id: int, former: Identity | None) -> None:
        """See that another key, or the former one, does not get an id that was acknowledged."""
        stranger = await dial(port, node_id, former)
        stranger.say(stranger.hello(ephemeral=False))
        code = (await stranger.refused()).code
        assert code == RejectCode.ID_TAKEN, f"another key that claims the id {node_id} is told {code}"

    def _judge(self) -> None:
        """See that each id that was acknowledged is bound to its key, in a copy of what the killed process left.

        A new key of which nothing was heard has the id or has not.
        """
        with tempfile.TemporaryDirectory() as name:
            for path in self.directory.glob(f"{BINDINGS_FILE}*"):
                shutil.copy(path, name)
            file = BindingFile(Path(name) / BINDINGS_FILE, network="default")
            held = {binding.node_id: binding.fingerprint for binding in file.holdings().bindings}
            file.close()
        for node_id, key in list(self._wanted.items()):
            if held.get(node_id) == key:
                self.acknowledged[node_id] = self._wanted.pop(node_id)
        lost = {node_id for node_id, key in self.acknowledged.items() if held.get(node_id) != key}
        assert not lost, f"round {self.rounds}: of {len(self.acknowledged)} ids these were lost: {sorted(lost)}"


async def run(rounds: int, seed: int) -> None:
    """Kill it so often, and print figures."""
    with tempfile.TemporaryDirectory() as name:
        killed = KilledBootstrap(Path(name) / "data", random.Random(seed))
        for _ in range(rounds):
            await killed.round()
            if killed.rounds % 20 == 0:
                print(
                    f"killed {killed.rounds} times, {killed.under_way} registrations under way; "
                    f"{len(killed.acknowledged)} acknowledged, {len(killed.replaced)} of them with a new key, 0 lost",
                    flush=True,
                )


def main() -> None:
    """Run it as a program."""
    parser = argparse.ArgumentParser(prog="python -m tests.integration.killed_bootstrap", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    react(lambda _: Deferred.fromCoroutine(run(options.rounds, options.seed)), ())


if __name__ == "__main__":
    main()
