"""Write the table of docs/reference/settings.rst from the fields of Settings: ``python docs/settings_table.py``."""

from __future__ import annotations

from pathlib import Path

import attrs

from netlayer.config import Settings

PAGE = Path(__file__).parent / "reference" / "settings.rst"
BEGIN, END = ".. The table below is written by docs/settings_table.py.\n", ".. The table ends here.\n"


def number(value: float, unit: str) -> str:
    """Return a value as people write it: large amounts of bytes in KiB or MiB."""
    if unit == "bytes":
        for size, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
            if value >= size and value % size == 0:
                return f"{value // size} {name}"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def allowed(least: float, most: float, unit: str) -> str:
    """Return the range of a setting in words."""
    unlimited = most == 2**53
    return f"from {number(least, unit)}" if unlimited else f"{number(least, unit)} to {number(most, unit)}"


def table() -> str:
    """Return the table as reST."""
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 18 10 10 16 23 23", ""]
    rows = [("Setting", "Default", "Unit", "Allowed", "What it is", "Why this default")]
    for field in attrs.fields(Settings):
        unit = field.metadata["unit"]
        limits = allowed(field.metadata["least"], field.metadata["most"], unit)
        about = field.metadata["what"], field.metadata["why"]
        rows.append((f"``{field.name}``", number(field.default, unit), unit, limits, *about))
    for row in rows:
        lines += [f"   {'-' if first else ' '} - {cell}" for first, cell in zip((True, *[False] * 5), row, strict=True)]
    return "\n".join(line.replace("   - -", "   * -", 1) for line in lines) + "\n"


def page(text: str) -> str:
    """Return the text of the page with the table as it should be."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
