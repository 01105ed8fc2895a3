"""Whatever speaks against a prune is a reason against it (23), told before anybody is asked and again before anything is done."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.actions import planting
from tests.machine import flip_content, tree
from tests.retention.people import DAY, Shared
from tests.retention.test_prune import ids, planned

GATELESS = """
name: {name}
title: {{en: Prune at once, hi: तुरंत हटाएँ}}
inputs:
  sets:   {{type: list, help: the sets}}
  forget: {{type: list, help: their snapshots}}
steps:
{gate}
  - {{id: prune, uses: prune, with: {{backup: portal, repository: main, sets: "${{sets}}", forget: "${{forget}}"}}}}
"""


def reasons(machine: Shared, *words: str) -> str:
    """Why a prune is refused; nothing was changed by asking."""
    before = tree(machine.store)
    error = machine.json("backup", "prune", "portal", *words, expect=23).errors[0]
    assert tree(machine.store) == before
    assert error["hint"], "a refusal says what to do"
    return str(error["message"])


def agreed(machine: Shared) -> str:
    """A prune that two people have approved and nobody has begun."""
    run, _ = planned(machine)
    machine.approve(run, "asha", "imran")
    return run


def signals(machine: Shared, verdict: str) -> str:
    """A set whose manifest says that; its id."""
    record = {**planting.newest(machine), "set": "20261203-2200-beef", "time": DAY.format(4).replace("02:30", "03:30")}
    entry = {"verdict": verdict, "reasons": ["all of it changed"], "notes": [], "examples": [], "numbers": {}}
    record["signals"] = {"format": "opsctl-signals/1", "verdict": verdict, "sources": {"files": entry}}
    planting.plant(machine, record, machine.etc / "keys" / "controller")
    return str(record["set"])


def test_promise_3_while_an_incident_is_open(filled: Shared) -> None:
    run = agreed(filled)
    filled("backup", "freeze", "--incident", "INC-7", expect=0)
    before = ids(filled)
    assert "main is frozen for incident INC-7" in reasons(filled)
    assert "frozen for incident INC-7" in filled.json("resume", run, expect=23).errors[0]["message"]
    assert ids(filled) == before


def test_promise_3_while_a_set_of_the_ledger_is_missing(filled: Shared) -> None:
    run = agreed(filled)
    first = min(ids(filled))
    filled.restic("forget", *ids(filled)[first])
    assert f"set {first} of portal was in this repository and is gone" in reasons(filled)
    filled("resume", run, expect=23)
    assert len(ids(filled)) == 3
    filled.restic("recover")


def test_promise_3_while_damage_is_known(filled: Shared) -> None:
    flip_content(filled.data / "bill", filled.store, "for tests only")
    filled("verify", "--level", "data", "--share", "all", expect=22)
    assert "main is damaged: pack" in reasons(filled)


def test_promise_3_after_a_suspect_set_until_people_know_that_it_is_harmless(filled: Shared) -> None:
    run = agreed(filled)
    name = signals(filled, "suspect")
    assert f"set {name} looks like an attack" in reasons(filled)
    filled("resume", run, expect=23)
    filled("--dry-run", "backup", "prune", "portal", "--accept", name, expect=0)
    filled("backup", "prune", "portal", "--accept", "20261203-2200-dead", expect=2)


def test_promise_3_while_a_set_of_ours_is_from_the_future(filled: Shared) -> None:
    record = {**planting.newest(filled), "set": "20991203-2200-beef", "time": "2099-01-01T00:00:00+00:00"}
    planting.plant(filled, record, filled.etc / "keys" / "controller")
    assert "set 20991203-2200-beef is dated in the future: a clock was wrong" in reasons(filled)
    found = filled.json("--dry-run", "backup", "prune", "portal", "--accept", "20991203-2200-beef", expect=0).result
    assert len(found["goes"]) == 2 and "20991203-2200-beef" not in found["stays"]


def test_promise_3_while_no_new_sets_are_taken_or_the_clock_is_ahead(filled: Shared) -> None:
    filled.at(DAY.format(20))
    assert "the newest set is 16 days old, asked for every 24 h: is this machine's clock right" in reasons(filled)


def test_promise_3_when_none_would_stay_that_was_ever_drilled(shared: Shared) -> None:
    shared.sets(1, 2)
    shared.setting(repository=f", maintenance: {{url: {shared.store}}}", keep="keep: {last: 1}")
    assert "no set that would stay was ever restored to prove it" in reasons(shared)


def test_promise_3_when_fewer_would_stay_than_keep_asks_for(filled: Shared) -> None:
    newest = max(ids(filled))
    said = filled.json("run", "prune", "--set", "backup=portal", "--set", "repository=main", "--set", f"sets={newest}",
                       "--set", f"forget={','.join(ids(filled)[newest])}", expect=4)
    run = str(said.document["run"])
    filled.approve(run, "asha", "imran")
    assert f"set {newest} would have to stay: daily 1, drilled" in filled.json("resume", run, expect=23).errors[0]["message"]
    assert len(ids(filled)) == 4


def test_promise_3_when_snapshots_are_named_that_are_of_no_set_that_may_go(filled: Shared) -> None:
    first, *_, newest = sorted(ids(filled))
    said = filled.json("run", "prune", "--set", "backup=portal", "--set", "repository=main", "--set", f"sets={first}",
                       "--set", f"forget={','.join(ids(filled)[newest])}", expect=4)
    filled.approve(str(said.document["run"]), "asha", "imran")
    error = filled.json("resume", str(said.document["run"]), expect=23).errors[0]
    assert "is of no set that may go" in error["message"] and len(ids(filled)) == 4


@pytest.mark.parametrize("gate", ["", "  - {id: agree, uses: approve, with: {people: 1}}"])
def test_promise_3_without_two_approvals_whatever_a_playbook_says(filled: Shared, gate: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first, *_ = sorted(ids(filled))
    place = filled.etc / "playbooks"
    place.mkdir()
    (place / "at-once.yaml").write_text(GATELESS.format(name="at-once", gate=gate))
    words = ["run", "at-once", "--set", f"sets={first}", "--set", f"forget={','.join(ids(filled)[first])}"]
    before = tree(filled.store)
    assert f"prune takes 2 people who approve it at a step `approve` before it, and {'before it only 1 is' if gate else 'nobody was'} asked" in \
        filled.json(*words, expect=23).errors[0]["message"]
    monkeypatch.setattr("opsctl.cli.work.refuse_hopeless", lambda *_: None)  # a run that an older version began
    if gate:
        run = str(filled.json(*words, expect=4).document["run"])
        filled.approve(run, "asha")
        error = filled.json("resume", run, expect=23).errors[0]
        assert "it takes the approval of 2 people, and asha approved" in error["message"]
    else:
        assert "nobody was asked to approve this" in filled.json(*words, expect=23).errors[0]["message"]
    assert tree(filled.store) == before


def test_promise_3_through_no_other_door(filled: Shared) -> None:
    filled.setting()
    assert "repository main has no maintenance door" in reasons(filled)
    filled.setting(repository=f", maintenance: {{url: {filled.root}/elsewhere}}")
    assert "main is pruned on the machine that holds it" in reasons(filled)
    filled.setting(repository=f", maintenance: {{url: {filled.store}}}", keep="")
    assert "has no keep:" in reasons(filled)


def test_promise_3_where_another_repository_lies_behind_the_door(filled: Shared) -> None:
    other = filled.root / "another"
    shutil.copytree(filled.store, other)
    (other / "config").chmod(0o600)
    (other / "config").write_bytes(os.urandom(155))
    filled.setting(repository=f", maintenance: {{url: {other}}}")
    filled.json("backup", "prune", "portal", expect=22)


def test_promise_3_where_a_store_locks_its_objects(filled: Shared) -> None:
    filled.setting(url="s3:http://127.0.0.1:9/bucket/portal", repository=", access_key_env: A, secret_key_env: B, "
                   f"object_lock: {{mode: COMPLIANCE, days: 30}}, maintenance: {{url: {filled.store}}}")
    assert "locks its objects for 30 days" in reasons(filled)


def test_a_snapshot_dated_2099_changes_nothing(filled: Shared) -> None:
    goes = planned(filled)[1]["goes"]
    filled.restic("backup", "--time", "2099-01-01 00:00:00", "--tag", "opsctl,backup=portal,set=20990101-0000-beef,source=files",
                  str(filled.data))
    filled.restic("backup", "--time", "2099-01-01 00:00:00", str(filled.data))
    filled("verify", expect=22)
    run, found = planned(filled)
    assert found["goes"] == goes
    filled.approve(run, "asha", "imran")
    filled("resume", run, expect=0)
    assert len([one for one in filled.snapshots() if one["time"].startswith("2099")]) == 2
    assert [state for name, state in filled.states().items() if not name.startswith("2099")] == ["good", "good"]
