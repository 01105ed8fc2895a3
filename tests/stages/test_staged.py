"""A portal brought back in stages after an attack: real PostgreSQL, files and a web server, through the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from opsctl.shells import local
from opsctl.sources.postgresql_server import Postgres
from tests.badluck.faults import lines
from tests.machine import Kept
from tests.stages.portal import BAD, GOOD, ROWS, Portal, free_port, new_keys


@pytest.fixture(scope="module")
def server(server_place: Path) -> Iterator[Postgres]:
    with Postgres(server_place / "stages") as made:
        yield made


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("people")
    new_keys(place)
    return place


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, server: Postgres, keys: Path) -> Kept:
    """The portal with one set of it."""
    found = _portal(tmp_path_factory.mktemp("staged") / "m", server, keys)
    found.furnish()
    found.end()
    return Kept(found, tmp_path_factory.mktemp("kept") / "m")


def _portal(root: Path, server: Postgres, keys: Path) -> Portal:
    found = Portal(root)
    found.server, found.port, found.keys = server, free_port(), keys
    return found


@pytest.fixture
def portal(made: Kept, server: Postgres, keys: Path) -> Iterator[Portal]:
    found = _portal(made.again().root, server, keys)
    try:
        found.write()
        found.fill_database()
        yield found
    finally:
        found.end()
        local.reset()


def test_promise_9_nothing_returns_to_production_unproven_and_everything_comes_back_in_stages(portal: Portal) -> None:
    good = portal.server.psql(ROWS, "enagar")
    portal.spoil()
    bad = portal.server.psql(ROWS, "enagar")
    said = portal.json("restore", "run", expect=4)
    run = said.document["run"]
    assert {error["where"] for error in said.errors} == {"database.approve", "uploads.approve"}
    page = portal.root / "board.html"
    portal("status", "--html", str(page), "--lang", "en")
    assert f"<code>opsctl approve {run} database.approve --by NAME</code>" in page.read_text() and "(RTO 4 h)" in page.read_text()
    assert (portal.server.psql(ROWS, "enagar"), portal.files()) == (bad, BAD)
    stages = {one["service"]: one for one in portal.json("restore", "status", expect=0).result["stages"]}
    assert [stages[name]["outcome"] for name in ("database", "uploads", "tax")] == ["waiting", "waiting", "open"]
    assert "2 people have to approve" in stages["database"]["waits_for"][0]

    portal.approve(run, "uploads.approve")
    portal.json("resume", run, expect=4)
    assert (portal.server.psql(ROWS, "enagar"), portal.files()) == (bad, GOOD)
    assert portal.done == []
    stages = {one["service"]: one for one in portal.json("restore", "status", run, expect=0).result["stages"]}
    assert (stages["uploads"]["outcome"], stages["uploads"]["rto_met"], stages["tax"]["outcome"]) == ("done", True, "open")

    portal.approve(run, "database.approve")
    portal.json("resume", run, expect=0)
    assert (portal.server.psql(ROWS, "enagar"), portal.files(), portal.done) == (good, GOOD, ["start"])
    assert "the portal" in portal.page()
    status = portal.json("restore", "status", expect=0).result
    assert {one["service"]: (one["outcome"], one["rto_met"]) for one in status["stages"]} == {
        "database": ("done", True), "uploads": ("done", True), "tax": ("done", True)}
    assert status["state"] == "ended" and status["stages"][0]["rpo_met"] is True and status["rolled_back"] == []
    assert not list((portal.root / "rooms").iterdir())

    told = next(line for line in reversed(lines(portal)) if line["type"] == "run.end")["data"]["stages"]
    assert [(one["service"], one["rto_met"], one["rpo_met"]) for one in told] == [("database", True, True), ("uploads", True, None), ("tax", True, None)]

    (portal.data / "new.txt").write_text("production goes on")
    portal.server.psql("insert into bills values (1000, 1)", "enagar")
    portal.json("resume", run, expect=0)
    assert (portal.data / "new.txt").exists() and portal.server.psql("select count(*) from bills", "enagar") == "501"
    assert portal.done == ["start"] and not list((portal.root / "rooms").iterdir())
    back = portal.json("restore", "rollback", run, "uploads", expect=0).document["run"]
    assert portal.json("restore", "status", run, expect=0).result["rolled_back"] == [back]
    assert f"rolled back since; how that ended: opsctl show {back}" in portal("restore", "status", run, expect=0).out
    portal("journal", "verify", expect=0)


@pytest.mark.full
def test_what_is_found_in_one_service_holds_up_only_what_needs_it_and_a_page_that_is_wrong_is_told(portal: Portal) -> None:
    eicar = "X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-" + "TEST-FILE!$H+H*"
    portal.fill({"bill.com": eicar})
    portal.at("2026-12-13T02:30:00+05:30")
    newest = portal.json("backup", "run", expect=0).result["backups"]["portal"]["set"]
    good = portal.server.psql(ROWS, "enagar")
    portal.spoil()
    said = portal.json("restore", "run", "--set", f"portal={newest}", expect=22)
    run = said.document["run"]
    assert any("bill.com" in error["message"] for error in said.errors)
    portal.approve(run, "database.approve")
    portal.json("resume", run, expect=22)
    assert (portal.server.psql(ROWS, "enagar"), portal.files(), portal.done) == (good, BAD, [])
    stages = {one["service"]: one for one in portal.json("restore", "status", expect=0).result["stages"]}
    assert {name: one["outcome"] for name, one in stages.items()} == {"database": "done", "uploads": "failed", "tax": "open"}
    assert "bill.com" in stages["uploads"]["because"]
    text = portal("restore", "status", expect=0).out
    assert "failed at scan" in text and "RTO 4h" in text


def test_the_set_that_two_people_chose_is_brought_back_and_a_dry_run_changes_nothing(portal: Portal) -> None:
    oldest = portal.json("backup", "list", "portal", expect=0).result["sets"][0]["set"]
    portal.at("2026-12-13T02:30:00+05:30")
    newest = portal.json("backup", "run", expect=0).result["backups"]["portal"]["set"]
    plan = portal.json("restore", "plan", expect=0).result
    assert (plan["stages"][0]["set"], plan["stages"][0]["chosen_by"]) == (newest, [])
    run = portal.json("restore", "choose", "portal", oldest, "--why", "the newer one is bad", expect=4).document["run"]
    portal.approve(run, "agree")
    portal.json("resume", run, expect=0)
    stage = portal.json("restore", "plan", expect=0).result["stages"][0]
    assert (stage["set"], stage["chosen_by"]) == (oldest, ["asha", "imran"])
    portal.spoil()
    before = portal.server.psql(ROWS, "enagar")
    assert "would rename it to enagar; what is there is kept as enagar_before_" in portal("--dry-run", "restore", "run", expect=0).out
    assert (portal.server.psql(ROWS, "enagar"), portal.files()) == (before, BAD)
    assert not list((portal.root / "rooms").iterdir())
