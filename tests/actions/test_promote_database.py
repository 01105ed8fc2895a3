"""Bringing a database into production on a real server: both names in one transaction, users sent away, and all of it undone."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opsctl.sources import postgresql_naming, postgresql_server
from opsctl.sources.postgresql_server import Postgres, program_directory
from tests.actions.test_promote import OTHER, again, set_of
from tests.lab.promotion import CHANGES, RUN, perform, struck_before
from tests.machine import Machine

ROWS = "select count(*), sum(hashtextextended(t::text, 0)) from bills t"
KEPT = "enagar_before_20261220_0832"
BACK = "enagar_promoted_20261220_0832"


@pytest.fixture(scope="module")
def server(server_place: Path) -> Iterator[Postgres]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(postgresql_server.SETTINGS, "max_prepared_transactions", "2")
        with Postgres(server_place / "promote") as made:
            yield made


def names(server: Postgres) -> dict[str, str]:
    """Databases by name, and whether they let users in."""
    found = server.psql("select datname, datallowconn from pg_database where datname like '%enagar%' order by 1")
    return dict(line.split("|") for line in found.split())


def make(server: Postgres) -> str:
    """The database as it was backed up; what its rows are."""
    server.psql("create database enagar")
    server.psql("create table bills as select n as id, n * 7 as paise from generate_series(1, 500) n", "enagar")
    return server.psql(ROWS, "enagar")


def spoil(server: Postgres) -> str:
    server.psql("update bills set paise = 0; delete from bills where id > 100", "enagar")
    return server.psql(ROWS, "enagar")


def drop_all(server: Postgres) -> None:
    for name in names(server):
        server.psql(f'alter database "{name}" allow_connections true')
        server.psql(f'drop database "{name}" with (force)')


@pytest.fixture
def backed_up(machine: Machine, server: Postgres) -> Iterator[tuple[Machine, str, str, dict[str, Any]]]:
    """A machine, the rows of the set, those of production now, and how the promotion is asked for."""
    machine.configure(
        sources=f"  db: {{kind: postgresql, database: enagar, server: {server.socket}, port: {server.port}, user: {server.superuser}}}",
        backup_sources="[db]")
    good = make(server)
    machine("backup", "run", expect=0)
    yield machine, good, spoil(server), {"backup": "portal", "set": set_of(machine), "source": "db", "replace": True, "scratch": str(machine.root)}
    drop_all(server)


def session(server: Postgres) -> subprocess.Popen[str]:
    """Somebody who sits in the database."""
    words = [str(program_directory() / "psql"), "-X", "-q", "-d", "enagar"]
    made = subprocess.Popen(words, env={**os.environ, **server.environment(), "PGUSER": server.superuser}, text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert made.stdin is not None and made.stdout is not None
    made.stdin.write("\\echo in\n")
    made.stdin.flush()
    assert made.stdout.readline() == "in\n"
    return made


def test_one_transaction_keeps_what_was_there_and_a_second_look_finds_it_so(
    backed_up: tuple[Machine, str, str, dict[str, Any]], server: Postgres
) -> None:
    machine, good, bad, asked = backed_up
    server.psql("alter database enagar connection limit 33")
    with session(server) as somebody:
        found = perform(machine, "promote", asked)
        assert found.outcome == "changed", found.because
        assert somebody.stdin is not None
        somebody.stdin.close()
    assert names(server) == {"enagar": "t", KEPT: "t"}
    assert (server.psql(ROWS, "enagar"), server.psql(ROWS, KEPT)) == (good, bad)
    assert server.psql(f"select datconnlimit from pg_database where datname = '{KEPT}'") == "33"
    server.psql("insert into bills values (1000, 1)", "enagar")
    assert perform(machine, "promote", asked).outcome == "ok"

    assert perform(machine, "rollback", {"promoted": RUN}, run=OTHER).outcome == "changed"
    assert names(server) == {"enagar": "t", BACK: "t"}
    assert server.psql(ROWS, "enagar") == bad and server.psql("select count(*) from bills", BACK) == "501"
    assert perform(machine, "rollback", {"promoted": RUN}, run=OTHER).outcome == "ok"
    (one,) = machine.json("restore", "kept", expect=0).result["kept"]
    assert one["name"] == BACK and one["bytes"] > 1 << 20
    assert perform(machine, "discard", {"kept": BACK, "run": RUN, "said": BACK}, run=OTHER).outcome == "changed"
    assert perform(machine, "discard", {"kept": "enagar", "run": RUN}, run=OTHER).outcome == "ok", "it is not one that was kept"
    assert names(server) == {"enagar": "t"}


@pytest.mark.parametrize("then", [pytest.param("resume", marks=pytest.mark.full), "rollback"])
def test_promise_7_killed_between_the_statements_of_the_exchange(
    backed_up: tuple[Machine, str, str, dict[str, Any]], server: Postgres, then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worst moment: nobody is let in any more, and nothing has its new name."""
    machine, good, bad, asked = backed_up
    assert perform(machine, "promote", {**asked, "into": "enagar_other", "replace": False}).outcome == "changed"
    server.psql("drop database enagar_other")
    real = postgresql_naming.run

    def struck(shell: Any, address: Any, database: str, environment: Any, script: str) -> str:
        if "BEGIN;" in script:
            real(shell, address, database, environment, script.partition("BEGIN;")[0])
            os._exit(9)
        return real(shell, address, database, environment, script)

    run = "20261220-0832-portal-0002"
    monkeypatch.setattr(postgresql_naming, "run", struck)
    child = os.fork()
    if not child:
        perform(machine, "promote", asked, run=run)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    monkeypatch.undo()
    assert names(server)["enagar"] == "f"
    if then == "resume":
        assert perform(machine, "promote", asked, run=run).outcome == "changed"
        assert (server.psql(ROWS, "enagar"), server.psql(ROWS, KEPT)) == (good, bad)
    else:
        assert perform(machine, "rollback", {"promoted": run}, run=OTHER).outcome == "changed"
        assert names(server)["enagar"] == "t" and server.psql(ROWS, "enagar") == bad
        assert perform(machine, "rollback", {"promoted": run}, run=OTHER).outcome == "ok"


