"""A backup that lacks something never looks like a success."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.machine import Machine, Said


@pytest.fixture
def two(machine: Machine) -> Machine:
    """Two sources: a folder, and one made of two paths."""
    for name in ("one", "two"):
        folder = machine.root / name
        folder.mkdir()
        for number in range(10):
            (folder / f"{number}.txt").write_text(f"{name} {number}\n" * 100)
    (machine.data / "a.txt").write_text("a\n")
    machine.configure(sources=f"  scans: {{kind: paths, paths: [{machine.root}/one, {machine.root}/two]}}",
                      backup_sources="[scans, files]")
    return machine


def problem(said: Said, words: str) -> bool:
    return any(words in error["message"] for error in said.errors)


def test_promise_2_a_missing_path_is_named_and_the_rest_is_backed_up(two: Machine) -> None:
    machine = two
    shutil.rmtree(machine.root / "two")
    said = machine.json("backup", "run", expect=3)
    assert problem(said, f"{machine.root}/two")
    assert "--accept scans" in said.errors[0]["hint"]
    assert {tuple(one["paths"]) for one in machine.snapshots()} == {(f"{machine.root}/one",), (str(machine.data),)}
    listed = machine.json("backup", "list", expect=0).result["sets"]
    assert [one["state"] for one in listed] == ["incomplete"]
    assert f"{machine.root}/two" in listed[0]["reasons"][0], "what failed, as long as this machine knows it"
    assert machine.json("status", expect=5).result["backups"]["portal"]["state"] == "never"
    machine.at("2026-12-12T03:30:00+05:30")
    accepted = machine.json("backup", "run", "--accept", "scans", expect=0)
    assert accepted.result["backups"]["portal"]["state"] == "good"
    shown = machine("backup", "show", accepted.result["backups"]["portal"]["set"], expect=0)
    assert "accepted although" in shown.out and "two" in shown.out


def test_promise_2_one_source_that_is_not_there_at_all(two: Machine) -> None:
    shutil.rmtree(two.root / "one")
    shutil.rmtree(two.root / "two")
    said = two.json("backup", "run", expect=3)
    assert problem(said, "/one") and problem(said, "/two")
    assert [one["paths"] for one in two.snapshots()] == [[str(two.data)]]
    two.forget()
    two("backup", "init", expect=0)
    assert two("backup", "list", expect=0).out.rstrip().endswith("; not in it: scans"), "another machine sees at least that"


def test_promise_2_a_tree_of_less_than_half_is_not_taken_for_the_real_one(two: Machine) -> None:
    two("backup", "run", expect=0)
    for folder in ("one", "two"):
        for path in list((two.root / folder).iterdir())[:8]:
            path.unlink()
    two.at("2026-12-15T02:30:00+05:30")
    said = two.json("backup", "run", "--due", expect=3)
    assert problem(said, "scans")
    states = [one["state"] for one in two.json("backup", "list").result["sets"]]
    assert states == ["good", "incomplete"]
    later = two.json("backup", "run", "--due", "--accept", "scans", expect=0)
    assert later.result["backups"]["portal"]["state"] == "good"


def test_promise_2_an_emptied_folder_is_not_a_backup(machine: Machine) -> None:
    (machine.data / "a").write_text("a")
    machine("backup", "run", expect=0)
    (machine.data / "a").unlink()
    machine.at("2026-12-15T02:30:00+05:30")
    assert machine("backup", "run", "--due").code == 3


def test_one_of_two_backups_failing_is_3_and_the_other_one_stands(machine: Machine, tmp_path: Path) -> None:
    (machine.data / "a").write_text("a")
    machine.configure(sources=f"  gone: {{kind: sqlite, path: {tmp_path}/gone.sqlite}}",
                      more="  other: {sources: [gone], repository: main}")
    said = machine.json("backup", "run", expect=3)
    assert said.result["backups"]["portal"]["outcome"] == "changed"
    assert said.result["backups"]["other"]["outcome"] == "failed"
    alone = machine.json("backup", "run", "other")
    assert alone.code == alone.errors[0]["code"]


def test_nothing_is_accepted_that_was_not_asked_for(two: Machine) -> None:
    assert two("backup", "run", "--accept", "scan").code == 2
    assert two("backup", "run", "portl").code == 2
