"""Callers that give up while the peer makes room for what they send."""

from __future__ import annotations

from typing import Any

from netlayer.errors import DeliveryTimeout
from netlayer.sansio.bootstrap.reservations import Reservation
from netlayer.sansio.delivery.timeouts import Wait
from tests.memory import MemoryTestCase

MIB = 1024 * 1024


class GivingUpTests(MemoryTestCase):
    """A peer that has no room for a large packet, and a small packet behind it."""

    def setUp(self) -> None:
        super().setUp()
        self.us, self.peer = self.factory(1), self.factory(2)
        self.link(self.us, self.peer)
        self.taken = Reservation(1, 64 * MIB)
        self.peer.load.reservations.ask(self.taken, limit=64 * MIB)
        self.pass_time(1.0)
        self.large = self.send(bytes(MIB), timeout=1.0)
        self.small = self.send(b"small")
        self.settle()
        self.assertEqual(self.peer.application[1:], [])

    def tearDown(self) -> None:
        for factory in (self.us, self.peer):
            factory.stop()
        self.pass_time(20.0)
        self.assert_at_rest([self.us, self.peer])

    def send(self, data: bytes, timeout: float = 10.0) -> Any:
        """Send a packet."""
        (remote,) = self.us.remotes
        return self.us.submit_confirmed(remote, self.us.make_packet(data, confirm=True), Wait(seconds=timeout))

    def assertGoneOn(self) -> None:
        """Assert that the small packet is there without delay, and that the peer keeps no room for the large one."""
        self.settle()
        self.reactor.advance(0.01)
        self.settle()
        self.assertEqual(self.peer.application[1:], [(1, b"small")])
        self.successResultOf(self.small)
        self.peer.load.reservations.release(self.taken)
        self.assertEqual(self.peer.load.reservations.reserved, 0)

    def test_cancelled(self) -> None:
        """When the large one is cancelled, the small one goes at once."""
        self.large.cancel()
        self.large.addErrback(lambda _: None)
        self.assertGoneOn()

    def test_timed_out(self) -> None:
        """When the large one has timed out, the small one goes at once."""
        self.reactor.advance(1.0)
        self.failureResultOf(self.large, DeliveryTimeout)
        self.assertGoneOn()
