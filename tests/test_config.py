"""Settings explain themselves, and a wrong one is told by name before anything starts."""

from __future__ import annotations

import math
from ipaddress import ip_network
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from netlayer import config
from netlayer.config import BUFFER_SIZE, MAX_CONNECTIONS, RETRY_COUNT, TIMEOUT, Settings
from netlayer.errors import ConfigurationError
from netlayer.wire.messages import MAX_RECORDS, MIN_MAX_PACKET, MIN_PART, MIN_WINDOW

FIELDS = attrs.fields(Settings)
NUMBERS = [field for field in FIELDS if field.metadata["least"] is not None]

#: A smaller one must not exceed its larger one.
PAIRS = [
    ("buffer_size", "max_packet"),
    ("max_packet", "reassembly_limit"),
    ("ping_after", "dead_after"),
    ("backoff_cap", "backoff_late_cap"),
    ("queue_limit", "node_queue_limit"),
]


class DefaultsTests(SynchronousTestCase):
    def test_constants(self) -> None:
        """The four classic constants have their documented values and are the defaults."""
        self.assertEqual((MAX_CONNECTIONS, BUFFER_SIZE, TIMEOUT, RETRY_COUNT), (64, 65536, 5.0, 3))
        settings = Settings()
        self.assertEqual(
            (settings.max_connections, settings.buffer_size, settings.timeout, settings.retry_count),
            (MAX_CONNECTIONS, BUFFER_SIZE, TIMEOUT, RETRY_COUNT),
        )
        self.assertLessEqual({"MAX_CONNECTIONS", "BUFFER_SIZE", "TIMEOUT", "RETRY_COUNT"}, set(config.__all__))

    def test_limits(self) -> None:
        """What the documentation promises about memory and time is what a node does without any setting."""
        settings = Settings()
        mib = 1024 * 1024
        self.assertEqual((settings.max_packet, settings.window, settings.queue_limit), (16 * mib, 4 * mib, 8 * mib))
        self.assertEqual((settings.node_queue_limit, settings.reassembly_limit), (64 * mib, 64 * mib))
        self.assertEqual((settings.delivery_timeout, settings.session_timeout), (10.0, 60.0))
        self.assertEqual((settings.ping_after, settings.dead_after, settings.probe_timeout), (5.0, 15.0, 2.0))

    def test_healing(self) -> None:
        """Detection, the longest wait and a handshake together stay below the 30 seconds that are promised."""
        settings = Settings()
        self.assertLessEqual(settings.dead_after + settings.backoff_cap + settings.timeout, 30.0)
        self.assertLessEqual(settings.backoff_late_cap + settings.timeout, 30.0)

    def test_wire_limits(self) -> None:
        """No setting lets a node announce, or send, what the wire does not allow."""
        self.assertEqual(FIELDS.window.metadata["least"], MIN_WINDOW)
        self.assertEqual(FIELDS.max_packet.metadata["least"], MIN_MAX_PACKET)
        self.assertGreaterEqual(FIELDS.buffer_size.metadata["least"], MIN_PART)
        for field in (FIELDS.window, FIELDS.max_packet, FIELDS.buffer_size):
            self.assertLessEqual(field.metadata["most"], 2**31)
        self.assertEqual(FIELDS.records.metadata["most"], MAX_RECORDS)


