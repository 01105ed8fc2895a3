"""Sets: whole or not counted."""

from __future__ import annotations

from pathlib import Path

from tests.machine import Machine, tree


def fill(folder: Path, count: int = 5) -> None:
    for number in range(count):
        (folder / f"file-{number}.txt").write_text(f"content {number}\n" * 50)


def test_promise_1_a_done_backup_is_in_the_repository_whole(machine: Machine, tmp_path: Path) -> None:
    fill(machine.data)
    done = machine.json("backup", "run", expect=0)
    found = done.result["backups"]["portal"]
    assert found["outcome"] == "changed" and found["state"] == "good"
    tags = [set(one["tags"]) for one in machine.snapshots()]
    assert {"opsctl", "backup=portal", f"set={found['set']}", "source=files"} in tags
    assert {"opsctl", "manifest", "backup=portal", f"set={found['set']}"} in tags
    machine("restore", "set", "portal", "--into", str(tmp_path / "back"), expect=0)
    assert tree(Path(f"{tmp_path}/back/files{machine.data}")) == tree(machine.data)


def test_a_second_run_of_the_same_plan_has_nothing_to_do(machine: Machine) -> None:
    fill(machine.data)
    run = machine.json("backup", "run", expect=0).document["run"]
    before = machine.snapshots()
    again = machine.json("resume", run, expect=0)
    assert [step["outcome"] for step in again.result["steps"]] == ["changed"]
    assert machine("resume", run, expect=0).out == "done before: backup portal\nnothing was left to do\n"
    assert machine.snapshots() == before


def test_due_comes_from_the_repository_alone(machine: Machine) -> None:
    fill(machine.data)
    machine("backup", "run", "--due", expect=0)
    machine.forget()
    machine.at("2026-12-15T02:29:59+05:30")
    machine("backup", "init", expect=0)
    assert machine.json("backup", "run", "--due", expect=0).result["backups"]["portal"]["outcome"] == "ok"
    machine.at("2026-12-15T02:30:05+05:30")
    assert machine.json("backup", "run", "--due", expect=0).result["backups"]["portal"]["outcome"] == "changed"
    assert len(machine.json("backup", "list", expect=0).result["sets"]) == 2
