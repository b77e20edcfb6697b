"""Whom a node dials, lets in and parts from when not everybody fits."""

from __future__ import annotations

import random
from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from netlayer.config import Settings
from netlayer.sansio.overlay.room import MAX_LEFT_ALONE, Dial, Neighbour, Part, Room, View


def key(number: int) -> bytes:
    """Return a fingerprint."""
    return number.to_bytes(32, "big")


def neighbour(
    number: int, *, others: int | None = 5, used_at: float = 0.0, is_quiet: bool = True, is_kept: bool = False
) -> Neighbour:
    """Return a neighbour that can be spared, unless something else is said."""
    return Neighbour(key(number), others, used_at, is_quiet, is_kept)


def view(places: int, neighbours: Sequence[Neighbour] = (), candidates: int = 0, under_way: int = 0) -> View:
    """Return what there is, with so many candidates that are numbered from 100 on."""
    known = [key(100 + number) for number in range(candidates)]
    return View(places=places, neighbours=neighbours, under_way=under_way, candidates=known)


class RoomTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.room = Room(settings=Settings(), rng=random.Random(1))


class DialTests(RoomTestCase):
    def test_everybody(self) -> None:
        """While everybody fits, everybody is dialed at once."""
        steps = self.room.steps(view(10, [neighbour(1)], candidates=6), 0.0)
        self.assertEqual(set(steps), {Dial(key(100 + number)) for number in range(6)})
        self.assertIsNone(self.room.next_deadline())

    def test_a_few(self) -> None:
        """If not, a few are dialed at a time, at random, and one place is left for others."""
        steps = self.room.steps(view(8, candidates=50), 0.0)
        self.assertTrue(1 <= len(steps) <= 7)
        self.assertEqual(len(set(steps)), len(steps))
        self.assertEqual(self.room.steps(view(8, candidates=50), 0.0), [], "not at once again")
        self.assertIsNotNone(self.room.next_deadline())

    def test_enough(self) -> None:
        """A node with one place free dials nobody."""
        self.assertEqual(self.room.steps(view(4, [neighbour(n) for n in range(3)], candidates=9), 0.0), [])
        self.assertEqual(self.room.steps(view(4, [neighbour(1)], candidates=9, under_way=2), 0.0), [])

    def test_left_alone(self) -> None:
        """Who has refused is not dialed for a minute, or for as long as it has said, which is less."""
        for number, seconds in ((100, None), (101, 5.0), (102, 1e9)):
            self.room.leave_alone(key(number), 0.0, seconds)
        found = [{step.key for step in self.room.steps(view(9, candidates=3), now)} for now in (0.0, 6.0, 61.0)]
        self.assertEqual(found, [set(), {key(101)}, {key(100), key(101), key(102)}])

    def test_all_parted(self) -> None:
        """When several part from a node at the same time, they are asked, each once; one with enough others waits."""
        parted = [key(100 + number) for number in range(4)]
        for each in parted:
            self.room.parted(each, 0.0, 60.0)
        rich, poor = (view(4, [neighbour(n) for n in range(count)], candidates=4) for count in (2, 1))
        self.assertEqual(self.room.steps(rich, 1.0), [])
        asked = [step for now in (1.0, 1.1, 1.2, 30.0) for step in self.room.steps(poor, now)]
        self.assertEqual(len(asked), 4)
        self.assertEqual(set(asked), set(map(Dial, parted)))

    def test_too_soon(self) -> None:
        """Who says that it has room at once is left alone for some seconds all the same."""
        for seconds in (0.0, 0.001, 1.0):
            self.room.leave_alone(key(100), 0.0, seconds)
            self.assertEqual(self.room.steps(view(9, candidates=1), 4.0), [])
            self.assertEqual(self.room.next_deadline(), 5.0)

    def test_parts_again_and_again(self) -> None:
        """A peer that lets this node in and parts at once, without end, is dialed twice a minute at most."""
        dialed, now = 0, 0.0
        while now < 600.0:
            if self.room.steps(view(9, candidates=1), now):
                dialed += 1
                self.room.linked(key(100))
                self.room.parted(key(100), now, 60.0)
            now += 0.1
        self.assertLessEqual(dialed, 21)

    def test_parted_and_refused(self) -> None:
        """A peer that has parted and refuses then is not asked again."""
        self.room.parted(key(100), 0.0)
        self.room.leave_alone(key(100), 1.0)
        self.assertEqual(self.room.steps(view(4, candidates=1), 2.0), [])

    def test_bounded(self) -> None:
        """Any number of refusers costs no more than some thousands."""
        for number in range(2 * MAX_LEFT_ALONE):
            self.room.parted(key(number), 0.0)
        self.assertFalse(self.room.is_left_alone(key(0), 1.0))
        self.assertTrue(self.room.is_left_alone(key(2 * MAX_LEFT_ALONE - 1), 1.0))

    def test_linked(self) -> None:
        """A peer that is linked is not left alone any more."""
        self.room.leave_alone(key(1), 0.0)
        self.room.linked(key(1))
        self.assertFalse(self.room.is_left_alone(key(1), 1.0))


