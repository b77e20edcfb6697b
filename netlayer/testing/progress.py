"""How far something is: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from typing import TextIO

__all__ = ["Progress"]

#: Seconds from one line to the next where there is no terminal, and from one bar to the next.
_LINES, _BARS = 10.0, 0.1


class Progress:
    """Tells how much is done.

    :param total: how much there is to do, or None if nobody knows.
    :param stream: where to; usually the standard error.
    :param clock: gives the time, in seconds.
    """

    def __init__(self, total: int | None, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._clock = clock
        self._began = self._told = clock()
        self._shown = ""

    def tell(self, done: int, note: str) -> None:
        """Tell that so much is done, unless it was told only just now.

        :param note: anything worth telling besides.
        """
        now = self._clock()
        if now - self._told < (_BARS if self._is_terminal else _LINES) and done != self._total:
            return
        self._told = now
        text = f"{self._count(done)}, {note}{self._remaining(done, now)}"
        if not self._is_terminal:
            print(text, file=self._stream, flush=True)
            return
        width = shutil.get_terminal_size().columns - 1
        bar = self._bar(done, min(40, width - len(text) - 3))
        self._show(f"{bar}{text}"[:width])

    def clear(self) -> None:
        """Take the bar away, so that lines can be printed."""
        if self._shown:
            self._show("")

    # ---- private

    def _count(self, done: int) -> str:
        return f"{done:,} of {self._total:,} runs" if self._total is not None else f"{done:,} runs"

    def _remaining(self, done: int, now: float) -> str:
        if self._total is None or not 0 < done < self._total:
            return ""
        return f", {(now - self._began) / done * (self._total - done):.0f} s left"

    def _bar(self, done: int, width: int) -> str:
        if self._total is None or width < 5:
            return ""
        filled = width * done // self._total if self._total else width
        return f"[{'#' * filled}{'.' * (width - filled)}] "

    def _show(self, text: str) -> None:
        self._stream.write(f"\r{text.ljust(len(self._shown))}" if text else f"\r{' ' * len(self._shown)}\r")
        self._stream.flush()
        self._shown = text
