"""Secrets and lists: what is accepted, what is refused and in which words."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from netlayer.errors import ConfigurationError
from netlayer.storage.admission import Admission, AllowList, read_secrets
from tests.directories import new_directory

SECRET, OTHER = "a secret of the network", b"another secret of it"
KEY, KEY_TEXT = bytes(range(32)), bytes(range(32)).hex()


class FileTestCase(SynchronousTestCase):
    def write(self, text: str | bytes, *, mode: int = 0o600) -> Path:
        """Write a file and return its path."""
        path = new_directory(self) / "file"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        path.chmod(mode)
        return path

    def refusal(self, function: Any, *arguments: Any, **options: Any) -> str:
        """Return the words with which something is refused."""
        return str(self.assertRaises(ConfigurationError, function, *arguments, **options))


class RuleTests(FileTestCase):
    """What a node was given, and the rule that comes of it."""

    def rule(self, **options: Any) -> Admission:
        return Admission.from_options("default", **options)

    def test_open(self) -> None:
        """By default, and if asked for, everybody is admitted."""
        self.assertTrue(self.rule().is_open)
        self.assertTrue(self.rule(policy="open").is_open)

    def test_secret(self) -> None:
        """A secret is text or bytes; it is stretched alike at all nodes of a network, and otherwise elsewhere."""
        rule = self.rule(secret=SECRET)
        self.assertFalse(rule.is_open)
        self.assertEqual(rule, self.rule(policy="secret", secret=SECRET.encode()))
        self.assertEqual([len(each) for each in rule.secrets], [32])
        self.assertNotEqual(rule, Admission.from_options("another", secret=SECRET))
        self.assertNotIn(repr(rule.secrets[0]), repr(rule))

    def test_several(self) -> None:
        """Up to four secrets are taken, in their order."""
        both = self.rule(secret=[SECRET, OTHER])
        self.assertEqual(both.secrets, self.rule(secret=SECRET).secrets + self.rule(secret=OTHER).secrets)
        self.assertIn("up to 4", self.refusal(self.rule, secret=[SECRET] * 5))

    def test_bad_secrets(self) -> None:
        """A bad secret is refused in words that do not repeat it."""
        for secret, words in (
            ("too short", "16 bytes at least, this one has 9"),
            (b"", "16 bytes at least, this one has 0"),
            (1234567890123456, "text or bytes, not int"),
            ([None], "text or bytes, not NoneType"),
            ("lone surrogate \ud800" * 2, "valid Unicode"),
        ):
            refusal = self.refusal(self.rule, secret=secret)
            self.assertIn(words, refusal)
            self.assertNotIn("too short", refusal)

    def test_contradictions(self) -> None:
        """What makes no sense together is refused."""
        self.assertIn("needs network_secret", self.refusal(self.rule, policy="secret"))
        self.assertIn("needs allowlist", self.refusal(self.rule, policy="allowlist"))
        self.assertIn("neither", self.refusal(self.rule, policy="open", secret=SECRET))
        self.assertIn("'closed'", self.refusal(self.rule, policy="closed"))

    def test_list(self) -> None:
        """A list alone is a rule, and goes together with a secret."""
        path = self.write(f"1 sha256:{KEY_TEXT}")
        self.assertFalse(self.rule(allowlist=path).is_open)
        self.assertEqual(self.rule(policy="allowlist", allowlist=path).secrets, ())
        self.assertEqual(len(self.rule(secret=SECRET, allowlist=path).secrets), 1)


class AllowListTests(FileTestCase):
    """Who stands on a list."""

    def test_working_directory(self) -> None:
        """A relative path means what it meant when it was given."""
        path = self.write("")
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(path.parent)
        listed = AllowList(path.name)
        os.chdir("/")
        path.write_text(f"1 sha256:{KEY_TEXT}\n")
        self.assertTrue(listed.allows(1, KEY))

    def test_entries(self) -> None:
        """An id and a key are allowed together; comments and empty lines mean nothing."""
        path = self.write(f"# ours\n\n 7  sha256:{KEY_TEXT.upper()} # the seventh\n")
        listed = AllowList(path)
        self.assertTrue(listed.allows(7, KEY))
        self.assertFalse(listed.allows(8, KEY))
        self.assertFalse(listed.allows(7, bytes(32)))

    def test_malformed(self) -> None:
        """A line that is something else is named with its number."""
        for line in (
            "7",
            f"seven sha256:{KEY_TEXT}",
            f"7 {KEY_TEXT}",
            "7 sha256:12",
            f"99999999999999999999 sha256:{KEY_TEXT}",
        ):
            self.assertIn("line 2: ", self.refusal(AllowList, self.write(f"# first\n{line}\n")))
        self.assertIn("not UTF-8", self.refusal(AllowList, self.write(b"\xff\xfe")))
        self.assertIn("No such file", self.refusal(AllowList, "does/not/exist"))

    def test_changed(self) -> None:
        """A changed list counts at once; while it is damaged or gone, nobody is allowed."""
        path = self.write(f"7 sha256:{KEY_TEXT}")
        listed = AllowList(path)
        path.write_text(f"8 sha256:{KEY_TEXT}\n")
        self.assertEqual((listed.allows(7, KEY), listed.allows(8, KEY)), (False, True))
        path.write_text("8 sha256:cut")
        self.assertIn("line 1", self.refusal(listed.allows, 8, KEY))
        self.assertIn("line 1", self.refusal(listed.allows, 8, KEY))
        os.remove(path)
        self.assertIn("No such file", self.refusal(listed.allows, 8, KEY))
        path.write_text(f"8 sha256:{KEY_TEXT}\n")
        self.assertTrue(listed.allows(8, KEY))


class SecretFileTests(FileTestCase):
    """Secrets in a file."""

    def test_lines(self) -> None:
        """Each line is a secret, the first is the one to prove."""
        path = self.write(f"# of November\n{SECRET}\n\n  {OTHER.decode()}  \n")
        self.assertEqual(read_secrets(path), [SECRET, OTHER.decode()])

    def test_refused(self) -> None:
        """A file that others can read, or that holds no good secret, is refused by its name."""
        for path, words in (
            (self.write(SECRET, mode=0o640), "chmod 600"),
            (self.write("# nothing\n"), "holds no secret"),
            (self.write("short\n"), "16 bytes at least"),
            (self.write(f"{SECRET}\n" * 5), "up to 4"),
            (self.write(b"\xff" * 20), "not UTF-8"),
            (Path("does/not/exist"), "No such file"),
        ):
            refusal = self.refusal(read_secrets, path)
            self.assertIn(words, refusal)
            self.assertNotIn(SECRET, refusal)
