"""MariaDB from the configuration to a proven database under another name, through the command line."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opsctl.sources.mariadb_server import LOOPBACK, Mariadb
from tests.lab.mariadb import Writer, configure, content, licences, sessions
from tests.lab.places import open_folder
from tests.lab.quick_key import make_quick
from tests.machine import Machine

#: Outside of the test's own PATH, so that a stand-in does not call itself.
REAL_DUMP = shutil.which("mariadb-dump") or "/usr/bin/mariadb-dump"


@pytest.fixture(scope="module")
def server() -> Iterator[Mariadb]:
    with licences() as server:
        yield server


@pytest.fixture
def machine(machine: Machine, server: Mariadb) -> Iterator[Machine]:
    configure(machine, server)
    yield machine
    for name in server.sql("SHOW DATABASES LIKE 'licence\\_%'").split():
        server.sql(f"DROP DATABASE `{name}`")


def by_password(machine: Machine, server: Mariadb, user: str, word: str) -> None:
    secret = machine.etc / "keys" / "licence-password"
    secret.write_text(f"{word}\n")
    secret.chmod(0o600)
    machine.configure(
        sources=f"  licence-db: {{kind: mariadb, database: licence, server: {LOOPBACK}, port: {server.port}, user: {user}, "
                f"password_file: {secret}}}", backup_sources="[licence-db]")


def proven(machine: Machine, set_id: str) -> dict[str, Any]:
    (found,) = machine.json("backup", "show", set_id, expect=0).result["sets"]
    proof: dict[str, Any] = found["record"]["sources"]["licence-db"]["proof"]
    return proof


def test_from_init_to_a_proven_database_of_another_name(server: Mariadb, tmp_path: Path) -> None:
    machine = Machine(tmp_path / "m")
    machine.make_key()
    configure(machine, server)
    assert "made" in machine("backup", "init", expect=0).out
    make_quick(machine.store, "for tests only", machine.state / "repositories" / "main.json")
    with Writer(server, "licence"):
        first = machine.json("backup", "run", expect=0).result["backups"]["portal"]["set"]
    server.sql("TRUNCATE stop", "licence")
    machine("verify", "--level", "data", "--share", "all", expect=0)
    machine("restore", "set", "portal", "--into", str(tmp_path / "one"), "--database", "licence-db=licence_1", expect=0)
    drilled = machine.json("verify", "--level", "drill", "portal", expect=0)
    # What one transaction of the writer changed together is together, as many rows as the manifest says.
    recorded, found = proven(machine, first)["tables"], content(server, "licence_1")
    assert {name: rows for name, (rows, *_) in found.items()} == {name: each["rows"] for name, each in recorded.items()}
    assert found["bills"][0] == found["totals"][1]
    (one,) = (step["result"] for step in drilled.result["steps"] if step["step"] == "drill")
    assert one["ok"] and one["set"] == first and one["sources"]["licence-db"]["load_seconds"] > 0
    assert "rows and checksums of 3 tables" in one["sources"]["licence-db"]["equal"]
    # A second set of what stands still now is equal to it, by the server's own checksum.
    machine.at("2026-12-15T02:30:00+05:30")
    second = machine.json("backup", "run", "--due", expect=0).result["backups"]["portal"]["set"]
    assert proven(machine, second)["tables"] != recorded, "the writer did not write"
    machine("restore", "set", "portal", "--into", str(tmp_path / "two"), "--database", "licence-db=licence_2", expect=0)
    assert content(server, "licence_2") == content(server, "licence")
    assert "GRANT SELECT, UPDATE ON `licence\\\\_2`.* TO `clerk`@`localhost`" in server.sql("SHOW GRANTS FOR clerk@localhost")
    again = machine.json("restore", "set", "portal", "--into", str(tmp_path / "three"), "--database", "licence-db=licence_2",
                         expect=23)
    assert "licence_2" in again.errors[0]["message"] and not (tmp_path / "three").exists()
    assert machine.json("backup", "run", "--due", expect=0).result["backups"]["portal"]["outcome"] == "ok"
    machine("status", expect=0)
    assert sessions(server) == ""
    server.sql("REVOKE ALL ON `licence\\_1`.* FROM clerk@localhost; REVOKE ALL ON `licence\\_2`.* FROM clerk@localhost;"
               "DROP DATABASE licence_1; DROP DATABASE licence_2;")


def test_what_the_server_refuses_is_12_and_says_what_gives_it(machine: Machine, server: Mariadb) -> None:
    by_password(machine, server, "backup", "wrong")
    said = machine.json("backup", "run", expect=12)
    assert "Access denied" in said.errors[0]["message"] and "wrong" not in said.out + said.err
    by_password(machine, server, "backup", "right")
    server.sql("REVOKE RELOAD ON *.* FROM backup@'%'")
    try:
        lacking = machine.json("backup", "run", expect=12)
    finally:
        server.sql("GRANT RELOAD ON *.* TO backup@'%'")
    assert lacking.errors[0]["message"].endswith("lacks RELOAD")
    assert lacking.errors[0]["hint"] == "GRANT RELOAD ON *.* TO 'backup'@'%';"
    assert machine.snapshots() == []
    machine("backup", "run", expect=0)


def test_promise_1_a_dump_without_its_trailer_is_no_backup(machine: Machine, server: Mariadb, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    stand_in = programs / "mariadb-dump"
    stand_in.write_text(f'#!/bin/sh\ncase "$*" in *--version*) exec {REAL_DUMP} --version;; esac\n'
                        f'{REAL_DUMP} "$@" | grep -v "Dump completed"\n')
    stand_in.chmod(0o755)
    machine.environ["PATH"] = f"{programs}:{os.environ['PATH']}"
    said = machine.json("backup", "run", expect=3)
    assert "stopped before its end" in said.errors[0]["message"]
    (found,) = machine.json("backup", "list", expect=0).result["sets"]
    assert found["state"] == "incomplete"
    del machine.environ["PATH"]
    machine("backup", "run", "--due", expect=0)


def test_a_server_that_is_stopped_is_13_and_the_next_hour_goes_on(machine: Machine) -> None:
    with open_folder() as directory:
        with Mariadb(directory / "server") as own:
            own.sql("CREATE DATABASE licence; CREATE TABLE licence.t (a INT);")
            machine.configure(sources=f"  db: {{kind: mariadb, database: licence, server: {own.socket}, user: root}}",
                              backup_sources="[db]")
            own.stop()
            said = machine.json("backup", "run", "--due", expect=13)
            assert "did not answer" in said.errors[0]["message"]
            own.start()
            machine("backup", "run", "--due", expect=0)
            assert machine.json("status", expect=0).result["backups"]["portal"]["state"] == "ok"