class FieldsTests(SynchronousTestCase):
    def assertRefused(self, *said: str, **setting: Any) -> None:
        """Assert that a setting is refused in words that name all of this."""
        error = self.assertRaises(ConfigurationError, Settings, **setting)
        for text in said:
            self.assertIn(text, str(error))

    def test_explained(self) -> None:
        """Each field tells its unit and why it has the value it has."""
        for field in FIELDS:
            unit, what, why = (field.metadata[each] for each in ("unit", "what", "why"))
            self.assertTrue(isinstance(unit, str) and unit, field.name)
            self.assertTrue(isinstance(what, str) and len(what) > 10, field.name)
            self.assertTrue(isinstance(why, str) and len(why) > 10, field.name)
            self.assertIn(field.type, ("int", "float", "tuple[Network, ...]"), field.name)

    def test_defaults_are_typical(self) -> None:
        """The default of each field lies inside its range and is of its type."""
        for field in NUMBERS:
            self.assertEqual(type(field.default).__name__, field.type, field.name)
            self.assertLessEqual(field.metadata["least"], field.default, field.name)
            self.assertLessEqual(field.default, field.metadata["most"], field.name)

    def test_wrong_type(self) -> None:
        """A value of another type is refused by the name of its field; True is no number, and text is not parsed."""
        for field in NUMBERS:
            whole = type(field.default) is int
            for wrong in ("64", None, True, [1], b"1", 1j, *([2.0] if whole else [])):
                kind = "a whole number" if whole else "a number"
                self.assertRefused(
                    f"setting {field.name} must be {kind} ({field.metadata['unit']}), not {wrong!r}",
                    **{field.name: wrong},
                )

    def test_out_of_range(self) -> None:
        """A value outside of its range is refused by the name of its field, and the error tells which end it passed."""
        for field in NUMBERS:
            least, most, unit = (field.metadata[name] for name in ("least", "most", "unit"))
            for wrong in (least - 1, most + 1, -(2**70), 2**70):
                bounds = f"{least:.16g} ({unit})" if wrong < least else f"{most:.16g} ({unit})"
                limit = "at least" if wrong < least else "at most"
                self.assertRefused(
                    f"setting {field.name} must be {limit} {bounds}, not {wrong!r}", **{field.name: wrong}
                )
        self.assertRefused("at least 65536 (bytes), not 65535", window=65535)
        self.assertRefused("at most 1048576 (bytes), not 1048577", buffer_size=2**20 + 1)
        self.assertRefused("at least 0.05 (seconds), not 0.01", timeout=0.01)

    def test_no_numbers(self) -> None:
        """NaN and infinity are no times."""
        for field in NUMBERS:
            if type(field.default) is float:
                for wrong in (math.nan, math.inf, -math.inf):
                    self.assertRefused(field.name, repr(wrong), **{field.name: wrong})

    def test_absurd_value(self) -> None:
        """A number too long to be printed is refused like any other."""
        self.assertRefused("setting max_connections must be at most 9007199254740992 (links)", max_connections=10**5000)

    def test_ends_of_the_range(self) -> None:
        """The ends of each range are allowed themselves, as far as other settings agree."""
        related = {name for pair in PAIRS for name in pair}
        for field in NUMBERS:
            if field.name not in related:
                for value in (field.metadata["least"], field.metadata["most"]):
                    self.assertEqual(getattr(Settings(**{field.name: value}), field.name), value)

    def test_networks(self) -> None:
        """Addresses and networks are given as a text or one by one; each is kept once, as what it means."""
        wanted = (ip_network("192.0.2.7/32"), ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"))
        given: list[Any] = [
            "192.0.2.7,10.0.0.0/8, 2001:db8::/32",
            " 192.0.2.7 10.0.0.0/255.0.0.0\n2001:DB8::/32,192.0.2.7 ",
            ["192.0.2.7", "10.0.0.0/8", "2001:db8::/32"],
            iter(wanted),
            ("::ffff:192.0.2.7", "::ffff:10.0.0.0/104", wanted[2]),
        ]
        for networks in given:
            settings = Settings(exempt_addresses=networks)
            self.assertEqual(settings.exempt_addresses, wanted)
            self.assertEqual(attrs.evolve(settings, timeout=1.0).exempt_addresses, wanted)
        self.assertEqual(Settings(exempt_addresses="").exempt_addresses, ())

    def test_no_networks(self) -> None:
        """What is no network is refused by the name of the field, with what it may have meant."""
        for wrong, said in (
            ("gateway", "'gateway' is neither an IP address nor a network such as '10.0.0.0/8'"),
            ("10.0.0.0/40", "'10.0.0.0/40' is neither an IP address"),
            ("10.0.0.7/8", "'10.0.0.7/8' is an address inside of a network: the network is '10.0.0.0/8', the address"),
            ("192.0.2.7:8000", "'192.0.2.7:8000' is neither an IP address"),
            (["10.0.0.0/8 192.0.2.7"], "'10.0.0.0/8 192.0.2.7' is neither an IP address"),
            ([10], "a network is a text such as '192.0.2.7' or '10.0.0.0/8', not 10"),
            (10, "networks are texts such as '192.0.2.7' or '10.0.0.0/8', not 10"),
            (None, "not None"),
            (b"10.0.0.0/8", "not b'10.0.0.0/8'"),
        ):
            self.assertRefused("setting exempt_addresses: ", said, exempt_addresses=wrong)

    def test_whole_seconds(self) -> None:
        """A time may be a whole number."""
        self.assertEqual(Settings(timeout=3).timeout, 3)

    def test_pairs(self) -> None:
        """Settings that contradict each other are refused, and the error names both with their values."""
        for smaller, larger in PAIRS:
            low = getattr(Settings(), smaller)
            equal = Settings(**{larger: low})
            self.assertEqual(getattr(equal, smaller), getattr(equal, larger))
            self.assertRefused(
                f"setting {smaller} ({low + 1!r}) must not exceed {larger} ({low!r})",
                **{smaller: low + 1, larger: low},
            )

    def test_unknown(self) -> None:
        """A misspelled setting is not ignored."""
        self.assertRaises(TypeError, Settings, max_conections=1)

    def test_frozen(self) -> None:
        """Settings don't change under a running node; evolving them checks again."""
        settings = Settings()
        self.assertRaises(attrs.exceptions.FrozenInstanceError, setattr, settings, "timeout", 1.0)
        self.assertEqual(attrs.evolve(settings, timeout=1.0).timeout, 1.0)
        self.assertRaises(ConfigurationError, attrs.evolve, settings, timeout=0)
