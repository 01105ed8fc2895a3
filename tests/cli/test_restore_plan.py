"""What would come back, in which order, from when and how long: read from real repositories."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.lab.quick_key import make_quick
from tests.machine import Kept, Machine

_CONFIG = """
state: {state}
repositories:
  main: {{url: {store}, password_file: {password}}}
  other: {{url: {store}-copy, password_file: {password}}}
sources:
  files: {{kind: paths, paths: [{data}]}}
backups:
  portal: {{sources: [files], repository: main, every: 3d, copies: [other]}}
services:
  tax: {{restores: [files], needs: [web], rto: 4h, rpo: 1d, not_backed_up: ["certificate of tax, from NIC"]}}
  web: {{unit: nginx.service, rto: 1h}}
  water: {{needs: [tax]}}
"""


@pytest.fixture(scope="module")
def made(_made_machine: Path, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    root = tmp_path_factory.mktemp("planned") / "m"
    shutil.copytree(_made_machine, root, symlinks=True)
    machine = Machine(root)
    password = machine.etc / "keys" / "repository-password"
    machine.configure(_CONFIG.format(state=machine.state, store=machine.store, data=machine.data, password=password))
    machine("backup", "init", expect=0)
    make_quick(machine.root / "store-copy", "for tests only", machine.state / "repositories" / "other.json")
    for day, content in ((12, "one"), (15, "two")):
        machine.at(f"2026-12-{day}T02:30:00+05:30")
        machine.data.joinpath("a").write_text(content)
        machine("backup", "run", expect=0)
    machine.at("2026-12-15T14:30:00+05:30")
    return Kept(machine, tmp_path_factory.mktemp("kept") / "m")


@pytest.fixture
def planned(made: Kept) -> Machine:
    """Two sets of ``portal``, the second three days after the first; ``tax`` lives on it and needs ``web``, which nothing restores."""
    return made.again()


def _sets(machine: Machine) -> list[str]:
    return [one["set"] for one in machine.json("backup", "list", "portal", expect=0).result["sets"]]


def test_services_come_back_in_the_order_of_their_needs_from_the_newest_set(planned: Machine) -> None:
    newest = _sets(planned)[-1]
    said = planned.json("restore", "plan", expect=0).result
    assert [one["service"] for one in said["stages"]] == ["web", "tax", "water"]
    tax = said["stages"][1]
    assert (tax["needs"], tax["set"], tax["read_from"], tax["loss_seconds"]) == (["web"], newest, "main", 12 * 3600)
    assert [(one["repository"], one["why_not"]) for one in tax["places"]] == [("main", None), ("other", None)]
    assert not tax["loses_too_much"]
    assert (tax["expected_seconds"], said["ready_after_seconds"]) == (None, None)
    assert said["next"] == f"opsctl restore run --set portal={newest}"
    text = planned("restore", "plan", "tax", expect=0).out
    assert "certificate of tax, from NIC" in text
    assert "no drill tells how long portal takes" in text
    assert "other could serve it as well" in text
    assert "water" not in text


def test_the_first_bad_time_chooses_an_older_set_and_the_loss_is_held_against_the_target(planned: Machine) -> None:
    oldest = _sets(planned)[0]
    tax = planned.json("restore", "plan", "tax", "--before", "2026-12-14T02:30", "--alone", expect=0).result["stages"][0]
    assert (tax["set"], tax["needs"], tax["loses_too_much"]) == (oldest, [], True)
    said = planned.json("restore", "plan", "tax", "--before", "2026-12-11", expect=23)
    assert said.errors[0]["message"] == "tax: no set of portal from before the first bad time is whole, undamaged and not suspect"
    assert said.result["next"] is None


def test_drills_tell_how_long_a_stage_takes_and_when_those_that_need_it_are_back(planned: Machine) -> None:
    planned("verify", "portal", "--level", "drill", expect=0)
    stages = planned.json("restore", "plan", expect=0).result["stages"]
    assert stages[1]["expected_seconds"] is not None
    assert stages[2]["ready_after_seconds"] == stages[1]["ready_after_seconds"] >= stages[1]["expected_seconds"]
    assert not stages[1]["late"]


def test_a_set_that_is_lost_is_read_from_its_copy_and_one_that_is_nowhere_is_refused(planned: Machine) -> None:
    newest = _sets(planned)[-1]
    for snapshot in planned.snapshots():
        if f"set={newest}" in snapshot["tags"] and "manifest" not in snapshot["tags"]:
            planned.restic("forget", snapshot["id"])
    tax = planned.json("restore", "plan", "tax", "--set", f"portal={newest}", expect=0).result["stages"][1]
    assert tax["read_from"] == "other"
    said = planned.json("restore", "plan", "tax", "--set", f"portal={newest}", "--from", "main", expect=23)
    assert f"set {newest} of portal cannot be used: snapshot" in said.errors[0]["message"]
    said = planned.json("restore", "plan", "tax", "--set", "portal=nosuch", expect=23)
    assert said.errors[0]["message"] == "tax: there is no set nosuch of portal"


@pytest.mark.parametrize(("words", "told"), [
    (["taxx"], "there is no service 'taxx'; did you mean tax?"),
    (["--set", "portal"], "--set portal: not BACKUP=SET"),
    (["--set", "portl=x"], "there is no backup 'portl'; did you mean portal?"),
    (["web", "--set", "portal=x"], "--set: nothing is restored from portal for these services"),
    (["--from", "othr"], "there is no repository 'othr'; did you mean other?"),
    (["--before", "then"], "--before then: neither a time nor an age"),
])
def test_what_is_asked_wrongly_is_said(planned: Machine, words: list[str], told: str) -> None:
    said = planned.json("restore", "plan", *words, expect=2)
    assert said.errors[0]["message"] == told
