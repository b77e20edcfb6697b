"""The benchmarks run, small, so that they do not rot between two measurements."""

from __future__ import annotations

from tests.benchmarks import link, simulated_internet
from tests.integration.network import NetworkTestCase


class BenchmarkTests(NetworkTestCase):
    def test_rings(self) -> None:
        """In both rings all hosts talk around the ring for as long as it is measured."""
        for node in (simulated_internet.ring_node, simulated_internet.pinging_node):
            rate, packets = simulated_internet.ring(62, node, span=5.0)
            self.assertGreater(rate, 0.0)
            self.assertGreater(packets, 62 * 10 * 5)  # five neighbours on either side, a packet a second

    def test_small_network(self) -> None:
        """The small network lives through its faults."""
        seconds, events = simulated_internet.small(1)
        self.assertGreater(seconds, 0.0)
        self.assertGreater(events, 10_000)

    async def test_link(self) -> None:
        """A link is measured with both ends here, and with one in a process of its own."""
        factory, listening = await link.receiver("together")
        port = listening.getHost().port
        for result in (await link.run(bytes(64), 500, port), await link.apart(bytes(64), 500)):
            self.assertEqual(result.packets, 500)
            self.assertGreater(result.processor, 0.0)
        await listening.stopListening()
        await factory.stop()
