"""PostgreSQL: everything that is needed to load a dump elsewhere, and what differs afterwards."""

from __future__ import annotations

import shutil
from collections.abc import Callable
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
from opsctl.sources import postgresql_feed, postgresql_load, postgresql_session
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
                each.where for each in source.prove(kept, "once") if not each.where.startswith("database, ") and ", id " not in each.where
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


def test_names_and_rows_that_look_like_commands_come_back_and_are_none(
    context: MakeContext, postgres: Postgres, bare: Postgres, database: str, repository: Restic, tmp_path: Path
) -> None:
    harm = tmp_path / "harm"
    odd = f'"a\n\\! touch {harm}\n\\restrict x\n$opsctl$"'
    postgres.psql(
        f"CREATE ROLE {odd}; CREATE TABLE {odd} (a text); ALTER TABLE {odd} OWNER TO {odd};"
        f"COMMENT ON TABLE {odd} IS E'\n\\\\! touch {harm}\n';"
        f"INSERT INTO {odd} VALUES (E'\rrestrict abc'), (E'\\\\.'), (E'\r! touch {harm}')",
        database,
    )
    try:
        source = source_of(postgres, database)
        captured = source.capture(context())
        dump = restored(repository, captured, tmp_path / "back") / "db.sql"
        assert b"\n\\restrict " in dump.read_bytes() and str(harm).encode() in dump.read_bytes()
        source.load(dump, entry(captured), "o_opsctl_1", server=where(bare))
        assert source.prove(entry(captured), "o_opsctl_1", server=where(bare)) == []
        assert not harm.exists()
        source.drop("o_opsctl_1", server=where(bare))
        bare.psql(f"DROP ROLE {odd}")
    finally:
        postgres.psql(f"DROP TABLE {odd}", database)
        postgres.psql(f"DROP ROLE {odd}")


COMMANDS = {
    "a program": "\\! touch {harm}",
    "after a statement": "SELECT 1; \\! touch {harm}",
    "copy": "\\copy pg_class TO PROGRAM 'cat > {harm}'",
    "output": "\\o {harm}\nSELECT 1;",
    "a pipe": "SELECT 1 \\g | cat > {harm}",
    "a guess": "\\unrestrict guessed\n\\! touch {harm}",
    "a second lock": "\\restrict other\n\\unrestrict other\n\\! touch {harm}",
    "another file": "\\i {harm}.sql",
    "in a name that an old pg_dump wrote out": "-- Name: x\n\\! touch {harm}",
    "quotes of another setting": "SET standard_conforming_strings = off;\nSELECT '\\'';\n\\! touch {harm}\n--'",
}


def test_no_command_of_psql_in_a_dump_is_run(
    context: MakeContext, postgres: Postgres, bare: Postgres, database: str, repository: Restic, tmp_path: Path
) -> None:
    captured = (source := source_of(postgres, database)).capture(context())
    dump = restored(repository, captured, tmp_path / "back") / "db.sql"
    whole, harm = dump.read_bytes(), tmp_path / "harm"
    harm.with_suffix(".sql").write_text(f"\\! touch {harm}\n")
    end = whole.index(b"\n\\unrestrict ")
    for words in COMMANDS.values():
        command = words.format(harm=harm).encode()
        places = [whole.replace(b"\nSET lock_timeout", b"\n" + command + b"\nSET lock_timeout")]
        if words == COMMANDS["a program"]:  # before pg_dump's own two lines, after them, and with none of them
            places += [command + b"\n" + whole, whole + command + b"\n", whole[:end] + b"\n" + command + b"\n"]
        for place in places:
            dump.write_bytes(place)
            with pytest.raises(SafetyRefusal, match="a command for psql itself in line"):
                source.load(dump, entry(captured), "c_opsctl_1", server=where(bare))
            assert not harm.exists() and not source.exists("c_opsctl_1", server=where(bare)), words
    dump.write_bytes(whole)
    source.load(dump, entry(captured), "c_opsctl_1", server=where(bare))
    source.drop("c_opsctl_1", server=where(bare))


def test_a_link_in_the_place_of_a_dump_is_no_dump(postgres: Postgres, database: str, tmp_path: Path) -> None:
    source, place = source_of(postgres, database), tmp_path / "place"
    (place / "below").mkdir(parents=True)
    (tmp_path / "secret.sql").write_text(f"secret\n{postgresql_load.TRAILER}\n")
    (place / "db.sql").symlink_to(tmp_path / "secret.sql")
    (place / "aside").symlink_to(tmp_path)
    for path in ("/db.sql", "/aside/secret.sql", "/below"):
        found = source.restored_files({"bytes": 0, "paths": [path]}, place)
        assert [(one.expected, one.found) for one in found] == [("the dump", "missing")]
    with pytest.raises(OSError, match="symbolic links"):
        postgresql_feed.feed(LocalShell(), ["psql"], {}, place / "db.sql")


def test_a_psql_that_cannot_be_kept_from_running_programs_loads_nothing(
    context: MakeContext, postgres: Postgres, database: str, repository: Restic, tmp_path: Path,
    as_path: Callable[[str, str], Path],
) -> None:
    source = source_of(postgres, database)
    captured = source.capture(context())
    dump = restored(repository, captured, tmp_path / "back") / "db.sql"
    # An old psql, as far as this matters: it does not know the command that it is sent.
    real = shutil.which("psql")
    as_path("psql", f"#!/bin/sh\nsed -u 's/^.restrict /\\\\restrictt /' | exec {real} \"$@\"\n")
    with pytest.raises(ProgramFailed, match="too old") as caught:
        source.load(dump, entry(captured), "p_opsctl_1")
    assert "15.14" in str(caught.value.hint)
    assert not source.exists("p_opsctl_1")


def test_renaming_ends_connections_and_takes_no_name_twice(postgres: Postgres, database: str) -> None:
    source = source_of(postgres, database)
    user = LocalShell().open(postgresql_session.argv(LocalShell(), source.address, database))
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
