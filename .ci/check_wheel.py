"""Build netlayer as a release does, and check what it brings to a user's environment and what it takes when it goes.

Run it with the ``dev`` extra installed: ``python .ci/check_wheel.py``. It works on a copy, so that what earlier builds
left in the checkout can't hide a mistake.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path, PurePosixPath

CHECKOUT = Path(__file__).resolve().parents[1]
PLUGIN = "twisted/plugins/netlayer_plugin.py"


def run(*command: str | Path, cwd: Path) -> str:
    """Return what `command` printed; end the check with it if the command failed."""
    done = subprocess.run(
        command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    require(done.returncode == 0, f"{' '.join(map(str, command))} failed:\n{done.stdout}")
    return done.stdout


def require(condition: bool, complaint: str) -> None:
    """End the check with `complaint` unless `condition` holds."""
    if not condition:
        raise SystemExit(f"check_wheel: {complaint}")


def copy_checkout(destination: Path) -> None:
    """Copy the files that git tracks or would add."""
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=CHECKOUT)
    for name in filter(None, listed.split("\0")):
        if (CHECKOUT / name).is_file():
            (destination / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, destination / name)


def check_sdist(sdist: Path) -> None:
    """Require the documentation and the tests, which a distributor builds and runs."""
    with tarfile.open(sdist) as archive:
        top = {PurePosixPath(name).parts[1] for name in archive.getnames() if "/" in name}
    require({"docs", "tests", "LICENSE"} <= top, f"the sdist holds only {sorted(top)}")


def check_wheel(wheel: Path, *, has_plugin: bool) -> None:
    """Require netlayer and its plugin, and nothing else: above all no file of Twisted's."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    require("netlayer/py.typed" in names, "the wheel lacks netlayer/py.typed: users get no types")
    ours = [name for name in names if name.startswith("twisted/")]
    require(ours == [PLUGIN] * has_plugin, f"under twisted/ the wheel holds {ours}")
    top = {PurePosixPath(name).parts[0] for name in names}
    strangers = sorted(name for name in top - {"netlayer", "twisted"} if not name.endswith(".dist-info"))
    require(not strangers, f"at its top level the wheel also holds {strangers}")


def check_life(programs: Path, *install: str | Path, cwd: Path, has_plugin: bool) -> None:
    """Install, use and uninstall netlayer; Twisted must work before and after."""
    python = programs / "python"
    run(python, "-m", "pip", "install", *install, cwd=cwd)
    said = run(python, "-I", "-W", "error", "-c", "import netlayer, twisted.internet", cwd=cwd)
    require(not said, f"importing netlayer prints:\n{said}")
    for program in ("twistd", "twist"):
        listed = run(programs / program, "--help", cwd=cwd)
        for command in ("netlayer-bootstrap", "netlayer-node"):
            require((command in listed) == has_plugin, f"{program} misses {command}")
            if has_plugin:
                said = run(programs / program, command, "--version", cwd=cwd)
                require(said.startswith("netlayer "), f"{program} {command} --version prints:\n{said}")
    run(python, "-m", "pip", "uninstall", "--yes", "netlayer", cwd=cwd)
    run(python, "-I", "-c", "import twisted.plugins; assert twisted.plugins.__file__", cwd=cwd)
    require("netlayer" not in run(programs / "twistd", "--help", cwd=cwd), "twistd still lists the removed plugin")


def main() -> None:
    """Check the wheel, then the three ways to install."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        copy, built, elsewhere = scratch / "copy", scratch / "built", scratch / "elsewhere"
        elsewhere.mkdir()
        copy_checkout(copy)
        has_plugin = (copy / PLUGIN).exists()

        run(sys.executable, "-m", "build", "--outdir", built, copy, cwd=elsewhere)
        [sdist], [wheel] = built.glob("*.tar.gz"), built.glob("*.whl")
        check_sdist(sdist)
        check_wheel(wheel, has_plugin=has_plugin)
        print(f"{sdist.name} and {wheel.name} hold what they should")

        venv.create(scratch / "venv", with_pip=True)
        for install in ([wheel], [copy], ["-e", copy]):
            check_life(scratch / "venv" / "bin", *install, cwd=elsewhere, has_plugin=has_plugin)
            print("installed, used and removed:", *(str(word).replace(str(scratch), "...") for word in install))


if __name__ == "__main__":
    main()
