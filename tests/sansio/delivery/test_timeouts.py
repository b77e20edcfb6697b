"""What a caller may choose: how long it waits, and what else ends the wait."""

from __future__ import annotations

import math
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from netlayer.errors import DeliveryError, InvalidArgument
from netlayer.sansio.delivery.timeouts import LONGEST, Wait


class WaitTests(SynchronousTestCase):
    def test_default(self) -> None:
        """Whoever chooses nothing waits as long as the settings say, and longer for a packet that makes progress."""
        self.assertEqual(Wait.of(None, None, default=10.0), Wait(seconds=10.0, patient=True, until_link=False))

    def test_chosen(self) -> None:
        """A chosen time is a hard bound, shorter or longer than the default."""
        for seconds in (1, 0.001, 3600.0, LONGEST):
            self.assertEqual(Wait.of(seconds, None, default=10.0), Wait(seconds=float(seconds)))
        self.assertEqual(Wait.of(None, "link", default=10.0), Wait(seconds=10.0, patient=True, until_link=True))
        self.assertEqual(Wait.of(2, "link", default=10.0), Wait(seconds=2.0, until_link=True))

    def test_senseless(self) -> None:
        """A value that makes no sense is refused by an error that names the argument and the value."""
        numbers: tuple[Any, ...] = (0, -1, -0.0, math.nan, math.inf, -math.inf, LONGEST + 1, 10**400)
        others: tuple[Any, ...] = ("5", b"5", True, False, [5], (), 1j, object())
        for value, told in [(value, "above 0") for value in numbers] + [(value, "a number") for value in others]:
            error = self.assertRaises(InvalidArgument, Wait.of, value, None, default=10.0)
            self.assertEqual((error.name, error.value), ("timeout", value))
            self.assertIn(told, str(error))
            self.assertTrue(str(error).startswith("timeout="))
            self.assertIsInstance(error, ValueError)
            self.assertIsInstance(error, DeliveryError)
        for value in ("", "Link", "session", b"link", 5, True, ["link"]):
            error = self.assertRaises(InvalidArgument, Wait.of, None, value, default=10.0)
            self.assertEqual((error.name, error.value), ("until", value))
            self.assertIn("'link' or None", str(error))
