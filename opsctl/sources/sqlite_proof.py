"""The proof of an SQLite file: its integrity, and rows and checksum of every table.

Algorithm ``sqlite-blake2b-sum-v1``: for each table the number of rows and the sum, modulo 2^128, of the
BLAKE2b-128 of each row. A row is hashed as Python writes a tuple of it, text as ``bytearray``: 1, 1.0, '1',
x'31' and NULL all differ, and text that is not UTF-8 counts by its bytes. It does not depend on the order of
rows and counts duplicates.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import quote

from opsctl.errors import ProgramFailed

ALGORITHM = "sqlite-blake2b-sum-v1"

_SHOWN = 5
_PATIENCE = 100_000  # steps of SQLite's machine between two looks at whether to go on
# An application may bring functions, collations and modules of its own, and without it they are not there.
_FOREIGN = ("no such collation", "no such function", "no such module")


def take(file: Path, level: str, cancelled: Callable[[], bool] = lambda: False) -> dict[str, Any]:
    """The proof of a database that nobody writes to. ProgramFailed where it is damaged, or ``cancelled``.

    Virtual tables (full-text search, R-trees) are proven through the ordinary tables that keep their content.
    """
    with reading(file) as database:
        database.set_progress_handler(cancelled, _PATIENCE)
        proof: dict[str, Any] = {
            "kind": "rows",
            "algorithm": ALGORITHM,
            "level": level,
            "integrity": _integrity(database),
        }
        if level == "off":
            return proof
        tables = {
            name: _checksum(database, name) if level == "full" else {"rows": _count(database, name)}
            for name in _names(database)
        }
        return {**proof, "tables": tables, "objects": _objects(database)}


def row_hash(row: tuple[Any, ...]) -> int:
    return int.from_bytes(blake2b(repr(row).encode("ascii"), digest_size=16).digest(), "little")


@contextmanager
def reading(file: Path) -> Iterator[sqlite3.Connection]:
    """``immutable``: no lock and no file beside it, whatever mode the database says it is in."""
    try:
        with closing(
            sqlite3.connect(f"file:{quote(os.fsencode(file))}?mode=ro&immutable=1", uri=True)
        ) as database:
            # The only built-in type that text can come as without being decoded, and still not look like a
            # BLOB.
            database.text_factory = bytearray
            yield database
    except sqlite3.Error as error:
        raise ProgramFailed(
            f"the database is damaged: {error}", hint="the last good set has it whole"
        ) from error


def _integrity(database: sqlite3.Connection) -> str:
    try:
        said = [_text(line) for (line,) in database.execute("PRAGMA integrity_check(20)")]
    except sqlite3.OperationalError as error:
        if any(word in str(error) for word in _FOREIGN):
            return f"not checked: {error}"
        raise
    if said != ["ok"]:
        raise ProgramFailed(
            f"the database is damaged: {'; '.join(said[:_SHOWN])}",
            hint="the last good set has it whole",
            details={"integrity_check": said},
        )
    return "ok"


def _names(database: sqlite3.Connection) -> list[str]:
    found = database.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage <> 0 ORDER BY name"
    )
    # A name that is not UTF-8 cannot be asked for; the SHA-256 of the file covers such a table.
    return [_text(name) for (name,) in found if _text(name).encode() == bytes(name)]


def _checksum(database: sqlite3.Connection, table: str) -> dict[str, Any]:
    # Columns that are computed when they are read may need functions of the application.
    columns = [
        _text(row[1]) for row in database.execute(f"PRAGMA table_xinfo({_quoted(table)})") if row[6] in (0, 3)
    ]
    number = total = 0
    for row in database.execute(f"SELECT {', '.join(map(_quoted, columns))} FROM {_quoted(table)}"):
        number += 1
        total += row_hash(row)
    return {"rows": number, "sum": str(total % (1 << 128))}


def _count(database: sqlite3.Connection, table: str) -> int:
    return int(database.execute(f"SELECT count(*) FROM {_quoted(table)}").fetchone()[0])


def _objects(database: sqlite3.Connection) -> dict[str, str]:
    """Tables, indexes, views and triggers by name, each with a hash of its definition."""
    found = {}
    for kind, name, sql in database.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name"):
        found[f"{_text(kind)} {_text(name)}"] = f"#{blake2b(bytes(sql or b''), digest_size=8).hexdigest()}"
    return found


def _text(raw: bytearray) -> str:
    return raw.decode("utf-8", "backslashreplace")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
