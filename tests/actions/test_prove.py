"""prove: in the clean room and in production, with real databases, real files and real servers."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from opsctl.actions.prove import Prove, ProveParams
from opsctl.actions.proving import bounded
from opsctl.actions.scan import Scan, ScanParams
from opsctl.engine.configuration import load_config
from opsctl.errors import Interrupted, SafetyRefusal, UsageError
from opsctl.model.plan import BoundPlan
from opsctl.scanning.yara import Scanner
from opsctl.shells import local
from opsctl.shells.local import LocalShell
from opsctl.sources.postgresql_server import Postgres
from opsctl.wiring import Site, World
from tests.lab.places import open_folder
from tests.machine import Kept, Machine
from tests.proofs.test_proof_http import serving
from tests.repositories.test_hashes import change, swap
from tests.scanning.samples import SAMPLES


@pytest.fixture(scope="module")
def portal(server_place: Path) -> Iterator[Postgres]:
    """The production server."""
    with Postgres(server_place / "prove") as server:
        server.psql("create database enagar;")
        server.psql("create table bills (id int primary key, rupees numeric); insert into bills select n, n * 1.5 from generate_series(1, 500) n;",
                    "enagar")
        yield server


def configure(machine: Machine, portal: Postgres, proofs: str = "[{kind: rows}, {kind: files}]") -> None:
    machine.configure(
        sources=f"""  portal-db: {{kind: postgresql, database: enagar, server: {portal.socket}, port: {portal.port}, user: postgres}}
  register: {{kind: sqlite, path: {machine.root}/register.sqlite}}""",
        backup_sources="[files, portal-db, register]",
        more=f"services:\n  tax: {{restores: [files, portal-db, register], proofs: {proofs}}}\n"
             f"  page: {{needs: [tax], proofs: {proofs}}}" if "rows" not in proofs else
             f"services:\n  tax: {{restores: [files, portal-db, register], proofs: {proofs}}}")


@pytest.fixture(scope="module")
def made(_made_machine: Path, portal: Postgres, tmp_path_factory: pytest.TempPathFactory) -> tuple[Kept, str]:
    """A machine with a set of files, a PostgreSQL database and an SQLite database."""
    root = tmp_path_factory.mktemp("prove") / "m"
    shutil.copytree(_made_machine, root, symlinks=True)
    machine = Machine(root)
    (machine.data / "deep").mkdir()
    for name in ("one.pdf", "two.pdf", "deep/three.pdf"):
        (machine.data / name).write_bytes(os.urandom(30_000))
    with closing(sqlite3.connect(root / "register.sqlite")) as database, database:
        database.execute("create table office (name text)")
        database.execute("insert into office values ('Ranchi')")
    configure(machine, portal)
    set_id = machine.json("backup", "run", expect=0).result["backups"]["portal"]["set"]
    return Kept(machine, tmp_path_factory.mktemp("kept") / "m"), set_id


@pytest.fixture
def machine(made: tuple[Kept, str]) -> Machine:
    return made[0].again()


def world_of(machine: Machine) -> World:
    now = datetime.fromisoformat("2026-12-12T03:00:00+05:30")
    site = Site(load_config(machine.etc), clock=lambda: now, environ=machine.environ)
    plan = BoundPlan(run="20261211-2130-portal-0001", playbook="none", title="", now=now, started_by="asha", inputs={}, steps=(),
                     config_digest="", options={})
    return World(site, plan)


def look(world: World, **more: Any) -> tuple[dict[str, Any], list[str]]:
    action, params = Prove(), ProveParams(**more)
    seen = action.observe(params, world)
    return {one["of"]: one for one in action.result(params, seen)["proofs"]}, [error.message for error in action.findings(params, seen)]


def test_production_is_what_the_set_holds_or_each_difference_is_told(machine: Machine, made: tuple[Kept, str], portal: Postgres) -> None:
    world, about = world_of(machine), {"service": "tax", "where": "production", "backup": "portal", "set": made[1]}
    found, wrong = look(world, **about)
    assert wrong == [] and {name: one["kind"] for name, one in found.items()} == {"portal-db": "rows", "files": "files", "register": "rows"}
    assert "rows and checksums" in found["portal-db"]["shows"] and "3 files" in found["files"]["shows"]
    change(machine.data / "deep" / "three.pdf", 20_000)
    swap(machine.data / "one.pdf", machine.data / "two.pdf")
    (machine.data / "note.txt").write_text("strange")
    with closing(sqlite3.connect(machine.root / "register.sqlite")) as database, database:
        database.execute("insert into office values ('Dhanbad')")
    portal.psql("update bills set rupees = 0 where id = 17", "enagar")
    try:
        found, wrong = look(world, **about)
    finally:
        portal.psql("update bills set rupees = 25.5 where id = 17", "enagar")
    assert {(one["where"].removeprefix(str(machine.data)), one["found"]) for one in found["files"]["differences"]} == {
        ("/deep/three.pdf", "other content"), ("/one.pdf", "other content"), ("/two.pdf", "other content"),
        ("/note.txt", "a file that the set does not hold")}
    assert [one["where"] for one in found["portal-db"]["differences"]] == ["table public.bills, checksum", "table public.bills, id below 32"]
    assert [(one["where"], one["found"]) for one in found["register"]["differences"]] == [("table office, rows", 2)]
    assert len(wrong) == 3 and all("failed" not in text for text in wrong)


def test_a_source_is_proven_where_it_came_to(machine: Machine, made: tuple[Kept, str], portal: Postgres, tmp_path: Path) -> None:
    portal.psql("create database enagar_2026 template enagar;")
    shutil.copytree(machine.data, tmp_path / "uploads")
    shutil.copy(machine.root / "register.sqlite", tmp_path / "office.sqlite")
    into = {"portal-db": "enagar_2026", "files": str(tmp_path / "uploads"), "register": str(tmp_path / "office.sqlite")}
    about: dict[str, Any] = {"service": "tax", "where": "production", "backup": "portal", "set": made[1], "into": into}
    assert look(world_of(machine), **about)[1] == []
    text = (machine.etc / "opsctl.yaml").read_text()
    (machine.etc / "opsctl.yaml").write_text(text.replace("proofs:", f"into: {json.dumps(into)}, proofs:"))
    shutil.rmtree(machine.data)
    assert look(world_of(machine), **(about | {"into": {}}))[1] == [], "where the service says that it is"
    (tmp_path / "office.sqlite").unlink()
    shutil.rmtree(tmp_path / "uploads")
    portal.psql("delete from bills where id > 400", "enagar_2026")
    found, _ = look(world_of(machine), **about)
    assert [(one["where"], one["expected"], one["found"]) for one in found["portal-db"]["differences"]] == [
        ("table public.bills, rows", 500, 400), ("table public.bills, id from 375 on", "126 rows", "26 rows")]
    assert found["files"]["differences"] == [{"where": str(tmp_path / "uploads"), "expected": "a folder", "found": "missing"}]
    assert found["register"]["differences"][0]["found"] == "No such file or directory"


PLAYBOOK = """
name: bring
title: {en: Bring a set into a clean room, hi: सेट को साफ़ कमरे में लाएँ}
inputs: {set: {type: set, help: the set}}
steps:
  - {id: restore, uses: restore, with: {backup: portal, set: "${set}"}}
  - {id: prove, uses: prove, with: {backup: portal, set: "${set}"}}
  - {id: scan, uses: scan, after: [restore], with: {backup: portal, set: "${set}"}}
