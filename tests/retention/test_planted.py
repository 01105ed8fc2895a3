"""Whoever has the controller's key and the password plans a prune by what they plant; two people agree to something else than they see."""

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
