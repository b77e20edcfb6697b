"""The log of plain scripts: ``network.log`` in the working directory.

Inside, everything logs to :mod:`twisted.logger`. A program that has a reactor of its own reads it there, and nothing is
set up for it. For a program that has none, the events of this package go to the standard logger ``NetworkLayer``.
"""

from __future__ import annotations

import logging
import sys
import warnings
from os import PathLike
from types import FrameType
from typing import Any, cast

from twisted.logger import ILogObserver, LogEvent, LogLevel, STDLibLogObserver, globalLogBeginner

__all__ = ["configure_logging", "logger"]

FORMAT = "%(asctime)s - %(levelname)s - %(message)s"
#: A log file of this many bytes is moved aside; so many old ones are kept.
MAX_BYTES, KEPT = 10 * 1024 * 1024, 3

#: The standard logger of nodes in plain scripts. Add handlers, filters or levels as to any other.
logger = logging.getLogger("NetworkLayer")

_configured = False
_begun = False


def configure_logging(path: str | PathLike[str] | None = "network.log", level: int | str = logging.DEBUG) -> None:
    """Choose where nodes in plain scripts log to, and how much. Call it before the first node starts, or later.

    :param path: the file to append to; None for none. Errors go to stderr as well. With a file, records stay out of
        the handlers of the root logger, which would show every packet on the console of a program that logs there.
    :param level: the least level that is logged, as for :mod:`logging`.
    """
    global _configured
    logger.setLevel(level)
    logger.propagate = path is None
    _configured = True
    for handler in [handler for handler in logger.handlers if getattr(handler, "netlayer", False)]:
        logger.removeHandler(handler)
        handler.close()
    errors = logging.StreamHandler()
    errors.setLevel(logging.ERROR)
    handlers: list[logging.Handler] = [errors]
    if path is not None:
        from logging.handlers import RotatingFileHandler  # here, as it brings in much that others don't need

        try:
            handlers.append(RotatingFileHandler(path, maxBytes=MAX_BYTES, backupCount=KEPT, encoding="utf-8"))
        except OSError as error:
            print(f"netlayer: warning: cannot log to {path}: {error.strerror or error}", file=sys.stderr)
    for handler in handlers:
        handler.setFormatter(logging.Formatter(FORMAT))
        handler.netlayer = True  # type: ignore[attr-defined]
        logger.addHandler(handler)


def begin_script_logging() -> None:
    """Log as a plain script does, unless something else was configured or a test runner looks after it."""
    global _begun
    if not _configured and not under_test_runner():
        configure_logging()
    if not _begun:
        _begun = True
        if getattr(globalLogBeginner, "_temporaryObserver", None) is not None:  # nobody has begun logging yet
            show = warnings.showwarning
            globalLogBeginner.beginLoggingTo([cast(ILogObserver, _route)], redirectStandardIO=False)
            warnings.showwarning = show  # warnings of a plain script are its own


def called_by_test(frame: FrameType | None) -> bool:
    """Tell whether `frame` belongs to a test case or was called by one, as in a script that ends in unittest.main()."""
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith(("unittest.", "twisted.trial.")):
            return True
        frame = frame.f_back
    return False


def _standard(name: str) -> STDLibLogObserver:
    """Return what passes events on to a standard logger.

    Twisted's observer makes that logger look for its caller where only the observer's own calls come from; programs
    that log there, too, would fail.
    """
    observer = STDLibLogObserver(name)
    vars(logging.getLogger(name)).pop("findCaller", None)
    return observer


_ours = _standard("NetworkLayer")
_others = _standard("twisted")


def _route(event: LogEvent) -> None:
    namespace: Any = event.get("log_namespace") or ""
    level: Any = event.get("log_level", LogLevel.info)
    if namespace.startswith("netlayer"):
        _ours(event)
    elif level >= LogLevel.warn:  # Twisted is informative about every port that it opens
        _others(event)


def under_test_runner() -> bool:
    main = sys.modules.get("__main__")
    package = getattr(main, "__package__", None) or ""
    known = "_pytest" in sys.modules or "twisted.trial.runner" in sys.modules or package.startswith("unittest")
    return known or called_by_test(sys._getframe())
