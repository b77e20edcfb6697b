"""Which addresses of a name to try: those at which the wrong node answers wait until the others were tried.

TCP alone can't tell: at an address there may be another service, another network, a process that hangs, or another
node. Whoever races for the first TCP connection would end at the same one each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["MAX_ADDRESSES", "Rotation"]

#: Addresses of a name that are tried at most. Each costs up to two timeouts, and few names have more.
MAX_ADDRESSES = 8


class Rotation:
    """The addresses of one name that have failed behind TCP."""

    def __init__(self) -> None:
        self._failed: frozenset[str] = frozenset()

    def choose(self, addresses: Sequence[str]) -> list[str]:
        """Return the addresses that the next attempt tries, in their order.

        :param addresses: all that the name has now.
        """
        distinct = list(dict.fromkeys(addresses))[:MAX_ADDRESSES]
        self._failed = self._failed.intersection(distinct)
        left = [address for address in distinct if address not in self._failed]
        if not left:
            self._failed = frozenset()
        return left or distinct

    def failed(self, reached: Iterable[str]) -> None:
        """An attempt has failed.

        :param reached: the addresses at which TCP stood. If it stood nowhere, all addresses are worth another try.
        """
        reached = frozenset(reached)
        self._failed = self._failed | reached if reached else reached
