"""The log of plain scripts, as far as one process shows it; tests/integration has scripts."""

from __future__ import annotations

import io
import logging
import re
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from netlayer import configure_logging
from netlayer import logger as module
from netlayer.logger import called_by_test, logger


class LoggerTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        """Leave the logger as it was, whatever a test does to it."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name) / "network.log"
        self.stderr = io.StringIO()
        self.patch(sys, "stderr", self.stderr)
        self.patch(module, "_configured", False)
        self.addCleanup(self.restore, logger.level, logger.propagate, list(logger.handlers))

    def restore(self, level: int, propagate: bool, handlers: list[logging.Handler]) -> None:
        """Set the logger back to what it was."""
        for handler in [handler for handler in logger.handlers if handler not in handlers]:
            logger.removeHandler(handler)
            handler.close()
        logger.setLevel(level)
        logger.propagate = propagate

    def lines(self) -> list[str]:
        """Return the lines of the file."""
        return self.path.read_text(encoding="utf-8").splitlines()


class CallerTests(LoggerTestCase):
    def test_caller(self) -> None:
        """Programs log there, too, from wherever they like, and are found as callers; likewise on Twisted's logger."""
        program = "name.warning('of the program')"
        for name in (logger, logging.getLogger("twisted")):
            with self.assertLogs(name) as found:
                exec(compile(program, "program.py", "exec"), {"name": name})
            self.assertEqual([(r.filename, r.funcName) for r in found.records], [("program.py", "<module>")])


class ConfigureTests(LoggerTestCase):
    def test_format(self) -> None:
        """A line is the time, the level and the message."""
        configure_logging(self.path)
        logger.debug("node 1: héllo")
        [line] = self.lines()
        self.assertTrue(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - DEBUG - node 1: héllo", line), line)

    def test_appends(self) -> None:
        """What an earlier run has logged stays."""
        self.path.write_text("earlier\n")
        configure_logging(self.path)
        logger.info("later")
        self.assertEqual(len(self.lines()), 2)

    def test_level(self) -> None:
        """What is below the level is left out; levels may be names."""
        for level in logging.WARNING, "WARNING":
            configure_logging(self.path, level)
            logger.info("not worth it")
            logger.warning("worth it")
        self.assertEqual([line.rpartition(" - ")[2] for line in self.lines()], ["worth it"] * 2)

    def test_bad_level(self) -> None:
        """A level that is none is an error, and changes nothing."""
        configure_logging(self.path)
        self.assertRaises(ValueError, configure_logging, None, "LOUD")
        logger.debug("still here")
        self.assertEqual(len(self.lines()), 1)

    def test_errors(self) -> None:
        """Errors are seen on stderr as well, warnings are not."""
        configure_logging(self.path)
        logger.warning("a retry")
        logger.error("gave up")
        self.assertEqual(self.stderr.getvalue(), self.lines()[1] + "\n")

    def test_no_file(self) -> None:
        """With None there is no file, and the records go to the handlers of the root logger too."""
        configure_logging(None)
        with self.assertLogs(logging.getLogger(), "INFO") as seen:
            logger.info("for whoever listens")
        self.assertEqual(seen.output, ["INFO:NetworkLayer:for whoever listens"])
        self.assertFalse(self.path.exists())

    def test_file_only(self) -> None:
        """With a file the handlers of the root logger see nothing."""
        configure_logging(self.path)
        with self.assertNoLogs(logging.getLogger()):
            logger.info("for the file")
        self.assertEqual(len(self.lines()), 1)

    def test_again(self) -> None:
        """Another call replaces what the one before has set up, and leaves the application's handlers alone."""
        mine = logging.StreamHandler(io.StringIO())
        logger.addHandler(mine)
        configure_logging(self.path)
        second = self.path.with_suffix(".second")
        configure_logging(second)
        logger.info("once")
        self.assertEqual(self.lines(), [])
        self.assertEqual(len(second.read_text().splitlines()), 1)
        self.assertIn(mine, logger.handlers)

    def test_not_writable(self) -> None:
        """A file that can't be written costs one warning, no exception."""
        configure_logging(self.path / "missing" / "network.log")
        logger.info("lost")
        self.assertRegex(
            self.stderr.getvalue(), r"\Anetlayer: warning: cannot log to .*network\.log: No such file or directory\n\Z"
        )


class TestRunnerTests(SynchronousTestCase):
    def test_called_by_test(self) -> None:
        """What a test calls is known to be called by a test, and what a script calls is not."""
        self.assertTrue(called_by_test(sys._getframe()))
        self.assertFalse(called_by_test(None))
