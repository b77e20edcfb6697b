"""The tools by which long runs are judged."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.directories import new_directory
from tests.integration.faults.flatness import growth
from tests.integration.faults.journal import Journal, JournalReader
from tests.integration.faults.ledger import Life
from tests.integration.faults.tally import Sums, Tally, TallyReader, judge


class FlatnessTests(SynchronousTestCase):
    def grown(self, name: str, early: int, late: int) -> bool:
        samples = [{name: 0}] * 10 + [{name: early}] * 40 + [{name: late}] * 10
        return bool(growth(samples, peers=20))

    def test_rule(self) -> None:
        """What stays, or grows less than it may, is flat; what grows more is not."""
        for name, early, most in (
            ("memory", 100_000, 107_048),
            ("files", 30, 32),
            ("threads", 1, 1),
            ("Deferred", 100, 125),
        ):
            self.assertFalse(self.grown(name, early, most), name)
            self.assertTrue(self.grown(name, early, most + 1), name)

    def test_disturbed(self) -> None:
        """Neither does the warm-up count, nor what waits for a peer that stands still."""
        samples = [{"memory": 10**6}] * 10 + [{"memory": 1000}] * 46 + [{"memory": 10**6}] * 4
        self.assertEqual(growth(samples, peers=20), [])
        samples = [{"OutgoingPacket": 0}] * 51 + [{"OutgoingPacket": 60}] * 9
        self.assertEqual(growth(samples, peers=20), [])
        self.assertEqual(len(growth([*samples[:-10], *samples[-1:] * 10], peers=20)), 1)

    def test_new_type(self) -> None:
        """Objects that there were none of before count, too."""
        self.assertEqual(growth([{}] * 5 + [{"Leak": 26}], peers=20), ["Leak has grown from 0 to 26"])

    def test_one_a_peer(self) -> None:
        """There may be as many dialers as there are peers, and no more; and the node has a back-off of its own."""
        samples = [{"Dialer": 12}] * 50 + [{"Dialer": 20}] * 10
        self.assertEqual(growth(samples, peers=20), [])
        self.assertEqual(growth(samples, peers=19), ["Dialer: there are 20, and 19 peers"])
        samples = [{"BackOff": 12}] * 50 + [{"BackOff": 21}] * 10
        self.assertEqual(growth(samples, peers=20), [])
        self.assertEqual(growth(samples, peers=19), ["BackOff: there are 21, and 19 peers"])


class TallyTests(SynchronousTestCase):
    """Node 2 sends to node 3."""

    def setUp(self) -> None:
        self.directory = new_directory(self)
        self.journals: dict[Life, Journal] = {}
        self.tallies: dict[Life, Tally] = {}
        self.sender = self.process(2, 1)

    def process(self, node: int, life: int) -> Tally:
        name = Life(node, life)
        self.journals[name] = Journal(self.path(name))
        self.tallies[name] = Tally(Path(f"{self.path(name)}.tally"), self.journals[name])
        return self.tallies[name]

    def path(self, life: Life) -> Path:
        return self.directory / f"{life.node}-{life.number}"

    def send(self, count: int) -> None:
        for _ in range(count):
            self.sender.next_number(3)

    def handle(self, tally: Tally, *numbers: int, flagged: bool = False) -> None:
        for number in numbers:
            tally.handled(2, 1, number, flagged=flagged)

    def tell(self, number: int, outcome: str) -> None:
        self.journals[Life(2, 1)].write("ended", number, 3, outcome, "")

    def judge(self, *, dead: tuple[Life, ...] = ()) -> Sums:
        readers = {life: JournalReader(self.path(life)) for life in self.journals}
        journals = {life: reader.read() for life, reader in readers.items()}
        for reader in readers.values():
            reader.close()
        tallies = {life: TallyReader(Path(f"{self.path(life)}.tally")) for life in self.journals}
        return judge(tallies, journals, alive=set(self.journals) - set(dead))

    def test_all_handled(self) -> None:
        """Packets that all came are fine, and counted."""
        self.send(5)
        self.handle(self.process(3, 1), 1, 2, 3, 4, 5)
        sums = self.judge()
        self.assertEqual((sums.faults, sums.counts["sent"], sums.counts["handled"]), ([], 5, 5))

    def test_lost(self) -> None:
        """A gap, a missing end, and a peer that never got anything are found, unless the sender was told or is dead."""
        receiver = self.process(3, 1)
        self.send(9)
        self.handle(receiver, 1, 2, 5, 6, 7)
        self.assertIn("lost without a word: [3, 4, 8, 9]", self.judge().faults[0])
        self.assertEqual(self.judge().counts["lost"], 4)
        self.assertEqual(self.judge(dead=(Life(2, 1),)).faults, [])
        for number in (3, 4, 8, 9):
            self.tell(number, "unknown")
        self.assertEqual((self.judge().faults, self.judge().counts["reported as unknown"]), ([], 4))
        self.sender.next_number(4)
        self.assertIn("to node 4: lost without a word: [1]", self.judge().faults[0])

    def test_twice(self) -> None:
        """A packet that comes again is found, also when others came in between."""
        receiver = self.process(3, 1)
        self.send(9)
        self.handle(receiver, 1, 2, 3, 2, 4, 5, 6, 7, 8, 9)
        self.assertIn("has handled packet 2 of Life(node=2, number=1) twice", self.judge().faults[0])

    def test_redelivered(self) -> None:
        """Another process may get packets that its predecessor has handled, if they are marked; the first may not."""
        first, second = self.process(3, 1), self.process(3, 2)
        self.send(9)
        self.handle(first, 1, 2, 3, 4, 5)
        self.handle(second, 4, 5, 6, flagged=True)
        self.handle(second, 7, 8, 9)
        sums = self.judge()
        self.assertEqual((sums.faults, sums.counts["redelivered"]), ([], 3))
        third = self.process(3, 3)
        self.handle(third, 9)
        self.assertIn("life 3 has handled", self.judge().faults[0])
        self.handle(first, 6, flagged=True)
        self.assertTrue(any("there was none before it" in fault for fault in self.judge().faults))

    def test_lies(self) -> None:
        """A packet that was handled though its sender was told otherwise, or that nobody has sent, is found."""
        receiver = self.process(3, 1)
        self.send(2)
        self.handle(receiver, 1, 2, 3)
        self.tell(2, "unhandled")
        self.journals[Life(2, 1)].write("trouble", "a traceback")
        faults = self.judge().faults
        for text in ("the last that was sent is 2", "was told that it was not", "a traceback"):
            self.assertTrue(any(text in fault for fault in faults), (text, faults))

    def test_new_sender(self) -> None:
        """The numbers of the sender's next process begin again."""
        receiver = self.process(3, 1)
        self.send(2)
        self.handle(receiver, 1, 2)
        self.sender = self.process(2, 2)
        self.send(1)
        receiver.handled(2, 2, 1, flagged=False)
        self.assertEqual((self.judge().faults, self.judge().counts["handled"]), ([], 3))
