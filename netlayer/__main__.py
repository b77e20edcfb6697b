"""``python -m netlayer`` is the ``netlayer`` command."""

from netlayer.command import main

if __name__ == "__main__":
    main()
