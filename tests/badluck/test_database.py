"""Work on a real PostgreSQL server is killed: no half database in view, no session left, rows equal."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from opsctl.sources.postgresql_server import Postgres, program_directory
from tests.badluck import faults
from tests.badluck.faults import FaultyRestic, at, kill_at_line, lines, until
from tests.badluck.scene import hidden, nothing_left, set_of, snapshots
from tests.machine import Machine

COUNT = 3000
ROWS = "select count(*), sum(hashtextextended(t::text, 0)) from bills t"


@pytest.fixture(scope="module")
def server(server_place: Path) -> Iterator[Postgres]:
    with Postgres(server_place / "badluck") as made:
        made.psql("create database enagar")
        made.psql(
            f"create table bills as select n as id, 'body ' || n % 412 as body, n * 7 as paise"
            f" from generate_series(1, {COUNT}) n",
            "enagar",
        )
        yield made


@pytest.fixture
def with_a_database(machine: Machine, restic: FaultyRestic, server: Postgres) -> Iterator[Machine]:
    machine.configure(
        sources=f"  db: {{kind: postgresql, database: enagar, server: {server.socket}, "
        f"port: {server.port}, user: {server.superuser}}}",
        backup_sources="[db]",
    )
    yield machine
    faults.end_all(machine, restic)
    for name in databases(server):
        if name != "enagar":
            server.psql(f'drop database "{name}"')


def databases(server: Postgres) -> list[str]:
    return server.psql("select datname from pg_database where datname like '%enagar%'").split()


def sessions(server: Postgres) -> str:
    """What still talks with the database."""
    return server.psql("select application_name from pg_stat_activity where datname like '%enagar%'").strip()


@contextmanager
def held(server: Postgres, table: str) -> Iterator[None]:
    """Somebody's transaction that lets no one read a table."""
    words = [str(program_directory() / "psql"), "-X", "-q", "-d", "enagar"]
    with subprocess.Popen(
        words,
        env={**os.environ, **server.environment(), "PGUSER": server.superuser, "PGAPPNAME": "somebody"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdin is not None and other.stdout is not None
        try:
            other.stdin.write(f"begin;\nlock table {table};\n\\echo locked\n")
            other.stdin.flush()
            assert other.stdout.readline() == "locked\n"
            yield
        finally:
            other.kill()


# Of these two tables opsctl reads the first for its proof, and only pg_dump the second.
@pytest.mark.parametrize(
    ("table", "number"),
    [
        ("bills", signal.SIGTERM),
        pytest.param("pg_ts_parser", signal.SIGINT, marks=pytest.mark.full),
        ("pg_ts_parser", signal.SIGKILL),
    ],
)
def test_promise_7_a_dump_that_is_stopped(
    with_a_database: Machine,
    restic: FaultyRestic,
    server: Postgres,
    tmp_path: Path,
    table: str,
    number: int,
) -> None:
    machine = with_a_database
    with held(server, table):
        process = machine.start("--json", "backup", "run", env=restic.env)
        until(lambda: table in waiting(server), "a dump that waits")
        process.send_signal(number)
        done = faults.ended(process)
        faults.all_gone(machine, restic)
    until(lambda: not sessions(server), "the end of the sessions")
    if number == signal.SIGKILL:
        assert done.code == -number
    else:
        assert (done.code, done.document["exit_code"]) == (128 + number, 128 + number)
    run = str(lines(machine)[-1]["run"])
    assert snapshots(machine, set_of(run), "source=db") == []
    machine("resume", run, expect=0)
    machine(
        "restore",
        "set",
        "portal",
        "--into",
        str(tmp_path / "back"),
        "--database",
        "db=enagar_again",
        expect=0,
    )
    assert server.psql(ROWS, "enagar_again") == server.psql(ROWS, "enagar")
    nothing_left(machine)


def waiting(server: Postgres) -> str:
    """The statements that wait for somebody's lock."""
    return server.psql("select query from pg_stat_activity where wait_event_type = 'Lock'")


@pytest.mark.parametrize(
    ("type", "change"),
    [
        ("change.begin", "load:db"),
        pytest.param("change.done", "load:db", marks=pytest.mark.full),
        pytest.param("change.begin", "name:db", marks=pytest.mark.full),
        ("change.done", "name:db"),
    ],
)
def test_promise_7_a_database_that_is_loaded(
    with_a_database: Machine,
    restic: FaultyRestic,
    server: Postgres,
    tmp_path: Path,
    type: str,
    change: str,
) -> None:
    machine, into = with_a_database, tmp_path / "back"
    machine("backup", "run", expect=0)
    run = kill_at_line(
        machine,
        restic,
        ["restore", "set", "portal", "--into", str(into), "--database", "db=enagar_again"],
        at(type, change=change),
    )
    until(lambda: not sessions(server), "the end of the sessions")
    if change == "load:db" and type == "change.begin":
        assert "enagar_again" not in databases(server) and not into.exists()
    machine("resume", run, expect=0)
    assert sorted(databases(server)) == ["enagar", "enagar_again"]
    assert server.psql(ROWS, "enagar_again") == server.psql(ROWS, "enagar")
    assert into.exists() and hidden(tmp_path) == []
    nothing_left(machine)
