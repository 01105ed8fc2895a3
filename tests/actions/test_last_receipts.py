"""The last receipts before the cut, asked of what a set holds: of its database in a clean room, and of the one that came back."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from opsctl.sources.mariadb_server import Mariadb
from opsctl.sources.postgresql_server import Postgres
from tests.lab.places import open_folder
from tests.machine import Machine, Said

RECEIPTS = ("create table receipts (body text, series text, number int, paid_on date, rupees numeric);"
            "insert into receipts select body, upper(body) || '-P', n, date '2026-12-01' + n % 17, n * 1.5 "
            "from generate_series(1, 500) n, unnest(array['indore', 'rewa']) body where body = 'indore' or n <= 300;")
QUERY = "SELECT body, series, max(number), max(paid_on) FROM receipts GROUP BY 1, 2"


@pytest.fixture(scope="module")
def portal(server_place: Path) -> Iterator[Postgres]:
    with Postgres(server_place / "receipts") as server:
        server.psql("create database enagar;")
        server.psql(RECEIPTS, "enagar")
        yield server


def configure(machine: Machine, portal: Postgres, rooms: Path, query: str = QUERY) -> None:
    machine.configure(
        sources=f"  portal-db: {{kind: postgresql, database: enagar, server: {portal.socket}, port: {portal.port}, user: postgres}}",
        backup_sources="[portal-db]", more=f"""
organisation: {{name: Urban Development, timezone: Asia/Kolkata}}
zones: {{portal: {{title: Portal, public_services: [water]}}}}
bodies: {{indore: {{name: Indore}}, rewa: {{name: Rewa, series: [REWA-P]}}}}
paper: {{last_receipt: {{source: portal-db, query: "{query}"}}}}
clean_room: {{place: {rooms}}}
""")


LEDGER = ("create table receipts (body text, series text, number int, paid_on date);"
          "insert into receipts values ('indore', 'INDORE-P', 499, '2026-12-02'), ('indore', 'INDORE-P', 500, '2026-12-17'), ('rewa', 'REWA-P', 300, '2026-12-16');")


@pytest.mark.parametrize("kind", ["mariadb", "sqlite"])
def test_other_databases_are_asked_as_well_and_nothing_is_written(_made_machine: Path, server_place: Path, tmp_path: Path, kind: str) -> None:
    root = tmp_path / "m"
    shutil.copytree(_made_machine, root, symlinks=True)
    machine = Machine(root)
    with contextlib.ExitStack() as stack:
        rooms = stack.enter_context(open_folder())
        if kind == "mariadb":
            server = stack.enter_context(Mariadb(server_place / "receipts-m"))
            server.sql(f"create database enagar; use enagar; {LEDGER}")
            source = f"portal-db: {{kind: mariadb, database: enagar, server: {server.socket}, user: root}}"
        else:
            source = f"portal-db: {{kind: sqlite, path: {root}/ledger.db}}"
            with contextlib.closing(sqlite3.connect(root / "ledger.db")) as database:
                database.executescript(LEDGER)

        def ask(query: str, *more: str) -> Said:
            machine.configure(sources=f"  {source}", backup_sources="[portal-db]", more=f"""
