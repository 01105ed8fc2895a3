"""What is neither a folder nor on a server: an SQLite file with what lies beside it, and the site's own commands."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.actions.test_promote import OTHER, again, hidden, kept, set_of
from tests.lab.promotion import CHANGES, RENAMES, RUN, perform, struck_before
from tests.machine import Machine, tree


def rows(place: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(place)) as database:
        return database.execute("select * from tax order by id").fetchall()


@pytest.fixture
def with_sqlite(machine: Machine) -> tuple[Machine, Path, list[tuple[Any, ...]], dict[str, Any]]:
    """A database that was backed up and then spoilt, the last of it only in its log; what the set holds; how it is asked for."""
    place = machine.data / "tax.sqlite"
    with closing(sqlite3.connect(place)) as database, database:
        database.execute("pragma journal_mode = wal")
        database.execute("create table tax (id integer primary key, paise integer)")
        database.executemany("insert into tax values (?, ?)", [(number, number * 7) for number in range(50)])
    place.chmod(0o640)
    machine.configure(sources=f"  tax: {{kind: sqlite, path: {place}}}", backup_sources="[tax]")
    machine("backup", "run", expect=0)
    good = rows(place)
    # A program that dies leaves its log behind.
    subprocess.run([sys.executable, "-c", "import os, sqlite3, sys\nd = sqlite3.connect(sys.argv[1])\n"
                    "d.execute('update tax set paise = 0')\nd.commit()\nos._exit(0)", str(place)], check=True)
    assert Path(f"{place}-wal").stat().st_size
    return machine, place, good, {"backup": "portal", "set": set_of(machine), "source": "tax", "replace": True}


def spoilt(place: Path) -> bool:
    return [paise for _, paise in rows(place)] == [0] * 50


def test_an_sqlite_file_takes_its_log_with_it_and_brings_it_back(
    with_sqlite: tuple[Machine, Path, list[tuple[Any, ...]], dict[str, Any]]
) -> None:
    machine, place, good, asked = with_sqlite
    holds = "import sqlite3, sys\nd = sqlite3.connect(sys.argv[1])\nd.execute('select * from tax').fetchone()\nprint('in', flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", holds, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout is not None and user.stdout.readline() == "in\n"
        found = perform(machine, "promote", asked)
        assert found.codes[-1] == 23 and f"in use by process {user.pid}" in found.because
        user.kill()
    assert perform(machine, "promote", asked).outcome == "changed"
    assert rows(place) == good and place.stat().st_mode & 0o777 == 0o640 and hidden(place) == []
    assert perform(machine, "rollback", {"promoted": RUN}, run=OTHER).outcome == "changed"
    assert spoilt(place) and rows(kept(place, "promoted")) == good


@pytest.mark.parametrize("then", [pytest.param("resume", marks=pytest.mark.full), "rollback"])
@pytest.mark.parametrize("changes", [RENAMES, pytest.param(CHANGES, marks=pytest.mark.full)], ids=["renames", "everything"])
def test_promise_7_killed_while_an_sqlite_file_is_exchanged(
    with_sqlite: tuple[Machine, Path, list[tuple[Any, ...]], dict[str, Any]], then: str, changes: tuple[str, ...], tmp_path: Path
) -> None:
    machine, place, good, asked = with_sqlite
    shutil.copytree(machine.root, tmp_path / "kept", symlinks=True)
    for number in range(1, 200):
        if not struck_before(number, lambda: perform(machine, "promote", asked), changes):
            break
        if then == "resume":
            assert perform(machine, "promote", asked).outcome in ("changed", "ok")
            assert rows(place) == good and spoilt(kept(place))
        else:
            perform(machine, "rollback", {"promoted": RUN}, run=OTHER)
            assert spoilt(place)
        again(machine, tmp_path / "kept")
    assert number > 2


COMMANDS = """
  erp:
    kind: command
    argv: [cat, {live}]
    promotion:
      promoted: [grep, -qx, '${{set}}', {state}]
      promote: [sh, -c, 'cp -p {live} {live}.old && cp "$1"/erp.dump {live} && echo "$2" > {state}', sh, '${{folder}}', '${{set}}']
      rollback: [sh, -c, 'cp -p {live} {live}.new && mv {live}.old {live} && echo back-from-"$1" > {state}', sh, '${{set}}']
"""


def test_the_sites_own_commands_bring_it_and_only_what_they_tell_counts(machine: Machine, tmp_path: Path) -> None:
    live, state = tmp_path / "erp", tmp_path / "state"
    live.write_text("ledgers\n" * 100)
    state.write_text("")
    machine.configure(sources=COMMANDS.format(live=live, state=state), backup_sources="[erp]")
    machine("backup", "run", expect=0)
    live.write_text("ransom\n")
    asked = {"backup": "portal", "set": set_of(machine), "source": "erp", "scratch": str(tmp_path)}
    assert perform(machine, "promote", asked).outcome == "changed"
    assert live.read_text() == "ledgers\n" * 100 and hidden(live) == []
    assert perform(machine, "promote", asked).outcome == "ok"
    state.write_text("")  # what it says is believed, and no note of ours
    live.write_text("ransom\n")
    assert perform(machine, "promote", asked).outcome == "changed"
    assert perform(machine, "rollback", {"promoted": RUN}, run=OTHER).outcome == "changed"
    assert live.read_text() == "ransom\n" and perform(machine, "rollback", {"promoted": RUN}, run=OTHER).outcome == "ok"
    state.unlink()
    found = perform(machine, "promote", asked, run="20261220-0832-portal-0003")
    assert found.codes == (20,) and "ended with 2" in found.because, "nobody knows, and so nothing is done"


def test_commands_that_do_not_say_which_set_are_a_mistake(machine: Machine) -> None:
    machine.configure(sources="  erp: {kind: command, argv: [x], promotion: {promoted: [x], promote: [x, '${set}', '${spool}'], "
                              "rollback: [x, '${set}']}}", backup_sources="[erp]")
    said = machine.json("backup", "list", expect=10)
    problems = " ".join(said.errors[0]["details"]["problems"])
    assert "promotion.promoted: needs ${set}" in problems and "${spool} is not filled in here" in problems


def test_a_command_source_without_such_commands_is_told_what_is_missing(machine: Machine) -> None:
    machine.configure(sources="  erp: {kind: command, argv: [echo, ledgers]}", backup_sources="[erp]")
    machine("backup", "run", expect=0)
    found = perform(machine, "promote", {"backup": "portal", "set": set_of(machine), "source": "erp"})
    assert found.codes == (2,) and "promotion" in (found.errors[0].hint or "")
    assert tree(machine.data) == {}
