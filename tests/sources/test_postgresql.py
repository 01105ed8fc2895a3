"""PostgreSQL: dump and proof from one moment, or nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from opsctl.errors import (
    Interrupted,
    ProgramFailed,
)
from opsctl.repositories.restic import Restic
from opsctl.shells import local
from opsctl.sources import postgresql_proof
from opsctl.sources.postgresql_server import Postgres
from tests.sources.conftest import MakeContext, entry, restored
from tests.sources.databases import REAL_DUMP, fake_dump, sessions, source_of, until


class Writer(threading.Thread):
    """Changes several tables, sequences and large objects without a pause, until told to stop."""

    SCRIPT = """
    CREATE PROCEDURE public.work() LANGUAGE plpgsql AS $$
    DECLARE n int := 0; object oid;
    BEGIN
      LOOP
        n := n + 1;
        INSERT INTO public.bills (body, paid) SELECT 'नगर ' || g, g FROM generate_series(1, 20) g;
        UPDATE public.bills SET paid = paid + 1 WHERE id % 7 = n % 7;
        DELETE FROM public.bills WHERE id IN (SELECT id FROM public.bills ORDER BY random() LIMIT 9);
        UPDATE public.totals SET number = (SELECT count(*) FROM public.bills);
        object := lo_from_bytea(0, decode(repeat(md5(n::text), 50), 'hex'));
        IF n % 2 = 0 THEN PERFORM lo_unlink(object); END IF;
        COMMIT;
        EXIT WHEN EXISTS (SELECT FROM public.stop);
      END LOOP;
    END $$;
    """

    def __init__(self, server: Postgres, database: str) -> None:
        super().__init__(daemon=True)
        self.server, self.database = server, database

    def run(self) -> None:
        self.server.psql("CALL public.work()", self.database)

    def __enter__(self) -> Writer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.psql("INSERT INTO public.stop VALUES (1)", self.database)
        self.join(30)
        assert not self.is_alive()


def test_promise_1_the_proof_equals_the_restored_copy_under_writes(
    repository: Restic,
    context: MakeContext,
    postgres: Postgres,
    database: str,
    tmp_path: Path,
) -> None:
    postgres.psql(
        """
    CREATE TABLE public.bills (id bigserial PRIMARY KEY, body text, paid numeric);
    CREATE TABLE public.totals (number bigint);
    CREATE TABLE public.stop (x int);
    INSERT INTO public.bills (body, paid) SELECT 'b' || g, g FROM generate_series(1, 40000) g;
    INSERT INTO public.totals VALUES (40000);
    """
        + Writer.SCRIPT,
        database,
    )
    source = source_of(postgres, database)
    with Writer(postgres, database):
        first, second = source.capture(context()), source.capture(context())
    assert first.proof["tables"] != second.proof["tables"], "the writer did not write"
    for number, captured in enumerate((first, second)):
        place = restored(repository, captured, tmp_path / f"back{number}")
        source.load(place / "db.sql", entry(captured), "w_opsctl_1")
        assert source.prove(entry(captured), "w_opsctl_1") == []
        # What one transaction changed together is together in the copy.
        assert (
            postgres.psql(
                "SELECT (SELECT count(*) FROM public.bills) = number FROM public.totals", "w_opsctl_1"
            )
            == "t"
        )
        source.drop("w_opsctl_1")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (f'{REAL_DUMP} "$@" | head -c 20000', "stopped before its end"),
        (f'{REAL_DUMP} "$@" | head -c 20000; exit 3', r"pg_dump failed \(3\)"),
        (":", "pg_dump wrote nothing"),
        (f'{REAL_DUMP} "$@" | grep -v "dump complete"', "stopped before its end"),
        (f'{REAL_DUMP} "$@" | head -c 20000; kill -9 $$', "pg_dump was ended by SIGKILL"),
        (
            "echo pg_dump: error: no luck today >&2; exit 1",
            r"pg_dump failed \(1\): pg_dump: error: no luck today",
        ),
    ],
)
def test_promise_1_a_dump_that_is_not_whole_leaves_nothing(
    repository: Restic,
    context: MakeContext,
    postgres: Postgres,
    rich: str,
    as_path: Callable[[str, str], Path],
    body: str,
    says: str,
) -> None:
    as_path("pg_dump", fake_dump(body))
    with pytest.raises(ProgramFailed, match=says):
        source_of(postgres, rich).capture(context())
    assert repository.snapshots() == []
    assert sessions(postgres, rich) == "0"


def test_promise_1_a_dump_is_not_kept_without_its_proof(
    repository: Restic,
    context: MakeContext,
    postgres: Postgres,
    rich: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(postgresql_proof, "_MAKE_FULL", "SELECT 'SELECT to_json(1 / 0)' \\gexec\n")
    with pytest.raises(ProgramFailed, match="division by zero"):
        source_of(postgres, rich).capture(context())
    assert repository.snapshots() == []
    assert sessions(postgres, rich) == "0"


def test_promise_1_a_dump_that_died_ends_the_proof(
    repository: Restic,
    context: MakeContext,
    postgres: Postgres,
    rich: str,
    monkeypatch: pytest.MonkeyPatch,
    as_path: Callable[[str, str], Path],
) -> None:
    monkeypatch.setattr(
        postgresql_proof, "_MAKE_FULL", "SELECT 'SELECT to_json(pg_sleep(300)::text)' \\gexec\n"
    )
    as_path("pg_dump", fake_dump("exit 1"))
    with pytest.raises(ProgramFailed, match=r"pg_dump failed \(1\)"):
        source_of(postgres, rich).capture(context())
    assert repository.snapshots() == []
    assert sessions(postgres, rich) == "0"


def test_stopping_ends_dump_and_proof_at_once(
    repository: Restic,
    context: MakeContext,
    postgres: Postgres,
    rich: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        postgresql_proof, "_MAKE_FULL", "SELECT 'SELECT to_json(pg_sleep(300)::text)' \\gexec\n"
    )

    def stop_when_it_sleeps() -> None:
        until(lambda: sleeping() == "1", "the proof")
        local.stop()

    def sleeping() -> str:
        return postgres.psql(
            f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{rich}' AND wait_event = 'PgSleep'"
        )

    stopper = threading.Thread(target=stop_when_it_sleeps)
    stopper.start()
    try:
        with pytest.raises(Interrupted):
            source_of(postgres, rich).capture(context())
    finally:
        stopper.join()
        local.reset()
    assert repository.snapshots() == []
    until(lambda: sessions(postgres, rich) == "0", "the server to give the proof up")


def test_levels(context: MakeContext, postgres: Postgres, database: str) -> None:
    postgres.psql("CREATE TABLE public.t (a int); INSERT INTO public.t VALUES (1), (2)", database)
    kept = {
        level: entry(source_of(postgres, database, proof=level).capture(context()))
        for level in ("counts", "off")
    }
    assert kept["counts"]["proof"]["tables"] == {"public.t": {"rows": 2}}
    assert "tables" not in kept["off"]["proof"] and kept["off"]["proof"]["encoding"] == "UTF8"
    source = source_of(postgres, database)
    postgres.psql("UPDATE public.t SET a = a + 1", database)
    assert source.prove(kept["counts"], database) == []
    postgres.psql("DELETE FROM public.t WHERE a = 2", database)
    assert [str(each) for each in source.prove(kept["counts"], database)] == [
        "table public.t, rows: expected 2, found 1"
    ]
    assert source.prove(kept["off"], database) == []


def test_a_dump_of_less_than_half_shows(context: MakeContext, postgres: Postgres, database: str) -> None:
    captured = source_of(postgres, database, proof="off").capture(
        context(previous={"files": 1, "bytes": 10_000_000})
    )
    (problem,) = captured.problems
    assert problem.message.startswith("less than half is left") and problem.acceptable


def test_a_dump_is_the_same_for_the_same_content(
    context: MakeContext,
    postgres: Postgres,
    rich: str,
    repository: Restic,
) -> None:
    source = source_of(postgres, rich, proof="off")
    first, second = (repository.read(source.capture(context()).snapshot, "/db.sql") for _ in range(2))
    ours, theirs = (content.split(b"\n") for content in (first, second))
    assert [
        line
        for line, other in zip(ours, theirs, strict=True)
        if line != other and not line.startswith((b"\\restrict ", b"\\unrestrict "))
    ] == []


def test_passwords_of_roles_come_back(
    context: MakeContext, postgres: Postgres, rich: str, repository: Restic
) -> None:
    captured = source_of(postgres, rich, proof="off").capture(context())
    stored = postgres.psql("SELECT rolpassword FROM pg_authid WHERE rolname = 'portal_app'")
    assert stored.startswith("SCRAM-SHA-256$") and stored.encode() in repository.read(
        captured.snapshot, "/db.sql"
    )
    assert b"stranger" not in repository.read(captured.snapshot, "/db.sql")


def test_what_differs_is_told_by_its_ranges_of_the_key(context: MakeContext, postgres: Postgres, database: str) -> None:
    postgres.psql("""
