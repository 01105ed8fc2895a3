"""Prunes to which two people agreed, and that must not happen all the same: by what somebody planted, and in the middle of an incident."""

from __future__ import annotations

from tests.actions import planting
from tests.retention.people import DAY, Shared
from tests.retention.test_prune import ids


def test_promise_3_a_manifest_that_names_the_snapshots_of_another_set_takes_them_nowhere(filled: Shared) -> None:
    before = ids(filled)
    newest = max(before)
    record = {**planting.newest(filled), "set": "20261130-2200-beef", "time": DAY.format(1).replace("02:30", "01:30")}
    planting.plant(filled, record, filled.etc / "keys" / "controller")
    said = filled.json("backup", "prune", "portal", expect=23)
    assert f"is of set {newest} of portal as well, which stays" in said.errors[0]["message"], said.errors
    assert ids(filled) == before


def test_promise_3_while_an_incident_is_open_here_though_its_freeze_was_lifted(filled: Shared) -> None:
    before = ids(filled)
    words = ("--title", "T", "--noticed-at", "2026-12-04T02:00+05:30", "--noticed-by", "a", "--signal", "b", "--in-charge", "c")
    filled("incident", "open", "inc-9", *words, expect=0)
    filled.thaw("inc-9", "asha", "imran")
    assert filled.json("backup", "prune", "portal", expect=23).errors[0]["details"]["reasons"] == ["incident inc-9 is open"]
    assert ids(filled) == before
