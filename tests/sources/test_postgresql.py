"""PostgreSQL: dump and proof from one point, and everything that is needed to load it elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from opsctl.demo.postgres import Postgres
from opsctl.errors import (
    Busy,
    DamagedData,
    Interrupted,
    OpsError,
    Partial,
    ProgramFailed,
    Refused,
    SafetyRefusal,
    Unreachable,
    UsageError,
)
from opsctl.model.secrets import SecretRef
from opsctl.repositories.restic import Restic
from opsctl.shells import local
from opsctl.shells.local import LocalShell
from opsctl.sources import postgresql_load, postgresql_proof, postgresql_session
from opsctl.sources.postgresql import Postgresql
from tests.sources.conftest import MakeContext, entry, restored

RICH = Path(__file__).with_name("rich.sql")


def source_of(on: Postgres, database: str, **more: Any) -> Postgresql:
    known = {"server": str(on.socket), "port": on.port, "user": on.superuser, "shell": LocalShell()}
    return Postgresql("db", database=database, **{**known, **more})


def where(server: Postgres) -> dict[str, str]:
    return {"server": str(server.socket), "port": str(server.port), "user": server.superuser}


@pytest.fixture(scope="session")
def rich(postgres: Postgres) -> str:
    """A database with one of everything; read only in tests."""
    postgres.psql(f"\\set db rich\n{RICH.read_text()}")
    return "rich"


@pytest.fixture
def database(postgres: Postgres, request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty database of the test's own."""
    name = f"t {request.node.name}"[:40]
    drop = f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE);'
    postgres.psql(drop)
    postgres.psql(f"""CREATE DATABASE "{name}" TEMPLATE template0 ENCODING 'UTF8';""")
    yield name
    postgres.psql(drop)


def differences(found: list[Any]) -> list[str]:
    return [str(each) for each in found]


def test_promise_10_everything_comes_back_on_a_server_that_knows_nothing(
    repository: Restic,
    context: MakeContext,
    postgres: Postgres,
    bare: Postgres,
    rich: str,
    tmp_path: Path,
) -> None:
    source = source_of(postgres, rich)
    assert source.check(None) == []
    captured = source.capture(context())
    kept = entry(captured)
    assert captured.problems == () and captured.files == 1 and captured.paths == ("/db.sql",)
    place = restored(repository, captured, tmp_path / "back")
    assert source.restored_files(kept, place) == []

    # A role of that name which is there already is somebody's, and stays what it is.
    bare.psql("CREATE ROLE portal_app NOLOGIN CREATEROLE")
    bare.psql("CREATE DATABASE \"by 'hand\" TEMPLATE template0 ENCODING 'UTF8'")
    bare.psql(f"\\i {place}/db.sql", "by 'hand")
    assert source.prove(kept, "by 'hand", server=where(bare)) == []
    source.load(place / "db.sql", kept, "r_opsctl_1", server=where(bare))
    assert source.prove(kept, "r_opsctl_1", server=where(bare)) == []

    roles = (
        "SELECT rolname, rolcanlogin, rolcreaterole, rolcreatedb, rolconnlimit, rolvaliduntil, rolconfig FROM pg_roles"
        " WHERE rolname !~ '^pg_' AND rolname <> 'postgres' ORDER BY 1"
    )
    assert bare.psql(roles).splitlines() == [
        'clerk|t|f|f|3|2030-01-01 00:00:00+05:30|{"search_path=\\"$user\\", public, \\"Odd Schema\\"",work_mem=8MB}',
        "odd \"role'%I|f|f|t|-1||",
        "portal_app|f|t|f|-1||",
        "portal_owner|f|f|f|-1||",
    ]
    assert (
        bare.psql(
            "SELECT roleid::regrole, member::regrole, admin_option FROM pg_auth_members WHERE member::regrole::text"
            " = 'clerk' ORDER BY roleid::regrole::text"
        )
        == "pg_read_all_data|clerk|f\nportal_app|clerk|t"
    )
    settings = (
        "SELECT setrole::regrole, setconfig FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase"
        " WHERE datname = '{}' ORDER BY 1"
    )
    assert bare.psql(settings.format("r_opsctl_1")) == postgres.psql(settings.format(rich))
    about = "SELECT pg_get_userbyid(datdba), shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '{}'"
    assert bare.psql(about.format("r_opsctl_1")) == postgres.psql(about.format(rich))
    source.drop("r_opsctl_1", server=where(bare))


