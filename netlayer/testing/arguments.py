"""What callers of the simulation give it: which values make sense, and what is said of the others."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterable
from numbers import Real
from typing import Any

from netlayer.errors import described
from netlayer.testing.errors import SimulationError

__all__ = [
    "checked_address",
    "checked_count",
    "checked_latency",
    "checked_network",
    "checked_number",
    "checked_probability",
    "checked_seconds",
]

#: A time may be over by so many seconds: differences of floats are not exact.
_ROUNDING = 1e-9


def checked_number(
    value: Any,
    told: str,
    *,
    least: float = -math.inf,
    most: float = math.inf,
    positive: bool = False,
    infinite: bool = False,
) -> float:
    """Return a number that was given.

    :param told: which numbers make sense, for the error.
    :param positive: whether it has to be over zero.
    :param infinite: whether it may be infinite.
    :raises SimulationError: when it is no number, or another one.
    """
    try:
        result = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    except OverflowError:  # no float is as large
        result = math.nan
    if not least <= result <= most or (positive and result <= 0.0) or (math.isinf(result) and not infinite):
        raise SimulationError(f"{told}, not {described(value)}")
    return result


def checked_seconds(value: Any, what: str, *, infinite: bool = False) -> float:
    """Return how many seconds were given.

    :param what: what takes them, for the error.
    :param infinite: whether it may take for ever.
    :raises SimulationError: when they are no number, or less than 0.
    """
    told = f"{what} is a number of seconds, 0 or more"
    return max(0.0, checked_number(value, told, least=-_ROUNDING, infinite=infinite))


def checked_probability(value: Any, what: str) -> float:
    """Return a probability that was given.

    :param what: of what, for the error.
    :raises SimulationError: when it is none.
    """
    return checked_number(value, f"{what} is a probability, from 0 to 1", least=0.0, most=1.0)


def checked_count(value: Any, told: str, *, least: int = 0) -> int:
    """Return a whole number that was given.

    :param told: which ones make sense, for the error.
    :raises SimulationError: when it is less than that, or no whole number.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise SimulationError(f"{told}, not {described(value)}")
    return value


def checked_latency(value: Any) -> tuple[float, float]:
    """Return the least and the most seconds that were given.

    :raises SimulationError: when they are no such pair.
    """
    told = f"latency is a pair, the least and the most seconds that a byte takes, not {described(value)}"
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise SimulationError(told)
    least, most = (checked_seconds(each, "each latency") for each in value)
    if least > most:
        raise SimulationError(told)
    return least, most


def checked_address(value: Any) -> str:
    """Return an address that was given.

    :raises SimulationError: when it is no IPv4 address in dotted form.
    """
    try:
        if isinstance(value, str):
            return str(ipaddress.IPv4Address(value))
    except ValueError:
        pass
    raise SimulationError(f"an address is an IPv4 address in dotted form, such as 127.1.0.1, not {described(value)}")


def checked_addresses(value: Any) -> list[str]:
    """Return the addresses of a name: one or several were given, or none.

    :raises SimulationError: when one of them is no IPv4 address in dotted form.
    """
    if value is None:
        return []
    several = not isinstance(value, str) and isinstance(value, Iterable)
    return [checked_address(each) for each in (value if several else [value])]


def checked_network(value: Any) -> ipaddress.IPv4Network:
    """Return a network that was given.

    :raises SimulationError: when it is no IPv4 network.
    """
    try:
        if isinstance(value, str):
            return ipaddress.IPv4Network(value)
    except ValueError:
        pass
    raise SimulationError(f"a network is an IPv4 network, such as 127.1.0.0/16, not {described(value)}")
