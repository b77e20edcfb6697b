"""One bit changes in a file of a node: that is noticed, or changes nothing.

``python -m tests.storage.bindings.damage --flips 200`` is the long run, for each kind of file; the suite has a short
one.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from netlayer import Identity
from netlayer.errors import ConfigurationError
from netlayer.sansio.bootstrap.registry import Binding
from netlayer.storage.bindings.file import BindingFile, DamagedFile, WantedBinding

__all__ = ["FILES", "Specimen", "flip"]

NAME = "bindings.sqlite"
#: The files whose bits are changed, and how many of a kind a change is made in.
FILES = (NAME, f"{NAME}-wal", f"{NAME}-mark", "identity.pem")
#: Ids that were bound at different times.
TAKEN = (1, 500, 2020, 2039)


def flip(path: Path, rng: random.Random) -> str:
    """Change one bit of a file, and return which."""
    content = bytearray(path.read_bytes())
    at, bit = rng.randrange(len(content)), rng.randrange(8)
    content[at] ^= 1 << bit
    path.write_bytes(content)
    return f"bit {bit} of byte {at} of {path.name}"


class Specimen:
    """The files of a bootstrap node that was killed: some changes are in the database, the others in its log alone.

    :param directory: an empty one.
    :ivar holdings: what they hold.
    """

    def __init__(self, directory: Path, rng: random.Random) -> None:
        self._directory = directory
        self._original = directory / "original"
        live = directory / "live"
        live.mkdir()
        self._original.mkdir()
        self._change(live / NAME, rng, 0, 1000).close()  # by which the log is written back
        file = self._change(live / NAME, rng, 2000, 40)
        self.holdings = file.holdings()
        for name in (NAME, f"{NAME}-wal", f"{NAME}-mark"):  # a copy while it is open is what a killed process leaves
            shutil.copy(live / name, self._original / name)
        file.close()
        Identity.in_directory(self._original)
        self.identity = Identity.replace(self._original / "identity.pem")[1]

    def outcome(self, change: Callable[[Path], str]) -> str:
        """Change a copy of the files and return what comes of it: ``detected``, ``harmless`` or what is wrong.

        :param change: is given the directory of the copy, and returns what it has done.
        """
        copy = self._directory / "copy"
        shutil.copytree(self._original, copy)
        try:
            what = change(copy)
            try:
                found = self._served(copy)
            except (DamagedFile, ConfigurationError):
                return "detected"
            return "harmless" if found == self._expected() else f"{what}: something else is served"
        finally:
            shutil.rmtree(copy)

    # ---- private

    def _change(self, path: Path, rng: random.Random, first: int, count: int) -> BindingFile:
        file = BindingFile(path, network="default")
        numbers = range(first, first + count)
        for at in range(0, count, 20):
            bindings = [Binding(number, rng.randbytes(32), 1000 + number) for number in numbers[at : at + 20]]
            file.bind([WantedBinding(binding) for binding in bindings], now=2000)
            replaced = bindings[0].fingerprint
            new = Binding(bindings[0].node_id, rng.randbytes(32), 1000)
            file.bind([WantedBinding(new, replaced, (replaced,))], now=2000)
        file.ban(rng.randbytes(32))
        file.end(first, now=3000)
        file.add_signer(rng.randbytes(91))
        return file

    def _served(self, directory: Path) -> object:
        """Return all that a node would do by these files."""
        identity = Identity.in_directory(directory)
        signs = identity.verify(identity.public_key, b"data", identity.sign(b"data"))
        file = BindingFile(directory / NAME, network="default")
        try:
            holdings = file.holdings()
            taken = [WantedBinding(Binding(number, bytes(32), 1)) for number in TAKEN]
            return identity.fingerprint, identity.formers, signs, holdings, file.bind(taken, now=4000)
        finally:
            file.close()

    def _expected(self) -> object:
        held = {binding.node_id: binding for binding in self.holdings.bindings}
        return self.identity.fingerprint, self.identity.formers, True, self.holdings, [held[number] for number in TAKEN]


def run(flips: int, seed: int) -> dict[str, Counter[str]]:
    """Change so many bits of each file, one at a time, and count what comes of them."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        specimen = Specimen(Path(name), rng)

        def outcome(file: str) -> str:
            return specimen.outcome(lambda directory: flip(directory / file, rng))

        return {file: Counter(outcome(file) for _ in range(flips)) for file in FILES}


def main() -> None:
    """Run it as a program."""
    parser = argparse.ArgumentParser(prog="python -m tests.storage.bindings.damage", description=__doc__)
    parser.add_argument("--flips", type=int, default=200, help="bits of each file")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    wrong = 0
    for file, outcomes in run(options.flips, options.seed).items():
        print(f"{file}: {', '.join(f'{count} {outcome}' for outcome, count in outcomes.most_common())}", flush=True)
        wrong += sum(outcomes.values()) - outcomes["detected"] - outcomes["harmless"]
    raise SystemExit(f"{wrong} of them were served" if wrong else 0)


if __name__ == "__main__":
    main()
