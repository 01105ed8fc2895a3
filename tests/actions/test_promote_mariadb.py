"""Bringing a MariaDB database into production, which the server cannot rename: by moving its tables, finished after any kill."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from opsctl.sources import mariadb_naming
from opsctl.sources.mariadb_server import Mariadb
from tests.actions.test_promote import OTHER, set_of
from tests.lab.mariadb import content
from tests.lab.promotion import RUN, perform
from tests.machine import Machine

KEPT = "shop_before_20261220_0832"
BACK = "shop_promoted_20261220_0832"


@pytest.fixture(scope="module")
def server(server_place: Path) -> Iterator[Mariadb]:
    with Mariadb(server_place / "promote-mariadb") as made:
        made.sql("CREATE USER clerk@localhost")
        yield made


def make(server: Mariadb) -> dict[str, tuple[int, int, str]]:
    server.sql("CREATE DATABASE shop; GRANT SELECT ON shop.* TO clerk@localhost;")
    server.sql("""
        CREATE TABLE bills (id INT PRIMARY KEY, paise INT); CREATE TABLE changes (what INT);
        INSERT INTO bills SELECT seq, seq * 7 FROM seq_1_to_200;
        CREATE VIEW dear AS SELECT id FROM bills WHERE paise > 1000;
        CREATE TRIGGER noted AFTER INSERT ON bills FOR EACH ROW INSERT INTO changes VALUES (NEW.id);
        CREATE PROCEDURE say() SELECT 1;""", "shop")
    return content(server, "shop")


def spoil(server: Mariadb) -> dict[str, tuple[int, int, str]]:
    server.sql("UPDATE bills SET paise = 0; CREATE TABLE ransom (note TEXT)", "shop")
    return content(server, "shop")


def works(server: Mariadb, database: str) -> bool:
    """Whether its trigger, view and procedure are there and are its own."""
    said = server.sql("INSERT INTO bills VALUES (9999, 1); SELECT COUNT(*) FROM changes WHERE what = 9999; CALL say();"
                      "DELETE FROM bills WHERE id = 9999; DELETE FROM changes; SELECT COUNT(*) >= 0 FROM dear", database)
    return said.split() == ["1", "1", "1"]


def names(server: Mariadb) -> set[str]:
    return set(server.sql("SHOW DATABASES LIKE 'shop%'").split())


def drop_all(server: Mariadb) -> None:
    for name in names(server):
        server.sql(f"DROP DATABASE `{name}`")
    server.sql("REVOKE ALL PRIVILEGES, GRANT OPTION FROM clerk@localhost")


@pytest.fixture
def backed_up(machine: Machine, server: Mariadb) -> Iterator[tuple[Machine, dict[str, Any], dict[str, Any], dict[str, Any]]]:
    """A machine, what the set holds, what production holds now, and how the promotion is asked for."""
    machine.configure(sources=f"  db: {{kind: mariadb, database: shop, server: {server.socket}, user: root}}", backup_sources="[db]")
    good = make(server)
    machine("backup", "run", expect=0)
    yield machine, good, spoil(server), {"backup": "portal", "set": set_of(machine), "source": "db", "replace": True, "scratch": str(machine.root)}
    drop_all(server)


def test_both_get_their_names_and_all_that_belongs_to_them(
    backed_up: tuple[Machine, dict[str, Any], dict[str, Any], dict[str, Any]], server: Mariadb
) -> None:
    machine, good, bad, asked = backed_up
    found = perform(machine, "promote", asked)
    assert found.outcome == "changed", found.because
    assert names(server) == {"shop", KEPT}
    assert (content(server, "shop"), content(server, KEPT)) == (good, bad)
    assert works(server, "shop") and works(server, KEPT)
    grants = server.sql("SHOW GRANTS FOR clerk@localhost")
    assert "`shop`.*" in grants
    assert perform(machine, "promote", asked).outcome == "ok"
    assert perform(machine, "rollback", {"promoted": RUN}, run=OTHER).outcome == "changed"
    assert names(server) == {"shop", BACK}
    assert (content(server, "shop"), content(server, BACK)) == (bad, good)
    assert works(server, "shop") and works(server, BACK)
    assert perform(machine, "rollback", {"promoted": RUN}, run=OTHER).outcome == "ok"
    assert [one["name"] for one in machine.json("restore", "kept", expect=0).result["kept"]] == [BACK]
    assert perform(machine, "discard", {"kept": BACK, "run": RUN, "said": BACK}, run=OTHER).outcome == "changed"
    assert names(server) == {"shop"}


def cut_off(machine: Machine, asked: dict[str, Any], strikes: Callable[[int, str], bool]) -> bool:
    """Promote in a process of its own that dies before a statement, told by its number and text; whether it died."""
    child = os.fork()
    if not child:
        real, seen = mariadb_naming.run, 0

        def run(door: Any, database: Any, script: str, **more: Any) -> str:
            nonlocal seen
            seen += 1
            if strikes(seen, script):
                os.kill(os.getpid(), signal.SIGKILL)
            return real(door, database, script, **more)

        mariadb_naming.run = run
        perform(machine, "promote", asked)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def finished(machine: Machine, server: Mariadb, asked: dict[str, Any], then: str, good: Any, bad: Any) -> None:
    """Resume it or take it back: all is as if nothing had happened."""
    if then == "resume":
        found = perform(machine, "promote", asked)
        assert found.outcome in ("changed", "ok"), found.because
        assert (content(server, "shop"), content(server, KEPT)) == (good, bad)
        assert works(server, "shop") and works(server, KEPT)
    else:
        found = perform(machine, "rollback", {"promoted": RUN}, run=OTHER)
        assert found.outcome in ("changed", "ok"), found.because
        assert content(server, "shop") == bad and works(server, "shop")
        assert not names(server) & {KEPT}


@pytest.mark.parametrize("then", [pytest.param("resume", marks=pytest.mark.full), "rollback"])
def test_promise_7_killed_when_nothing_has_the_name(
    backed_up: tuple[Machine, dict[str, Any], dict[str, Any], dict[str, Any]], server: Mariadb, then: str
) -> None:
    machine, good, bad, asked = backed_up
    assert cut_off(machine, asked, lambda _, script: "RENAME TABLE" in script and "TO `shop`." in script)
    assert "bills" not in content(server, "shop") and content(server, KEPT) == bad
    finished(machine, server, asked, then, good, bad)


@pytest.mark.full
@pytest.mark.parametrize("then", ["resume", "rollback"])
def test_promise_7_killed_before_every_statement(
    backed_up: tuple[Machine, dict[str, Any], dict[str, Any], dict[str, Any]], server: Mariadb, then: str
) -> None:
    machine, good, bad, asked = backed_up
    for number in range(3, 200):  # before that nothing is written down
        struck = cut_off(machine, asked, lambda seen, _, number=number: seen == number)  # type: ignore[misc]
        finished(machine, server, asked, then, good, bad)
        if not struck:
            break
        drop_all(server)
        make(server)
        spoil(server)
        for run in (RUN, OTHER):
            shutil.rmtree(machine.state / "runs" / run, ignore_errors=True)
    assert number > 20


@pytest.mark.full
def test_tables_that_somebody_holds_stay_with_all_that_belongs_to_them(
    backed_up: tuple[Machine, dict[str, Any], dict[str, Any], dict[str, Any]], server: Mariadb, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody comes in again at once and reads; the server waits for them in vain, and no trigger is lost."""
    machine, good, bad, asked = backed_up
    argv = [shutil.which("mariadb") or "mysql", "--no-defaults", f"--socket={server.socket}", "--user=root", "--unbuffered", "-N", "shop"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as somebody:
        assert somebody.stdin is not None and somebody.stdout is not None
        somebody.stdin.write("BEGIN; SELECT COUNT(*) FROM bills;\n")
        somebody.stdin.flush()
        assert somebody.stdout.readline() == "200\n"
        monkeypatch.setattr(mariadb_naming, "_send_away", lambda door, database: None)
        monkeypatch.setattr(mariadb_naming, "_WITHIN", 1)
        found = perform(machine, "promote", asked)
        assert found.codes[-1] in (11, 20), found.because
        somebody.kill()
    assert content(server, "shop") == bad
    monkeypatch.undo()
    assert perform(machine, "promote", asked).outcome == "changed"
    assert (content(server, "shop"), content(server, KEPT)) == (good, bad)
    assert works(server, "shop") and works(server, KEPT)


def test_triggers_that_went_before_their_tables_are_not_lost(
    backed_up: tuple[Machine, dict[str, Any], dict[str, Any], dict[str, Any]], server: Mariadb
) -> None:
    """The server died between the two statements: the triggers stand nowhere but in what was written down."""
    machine, good, bad, asked = backed_up
    assert cut_off(machine, asked, lambda _, script: "RENAME TABLE" in script)
    server.sql("DROP TRIGGER noted", "shop")
    assert perform(machine, "promote", asked).outcome == "changed"
    assert (content(server, "shop"), content(server, KEPT)) == (good, bad)
    assert works(server, "shop") and works(server, KEPT)
