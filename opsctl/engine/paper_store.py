"""What was entered from paper, kept with the incident: a file for each list as it was read, and an index of them that can be made anew."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from opsctl.engine.paper_entries import Typed
from opsctl.errors import DamagedData, ProgramFailed
from opsctl.model.paper_cells import plain
from opsctl.model.paper_work import Entry
from opsctl.plain_file import read_plain
from opsctl.repositories.private import private_folder
from opsctl.repositories.whole import system_said_no, write_whole

_HEAD = ("body", "series", "number", "line", "date", "service", "payer", "account", "amount", "counter", "remark")
_TABLES = """
CREATE TABLE IF NOT EXISTS files (sha256 TEXT PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS entries (
    body TEXT, series TEXT, number INTEGER, file INTEGER, line INTEGER, day TEXT, service TEXT, payer TEXT, account TEXT, paise INTEGER,
    PRIMARY KEY (body, series, number, file, line)) WITHOUT ROWID;
"""


class PaperStore:
    """The folder of one order, ``incidents/ID/offline/ORDER``. The journal says which lists count; the index follows it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, sha256: str, rows: Iterable[Typed]) -> dict[str, str]:
        """Write a list down as it was read; its name and SHA-256. Amounts are decimals."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(_HEAD)
        writer.writerows((*row[:8], plain(row.paise), *row[9:]) for row in rows)
        content = out.getvalue().encode()
        name = f"entered-{sha256[:16]}.csv"
        write_whole(self.folder / name, content)
        return {"name": name, "sha256": hashlib.sha256(content).hexdigest()}

    @contextlib.contextmanager
    def index(self, lists: Sequence[Mapping[str, Any]], fresh: Mapping[str, Sequence[Typed]] | None = None) -> Iterator[Index]:
        """The index of these lists (records of the incident). ``fresh``: rows that were read just now, by the SHA-256 of their list.

        DamagedData where a list is not what was entered, ProgramFailed where it is gone.
        """
        private_folder(self.folder)
        path = self.folder.parent / f".index-{self.folder.name}.sqlite"  # hidden there, it goes into no copy of the incident
        try:
            with contextlib.closing(self._opened(path, lists)) as database:
                self._follow(database, lists, fresh or {})
                yield Index(database)
        except sqlite3.Error as error:
            raise ProgramFailed(f"{path}: {error}", hint="remove it: it is made anew from the lists of the order", where=str(path)) from error

    def _opened(self, path: Path, lists: Sequence[Mapping[str, Any]]) -> sqlite3.Connection:
        """The index; an empty one where there is none, or it is damaged or holds a list that does not count."""
        wanted = {one["sha256"] for one in lists}
        for _ in range(2):
            database = sqlite3.connect(path)
            try:
                path.chmod(0o600)
                database.execute("PRAGMA synchronous = OFF")  # a damaged one is made anew
                database.executescript(_TABLES)
                if {sha for (sha,) in database.execute("SELECT sha256 FROM files")} <= wanted:
                    return database
            except sqlite3.DatabaseError:
                pass
            database.close()
            path.unlink(missing_ok=True)
        raise ProgramFailed(f"{path} cannot be made", where=str(path))

    def _follow(self, database: sqlite3.Connection, lists: Sequence[Mapping[str, Any]], fresh: Mapping[str, Sequence[Typed]]) -> None:
        there = {sha for (sha,) in database.execute("SELECT sha256 FROM files")}
        for one in lists:
            if one["sha256"] in there:
                continue
            rows: Iterable[Sequence[Any]] = fresh.get(one["sha256"]) or self._read(one["kept"])
            with database:
                cursor = database.execute("INSERT INTO files VALUES (?, ?)", (one["sha256"], one["file"]))
                number = cursor.lastrowid
                database.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                                     ((row[0], row[1], row[2], number, row[3], row[4], row[5], row[6], row[7], row[8]) for row in rows))

    def _read(self, kept: Mapping[str, str]) -> Iterator[Sequence[Any]]:
        path = self.folder / kept["name"]
        try:
            content = read_plain(path)
        except OSError as error:
            raise system_said_no(error, path) from error
        if hashlib.sha256(content).hexdigest() != kept["sha256"]:
            raise DamagedData(f"{path} is not what was entered", where=str(path), hint="import the office's own list again: it is written down anew, or bring "
                              "the file back from a backup of the state directory")
        reader = csv.reader(io.StringIO(content.decode(), newline=""))
        next(reader)
        for row in reader:
            whole, _, rest = row[8].partition(".")
            yield (row[0], row[1], int(row[2]), int(row[3]), *row[4:8], int(whole) * 100 + int(rest), *row[9:])


class Index:
    """Entries by body, series and number."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def bodies(self) -> list[str]:
        """Those that something was entered for."""
        return [body for (body,) in self._database.execute("SELECT DISTINCT body FROM entries")]

    def of(self, body: str) -> Iterator[Entry]:
        """What was entered for a body, by series and number."""
        names = dict(self._database.execute("SELECT rowid, name FROM files"))
        for series, number, file, line, day, service, payer, account, paise in self._database.execute(
                "SELECT series, number, file, line, day, service, payer, account, paise FROM entries WHERE body = ? ORDER BY series, number, file, line",
                (body,)):
            yield Entry(series, number, day, service, payer, account, paise, f"{names[file]}:{line}")
