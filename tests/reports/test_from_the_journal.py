"""What reports tell of what was really done: a set restored, a source promoted, people who approved."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from tests.actions.test_promote_command import GOOD, approve, backed_up
from tests.approvals.site import make_keys
from tests.machine import Machine

OPENED = ("--title", "T", "--noticed-at", "2026-12-12T02:00+05:30", "--noticed-by", "a", "--signal", "b", "--in-charge", "c")


def fields(machine: Machine, report: str) -> dict[str, Any]:
    found = machine.json("report", "draft", report, expect=0).result
    return {one["key"]: one["value"] for one in found["fields"]} | {"tables": found["tables"]}


def test_what_was_restored_and_who_approved_it(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> None:
    keys = make_keys(tmp_path_factory.mktemp("people"))
    backed_up(machine, keys, GOOD)
    machine("incident", "open", "inc-d", "--drill", *OPENED, expect=0)
    machine("restore", "set", "portal", "--into", str(machine.root / "elsewhere"), expect=0)
    found = fields(machine, "closing")
    assert found["data_loss_window"] is None, "what is looked at elsewhere is not back"
    (row,) = found["tables"]["restoration"]["rows"]
    assert row[1] == "portal (restore set)" and row[3].startswith("1") and row[4] == "changed"
    run = machine.json("restore", "promote", "portal", "files", "--replace", expect=4).document["run"]
    for by in ("asha", "imran"):
        approve(machine, keys, run, by)
    machine("resume", run, expect=0)
    found = fields(machine, "closing")
    assert found["data_loss_window"].startswith("files: from ")
    assert [(row[2], row[3]) for row in found["tables"]["approvals"]["rows"]] == [("asha", "approved"), ("imran", "approved")]
    shutil.rmtree(machine.root / "elsewhere")
