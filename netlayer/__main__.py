"""``python -m netlayer`` is the ``netlayer`` command."""

from netlayer.command import main

main()