CREATE TABLE public.bills AS SELECT n AS id, n * 7 AS paise, n AS b0 FROM generate_series(1, 1600) n; ALTER TABLE public.bills ADD PRIMARY KEY (id);
CREATE TABLE public.paid (at timestamptz, u uuid DEFAULT gen_random_uuid(), PRIMARY KEY (at, u));
INSERT INTO public.paid SELECT timestamptz '2026-04-01 00:00Z' + n * interval '1 day' FROM generate_series(0, 319) n;
CREATE TABLE public.people (name text PRIMARY KEY); INSERT INTO public.people SELECT n::text FROM generate_series(1, 300) n;
CREATE TABLE public.few (id int PRIMARY KEY); INSERT INTO public.few VALUES (1), (2);
CREATE TABLE public.more (id int PRIMARY KEY) ; INSERT INTO public.more SELECT generate_series(1, 400)""", database)
    source = source_of(postgres, database)
    kept = entry(source.capture(context()))
    recorded = kept["proof"]["ranges"]
    assert sorted(recorded) == ["public.bills", "public.more", "public.paid"], "no key of text, and none of a small table"
    assert sum(recorded["public.bills"]["rows"]) == 1600 and len(recorded["public.bills"]["bounds"]) == 15
    assert source.prove(kept, database) == []
    postgres.psql("UPDATE public.bills SET paise = 0 WHERE id = 250; DELETE FROM public.bills WHERE id > 1550; UPDATE public.more SET id = -id;"
                  "DELETE FROM public.paid WHERE at < '2026-04-08 00:00Z'; DELETE FROM public.few", database)
    found = {one.where: (one.expected, one.found) for one in source.prove(kept, database)}
    assert found == {
        "table public.bills, rows": (1600, 1550),
        "table public.bills, id from 200 to below 300": ("100 rows", "other content"),
        "table public.bills, id from 1500 on": ("101 rows", "51 rows"),
        "table public.few, rows": (2, 0),
        "table public.more, checksum": found["table public.more, checksum"],
        "table public.more, id anywhere": ("400 rows", "other content"),
        "table public.paid, rows": (320, 313),
        "table public.paid, at below 2026-04-20 00:00:00+00": ("19 rows", "12 rows"),
    }
    older = {**kept, "proof": {name: value for name, value in kept["proof"].items() if name != "ranges"}}
    assert next(one.where for one in source.prove(older, database)) == "table public.bills, rows", "a manifest of before has none"
    postgres.psql("ALTER TABLE public.bills DROP CONSTRAINT bills_pkey", database)
    assert not [one for one in source.prove(kept, database) if "bills, id" in one.where], "there is no such key any more"
