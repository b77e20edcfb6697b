"""How pytest runs the tests."""

from __future__ import annotations

import os


def pytest_xdist_auto_num_workers() -> int:
    """Return how many processes run tests: one more than there are cores, as many tests wait for a while."""
    return (os.cpu_count() or 1) + 1
