"""How long a caller waits for a receipt: what it may choose, and what counts if it chooses nothing."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import attrs

from netlayer.errors import InvalidArgument

__all__ = ["LONGEST", "Until", "Wait", "parse_timeout"]

#: What may end a wait before its time: the loss of the link to a peer that can't be dialed any more.
Until: TypeAlias = Literal["link"]

#: Seconds that a caller may wait at most, eleven days; a reactor's system call takes no longer times than 24 days.
LONGEST = 1e6


@attrs.frozen(kw_only=True)
class Wait:
    """How long a caller waits.

    :ivar seconds: from the call to the receipt at most, everything between them included.
    :ivar patient: whether it waits for as long again after each progress of the packet.
    :ivar until_link: whether it ends as soon as the peer is not linked and nothing listens where it is dialed.
    """

    seconds: float
    patient: bool = False
    until_link: bool = False

    @classmethod
    def of(cls, timeout: Any, until: Any, *, default: float) -> Wait:
        """Return what a caller has chosen.

        :param default: the seconds that count if it has chosen no `timeout`.
        :raises InvalidArgument: when `timeout` or `until` makes no sense.
        """
        if until is not None and until != "link":
            raise InvalidArgument("until", until, "it is 'link' or None")
        seconds = parse_timeout(timeout, default=default)
        return cls(seconds=seconds, patient=timeout is None, until_link=until is not None)


def parse_timeout(timeout: Any, *, default: float) -> float:
    """Return the seconds that a caller waits.

    :param timeout: None if it has chosen nothing.
    :raises InvalidArgument: when `timeout` makes no sense.
    """
    if timeout is None:
        return default
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise InvalidArgument("timeout", timeout, "it is a number of seconds, or None")
    if not 0 < timeout <= LONGEST:
        raise InvalidArgument("timeout", timeout, f"it is above 0 and at most {LONGEST:,.0f} seconds")
    return float(timeout)
