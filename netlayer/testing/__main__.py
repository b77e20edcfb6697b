"""``python -m netlayer.testing``: see :mod:`netlayer.testing.command`."""

from __future__ import annotations

import sys

from netlayer.testing.command import main

if __name__ == "__main__":
    sys.exit(main())