organisation: {{name: Urban Development, timezone: Asia/Kolkata}}
zones: {{portal: {{title: Portal, public_services: [water]}}}}
bodies: {{indore: {{name: Indore}}, rewa: {{name: Rewa, series: [REWA-P]}}}}
paper: {{last_receipt: {{source: portal-db, query: "{query}"}}}}
clean_room: {{place: {rooms}}}
""")
            return machine.json("paper", "receipts", "--incident", "inc-1", *more) if more else machine.json("doctor", "--offline")

        ask(QUERY)
        machine("backup", "run", expect=0)
        machine.at("2026-12-21T03:00:00+05:30")
        machine("incident", "open", "inc-1", "--title", "Portal encrypted", "--noticed-at", "2026-12-21T02:30+05:30", "--noticed-by", "operator", "--signal",
                "files renamed", "--in-charge", "asha", "--type", "malicious-code", "--zone", "portal", expect=0)
        machine("paper", "order", "--since", "2026-12-21T10:00+05:30", expect=0)
        machine("restore", "room", "portal", "--room", "tried", expect=0)
        for where in (("--room", "tried"), ("--restored-database",)):
            for query, day in ((QUERY, "2026-12-17"), ("SELECT body, series, max(number) FROM receipts GROUP BY 1, 2;", "")):
                asked = ask(query, *where)
                assert asked.code == 0, asked.out
                said = [one["data"] for one in machine.json("journal", "show").result["lines"] if one["type"] == "incident.last-receipts"][-1]
                assert next((one["body"], one["series"], one["number"], one["date"] or "") for one in said["rows"]) == ("indore", "INDORE-P", 500, day), said
        assert ask("SELECT 1, 2, 3, 4, 5", "--room", "tried").code in (10, 20)
        assert ask("WITH gone AS (SELECT 1) DELETE FROM receipts", "--restored-database").code in (10, 20)
        assert ask(QUERY, "--restored-database").code == 0
        machine("restore", "clear", "tried", expect=0)


def test_the_last_receipts_of_the_chosen_set_are_asked_in_its_clean_room(_made_machine: Path, portal: Postgres, tmp_path: Path) -> None:
    root = tmp_path / "m"
    shutil.copytree(_made_machine, root, symlinks=True)
    machine = Machine(root)
    with open_folder() as rooms:
        configure(machine, portal, rooms)
        machine("backup", "run", expect=0)
        set_id = machine.json("backup", "list", expect=0).result["sets"][-1]["set"]
        portal.psql("insert into receipts select 'indore', 'INDORE-P', n, '2026-12-20', 1 from generate_series(501, 512) n;", "enagar")
        machine.at("2026-12-21T03:00:00+05:30")
        machine("incident", "open", "inc-1", "--title", "Portal encrypted", "--noticed-at", "2026-12-21T02:30+05:30", "--noticed-by", "operator", "--signal",
                "files renamed", "--in-charge", "asha", "--type", "malicious-code", "--zone", "portal", expect=0)
        machine("paper", "order", "--since", "2026-12-21T10:00+05:30", expect=0)
        assert "there is no clean room 'tried'" in machine("paper", "receipts", "--room", "tried", expect=2).err
        machine("restore", "room", "portal", "--room", "tried", expect=0)
        machine("paper", "receipts", "--room", "tried", expect=0)
        assert [(one["body"], one["series"], one["restored"]) for one in machine.json("paper", "receipts").result["last"]] == [
            ("indore", "INDORE-P", 500), ("rewa", "REWA-P", 300)]
        last = next(one["data"] for one in machine.json("journal", "show").result["lines"] if one["type"] == "incident.last-receipts")
        assert f"of set {set_id}, proven in the clean room tried" in last["origin"] and last["rows"][0]["date"] == "2026-12-17"
        cut = root / "cut.csv"
        cut.write_text("body,number\nindore,INDORE-P-512\nrewa,REWA-P-300\n")
        machine("paper", "receipts", "--cut", str(cut), expect=0)
        found = {one["body"]: [each["id"] for each in one["findings"]] for one in machine.json("paper", "reconcile", expect=3).result["bodies"]}
        assert found == {"indore": ["lost:INDORE-P:501-512"], "rewa": []}
        # The database itself, as it is now, holds what was paid since.
        machine("paper", "receipts", "--restored-database", expect=0)
        assert machine.json("paper", "reconcile", expect=0).result["open"] == 0
        configure(machine, portal, rooms, "WITH gone AS (DELETE FROM receipts RETURNING 1) SELECT 'indore', 'P', 1")
        assert machine("paper", "receipts", "--restored-database").code in (20, 10)
        assert portal.psql("select count(*) from receipts", "enagar").strip() == "812"
        machine("restore", "clear", "tried", expect=0)
