"""``doctor`` and the sources and hosts of a configuration: databases, their roles, login, host keys."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opsctl.shells.ssh_connection import Limits
from opsctl.sources.mariadb_server import Mariadb
from opsctl.sources.postgresql_server import Postgres
from opsctl.wiring import Site
from tests.cli.test_doctor import rows, wrong
from tests.lab.sshd import UID, Lab
from tests.machine import Machine

PASSWORD = "geheim 1"


@pytest.fixture(scope="module")
def postgres(server_place: Path) -> Iterator[Postgres]:
    """The database `enagar`, with a reader and a role that may read nothing."""
    with Postgres(server_place / "doctor-postgres", tcp=True, password="the superuser's") as running:
        running.psql("CREATE ROLE reader LOGIN; GRANT pg_read_all_data TO reader; CREATE ROLE nobody LOGIN; CREATE DATABASE enagar;")
        running.psql("CREATE TABLE bills (id int);", "enagar")
        for role in ("reader", "nobody"):
            running.set_password(role, PASSWORD)
        yield running


@pytest.fixture(scope="module")
def mariadb(server_place: Path) -> Iterator[Mariadb]:
    """The database `water`, with a reader who lacks the right to the lock that a proof needs."""
    with Mariadb(server_place / "doctor-mariadb", tcp=True) as running:
        running.sql("CREATE DATABASE water; CREATE TABLE water.meters (id int primary key) engine=innodb;"
                    f"CREATE USER reader@'%' IDENTIFIED BY '{PASSWORD}'; GRANT SELECT ON mysql.* TO reader@'%';"
                    "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON water.* TO reader@'%';")
        yield running


def with_source(machine: Machine, spec: str, password: str = PASSWORD) -> None:
    file = machine.etc / "keys" / "db-password"
    file.touch(0o600)
    file.write_text(f"{password}\n")
    machine.configure(f"state: {machine.state}\nsources:\n  db: {{{spec}, password_file: {file}}}\n")


def test_a_postgresql_database_and_what_its_role_lacks(machine: Machine, postgres: Postgres) -> None:
    at = f"kind: postgresql, database: enagar, server: 127.0.0.1, port: {postgres.port}, user: "
    with_source(machine, f"{at}reader")
    assert "its role may read all of it" in rows(machine, expect=0)["source db"]["detail"]
    with_source(machine, f"{at}nobody")
    assert "may not read tables public.bills → GRANT pg_read_all_data TO" in wrong(machine, "source db")
    with_source(machine, f"{at}reader", "another")
    said = wrong(machine, "source db")
    assert "password authentication failed" in said and "another" not in said and PASSWORD not in said
    with_source(machine, f"kind: postgresql, database: enagar, server: 127.0.0.1, port: {free_port()}, user: reader")
    assert "is the server running?" in wrong(machine, "source db")


def test_a_mariadb_database_and_what_its_user_lacks(machine: Machine, mariadb: Mariadb) -> None:
    at = f"kind: mariadb, database: water, server: 127.0.0.1, port: {mariadb.port}, user: reader"
    with_source(machine, at)
    assert "lacks RELOAD → GRANT RELOAD ON *.* TO 'reader'@'%';" in wrong(machine, "source db")
    mariadb.sql("GRANT RELOAD ON *.* TO reader@'%';")
    assert "its user may read all of it" in rows(machine, expect=0)["source db"]["detail"]
    with_source(machine, at, "another")
    assert "Access denied" in wrong(machine, "source db")


def test_paths_that_are_not_there(machine: Machine) -> None:
    machine.configure(f"state: {machine.state}\nsources:\n  up: {{kind: paths, paths: [{machine.root}/nowhere]}}\n")
    assert f"{machine.root}/nowhere" in wrong(machine, "source up")


def free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as door:
        return int(door.getsockname()[1])


@pytest.mark.lab
@pytest.mark.xdist_group("sshd")
@pytest.mark.as_root("network namespaces need root")
def test_hosts_with_another_key_without_our_login_and_silent_ones(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    target = Site.target
    monkeypatch.setattr(Site, "target", lambda *words: replace(target(*words), limits=Limits(connect=1.0)))
    with Lab(2, more="Subsystem sftp internal-sftp\n") as lab:
        one, two = lab.hosts
        key = machine.etc / "keys" / "ssh-backup"

        def hosts(**keys: str) -> dict[str, Any]:
            entries = {"one": (one.address, keys.get("one", one.key)), "two": (two.address, two.key), "far": (lab.silent, two.key)}
            machine.configure(f"state: {machine.state}\nhosts:\n" + "".join(
                f"  {name}: {{address: {address}, user: ops, host_key: {pinned}}}\n" for name, (address, pinned) in entries.items())
                + "  pc: {address: 10.0.0.9, os: windows}\n")
            return rows(machine)

        found = hosts()
        assert found["ssh-backup key"]["state"] == "warning" and "hosts prepare" in found["ssh-backup key"]["hint"]
        assert found["host one"]["state"] == "wrong"
        for name in ("login", "login.pub"):
            shutil.copy(lab.place / name, key.with_name(f"ssh-backup{name.removeprefix('login')}"))
        key.chmod(0o600)
        found = hosts()
        # restic is not needed on a host that has no files to back up.
        assert found["host one"]["state"] in ("ok", "warning") and found["host two"]["state"] in ("ok", "warning")
        assert found["host far"]["state"] == "wrong" and "answer" in found["host far"]["detail"] and "host pc" not in found
        changed = hosts(one=two.key)["host one"]
        assert changed["state"] == "wrong" and "key" in changed["detail"] and changed["hint"]

        # An SFTP server is a store as well, opened by its pinned key alone.
        kept = Path(shutil.copytree(machine.store, lab.home / "main"))
        for path in (kept, *kept.rglob("*")):
            os.chown(path, UID, UID)
        main = (f"state: {machine.state}\nrepositories:\n  main: {{url: 'sftp:ops@{one.address}:/run/lab/home/main', "
                f"ssh_key_file: {key}, password_file: {machine.etc}/keys/repository-password, host_key: ")
        machine.configure(f"{main}{one.key}}}\n")
        assert rows(machine, expect=0)["repository main"]["detail"].endswith("as pinned")
        machine.configure(f"{main}{two.key}}}\n")
        assert "key" in wrong(machine, "repository main")
