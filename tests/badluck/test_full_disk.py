"""Full disks: what is needed and free is said, beforehand where it can be known; older sets stay whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.badluck.faults import FaultyRestic, fill, free, kill_at_call, lines, read_only, resize, small_disk
from tests.badluck.scene import equal, hidden, in_view, nothing_left, set_of, snapshots, with_both
from tests.machine import Machine, Said, tree


def full(said: Said) -> dict[str, int]:
    """The one error of a full disk: its needs and what there is, in bytes, also said in words."""
    error = next(error for error in said.errors if error["code"] == 20)
    assert error["hint"]
    return error["details"]


def move(place: Path, disk: Path) -> Path:
    """Put a directory of the machine onto a small disk."""
    moved = disk / place.name
    shutil.copytree(place, moved, symlinks=True)
    shutil.rmtree(place)
    return moved


# The repository


@pytest.fixture
def small_store(with_a_set: Machine, tmp_path: Path) -> Iterator[tuple[Machine, Path]]:
    """A machine whose repository lies on a disk of 8 MiB and holds a set of 3 MiB."""
    machine = with_a_set
    with small_disk(tmp_path / "disk", "8M") as disk:
        machine.store = move(machine.store, disk)
        with_both(machine)
        yield machine, disk


def more(machine: Machine, tmp_path: Path, size: int) -> Path:
    """A source that holds ``size`` bytes, in place of the one of the set."""
    machine.data = tmp_path / "more"
    machine.data.mkdir()
    for number in range(8):
        (machine.data / f"{number}.bin").write_bytes(os.urandom(size // 8))
    machine.configure()
    return machine.data


def test_a_repository_that_becomes_full(small_store: tuple[Machine, Path], tmp_path: Path) -> None:
    machine, disk = small_store
    old = machine.json("backup", "list", expect=0).result["sets"]
    source = more(machine, tmp_path, 16 << 20)
    machine.at("2026-12-15T02:30:00+05:30")
    done = machine.json("backup", "run", expect=20)
    facts = full(done)
    assert 0 <= facts["free"] < 8 << 20
    assert facts.get("needed", 1) > 0
    assert str(machine.store) in done.errors[0]["message"]
    assert machine.json("backup", "list", expect=0).result["sets"] == old
    resize(disk, "64M")
    machine("verify", "--level", "data", "--share", "all", expect=0)
    machine("resume", done.document["run"], expect=0)
    machine("restore", "set", "portal", "--into", str(tmp_path / "back"), expect=0)
    assert tree(Path(f"{tmp_path}/back/files{source}")) == tree(source)
    nothing_left(machine)


def test_a_repository_without_a_free_byte(small_store: tuple[Machine, Path], tmp_path: Path) -> None:
    machine, disk = small_store
    fill(disk)
    assert free(disk) == 0
    done = machine.json("backup", "run", expect=20)
    assert full(done)["free"] == 0
    assert "no space" in done.errors[0]["message"]
    # Everything that was backed up comes back all the same.
    machine("restore", "set", "portal", "--into", str(tmp_path / "set"), expect=0)
    equal(machine, tmp_path / "set")
    machine(
        "restore", "files", "portal", str(machine.data / "below"), "--into", str(tmp_path / "files"), expect=0
    )
    assert tree(tmp_path / "files" / "below") == tree(machine.data / "below")
    assert [one["state"] for one in machine.json("backup", "list", expect=0).result["sets"]] == ["good"]
    machine("status", "--refresh", expect=0)
    found = machine.json("verify")
    assert found.code == 20 and full(found)["free"] == 0  # nothing wrong is found, but it cannot be recorded
    (disk / "ballast").unlink()
    resize(disk, "64M")
    machine("verify", expect=0)
    machine("resume", done.document["run"], expect=0)
    nothing_left(machine)


# The place that a restore lands in


def test_a_target_that_is_too_small_is_refused_beforehand(with_a_set: Machine, tmp_path: Path) -> None:
    machine = with_a_set
    with small_disk(tmp_path / "small", "2M") as disk:
        for asked in (["set", "portal"], ["files", "portal", str(machine.data)]):
            before = machine.json("--dry-run", "restore", *asked, "--into", str(disk / "back"), expect=20)
            done = machine.json("restore", *asked, "--into", str(disk / "back"), expect=20)
            for said in (before, done):
                facts = full(said)
                assert facts["needed"] > facts["free"] > 0 and facts["needed"] >= 3 << 20
            assert list(disk.iterdir()) == []
        resize(disk, "32M")
        machine("resume", done.document["run"], expect=0)
        assert tree(disk / "back" / machine.data.name) == tree(machine.data)


def test_a_target_that_becomes_full(machine: Machine, restic: FaultyRestic, tmp_path: Path) -> None:
    """Many small files need more than their bytes, which nobody can know beforehand."""
    for number in range(300):
        (machine.data / f"{number}.txt").write_text(f"{number}\n" * 20)
    machine("backup", "run", expect=0)
    with small_disk(tmp_path / "small", "512K") as disk:
        done = machine.json("restore", "set", "portal", "--into", str(disk / "back"), expect=20)
        assert full(done)["free"] < 300 * 4096
        assert in_view(disk / "back") == []
        resize(disk, "16M")
        machine("resume", done.document["run"], expect=0)
        assert tree(Path(f"{disk}/back/files{machine.data}")) == tree(machine.data)
        assert hidden(disk) == []
    nothing_left(machine)


@pytest.mark.parametrize("what", ["set", "files"])
def test_what_a_killed_restore_left_is_counted_as_free(
    with_a_set: Machine,
    restic: FaultyRestic,
    tmp_path: Path,
    what: str,
) -> None:
    """The first attempt has filled half of the disk; the second one clears that away and has room."""
    machine = with_a_set
    with small_disk(tmp_path / "small", "5M") as disk:
        into = disk / "back"
        asked = [
            "restore",
            what,
            "portal",
            *([str(machine.data)] if what == "files" else []),
            "--into",
            str(into),
        ]
        run, _ = kill_at_call(machine, restic, asked, "restore --json", "after", "opsctl")
        assert free(disk) < 3 << 20 and in_view(into) == []
        machine("resume", run, expect=0)
        if what == "set":
            equal(machine, into)
        else:
            assert tree(into / machine.data.name) == tree(machine.data)
        assert hidden(disk) == []


def test_a_target_that_cannot_be_written(with_a_set: Machine, tmp_path: Path) -> None:
    machine = with_a_set
    (tmp_path / "file").write_text("no folder")
    with small_disk(tmp_path / "small", "16M") as disk:
        read_only(disk)
        for asked in (["set", "portal"], ["files", "portal", str(machine.data)]):
            for place in (disk / "back", tmp_path / "file" / "back"):
                done = machine.json("restore", *asked, "--into", str(place), expect=20)
                assert str(place.parent) in done.errors[0]["message"]
        read_only(disk, False)
        machine("restore", "set", "portal", "--into", str(disk / "back"), expect=0)
        equal(machine, disk / "back")


# The state directory and the journal


def test_a_state_directory_without_a_free_byte(with_a_set: Machine, tmp_path: Path) -> None:
    machine = with_a_set
    machine("status", expect=0)
    with small_disk(tmp_path / "small", "4M") as disk:
        machine.state = move(machine.state, disk)
        machine.configure()
        seen = machine.snapshots()
        ballast = fill(disk)
        done = machine.json("backup", "run", expect=20)
        assert full(done)["free"] == 0 and full(done)["needed"] > 0
        assert machine.snapshots() == seen  # nothing was begun that could not be written down
        assert [one["state"] for one in machine.json("backup", "list", expect=0).result["sets"]] == ["good"]
        standing = machine.json("status", expect=0).result["backups"]["portal"]
        assert (standing["state"], standing["states"]) == ("ok", {"good": 1})
        machine("status", "--refresh", expect=0)
        machine("runs", expect=0)
        machine("journal", "verify", expect=0)
        ballast.unlink()
        assert machine.json("status", expect=0).result["backups"]["portal"]["state"] == "ok"
        machine("backup", "run", expect=0)
        machine("restore", "set", "portal", "--into", str(tmp_path / "back"), expect=0)
        assert tree(Path(f"{tmp_path}/back/files{machine.data}")) == tree(machine.data)
        nothing_left(machine)


def test_a_state_directory_that_cannot_be_written(with_a_set: Machine, tmp_path: Path) -> None:
    machine = with_a_set
    machine("status", expect=0)
    with small_disk(tmp_path / "small", "16M") as disk:
        machine.state = move(machine.state, disk)
        machine.configure()
        seen = machine.snapshots()
        read_only(disk)
        done = machine.json("backup", "run", expect=20)
        assert str(machine.state) in done.errors[0]["message"]
        assert machine.snapshots() == seen
        assert [one["state"] for one in machine.json("backup", "list", expect=0).result["sets"]] == ["good"]
        assert machine.json("status", "--refresh", expect=0).result["backups"]["portal"]["state"] == "ok"
        read_only(disk, False)
        machine("backup", "run", expect=0)
    machine.restic("check")


@pytest.mark.parametrize(
    "pages", [1, 2, *(pytest.param(number, marks=pytest.mark.full) for number in range(3, 8))]
)
def test_a_state_directory_that_becomes_full(with_a_set: Machine, tmp_path: Path, pages: int) -> None:
    """Wherever in a run the last page is taken: 20, only whole sets are counted, and resume finishes."""
    machine = with_a_set
    with small_disk(tmp_path / "small", "4M") as disk:
        machine.state = move(machine.state, disk)
        machine.configure()
        before = len(lines(machine))
        ballast = fill(disk, leave=pages * 4096)
        done = machine.json("backup", "run")
        assert done.code in ((20, 0) if pages > 2 else (20,)), done
        if done.code:
            assert full(done)["free"] < 4096 * (pages + 1)
        ballast.unlink()
        if len(lines(machine)) > before:
            run = str(lines(machine)[-1]["run"])
            machine("resume", run, expect=0)
            assert len(snapshots(machine, set_of(run), "manifest")) == 1
        else:
            machine("backup", "run", expect=0)
        machine("restore", "set", "portal", "--into", str(tmp_path / "back"), expect=0)
        assert tree(Path(f"{tmp_path}/back/files{machine.data}")) == tree(machine.data)
        nothing_left(machine)


def test_a_disk_on_which_the_manifest_finds_no_room(with_a_set: Machine, tmp_path: Path) -> None:
    """The sources are captured, and then the last document has nowhere to be written: one failure, of the whole set."""
    machine = with_a_set
    machine.configure()
    (machine.etc / "long.yaml").write_text("# carried with the manifest\n" * 20_000 + "organisation: {name: Tests}\n")
    with small_disk(machine.state / "runs", "1M") as disk:
        fill(disk, leave=400 * 1024)
        done = machine.json("backup", "run", expect=20)
        assert full(done)["free"] < full(done)["needed"]
        assert str(disk) in done.errors[0]["message"]
        (disk / "ballast").unlink()
        machine("resume", done.document["run"], expect=0)
    nothing_left(machine)


@pytest.mark.parametrize(
    "pages", [0, 1, *(pytest.param(number, marks=pytest.mark.full) for number in (2, 3))]
)
def test_a_journal_that_becomes_full(with_a_set: Machine, tmp_path: Path, pages: int) -> None:
    machine = with_a_set
    machine.configure()
    journal = machine.state / "journal"
    kept = tmp_path / "journal"
    shutil.copytree(journal, kept)
    with small_disk(journal, "1M") as disk:
        shutil.copytree(kept, disk, dirs_exist_ok=True)
        before = len(lines(machine))
        ballast = fill(disk, leave=pages * 4096)
        done = machine.json("backup", "run")
        assert done.code == 20 or (done.code == 0 and pages > 0), done  # the last page may have had room for a whole run
        if done.code:
            facts = full(done)
            assert facts["needed"] > 0 and facts["free"] <= pages * 4096
            assert "journal" in done.errors[0]["message"]
        machine("journal", "verify", expect=0)
        good = [
            one["set"]
            for one in machine.json("backup", "list", expect=0).result["sets"]
            if one["state"] == "good"
        ]
        assert all(len(snapshots(machine, found, "manifest")) == 1 for found in good)
        ballast.unlink()
        if len(lines(machine)) > before:
            machine("resume", str(lines(machine)[-1]["run"]), expect=0)
        else:
            machine("backup", "run", expect=0)
        machine("restore", "set", "portal", "--into", str(tmp_path / "back"), expect=0)
        assert tree(Path(f"{tmp_path}/back/files{machine.data}")) == tree(machine.data)
        nothing_left(machine)
