"""Coverage-guided fuzzing of everything that reads bytes of others: ``python -m tests.fuzzing --help``."""

#: The targets, which stand in tests/fuzzing/targets.py; that is imported only when atheris is ready to follow it.
NAMES = ("before-admission", "after-admission", "files", "records", "certificates")
