"""Some values of each column of an SQLite database that holds text or bytes."""

from __future__ import annotations

import sqlite3
import time

from opsctl.model.table_signals import MOST_TABLES, VALUES, WIDTH
from opsctl.sources.table_signals import EACH, Columns

_STEPS = 10_000  # of SQLite's machine between two looks at the time


def columns(database: sqlite3.Connection) -> Columns:
    """The columns with up to ``VALUES`` values each, by chance. A table that takes too long, or cannot be read, is left out."""
    names = [name for (name,) in database.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage <> 0 AND name NOT LIKE 'sqlite_%' ORDER BY name LIMIT ?", (MOST_TABLES,))]
    for table in names:
        until = time.monotonic() + EACH
        database.set_progress_handler(lambda end=until: time.monotonic() > end, _STEPS)  # type: ignore[misc]
        try:
            wanted = [row[1] for row in database.execute(f"PRAGMA table_xinfo({_quoted(table)})") if row[6] == 0]
            chosen = ", ".join(f"CASE WHEN typeof({_quoted(one)}) IN ('text', 'blob') THEN substr({_quoted(one)}, 1, {WIDTH}) END" for one in wanted)
            found = database.execute(f"SELECT {chosen} FROM {_quoted(table)} ORDER BY random() LIMIT {VALUES}").fetchall()
        except sqlite3.Error:
            continue
        finally:
            database.set_progress_handler(None, 0)
        for number, name in enumerate(wanted):
            yield f"{table}.{name}", [_text(row[number]) for row in found if row[number] is not None]


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
