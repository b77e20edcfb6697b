"""Peers that come back at another address: where they are dialed from then on, and what is said of that."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from netlayer import PeerService
from netlayer.net.wanted import Reason, Wanted
from netlayer.testing import SimulatedHost, SimulatedInternet
from netlayer.wire.messages import NetAddress, Peers
from tests.testing.network import bootstrap, node


class MovedPeersTestCase(SynchronousTestCase):
    """Two nodes that have met through a bootstrap node; each new process of the mover listens at another port.

    :cvar ephemeral: whether it also has another key.
    """

    ephemeral = False

    def setUp(self) -> None:
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        self.internet = SimulatedInternet(seed=1)
        self.bootstrap = self.internet.add_host("alpha")
        self.bootstrap.run(bootstrap)
        self.stayer, self.mover = self.internet.add_hosts(2, "node")
        self.port = 9000
        self.options: dict[str, Any] = {}
        self.stayer.run(node)
        self.mover.run(self.moving)
        self.internet.run_until(lambda: self.stayer.application.get_peers())

    def moving(self, host: SimulatedHost) -> PeerService:
        """Return the mover's next process."""
        self.port += 1
        identity = host.identity(ephemeral=self.ephemeral)
        return node(host, listen=(host.address, self.port), identity=identity, **self.options)

    def move(self) -> None:
        """Kill the mover and start it again, after its peer has found out."""
        self.mover.crash()
        self.internet.advance(10.0)
        self.mover.restart()
        self.internet.run_until(lambda: self.linked)

    @property
    def linked(self) -> bool:
        return bool(self.stayer.application.get_peers())

    @property
    def wanted(self) -> list[tuple[str, str]]:
        """Where the stayer dials whom it has met, and what comes of it."""
        return [(wanted.address, wanted.state) for wanted in self.stayer.application.status.wanted]

    @property
    def met(self) -> list[Wanted]:
        """Whom the stayer wants because it has met them."""
        return [wanted for wanted in self.stayer.application._membership.wanted if wanted.reason is Reason.MET]

    @property
    def here(self) -> str:
        return f"{self.mover.address}:{self.port}"

    def part(self) -> None:
        """Break the link."""
        for connection in list(self.internet.connections):
            if connection.between(self.stayer, self.mover):
                connection.reset()
        self.internet.run_until(lambda: not self.linked)

    def logged(self, start: str) -> list[str]:
        """Return what the stayer has logged that begins like this."""
        texts = [e["log_format"].format(**e) for e in self.events if e.get("log_namespace") == "netlayer"]
        return [text for text in texts if text.startswith(f"node {self.stayer.number}: {start}")]