def test_passwords_of_roles_come_back(
    context: MakeContext, postgres: Postgres, rich: str, repository: Restic
) -> None:
    captured = source_of(postgres, rich, proof="off").capture(context())
    stored = postgres.psql("SELECT rolpassword FROM pg_authid WHERE rolname = 'portal_app'")
    assert stored.startswith("SCRAM-SHA-256$") and stored.encode() in repository.read(
        captured.snapshot, "/db.sql"
    )
    assert b"stranger" not in repository.read(captured.snapshot, "/db.sql")


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


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


REAL_DUMP = "/usr/bin/env PATH=/usr/lib/postgresql/15/bin:/usr/bin:/bin pg_dump"


def fake_dump(body: str) -> str:
    return f'#!/bin/sh\ncase "$1" in --version) exec {REAL_DUMP} --version;; esac\n{body}\n'


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


def sessions(server: Postgres, database: str) -> str:
    return server.psql(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}'")


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


def test_a_password_is_given_in_a_private_file_and_nowhere_else(
    context: MakeContext,
    postgres: Postgres,
    rich: str,
    tmp_path: Path,
    as_path: Callable[[str, str], Path],
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("superuser's own\n")
    secret.chmod(0o600)
    seen = tmp_path / "seen"
    as_path(
        "pg_dump",
        fake_dump(
            f'{{ tr "\\0" " " < /proc/$$/cmdline; env; stat -c "mode %a" "$PGPASSFILE"; }} > {seen}; exec {REAL_DUMP} "$@"'
        ),
    )
    source = source_of(
        postgres, rich, server="127.0.0.1", password=SecretRef("password", file=str(secret)), proof="off"
    )
    made = context()
    source.capture(made)
    assert "superuser's own" not in seen.read_text() and "mode 600" in seen.read_text()
    assert "for tests only" not in seen.read_text()
    assert [path.name for path in made.scratch.iterdir() if "pg" in path.name and path.is_dir()] == []


def test_a_wrong_password_is_refused(
    context: MakeContext, postgres: Postgres, rich: str, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("wrong:\\\n")
    secret.chmod(0o600)
    source = source_of(postgres, rich, server="127.0.0.1", password=SecretRef("password", file=str(secret)))
    with pytest.raises(Refused, match="password authentication failed") as caught:
        source.capture(context())
    assert "wrong" not in str(caught.value)
    with pytest.raises(Refused):
        source_of(postgres, rich, server="127.0.0.1").capture(context())
    assert [problem.code for problem in source.check(None)] == [12]


def test_a_server_that_does_not_answer(
    context: MakeContext, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    monkeypatch.setattr(postgresql_session, "ANSWER_WITHIN", 2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        for port in (silent.getsockname()[1], 1):
            source = source_of(postgres, "x", server="127.0.0.1", port=port)
            with pytest.raises(Unreachable, match=f"PostgreSQL at 127.0.0.1, port {port} did not answer"):
                source.capture(context())
    with pytest.raises(Unreachable):
        source_of(postgres, "x", server="/nowhere").capture(context())


def test_a_database_that_is_not_there_is_missing(context: MakeContext, postgres: Postgres) -> None:
    source = source_of(postgres, "dbname=it's \\ postgresql://x")
    with pytest.raises(Partial, match="there is no database") as caught:
        source.capture(context())
    assert caught.value.code == 3
    assert [problem.code for problem in source.check(None)] == [3]


def test_a_missing_privilege_is_named_with_what_grants_it(
    context: MakeContext,
    postgres: Postgres,
    database: str,
    repository: Restic,
) -> None:
    postgres.psql(
        """
    CREATE ROLE reader LOGIN;
    CREATE SCHEMA closed; CREATE TABLE closed.t (a int); CREATE TABLE public.hidden (a int); CREATE SEQUENCE public.s;
    """,
        database,
    )
    source = source_of(postgres, database, user="reader")
    try:
        with pytest.raises(Refused) as caught:
            source.capture(context())
        assert str(caught.value) == (
            "role reader may not read schemas closed; tables closed.t, public.hidden; sequences public.s"
        )
        assert caught.value.hint == 'GRANT pg_read_all_data TO "reader";'
        (problem,) = source.check(None)
        assert (problem.code, problem.message) == (12, str(caught.value))

        postgres.psql(
            "GRANT pg_read_all_data TO reader; ALTER TABLE public.hidden ENABLE ROW LEVEL SECURITY;"
            "SELECT lo_create(4711);",
            database,
        )
        with pytest.raises(Refused, match=r"row-level security hides rows of public\.hidden") as caught:
            source.capture(context())
        assert caught.value.hint == 'ALTER ROLE "reader" BYPASSRLS;'

        postgres.psql("ALTER ROLE reader BYPASSRLS", database)
        with pytest.raises(Refused, match=r"may not read all large objects: .* 4711"):
            source.capture(context())
        assert repository.snapshots() == []

        postgres.psql("GRANT SELECT ON LARGE OBJECT 4711 TO reader", database)
        captured = source.capture(context())
        assert captured.proof["large_objects"]["rows"] == 1 and source.prove(entry(captured), database) == []
    finally:
        postgres.psql("DROP OWNED BY reader; DROP ROLE reader;", database)


def test_somebodys_lock_is_waited_for_and_then_named(
    context: MakeContext,
    postgres: Postgres,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    postgres.psql("CREATE TABLE public.t (a int)", database)
    monkeypatch.setattr(
        postgresql_session, "SETTINGS", postgresql_session.SETTINGS.replace("'60s'", "'50ms'")
    )
    source = source_of(postgres, database)
    holder = LocalShell().open(postgresql_session.argv(source.address, database))
    try:
        holder.stdin.write(b"BEGIN; LOCK TABLE public.t IN ACCESS EXCLUSIVE MODE;\n\\echo locked\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(Busy, match="lock timeout"):
            source.capture(context())
    finally:
        holder.close()


def test_an_older_pg_dump_than_the_server_is_named_with_both_versions(postgres: Postgres) -> None:
    with pytest.raises(ProgramFailed, match=r"pg_dump is 15\.\d+ and the server is PostgreSQL 99\.1"):
        source_of(postgres, "postgres")._pg_dump(990001)


CHANGES = {
    "UPDATE public.all_types SET b = '\\xdeadbeef01' WHERE id = 7": ["table public.all_types, checksum"],
    "UPDATE public.all_types SET t2 = NULL WHERE id = 7": ["table public.all_types, checksum"],
    "UPDATE public.all_types SET n = 1.1000 WHERE id = 303": ["table public.all_types, checksum"],
    "UPDATE public.all_types x SET t = y.t FROM public.all_types y WHERE (x.id, y.id) IN ((7, 8), (8, 7))": [
        "table public.all_types, checksum"
    ],
    "INSERT INTO public.parent VALUES (1, 'p')": ["table public.parent, rows"],
    "DELETE FROM public.part_24 WHERE id = 9": ["table public.part_24, rows"],
    "DELETE FROM public.no_columns WHERE ctid = '(0,1)'": ["table public.no_columns, rows"],
    "DROP VIEW public.v1": ["view public.v1"],
    "DROP TABLE public.unlogged": ["table public.unlogged", "table public.unlogged"],
    "DROP INDEX public.some_idx": ["table public.all_types, indexes"],
    "REVOKE SELECT ON public.all_types FROM portal_app": ["table public.all_types, grants"],
    "ALTER FUNCTION public.sqlf SECURITY INVOKER": ["function public.sqlf(integer,text), definition"],
    "ALTER TABLE public.part OWNER TO portal_app": [
        "partitioned table public.part, owner",
        "table public.part_24, owner",
    ],
    "DROP POLICY pol ON public.parent": ["table public.parent, policies"],
    "ALTER TABLE public.parent DISABLE ROW LEVEL SECURITY": ["table public.parent, definition"],
    "DROP TRIGGER tr ON public.parent": ["table public.parent, triggers"],
    "SELECT setval('public.down', -1)": ["sequence public.down"],
    "SELECT lo_put((SELECT max(oid) FROM pg_largeobject_metadata), 5000, '\\x02')": [
        "large objects, checksum"
    ],
    "SELECT lo_unlink((SELECT max(oid) FROM pg_largeobject_metadata))": ["large objects, rows"],
}


def test_every_change_to_a_restored_copy_is_named(
    context: MakeContext,
    postgres: Postgres,
    rich: str,
) -> None:
    source = source_of(postgres, rich)
    kept = entry(source.capture(context()))
    postgres.psql(f"CREATE DATABASE changed TEMPLATE {rich} OWNER portal_owner")
    try:
        baseline = differences(source.prove(kept, "changed"))
        assert all(line.startswith("database, ") for line in baseline)  # CREATE DATABASE copies no grants
        for change, expected in CHANGES.items():
            postgres.psql("DROP DATABASE IF EXISTS once WITH (FORCE)")
            postgres.psql("CREATE DATABASE once TEMPLATE changed OWNER portal_owner")
            postgres.psql(f"SET session_replication_role = replica; {change}", "once")
            found = [
                each.where for each in source.prove(kept, "once") if not each.where.startswith("database, ")
            ]
            if "OWNER TO" in change:
                assert expected[0] in found, change
            else:
                assert sorted(found) == sorted(expected), change
    finally:
        postgres.psql("DROP DATABASE IF EXISTS once WITH (FORCE)")
        postgres.psql("DROP DATABASE changed WITH (FORCE)")


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
    assert differences(source.prove(kept["counts"], database)) == [
        "table public.t, rows: expected 2, found 1"
    ]
    assert source.prove(kept["off"], database) == []


def test_a_dump_of_less_than_half_shows(context: MakeContext, postgres: Postgres, database: str) -> None:
    captured = source_of(postgres, database, proof="off").capture(
        context(previous={"files": 1, "bytes": 10_000_000})
    )
    (problem,) = captured.problems
    assert problem.message.startswith("less than half is left") and problem.acceptable


def test_loading_refuses_before_it_touches_anything(
    context: MakeContext,
    postgres: Postgres,
    database: str,
    repository: Restic,
    tmp_path: Path,
) -> None:
    source = source_of(postgres, database)
    captured = source.capture(context())
    kept = entry(captured)
    dump = restored(repository, captured, tmp_path / "back") / "db.sql"
    for name, expected, message in [
        (database, SafetyRefusal, "already"),
        ("x" * 64, UsageError, "1 to 63 bytes"),
        ("", UsageError, "1 to 63 bytes"),
    ]:
        with pytest.raises(expected, match=message):
            source.load(dump, kept, name)
    newer = {**kept, "proof": {**kept["proof"], "server_version": 990004}}
    with pytest.raises(
        ProgramFailed, match=r"the server is PostgreSQL 15\.\d+ and the dump comes from 99\.4"
    ):
        source.load(dump, newer, "l_opsctl_1")
    foreign = {**kept, "proof": {**kept["proof"], "collate": "xx_XX.UTF-8"}}
    with pytest.raises(ProgramFailed, match=r"locale xx_XX\.UTF-8") as caught:
        source.load(dump, foreign, "l_opsctl_1")
    assert "locale-gen" in str(caught.value.hint)
    cut = tmp_path / "cut.sql"
    cut.write_bytes(dump.read_bytes()[:-1100])
    with pytest.raises(DamagedData, match="lacks its end"):
        source.load(cut, kept, "l_opsctl_1")
    assert not source.exists("l_opsctl_1")


def test_a_load_that_fails_leaves_no_database(
    context: MakeContext,
    postgres: Postgres,
    database: str,
    repository: Restic,
    tmp_path: Path,
) -> None:
    source = source_of(postgres, database)
    captured = source.capture(context())
    dump = restored(repository, captured, tmp_path / "back") / "db.sql"
    dump.write_bytes(dump.read_bytes().replace(b"SET row_security = off;", b"SELECT no_such_function();"))
    with pytest.raises(ProgramFailed, match=r"could not be loaded into l_opsctl_2: .*no_such_function"):
        source.load(dump, entry(captured), "l_opsctl_2")
    assert not source.exists("l_opsctl_2")


def test_renaming_ends_connections_and_takes_no_name_twice(postgres: Postgres, database: str) -> None:
    source = source_of(postgres, database)
    user = LocalShell().open(postgresql_session.argv(source.address, database))
    try:
        user.stdin.write(b"SELECT 'here';\n")
        user.stdin.flush()
        assert user.stdout.readline() == b"here\n"
        source.rename(database, "r_opsctl_new")
        assert source.exists("r_opsctl_new") and not source.exists(database)
        with pytest.raises(SafetyRefusal, match="already exists"):
            source.rename("r_opsctl_new", "postgres")
        source.rename("r_opsctl_new", database)
    finally:
        user.close()


def test_only_what_a_restore_left_is_dropped(postgres: Postgres, database: str) -> None:
    source = source_of(postgres, database)
    with pytest.raises(SafetyRefusal, match="is not dropped"):
        source.drop(database)
    assert source.exists(database)
    postgres.psql('CREATE DATABASE "a_opsctl_b"')
    source.drop("a_opsctl_b")
    source.drop("a_opsctl_b")
    assert not source.exists("a_opsctl_b")


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


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        (
            'psql: error: connection to server at "h", port 5 failed: FATAL:  password authentication failed for user "x"',
            Refused,
        ),
        (
            'psql: error: connection to server at "h", port 5 failed: FATAL:  Passwort-Authentifizierung fehlgeschlagen',
            Refused,
        ),
        (
            'psql: error: connection to server at "h", port 5 failed: fe_sendauth: no password supplied',
            Refused,
        ),
        (
            'psql: error: connection to server at "h", port 5 failed: FATAL:  database "db" does not exist',
            Partial,
        ),
        (
            'psql: error: connection to server at "h", port 5 failed: FATAL:  the database system is starting up',
            Unreachable,
        ),
        (
            'psql: error: connection to server at "h", port 5 failed: FATAL:  sorry, too many clients already',
            Unreachable,
        ),
        ('psql: error: could not translate host name "h" to address: Name or service not known', Unreachable),
        (
            "server closed the connection unexpectedly\n\tThis probably means …\nconnection to server was lost",
            Unreachable,
        ),
        (
            "ERROR:  42501: keine Berechtigung für Tabelle t\nLOCATION:  aclcheck_error, aclchk.c:3650",
            Refused,
        ),
        ("psql:<stdin>:4: ERROR:  55P03: canceling statement due to lock timeout\nLOCATION:  x", Busy),
        ("ERROR:  42P01: relation does not exist", ProgramFailed),
        ("", ProgramFailed),
    ],
)
def test_what_psql_says_becomes_ours(errors: str, expected: type[OpsError]) -> None:
    found = postgresql_session.failure(errors, postgresql_session.Address("h", 5), "db")
    assert isinstance(found, expected)


def test_versions() -> None:
    postgresql_load.check_version(150001, 150018)
    postgresql_load.check_version(170001, 150018)
    with pytest.raises(ProgramFailed):
        postgresql_load.check_version(150018, 160001)


@pytest.mark.parametrize(
    "options",
    [
        "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'",
        "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'",
        "ENCODING 'EUC_JP' LC_COLLATE 'C' LC_CTYPE 'C'",
        "ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'hi-IN'",
    ],
)
def test_other_encodings_and_locales_come_back(
    repository: Restic, context: MakeContext, postgres: Postgres, bare: Postgres, tmp_path: Path, options: str
) -> None:
    postgres.psql(f"CREATE DATABASE encoded TEMPLATE template0 {options}")
    try:
        content = "'\\xe9\\xff'" if "SQL_ASCII" in options else "'plain'"
        name = "t\u00e9" if "LATIN1" in options else "t"
        postgres.psql(f"CREATE TABLE public.\"{name}\" (a text); INSERT INTO public.\"{name}\" VALUES (E{content})", "encoded")
        source = source_of(postgres, "encoded")
        kept = entry(captured := source.capture(context()))
        place = restored(repository, captured, tmp_path / "back")
        source.load(place / "db.sql", kept, "e_opsctl_1", server=where(bare))
        assert source.prove(kept, "e_opsctl_1", server=where(bare)) == []
        shown = "SELECT pg_encoding_to_char(encoding), datcollate, datlocprovider, daticulocale FROM pg_database WHERE datname = '{}'"
        assert bare.psql(shown.format("e_opsctl_1")) == postgres.psql(shown.format("encoded"))
        source.drop("e_opsctl_1", server=where(bare))
    finally:
        postgres.psql("DROP DATABASE encoded WITH (FORCE)")
