"""PostgreSQL: everything that is needed to load a dump elsewhere, and what differs afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from opsctl.errors import (
    DamagedData,
    ProgramFailed,
    SafetyRefusal,
    UsageError,
)
from opsctl.repositories.restic import Restic
from opsctl.shells.local import LocalShell
from opsctl.sources import postgresql_load, postgresql_session
from opsctl.sources.postgresql_server import Postgres
from tests.sources.conftest import MakeContext, entry, restored
from tests.sources.databases import source_of, where


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
        "SELECT rolname, rolcanlogin, rolcreaterole, rolcreatedb, rolconnlimit, rolvaliduntil, rolconfig"
        " FROM pg_roles WHERE rolname !~ '^pg_' AND rolname <> 'postgres' ORDER BY 1"
    )
    assert bare.psql(roles).splitlines() == [
        "clerk|t|f|f|3|2030-01-01 00:00:00+05:30|"
        '{"search_path=\\"$user\\", public, \\"Odd Schema\\"",work_mem=8MB}',
        "odd \"role'%I|f|f|t|-1||",
        "portal_app|f|t|f|-1||",
        "portal_owner|f|f|f|-1||",
    ]
    memberships = (
        "SELECT roleid::regrole, member::regrole, admin_option FROM pg_auth_members"
        " WHERE member::regrole::text = 'clerk' ORDER BY roleid::regrole::text"
    )
    assert bare.psql(memberships) == "pg_read_all_data|clerk|f\nportal_app|clerk|t"
    settings = (
        "SELECT setrole::regrole, setconfig FROM pg_db_role_setting s"
        " JOIN pg_database d ON d.oid = setdatabase WHERE datname = '{}' ORDER BY 1"
    )
    assert bare.psql(settings.format("r_opsctl_1")) == postgres.psql(settings.format(rich))
    about = (
        "SELECT pg_get_userbyid(datdba), shobj_description(oid, 'pg_database')"
        " FROM pg_database WHERE datname = '{}'"
    )
    assert bare.psql(about.format("r_opsctl_1")) == postgres.psql(about.format(rich))
    source.drop("r_opsctl_1", server=where(bare))


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
        postgres.psql(
            f'CREATE TABLE public."{name}" (a text); INSERT INTO public."{name}" VALUES (E{content})',
            "encoded",
        )
        source = source_of(postgres, "encoded")
        kept = entry(captured := source.capture(context()))
        place = restored(repository, captured, tmp_path / "back")
        source.load(place / "db.sql", kept, "e_opsctl_1", server=where(bare))
        assert source.prove(kept, "e_opsctl_1", server=where(bare)) == []
        shown = (
            "SELECT pg_encoding_to_char(encoding), datcollate, datlocprovider, daticulocale"
            " FROM pg_database WHERE datname = '{}'"
        )
        assert bare.psql(shown.format("e_opsctl_1")) == postgres.psql(shown.format("encoded"))
        source.drop("e_opsctl_1", server=where(bare))
    finally:
        postgres.psql("DROP DATABASE encoded WITH (FORCE)")


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
        baseline = [str(each) for each in source.prove(kept, "changed")]
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


def test_versions() -> None:
    postgresql_load.check_version(150001, 150018)
    postgresql_load.check_version(170001, 150018)
    with pytest.raises(ProgramFailed):
        postgresql_load.check_version(150018, 160001)
