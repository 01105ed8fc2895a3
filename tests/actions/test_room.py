"""Restoring into a clean room: proven there, by real servers, and nothing anywhere else."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opsctl.sources.mariadb_server import Mariadb
from opsctl.sources.postgresql_server import Postgres
from tests.actions.planting import newest, plant
from tests.actions.test_verify import flip
from tests.badluck.faults import lines, until
from tests.lab.places import open_folder
from tests.lab.quick_key import make_quick
from tests.machine import Kept, Machine, tree

BILLS = ("create table bills (id int primary key, body text, rupees numeric);"
         "insert into bills select n, 'नगर पालिका ' || n, n * 1.5 from generate_series(1, 2000) n;"
         "create table notes (note text); insert into notes values ('one'), ('two');")


@pytest.fixture(scope="module")
def portal(server_place: Path) -> Iterator[Postgres]:
    """The production server."""
    with Postgres(server_place / "room") as server:
        server.psql("create role clerk; create database enagar owner clerk;")
        server.psql(f"{BILLS} grant select on bills to clerk;", "enagar")
        yield server


def configure(machine: Machine, portal: Postgres, rooms: Path, more: str = "") -> None:
    machine.configure(
        sources=f"  portal-db: {{kind: postgresql, database: enagar, server: {portal.socket}, port: {portal.port}, user: postgres}}",
        backup_sources="[files, portal-db]", more=f"{more}\nclean_room: {{place: {rooms}}}")


@pytest.fixture(scope="module")
def made(_made_machine: Path, portal: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """A machine with a set of files and a database."""
    root = tmp_path_factory.mktemp("rooms") / "m"
    shutil.copytree(_made_machine, root, symlinks=True)
    machine = Machine(root)
    (machine.data / "scan.bin").write_bytes(os.urandom(300_000))
    (machine.data / "run.sh").write_text("#!/bin/sh\ntouch /tmp/it-ran\n")
    (machine.data / "run.sh").chmod(0o755)
    configure(machine, portal, root)
    machine("backup", "run", expect=0)
    return Kept(machine, tmp_path_factory.mktemp("kept") / "m")


@pytest.fixture
def rooms() -> Iterator[Path]:
    with open_folder() as place:
        yield place


@pytest.fixture
def machine(made: Kept, portal: Postgres, rooms: Path) -> Machine:
    found = made.again()
    configure(found, portal, rooms)
    return found


def the_set(machine: Machine) -> str:
    return str(machine.json("backup", "list", expect=0).result["sets"][-1]["set"])


def restored(said: Any) -> dict[str, Any]:
    return next(step["result"] for step in said.result["steps"] if step["step"] == "restore")


def production(portal: Postgres) -> str:
    return portal.psql("select datname from pg_database order by 1") + portal.psql("select * from bills order by id", "enagar")


def test_a_set_is_restored_into_a_room_proven_there_and_the_second_run_is_ok(machine: Machine, portal: Postgres, rooms: Path) -> None:
    before = production(portal)
    set_id = the_set(machine)
    planned = machine("--dry-run", "restore", "room", "portal", expect=0)
    assert f"would load portal-db into a server in the clean room {set_id}" in planned.out and os.listdir(rooms) == []
    said = machine.json("restore", "room", "portal", expect=0)
    found = restored(said)
    assert found["promotable"] and found["room"] == set_id and found["sources"]["portal-db"]["shows"] == "rows and checksums of 2 tables"
    place = Path(found["place"])
    assert place == rooms / f"opsctl-room-{set_id}"
    assert tree(Path(f"{place}/files/files{machine.data}")) == tree(machine.data)
    assert production(portal) == before
    again = machine.json("restore", "room", "portal", expect=0)
    assert [step["outcome"] for step in again.result["steps"]] == ["ok"] and restored(again)["promotable"]
    assert f"{set_id}" in machine("restore", "rooms", expect=0).out
    machine("restore", "clear", set_id, expect=0)
    assert os.listdir(rooms) == []
    assert "no clean rooms" in machine("restore", "rooms", expect=0).out
    assert "there is no clean room" in machine("restore", "clear", set_id, expect=2).err


def test_what_was_changed_in_the_room_is_seen_and_restored_anew(machine: Machine, rooms: Path) -> None:
    found = restored(machine.json("restore", "room", "portal", "--room", "desk", expect=0))
    room = Path(found["place"])
    server = Postgres(room / "db-portal-db").start()
    try:
        assert server.psql("select count(*) from bills", "restored") == "2000"
        server.psql("delete from bills where id = 7", "restored")
    finally:
        server.stop(signal.SIGINT)
    (room / "files" / "files" / str(machine.data).lstrip("/") / "scan.bin").write_bytes(b"")
    said = machine.json("restore", "room", "portal", "--room", "desk", expect=0)
    step = said.result["steps"][0]
    assert step["outcome"] == "changed" and [one.split()[1] for one in step["changes"]] == ["files", "portal-db"]
    assert tree(Path(f"{room}/files/files{machine.data}")) == tree(machine.data)


def test_rows_that_differ_are_shown_and_never_promotable(machine: Machine, rooms: Path) -> None:
    record = newest(machine)
    record["set"] = "20261212-0230-dead"
    record["sources"]["portal-db"]["proof"]["tables"]["public.bills"]["rows"] = 1999
    record["sources"]["portal-db"]["proof"]["tables"]["public.gone"] = {"rows": 5}
    plant(machine, record, machine.etc / "keys" / "controller")
    said = machine.json("restore", "room", "portal", "--set", "20261212-0230-dead", expect=22)
    found = restored(said)
    assert not found["promotable"]
    assert found["sources"]["portal-db"]["differences"] == [
        "table public.bills, rows: expected 1999, found 2000", "table public.gone: expected 5 rows, found missing"]
    assert said.errors[0]["details"]["differences"] == found["sources"]["portal-db"]["differences"]
    assert found["sources"]["files"]["proven"]


def test_a_server_older_than_the_dumps_is_told_before_anything_is_restored(machine: Machine, rooms: Path, tmp_path: Path) -> None:
    for name in ("initdb", "psql", "postgres"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 13.1'\n")
        program.chmod(0o755)
    machine.environ["PATH"] = f"{tmp_path}:{os.environ['PATH']}"
    said = machine.json("restore", "room", "portal", expect=20)
    assert "PostgreSQL 13.1 and the dump comes from 15." in said.errors[0]["message"]
    assert os.listdir(rooms) == []


def test_a_running_server_older_than_the_dumps_is_told_as_early(machine: Machine, portal: Postgres, tmp_path: Path) -> None:
    record = newest(machine)
    record["set"] = "20261212-0230-beef"
    record["sources"]["portal-db"]["proof"]["server_version"] = 990001
    plant(machine, record, machine.etc / "keys" / "controller")
    said = machine.json("restore", "set", "portal", "--set", "20261212-0230-beef", "--into", str(tmp_path / "back"),
                        "--database", "portal-db=enagar_new", expect=20)
    assert re.search(r"the server is PostgreSQL 15\.\d+ and the dump comes from 99\.1", said.errors[0]["message"])
    assert not [path for path in tmp_path.iterdir() if "back" in path.name], "nothing was restored"


def test_a_damaged_set_names_its_copy_and_nothing_else_happens(machine: Machine, portal: Postgres, rooms: Path) -> None:
    text = (machine.etc / "opsctl.yaml").read_text()
    text = text.replace("sources:\n", f"  other: {{url: {machine.root}/other, password_file: {machine.etc}/keys/repository-password}}\nsources:\n", 1)
    (machine.etc / "opsctl.yaml").write_text(text.replace("repository: main}", "repository: main, copies: [other]}"))
    machine("backup", "init", expect=0)
    make_quick(machine.root / "other", "for tests only", machine.state / "repositories" / "other.json")
    machine("backup", "copy", expect=0)
    flip(machine)
    found = machine.json("restore", "room", "portal", expect=22)
    assert "other has the set with no damage known: --from other" in found.errors[0]["hint"], "found while it restored"
    assert not restored(found)["promotable"]
    machine("restore", "clear", the_set(machine), expect=0)
    machine("verify", "--level", "data", "--share", "all", "main", expect=22)
    known = machine.json("restore", "room", "portal", expect=22)
    assert "is damaged: pack " in known.errors[0]["message"] and "--from other" in known.errors[0]["hint"]
    assert os.listdir(rooms) == []
    assert restored(machine.json("restore", "room", "portal", "--from", "other", expect=0))["promotable"]


@pytest.mark.parametrize(("type", "change"), [
    ("change.begin", "load:portal-db"), pytest.param("change.begin", "files:files", marks=pytest.mark.full),
    pytest.param("change.done", "load:portal-db", marks=pytest.mark.full)])
def test_promise_7_a_restoration_killed_anywhere_goes_on(machine: Machine, rooms: Path, type: str, change: str) -> None:
    process = machine.start("restore", "room", "portal")
    try:
        until(lambda: any(line["type"] == type and line["data"].get("change") == change for line in lines(machine)), f"{type} {change}")
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    until(lambda: subprocess.run(["pgrep", "-f", f"{rooms}/opsctl-room"], capture_output=True).returncode, "the end of what ran in the room")
    run = str(lines(machine)[-1]["run"])
    left = [one["busy"] for one in machine.json("restore", "rooms", expect=0).result["rooms"]]
    assert left == ([False] if type == "change.done" or change.startswith("load") else left), "what a killed run left is found and said"
    said = machine.json("resume", run, expect=0)
    assert restored(said)["promotable"]
    assert machine.json("journal", "verify", expect=0).result["problems"] == []


def test_two_at_once_in_one_room_are_refused(machine: Machine, rooms: Path) -> None:
    restored(machine.json("restore", "room", "portal", "--room", "desk", "--source", "files", expect=0))
    held = os.open(rooms / "opsctl-room-desk", os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        said = machine.json("restore", "room", "portal", "--room", "desk", "--source", "files", expect=11)
        assert "the clean room desk is in use, by run" in said.errors[0]["message"]
        assert machine.json("restore", "clear", "desk", expect=11)
    finally:
        os.close(held)
    row = next(one for one in machine.json("doctor", "--offline").result["checks"] if one["name"] == "clean room")
    assert (row["state"], row["detail"]) == ("warning", "nobody works in desk (restore)")


@pytest.mark.full
def test_mariadb_is_loaded_in_a_room_as_well(_made_machine: Path, server_place: Path, rooms: Path, tmp_path: Path) -> None:
    root = tmp_path / "m"
    shutil.copytree(_made_machine, root, symlinks=True)
    machine = Machine(root)
    with Mariadb(server_place / "room-m") as server:
        server.sql("create database tax; use tax; create table bills (id int primary key, body text) charset utf8mb4;"
                   "insert into bills values (1, 'एक'), (2, 'दो');")
        machine.configure(sources=f"  tax-db: {{kind: mariadb, database: tax, server: {server.socket}, user: root}}",
                          backup_sources="[tax-db]", more=f"clean_room: {{place: {rooms}}}")
        machine("backup", "run", expect=0)
    found = restored(machine.json("restore", "room", "portal", expect=0))
    assert found["promotable"] and found["sources"]["tax-db"]["proven"], "with production gone"
    assert machine.json("restore", "room", "portal", expect=0).result["steps"][0]["outcome"] == "ok"
