"""What ``status`` tells from the catalogue: by the clock of now, and with what the last look at a repository ended with."""

from __future__ import annotations

import pytest

from tests.machine import Machine


@pytest.fixture
def kept(machine: Machine) -> Machine:
    """A machine with one set."""
    (machine.data / "bill").write_text("12.50")
    machine("backup", "run", expect=0)
    return machine


def test_a_set_from_the_future_is_not_the_newest_once_the_clock_is_right_again(kept: Machine) -> None:
    before = kept.json("status", expect=0).result["backups"]["portal"]
    kept.at("2027-12-12T02:30:00+05:30")
    (kept.data / "bill").write_text("13.50, and more")
    kept("backup", "run", expect=0)
    kept.at("2026-12-13T02:30:00+05:30")
    told = kept.json("status", expect=0).result["backups"]["portal"]
    assert (told["newest"], told["bytes"], told["states"]) == (before["newest"], before["bytes"], {"good": 1, "future": 1})
    assert "24 h old" in told["because"]
    asked = kept.json("status", "--refresh", expect=0).result["backups"]["portal"]
    assert {**asked, "checked": told["checked"], "first_time": told["first_time"]} == told
    kept.at("2026-12-20T02:30:00+05:30")
    assert kept.json("status", expect=5).result["backups"]["portal"]["state"] == "overdue"


def test_only_sets_from_the_future_are_none(machine: Machine) -> None:
    (machine.data / "bill").write_text("12.50")
    machine.at("2027-12-12T02:30:00+05:30")
    machine("backup", "run", expect=0)
    machine.at("2026-12-13T02:30:00+05:30")
    assert machine.json("status", expect=5).result["backups"]["portal"]["state"] == "never"


def test_a_list_that_nobody_answered_for_says_no_more_than_the_error(kept: Machine) -> None:
    wrong = kept.root / "wrong"
    wrong.write_text("another\n")
    said = kept("backup", "list", "--repository", str(kept.store), "--password-file", str(wrong), expect=12)
    assert said.out == "" and "password" in said.err
    kept.store.rename(kept.root / "taken")
    assert kept("backup", "list", expect=22).out == ""
