"""What was pruned is explained to every machine that shares the repository, and nothing else that is missing is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.actions import planting
from tests.lab.quick_key import make_quick
from tests.lab.restserver import RestServer
from tests.machine import Machine
from tests.retention.people import DAY, Shared
from tests.retention.test_prune import ids, planned


@pytest.fixture
def other(filled: Shared, tmp_path: Path) -> Shared:
    """A second machine that shares the store, where nothing can be pruned; it has seen all sets."""
    machine = Shared(tmp_path / "other", filled.people_keys, store=filled.store)
    machine.setting()
    machine.at(DAY.format(4))
    machine("backup", "init", expect=0)
    machine.trusts(filled)
    assert set(machine.states().values()) == {"good"}
    return machine


def prune(machine: Shared, *words: str) -> str:
    """Prune with two people's approval; the run."""
    run, _ = planned(machine, *words)
    machine.approve(run, "asha", "imran")
    machine("resume", run, expect=0)
    return run


def record_of(machine: Machine) -> dict[str, Any]:
    """The record of the only prune."""
    found = next(one for one in machine.snapshots() if "prune" in one["tags"])
    record: dict[str, Any] = json.loads(machine.restic("dump", found["id"], found["paths"][0]))["record"]
    return record


def findings(machine: Shared) -> list[str]:
    said = machine.json("verify")
    return sorted(error["details"].get("kind") for error in said.errors)


def test_what_was_pruned_is_explained_everywhere_and_what_is_gone_besides_is_deleted(filled: Shared, other: Shared) -> None:
    prune(filled)
    assert set(other.states().values()) == {"good"} and findings(other) == []
    other.setting(people=("asha", "meena"))
    assert set(other.states().values()) == {"good"} and findings(other) == [], "the ledger remembers what people agreed to who left"
    other.setting()
    bare = Shared(filled.root / "bare", filled.people_keys, store=filled.store)
    bare.setting()
    bare.at(DAY.format(4))
    bare("backup", "init", expect=0)
    bare.trusts(filled)
    assert findings(bare) == [], "also to one that never saw the pruned sets"
    bare.setting(people=())
    bare.forget()
    bare("backup", "init", expect=0)
    assert findings(bare) == [] and set(bare.states().values()) == {"good"}, "and to one that knows nobody"
    third = min(ids(filled))
    filled.restic("forget", *ids(filled)[third])
    assert other.states()[third] == "deleted" and "snapshot-deleted" in findings(other)


def test_promise_3_a_prune_that_a_stolen_key_forged_explains_nothing_and_hides_nothing(filled: Shared, other: Shared) -> None:
    prune(filled)
    genuine = record_of(filled)
    left = ids(filled)
    third, fourth = sorted(left)
    views = {one["set"]: one for one in filled.json("backup", "list").result["sets"]}
    forgotten = [{"set": name, "manifest": views[name]["manifest"], "snapshots": views[name]["snapshots"]} for name in (third, fourth)]
    for number, record in enumerate([
        {**genuine, "forgotten": forgotten},
        {**genuine, "forgotten": forgotten, "consent": {**genuine["consent"], "approvals": []}},
        {**genuine, "forgotten": [*genuine["forgotten"], forgotten[0]]},
    ]):
        planting.plant(filled, {**record, "run": f"forged-{number}"}, filled.etc / "keys" / "controller", mark="prune")
    other.setting(people=())
    assert sorted(other.states().items())[2:] == [(third, "good"), (fourth, "good")], "nobody can tell there, and no set is hidden"
    other.setting()
    for machine in (filled, other):
        assert machine.states() == {third: "good", fourth: "good"}
        assert findings(machine) == ["prune-forged"] * 3
    filled.restic("forget", *left[third])
    assert other.states()[third] == "deleted"


@pytest.mark.full
def test_sets_that_nobody_will_finish_go_only_where_that_is_asked(filled: Shared) -> None:
    filled.restic("backup", "--time", "2026-11-01 00:00:00", "--tag", "opsctl,backup=portal,set=20261101-0000-abcd,source=files",
                  str(filled.data))
    filled.restic("backup", "--time", "2026-12-03 00:00:00", "--tag", "opsctl,backup=portal,set=20261203-0000-abcd,source=files",
                  str(filled.data))
    said = filled("--dry-run", "backup", "prune", "portal", expect=0)
    assert "1 set without a manifest that nobody will finish: 20261101-0000-abcd; --unfinished gives them up as well" in said.out
    prune(filled)
    assert "20261101-0000-abcd" in ids(filled)
    prune(filled, "--unfinished")
    assert "20261101-0000-abcd" not in ids(filled) and "20261203-0000-abcd" in ids(filled), "a set of yesterday may still be finished"
    assert findings(filled) == []


@pytest.fixture
def server(server_place: Path) -> Iterator[RestServer]:
    with RestServer(server_place / "retention", append_only=True) as server:
        yield server


@pytest.mark.lab
def test_promise_3_an_append_only_store_is_pruned_behind_its_server(filled: Shared, server: RestServer) -> None:
    """The machine of the store reaches it by the server, as everybody does, and prunes its folder as the server's account."""
    folder = server.repository_path("portal")
    shutil.copytree(filled.store, folder)
    account = server.directory.stat()
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, account.st_uid, account.st_gid)
    before = ids(filled)
    url = server.repository_url("portal")
    filled.setting(url=url, repository=f", append_only: true, maintenance: {{url: {folder}}}")
    filled.restic("forget", *before[min(before)], repository=url)
    assert set(filled.states()) == set(before), "its everyday door refuses"
    prune(filled)
    assert len(filled.states()) == 2 and set(filled.states().values()) == {"good"}
    assert {path.stat().st_uid for path in folder.rglob("*")} == {account.st_uid}
    filled.at(DAY.format(5))
    filled("backup", "run", expect=0)
    filled("verify", "--level", "data", "--share", "all", expect=0)


def test_a_copy_is_pruned_by_itself_and_stays_frozen_with_its_home(filled: Shared) -> None:
    second = filled.root / "second"
    password = filled.etc / "keys" / "repository-password"
    filled.setting(repositories=f"  second: {{url: {second}, password_file: {password}, maintenance: {{url: {second}}}}}",
                   more=", copies: [second]", keep="keep: {weekly: 2}")
    filled("backup", "init", "second", expect=0)
    make_quick(second, "for tests only", filled.state / "repositories" / "second.json")
    *earlier, friday, monday, tuesday = sorted([*ids(filled), *filled.sets(7, 8)])
    run, found = planned(filled, "--repository", "second")
    assert found["goes"] == [*earlier, monday]
    filled.approve(run, "asha", "imran")
    filled("backup", "freeze", "main", "--incident", "INC-9", expect=0)
    assert "main is frozen for incident INC-9" in filled.json("resume", run, expect=23).errors[0]["message"]
    filled.thaw("INC-9", "asha", "imran")
    filled("resume", run, expect=0)
    filled("backup", "copy", "portal", expect=0)
    listed = filled.json("backup", "list", expect=0).result["sets"]
    assert len(listed) == 6 and [one["set"] for one in listed if one["copies"]] == [friday, tuesday], "nothing is copied anew"
    filled.store.rename(filled.root / "away")
    assert "its copy may be the last" in filled.json("backup", "prune", "portal", "--repository", "second", expect=23).errors[0]["message"]
