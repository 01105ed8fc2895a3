"""The files in a set: listed as they come, by the paths that they have at home, and restored by what is listed."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from opsctl.cli import render
from opsctl.cli.report import Listing, Report
from opsctl.errors import Unreachable
from tests.machine import Machine


@pytest.fixture
def kept(machine: Machine) -> Machine:
    """A set of a folder with odd names, and of a register in SQLite that lies elsewhere."""
    (machine.data / "नगर").mkdir()
    (machine.data / "नगर" / "scan 1.pdf").write_text("scan\n" * 300)
    (machine.data / "two\nlines").write_text("x")
    register = machine.root / "srv" / "front office.db"
    register.parent.mkdir()
    with closing(sqlite3.connect(register)) as database:
        database.execute("CREATE TABLE letters (id INTEGER PRIMARY KEY, subject TEXT)")
        database.execute("INSERT INTO letters (subject) VALUES ('पत्र')")
        database.commit()
    machine.configure(sources=f"  register: {{kind: sqlite, path: '{register}'}}", backup_sources="[files, register]")
    machine("backup", "run", expect=0)
    return machine


def listed(machine: Machine, *words: str, expect: int = 0) -> list[tuple[str, str, str]]:
    said = machine.json("backup", "show", "newest", "--files", *words, expect=expect)
    return [(one["source"], one["type"], one["path"]) for one in said.result["files"]]


def test_a_set_is_listed_by_the_paths_at_home(kept: Machine) -> None:
    register = f"{kept.root}/srv/front office.db"
    found = listed(kept)
    assert [one for one in found if one[1] == "file"] == [
        ("files", "file", f"{kept.data}/two\nlines"), ("files", "file", f"{kept.data}/नगर/scan 1.pdf"), ("register", "file", register)]
    assert ("files", "dir", str(kept.data)) in found
    assert [path for _, _, path in listed(kept, f"{kept.data}/नगर")] == [f"{kept.data}/नगर", f"{kept.data}/नगर/scan 1.pdf"]
    assert listed(kept, register) == listed(kept, f"{kept.root}/srv") == listed(kept, "/register.sqlite") == [("register", "file", register)]
    lines = kept("backup", "show", "newest", "--files", expect=0).out.splitlines()
    assert len(lines) == len(found), "a newline in a name makes no line"
    assert any(line.startswith("-rw-") and line.endswith(f"  {kept.data}/नगर/scan 1.pdf") and "1.5KiB" in line for line in lines)
    assert kept("backup", "show", "newest", f"{kept.data}", expect=2).err.endswith(f"--files {kept.data}\n")
    said = kept.json("backup", "show", "newest", "--files", "/nowhere", expect=2)
    assert said.result["files"] == [] and "holds no /nowhere" in said.errors[0]["message"]


def test_a_database_in_sqlite_is_restored_by_its_own_path(kept: Machine, tmp_path: Path) -> None:
    register, into = f"{kept.root}/srv/front office.db", tmp_path / "into"
    said = kept("restore", "files", "portal", register, "--into", str(into), expect=0)
    assert f"{register} → {into}/front office.db" in said.err
    with closing(sqlite3.connect(into / "front office.db")) as database:
        assert database.execute("SELECT * FROM letters").fetchall() == [(1, "पत्र")]
    assert sorted(path.name for path in into.iterdir()) == ["front office.db"]
    kept("restore", "files", "portal", "/register.sqlite", "--into", str(into), expect=0)
    assert (into / "register.sqlite").read_bytes() == (into / "front office.db").read_bytes()
    refused = kept.json("restore", "files", "portal", f"{register}x", "--into", str(into), expect=2)
    assert register in refused.errors[0]["hint"]


def test_a_set_without_a_manifest_is_listed_too(kept: Machine) -> None:
    (kept.root / "srv" / "front office.db").unlink()
    kept.at("2026-12-15T02:30:00+05:30")
    kept("backup", "run", expect=3)
    known, = (one["set"] for one in kept.json("backup", "list", expect=0).result["sets"] if one["state"] == "incomplete")
    found = kept.json("backup", "show", known, "--files", f"{kept.data}/नगर/scan 1.pdf", expect=0).result["files"]
    assert [one["path"] for one in found] == [f"{kept.data}/नगर/scan 1.pdf"]


def test_a_store_that_goes_away_in_the_middle_leaves_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    asked = []

    def entries() -> Iterator[Mapping[str, Any]]:
        for number in range(1200):
            asked.append(number)
            yield {"path": f"/srv/पत्र {number}"}
        raise Unreachable("main did not answer", where="main")

    report = Report(result={"sets": ["x"]}, listing=Listing("files", entries(), lambda entry: entry["path"]))
    out = io.StringIO()
    ended = render.print_report(report, "backup show", as_json=True, quiet=False, out=out, err=io.StringIO(), environ={})
    document = json.loads(out.getvalue())
    assert ended.code == document["exit_code"] == 13 and document["errors"][0]["where"] == "main"
    assert document["result"]["sets"] == ["x"] and len(document["result"]["files"]) == len(asked) == 1200
    assert document["schema"] == "opsctl/1" and document["warnings"] == []
