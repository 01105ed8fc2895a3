"""What a stranger does with the README in hand, from `init` to a restored database."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from opsctl.demo import portal
from opsctl.sources.postgresql_server import Postgres
from tests.lab.restserver import RestServer
from tests.lab.waiting import until
from tests.machine import Machine, tree


@pytest.fixture
def server(server_place: Path) -> Iterator[Postgres]:
    """A PostgreSQL server with a small portal."""
    with Postgres(server_place / "whole-way") as found:
        portal.build(found, scale=0.02)
        yield found


def begun(machine: Machine, word: str) -> bool:
    """Whether the journal holds a line of this type."""
    return any(word.encode() in path.read_bytes() for path in (machine.state / "journal").glob("*.jsonl"))


def test_from_init_to_a_restored_database(server: Postgres, tmp_path: Path) -> None:
    machine = Machine(tmp_path / "m")
    shutil.rmtree(machine.etc)
    for number in range(6):
        (machine.data / f"scan-{number}.bin").write_bytes(os.urandom(1 << 20))
    said = machine.json(
        "init", "--organisation", "DRILL", "--timezone", "Asia/Kolkata", "--repository", str(machine.store),
        "--database", "enagar", "--server", str(server.socket), "--user", server.superuser, "--port", str(server.port),
        "--database-password-file", "none", "--folder", str(machine.data), "--state", str(machine.state), expect=0)
    assert said.result["fingerprint"].startswith("SHA256:")
    machine("init", "--organisation", "X", expect=23)
    machine("backup", "run", expect=23)
    machine("backup", "init", expect=0)

    run = machine.start("backup", "run")
    limit = time.monotonic() + 60
    while not begun(machine, '"change":"source:'):
        assert time.monotonic() < limit and run.poll() is None
        time.sleep(0.01)
    run.kill()
    run.communicate(timeout=30)
    # What it was just starting has its locks, too, until it is that program.
    until(lambda: machine.json("runs", expect=0).result["runs"][0]["state"] == "interrupted", "the end of what was killed")
    stopped = machine.json("runs", expect=0).result["runs"][0]
    assert "is whole and signed" in machine("resume", stopped["run"], expect=0).out
    assert [one["state"] for one in machine.json("backup", "list", expect=0).result["sets"]] == ["good"]
    machine("status", expect=0)

    before = portal.totals(server)
    into = tmp_path / "restored"
    done = machine.json("restore", "set", "portal", "--into", str(into), "--database", "portal-db=enagar_again", expect=0)
    assert "rows and checksums" in str(done.result["steps"][0]["result"])
    assert portal.totals(server, "enagar_again") == before
    folder = next(path for path in into.iterdir() if path.is_dir() and Path(f"{path}{machine.data}").exists())
    assert tree(Path(f"{folder}{machine.data}")) == tree(machine.data)
    again = machine.json("restore", "set", "portal", "--into", str(tmp_path / "twice"), "--database",
                         "portal-db=enagar_again", expect=23)
    assert "enagar_again" in again.errors[0]["message"]
    assert not (tmp_path / "twice").exists()

    pack = max((path for path in (machine.store / "data").glob("*/*")), key=lambda path: path.stat().st_size)
    pack.unlink()
    damaged = machine.json("verify", expect=22)
    assert pack.name in str(damaged.errors[0]["details"])
    assert damaged.errors[0]["details"]["files"]
    machine("journal", "verify", expect=0)


def test_promise_3_an_append_only_store_holds_and_nothing_is_deleted(tmp_path: Path, server_place: Path) -> None:
    machine = Machine(tmp_path / "m")
    machine.make_key()
    secret = machine.etc / "keys" / "rest"
    secret.write_text("rest password\n")
    secret.chmod(0o600)
    # Every call of restic is written down by the program that stands in its place.
    programs = tmp_path / "bin"
    programs.mkdir()
    calls = tmp_path / "calls"
    wrapper = programs / "restic"
    wrapper.write_text(f'#!/bin/sh\necho "$*" >> {calls}\nexec {shutil.which("restic")} "$@"\n')
    wrapper.chmod(0o755)
    machine.environ["PATH"] = f"{programs}:{os.environ['PATH']}"
    with RestServer(server_place / "whole-way-rest", append_only=True, user="portal", password="rest password") as server:
        password = machine.etc / "keys" / "repository-password"
        password.write_text("for tests only\n")
        password.chmod(0o600)
        machine.configure(f"""
state: {machine.state}
repositories:
  main: {{url: "{server.repository_url('portal')}", user: portal, secret_file: {secret}, password_file: {password}, append_only: true}}
sources:
  files: {{kind: paths, paths: [{machine.data}]}}
backups:
  portal: {{sources: [files], repository: main}}
""")
        (machine.data / "a.txt").write_text("a" * 1000)
        machine("backup", "init", expect=0)
        machine("backup", "run", expect=0)
        machine.at("2026-12-15T02:30:00+05:30")
        (machine.data / "b.txt").write_text("b" * 1000)
        machine("backup", "run", "--due", expect=0)
        machine("verify", "--level", "data", "--share", "all", expect=0)
        machine("restore", "set", "portal", "--into", str(tmp_path / "back"), expect=0)
        machine("restore", "files", "portal", f"{machine.data}/b.txt", "--into", str(tmp_path / "one"), expect=0)
        assert tree(Path(f"{tmp_path}/back/files{machine.data}")) == tree(machine.data)
        machine.environ["PATH"] = os.environ["PATH"]
    words = {word for line in calls.read_text().splitlines() for word in line.split()}
    assert not words & {"forget", "prune", "tag", "rewrite", "repair", "recover", "migrate"}
    assert "rest password" not in calls.read_text() and "for tests only" not in calls.read_text()


def test_promise_1_a_set_costs_at_most_three_restic_calls_beside_its_sources(machine: Machine, tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        (machine.root / name).mkdir()
        (machine.root / name / "file").write_text(name * 100)
    machine.configure(sources="".join(f"  {name}: {{kind: paths, paths: [{machine.root}/{name}]}}\n"
                                      for name in ("one", "two", "three")), backup_sources="[one, two, three]")
    programs, calls = tmp_path / "bin", tmp_path / "calls"
    programs.mkdir()
    (programs / "restic").write_text(f'#!/bin/sh\necho "$*" >> {calls}\nexec {shutil.which("restic")} "$@"\n')
    (programs / "restic").chmod(0o755)
    machine.environ["PATH"] = f"{programs}:{os.environ['PATH']}"
    for moment in ("2026-12-12", "2026-12-15"):
        calls.write_text("")
        machine.at(f"{moment}T02:30:00+05:30")
        machine("backup", "run", expect=0)
        made = [line for line in calls.read_text().splitlines() if not line.startswith("version")]
        backups = [line for line in made if "source=" in line]
        assert len(backups) == 3
        assert len(made) - len(backups) <= 3, made
