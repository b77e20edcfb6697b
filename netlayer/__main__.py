"""``python -m netlayer`` is the ``netlayer`` command."""

from netlayer.tap.command import main

if __name__ == "__main__":
    main()
