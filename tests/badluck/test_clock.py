"""A clock that is wrong, and an hour that comes twice: due by the repository, nothing deleted, a warning."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.badluck.faults import lines
from tests.machine import Machine

START = datetime.fromisoformat("2026-12-12T02:30:00+05:30")
THREE_DAYS = timedelta(days=3)


@pytest.fixture
def filled(machine: Machine) -> Machine:
    (machine.data / "file.txt").write_text("content\n" * 100)
    return machine


def due_run(machine: Machine, moment: datetime) -> tuple[dict[str, Any], list[str]]:
    """``backup run --due`` at a moment: what became of it, and the warnings about time."""
    machine.at(moment.isoformat())
    done = machine.json("backup", "run", "--due", expect=0)
    return done.result["backups"]["portal"], [
        said for said in done.document["warnings"] if "clock" in said and "OPSCTL_CLOCK" not in said
    ]


def states(machine: Machine, moment: datetime) -> dict[str, str]:
    machine.at(moment.isoformat())
    return {one["set"]: one["state"] for one in machine.json("backup", "list", expect=0).result["sets"]}


def began(machine: Machine) -> datetime:
    """The moment that the last run lived in."""
    run = machine.json("runs", "--limit", "1", expect=0).result["runs"][0]
    return datetime.fromisoformat(run["started"])


def test_forward_a_year_and_back(filled: Machine) -> None:
    machine = filled
    first, _ = due_run(machine, START)
    before = machine.snapshots()
    wrong = START.replace(year=2027)
    jumped, warned = due_run(machine, wrong)
    assert jumped["outcome"] == "changed" and len(warned) == 1
    assert due_run(machine, wrong + timedelta(hours=1))[0]["outcome"] == "ok"
    # The clock is right again: what it made meanwhile is from the future, shown and not counted.
    right = START + THREE_DAYS - timedelta(hours=1)
    assert states(machine, right) == {first["set"]: "good", jumped["set"]: "future"}
    early, warned = due_run(machine, right)
    assert (early["outcome"], early["newest"]) == ("ok", first["set"])
    assert len(warned) == 1 and jumped["set"] in warned[0]
    assert due_run(machine, START + THREE_DAYS)[0]["outcome"] == "changed"
    kept = {one["id"] for one in machine.snapshots()}
    assert {one["id"] for one in before} < kept and len(kept) == 6
    found = machine.json("verify", expect=22)
    assert {(error["details"]["kind"], *error["details"]["sets"]) for error in found.errors} == {
        ("snapshot-future", jumped["set"])
    }
    machine("journal", "verify", expect=0)


def test_back_a_month_and_right_again(filled: Machine) -> None:
    machine = filled
    first, _ = due_run(machine, START)
    wrong = START - timedelta(days=30)
    back, warned = due_run(machine, wrong)
    assert back["outcome"] == "changed" and len(warned) == 1 and first["set"] in warned[0]
    assert due_run(machine, wrong + timedelta(hours=1))[0]["outcome"] == "ok"
    assert states(machine, wrong) == {first["set"]: "future", back["set"]: "good"}
    assert states(machine, START + timedelta(hours=2)) == {first["set"]: "good", back["set"]: "good"}
    again, warned = due_run(machine, START + timedelta(hours=2))
    assert (again["outcome"], again["newest"], warned) == ("ok", first["set"], [])
    assert due_run(machine, START + THREE_DAYS)[0]["outcome"] == "changed"
    assert len(machine.snapshots()) == 6
    machine("verify", expect=0)
    times = [line["time"] for line in lines(machine)]
    assert times != sorted(times)  # the journal went back in time too
    machine("journal", "verify", expect=0)


@pytest.mark.parametrize("before", [timedelta(seconds=2), timedelta(0)])
def test_due_is_three_days_to_the_second(filled: Machine, before: timedelta) -> None:
    machine = filled
    newest = datetime.fromisoformat(due_run(machine, START)[0]["newest_time"])
    done, _ = due_run(machine, newest + THREE_DAYS - before)
    # The program needs a moment before it binds the run to its time.
    is_due = began(machine) >= newest + THREE_DAYS
    assert is_due or before
    assert done["outcome"] == ("changed" if is_due else "ok")


def test_of_two_sets_of_one_minute_the_later_is_the_newest(filled: Machine, tmp_path: Path) -> None:
    machine = filled
    for text in ("one", "two", "three"):
        (machine.data / "file.txt").write_text(text)
        found = machine.json("backup", "run", expect=0).result["backups"]["portal"]
        assert found["newest"] == found["set"]
        machine("restore", "set", "portal", "--into", str(tmp_path / text), expect=0)
        assert Path(f"{tmp_path}/{text}/files{machine.data}/file.txt").read_text() == text
    assert machine.json("backup", "list", expect=0).result["sets"][-1]["set"] == found["set"]


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "Europe/Berlin", "America/St_Johns"])
def test_an_hour_that_comes_twice(filled: Machine, zone: str) -> None:
    """02:30 in Berlin on 25 October 2026, first in summer time and an hour later in winter time."""
    machine = filled
    machine.configure(f"""
organisation: {{name: Test, timezone: {zone}}}
state: {machine.state}
repositories:
  main: {{url: {machine.store}, password_file: {machine.etc}/keys/repository-password}}
sources:
  files: {{kind: paths, paths: [{machine.data}]}}
backups:
  portal: {{sources: [files], repository: main, every: 1h}}
""")
    summer = datetime.fromisoformat("2026-10-25T02:30:00+02:00")
    winter = datetime.fromisoformat("2026-10-25T02:30:00+01:00")
    one, _ = due_run(machine, summer)
    assert one["outcome"] == "changed"
    assert due_run(machine, summer + timedelta(minutes=58))[0]["outcome"] == "ok"
    two, warned = due_run(
        machine, datetime.fromisoformat(one["newest_time"]).astimezone(winter.tzinfo) + timedelta(hours=1)
    )
    assert (two["outcome"], warned) == ("changed", [])
    assert one["set"] < two["set"]
    assert set(states(machine, winter + timedelta(hours=1)).values()) == {"good"}
