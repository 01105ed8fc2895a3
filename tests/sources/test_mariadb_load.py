"""MariaDB: everything that is needed to load a dump elsewhere, and what differs afterwards."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

from opsctl.errors import DamagedData, ProgramFailed, SafetyRefusal, UsageError
from opsctl.repositories.restic import Restic
from opsctl.sources import mariadb_accounts, mariadb_load, mariadb_naming, mariadb_proof
from opsctl.sources.mariadb_server import Mariadb
from tests.lab.mariadb import RICH, source_of, where
from tests.sources.conftest import MakeContext, entry, restored


@pytest.fixture(scope="session")
def rich_schema(mariadb: Mariadb) -> str:
    """A database with one of everything; read only in tests."""
    mariadb.sql(RICH)
    return "rich"


def test_promise_10_everything_comes_back_on_a_server_that_knows_nothing(
    repository: Restic, context: MakeContext, mariadb: Mariadb, bare_mariadb: Mariadb, rich_schema: str, tmp_path: Path
) -> None:
    bare = bare_mariadb
    source = source_of(mariadb, rich_schema)
    assert source.check(None) == []
    captured = source.capture(context())
    kept = entry(captured)
    assert captured.problems == () and captured.files == 1 and captured.paths == ("/db.sql",)
    assert captured.proof["tables"]["all_types"]["rows"] == 302 and captured.proof["tables"]["history"]["rows"] == 3
    place = restored(repository, captured, tmp_path / "back")
    assert source.restored_files(kept, place) == []

    # A user of that name which is there already is somebody's, and keeps its password.
    bare.sql("CREATE USER portal@'10.%' IDENTIFIED BY 'another'")
    stranger = bare.sql("SHOW CREATE USER portal@'10.%'")
    source.load(place / "db.sql", kept, "r_opsctl_1", server=where(bare))
    assert source.prove(kept, "r_opsctl_1", server=where(bare)) == []
    source.rename("r_opsctl_1", "new one", server=where(bare))
    assert source.prove(kept, "new one", server=where(bare)) == []
    assert not source.exists("r_opsctl_1", server=where(bare)) and source.exists("new one", server=where(bare))

    assert bare.sql("SHOW CREATE USER portal@'10.%'") == stranger
    assert "opsctl" not in bare.sql("SELECT User, Db FROM mysql.db; SELECT User, Db FROM mysql.tables_priv;"
                                    "SELECT User, Db FROM mysql.procs_priv;")
    for account in ("portal@'10.%'", "reader@localhost", "`o'dd \"user`@'%'", "clerks"):
        before = mariadb.sql(f"SHOW GRANTS FOR {account}").replace("`rich`", "`new one`").splitlines()
        after = bare.sql(f"SHOW GRANTS FOR {account}").splitlines()
        if account.startswith("reader"):  # given by a pattern, which is for the old server's other databases as well
            before = [line.replace("`r_ch`", "`new one`") for line in before]
        ours = [line for line in before if "`new one`" in line or "`clerks` " in line]
        assert ours and set(ours) <= set(after), account
    assert not [line for line in bare.sql("SHOW GRANTS FOR portal@'10.%'").splitlines() if "PROCESS" in line]
    assert bare.sql("SELECT COUNT(*) FROM mysql.user WHERE User = 'stranger'") == "0"

    # It works there: triggers, routines, views, sequences, and what refers to each other.
    works = "INSERT INTO bodies VALUES (99, 'x'); INSERT INTO bills VALUES (999, 99, 5); DELETE FROM bills WHERE id = 999;"
    assert bare.sql(f"{works} SELECT * FROM changes; SELECT n > 0 FROM a_view_of_it;", "new one") == "made\t999\ngone\t999\n1"
    assert int(bare.sql("INSERT INTO all_types () VALUES (); SELECT MAX(receipt) FROM all_types", "new one")) >= 5100
    assert bare.sql("CALL `raise`(1, @n); SELECT @n > 400;", "new one") == "1"
    assert bare.sql("SELECT id, v FROM history FOR SYSTEM_TIME ALL ORDER BY id, v", "new one") == "1\t1\n1\t10\n2\t2"


CHANGES = {
    "UPDATE all_types SET bl = x'deadbeef01' WHERE id = 7": ["table all_types, checksum"],
    "UPDATE all_types SET lt = NULL WHERE id = 7": ["table all_types, checksum"],
    "UPDATE all_types SET lt = IF(lt = '', 'x', '') WHERE id = 7": ["table all_types, checksum"],
    "UPDATE all_types SET d = d + 0.0000000001 WHERE id = 7": ["table all_types, checksum"],
    "UPDATE all_types SET hidden = 4 WHERE id = 7": ["table all_types, checksum"],
    "UPDATE all_types SET v = CONCAT(v, ' ') WHERE id = 7": ["table all_types, checksum"],
    "UPDATE all_types SET b = b ^ 1 WHERE id = 7": ["table all_types, checksum"],
    "UPDATE all_types SET stamp = stamp + INTERVAL 1 SECOND WHERE id = 7": ["table all_types, checksum"],
    "UPDATE no_key SET a = NULL WHERE a = 2": ["table no_key, checksum"],
    "UPDATE no_key SET b = NULL WHERE a = 2": ["table no_key, checksum"],
    "INSERT INTO no_key VALUES (1, 'x')": ["table no_key, rows"],
    "DELETE FROM no_key LIMIT 1": ["table no_key, rows"],
    "DELETE HISTORY FROM history": ["table history, rows"],
    "DROP VIEW big_bills": ["view a_view_of_it, columns", "view big_bills"],
    "DROP TABLE nothing": ["table nothing", "table nothing"],
    "ALTER TABLE all_types DROP KEY by_v": ["table all_types, indexes"],
    "ALTER TABLE no_key MODIFY b VARCHAR(11)": ["table no_key, definition"],
    "ALTER TABLE no_key ENGINE=MyISAM": ["table no_key, engine"],
    "DROP TRIGGER plain": ["table bills, triggers"],
    "DROP PROCEDURE `raise`": ["grants to `o'dd \"user`@`%`, grants", "procedure raise"],
    "ALTER EVENT nightly DISABLE": ["event nightly, definition"],
    "CREATE OR REPLACE FUNCTION rounded(x DOUBLE) RETURNS INT DETERMINISTIC RETURN CEIL(x)": ["function rounded, definition"],
    "ALTER SEQUENCE receipts RESTART 5": ["sequence receipts"],
    "REVOKE SELECT ON {like}.* FROM clerks": ["grants to `clerks`, grants"],
    "REVOKE UPDATE (v) ON {}.all_types FROM `o'dd \"user`@'%'": ["grants to `o'dd \"user`@`%`, grants"],
}


def test_every_change_to_a_restored_copy_is_named(
    repository: Restic, context: MakeContext, mariadb: Mariadb, rich_schema: str, tmp_path: Path
) -> None:
    source = source_of(mariadb, rich_schema)
    captured = source.capture(context())
    kept = entry(captured)
    dump = restored(repository, captured, tmp_path / "back") / "db.sql"
    expected: list[str] = []
    name, like = "c_opsctl_0", r"`c\_opsctl\_0`"  # the name of a whole database in a grant is a pattern
    source.load(dump, kept, name)
    assert source.prove(kept, name) == []
    # One after the other in the same copy; what was found before is found again.
    for change, more in CHANGES.items():
        before = [one.where for one in source.prove(kept, name)]
        mariadb.sql(f"SET FOREIGN_KEY_CHECKS = 0; {change.format(name, like=like)}", name)
        after = [one.where for one in source.prove(kept, name)]
        expected = sorted(where for where in {*after} - {*before} if ", id " not in where)
        if not set(more) <= set(before):
            assert expected == sorted({*more} - {*before}), change
    source.drop(name)
    assert "opsctl" not in mariadb.sql("SELECT Db FROM mysql.db; SELECT Db FROM mysql.tables_priv;")


def small(server: Mariadb, schema: str) -> None:
    server.sql(
        f"""
        CREATE SEQUENCE s; CREATE TABLE p (id INT PRIMARY KEY, n BIGINT DEFAULT NEXTVAL(s));
        CREATE TABLE c (id INT, CONSTRAINT of_p FOREIGN KEY (id) REFERENCES p (id));
        INSERT INTO p (id) VALUES (1), (2); INSERT INTO c VALUES (1);
        CREATE VIEW v AS SELECT p.id FROM p JOIN c ON c.id = p.id;
        CREATE TRIGGER `{schema}`.t AFTER INSERT ON `{schema}`.c FOR EACH ROW INSERT INTO p (id) VALUES (NEW.id + 100);
        CREATE PROCEDURE pr() SELECT 1;
        CREATE OR REPLACE USER small@localhost;
        GRANT SELECT, INSERT ON `{schema}`.* TO small@localhost; GRANT EXECUTE ON PROCEDURE `{schema}`.pr TO small@localhost;
        """,
        schema,
    )


def test_a_naming_that_is_cut_off_anywhere_looks_unfinished_and_goes_on(
    repository: Restic, context: MakeContext, mariadb: Mariadb, bare_mariadb: Mariadb, schema: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small(mariadb, schema)
    source, there = source_of(mariadb, schema), where(bare_mariadb)
    captured = source.capture(context())
    kept = entry(captured)
    dump = restored(repository, captured, tmp_path / "back") / "db.sql"
    real = mariadb_naming.run

    class CutOff(BaseException):
        pass

    left = 0

    def run(*arguments: Any, **named: Any) -> str:
        nonlocal left
        if left == 0:
            raise CutOff
        left -= 1
        return real(*arguments, **named)

    stops = 0
    while True:
        source.load(dump, kept, "n_opsctl_1", server=there)
        left = stops
        monkeypatch.setattr(mariadb_naming, "run", run)
        try:
            source.rename("n_opsctl_1", "named", server=there)
            ended = True
        except CutOff:
            ended = False
            assert not source.exists("named", server=there)
        monkeypatch.setattr(mariadb_naming, "run", real)
        if not ended:
            if not source.exists("n_opsctl_1", server=there):
                # As a resumed restore does, which finds neither name.
                source.load(dump, kept, "n_opsctl_1", server=there)
            source.rename("n_opsctl_1", "named", server=there)
        assert source.exists("named", server=there) and not source.exists("n_opsctl_1", server=there)
        assert source.prove(kept, "named", server=there) == []
        assert bare_mariadb.sql("INSERT INTO c VALUES (2); SELECT id FROM p WHERE id > 100", "named") == "102"
        assert "opsctl" not in bare_mariadb.sql("SHOW DATABASES; SELECT Db FROM mysql.db; SHOW TABLES FROM named;")
        bare_mariadb.sql("DROP DATABASE named; REVOKE ALL ON named.* FROM small@localhost;")
        stops += 1
        if ended:
            break
    assert stops > 5


def test_a_name_that_is_taken_is_never_taken_over(
    repository: Restic, context: MakeContext, mariadb: Mariadb, schema: str, tmp_path: Path
) -> None:
    small(mariadb, schema)
    source = source_of(mariadb, schema)
    captured = source.capture(context())
    dump = restored(repository, captured, tmp_path / "back") / "db.sql"
    source.load(dump, entry(captured), "n_opsctl_2")
    try:
        with pytest.raises(SafetyRefusal, match="already"):
            source.rename("n_opsctl_2", schema)
        mariadb.sql("CREATE DATABASE another; CREATE TABLE another._opsctl_unfinished (content LONGTEXT);"
                    """INSERT INTO another._opsctl_unfinished VALUES ('{"old": "x_opsctl_9", "tables": []}');""")
        with pytest.raises(SafetyRefusal, match="by another restore"):
            source.rename("n_opsctl_2", "another")
        assert source.prove(entry(captured), "n_opsctl_2") == [] and source.exists(schema)
    finally:
        mariadb.sql("DROP DATABASE IF EXISTS another")
        source.drop("n_opsctl_2")


def test_loading_refuses_before_it_touches_anything(
    repository: Restic, context: MakeContext, mariadb: Mariadb, schema: str, tmp_path: Path
) -> None:
    source = source_of(mariadb, schema)
    captured = source.capture(context())
    kept = entry(captured)
    dump = restored(repository, captured, tmp_path / "back") / "db.sql"
    for name, expected, message in [
        (schema, SafetyRefusal, "already"),
        ("x" * 65, UsageError, "1 to 64 letters"),
        ("", UsageError, "1 to 64 letters"),
        ("MySQL", UsageError, "the server's own"),
    ]:
        with pytest.raises(expected, match=message):
            source.load(dump, kept, name)
    for changed, message in [
        ({"server_version": 99040001}, r"is MariaDB 1\d\.\d+\.\d+ and the dump comes from 99\.4\.1"),
        ({"server": "mysql"}, "the dump comes from MySQL and the server is MariaDB"),
        ({"collate": "no_such_ci"}, "does not know collation no_such_ci"),
    ]:
        with pytest.raises(ProgramFailed, match=message):
            source.load(dump, {**kept, "proof": {**kept["proof"], **changed}}, "l_opsctl_1")
    source.refuse_older_here(kept)
    with pytest.raises(ProgramFailed, match=r"programs on this machine are MariaDB 1\d\.\d+\.\d+ and the dump comes from 99\.4\.1"):
        source.refuse_older_here({**kept, "proof": {**kept["proof"], "server_version": 99040001}})
    cut = tmp_path / "cut.sql"
    cut.write_bytes(dump.read_bytes()[: -len(mariadb_accounts.TRAILER) - 2])
    with pytest.raises(DamagedData, match="lacks its end"):
        source.load(cut, kept, "l_opsctl_1")
    assert not source.exists("l_opsctl_1")


def test_a_load_that_fails_leaves_no_database(
    repository: Restic, context: MakeContext, mariadb: Mariadb, schema: str, tmp_path: Path
) -> None:
    small(mariadb, schema)
    source = source_of(mariadb, schema)
    captured = source.capture(context())
    dump = restored(repository, captured, tmp_path / "back") / "db.sql"
    whole = dump.read_bytes()
    dump.write_bytes(whole.replace(b"/*!40111 SET SQL_NOTES=@OLD_SQL_NOTES */;", b"SELECT no_such();"))
    with pytest.raises(ProgramFailed, match=r"could not be loaded into l_opsctl_2: .*no_such"):
        source.load(dump, entry(captured), "l_opsctl_2")
    assert not mariadb.sql("SHOW DATABASES LIKE 'l\\_opsctl%'")


COMMANDS = [
    "\\! touch {harm}", "system touch {harm};", "SELECT 1; \\! touch {harm}", "\\T {harm}\nSELECT 1;", "tee {harm}\nSELECT 1;",
    "\\P cat >{harm}\nSELECT 1;", "\\. {harm}.sql", "source {harm}.sql", "/*M!999999\\! touch {harm} */",
    "LOAD DATA LOCAL INFILE '{harm}.sql' INTO TABLE c;",
]


def test_no_command_of_the_client_in_a_dump_is_run(
    repository: Restic, context: MakeContext, mariadb: Mariadb, schema: str, tmp_path: Path
) -> None:
    small(mariadb, schema)
    source = source_of(mariadb, schema)
    captured = source.capture(context())
    dump = restored(repository, captured, tmp_path / "back") / "db.sql"
    whole, harm = dump.read_bytes(), tmp_path / "harm"
    harm.with_suffix(".sql").write_text(f"system touch {harm}\n\\! touch {harm}\n")
    for words in COMMANDS:
        command = words.format(harm=harm).encode()
        dump.write_bytes(whole.replace(b"-- Dump completed\n", command + b"\n-- Dump completed\n"))
        with pytest.raises((SafetyRefusal, ProgramFailed)) as caught:
            source.load(dump, entry(captured), "c_opsctl_1")
        assert not harm.exists() and not source.exists("c_opsctl_1"), words
        if words.startswith("\\"):
            assert "a command for the client itself in line" in caught.value.message


def test_names_and_rows_that_look_like_commands_come_back_and_are_none(
    repository: Restic, context: MakeContext, mariadb: Mariadb, bare_mariadb: Mariadb, schema: str, tmp_path: Path
) -> None:
    harm = Path(tempfile.mkdtemp(prefix="h")) / "x"  # a name of a table has at most 64 characters
    odd = f"`a\n\\! touch {harm}\n-- x``;'\"`"
    text = f"'x\n\\\\! touch {harm}\n/*!50003 CREATE*/ /*!50017 DEFINER=`a`@`b`*/ ;;\n  `c` nextval(`{schema}`.`s`)'"
    mariadb.sql(f"SET sql_mode = ''; CREATE TABLE {odd} (a TEXT) COMMENT={text}; INSERT INTO {odd} VALUES ({text});"
                f"CREATE VIEW v AS SELECT * FROM {odd}; CREATE PROCEDURE p() COMMENT {text} SELECT {text};"
                f"CREATE SEQUENCE s; CREATE TABLE n (c BIGINT DEFAULT NEXTVAL(s) COMMENT 'nextval(`{schema}`.`s`)');", schema)
    source = source_of(mariadb, schema)
    captured = source.capture(context())
    dump = restored(repository, captured, tmp_path / "back") / "db.sql"
    source.load(dump, entry(captured), "o_opsctl_1", server=where(bare_mariadb))
    source.rename("o_opsctl_1", "odd", server=where(bare_mariadb))
    assert source.prove(entry(captured), "odd", server=where(bare_mariadb)) == []
    assert not harm.exists()
    harm.parent.rmdir()
    bare_mariadb.sql("DROP DATABASE odd")


def test_only_what_a_restore_left_is_dropped(mariadb: Mariadb, schema: str) -> None:
    source = source_of(mariadb, schema)
    mariadb.sql("CREATE TABLE t (a INT)", schema)
    with pytest.raises(SafetyRefusal, match="is not dropped"):
        source.drop(schema)
    assert source.exists(schema)
    mariadb.sql("CREATE DATABASE a_opsctl_b")
    source.drop("a_opsctl_b")
    source.drop("a_opsctl_b")
    assert not source.exists("a_opsctl_b")


def test_a_link_in_the_place_of_a_dump_is_no_dump(mariadb: Mariadb, tmp_path: Path) -> None:
    source, place = source_of(mariadb, "x"), tmp_path / "place"
    place.mkdir()
    (tmp_path / "secret.sql").write_text(f"secret\n{mariadb_accounts.TRAILER}\n")
    (place / "db.sql").symlink_to(tmp_path / "secret.sql")
    (place / "aside").symlink_to(tmp_path)
    for path in ("/db.sql", "/aside/secret.sql"):
        found = source.restored_files({"bytes": 0, "paths": [path]}, place)
        assert [(one.expected, one.found) for one in found] == [("the dump", "missing")]


@pytest.mark.parametrize(
    ("written", "loaded"),
    [
        ("trigger a.t before insert on a.x for each row", "trigger t before insert on x for each row"),
        ("TRIGGER `a`.`t``;` \n AFTER  UPDATE\nON `a` . `x y` FOR EACH ROW", "TRIGGER `t``;` \n AFTER  UPDATE\nON `x y` FOR EACH ROW"),
        ("TRIGGER IF NOT EXISTS t BEFORE DELETE ON x FOR EACH ROW", "TRIGGER IF NOT EXISTS t BEFORE DELETE ON x FOR EACH ROW"),
    ],
)
def test_a_trigger_goes_into_the_database_that_is_loaded(written: str, loaded: str) -> None:
    head, tail = "DELIMITER ;;\n/*!50003 CREATE*/ /*!50017 DEFINER=`root`@`%`*/ /*!50003 ", " SET @a = 'a.x';\n*/;;\n"
    lines = (head + written + tail).encode().splitlines(keepends=True)
    assert b"".join(mariadb_load.at_home(lines, "a", "b")) == (head + loaded + tail).encode()


def test_what_a_program_says_itself_is_left_alone() -> None:
    own = (b"DELIMITER ;;\nCREATE PROCEDURE p()\nSELECT '\n/*!50003 CREATE*/ /*!50017 DEFINER=`x`@`%`*/ /*!50003 TRIGGER a.t BEFORE"
           b" INSERT ON a.x FOR EACH ROW\n  `c` nextval(`a`.`s`)' ;;\nDELIMITER ;\n")
    table = b"CREATE TABLE `t` (\n  `c` int DEFAULT nextval(`a`.`s`)\n);\n"
    assert b"".join(mariadb_load.at_home((own + table).splitlines(keepends=True), "a", "b")) == (
        own + table.replace(b"`a`.`s`", b"`b`.`s`"))


def test_what_stands_in_quotation_marks_beside_a_default_is_left_alone() -> None:
    line = (rb"  `nextval(``a``.` bigint(20) DEFAULT (nextval(`a`.`s`) + length('nextval(`a`.`s`) it\'s')) "
            rb"COMMENT 'nextval(`a`.`s`) it''s'," b"\n")
    (loaded,) = mariadb_load.at_home([line], "a", "b")
    assert loaded == line.replace(b"DEFAULT (nextval(`a`.", b"DEFAULT (nextval(`b`.")


def test_a_program_that_quotes_a_whole_dump_is_left_alone() -> None:
    dump = (b"DELIMITER ;;\nCREATE PROCEDURE p()\nSELECT '\nDELIMITER ;;\n/*!50003 CREATE*/ /*!50017 DEFINER=`x`@`%`*/ /*!50003"
            b" TRIGGER a.t BEFORE INSERT ON a.x FOR EACH ROW\n  SET @x = 1 */\nDELIMITER ;\n  `c` int DEFAULT nextval(`a`.`s`)' ;;\n"
            b"DELIMITER ;\n")
    table = b"  `c` int DEFAULT nextval(`a`.`s`)\n"
    found = b"".join(mariadb_load.at_home((dump + table).splitlines(keepends=True), "a", "b"))
    assert found == dump + table.replace(b"`a`.", b"`b`.")


def test_a_trigger_that_cannot_be_read_is_not_loaded() -> None:
    line = b"DELIMITER ;;\n/*!50003 CREATE*/ /*!50017 DEFINER=`root`@`%`*/ /*!50003 TRIGGER /* in */ a.t BEFORE INSERT ON a.x FOR EACH ROW\n*/;;\n"
    with pytest.raises(ProgramFailed, match="which database it goes into"):
        list(mariadb_load.at_home(line.splitlines(keepends=True), "a", "b"))


def test_versions() -> None:
    assert mariadb_proof.number("10.11.19-MariaDB-0+deb12u1") == 10110019
    assert mariadb_proof.shown(mariadb_proof.number("8.0.46")) == "8.0.46"
    mariadb_load.check_version("11.4.2-MariaDB", {"server": "mariadb", "server_version": 10110019})
    with pytest.raises(ProgramFailed):
        mariadb_load.check_version("10.6.1-MariaDB", {"server": "mariadb", "server_version": 10110019})
