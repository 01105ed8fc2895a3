"""A department's database, its ordinary days, and what is done to it: on SQLite, whose server is the test itself."""

from __future__ import annotations

import base64
import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from random import Random

_NAMES = ("आशा वर्मा", "Ravi Kumar", "Meena Bai Sahu", "Mohammed Salim", "Sunita Devi Yadav", "Deepak Raghuwanshi")
_PLACES = ("House 12, Ward 7, near the old bus stand", "Shop 3, Main Road, opposite the post office", "Plot 44, Nehru Nagar, behind the school")

Act = Callable[[sqlite3.Connection, int, Random], None]


def furnish(path: Path, chance: Random) -> None:
    with _open(path) as database:
        database.executescript("""
            CREATE TABLE bills (id INTEGER PRIMARY KEY, owner TEXT, address TEXT, amount REAL);
            CREATE TABLE receipts (id INTEGER PRIMARY KEY, bill INTEGER, remark TEXT, token TEXT);
            CREATE TABLE licences (id INTEGER PRIMARY KEY, shop TEXT, address TEXT);
            CREATE TABLE marriages (id INTEGER PRIMARY KEY, bride TEXT, groom TEXT, witness TEXT);
        """)
        _grow(database, 1500, chance)


def day(path: Path, chance: Random) -> None:
    """Bills come in, a few are corrected."""
    with _open(path) as database:
        _grow(database, 40, chance)
        for number in chance.sample(range(1, 1500), 20):
            database.execute("UPDATE bills SET address = ? WHERE id = ?", (f"{chance.choice(_PLACES)} (corrected)", number))


def act(path: Path, what: Act, number: int, chance: Random) -> None:
    with _open(path) as database:
        what(database, number, chance)


@contextlib.contextmanager
def _open(path: Path):  # type: ignore[no-untyped-def]
    with contextlib.closing(sqlite3.connect(path)) as database:
        yield database
        database.commit()


def _grow(database: sqlite3.Connection, many: int, chance: Random) -> None:
    for _ in range(many):
        who, where = f"{chance.choice(_NAMES)} {chance.randrange(1000)}", f"{chance.choice(_PLACES)}, {chance.randrange(500)}"
        database.execute("INSERT INTO bills (owner, address, amount) VALUES (?, ?, ?)", (who, where, chance.randrange(100_000) / 100))
        database.execute("INSERT INTO receipts (bill, remark, token) VALUES (?, ?, ?)",
                         (chance.randrange(1500), f"paid at the counter by {who}, receipt book {chance.randrange(90)}", _token(chance)))
    for _ in range(max(1, many // 10)):
        database.execute("INSERT INTO licences (shop, address) VALUES (?, ?)", (f"Sweets and snacks no. {chance.randrange(999)}", chance.choice(_PLACES)))
        database.execute("INSERT INTO marriages (bride, groom, witness) VALUES (?, ?, ?)",
                         (f"{chance.choice(_NAMES)}, daughter of {chance.choice(_NAMES)}", f"{chance.choice(_NAMES)}, son of {chance.choice(_NAMES)}",
                          f"{chance.choice(_NAMES)}, neighbour, {chance.choice(_PLACES)}"))


def _token(chance: Random) -> str:
    return base64.urlsafe_b64encode(chance.randbytes(24)).decode()


def _scramble(chance: Random) -> str:
    return base64.b64encode(chance.randbytes(60)).decode()


# What attackers do.

def one_table(database: sqlite3.Connection, number: int, chance: Random) -> None:
    """Every text of one table is encrypted."""
    if number == 0:
        for (one,) in database.execute("SELECT id FROM bills").fetchall():
            database.execute("UPDATE bills SET owner = ?, address = ? WHERE id = ?", (_scramble(chance), _scramble(chance), one))


def as_bytes(database: sqlite3.Connection, number: int, chance: Random) -> None:
    """A column's values are replaced by bytes."""
    if number == 0:
        for (one,) in database.execute("SELECT id FROM marriages").fetchall():
            database.execute("UPDATE marriages SET witness = ? WHERE id = ?", (chance.randbytes(64), one))


def slowly(database: sqlite3.Connection, number: int, chance: Random) -> None:
    """1 % of the rows of one table a set."""
    ids = [one for (one,) in database.execute("SELECT id FROM bills WHERE address LIKE '% %'")]
    for one in chance.sample(ids, max(1, len(ids) // 100)):
        database.execute("UPDATE bills SET owner = ?, address = ? WHERE id = ?", (_scramble(chance), _scramble(chance), one))


def emptied(database: sqlite3.Connection, number: int, chance: Random) -> None:
    """All tables are emptied, and a demand is left."""
    if number == 0:
        for table in ("bills", "receipts", "licences", "marriages"):
            database.execute(f"DELETE FROM {table}")
        database.execute("CREATE TABLE README_TO_RECOVER (note TEXT)")
        database.execute("INSERT INTO README_TO_RECOVER VALUES ('All your data was backed up. Write to mail@x.invalid.')")


def dropped(database: sqlite3.Connection, number: int, chance: Random) -> None:
    """Half of the tables are dropped, without a word."""
    if number == 0:
        database.execute("DROP TABLE receipts")
        database.execute("DROP TABLE marriages")


# What innocent people do.

def nothing(database: sqlite3.Connection, number: int, chance: Random) -> None:
    """Ordinary days."""


def year_end(database: sqlite3.Connection, number: int, chance: Random) -> None:
    """Next year's bills are made for everybody, and the old ones go into an archive."""
    if number == 0:
        database.execute("CREATE TABLE bills_2026 AS SELECT * FROM bills")
        database.execute("DELETE FROM bills WHERE id < 1000")
        _grow(database, 2500, chance)


def hashed_column(database: sqlite3.Connection, number: int, chance: Random) -> None:
    """A column of password hashes is added and filled."""
    if number == 0:
        database.execute("ALTER TABLE licences ADD COLUMN login TEXT")
        for (one,) in database.execute("SELECT id FROM licences").fetchall():
            database.execute("UPDATE licences SET login = ? WHERE id = ?", (_scramble(chance), one))


def new_tokens(database: sqlite3.Connection, number: int, chance: Random) -> None:
    """Every token is made anew."""
    if number == 0:
        for (one,) in database.execute("SELECT id FROM receipts").fetchall():
            database.execute("UPDATE receipts SET token = ? WHERE id = ?", (_token(chance), one))


def one_emptied(database: sqlite3.Connection, number: int, chance: Random) -> None:
    """One table is emptied for a new season."""
    if number == 0:
        database.execute("DELETE FROM licences")