@pytest.mark.full
@pytest.mark.parametrize("then", ["resume", "rollback"])
def test_promise_7_killed_before_every_program_and_change(
    backed_up: tuple[Machine, str, str, dict[str, Any]], server: Postgres, then: str, tmp_path: Path
) -> None:
    machine, good, bad, asked = backed_up
    shutil.copytree(machine.root, tmp_path / "kept", symlinks=True)
    for number in range(1, 200):
        struck = struck_before(number, lambda: perform(machine, "promote", asked), CHANGES)
        assert server.psql(ROWS, "enagar") in (good, bad)
        if then == "resume":
            assert perform(machine, "promote", asked).outcome in ("changed", "ok")
            assert (server.psql(ROWS, "enagar"), server.psql(ROWS, KEPT)) == (good, bad)
        else:
            perform(machine, "rollback", {"promoted": RUN}, run=OTHER)
            assert server.psql(ROWS, "enagar") == bad
        if not struck:
            break
        again(machine, tmp_path / "kept")
        drop_all(server)
        make(server)
        spoil(server)
    assert number > 15


def test_what_is_in_the_way_is_refused_before_anything(
    backed_up: tuple[Machine, str, str, dict[str, Any]], server: Postgres
) -> None:
    machine, _, bad, asked = backed_up
    found = perform(machine, "promote", {**asked, "replace": False})
    assert found.codes == (23,) and "there is a database enagar" in found.because
    found = perform(machine, "promote", {**asked, "into": "postgres"}, run=OTHER)
    assert found.codes == (23,) and "the server's own" in found.because
    assert names(server) == {"enagar": "t"} and server.psql(ROWS, "enagar") == bad


@pytest.mark.full
def test_a_database_that_cannot_be_left_stays_as_it_was(
    backed_up: tuple[Machine, str, str, dict[str, Any]], server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction that was prepared outlives every session; the server says no, and users are let in again."""
    machine, good, bad, asked = backed_up
    server.psql("create table held (n int); begin; insert into held values (1); prepare transaction 'held'", "enagar")
    monkeypatch.setattr(postgresql_naming, "_TRIES", 1)
    found = perform(machine, "promote", asked)
    assert found.codes[-1] == 20 and found.errors[0].hint is not None and "pg_prepared_xacts" in found.errors[0].hint
    assert names(server)["enagar"] == "t" and server.psql(ROWS, "enagar") == bad
    server.psql("commit prepared 'held'", "enagar")
    assert perform(machine, "promote", asked).outcome == "changed"
    assert server.psql(ROWS, "enagar") == good


def test_a_name_that_is_taken_at_the_last_moment_stays_somebody_elses(
    backed_up: tuple[Machine, str, str, dict[str, Any]], server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine, good, bad, asked = backed_up
    real = postgresql_naming.exchange

    def late(*words: Any) -> None:
        server.psql(f"create database {KEPT}")
        real(*words)

    monkeypatch.setattr(postgresql_naming, "exchange", late)
    found = perform(machine, "promote", asked)
    assert found.codes[-1] == 23 and names(server)["enagar"] == "t" and server.psql(ROWS, "enagar") == bad
    monkeypatch.undo()
    assert perform(machine, "promote", asked).outcome == "changed"
    assert server.psql(ROWS, "enagar") == good and server.psql(ROWS, f"{KEPT}_2") == bad
    assert server.psql("select count(*) from pg_class where relname = 'bills'", KEPT) == "0"