"""


@pytest.fixture
def rooms() -> Iterator[Path]:
    with open_folder() as place:
        yield place


def test_in_the_clean_room_every_source_is_proven_and_scanned(machine: Machine, made: tuple[Kept, str], portal: Postgres, rooms: Path) -> None:
    (machine.etc / "opsctl.yaml").write_text(f"{(machine.etc / 'opsctl.yaml').read_text()}\nclean_room: {{place: {rooms}}}\n")
    (machine.etc / "playbooks").mkdir()
    (machine.etc / "playbooks" / "bring.yaml").write_text(PLAYBOOK)
    said = machine.json("run", "bring", "--set", f"set={made[1]}", expect=0)
    results = {step["step"]: step["result"] for step in said.result["steps"]}
    assert {one["of"]: one["kind"] for one in results["prove"]["proofs"]} == {"files": "files", "portal-db": "rows", "register": "files"}
    assert results["scan"]["files"] >= 5 and results["scan"]["set"] == made[1]

    world = world_of(machine)
    room, about = world.clean_room(made[1]), {"backup": "portal", "set": made[1]}
    place = Path(f"{room.files('files')}{machine.data}")
    swap(place / "one.pdf", place / "two.pdf")
    (place / "up.php").write_bytes(next(content for _, name, content in SAMPLES if name == "up.php"))
    entry = world.repository("main").look(world.clock()).judgement.of("portal")[0].sources["portal-db"]
    room.enter()
    with room.server("portal-db", entry) as server:
        subprocess.run([*room.shell.prefix(), "psql", "-h", server["server"], "-p", server["port"], "-U", server["user"],
                        "-qc", "delete from bills where id = 1", "restored"], check=True)
        found, wrong = look(world, **about)
    world.close()
    assert [(one["where"], one["expected"], one["found"]) for one in found["portal-db"]["differences"]
            if ", id " not in one["where"]] == [("table public.bills, rows", 500, 499)]
    assert {one["found"] for one in found["files"]["differences"]} >= {"other content", "a file that the set does not hold"}
    assert found["register"]["equal"] and "in the clean room" in wrong[0]
    found_again = machine.json("resume", said.document["run"], expect=22)
    assert any("up.php: rule webshell_php_runs_input" in error["message"] for error in found_again.errors)


def test_a_dump_is_scanned_as_it_is_stored(portal: Postgres, tmp_path: Path) -> None:
    shell = next(content for _, name, content in SAMPLES if name == "up.php").decode()
    portal.psql("create database blog;")
    portal.psql(f"create table posts (body text); insert into posts values ($text${shell}$text$);", "blog")
    for form in ("plain", "custom"):
        with open(tmp_path / f"{form}.dump", "wb") as file:
            subprocess.run(["pg_dump", f"--format={form}", *(["--compress=0"] if form == "custom" else []), "blog"], check=True, stdout=file,
                           env={**os.environ, **portal.environment()})
    found = Scanner(LocalShell(), largest=1 << 30, timeout=60).scan({"portal-db": tmp_path}).findings
    assert [(one.path, one.rule) for one in found] == [(f"portal-db/{form}.dump", "webshell_php_runs_input") for form in ("custom", "plain")]


def test_a_room_that_is_not_there_or_of_another_set_is_refused(machine: Machine, made: tuple[Kept, str], rooms: Path) -> None:
    (machine.etc / "opsctl.yaml").write_text(f"{(machine.etc / 'opsctl.yaml').read_text()}\nclean_room: {{place: {rooms}}}\n")
    world = world_of(machine)
    with pytest.raises(UsageError, match="there is no clean room"):
        look(world, backup="portal", set=made[1])
    with pytest.raises(UsageError, match="there is no clean room"):
        Scan().observe(ScanParams(backup="portal", set=made[1]), world)
    assert list(rooms.iterdir()) == [], "nothing is made by looking"
    world.clean_room("tax").enter()
    with pytest.raises(SafetyRefusal, match="does not lie in the clean room"):
        Scan().observe(ScanParams(backup="portal", set=made[1], room="tax", sources=("files",)), world)
    world.close()


def test_what_runs_is_asked_and_tried_again_while_it_starts(machine: Machine, portal: Postgres, tmp_path: Path) -> None:
    import yaml

    with serving() as (url, seen):
        late = tmp_path / "late"
        proofs = [
            {"kind": "http", "url": f"{url}/tax", "contains": "is up"}, {"kind": "tcp", "address": "127.0.0.1", "port": int(url.rpartition(":")[2])},
            {"kind": "command", "argv": ["echo", "all 412 bodies"], "contains": "412"},
            {"kind": "command", "argv": ["test", "-e", str(late)], "within": "30s"},
        ]
        machine.configure(more=yaml.safe_dump({"services": {"page": {"needs": ["tax"], "proofs": proofs},
                                                            "tax": {"unit": "tax.service"}}}))
        timer = threading.Timer(0.3, late.touch)
        timer.start()
        found, wrong = look(world_of(machine), service="page", where="production")
        timer.join()
        assert wrong == [] and found["test"]["tries"] > 1 and len(seen) == 1
    found, wrong = look(world_of(machine), service="page", where="production")
    assert [one["equal"] for one in found.values()] == [False, False, True, True]
    assert "expected status 200, found Connection refused" in wrong[0]
    assert look(world_of(machine), service="tax", where="production") == ({}, [])


def test_a_command_shows_how_it_ended_and_is_ended_in_time(machine: Machine) -> None:
    import yaml

    def proven(**spec: Any) -> list[dict[str, Any]]:
        machine.configure(more=yaml.safe_dump({"services": {"page": {"unit": "x", "proofs": [{"kind": "command", **spec}]}}}))
        return next(iter(look(world_of(machine), service="page", where="production")[0].values()))["differences"]

    assert proven(argv=["sh", "-c", "echo no rows >&2; exit 3"]) == [{"where": "sh, exit code", "expected": 0, "found": "3: no rows"}]
    assert proven(argv=["sh", "-c", "exit 3"], expect=3) == []
    assert proven(argv=["echo", "water"], contains="tax") == [
        {"where": "echo, output", "expected": "tax", "found": "6 bytes without it: water"}]
    assert proven(argv=["sleep", "60"], limit="1s")[0]["found"] == "it was still running"
    assert "not installed" in proven(argv=["no-such-program"])[0]["found"]
    assert proven(argv=[sys.executable, "-c", "print('x' * 3000000)"], contains="y")[0]["found"].startswith("1,04")


def test_what_takes_too_long_is_not_proven_and_an_interruption_ends_it(machine: Machine) -> None:
    world, gone = world_of(machine), threading.Event()
    assert bounded(0.05, gone.wait, world) is None
    with pytest.raises(ZeroDivisionError):
        bounded(5, lambda: 1 // 0, world)
    local.stop()
    try:
        with pytest.raises(Interrupted):
            bounded(60, gone.wait, world)
    finally:
        local.reset()
        gone.set()
