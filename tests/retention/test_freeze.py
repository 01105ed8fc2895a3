"""A freeze is seen by every machine that shares the repository, and two people lift it, not one and not a stolen key."""

from __future__ import annotations

import json
from typing import Any

import pytest

from opsctl.model.records import FREEZE, NAMESPACES, canonical, envelope
from opsctl.model.statements import plan_digest
from opsctl.shells.local import LocalShell
from opsctl.shells.signing import Signer
from tests.machine import Machine
from tests.retention.people import Shared


def test_promise_3_every_machine_sees_a_freeze_and_two_people_lift_it(shared: Shared, other: Shared) -> None:
    said = shared("backup", "freeze", "--incident", "INC-1", expect=0)
    assert "main: frozen for incident INC-1" in said.out
    assert "already as wanted" in str(shared.json("backup", "freeze", "--incident", "INC-1", expect=0).result)
    assert shared.frozen() == other.frozen() == ["INC-1"]
    assert "frozen since 2026-12-12 02:30 IST for incident INC-1" in other("status").out
    run = str(other.json("backup", "thaw", "--incident", "INC-1", expect=4).document["run"])
    other.approve(run, "asha")
    other("resume", run, expect=4)
    assert shared.frozen() == ["INC-1"]
    other.approve(run, "imran")
    other("resume", run, expect=0)
    other("resume", run, expect=0)
    assert shared.frozen() == other.frozen() == []
    shared.forget()
    shared("backup", "init", expect=0)
    assert shared.frozen() == []


def test_a_thaw_lifts_the_freezes_that_people_saw_and_no_later_one(shared: Shared) -> None:
    shared("backup", "freeze", "--incident", "INC-1", expect=0)
    run = str(shared.json("backup", "thaw", "--incident", "INC-1", expect=4).document["run"])
    shared("backup", "freeze", "--incident", "INC-2", expect=0)
    shared.approve(run, "asha", "imran")
    shared("resume", run, expect=0)
    assert shared.frozen() == ["INC-2"]
    assert shared("backup", "thaw", "--incident", "INC-3", expect=0).out.strip() == "nothing is frozen for incident INC-3"


def records(machine: Machine, state: str) -> list[dict[str, object]]:
    """What stands in the repository as freezes or thaws."""
    return [json.loads(machine.restic("dump", one["id"], one["paths"][0])) for one in machine.snapshots() if f"state={state}" in one["tags"]]


def plant(machine: Shared, record: dict[str, object], name: str = "forged") -> None:
    """Store a record, signed with the controller's key, as whoever stole it could."""
    signature = Signer(machine.etc / "keys" / "controller", LocalShell()).sign(canonical(record), NAMESPACES[FREEZE])
    path = machine.root / f"{name}.json"
    path.write_bytes(envelope(record, signature))
    machine.restic("backup", str(path), "--tag", "opsctl,freeze,state=thawed")


def test_promise_3_a_thaw_that_a_stolen_key_forged_lifts_nothing(shared: Shared) -> None:
    shared("backup", "freeze", "--incident", "INC-1", expect=0)
    shared.thaw("INC-1", "asha", "imran")
    genuine: Any = records(shared, "thawed")[0]["record"]
    shared("backup", "freeze", "--incident", "INC-2", expect=0)
    lifts = [one["id"] for one in shared.json("backup", "freeze", "--incident", "INC-2", expect=0).result["steps"][0]["result"]["frozen"]]
    record = {**genuine, "incident": "INC-2", "lifts": lifts}
    signed = genuine["consent"]
    other_plan = json.loads(json.dumps(signed["plan"]).replace("INC-1", "INC-2").replace(genuine["lifts"][0], lifts[0]))
    asked = {**signed["request"], "plan_sha256": plan_digest(other_plan)}
    plant(shared, {name: value for name, value in record.items() if name != "consent"}, "nobody")
    plant(shared, {**record, "consent": {**signed, "approvals": signed["approvals"][:1] * 2}}, "one-person-twice")
    plant(shared, {**record, "consent": {**signed, "plan": other_plan}}, "another-plan")
    plant(shared, {**record, "consent": {**signed, "plan": other_plan, "request": asked}}, "another-request")
    plant(shared, record, "what-they-signed-before")
    assert shared.frozen() == ["INC-2"]
    assert [error["details"]["kind"] for error in shared.json("verify", expect=22).errors] == ["thaw-forged"] * 5
    shared.setting(people=("asha", "meena"))
    assert shared.frozen() == ["INC-1", "INC-2"], "one of the two is not known here"


@pytest.mark.full
def test_a_thaw_that_is_stored_again_lifts_what_it_lifted_and_a_freeze_is_no_new_one(shared: Shared) -> None:
    shared("backup", "freeze", "--incident", "INC-1", expect=0)
    shared.thaw("INC-1", "asha", "imran")
    for state in ("frozen", "thawed"):
        found = next(one for one in shared.snapshots() if f"state={state}" in one["tags"])
        path = shared.root / f"again-{state}.json"
        path.write_text(shared.restic("dump", found["id"], found["paths"][0]))
        shared.restic("backup", str(path), "--tag", "opsctl,freeze")
    assert shared.frozen() == []


def test_a_freeze_that_cannot_be_read_counts_until_two_people_lift_it(shared: Shared) -> None:
    path = shared.root / "junk.json"
    path.write_text("{}")
    shared.restic("backup", str(path), "--tag", "opsctl,freeze")
    assert shared.frozen() == ["unreadable"]
    shared.thaw("unreadable", "asha", "meena")
    assert shared.frozen() == []


def test_a_freeze_by_a_key_that_nobody_knows_counts(shared: Shared, other: Shared) -> None:
    (shared.etc / "keys" / "trusted").unlink()
    other("backup", "freeze", "--incident", "INC-1", expect=0)
    assert shared.frozen() == ["INC-1"]


def test_a_machine_that_lost_its_state_freezes_all_the_same(shared: Shared, other: Shared) -> None:
    shared.forget()
    shared.state.write_text("scrambled")
    shared("--break-glass", "backup", "freeze", "--incident", "INC-1", expect=0)
    assert other.frozen() == ["INC-1"]
