"""The pages of the documentation, read as far as tests need it: their sections, directives and links."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.rst"


def pages() -> dict[Path, str]:
    """Return the text of the README and of every page of the documentation."""
    paths = [README, *(path for path in DOCS.rglob("*.rst") if not {"_build", "newsfragments"} & set(path.parts))]
    return {path: path.read_text("utf-8") for path in sorted(paths)}


def sections(text: str) -> dict[str, str]:
    """Return the parts of a page by their titles, the outermost ones: what stands before the first has no title."""
    parts = re.split(r"^(\S.*)\n-{3,}\n", text, flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def indented(lines: list[str], start: int) -> list[str]:
    """Return the block that is indented more than line `start` and follows it."""
    margin = len(lines[start]) - len(lines[start].lstrip())
    block = []
    for line in lines[start + 1 :]:
        if line.strip() and len(line) - len(line.lstrip()) <= margin:
            break
        block.append(line)
    return block


def directives(text: str, name: str) -> Iterator[tuple[str, dict[str, str], str]]:
    """Find the directives of a name: the argument, the options and the dedented content of each."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        match = re.match(rf"\s*\.\. {name}::\s*(.*)", line)
        if match is None:
            continue
        block = indented(lines, number)
        options = {}
        while block and (option := re.match(r"\s+:([\w-]+):\s*(.*)", block[0])):
            rest = indented(block, 0)
            options[option[1]] = " ".join([option[2], *map(str.strip, rest)]).strip()
            del block[: 1 + len(rest)]
        yield match[1].strip(), options, textwrap.dedent("\n".join(block)).strip("\n")


def holds(source: str, listing: str) -> bool:
    """Tell whether `source` has the lines of `listing`, at whatever indentation."""
    wanted, lines = listing.splitlines(), source.splitlines()
    return any(
        textwrap.dedent("\n".join(lines[start : start + len(wanted)])).splitlines() == wanted
        for start in range(len(lines) - len(wanted) + 1)
    )


def targets(path: Path, text: str) -> Iterator[Path]:
    """Find the files of this repository that a page links to."""

    def page(name: str) -> Path:
        return (DOCS / name[1:] if name.startswith("/") else path.parent / name).with_suffix(".rst")

    for role in re.findall(r":doc:`([^`]+)`", text):
        yield page(re.sub(r".*<(.+)>$", r"\1", role))
    for _, _, content in directives(text, "toctree"):
        yield from (page(name) for name in content.split())
    for link in re.findall(r"`[^`]*<([^`>]+)>`_", text):
        if "://" not in link:
            yield path.parent / link.partition("#")[0]
