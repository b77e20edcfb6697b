"""Senders are asked to pause before their packets are refused, whichever limit refuses them."""

from __future__ import annotations

import random
from typing import Any

from netlayer.errors import QueueFull
from netlayer.net.remote import Remote
from tests.memory import MemoryTestCase

KIB = 1024


class NodeLimitTests(MemoryTestCase):
    """One node, and peers that read nothing: their queues only grow, until the test has something withdrawn."""

    def setUp(self) -> None:
        super().setUp()
        self.looks = 0
        self.node = self.factory(1, queue_limit=256 * KIB, node_queue_limit=1024 * KIB)
        look_at_pauses = self.node.remotes.look_at_pauses

        def count() -> None:
            self.looks += 1
            look_at_pauses()

        self.patch(self.node.remotes, "look_at_pauses", count)
        self.sent: dict[Remote, list[Any]] = {}

    def tearDown(self) -> None:
        for remote in list(self.sent):
            self.withdraw(remote, len(self.sent[remote]))
        self.node.stop()
        self.settle()
        self.assert_at_rest([self.node])

    def peers(self, count: int) -> list[Remote]:
        """Return so many more peers."""
        return [self.node.remotes.with_id(len(self.sent) + number + 2) for number in range(count)]

    def send(self, remote: Remote, size: int) -> bool:
        """Send a packet; return whether it was refused."""
        try:
            sent = self.node.submit_confirmed(remote, self.node.make_packet(bytes(size), confirm=True))
        except QueueFull:
            return True
        sent.addErrback(lambda _: None)
        self.sent.setdefault(remote, []).append(sent)
        return False

    def withdraw(self, remote: Remote, count: int) -> None:
        """Make room by so many packets of a peer."""
        waiting = self.sent.get(remote, [])
        for sent in waiting[:count]:
            sent.cancel()
        del waiting[:count]

    def test_many_slow_peers(self) -> None:
        """Whoever stops when asked to is refused nothing, and all go on when there is room again."""
        peers = self.peers(20)
        sent = 0
        while sending := [peer for peer in peers if not peer.sending_paused]:
            for peer in sending:
                self.assertFalse(self.send(peer, 4 * KIB))
                sent += 1
        self.assertGreater(sent * 4 * KIB, 256 * KIB)
        for peer in peers:
            self.withdraw(peer, len(self.sent[peer]) // 2 + 1)
        self.assertEqual([peer for peer in peers if peer.sending_paused], [])
        self.assertLess(self.looks, 4)

    def test_who_has_stopped_before(self) -> None:
        """A peer that was sent nothing while others have filled the node has been asked to pause all the same."""
        first, *others = self.peers(10)
        for _ in range(12):
            self.assertFalse(self.send(first, 4 * KIB))
        self.assertFalse(first.sending_paused)
        while not all(other.sending_paused for other in others):
            for other in others:
                if not other.sending_paused:
                    self.send(other, 4 * KIB)
        self.assertTrue(first.sending_paused)

    def test_quick_peers(self) -> None:
        """A peer with next to nothing in its queue goes on while the slow ones pause."""
        *slow, quick = self.peers(6)
        for peer in slow:
            while not peer.sending_paused:
                self.send(peer, 4 * KIB)
        for _ in range(1000):
            self.assertFalse(self.send(quick, KIB))
            self.withdraw(quick, 1)
        self.assertFalse(quick.sending_paused)
        self.assertLess(self.looks, 4)

    def test_room_by_others(self) -> None:
        """A peer that reads nothing goes on, too, when others have made room."""
        peers = self.peers(10)
        while not all(peer.sending_paused for peer in peers):
            for peer in peers:
                if not peer.sending_paused:
                    self.send(peer, 4 * KIB)
        for peer in peers[1:]:
            self.withdraw(peer, len(self.sent[peer]))
        self.assertEqual([peer for peer in peers if peer.sending_paused], [])

    def test_any_schedule(self) -> None:
        """Whatever is sent and withdrawn, nobody is refused that was not asked to pause, and the last ones go on."""
        for seed in range(20):
            rng = random.Random(seed)
            peers = self.peers(rng.randrange(2, 12))
            self.looks = packets = 0
            for _ in range(1500):
                peer = rng.choice(peers)
                if rng.random() < 0.6:
                    was_paused = peer.sending_paused
                    if self.send(peer, rng.choice((0, KIB, 8 * KIB, 40 * KIB))):
                        self.assertTrue(was_paused)
                    packets += 1
                else:
                    self.withdraw(peer, rng.randrange(1, 9))
                if rng.random() < 0.01:
                    peers += self.peers(3)
            self.assertLess(self.looks, packets / 5)
            for peer in peers:
                self.withdraw(peer, len(self.sent.get(peer, [])))
            self.assertEqual([peer for peer in peers if peer.sending_paused], [])
