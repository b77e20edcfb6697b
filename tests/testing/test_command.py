"""The command line of the test kit, as processes of their own: what users type and see."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from netlayer.testing.command import execute
from tests.integration.processes import interruptible

ROOT = Path(__file__).parents[2]
SCENARIOS = "tests.testing.scenarios"


def long_run(name: str = "LosesOne") -> subprocess.Popen[str]:
    """Start what runs for hours, in a session of its own, and wait until a run has failed and was told of."""
    process = subprocess.Popen(
        [sys.executable, "-m", "netlayer.testing", f"{SCENARIOS}:{name}", "--seeds", "1-1000000", "--jobs", "2"],
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=interruptible,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def run(*arguments: str, hash_seed: str = "0", cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    return subprocess.run(
        [sys.executable, "-m", "netlayer.testing", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=interruptible,
    )


def executed(arguments: list[str]) -> tuple[object, str]:
    """Run the command line in this process; return the exit code and what was written to standard error."""
    errors, output = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(output):
        try:
            code: object = execute(arguments)
        except SystemExit as end:
            code = end.code
    return code, errors.getvalue()


class CommandTests(SynchronousTestCase):
    def assertCode(self, process: subprocess.CompletedProcess[str], code: int) -> None:
        """Assert that a process has ended with a code, and without a traceback."""
        self.assertEqual(process.returncode, code, f"{process.stdout}\n{process.stderr}")
        self.assertNotIn("Traceback", process.stdout + process.stderr)

    def test_seeds(self) -> None:
        """A range of seeds that all pass ends with code 0 and a line that sums up; progress goes to standard error."""
        process = run(f"{SCENARIOS}:Troubled", "--seeds", "1-8", "--jobs", "2")
        self.assertCode(process, 0)
        self.assertRegex(process.stdout, r"^Troubled: 8 of 8 runs passed, 0 failed; settled after .* s at most; ")
        self.assertIn("8 of 8 runs, 0 failed", process.stderr)
        self.assertNotIn("\r", process.stderr)

    def test_jobs(self) -> None:
        """One process and several tell the same, in the order of the seeds."""
        alone, together = (run(f"{SCENARIOS}:LosesOne", "--seeds", "1-4", "--jobs", jobs) for jobs in ("1", "2"))
        self.assertCode(alone, 1)
        self.assertCode(together, 1)
        first, second = (process.stdout.rpartition("LosesOne:")[0] for process in (alone, together))
        self.assertEqual(first, second)
        self.assertEqual(re.findall(r"with seed (\d+) failed", first), [str(seed) for seed in range(1, 5)])

    def test_fail_fast(self) -> None:
        """It can end at the first failure."""
        process = run(f"{SCENARIOS}:LosesOne", "--seeds", "1-1000000", "--fail-fast")
        self.assertCode(process, 1)
        self.assertIn("0 of 1 runs passed, 1 failed", process.stdout)

    def test_replayed(self) -> None:
        """The one command that a failing run prints replays exactly it, whatever PYTHONHASHSEED is; shrunk ones too."""
        process = run(f"{SCENARIOS}:LosesOne", "--seed", "7", "--shrink")
        self.assertCode(process, 1)
        stories = re.findall(r"trace hash (\w+)\n  Replay it:\n    python -m netlayer.testing (.+)", process.stdout)
        self.assertEqual(len(stories), 2)
        self.assertEqual(
            stories[1][1], f"{SCENARIOS}:LosesOne --seed 7 --without 1-4,6-8 --hosts bootstrap1,node2,node3"
        )
        for trace_hash, command in stories:
            for hash_seed in ("1", "12345"):
                again = run(*command.split(), hash_seed=hash_seed)
                self.assertCode(again, 1)
                self.assertIn(trace_hash, again.stdout)

    def test_interrupted(self) -> None:
        """Ctrl-C ends it soon, with code 130 and a line that sums up, whatever processes it has started."""
        process = long_run()
        os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to all of them
        output, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, errors)
        self.assertIn("LosesOne: 0 of ", output)
        self.assertEqual(errors.splitlines()[-1], "interrupted")
        self.assertNotIn("Traceback", errors)

    def test_interrupted_while_stuck(self) -> None:
        """It ends them even if one of them never comes back from its run, and sums up what the others have done."""
        process = long_run("HangsLater")
        os.killpg(process.pid, signal.SIGINT)
        try:
            output, errors = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        self.assertEqual(process.returncode, 130, errors)
        self.assertRegex(output, r"HangsLater: 0 of [1-9]")
        self.assertEqual(errors.splitlines()[-1], "interrupted")
        self.assertNotIn("Traceback", errors)

    def test_interrupted_in_a_run(self) -> None:
        """Ctrl-C ends all runs, not one, even if it comes in code whose errors go somewhere."""
        for which in (["--seed", "1"], ["--seeds", "1-3"]):
            process = run(f"{SCENARIOS}:Interrupted", *which)
            self.assertCode(process, 130)
            self.assertNotIn("failed:", process.stdout)
            self.assertEqual(process.stderr.splitlines()[-1], "interrupted")

    def test_broken_worker(self) -> None:
        """A process that dies is told of with the seed that it ran, and one that can't begin with the reason."""
        process = run(f"{SCENARIOS}:OneSeedDies", "--seeds", "1-3", "--jobs", "2")
        self.assertCode(process, 2)
        self.assertIn("error: the process that ran seed 2 has ended, with code 7", process.stderr)
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "only_here.py")
            path.write_text(
                f"import multiprocessing\nfrom {SCENARIOS} import Small\n\n\n"
                "assert multiprocessing.parent_process() is None, 'not here'\n\n\nclass Mine(Small):\n    pass\n",
                "utf-8",
            )
            process = run(str(path), "--seeds", "1-3", "--jobs", "2")
        self.assertCode(process, 2)
        self.assertIn("only_here.py can't be imported: AssertionError: not here", process.stderr)

    def test_one_seed_broken(self) -> None:
        """A seed with which no run can be made is a failed run among the others, in one process as in several."""
        for jobs in ("1", "2"):
            process = run(f"{SCENARIOS}:OneSeedBroken", "--seeds", "1-4", "--jobs", jobs, "--shrink")
            self.assertCode(process, 1)
            self.assertIn("OneSeedBroken with seed 3 failed\n  constructor, after 0.000 s: ", process.stdout)
            self.assertIn("ValueError: not the third, in tests/testing/scenarios.py:", process.stdout)
            self.assertIn("3 of 4 runs passed", process.stdout)

    def test_unread(self) -> None:
        """It ends quietly when nobody reads any more, and with one line when nothing more can be written."""
        command = [sys.executable, "-m", "netlayer.testing", f"{SCENARIOS}:FailsSoon", "--seeds", "1-3"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            self.assertEqual(process.stderr.read(), "")
            self.assertEqual(process.wait(60), 141)
        if os.path.exists("/dev/full"):
            with open("/dev/full", "w", encoding="ascii") as full:
                ended = subprocess.run(
                    command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, check=False
                )
            self.assertEqual(ended.returncode, 2)
            self.assertRegex(ended.stderr, r"^error: .*No space left on device\n$")

    def test_killed(self) -> None:
        """Who is killed leaves none of the processes behind that it has started."""
        process = long_run()
        process.kill()
        try:
            process.communicate(timeout=60)  # each of them holds the other end of the pipe
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise

    def test_hosts_by_count(self) -> None:
        """A number of hosts means the first nodes, and every bootstrap node."""
        process = run(f"{SCENARIOS}:LosesOne", "--seed", "7", "--hosts", "2")
        self.assertCode(process, 0)
        self.assertIn("--hosts bootstrap1,node1,node2", process.stdout)

    def test_log(self) -> None:
        """What the nodes log is printed with the virtual time when it is asked for."""
        process = run(f"{SCENARIOS}:Small", "--seed", "1", "--log")
        self.assertCode(process, 0)
        self.assertRegex(process.stdout, r"(?m)^    0.000 s  node 2: started at 127.1.0.2:8001$")
        self.assertRegex(process.stdout, r"(?m)^   10.\d+ s  node 2: stopped$")

    def test_file(self) -> None:
        """A scenario may be named by its file, which finds its neighbours; the command that is told names the file."""
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory)
            (path / "neighbour.py").write_text(f"from {SCENARIOS} import LosesOne\n", "utf-8")
            (path / "mine.py").write_text("import neighbour\n\n\nclass Mine(neighbour.LosesOne):\n    pass\n", "utf-8")
            process = run("mine.py", "--seed", "7", cwd=path)
            self.assertCode(process, 1)
            self.assertIn("python -m netlayer.testing mine.py:Mine --seed 7", process.stdout)
            self.assertCode(run(f"{path}/mine.py:Mine", "--seeds", "7", "--jobs", "2"), 1)

    def test_mistakes(self) -> None:
        """A user's mistake is told in one line that names it, with code 2."""
        with tempfile.TemporaryDirectory() as directory:
            broken = Path(directory) / "broken.py"
            broken.write_text("import netlayer\n\nnetlayer.Nodes\n", "utf-8")
            for arguments, text in (
                (["nowhere:Small"], "there is no module 'nowhere' (a file is named with its .py)"),
                (["nowhere.py"], "there is no file nowhere.py"),
                ([f"{SCENARIOS}:Smal"], "tests.testing.scenarios has no scenario Smal; there are Abstract, "),
                ([f"{SCENARIOS}:Told"], "Told in tests.testing.scenarios is no subclass of netlayer.testing.Scenario"),
                ([SCENARIOS], "which scenario of tests.testing.scenarios? There are Abstract, "),
                ([":Small"], "':Small' names no file or module"),
                ([str(broken)], "can't be imported: AttributeError: module 'netlayer' has no attribute 'Nodes'"),
                ([f"{SCENARIOS}:Small", "--seeds", "9-3"], "a range is FIRST-LAST, such as 1-1000, not '9-3'"),
                ([f"{SCENARIOS}:Small", "--seed", "x"], "a seed is a whole number, below 1e+18, not 'x'"),
                ([f"{SCENARIOS}:Small", "--jobs", "0"], "a number from 1 on, not '0'"),
                ([f"{SCENARIOS}:Small", "--without", "1"], "no such fault: 1. Seed 0 has no faults"),
                ([f"{SCENARIOS}:Small", "--without", "x"], "numbers of faults are 3,5,8-10 or the like, not 'x'"),
                ([f"{SCENARIOS}:Small", "--hosts", "moon"], "no such host: moon. There are: bootstrap1, node1, "),
                ([f"{SCENARIOS}:Small", "--hosts", ""], "no host is left on which something runs. There are: boot"),
                ([f"{SCENARIOS}:Small", "--hosts", ","], "no host is left on which something runs. There are: boot"),
                ([f"{SCENARIOS}:Small", "--hosts", "7"], "--hosts 7: Small has 3 hosts besides its bootstrap nodes"),
                ([f"{SCENARIOS}:Small", "--seeds", "1-3", "--without", "1"], "belong to one run: give its --seed"),
                ([f"{SCENARIOS}:Small", "--seeds", "1-3", "--log"], "belong to one run: give its --seed"),
                ([f"{SCENARIOS}:Small", "--seed", "1", "--jobs", "2"], "belong to many runs: give their --seeds"),
                ([f"{SCENARIOS}:Small", "--fail-fast"], "belong to many runs: give their --seeds"),
                ([f"{SCENARIOS}:Small", "--seeds", f"0-{10**22}"], "a seed is below 1e+18, unlike some of '0-1"),
                (["."], "'.' is no module"),
                ([".small:Small"], "'.small' is no module"),
                ([f"{SCENARIOS}:OneSeedBroken", "--seed", "3"], "with seed 3 can't be made: ValueError: not the third"),
                ([f"{SCENARIOS}:Small", "--seeds", "1-3", "--seed", "1"], "not allowed with argument --seeds"),
                ([f"{SCENARIOS}:Troubled", "--real"], "only the simulation can make these faults: Partition, Stall. "),
            ):
                with self.subTest(arguments=arguments):
                    code, told = executed(arguments)
                    self.assertEqual(code, 2, told)
                    self.assertIn(text, told)
                    self.assertNotIn("Traceback", told)