class MovedPeersTests(MovedPeersTestCase):
    def test_moved(self) -> None:
        """A peer that comes back at another address and dials is dialed there when the link breaks later."""
        self.move()
        self.assertEqual(self.wanted, [(self.here, "linked")])
        self.assertEqual(self.logged("healed"), [f"node 2: healed: peer 3 at {self.here} is linked again"])
        self.stayer.refuse_accepts()  # so that only it can dial
        self.part()
        self.internet.run_until(lambda: self.linked, 30.0)

    def test_moved_again_and_again(self) -> None:
        """However often it moves, it is wanted once."""
        for _ in range(5):
            self.move()
            self.assertEqual(self.wanted, [(self.here, "linked")])

    def test_told_by_bootstrap(self) -> None:
        """A bootstrap node tells where a peer is that can't dial, when it is not found where it was."""
        self.mover.crash()
        self.internet.advance(10.0)
        self.stayer.refuse_accepts()
        self.mover.restart()
        self.internet.run_until(lambda: self.linked, 150.0)
        self.assertEqual(self.wanted, [(self.here, "linked")])

    def test_told_otherwise(self) -> None:
        """What a bootstrap node tells does not count against an address that has not failed since the link broke."""
        membership = self.stayer.application._membership
        (link,) = [link for link in self.stayer.application.factory.link_drivers() if not link.is_bootstrap]
        record = msgspec.structs.replace(link.record, addresses=(NetAddress(self.mover.address, 9999),))
        self.mover.crash()
        self.internet.run_until(lambda: not self.linked)
        (source,) = self.stayer.application.factory.link_drivers()
        self.assertEqual([wanted.dialer.attempts for wanted in self.met], [0])
        membership.joining.news_received(source, Peers((record,)))
        self.assertEqual([address for address, _ in self.wanted], [self.here])
        self.internet.advance(5.0)
        membership.joining.news_received(source, Peers((record,)))
        self.assertEqual([address for address, _ in self.wanted], [f"{self.mover.address}:9999"])

    def test_wrong_address(self) -> None:
        """Who says a wrong address of its own is dialed there, finds nothing, and harms nobody else."""
        third = self.internet.add_host("third")
        third.run(node)
        self.options = {"advertise": (third.address, 8001)}
        self.internet.run_until(lambda: len(self.stayer.application.get_peers()) == 2)
        self.mover.crash()
        self.internet.advance(10.0)
        self.mover.restart()
        self.internet.run_until(lambda: len(self.stayer.application.get_peers()) == 2)
        self.mover.crash()
        self.internet.advance(60.0)
        (wanted,) = self.stayer.application.status.wanted
        self.assertEqual((wanted.address, wanted.state), (f"{third.address}:8001", "waiting"))
        self.assertIn("expected sha256:", wanted.last_error or "")
        self.assertEqual([peer.node_id for peer in self.stayer.application.get_peers()], [third.number])

    def test_configured(self) -> None:
        """A configured peer is dialed where it was configured, whatever it says; and where it has been meanwhile."""
        other = self.internet.add_host("other")
        other.run(lambda host: node(host, peers=[(self.mover.number, self.mover.address, 9001)]))
        self.internet.run_until(lambda: len(other.application.get_peers()) == 2)
        self.move()
        self.internet.run_until(lambda: len(other.application.get_peers()) == 2)
        self.mover.crash()
        self.internet.run_until(lambda: len(other.application.get_peers()) == 1)
        wanted = {wanted.reason: wanted.address for wanted in other.application._membership.wanted}
        self.assertEqual(wanted[Reason.CONFIGURED], f"{self.mover.address}:9001")
        self.assertEqual(wanted[Reason.MET], self.here)


class NewKeyTests(MovedPeersTestCase):
    ephemeral = True

    def test_new_key(self) -> None:
        """When each process has a key of its own as well, nobody dials for the dead one."""
        for _ in range(4):
            self.move()
            self.internet.advance(1.0)
            self.assertEqual(self.wanted, [(self.here, "linked")])
            (wanted,) = self.met
            self.assertEqual(wanted.fingerprint, self.mover.application.factory.identity.fingerprint)
        self.stayer.refuse_accepts()
        self.part()
        self.internet.run_until(lambda: self.linked, 30.0)

    def test_two_keys(self) -> None:
        """A peer that was missed by two keys is wanted by the one that it shows."""
        (link,) = [link for link in self.stayer.application.factory.link_drivers() if not link.is_bootstrap]
        dead = msgspec.structs.replace(link.record, fingerprint=bytes(32))
        self.mover.crash()
        self.internet.advance(1.0)
        self.stayer.application._membership.joining.want_met(dead)
        self.assertEqual(len(self.wanted), 2)
        self.mover.restart()
        self.internet.run_until(lambda: self.linked, 120.0)
        self.assertEqual(self.wanted, [(self.here, "linked")])


class AskedPeersTests(SynchronousTestCase):
    def test_learned_of_while_asked(self) -> None:
        """A peer that a bootstrap node tells of is linked, also if somebody just sends to it elsewhere and gives up."""
        internet = SimulatedInternet(seed=1)
        internet.add_host("alpha").run(bootstrap)
        peer, silent = internet.add_hosts(2)
        peer.run(node)
        internet.run_until(lambda: peer.application.status.joined)
        silent.crash(silent=True)
        sender = internet.add_host("sender")
        service = sender.run(node)
        sent = service.send((peer.number, silent.address, 8001), "hello")
        internet.run_until(lambda: service.status.joined)
        sent.addErrback(lambda _: None)
        sent.cancel()
        internet.advance(10.0)
        self.assertEqual([each.node_id for each in service.get_peers()], [peer.number])