class MakeRoomTests(RoomTestCase):
    def test_least_useful(self) -> None:
        """The one that was idle longest leaves, of those that have others; better one with several others."""
        neighbours = [
            neighbour(1, others=1, used_at=1.0),
            neighbour(2, others=3, used_at=5.0),
            neighbour(3, others=3, used_at=4.0),
        ]
        self.assertEqual(self.room.make_room(view(3, neighbours), 10.0), Part(key(3)))
        self.assertEqual(self.room.make_room(view(3, neighbours[:1]), 10.0), Part(key(1)))

    def test_for_the_poor(self) -> None:
        """For a node with one neighbour nobody is left with one; for a node without any, somebody is."""
        few, many = view(3, [neighbour(1, others=1)]), view(3, [neighbour(1, others=2)])
        self.assertIsNone(self.room.make_room(few, 10.0, links=1))
        self.assertEqual(self.room.make_room(many, 10.0, links=1), Part(key(1)))
        self.assertEqual(self.room.make_room(few, 10.0, links=0), Part(key(1)))

    def test_nobody(self) -> None:
        """Nobody leaves who has no others, has told nothing, or is configured, or while anything is under way."""
        neighbours = [
            neighbour(1, others=0),
            neighbour(2, others=None),
            neighbour(3, is_kept=True),
            neighbour(4, is_quiet=False),
        ]
        self.assertIsNone(self.room.make_room(view(4, neighbours), 10.0))

    def test_idle_for(self) -> None:
        """For packets that wait, only a link leaves that has not been used for a while."""
        neighbours = [neighbour(1, used_at=7.0)]
        self.assertIsNone(self.room.make_room(view(1, neighbours), 10.0, idle_for=5.0))
        self.assertEqual(self.room.make_room(view(1, neighbours), 12.0, idle_for=5.0), Part(key(1)))


class MixTests(RoomTestCase):
    def test_now_and_then(self) -> None:
        """A full node gives up a link from time to time; one with a free place dials somebody else."""
        full = view(4, [neighbour(number) for number in range(4)], candidates=9)
        parted, now = [], 0.0
        while now < 3600.0:
            parted += self.room.steps(full, now)
            deadline = self.room.next_deadline()
            assert deadline is not None
            self.assertGreater(deadline, now)
            now = deadline
        self.assertTrue(50 < len(parted) < 400, len(parted))
        self.assertTrue(all(isinstance(step, Part) for step in parted))
        free = view(4, [neighbour(number) for number in range(3)], candidates=9)
        dialed: list[object] = []
        for _ in range(20):
            dialed += self.room.steps(free, now)
            now = self.room.next_deadline() or now + 1.0
        self.assertTrue(dialed and all(isinstance(step, Dial) for step in dialed))

    def test_not_while_all_fit(self) -> None:
        """A mesh that fits is left as it is."""
        for now in range(0, 1000, 10):
            self.assertEqual(self.room.steps(view(8, [neighbour(number) for number in range(7)]), float(now)), [])
        self.assertIsNone(self.room.next_deadline())
