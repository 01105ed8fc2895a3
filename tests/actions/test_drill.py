"""Drills: a set restored, proven and thrown away, through the command line."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from opsctl.shells.clean_room import CleanRoomShell
from opsctl.shells.local import LocalShell
from opsctl.sources.postgresql_server import Postgres
from tests.lab.places import open_folder
from tests.lab.waiting import until
from tests.machine import Machine


@pytest.fixture(scope="module")
def portal(server_place: Path) -> Iterator[Postgres]:
    """The production server: a database with a table, an owner and a grant."""
    with Postgres(server_place / "drill") as server:
        server.psql("create role clerk; create database enagar owner clerk;")
        server.psql("create table bills (id int primary key, body text, rupees numeric);"
                    "insert into bills select n, 'नगर पालिका ' || n, n * 1.5 from generate_series(1, 2000) n;"
                    "grant select on bills to clerk;", "enagar")
        yield server


@pytest.fixture
def scratch() -> Iterator[Path]:
    with open_folder() as directory:
        yield directory


def furnish(machine: Machine, portal: Postgres, more: str = "") -> None:
    (machine.data / "scan").write_bytes(os.urandom(200_000))
    register = machine.root / "register.sqlite"
    with closing(sqlite3.connect(register)) as database, database:
        database.execute("create table if not exists office (id integer primary key, name text)")
        database.executemany("insert or replace into office values (?, ?)", [(n, f"office {n}") for n in range(50)])
    machine.configure(
        sources=f"""  portal-db: {{kind: postgresql, database: enagar, server: {portal.socket}, port: {portal.port}, user: postgres}}
  register: {{kind: sqlite, path: {register}}}""",
        backup_sources="[files, portal-db, register]", more=more)


def left(scratch: Path) -> list[str]:
    return sorted(os.listdir(scratch))


def test_a_drill_proves_every_source_and_leaves_nothing(machine: Machine, portal: Postgres, scratch: Path) -> None:
    furnish(machine, portal)
    set_id = machine.json("backup", "run", expect=0).result["backups"]["portal"]["set"]
    databases = portal.psql("select datname from pg_database order by 1")
    said = machine.json("verify", "--level", "drill", "portal", "--scratch", str(scratch), expect=0)
    found = next(step["result"] for step in said.result["steps"] if step["step"] == "drill")
    assert found["set"] == set_id and found["ok"]
    assert set(found["sources"]) == {"files", "portal-db", "register"}
    assert found["sources"]["portal-db"]["load_seconds"] > 0
    assert "rows and checksums" in found["sources"]["portal-db"]["equal"]
    assert left(scratch) == []
    assert portal.psql("select datname from pg_database order by 1") == databases, "a drill never touches production"
    again = machine.json("resume", str(said.document["run"]), expect=0)
    assert {step["outcome"] for step in again.result["steps"]} <= {"ok", "changed"}


def test_a_drill_never_touches_production(machine: Machine, portal: Postgres, scratch: Path) -> None:
    """A production server and files are watched while a drill runs, and from inside a room none of their doors opens."""
    def files() -> dict[str, tuple[float, float, bytes]]:
        return {str(path): (path.stat().st_mtime, path.stat().st_ctime, path.read_bytes())
                for path in (*machine.data.rglob("*"), machine.root / "register.sqlite") if path.is_file()}

    furnish(machine, portal)
    with Postgres(scratch / "tcp", tcp=True) as other:  # one that listens on a port as well
        servers = (portal, other)
        machine("backup", "run", expect=0)
        for server in servers:
            server.psql("alter system set log_connections = on;")
            server.psql("select pg_reload_conf();")
            until(lambda server=server: server.psql("show log_connections") == "on")  # type: ignore[misc]

        def rows() -> list[str]:
            return [portal.psql("select * from bills order by id", "enagar"),
                    *(server.psql("select oid, datname from pg_database order by 1") for server in servers)]

        def calls() -> list[int]:
            return [server.log.read_text().count("connection received") for server in servers]

        before, called = (files(), rows()), calls()
        said = machine.json("verify", "--level", "drill", "portal", "--scratch", str(scratch), expect=0)
        assert next(step["result"] for step in said.result["steps"] if step["step"] == "drill")["sources"]["portal-db"]["error"] is None
        assert calls() == called, "nobody called"
        assert (files(), rows()) == before

        doors = [["psql", "-X", "-w", "-U", "postgres", "-c", "select 1", f"host={host} port={server.port} dbname=postgres"]
                 for host, server in ((portal.socket, portal), (other.socket, other))]
        doors.append([sys.executable, "-I", "-S", "-c", f"import socket; socket.create_connection(('127.0.0.1', {other.port}))"])
        doors.append(["cat", str(machine.root / "register.sqlite")])
        room = CleanRoomShell(scratch / "room")
        room.place.mkdir()
        try:
            for door in doors:
                before_it = sum(calls())
                assert LocalShell().run(door, accept=None).code == 0, "it is open for everybody else"
                if door[0] != "cat":
                    until(lambda before=before_it: sum(calls()) > before)  # type: ignore[misc]
                called = calls()
                assert room.run([os.path.realpath(door[0]) if door[0] == sys.executable else door[0], *door[1:]], accept=None).code
                assert calls() == called
        finally:
            room.close()


@pytest.mark.full
def test_a_drill_that_was_killed_leaves_a_room_that_is_told_and_taken_up_again(machine: Machine, portal: Postgres, scratch: Path) -> None:
    furnish(machine, portal)
    machine("backup", "run", expect=0)
    process = machine.start("verify", "--level", "drill", "portal", "--scratch", str(scratch))
    try:
        until(lambda: list(scratch.glob("opsctl-room-drill-*/db-portal-db/data")), "a server in the room")
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    room, = scratch.iterdir()
    until(lambda: not [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(room).encode() in read(path)], "the end of what ran in it")
    killed = next(one["run"] for one in machine.json("runs", expect=0).result["runs"] if one["state"] == "interrupted")
    told = machine.json("verify", "--level", "drill", "portal", "--scratch", str(scratch), expect=0).document["warnings"]
    assert any(f"(run {killed}) left {room}" in one for one in told)
    assert left(scratch) == [room.name], "nothing but the other's room, whose run may go on"
    machine("resume", killed, expect=0)
    assert left(scratch) == []


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_set_whose_manifest_cannot_be_read_is_a_drill_that_failed(machine: Machine, scratch: Path) -> None:
    (machine.data / "a").write_text("a")
    machine("backup", "run", expect=0)
    for pack in (machine.store / "data").glob("*/*"):
        content = pack.read_bytes()
        pack.chmod(0o600)
        pack.write_bytes(bytes(255 - byte for byte in content))
    said = machine.json("verify", "--level", "drill", "--set", "newest", "--scratch", str(scratch), expect=22)
    assert "the manifest of set" in said.errors[0]["message"]
    machine("status", "--refresh")
    assert [one["ok"] for one in machine.json("status").result["backups"]["portal"]["drills"]] == [False]


def test_the_time_of_drills_is_held_against_the_target(machine: Machine, scratch: Path) -> None:
    (machine.data / "a").write_text("a")
    machine.configure(more="services:\n  tax: {restores: [files], rto: 4h}\n  water: {needs: [tax], rto: 1s}")
    machine("backup", "run", expect=0)
    assert "(RTO of tax: 4h)" in machine("verify", "--level", "drill", "--scratch", str(scratch), expect=0).out
    assert "(RTO of tax: 4h)" in machine("status").out and machine.json("status").result["backups"]["portal"]["rto_seconds"] == 14400
    machine.restic("check")
    text = (machine.etc / "opsctl.yaml").read_text()
    (machine.etc / "opsctl.yaml").write_text(text.replace("rto: 4h", "rto: 1s"))
    time_of = machine.json("status").result["backups"]["portal"]["drills"][-1]["seconds"]
    assert ("longer than the RTO of tax: 1s" in machine("status").out) == (time_of > 1)


def test_a_drill_is_recorded_in_the_repository(machine: Machine, portal: Postgres, scratch: Path) -> None:
    furnish(machine, portal)
    machine("backup", "run", expect=0)
    for _ in range(2):
        machine("verify", "--level", "drill", "--scratch", str(scratch), expect=0)
    machine.forget()
    machine("backup", "init", expect=0)
    machine("status", "--refresh", expect=0)
    drills = machine.json("status", expect=0).result["backups"]["portal"]["drills"]
    assert [drill["ok"] for drill in drills] == [True, True]
    assert " s → " in machine("status", expect=0).out, "the trend of the time"
    assert machine.json("backup", "list", expect=0).result["sets"][0]["state"] == "good"
    machine("verify", expect=0)


def test_damaged_data_fails_the_drill_and_the_status(machine: Machine, portal: Postgres, scratch: Path) -> None:
    furnish(machine, portal)
    machine("backup", "run", expect=0)
    largest = max((path for path in (machine.store / "data").rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.chmod(0o600)
    largest.write_bytes(content)
    said = machine.json("verify", "--level", "drill", "--scratch", str(scratch), expect=22)
    assert [error["where"] for error in said.errors] == ["portal/files"]
    found = next(step["result"] for step in said.result["steps"] if step["step"] == "drill")
    assert found["sources"]["portal-db"]["error"] is None, "one damaged source does not keep the others from being tried"
    assert left(scratch) == []
    furnish(machine, portal, more="    verify: {drill: 30d}".replace("    verify", "  office: {sources: [register], repository: main, verify") + "}")
    assert machine.json("status").result["backups"]["portal"]["drills"][-1]["ok"] is False


def test_a_drill_that_is_late_is_told(machine: Machine) -> None:
    (machine.data / "a").write_text("a")
    machine.configure()
    text = (machine.etc / "opsctl.yaml").read_text()
    (machine.etc / "opsctl.yaml").write_text(text.replace("repository: main}", "repository: main, verify: {drill: 30d}}"))
    for day in ("2026-12-12", "2027-01-12", "2027-01-14"):
        machine.at(f"{day}T02:30:00+05:30")
        machine("backup", "run", expect=0)
        machine("verify", "--level", "data", "--share", "all", expect=0)
    late = machine.json("status", expect=5)
    assert late.result["backups"]["portal"]["state"] == "undrilled"
    assert "no restore was ever drilled" in late.errors[0]["message"]
    machine("verify", "--level", "drill", "--set", "newest", expect=0)
    machine("status", expect=0)


def test_what_is_due_is_read_from_the_repository(machine: Machine, scratch: Path) -> None:
    (machine.data / "a").write_bytes(os.urandom(5000))
    machine("verify", "--level", "drill", "--due", "portal", expect=2)
    machine("verify", "--due", expect=2)
    assert "no backup here asks for drills" in machine("verify", "--level", "drill", "--due", expect=0).out
    text = (machine.etc / "opsctl.yaml").read_text()
    (machine.etc / "opsctl.yaml").write_text(text.replace("repository: main}", "repository: main, verify: {drill: 30d}}"))

    def drilled(moment: str, expect: int = 0) -> bool:
        machine.at(f"{moment}T02:30:00+05:30")
        said = machine.json("verify", "--level", "drill", "--due", "--scratch", str(scratch), expect=expect)
        return any(step["result"].get("set") for step in said.result["steps"] if step["step"] == "drill")

    assert not drilled("2026-12-12"), "there is no set yet"
    machine("backup", "run", expect=0)
    assert not drilled("2027-01-10") and drilled("2027-01-11") and not drilled("2027-01-12")
    machine.forget()
    machine("backup", "init", expect=0)
    assert not drilled("2027-02-09") and drilled("2027-02-10"), "this machine's memory has no part in it"
    # One that failed is due again, until one succeeds.
    pack = max((path for path in (machine.store / "data").glob("*/*")), key=lambda path: path.stat().st_size)
    kept = pack.read_bytes()
    pack.chmod(0o600)
    pack.write_bytes(kept[:100] + bytes([kept[100] ^ 1]) + kept[101:])
    assert not drilled("2027-02-11") and drilled("2027-03-12", expect=22)
    pack.write_bytes(kept)
    assert drilled("2027-03-13") and not drilled("2027-03-14")


def test_what_cannot_be_drilled_is_said(machine: Machine, scratch: Path) -> None:
    machine.configure()
    (machine.data / "a").write_text("a")
    assert "there is no whole set of portal" in machine("verify", "--level", "drill", expect=23).err
    machine("backup", "run", expect=0)
    assert "no set '20200101-0000-0000'" in machine("verify", "--level", "drill", "portal", "--set", "20200101-0000-0000", expect=2).err
    assert "--level drill" in machine("verify", "--set", "newest", expect=2).err
    assert left(scratch) == []
