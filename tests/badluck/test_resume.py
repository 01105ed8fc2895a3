"""A run that is taken up again: what is left of it, how old its set is, and what has changed meanwhile."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from tests.badluck.faults import FaultyRestic, at, ended, kill_at_line, lines, until
from tests.badluck.scene import database_of, equal, furnish, nothing_left, set_of, snapshots, with_both
from tests.badluck.test_two_at_once import at_work, manifests
from tests.machine import Machine, Said, tree

LATER = "2026-12-15T12:00:00+05:30"


@pytest.fixture
def half(machine: Machine, restic: FaultyRestic) -> tuple[Machine, str]:
    """A machine and its run that was killed on 12 December, when one of two sources was captured."""
    furnish(machine)
    return machine, kill_at_line(machine, restic, ["backup", "run"], at("change.done", change="source:files"))


def states(machine: Machine) -> dict[str, str]:
    return {one["set"]: one["state"] for one in machine.json("backup", "list", expect=0).result["sets"]}


def newest(machine: Machine) -> str:
    return str(machine.json("status", "--refresh", expect=0).result["backups"]["portal"]["newest"])


def told(said: Said) -> str:
    return " ".join(said.document["warnings"])


# What is left


def test_a_dry_run_of_resume_shows_what_is_left_and_changes_nothing(half: tuple[Machine, str]) -> None:
    machine, run = half
    before, world, kept = lines(machine), machine.snapshots(), tree(machine.state / "runs")
    (step,) = machine.json("--dry-run", "resume", run, expect=0).result["steps"]
    assert step["outcome"] == "planned"
    assert [change.split(" (")[0] for change in step["changes"]] == [
        "back up tax", f"sign and store the manifest of set {set_of(run)}"]
    assert "would back up tax" in machine("--dry-run", "resume", run, expect=0).out
    assert lines(machine) == before and machine.snapshots() == world
    assert tree(machine.state / "runs") == kept

    machine("resume", run, expect=0)
    before = lines(machine)
    done = machine.json("--dry-run", "resume", run, expect=0).result["steps"]
    assert {one["outcome"] for one in done} == {"ok"}
    said = machine("--dry-run", "resume", run, expect=0).out
    assert "done before: " in said and "nothing would be done" in said
    assert lines(machine) == before


def test_resume_waits_for_whoever_is_at_work_on_the_run(
    half: tuple[Machine, str], restic: FaultyRestic, tmp_path: Path
) -> None:
    machine, run = half
    restic.forget_calls()
    with at_work(machine, restic, "resume", run, source="tax") as first:
        assert machine.json("resume", run, expect=11).errors[0]["details"]["holder"]["pid"] == first.pid
        second = machine.start("--json", "resume", run, "--wait", "10m")

        def waits() -> bool:
            for path in Path(f"/proc/{second.pid}/fd").iterdir():
                with suppress(OSError):
                    if f"run-{run}" in os.readlink(path):
                        return True
            return False

        until(waits, "the second one at the lock of the run")
        assert second.poll() is None
    assert ended(first).code == 0
    assert ended(second).code == 0
    assert manifests(machine) == 1
    machine("restore", "set", "portal", "--into", str(tmp_path / "back"), expect=0)
    equal(machine, tmp_path / "back")
    nothing_left(machine)


# Days later


def test_a_set_resumed_days_later_counts_as_old_as_its_oldest_data(half: tuple[Machine, str], tmp_path: Path) -> None:
    machine, run = half
    before = snapshots(machine, set_of(run), "source=files")
    machine.at(LATER)
    said = machine.json("resume", run, expect=0)
    assert "captured until 2026-12-15" in told(said) and "counts as one of 2026-12-11 21:00 UTC" in told(said)
    assert snapshots(machine, set_of(run), "source=files") == before, "what was done is not done again"
    found = machine.json("backup", "list", expect=0).result["sets"]
    assert [(one["set"], one["state"], one["time"], one["taken_until"][:10]) for one in found] == [
        (set_of(run), "good", "2026-12-12T02:30:00+05:30", "2026-12-15")]
    assert "captured until 2026-12-15" in machine("backup", "list", expect=0).out
    assert machine.json("--dry-run", "backup", "run", "--due").result["backups"]["portal"]["outcome"] == "planned"
    machine("restore", "set", "portal", "--into", str(tmp_path / "back"), expect=0)
    equal(machine, tmp_path / "back")
    machine("backup", "run", "--due", expect=0)
    assert newest(machine) != set_of(run)
    nothing_left(machine)


def test_a_set_resumed_within_hours_is_an_ordinary_one(half: tuple[Machine, str]) -> None:
    machine, run = half
    machine.at("2026-12-12T06:00:00+05:30")
    assert "captured until" not in told(machine.json("resume", run, expect=0))
    assert machine.json("backup", "list", expect=0).result["sets"][0]["taken_until"] is None


def test_a_set_resumed_after_a_newer_one_does_not_become_newest(half: tuple[Machine, str]) -> None:
    machine, run = half
    machine.at(LATER)
    newer = machine.json("backup", "run", "--due", expect=0).result["backups"]["portal"]["set"]
    said = machine.json("resume", run, expect=0)
    assert "future" not in told(said), "by the clock of today the newer set is of today"
    assert states(machine) == {newer: "good", set_of(run): "good"}
    assert newest(machine) == newer
    assert machine.json("backup", "run", "--due", expect=0).result["backups"]["portal"]["outcome"] == "ok"
    machine("verify", expect=0)
    nothing_left(machine)


def test_what_was_due_is_not_done_once_a_newer_set_stands(machine: Machine, restic: FaultyRestic) -> None:
    furnish(machine)
    run = kill_at_line(machine, restic, ["backup", "run", "--due"], at("change.done", change="source:files"))
    machine.at(LATER)
    machine("backup", "run", "--due", expect=0)
    before = machine.snapshots()
    machine("resume", run, expect=0)
    assert machine.snapshots() == before


def test_a_verification_resumed_after_a_newer_set_finds_nothing_wrong(
    with_a_set: Machine, restic: FaultyRestic
) -> None:
    machine = with_a_set
    run = kill_at_line(machine, restic, ["verify"], lambda line: line["type"] == "run.bound")
    machine.at(LATER)
    machine("backup", "run", expect=0)
    machine("resume", run, expect=0)


# Another configuration


def test_one_set_does_not_hold_captures_of_two_configurations(half: tuple[Machine, str], tmp_path: Path) -> None:
    machine, run = half
    before = machine.snapshots()
    was = (machine.etc / "opsctl.yaml").read_text()
    machine.configure(was.replace(f"paths: [{machine.data}]", f"paths: [{machine.data}/below], exclude: ['*.tmp']"))
    for words in (["resume", run], ["--dry-run", "resume", run]):
        refused = machine.json(*words, expect=23).errors[0]
        assert "portal/files" in refused["message"] and "exclude, paths" in refused["message"]
        assert "opsctl backup run portal" in refused["hint"] and f"opsctl resume {run}" in refused["hint"]
    assert machine.snapshots() == before
    assert states(machine) == {set_of(run): "incomplete"}
    machine("backup", "run", expect=0)
    machine.configure(was)
    machine("resume", run, expect=0)
    machine("restore", "set", "portal", "--set", set_of(run), "--into", str(tmp_path / "back"), expect=0)
    equal(machine, tmp_path / "back")
    nothing_left(machine)


def test_what_was_not_captured_yet_is_taken_with_the_settings_that_were_mended(
    machine: Machine, tmp_path: Path
) -> None:
    furnish(machine)
    machine.configure(sources=f"  tax: {{kind: sqlite, path: {tmp_path}/none.sqlite}}", backup_sources="[files, tax]")
    run = machine.json("backup", "run", expect=3).document["run"]
    before = snapshots(machine, set_of(run), "source=files")
    with_both(machine)
    assert database_of(machine).exists()
    machine("resume", run, expect=0)
    assert snapshots(machine, set_of(run), "source=files") == before and len(before) == 1
    machine("restore", "set", "portal", "--into", str(tmp_path / "back"), expect=0)
    equal(machine, tmp_path / "back")
