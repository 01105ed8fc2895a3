"""The one table at the end: its rows, how they are shown, and where the last one is kept."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

README = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- table -->\n", "<!-- /table -->\n"
HEAD = ("what", "opsctl", "beside", "ratio", "aim", "met")


@dataclass(frozen=True)
class Row:
    """One line. ``met`` is None where there is no aim, or where it could not be measured."""

    name: str
    ours: str
    theirs: str = ""
    ratio: float | None = None
    aim: str = ""
    met: bool | None = None

    def cells(self) -> tuple[str, ...]:
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        return (
            self.name,
            self.ours,
            self.theirs,
            ratio,
            self.aim,
            {None: "", True: "yes", False: "**no**"}[self.met],
        )


def compare(name: str, ours: float, theirs: float, *, at_most: float | None = None, beside: str = "") -> Row:
    """A row of two durations in seconds, with the aim that the first is at most so many times the second."""
    ratio = ours / theirs
    return Row(
        name,
        seconds(ours),
        f"{seconds(theirs)}{f' {beside}' if beside else ''}",
        ratio,
        "" if at_most is None else f"ratio ≤ {at_most:g}",
        None if at_most is None else ratio <= at_most,
    )


def limit(name: str, ours: float, shown: str, *, at_most: float, aim: str, theirs: str = "") -> Row:
    """A row of one number with the most that it may be."""
    return Row(name, shown, theirs, None, aim, ours <= at_most)


def seconds(value: float) -> str:
    """A duration in the unit that reads best."""
    if value < 0.001:
        return f"{value * 1e6:.0f} µs"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def megabytes(value: float) -> str:
    return f"{value / 1e6:.1f} MB"


def markdown(rows: Sequence[Row]) -> str:
    """The table, aligned, so that it reads on a terminal and renders on a page."""
    lines = [HEAD, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    shown = [_line(line, widths) for line in lines]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([shown[0], rule, *shown[1:]]) + "\n"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"


def conditions(quick: bool) -> str:
    """When, on what, with which versions; nothing that names a machine or a place on it."""
    restic = re.search(r"restic (\S+)", _said("restic", "version"))
    postgres = re.search(r"\(PostgreSQL\) (\S+)", _said("psql", "--version"))
    versions = [f"Python {platform.python_version()}", f"typer {version('typer')}"]
    versions += [f"Linux {platform.release().split('-')[0]}"]
    versions += [f"restic {restic[1]}"] if restic else []
    versions += [f"PostgreSQL {postgres[1]}"] if postgres else []
    what = "the quick variant, whose numbers say nothing" if quick else "medians"
    return f"{date.today().isoformat()}, {os.cpu_count()} cores, {', '.join(versions)}; {what}.\n"


def _said(*argv: str) -> str:
    try:
        return subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False).stdout
    except OSError:
        return ""


def keep(text: str, readme: Path = README) -> None:
    """Put the table between the two marks of the README, in place of the last one."""
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    readme.write_text(f"{before}{BEGIN}{text}{END}{after}", encoding="utf-8")
