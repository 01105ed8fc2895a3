"""Bringing files into production by a rename, and putting back what was there: never two, never none."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from opsctl.actions import into_view
from opsctl.actions.interface import StepResult
from opsctl.actions.promoting.exchange import Exchange
from opsctl.actions.promoting.files import BroughtFiles
from tests.badluck.faults import resize, small_disk
from tests.lab.promotion import CHANGES, RENAMES, RUN, STAMP, perform, struck_before
from tests.machine import Machine, tree

OTHER = "20261220-0940-portal-beef"
OLD = {"index.html": b"what the attacker left\n", "deep/note.txt": b"pay\n"}


def set_of(machine: Machine) -> str:
    return str(machine.json("backup", "list", expect=0).result["sets"][-1]["set"])


def fill(folder: Path, content: dict[str, bytes]) -> None:
    for name, text in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text)


@pytest.fixture
def backed_up(machine: Machine) -> tuple[Machine, dict[str, bytes], dict[str, Any]]:
    """A machine whose folder was backed up and then overwritten; what was backed up; how the promotion is asked for."""
    good = {f"page {number}.html": b"page %d\n" % number * 50 for number in range(3)} | {"deep/er/register.txt": b"marriages\n"}
    fill(machine.data, good)
    machine("backup", "run", expect=0)
    shutil.rmtree(machine.data)
    machine.data.mkdir(mode=0o750)
    fill(machine.data, OLD)
    return machine, good, {"backup": "portal", "set": set_of(machine), "source": "files", "replace": True}


def kept(place: Path, word: str = "before", stamp: str = STAMP) -> Path:
    return place.with_name(f"{place.name}.{word}-{stamp}")


def hidden(place: Path) -> list[str]:
    return [path.name for path in place.parent.iterdir() if path.name.startswith(".")]


WAYS = ("in one step", "in two")
#: For what takes longer: the second one only where everything is tried.
SOME_WAYS = pytest.mark.parametrize("way", [WAYS[0], pytest.param(WAYS[1], marks=pytest.mark.full)], indirect=True)


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """As it is, and on a file system that cannot exchange two names."""
    if request.param == "in two":
        real = into_view._rename
        monkeypatch.setattr(into_view, "_rename", lambda old, new, how=1: errno.EINVAL if how == 2 else real(old, new, how))
    return str(request.param)


def promoted(found: StepResult) -> list[dict[str, Any]]:
    return list(found.result["places"])


def test_one_rename_keeps_what_was_there_and_a_second_look_finds_it_so(
    backed_up: tuple[Machine, dict[str, bytes], dict[str, Any]], way: str
) -> None:
    machine, good, asked = backed_up
    owner = os.stat(machine.data)
    found = perform(machine, "promote", asked)
    assert (found.outcome, found.codes) == ("changed", (0,)) or found.codes == (0, 0), found.because
    assert tree(machine.data) == good and tree(kept(machine.data)) == OLD
    was = os.stat(kept(machine.data))
    assert (was.st_ino, was.st_uid, stat.S_IMODE(was.st_mode)) == (owner.st_ino, owner.st_uid, 0o750)
    assert promoted(found) == [{"place": str(machine.data), "promoted": True, "kept": str(kept(machine.data))}]
    assert hidden(machine.data) == []
    (machine.data / "new.txt").write_text("production goes on")
    assert perform(machine, "promote", asked).outcome == "ok"
    assert (machine.data / "new.txt").exists()

    back = {"promoted": RUN}
    undone = perform(machine, "rollback", back, run=OTHER)
    assert undone.outcome == "changed", undone.because
    assert tree(machine.data) == OLD and tree(kept(machine.data, "promoted")) == good | {"new.txt": b"production goes on"}
    assert not kept(machine.data).exists() and hidden(machine.data) == []
    assert perform(machine, "rollback", back, run=OTHER).outcome == "ok"
    assert perform(machine, "rollback", back, run="20261220-0941-portal-cafe").outcome == "ok"
    late = perform(machine, "promote", asked)
    assert late.codes == (23,) and "put back" in late.because, "a resume does not promote what somebody took back"


def one_of_both(place: Path, good: dict[str, bytes], exchanged: bool) -> None:
    """Whatever was struck: both are there, whole, and in one step there is no moment without either in its place."""
    everything = [path for path in place.parent.iterdir() if path.is_dir()]
    inner = [Path(f"{path}{place}") for path in everything if path.name.startswith(".")]
    assert [path for path in (*everything, *inner) if path.is_dir() and tree(path) == OLD], "what was there is somewhere"
    if exchanged:
        assert tree(place) in (good, OLD)


def again(machine: Machine, kept: Path) -> None:
    shutil.rmtree(machine.root)
    shutil.copytree(kept, machine.root, symlinks=True)


@SOME_WAYS
@pytest.mark.parametrize("then", ["resume", "rollback"])
@pytest.mark.parametrize("changes", [RENAMES, pytest.param(CHANGES, marks=pytest.mark.full)], ids=["renames", "everything"])
def test_promise_7_killed_before_every_change_of_a_promotion(
    backed_up: tuple[Machine, dict[str, bytes], dict[str, Any]], way: str, then: str, changes: tuple[str, ...], tmp_path: Path
) -> None:
    machine, good, asked = backed_up
    shutil.copytree(machine.root, tmp_path / "kept", symlinks=True)
    for number in range(1, 200):
        if not struck_before(number, lambda: perform(machine, "promote", asked), changes):
            break
        one_of_both(machine.data, good, way == "in one step")
        if then == "resume":
            found = perform(machine, "promote", asked)
            assert found.outcome in ("changed", "ok"), found.because
            assert tree(machine.data) == good and tree(kept(machine.data)) == OLD and hidden(machine.data) == []
        else:
            found = perform(machine, "rollback", {"promoted": RUN}, run=OTHER)
            assert tree(machine.data) == OLD, found.because
            assert not kept(machine.data).exists()
        again(machine, tmp_path / "kept")
    assert number > (20 if changes is CHANGES else 2)


@SOME_WAYS
@pytest.mark.parametrize("changes", [RENAMES, pytest.param(CHANGES, marks=pytest.mark.full)], ids=["renames", "everything"])
def test_promise_7_killed_before_every_change_of_a_rollback(
    backed_up: tuple[Machine, dict[str, bytes], dict[str, Any]], way: str, changes: tuple[str, ...], tmp_path: Path
) -> None:
    machine, good, asked = backed_up
    for number in range(1, 200):
        run = f"20261220-0832-portal-{number:04d}"
        assert perform(machine, "promote", asked, run=run).outcome == "changed"
        back = {"promoted": run}
        struck = struck_before(number, lambda back=back: perform(machine, "rollback", back, run=OTHER), changes)  # type: ignore[misc]
        one_of_both(machine.data, good, way == "in one step")
        assert perform(machine, "rollback", back, run=OTHER).outcome in ("changed", "ok")
        assert tree(machine.data) == OLD and tree(kept(machine.data, "promoted")) == good and hidden(machine.data) == []
        shutil.rmtree(kept(machine.data, "promoted"))
        shutil.rmtree(machine.state / "runs" / OTHER)
        if not struck:
            break
    assert number > (5 if changes is CHANGES else 2)


def test_what_was_kept_is_not_removed_while_nothing_stands_in_its_place(
    backed_up: tuple[Machine, dict[str, bytes], dict[str, Any]], tmp_path: Path
) -> None:
    machine, _, asked = backed_up
    assert perform(machine, "promote", asked).outcome == "changed"
    os.rename(machine.data, tmp_path / "lost")
    discard = {"kept": str(kept(machine.data)), "run": RUN, "said": str(kept(machine.data))}
    assert perform(machine, "discard", discard, run=OTHER).codes == (23,)
    assert tree(kept(machine.data)) == OLD
    os.rename(tmp_path / "lost", machine.data)
    assert perform(machine, "discard", discard, run=OTHER).outcome == "changed"
    assert not kept(machine.data).exists() and perform(machine, "discard", discard, run=OTHER).outcome == "ok"


def test_data_that_the_plan_did_not_expect_is_refused_before_anything(
    backed_up: tuple[Machine, dict[str, bytes], dict[str, Any]]
) -> None:
    machine, _, asked = backed_up
    found = perform(machine, "promote", {**asked, "replace": False})
    assert found.codes == (23,) and "there is data at" in found.because
    assert tree(machine.data) == OLD and hidden(machine.data) == []


def test_a_place_that_comes_into_being_meanwhile_stays(
    backed_up: tuple[Machine, dict[str, bytes], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was there when the run began; when it comes to the rename something is, and that is nobody's to replace."""
    machine, good, asked = backed_up
    shutil.rmtree(machine.data)
    real = BroughtFiles.swap

    def late(self: BroughtFiles, wanted: Exchange) -> None:
        machine.data.mkdir()
        real(self, wanted)

    monkeypatch.setattr(BroughtFiles, "swap", late)
    found = perform(machine, "promote", asked)
    assert found.codes[-1] == 23 and "came into being" in found.because
    monkeypatch.undo()
    found = perform(machine, "promote", asked)
    assert found.codes == (23,) and tree(machine.data) == {}
    machine.data.rmdir()
    assert perform(machine, "promote", asked).outcome == "changed"
    assert tree(machine.data) == good and not kept(machine.data).exists()
    assert perform(machine, "rollback", {"promoted": RUN}, run=OTHER).outcome == "changed"
    assert not machine.data.exists() and tree(kept(machine.data, "promoted")) == good, "there was nothing, and there is nothing"


