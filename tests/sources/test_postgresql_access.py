"""PostgreSQL: what is refused, missing, locked or silent, and what to do about it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from opsctl.errors import (
    Busy,
    OpsError,
    Partial,
    ProgramFailed,
    Refused,
    Unreachable,
)
from opsctl.model.secrets import SecretRef
from opsctl.repositories.restic import Restic
from opsctl.shells.local import LocalShell
from opsctl.sources import postgresql_session
from opsctl.sources.postgresql_server import Postgres
from tests.sources.conftest import MakeContext, entry
from tests.sources.databases import REAL_DUMP, fake_dump, source_of


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
            f'{{ tr "\\0" " " < /proc/$$/cmdline; env; stat -c "mode %a" "$PGPASSFILE"; }} > {seen}\n'
            f'exec {REAL_DUMP} "$@"'
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
    CREATE SCHEMA closed;
    CREATE TABLE closed.t (a int);
    CREATE TABLE public.hidden (a int);
    CREATE SEQUENCE public.s;
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
    holder = LocalShell().open(postgresql_session.argv(LocalShell(), source.address, database))
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


FAILED = 'psql: error: connection to server at "h", port 5 failed'


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        (
            f'{FAILED}: FATAL:  password authentication failed for user "x"',
            Refused,
        ),
        (
            f"{FAILED}: FATAL:  Passwort-Authentifizierung fehlgeschlagen",
            Refused,
        ),
        (
            f"{FAILED}: fe_sendauth: no password supplied",
            Refused,
        ),
        (
            f'{FAILED}: FATAL:  database "db" does not exist',
            Partial,
        ),
        (
            f"{FAILED}: FATAL:  the database system is starting up",
            Unreachable,
        ),
        (
            f"{FAILED}: FATAL:  sorry, too many clients already",
            Unreachable,
        ),
        ('psql: error: could not translate host name "h" to address: Name or service not known', Unreachable),
        (
            "server closed the connection unexpectedly\n\tThis probably …\nconnection to server was lost",
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
