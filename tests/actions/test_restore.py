"""Getting data back: beside what is there, proven before it is in view, from a machine that has nothing."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

import pytest

from tests.actions.test_verify import flip
from tests.machine import Machine, flip_content, tree


@pytest.fixture
def kept(machine: Machine) -> Machine:
    """A machine with one set of a small tree."""
    folder = machine.data / "2023" / "register"
    folder.mkdir(parents=True)
    for number in range(4):
        (folder / f"page {number}.txt").write_text(f"page {number}\n" * 100)
    (machine.data / "top.txt").write_text("top\n")
    os.symlink("top.txt", machine.data / "link")
    machine("backup", "run", expect=0)
    return machine


def test_one_file_and_one_folder_land_under_their_own_names(kept: Machine, tmp_path: Path) -> None:
    into = tmp_path / "into"
    said = kept("restore", "files", "portal", f"{kept.data}/2023/register", f"{kept.data}/top.txt", "--into", str(into),
                expect=0)
    assert tree(into / "register") == tree(kept.data / "2023" / "register")
    assert (into / "top.txt").read_text() == "top\n"
    assert f"{kept.data}/top.txt → {into}/top.txt" in said.err, "said where it lands before it starts"
    assert sorted(path.name for path in into.iterdir()) == ["register", "top.txt"]


def test_what_is_there_is_never_covered_unless_told(kept: Machine, tmp_path: Path) -> None:
    (tmp_path / "top.txt").write_text("mine\n")
    refused = kept.json("restore", "files", "portal", f"{kept.data}/top.txt", "--into", str(tmp_path), expect=23)
    assert "--replace" in refused.errors[0]["hint"]
    assert (tmp_path / "top.txt").read_text() == "mine\n"
    done = kept.json("restore", "files", "portal", f"{kept.data}/top.txt", "--into", str(tmp_path), "--replace", expect=0)
    assert (tmp_path / "top.txt").read_text() == "top\n"
    assert (tmp_path / f"top.txt.before-{done.document['run']}").read_text() == "mine\n"


def test_what_comes_back_of_damaged_data_stays_and_is_named(machine: Machine, tmp_path: Path) -> None:
    for number in range(3):
        (machine.data / f"scan {number}").write_bytes(os.urandom(9_000_000))
    machine("backup", "run", expect=0)
    flip(machine)
    said = machine.json("restore", "files", "portal", str(machine.data), "--into", str(tmp_path / "into"), expect=22)
    place = said.errors[0]["hint"].split("unproven, lies in ")[1].split(";")[0]
    assert tree(Path(place)) and tree(Path(place)) != tree(machine.data), "what there is of it, and nobody calls it proven"
    assert not (tmp_path / "into" / machine.data.name).exists()


def test_a_path_that_no_set_holds_is_said_and_nothing_is_left(kept: Machine, tmp_path: Path) -> None:
    into = tmp_path / "into"
    found = kept.json("restore", "files", "portal", f"{kept.data}/nothing", "--into", str(into), expect=2)
    assert str(kept.data) in found.errors[0]["hint"]
    assert not into.exists()


def test_a_folder_with_something_in_it_is_not_restored_into(kept: Machine, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    kept("restore", "set", "portal", "--into", str(tmp_path / "full"), expect=23)
    assert os.listdir(tmp_path / "full") == ["mine"]
    (tmp_path / "empty").mkdir()
    kept("restore", "set", "portal", "--into", str(tmp_path / "empty"), expect=0)
    assert tree(Path(f"{tmp_path}/empty/files{kept.data}")) == tree(kept.data)


def test_dry_run_changes_nothing(kept: Machine, tmp_path: Path) -> None:
    before = tree(kept.root)
    said = kept("--dry-run", "restore", "set", "portal", "--into", str(tmp_path / "x"), expect=0)
    assert "would restore files (paths)" in said.out
    assert not (tmp_path / "x").exists()
    assert tree(kept.state / "journal") == {name.removeprefix("state/journal/"): content for name, content in before.items()
                                            if name.startswith("state/journal/")}


def test_promise_10_from_a_machine_that_has_nothing(kept: Machine, tmp_path: Path) -> None:
    fingerprint = kept.json("backup", "list", expect=0).result["sets"][0]["signer"]
    bare = Machine(tmp_path / "bare")
    bare.environ["XDG_STATE_HOME"] = str(tmp_path / "bare" / "home")
    password = tmp_path / "paper"
    password.write_text("for tests only\n")
    password.chmod(0o600)
    where = ["--repository", str(kept.store), "--password-file", str(password)]
    listed = bare.json("backup", "list", *where, expect=0).result["sets"]
    assert [one["state"] for one in listed] == ["foreign"]
    assert "no NAME" in bare("verify", "main", *where, expect=2).err
    said = bare("verify", "--level", "data", "--share", "all", *where, "--trust", fingerprint, expect=0)
    assert "nothing wrong" in said.out and "is not recorded" in said.err
    assert bare.json("verify", *where, expect=22).errors[0]["details"]["kind"] == "snapshot-foreign"
    assert "proven in" in bare("verify", "--level", "drill", "portal", *where, "--trust", fingerprint, expect=0).out
    refused = bare.json("restore", "set", "portal", *where, "--into", str(tmp_path / "back"), expect=23)
    assert f"--trust {fingerprint}" in refused.errors[0]["hint"]
    bare.at("2003-01-01T00:00:00+00:00")  # as of a machine whose battery is empty
    assert "this machine's clock" in bare("restore", "set", "portal", *where, "--trust", fingerprint, "--into", str(tmp_path / "back"), expect=23).err
    bare.at(kept.environ["OPSCTL_CLOCK"])
    bare("restore", "set", "portal", *where, "--trust", fingerprint, "--into", str(tmp_path / "back"), expect=0)
    assert tree(Path(f"{tmp_path}/back/files{kept.data}")) == tree(kept.data)
    assert os.readlink(f"{tmp_path}/back/files{kept.data}/link") == "top.txt"
    record = json.loads((tmp_path / "back" / "RESTORED.json").read_text())
    assert record["signed_by"] == fingerprint


def test_a_restore_that_is_not_equal_stays_out_of_view(kept: Machine, tmp_path: Path) -> None:
    flip_content(kept.data / "2023" / "register" / "page 1.txt", kept.store)
    failed = kept.json("restore", "set", "portal", "--into", str(tmp_path / "back"), expect=22)
    assert not (tmp_path / "back").exists()
    assert failed.result["steps"][0]["outcome"] == "failed"


ODD = (b"line\nbreak", b"\xff\xfe invalid", b"\x1b[31mred\x1b[0m", b"a" * 255, "विवाह पंजी".encode(), b"star*[x]?\\", b" lead")


def test_odd_names_come_back_and_are_shown_harmless(machine: Machine, tmp_path: Path) -> None:
    for number, name in enumerate(ODD):
        with open(os.path.join(os.fsencode(machine.data), name), "wb") as file:
            file.write(f"content {number}".encode())
    machine("backup", "run", expect=0)
    machine("restore", "set", "portal", "--into", str(tmp_path / "all"), expect=0)
    assert tree(Path(f"{tmp_path}/all/files{machine.data}")) == tree(machine.data)
    for number, name in enumerate(ODD):
        path = os.fsdecode(os.path.join(os.fsencode(machine.data), name))
        said = machine("restore", "files", "portal", path, "--into", str(tmp_path / f"one-{number}"), expect=0)
        assert "\x1b" not in said.out + said.err
        assert tree(tmp_path / f"one-{number}") == {os.fsdecode(name): f"content {number}".encode()}
        again = machine.json("restore", "files", "portal", path, "--into", str(tmp_path / f"one-{number}"), expect=23)
        assert again.errors


def test_a_sqlite_database_comes_back_equal(machine: Machine, tmp_path: Path) -> None:
    database = machine.root / "receipts.sqlite"
    with sqlite3.connect(database) as connection:
        connection.execute("create table receipts (id integer primary key, name text, paid numeric)")
        connection.executemany("insert into receipts (name, paid) values (?, ?)",
                               [(f"नाम {number}", number * 1.5) for number in range(500)])
    machine.configure(sources=f"  receipts: {{kind: sqlite, path: {database}}}", backup_sources="[receipts]")
    machine("backup", "run", expect=0)
    machine("restore", "set", "portal", "--into", str(tmp_path / "back"), expect=0)
    found = next((tmp_path / "back" / "receipts").iterdir())
    with sqlite3.connect(found) as there, sqlite3.connect(database) as here:
        query = "select * from receipts order by id"
        assert there.execute(query).fetchall() == here.execute(query).fetchall()
