"""The rules of delivery hold in the model, and their naive readings fail there.

The seeds below are schedules that a reading fails in. When a change of the model moves them, others are found by

    python -m tests.sansio.model 0 1999 READING
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.sansio.model.packets import KIB, Broken
from tests.sansio.model.readings import READINGS
from tests.sansio.model.schedule import Schedule

#: How many schedules a run of the tests plays.
SEEDS = 60

#: A schedule in which each naive reading fails.
FAILS_IN = {
    "new-stream": 3110,
    "never-had-is-forgotten": 636,
    "held-early": 2139,
    "redelivery-waits": 507,
    "unbound": 144,
    "losers-stay": 347,
    "others-stay": 961,
    "duplicate-quiets": 153,
    "window-all": 35,
    "window-strict": 30,
    "queue-fixed": 28,
    "goodbye-early": 4,
    "goodbye-midway": 45,
    "keep-needless": 3,
    "keep-numbers": 35,
    "skip-received": 35,
    "skip-midway": 22,
    "skip-plain": 12,
    "free-window": 99,
    "free-number": 16,
    "send-empty": 35,
    "break-never": 65,
    "break-all": 158,
    "break-progress": 65,
    "break-unasked": 223,
    "break-other-boot": 2349,
    "break-small": 1228,
    "death-never": 95,
    "death-two": 95,
    "death-behind": 3,
    "death-link": 1285,
    "death-waiting": 72,
    "death-any": 639,
    "death-strict": 189,
    "death-clock": 28633,
    "death-lost-receipt": 66578,
    "death-fixed": 108,
    "death-uncleared": 665,
    "room-leaks": 40,
    "room-kept": 5,
    "room-overtaken": 15,
    "room-old-link": 21,
    "room-smallest": 52,
    "room-forgotten": 340,
}


class ModelTests(SynchronousTestCase):
    """The model of delivery keeps all promises, as its rules are and not otherwise."""

    def test_rules(self) -> None:
        """With the rules as they are, no schedule breaks a promise, and all that is interesting happens."""
        seen = set()
        for seed in range(SEEDS):
            schedule = Schedule(seed)
            schedule.play()
            seen |= schedule.stats.keys()
        expected = {"left out", "given up: breaks", "given up: deaths", "withdrawn", "redelivered", "forgotten"}
        self.assertEqual(expected - seen, set(), "these schedules are too peaceful")

    def test_readings(self) -> None:
        """Each naive reading breaks a promise in a schedule that is harmless otherwise."""
        for reading, seed in FAILS_IN.items():
            with self.assertRaises(Broken, msg=f"{reading} in schedule {seed}"):
                Schedule(seed, [reading]).play()
            Schedule(seed).play()

    def test_all_readings(self) -> None:
        """No naive reading is left out."""
        self.assertEqual(FAILS_IN.keys() | {"room-any-go"}, READINGS.keys())


class Quiet(Schedule):
    """Two processes that are linked, and of which nothing is known to go wrong."""

    def _plan_packet(self, side: int) -> None:
        """Send nothing by chance."""

    def _plan_faults(self) -> None:
        self.lonely = False


class RoomTests(SynchronousTestCase):
    """A GO is good for the announcement that it names."""

    def cross(self, *readings: str) -> None:
        """Withdraw an announcement while its GO is on the way, as another sender waits for the same room."""
        schedule = Quiet(2, readings)
        schedule.announces, schedule.room, schedule.dials = True, 4200 * KIB, (True, True)
        schedule.run(8.0)
        sender, receiver = schedule.processes
        assert sender is not None and receiver is not None and sender.link is not None and sender.up
        latency = sender.link.connection.latency  # a frame takes up to half as long again
        sender.submit(300 * KIB, "ok", 0.0, 1, cancel=1.9 * latency)
        sender.submit(300 * KIB, "ok", 0.0, 1)
        schedule.at(1.7 * latency, receiver.room.asked_by_others, 4000 * KIB, 60.0)
        schedule.run(100.0)
        self.assertEqual([packet.outcome for packet in schedule.packets], ["Cancelled", "ok"])

    def test_crossing(self) -> None:
        """What is announced next waits for its own room."""
        self.cross()
        with self.assertRaises(Broken):
            self.cross("room-any-go")
