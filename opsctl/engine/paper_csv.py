"""Lists from offices as CSV: columns by their headings in English or Hindi, every bad cell at once, nothing half taken."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from opsctl.errors import ConfigError
from opsctl.model.fields import meant, shown
from opsctl.model.paper_cells import HEADINGS, heading

LARGEST = 1 << 30  # bytes
_NAMED = 200
"""Mistakes that are listed; the number of all is said."""
Made = TypeVar("Made")


@dataclass
class Problems:
    """The mistakes of one file. The only thing here that changes."""

    file: str
    found: list[tuple[int, str]] = field(default_factory=list)

    def add(self, line: int, column: str, message: str) -> None:
        self.found.append((line, f"{column}: {message}" if column else message))

    def try_(self, line: int, column: str, read: Callable[[str], Made], cell: str) -> Made | None:
        """What ``read`` makes of a cell; None where it says no, which is written down."""
        try:
            return read(cell)
        except ValueError as error:
            self.add(line, column, f"{shown(cell)} {error}" if cell.strip() else str(error))
            return None

    def require_none(self, what: str) -> None:
        """ConfigError with all of them, where there are any."""
        if not self.found:
            return
        listed = sorted(self.found)[:_NAMED]
        told = [f"{self.file}:{line}: {message}" for line, message in listed]
        if len(self.found) > _NAMED:
            told.append(f"{self.file}: and {len(self.found) - _NAMED} more")
        count = "a mistake" if len(self.found) == 1 else f"{len(self.found):,} mistakes"
        raise ConfigError(f"{count} in {what}; nothing was taken", problems=told, where=self.file)


@dataclass(frozen=True)
class Sheet:
    """A file that was read: ``columns`` is the place of each column that is known, ``doubts`` what is not taken of it."""

    file: str
    sha256: str
    text: str
    columns: Mapping[str, int]
    doubts: Sequence[str]
    problems: Problems
    delimiter: str

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Line and cells of each row that is not empty; one that has another number of cells is a mistake and left out."""
        reader = self._reader()
        width = len(next(reader, []))
        try:
            for cells in reader:
                if len(cells) == width:
                    if any(cells):
                        yield reader.line_num, cells
                elif any(cell.strip() for cell in cells):
                    self.problems.add(reader.line_num, "", f"has {len(cells)} cells, the first line {width}")
        except csv.Error as error:
            self.problems.add(reader.line_num, "", f"is no CSV: {error}")

    def _reader(self) -> csv._reader:  # type: ignore[name-defined]
        return csv.reader(io.StringIO(self.text, newline=""), strict=True, delimiter=self.delimiter)


def read_sheet(path: Path, wanted: Sequence[str], required: Sequence[str], own: Mapping[str, str] | None = None) -> Sheet:
    """Read a file and its first line. ``wanted``: columns that can be taken; ``own``: headings of the site's own.

    Raises ConfigError where it cannot be read, or lacks a column.
    """
    try:
        with path.open("rb") as source:
            content = source.read(LARGEST + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", where=str(path)) from error
    if len(content) > LARGEST:
        raise ConfigError(f"{path} is larger than 1 GiB", where=str(path), hint="bring it in parts")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text", where=str(path), hint="save it as `CSV UTF-8` in the spreadsheet program") from error
    first = text.partition("\n")[0]
    delimiter = max((",", ";", "\t"), key=first.count)
    problems = Problems(str(path))
    try:
        head = next(csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter), [])
    except csv.Error as error:
        raise ConfigError(f"{path} is no CSV: {error}", where=str(path)) from error
    columns, doubts = _columns(head, wanted, own or {}, problems)
    for name in required:
        if name not in columns:
            problems.add(1, "", f"column {name} is missing; it may be called {', '.join(HEADINGS[name])}")
    problems.require_none("the first line of the list")
    return Sheet(str(path), hashlib.sha256(content).hexdigest(), text, columns, doubts, problems, delimiter)


def _columns(head: Sequence[str], wanted: Sequence[str], own: Mapping[str, str], problems: Problems) -> tuple[dict[str, int], list[str]]:
    known = {heading(said): name for name in wanted for said in (name, *HEADINGS.get(name, ()))}
    known |= {heading(said): name for said, name in own.items() if name in wanted}
    columns: dict[str, int] = {}
    doubts = []
    for place, said in enumerate(head):
        name = known.get(heading(said))
        if name is None:
            if said.strip():
                doubts.append(f"column {shown(said)} is not taken{meant(heading(said), known)}")
        elif name in columns:
            problems.add(1, "", f"{shown(head[columns[name]])} and {shown(said)} are both the column {name}")
        else:
            columns[name] = place
    return columns, doubts
