"""``python -m tests.fuzzing``: fuzz one target, or all, with atheris (https://github.com/google/atheris).

Install the ``fuzz`` extra. A finding ends the run with its traceback, and its input is written to a file, which
``--replay FILE`` runs again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzzing import NAMES


def fuzz(name: str, *, inputs: int, seconds: int, seed: int) -> None:
    """Run one target in this process, which atheris ends."""
    import atheris

    with atheris.instrument_imports(include=["netlayer"]):
        from tests.fuzzing.targets import TARGETS, corpus
    with tempfile.TemporaryDirectory() as directory:
        for number, data in enumerate(corpus(name)):
            (Path(directory) / str(number)).write_bytes(data)
        limits = [f"-max_total_time={seconds}"] if seconds else []
        arguments = [
            f"-runs={inputs}",
            f"-seed={seed}",
            "-max_len=4200",
            "-verbosity=0",
            "-print_final_stats=1",
            "-artifact_prefix=finding-",
        ]
        atheris.Setup([sys.argv[0], *arguments, *limits, directory], TARGETS[name].check)
        atheris.Fuzz()


def main() -> int:
    """Run what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzzing", description="Fuzz what reads bytes of others.")
    parser.add_argument("target", nargs="?", choices=NAMES, help="by default all, one after the other")
    parser.add_argument("--inputs", type=int, default=500_000, help="for each target (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=0, help="for all of them together; 0 for no limit")
    parser.add_argument("--seed", type=int, default=0, help="of what is tried; by default other inputs each time")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one input of a finding again")
    options = parser.parse_args()
    if options.replay is not None:
        if options.target is None:
            parser.error("--replay needs the target")
        from tests.fuzzing.targets import TARGETS

        TARGETS[options.target].check(options.replay.read_bytes())
        print("nothing was found")
        return 0
    if options.target is not None:
        fuzz(options.target, inputs=options.inputs, seconds=options.seconds, seed=options.seed)
        return 0
    ends, starting = time.monotonic() + options.seconds, 3.0  # seconds that a target takes before it is fuzzed
    for number, name in enumerate(NAMES):
        began = time.monotonic()
        command = [sys.executable, "-m", "tests.fuzzing", name]
        share = max(1, int((ends - began) / (len(NAMES) - number) - starting)) if options.seconds else 0
        limits = [f"--inputs={options.inputs}", f"--seconds={share}", f"--seed={options.seed}"]
        done = subprocess.run([*command, *limits], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        starting = max(0.0, time.monotonic() - began - share)
        runs = [line.split()[-1] for line in done.stdout.splitlines() if "number_of_executed_units" in line]
        if done.returncode != 0 or not runs:
            print(done.stdout[-8000:])
            print(f"{name}: a finding, or a run that failed (exit code {done.returncode})")
            return 1
        print(f"{name}: {int(runs[0]):,} inputs in {time.monotonic() - began:.0f} s, nothing found", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
