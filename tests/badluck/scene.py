"""What is backed up in the tests of bad luck, and how a restored copy is held against it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.badluck.faults import lines, locked
from tests.machine import Machine, tree

ROWS = [(number, f"body {number}", number * 7) for number in range(300)]


def database_of(machine: Machine) -> Path:
    return machine.data.parent / "tax.sqlite"


def furnish(machine: Machine) -> None:
    """A folder and a database to back up."""
    (machine.data / "below").mkdir()
    (machine.data / "scan.bin").write_bytes(os.urandom(3 << 20))
    for number in range(5):
        (machine.data / "below" / f"{number}.txt").write_text(f"number {number}\n" * 40)
    with closing(sqlite3.connect(database_of(machine))) as database, database:
        database.execute("create table tax (id integer primary key, body text, paise integer)")
        database.executemany("insert into tax values (?, ?, ?)", ROWS)
    with_both(machine)


def with_both(machine: Machine) -> None:
    machine.configure(
        sources=f"  tax: {{kind: sqlite, path: {database_of(machine)}}}", backup_sources="[files, tax]"
    )


def equal(machine: Machine, folder: Path) -> None:
    """A restored set holds what was backed up, by content."""
    assert tree(Path(f"{folder}/files{machine.data}")) == tree(machine.data)
    with closing(sqlite3.connect(f"file:{folder}/tax/tax.sqlite?mode=ro", uri=True)) as database:
        assert database.execute("select * from tax order by id").fetchall() == ROWS


def snapshots(machine: Machine, set_id: str, tag: str) -> list[str]:
    return [one["id"] for one in machine.snapshots() if {f"set={set_id}", tag} <= set(one["tags"])]


def set_of(run: str) -> str:
    first, second, *_, token = run.split("-")
    return f"{first}-{second}-{token}"


def nothing_left(machine: Machine) -> None:
    """No lock in the store, no scratch, and a journal that is whole."""
    assert not locked(machine)
    assert not list((machine.state / "runs").glob("*/scratch/*"))
    verdict = machine.json("journal", "verify", expect=0).result
    assert verdict["problems"] == [] and verdict["lines"] == len(lines(machine))


def in_view(folder: Path) -> list[str]:
    """What somebody would take for finished."""
    return (
        [path.name for path in folder.glob("*") if not path.name.startswith(".")] if folder.exists() else []
    )


def hidden(folder: Path) -> list[str]:
    """Staging places that were left behind."""
    return [str(path) for path in folder.rglob(".*opsctl-*")]
