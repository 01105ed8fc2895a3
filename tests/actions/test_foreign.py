"""Sets that somebody else may have made: of any shape, with dumps that would do harm; nothing of them is run."""

from __future__ import annotations

import copy
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from opsctl.sources.postgresql_server import Postgres
from tests.actions.planting import make_key, name_of, newest, plant, plant_file, plant_raw
from tests.machine import Machine, tree

SET = "20261212-0000-ffff"


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    return make_key(tmp_path / "stranger")


@pytest.fixture
def server(server_place: Path) -> Iterator[Postgres]:
    with Postgres(server_place / "foreign") as found:
        yield found


def databases(server: Postgres) -> list[str]:
    return server.psql("SELECT datname FROM pg_database WHERE datname !~ '^template' ORDER BY 1").split()


def test_no_dump_that_nobody_vouched_for_is_loaded_and_no_command_in_one_is_run(
    machine: Machine, server: Postgres, stranger: Path, tmp_path: Path
) -> None:
    server.psql("CREATE DATABASE one")
    server.psql("CREATE TABLE who AS SELECT 'one' AS name", "one")
    machine.configure(sources=f"  db: {{kind: postgresql, database: one, server: {server.socket}, port: {server.port}, "
                              f"user: {server.superuser}}}", backup_sources="[files, db]")
    (machine.data / "top.txt").write_text("top\n")
    machine("backup", "run", expect=0)
    machine("restore", "set", "portal", "--source", "db", "--into", str(tmp_path / "own"), expect=0)
    dump, harm = tmp_path / "own" / "db" / "db.sql", tmp_path / "harm"
    dump.write_bytes(dump.read_bytes().replace(b"\nSET statement_timeout", f"\n\\! touch {harm}\nSET statement_timeout".encode(), 1))
    record = {**newest(machine), "set": SET}
    record["sources"] = {**record["sources"], "db": {**record["sources"]["db"], **plant_file(machine, dump, "db.sql")}}
    plant(machine, record, stranger)

    words = ["restore", "set", "portal", "--set", SET, "--into", str(tmp_path / "back")]
    refused = machine.json(*words, "--database", "db=two", expect=23)
    assert "a dump that nobody vouched for is not loaded" in refused.errors[0]["message"]
    assert name_of(stranger) in refused.errors[0]["hint"]
    machine("verify", "--level", "drill", "portal", "--set", SET, expect=23)
    forbidden = machine.json(*words, "--database", "db=two", "--trust", name_of(stranger)).errors
    number = dump.read_text().splitlines().index(f"\\! touch {harm}") + 1
    assert [one["code"] for one in forbidden] == [23]
    assert f"a command for psql itself in line {number}," in forbidden[0]["message"]
    assert not harm.exists() and databases(server) == ["one", "postgres"] and not (tmp_path / "back").exists()
    machine(*words, expect=0)
    assert tree(tmp_path / "back" / "db") == {"db.sql": dump.read_bytes()}, "its files can be looked at"


def _proof(name: str, **more: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda record: record["sources"][name]["proof"].update(more)


def _entry(**more: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda record: record["sources"]["files"].update(more)


#: What a stranger may sign. Each is refused with words, whatever it is asked.
SHAPES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "the proof counts in words": _proof("files", files="many"),
    "the proof is of another kind": _proof("files", kind="rows", level="full"),
    "the proof is of no kind": _proof("files", kind="spells"),
    "the level of a proof is unknown": _proof("tax", level="most"),
    "a table is a list": _proof("tax", tables={"tax": []}),
    "objects are numbers": _proof("tax", objects={"table tax": 5}),
    "no checksum": _proof("tax", sha256=None),
    "no paths": _entry(paths=[]),
    "no such kind": _entry(kind="mysql"),
    "the end of time": lambda record: record.update(time="9999-12-31T23:59:59-11:00"),
    "deep": lambda record: record.update(journal=_nested(100)),
    "an anchor without a hash": lambda record: record.update(journal={"seq": "1"}),
}


def _nested(depth: int) -> Any:
    found: Any = []
    for _ in range(depth):
        found = [found]
    return found


RAW = {
    "no number": b'{"record": {"format": "opsctl-manifest/1", "bytes": NaN}, "signature": ""}',
    "a format that is a list": b'{"record": {"format": []}, "signature": ""}',
    "a number without end": b'{"record": {"format": "opsctl-manifest/1", "n": ' + b"9" * 5000 + b'}, "signature": ""}',
    "half a letter": b'{"record": {"format": "opsctl-manifest/1", "n": "\\ud800"}, "signature": ""}',
    "no JSON": b"\xff\xfe\x00",
}


def test_sets_of_any_shape_are_refused_with_words(machine: Machine, stranger: Path, tmp_path: Path) -> None:
    (machine.data / "top.txt").write_text("top\n")
    with closing(sqlite3.connect(machine.root / "tax.sqlite")) as database, database:
        database.execute("create table tax (id integer primary key)")
    machine.configure(sources=f"  tax: {{kind: sqlite, path: {machine.root / 'tax.sqlite'}}}", backup_sources="[files, tax]")
    machine("backup", "run", expect=0)
    own = newest(machine)
    for number, change in enumerate(SHAPES.values()):
        record = copy.deepcopy({**own, "set": f"20261212-0000-{number:04}"})
        change(record)
        plant(machine, record, stranger)
    for content in RAW.values():
        plant_raw(machine, content)
    # A set that is named by its snapshot alone, and dated so that no time zone can show it.
    machine.restic("backup", "--tag", "opsctl,backup=portal,set=99991231-2359-ffff,source=files", str(machine.data))

    said = machine("backup", "list", expect=0)
    listed = machine.json("backup", "list", expect=0).result["sets"]
    assert sorted({one["state"] for one in listed}) == ["damaged", "foreign", "good", "incomplete"]
    assert len(listed) == len(SHAPES) + len(RAW) + 2 and "99991231-2359-ffff" in said.out
    for one in listed:
        if one["state"] == "good":
            continue
        if one["state"] == "foreign":
            machine("backup", "show", one["set"], expect=0)
        refused = machine.json("restore", "set", one["backup"], "--set", one["set"], "--into", str(tmp_path / "back"))
        # A backup that no configuration knows is wrong usage; one of ours with an odd set is refused.
        assert refused.code in ({22, 23} if one["backup"] == "portal" else {2}), (one, refused.errors)
        assert refused.errors[0]["message"] and not (tmp_path / "back").exists()
    machine("status", "--refresh", expect=0)
    machine("verify", expect=22)
    machine("journal", "verify", expect=0)
