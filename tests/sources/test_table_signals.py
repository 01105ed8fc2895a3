"""Change signals of databases, from values that real servers hold."""

from __future__ import annotations

import base64
import sqlite3
from pathlib import Path
from random import Random
from typing import Any

import pytest

from opsctl.model.table_signals import is_noise, noise, of_tables
from opsctl.shells.local import LocalShell
from opsctl.sources.mariadb_server import Mariadb
from opsctl.sources.postgresql_server import Postgres
from opsctl.sources.sqlite import Sqlite
from tests.lab.mariadb import source_of as maria_source_of
from tests.sources.databases import source_of


@pytest.mark.parametrize(("text", "noisy"), [
    ("House 12, Ward 7, near the old bus stand", False), ("आशा वर्मा, पुत्री मीना वर्मा", False), ("short", None), ("2026-12-21T02:30:00+05:30", False),
    ("https://portal.example.in/tax/2026/bills/77", False), ("d41d8cd98f00b204e9800998ecf8427e" * 2, True), ("\\x" + "9fe3" * 20, True),
    (base64.b64encode(Random(1).randbytes(48)).decode(), True), (Random(2).randbytes(60).decode("latin-1"), True),
    ("property-tax-assessment-register", False), ("line one\nline two\tand three", False), ("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", True), ("0" * 30, False), ("0x" + b"plain words of a document".hex(), False),
    ("\\x" + "मकान नंबर बारह".encode().hex()[:-2], False),
])
def test_noise_is_told_from_words(text: str, noisy: bool | None) -> None:
    assert is_noise(text) is noisy


@pytest.mark.parametrize("seed", range(5))
def test_what_was_encrypted_is_noise_and_names_are_not(seed: int) -> None:
    chance = Random(seed)
    encrypted = [base64.b64encode(chance.randbytes(chance.randrange(16, 90))).decode() for _ in range(200)]
    told, bad = noise(encrypted)
    assert bad >= 0.95 * told > 150
    assert noise([f"Ward {number}, plot {number * 7}, Nehru Nagar" for number in range(200)])[1] == 0


def table(rows: int, checksum: str = "1") -> dict[str, Any]:
    return {"rows": rows, "sum": checksum}


def seen(columns: dict[str, list[int]], verdict: str = "clean") -> dict[str, Any]:
    return {"verdict": verdict, "numbers": {"columns": columns}}


def test_rows_changed_are_counted_by_table_and_no_table_alone_condemns() -> None:
    before = {"bills": table(5000), "receipts": table(200), "old": table(0)}
    found = of_tables({"bills": table(5040, "2"), "receipts": table(0), "old": table(0)}, before, {}, [])
    assert found.verdict == "clean" and found.numbers is not None
    assert found.numbers["rows_changed"] == {"receipts": [200, 0], "bills": [5000, 5040]} and found.numbers["tables_changed"] == 2
    gone = of_tables({"bills": table(0), "old": table(0)}, before, {}, [])
    assert (gone.verdict, gone.reasons) == ("suspect", ("2 of the 2 tables that had rows are empty or gone",))
    shrunk = of_tables({"bills": table(2000), "receipts": table(200)}, before, {}, [])
    assert shrunk.reasons == ("3,000 of 5,200 rows are gone",)


def test_a_column_that_always_was_noise_or_is_new_condemns_nobody() -> None:
    tables = {"t": table(500)}
    assert of_tables(tables, tables, {"t.token": (200, 200)}, [seen({"t.token": [200, 199]})]).verdict == "clean"
    fresh = of_tables(tables, tables, {"t.login": (200, 200)}, [seen({"t.name": [200, 0]})])
    assert (fresh.verdict, fresh.notes) == ("clean", ("t.login is new and noise",))
    turned = of_tables(tables, tables, {"t.name": (200, 190)}, [seen({"t.name": [200, 190]}, "suspect"), seen({"t.name": [200, 1]})])
    assert turned.verdict == "suspect", "what was suspect before is no measure of what is usual"


def test_a_slow_encryption_is_noticed_when_it_can_be_told_from_chance() -> None:
    tables, calm = {"t": table(5000)}, [seen({"t.name": [200, 0]})]
    assert of_tables(tables, tables, {"t.name": (200, 4)}, calm).verdict == "clean"
    assert of_tables(tables, tables, {"t.name": (200, 12)}, calm).verdict == "suspect"


@pytest.mark.parametrize("name", ["README_TO_RECOVER", "public.readme_please", "how_to_decrypt", "PWNED"])
def test_a_table_named_like_a_demand_condemns(name: str) -> None:
    before = {"bills": table(10)}
    found = of_tables({**before, name: table(1)}, before, {}, [])
    assert found.verdict == "suspect" and name in found.reasons[0]


def test_postgresql_gives_values_of_columns_that_can_hold_text(postgres: Postgres, database: str) -> None:
    postgres.psql("""CREATE TABLE "Odd ""name" (id int, "Owner" text, blob bytea, doc jsonb);
        INSERT INTO "Odd ""name" SELECT n, 'House ' || n || ', Ward 7, near the stand', sha256(n::text::bytea), '{"a": "plain words of a document"}'
        FROM generate_series(1, 3000) n""", database)
    found = {name: noise(values) for name, values in source_of(postgres, database)._sample()}
    assert found['public."Odd ""name".Owner'][0] > 100 and found['public."Odd ""name".Owner'][1] == 0
    told, bad = found['public."Odd ""name".blob']
    assert bad == told > 100
    assert found['public."Odd ""name".doc'][1] == 0 and not any(name.endswith(".id") for name in found)


def test_mariadb_gives_values_of_columns_that_can_hold_text(mariadb: Mariadb, schema: str) -> None:
    mariadb.sql("""CREATE TABLE `odd name` (id INT, owner VARCHAR(200), secret BLOB);
        INSERT INTO `odd name` SELECT seq, CONCAT('House ', seq, ', Ward 7, near the stand'), UNHEX(SHA2(seq, 512)) FROM seq_1_to_3000""", schema)
    found = {name: noise(values) for name, values in maria_source_of(mariadb, schema)._sample()}
    assert found["odd name.owner"][0] > 100 and found["odd name.owner"][1] == 0
    told, bad = found["odd name.secret"]
    assert bad == told > 100


def test_sqlite_gives_values_and_leaves_its_file_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE t (id INTEGER, name TEXT, raw BLOB)")
        database.executemany("INSERT INTO t VALUES (?, ?, ?)", [(n, f"House {n}, near the old stand", Random(n).randbytes(50)) for n in range(300)])
    database.close()
    before = path.read_bytes()
    found = {name: noise(values) for name, values in Sqlite("x", path=str(path), shell=LocalShell()).sample()}
    assert found["t.name"] == (200, 0) and found["t.raw"][0] == 200 and found["t.raw"][1] > 190
    assert path.read_bytes() == before and [one.name for one in tmp_path.iterdir()] == ["x.db"]
