"""MariaDB: dump and proof from one moment, or nothing."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from opsctl.errors import Busy, Interrupted, OpsError, Partial, ProgramFailed, Refused, Unreachable
from opsctl.model.secrets import SecretRef
from opsctl.repositories.restic import Restic
from opsctl.shells import local
from opsctl.sources import mariadb as driver
from opsctl.sources import mariadb_session
from opsctl.sources.mariadb_server import LOOPBACK, Mariadb
from opsctl.sources.mariadb_session import quote_ident
from tests.lab.mariadb import Writer, source_of
from tests.sources.conftest import MakeContext, entry, restored
from tests.sources.databases import until

#: Outside of the test's own PATH, so that a stand-in does not call itself.
REAL_DUMP = shutil.which("mariadb-dump") or "/usr/bin/mariadb-dump"


def fake_dump(body: str) -> str:
    return f'#!/bin/sh\nfor word; do case "$word" in --version) exec {REAL_DUMP} --version;; esac; done\n{body}\n'


def others(server: Mariadb) -> str:
    """How many connections there are beside the one that asks."""
    return server.sql("SELECT COUNT(*) - 1 FROM information_schema.PROCESSLIST WHERE USER <> 'system user'")


@pytest.mark.parametrize("engine", ["InnoDB", "MyISAM"])
def test_promise_1_the_proof_equals_the_restored_copy_under_writes(
    repository: Restic, context: MakeContext, mariadb: Mariadb, schema: str, tmp_path: Path, engine: str
) -> None:
    source = source_of(mariadb, schema)
    with Writer(mariadb, schema).prepare(engine):
        first, second = source.capture(context()), source.capture(context())
    assert first.proof["tables"] != second.proof["tables"], "the writer did not write"
    for number, captured in enumerate((first, second)):
        place = restored(repository, captured, tmp_path / f"back{number}")
        source.load(place / "db.sql", entry(captured), "w_opsctl_1")
        assert source.prove(entry(captured), "w_opsctl_1") == []
        counted = mariadb.sql("SELECT (SELECT COUNT(*) FROM bills) - number FROM totals", "w_opsctl_1")
        if engine == "InnoDB":  # what one transaction changed together is together in the copy
            assert counted == "0"
            assert captured.notes == () and captured.proof["locked"]["tables"] == []
        else:
            assert captured.proof["locked"]["tables"] == ["bills (MyISAM)"]
            assert "nobody could write" in captured.notes[0] and "bills (MyISAM)" in captured.notes[0]
        source.drop("w_opsctl_1")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (f'{REAL_DUMP} "$@" | head -c 2000', "stopped before its end"),
        (f'{REAL_DUMP} "$@" | head -c 2000; exit 3', r"mariadb-dump failed \(3\)"),
        (":", "mariadb-dump wrote nothing"),
        (f'{REAL_DUMP} "$@" | grep -v "Dump completed"', "stopped before its end"),
        (f'{REAL_DUMP} "$@" | head -c 2000; kill -9 $$', "mariadb-dump was ended by SIGKILL"),
        ("echo mariadb-dump: no luck today >&2; exit 1", r"mariadb-dump failed \(1\): mariadb-dump: no luck today"),
    ],
)
def test_promise_1_a_dump_that_is_not_whole_leaves_nothing(
    repository: Restic, context: MakeContext, mariadb: Mariadb, schema: str,
    as_path: Callable[[str, str], Path], body: str, says: str,
) -> None:
    mariadb.sql("CREATE TABLE t AS SELECT seq, REPEAT('x', 100) AS x FROM seq_1_to_1000;", schema)
    as_path("mariadb-dump", fake_dump(body))
    with pytest.raises(ProgramFailed, match=says):
        source_of(mariadb, schema).capture(context())
    assert repository.snapshots() == []
    until(lambda: others(mariadb) == "0", "the end of our sessions")


def test_a_dump_that_does_not_begin_holds_nobody(
    repository: Restic, context: MakeContext, mariadb: Mariadb, schema: str,
    as_path: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch,
) -> None:
    mariadb.sql("CREATE TABLE t (a INT)", schema)
    as_path("mariadb-dump", fake_dump("echo -- a header; exec sleep 600"))
    monkeypatch.setattr(driver, "_BEGIN_WITHIN", 0.2)
    monkeypatch.setattr(driver, "_HEARTBEAT", 0.05)
    with pytest.raises(ProgramFailed, match="writers are not held longer"):
        source_of(mariadb, schema).capture(context())
    mariadb.sql("SET lock_wait_timeout = 1; INSERT INTO t VALUES (1)", schema)
    assert repository.snapshots() == []


def test_a_structure_that_changes_meanwhile_is_no_backup(
    repository: Restic, context: MakeContext, mariadb: Mariadb, schema: str, as_path: Callable[[str, str], Path],
    tmp_path: Path,
) -> None:
    mariadb.sql("CREATE TABLE t (a INT); CREATE TABLE u (a INT);", schema)
    client = f"mariadb --no-defaults --socket={mariadb.socket} --user=root"
    change = f"{client} '{schema}' -e 'RENAME TABLE u TO v'"
    as_path("mariadb-dump", fake_dump(f'{REAL_DUMP} "$@" >{tmp_path}/dump; cat {tmp_path}/dump; {change}'))
    with pytest.raises(ProgramFailed, match="changed while it was dumped: table u, table v"):
        source_of(mariadb, schema).capture(context())
    assert repository.snapshots() == []


def test_somebodys_lock_is_waited_for_and_then_named(
    context: MakeContext, mariadb: Mariadb, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mariadb.sql("CREATE TABLE t (a INT)", schema)
    settings = mariadb_session.SETTINGS.replace(f"lock_wait_timeout = {mariadb_session.LOCK_WITHIN}", "lock_wait_timeout = 1")
    monkeypatch.setattr(mariadb_session, "SETTINGS", settings)
    with (
        mariadb_session.open_door(local.LocalShell(), source_of(mariadb, schema).address, None) as door,
        mariadb_session.Client(door, schema) as other,
    ):
        other.plain("LOCK TABLES t WRITE;")
        with pytest.raises(Busy, match="somebody's lock") as caught:
            source_of(mariadb, schema).capture(context())
    assert "PROCESSLIST" in str(caught.value.hint)


def test_an_interrupt_ends_everything_and_holds_nobody(
    repository: Restic, context: MakeContext, mariadb: Mariadb, schema: str, as_path: Callable[[str, str], Path],
    tmp_path: Path,
) -> None:
    mariadb.sql("CREATE TABLE t (a INT) ENGINE=MyISAM", schema)
    begun = tmp_path / "begun"
    as_path("mariadb-dump", fake_dump(f"{REAL_DUMP} \"$@\" | head -c 3000; touch {begun}; exec sleep 600"))
    caught: list[BaseException] = []

    def take() -> None:
        try:
            source_of(mariadb, schema).capture(context())
        except BaseException as error:
            caught.append(error)

    worker = threading.Thread(target=take)
    worker.start()
    try:
        until(begun.exists, "the dump")
        local.stop()
        worker.join(30)
    finally:
        local.reset()
    assert [type(error) for error in caught] == [Interrupted]
    until(lambda: others(mariadb) == "0", "the end of our sessions")
    mariadb.sql("SET lock_wait_timeout = 1; INSERT INTO t VALUES (1)", schema)
    assert repository.snapshots() == []


def test_a_password_is_in_no_command_line_and_no_environment(
    context: MakeContext, mariadb: Mariadb, schema: str, as_path: Callable[[str, str], Path], tmp_path: Path
) -> None:
    word = "p\"a'ß\\s #;= wörd"
    escaped = word.replace("\\", "\\\\").replace("'", "\\'")
    mariadb.sql(f"CREATE OR REPLACE USER odd@'%' IDENTIFIED BY '{escaped}'; GRANT ALL ON *.* TO odd@'%';")
    log, secret = tmp_path / "log", tmp_path / "secret"
    for name in ("mariadb", "mariadb-dump"):
        as_path(name, f'#!/bin/sh\n{{ echo "$0" "$@"; env; }} >>{log}\nexec {shutil.which(name)} "$@"\n')
    secret.write_text(word + "\n")
    secret.chmod(0o600)
    more = {"server": LOOPBACK, "port": mariadb.port, "user": "odd"}
    source = source_of(mariadb, schema, password=SecretRef("password of odd", file=str(secret)), **more)
    assert source.check(None) == []
    captured = source.capture(context())
    text = log.read_text()
    assert text.count("--defaults-file=") >= 3 and word not in text and "MYSQL_PWD" not in text
    assert word not in str(captured)
    secret.write_text("another\n")
    (problem,) = source.check(None)
    assert problem.code == 12 and "Access denied" in problem.message
    with pytest.raises(Refused):
        source.capture(context())


def test_each_missing_privilege_is_named_with_the_statement_that_gives_it(
    context: MakeContext, mariadb: Mariadb, schema: str
) -> None:
    mariadb.sql("CREATE TABLE t (a INT); CREATE PROCEDURE p() SELECT 1; CREATE VIEW v AS SELECT * FROM t;", schema)
    everything = {
        "SELECT": f"SELECT ON {quote_ident(schema)}.*", "SHOW VIEW": f"SHOW VIEW ON {quote_ident(schema)}.*",
        "TRIGGER": f"TRIGGER ON {quote_ident(schema)}.*", "EVENT": f"EVENT ON {quote_ident(schema)}.*",
        "RELOAD": "RELOAD ON *.*", "SELECT on mysql.user": "SELECT ON mysql.*",
    }
    source = source_of(mariadb, schema, user="weak")
    for missing in everything:
        mariadb.sql("CREATE OR REPLACE USER weak@localhost;")
        for name, grant in everything.items():
            if name != missing:
                mariadb.sql(f"GRANT {grant} TO weak@localhost;")
        if missing == "SELECT":  # without any right in it the database itself would be refused
            assert "SHOW VIEW" in everything
        (problem,) = source.check(None)
        assert problem.code == 12 and problem.message == f"user weak@localhost lacks {missing}"
        mariadb.sql(str(problem.hint))
        assert source.check(None) == []
    assert source.capture(context()).proof["tables"] == {"t": {"rows": 0, "sum": "0"}}
    # By a role that is on it is as good.
    mariadb.sql("CREATE OR REPLACE ROLE backups; CREATE OR REPLACE USER weak@localhost;")
    for grant in everything.values():
        mariadb.sql(f"GRANT {grant} TO backups;")
    mariadb.sql("GRANT backups TO weak@localhost; SET DEFAULT ROLE backups FOR weak@localhost;")
    assert source.check(None) == []
    # Where nothing is locked and no accounts are wanted it takes less.
    mariadb.sql("CREATE OR REPLACE USER weak@localhost;")
    for name in ("SELECT", "SHOW VIEW", "TRIGGER", "EVENT"):
        mariadb.sql(f"GRANT {everything[name]} TO weak@localhost;")
    less = source_of(mariadb, schema, user="weak", proof="off", accounts=False)
    (problem,) = less.check(None)
    assert problem.message == "user weak@localhost lacks SELECT on mysql.proc"
    mariadb.sql("GRANT SELECT ON mysql.proc TO weak@localhost;")
    assert less.check(None) == []
    assert less.capture(context()).proof["level"] == "off"


def test_a_server_that_is_not_there_or_does_not_answer_is_13(
    mariadb: Mariadb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mariadb_session, "ANSWER_WITHIN", 1)
    (problem,) = source_of(mariadb, "x", server=str(tmp_path / "none")).check(None)
    assert problem.code == 13 and "did not answer" in problem.message
    with socket.create_server((LOOPBACK, 0)) as silent:
        (problem,) = source_of(mariadb, "x", server=LOOPBACK, port=silent.getsockname()[1]).check(None)
    assert problem.code == 13 and "did not answer" in problem.message


def test_a_database_that_is_not_there_is_3(context: MakeContext, mariadb: Mariadb) -> None:
    source = source_of(mariadb, "no such")
    (problem,) = source.check(None)
    assert (problem.code, problem.message) == (3, f"there is no database no such at {mariadb.socket}")
    with pytest.raises(Partial):
        source.capture(context())


def test_a_dump_is_the_same_for_the_same_content(
    context: MakeContext, mariadb: Mariadb, schema: str, repository: Restic
) -> None:
    mariadb.sql("CREATE TABLE t (id INT PRIMARY KEY, x INT); INSERT INTO t SELECT seq, seq FROM seq_1_to_2000;", schema)
    source = source_of(mariadb, schema, proof="off")
    first, second = (repository.read(source.capture(context()).snapshot, "/db.sql") for _ in range(2))
    assert first == second


def test_levels_of_proof(context: MakeContext, mariadb: Mariadb, schema: str) -> None:
    mariadb.sql("CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2);", schema)
    kept = {level: entry(source_of(mariadb, schema, proof=level).capture(context())) for level in ("full", "counts", "off")}
    assert set(kept["full"]["proof"]["tables"]["t"]) == {"rows", "sum"}
    assert kept["counts"]["proof"]["tables"] == {"t": {"rows": 2}} and "tables" not in kept["off"]["proof"]
    source = source_of(mariadb, schema)
    mariadb.sql("UPDATE t SET a = 5 WHERE a = 1", schema)
    assert [one.where for one in source.prove(kept["full"], schema)] == ["table t, checksum"]
    assert source.prove(kept["counts"], schema) == []
    mariadb.sql("DELETE FROM t WHERE a = 5", schema)
    assert [str(one) for one in source.prove(kept["counts"], schema)] == ["table t, rows: expected 2, found 1"]
    assert source.prove(kept["off"], schema) == []


def test_a_dump_of_less_than_half_shows(context: MakeContext, mariadb: Mariadb, schema: str) -> None:
    (problem,) = source_of(mariadb, schema).capture(context(previous={"files": 1, "bytes": 10_000_000})).problems
    assert problem.message.startswith("less than half is left") and problem.acceptable


def test_floats_that_lose_digits_are_said(context: MakeContext, mariadb: Mariadb, schema: str) -> None:
    mariadb.sql("CREATE TABLE t (a FLOAT, b DOUBLE); INSERT INTO t VALUES (1.23456789, 0.1 + 0.2e0);", schema)
    (note,) = source_of(mariadb, schema).capture(context()).notes
    assert "t.a" in note and "t.b" not in note


def test_the_tools_of_the_other_make_are_refused(
    mariadb: Mariadb, schema: str, as_path: Callable[[str, str], Path]
) -> None:
    as_path("mariadb-dump", "#!/bin/sh\necho 'mysqldump  Ver 8.0.46 for Linux on x86_64 (MySQL Community Server - GPL)'\n")
    (problem,) = source_of(mariadb, schema).check(None)
    assert problem.code == 20 and "is mysql's" in problem.message


def test_a_server_error_keeps_its_number() -> None:
    address = mariadb_session.Address("db-1", 3307, "x")
    for text, kind in (
        ("ERROR 1045 (28000): Access denied for user 'x'@'y' (using password: YES)", Refused),
        ("ERROR 2002 (HY000): Can't connect to server on 'db-1' (115)", Unreachable),
        ("ERROR 1049 (42000): Unknown database 'd'", Partial),
        ("ERROR 1064 (42000) at line 3: You have an error", ProgramFailed),
        ("mariadb: unknown option", ProgramFailed),
    ):
        error: OpsError = mariadb_session.failure(text, address, "d")
        assert isinstance(error, kind)
    assert mariadb_session.number_in(['mariadb-dump: Got error: 1045: "Access denied" when trying to connect']) == 1045
    assert mariadb_session.number_in(["mariadb-dump: Couldn't execute 'SHOW EVENTS': Access denied (1044)"]) == 1044
    assert mariadb_session.number_in(["nothing of the kind"]) is None


def test_what_differs_is_told_by_its_ranges_of_the_key(context: MakeContext, mariadb: Mariadb, schema: str) -> None:
    mariadb.sql("CREATE TABLE bills (id INT PRIMARY KEY, paise INT); INSERT INTO bills SELECT seq, seq * 7 FROM seq_1_to_1601;"
                "CREATE TABLE people (name VARCHAR(9) PRIMARY KEY); INSERT INTO people SELECT seq FROM seq_1_to_300", schema)
    source = source_of(mariadb, schema)
    kept = entry(source.capture(context()))
    assert list(kept["proof"]["ranges"]) == ["bills"] and sum(kept["proof"]["ranges"]["bills"]["rows"]) == 1601
    assert source.prove(kept, schema) == []
    mariadb.sql("UPDATE bills SET paise = 0 WHERE id = 250; DELETE FROM bills WHERE id > 1551; DELETE FROM people WHERE name = '7'", schema)
    assert {one.where: (one.expected, one.found) for one in source.prove(kept, schema)} == {
        "table bills, rows": (1601, 1551), "table bills, id from 201 to below 301": ("100 rows", "other content"),
        "table bills, id from 1501 on": ("101 rows", "51 rows"), "table people, rows": (300, 299)}
