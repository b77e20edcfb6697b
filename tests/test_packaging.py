"""What setup.cfg lists is what is on disk."""

from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parents[1]


def listed(option: str) -> list[str]:
    """Return the words of a multi-line `option` of setup.cfg."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config["options"][option].split()


class PackagingTests(SynchronousTestCase):
    def test_every_package_is_listed(self) -> None:
        """Every package of the checkout is there after an installation, and the list names no other."""
        found = [".".join(path.parent.relative_to(ROOT).parts) for path in ROOT.glob("netlayer/**/__init__.py")]
        self.assertEqual(sorted(listed("packages")), sorted([*found, "twisted.plugins"]))

    def test_twisted_stays_whole(self) -> None:
        """Installing or removing netlayer leaves Twisted's own files alone: none of ours has the name of one."""
        ours = {path.name for path in ROOT.glob("twisted/**/*.py")}
        self.assertNotIn("__init__.py", ours)

    def test_typed(self) -> None:
        """A type checker reads our annotations."""
        self.assertTrue((ROOT / "netlayer" / "py.typed").exists())