def test_what_is_there_is_exchanged_by_somebody_else_at_the_last_moment(
    backed_up: tuple[Machine, dict[str, bytes], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine, _, asked = backed_up
    real = into_view.exchange
    calls: list[Path] = []

    def late(one: Path, other: Path) -> bool:
        if not calls:
            os.rename(one, machine.root / "elsewhere")
            fill(one, {"theirs": b"theirs"})
        calls.append(one)
        return real(one, other)

    monkeypatch.setattr(into_view, "exchange", late)
    assert perform(machine, "promote", asked).codes[-1] == 23
    assert len(calls) == 2 and tree(machine.data) == {"theirs": b"theirs"} and tree(machine.root / "elsewhere") == OLD


@pytest.mark.parametrize(("checks", "word"), [
    ({"scan": "ok"}, "was not proven in the clean room"), ({"prove": "ok"}, "was not scanned"),
    ({"prove": "ok", "scan": "failed"}, "step scan says"), ({"prove": "", "scan": "ok"}, "step prove says"),
])
def test_promise_9_unproven_or_with_findings_nothing_comes_into_production(
    backed_up: tuple[Machine, dict[str, bytes], dict[str, Any]], checks: dict[str, str], word: str
) -> None:
    machine, _, asked = backed_up
    found = perform(machine, "promote", asked, checks=checks)
    assert found.codes == (23,) and word in found.because
    assert tree(machine.data) == OLD and hidden(machine.data) == []


def test_a_file_system_that_is_full_or_gone(backed_up: tuple[Machine, dict[str, bytes], dict[str, Any]], tmp_path: Path) -> None:
    """Full: needed and free are said beforehand. Gone half-way: nothing is put where its place was; mounted again, it goes on."""
    machine, _, asked = backed_up
    big = os.urandom(2 << 20)
    (machine.data / "big").write_bytes(big)
    machine.at("2026-12-13T02:30:00+05:30")
    machine("backup", "run", expect=0)
    asked["set"] = set_of(machine)
    with small_disk(tmp_path / "disk", "1M") as disk:
        asked["into"] = str(disk / "site")
        found = perform(machine, "promote", asked)
        assert found.codes == (20,) and found.errors[0].details["needed"] > found.errors[0].details["free"]
        assert os.listdir(disk) == []
        resize(disk, "16M")
        assert struck_before(1, lambda: perform(machine, "promote", asked), RENAMES)
        (tmp_path / "other").mkdir()
        subprocess.run(["mount", "--bind", str(disk), str(tmp_path / "other")], check=True)
        subprocess.run(["umount", str(disk)], check=True)
        try:
            found = perform(machine, "promote", asked)
            assert found.codes == (23,) and f"what is mounted at {disk}" in found.because
            assert os.listdir(disk) == []
            subprocess.run(["mount", "--bind", str(tmp_path / "other"), str(disk)], check=True)
        finally:
            subprocess.run(["umount", str(tmp_path / "other")], check=True)
        assert perform(machine, "promote", asked).outcome == "changed"
        assert tree(disk / "site") == {**OLD, "big": big} and hidden(disk / "site") == []


def test_a_place_that_cannot_be_renamed_is_refused_before_anything(
    backed_up: tuple[Machine, dict[str, bytes], dict[str, Any]], tmp_path: Path
) -> None:
    machine, _, asked = backed_up
    with small_disk(tmp_path / "disk", "16M") as disk:
        found = perform(machine, "promote", {**asked, "into": str(disk)})
        assert found.codes == (23,) and "cannot be renamed" in found.because and os.listdir(disk) == []


def test_several_paths_are_all_restored_before_the_first_is_renamed(machine: Machine, tmp_path: Path) -> None:
    machine.configure(sources=f"  two: {{kind: paths, paths: [{machine.data}/a, {machine.data}/b, {machine.data}/b/in]}}",
                      backup_sources="[two]")
    good = {"x": b"x\n", "in/y": b"y\n"}
    for name in ("a", "b"):
        fill(machine.data / name, {key: text + name.encode() for key, text in good.items()})
    machine("backup", "run", expect=0)
    for name in ("a", "b"):
        shutil.rmtree(machine.data / name)
        fill(machine.data / name, OLD)
    asked = {"backup": "portal", "set": set_of(machine), "source": "two", "replace": True}
    struck_before(2, lambda: perform(machine, "promote", asked), RENAMES)  # after the exchange of the first
    assert tree(machine.data / "a") != OLD and tree(machine.data / "b") == OLD
    found = perform(machine, "promote", asked)
    assert [one["promoted"] for one in promoted(found)] == [True, True], found.because
    for name in ("a", "b"):
        assert tree(machine.data / name) == {key: text + name.encode() for key, text in good.items()}
        assert tree(kept(machine.data / name)) == OLD
    assert perform(machine, "promote", {**asked, "into": str(tmp_path / "one")}, run=OTHER).codes == (2,)
    assert perform(machine, "rollback", {"promoted": RUN, "sources": ["two"]}, run=OTHER).outcome == "changed"
    assert tree(machine.data / "a") == tree(machine.data / "b") == OLD
    assert perform(machine, "rollback", {"promoted": RUN, "sources": ["other"]}, run=OTHER).codes == (23,)
