"""A portal brought back in stages after an attack: real PostgreSQL, files and a web server, through the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from opsctl.shells import local
from opsctl.sources.postgresql_server import Postgres
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


@pytest.fixture
def portal(tmp_path: Path, server: Postgres, keys: Path) -> Iterator[Portal]:
    found = Portal(tmp_path / "m")
    found.server, found.port, found.keys = server, free_port(), keys
    try:
        found.furnish()
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
    assert status["state"] == "ended" and status["stages"][0]["rpo_met"] is True
    assert not list((portal.root / "rooms").iterdir())

    (portal.data / "new.txt").write_text("production goes on")
    portal.server.psql("insert into bills values (1000, 1)", "enagar")
    portal.json("resume", run, expect=0)
    assert (portal.data / "new.txt").exists() and portal.server.psql("select count(*) from bills", "enagar") == "501"
    assert portal.done == ["start"] and not list((portal.root / "rooms").iterdir())
    portal("journal", "verify", expect=0)
