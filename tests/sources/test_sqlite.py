"""SQLite: a copy of one moment, proven before it is kept."""

from __future__ import annotations

import multiprocessing
import sqlite3
import time
from collections import namedtuple
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from opsctl.errors import Busy, Partial, ProgramFailed
from opsctl.repositories.restic import Restic
from opsctl.shells.local import LocalShell
from opsctl.sources import sqlite, sqlite_proof
from opsctl.sources.sqlite import Sqlite
from tests.sources.conftest import MakeContext, entry, restored

RICH = """
CREATE TABLE citizens (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, paid REAL, anything);
INSERT INTO citizens (name, paid, anything) VALUES ('आशा वर्मा', 1.1, 1), ('x', -0.0, 1.0),
  (NULL, 9e999, '1'), ('', 0, x'31'),
  (CAST(x'ff00fe' AS TEXT), 1e-300, NULL), ('a' || char(0) || 'b', 9007199254740993, x'');
CREATE TABLE "odd ""name' %s" ("a.b" TEXT, "SELECT" INT, twice AS ("SELECT" * 2),
  kept AS ("SELECT" + 1) STORED);
INSERT INTO "odd ""name' %s" VALUES ('a', 1), ('a', 1);
CREATE TABLE keyed (k TEXT PRIMARY KEY, v) WITHOUT ROWID;
INSERT INTO keyed VALUES ('k', 'v');
CREATE VIEW seen AS SELECT name FROM citizens;
CREATE INDEX by_name ON citizens (name) WHERE paid > 0;
CREATE TRIGGER t AFTER INSERT ON keyed BEGIN SELECT 1; END;
CREATE VIRTUAL TABLE search USING fts5(words);
INSERT INTO search VALUES ('water connection'), ('trade licence');
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "portal ?#%.db"
    execute(path, RICH)
    return path


def execute(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.executescript(script)


def source_of(path: Path, **more: Any) -> Sqlite:
    return Sqlite("desk", path=str(path), shell=LocalShell(), **more)


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_promise_1_everything_comes_back(
    repository: Restic,
    context: MakeContext,
    file: Path,
    tmp_path: Path,
    mode: str,
) -> None:
    execute(file, f"PRAGMA journal_mode = {mode}")
    source = source_of(file)
    assert source.check(None) == []
    made = context()
    captured = source.capture(made)
    assert captured.paths == ("/desk.sqlite",) and captured.problems == () and captured.files == 1
    assert captured.proof["integrity"] == "ok"
    assert {
        name: table["rows"]
        for name, table in captured.proof["tables"].items()
        if not name.startswith("search_")
    } == {"citizens": 6, "odd \"name' %s": 2, "keyed": 1, "sqlite_sequence": 1}
    assert captured.proof["tables"]["search_content"]["rows"] == 2
    assert [
        path.name
        for path in made.scratch.iterdir()
        if path.name.startswith("desk.sqlite") and path.suffix != ".report"
    ] == []
    place = restored(repository, captured, tmp_path / "back")
    assert source.restored_files(entry(captured), place) == []
    with closing(sqlite3.connect(place / "desk.sqlite")) as copy, closing(sqlite3.connect(file)) as original:
        for query in (
            "SELECT id, typeof(name), hex(name), hex(paid), typeof(anything), hex(anything) FROM citizens",
            "SELECT words FROM search WHERE words MATCH 'water'",
            "SELECT type, name, sql FROM sqlite_schema",
        ):
            assert copy.execute(query).fetchall() == original.execute(query).fetchall() != []


def writer(path: str, running: Any, stop: Any) -> None:
    """Two tables that always hold the same number of rows, changed as fast as possible."""
    database = sqlite3.connect(path, timeout=60, isolation_level=None)
    number = 0
    while not stop.is_set():
        number += 1
        database.execute("BEGIN IMMEDIATE")
        database.execute("INSERT INTO one VALUES (?, ?)", (number, "x" * 500))
        if number % 3 == 0:
            database.execute("UPDATE one SET text = 'y' WHERE number % 5 = ?", (number % 5,))
        database.execute("INSERT INTO two VALUES (?)", (number,))
        database.execute("COMMIT")
        running.set()
    database.close()


@contextmanager
def written_to(path: Path) -> Iterator[None]:
    spawn = multiprocessing.get_context("spawn")
    running, stop = spawn.Event(), spawn.Event()
    process = spawn.Process(target=writer, args=(str(path), running, stop), daemon=True)
    process.start()
    try:
        assert running.wait(60)
        yield
    finally:
        stop.set()
        process.join(60)
        process.kill()


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_promise_1_the_proof_equals_the_restored_copy_under_writes(
    repository: Restic,
    context: MakeContext,
    tmp_path: Path,
    mode: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sqlite, "_STEP", 50)
    path = tmp_path / "busy.db"
    execute(
        path, f"PRAGMA journal_mode = {mode}; CREATE TABLE one (number, text); CREATE TABLE two (number);"
    )
    execute(
        path,
        """
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 10000)
    INSERT INTO one SELECT -i, hex(randomblob(200)) FROM n;
    INSERT INTO two SELECT number FROM one;
    """,
    )
    source = source_of(path)
    with written_to(path):
        captured = source.capture(context())
    tables = captured.proof["tables"]
    assert tables["one"]["rows"] == tables["two"]["rows"] > 10000
    place = restored(repository, captured, tmp_path / "back")
    assert source.restored_files(entry(captured), place) == []
    assert sqlite_proof.take(place / "desk.sqlite", "full")["tables"] == tables


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("UPDATE citizens SET anything = 1.0 WHERE anything = '1'", ["table citizens, checksum"]),
        ("UPDATE citizens SET anything = '1' WHERE anything = x'31'", ["table citizens, checksum"]),
        ("UPDATE citizens SET name = '' WHERE name IS NULL", ["table citizens, checksum"]),
        (
            "UPDATE citizens SET name = CASE id WHEN 1 THEN 'x' ELSE 'आशा वर्मा' END WHERE id IN (1, 2)",
            ["table citizens, checksum"],
        ),
        ("DELETE FROM citizens WHERE id = 4", ["table citizens, rows"]),
        ('INSERT INTO "odd ""name\' %s" VALUES (\'a\', 1)', ["table odd \"name' %s, rows"]),
        ("DROP TABLE keyed", ["table keyed", "table keyed", "trigger t"]),
        ("DROP VIEW seen", ["view seen"]),
        ("DROP INDEX by_name; CREATE INDEX by_name ON citizens (paid)", ["index by_name, definition"]),
        ("DELETE FROM search WHERE words MATCH 'water'", ["table search_content, rows"]),
    ],
)
def test_every_change_to_a_restored_copy_is_named(
    file: Path,
    tmp_path: Path,
    change: str,
    expected: list[str],
) -> None:
    import hashlib

    proof = sqlite_proof.take(file, "full")
    kept = {
        "proof": {
            **proof,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "bytes": file.stat().st_size,
        },
        "paths": ["/desk.sqlite"],
    }
    place = tmp_path / "back"
    place.mkdir()
    (place / "desk.sqlite").write_bytes(file.read_bytes())
    source = source_of(file)
    assert source.restored_files(kept, place) == []
    execute(place / "desk.sqlite", change)
    found = [difference.where for difference in source.restored_files(kept, place)]
    assert found[0] == "desk.sqlite, SHA-256"
    named = [
        where
        for where in found[1:]
        if not where.startswith(("desk.sqlite", "table search_data", "table search_doc", "table search_idx"))
    ]
    assert sorted(named) == sorted(expected)


def test_the_checksum_does_not_depend_on_order(tmp_path: Path) -> None:
    for name, order in (("a", "ASC"), ("b", "DESC")):
        execute(
            tmp_path / name,
            f"""CREATE TABLE t (x); WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 99)
        INSERT INTO t SELECT i FROM n ORDER BY i {order}""",
        )
    assert (
        sqlite_proof.take(tmp_path / "a", "full")["tables"]
        == sqlite_proof.take(tmp_path / "b", "full")["tables"]
    )


def test_rows_that_only_look_alike_differ() -> None:
    alike = [1, 1.0, bytearray(b"1"), b"1", None, bytearray(b""), b"", bytearray(b"None")]
    assert len({sqlite_proof.row_hash((value,)) for value in alike}) == len(alike)
    assert sqlite_proof.row_hash((1, None)) != sqlite_proof.row_hash((None, 1))


def test_promise_1_a_damaged_database_is_no_backup(
    repository: Restic, context: MakeContext, file: Path
) -> None:
    content = bytearray(file.read_bytes())
    content[4096 + 100 : 4096 + 4000] = b"\xaa" * 3900
    file.write_bytes(content)
    with pytest.raises(ProgramFailed, match=r"damaged|malformed"):
        source_of(file).capture(context())
    file.write_bytes(b"not a database at all " * 400)
    with pytest.raises(ProgramFailed, match="not a database"):
        source_of(file).capture(context())
    assert [problem.code for problem in source_of(file).check(None)] == [20]
    assert repository.snapshots() == []


def test_promise_2_a_missing_or_empty_database(context: MakeContext, tmp_path: Path) -> None:
    for path in (tmp_path / "gone.db", tmp_path / "empty.db"):
        if path.name == "empty.db":
            path.touch()
        (problem,) = source_of(path).check(None)
        assert (problem.code, problem.paths) == (3, (str(path),))
        with pytest.raises(Partial) as caught:
            source_of(path).capture(context())
        assert caught.value.message == problem.message


def test_a_source_is_never_made(context: MakeContext, tmp_path: Path) -> None:
    with pytest.raises(Partial):
        source_of(tmp_path / "gone.db").capture(context())
    assert not (tmp_path / "gone.db").exists()


def test_room_for_the_copy_is_asked_for_first(
    context: MakeContext,
    file: Path,
    repository: Restic,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = namedtuple("place", "f_bavail f_frsize")
    monkeypatch.setattr("os.statvfs", lambda _: place(3, 4096))
    with pytest.raises(ProgramFailed, match="are free") as caught:
        source_of(file).capture(context())
    assert caught.value.details == {"needed": file.stat().st_size + (16 << 20), "free": 12288}


def test_a_database_that_stays_locked(
    context: MakeContext, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_PATIENCE", 0.05)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Busy):
            source_of(file).capture(context())
    assert source_of(file, proof="off").capture(context()).problems == ()


def test_levels(context: MakeContext, file: Path) -> None:
    counts = source_of(file, proof="counts").capture(context()).proof
    assert counts["tables"]["citizens"] == {"rows": 6}
    off = source_of(file, proof="off").capture(context()).proof
    assert "tables" not in off and len(off["sha256"]) == 64 and off["integrity"] == "ok"


def test_what_an_application_brought_itself_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "custom.db"
    with closing(sqlite3.connect(path)) as database:
        database.create_collation("local", lambda a, b: (a > b) - (a < b))
        database.create_function("twice", 1, lambda x: x * 2, deterministic=True)
        database.executescript("""
        CREATE TABLE t (a TEXT, b INT, c AS (twice(b)));
        INSERT INTO t VALUES ('x', 1);
        CREATE INDEX i ON t (a COLLATE local);
        """)
    proof = sqlite_proof.take(path, "full")
    assert proof["tables"]["t"]["rows"] == 1
    assert proof["integrity"].startswith("not checked: no such")


def test_a_proof_can_be_given_up(file: Path) -> None:
    execute(
        file,
        """
        CREATE TABLE many (x);
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 300000)
        INSERT INTO many SELECT i FROM n
        """,
    )
    begun = time.monotonic()
    with pytest.raises(ProgramFailed, match="interrupted"):
        sqlite_proof.take(file, "full", lambda: time.monotonic() > begun)
