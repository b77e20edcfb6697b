"""Who lets time pass: one caller, and nobody meanwhile."""

from __future__ import annotations

from netlayer.testing.errors import SimulationError

__all__ = ["Passing"]


class Passing:
    """That time passes, or that something begins which must not let it pass itself; a context for the latter.

    :param refusal: what is said to others meanwhile.
    """

    __slots__ = ("_claimed", "_refusal")

    def __init__(self, refusal: str) -> None:
        self._claimed = False
        self._refusal = f"time passes already: {refusal}"

    def claim(self) -> None:
        """Let nobody else until it is released.

        :raises SimulationError: when somebody has claimed it.
        """
        if self._claimed:
            raise SimulationError(self._refusal)
        self._claimed = True

    def __enter__(self) -> None:
        self.claim()

    def __exit__(self, *_: object) -> None:
        self._claimed = False
