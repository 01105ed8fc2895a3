"""kill -9 at any step boundary, of opsctl or restic: resume finishes, and nothing looks finished before."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.badluck import faults
from tests.badluck.faults import FaultyRestic, at, kill_at_call, kill_at_line, lines, locked, until
from tests.badluck.scene import equal, furnish, hidden, in_view, nothing_left, set_of, snapshots, with_both
from tests.machine import Machine, tree


def unfinished(machine: Machine, run: str) -> None:
    """Between the kill and the resume a set is good only where its manifest is stored."""
    sets = {one["set"]: one["state"] for one in machine.json("backup", "list", expect=0).result["sets"]}
    stored = snapshots(machine, set_of(run), "manifest")
    assert sets.get(set_of(run), "incomplete") == ("good" if stored else "incomplete")
    found = {one["run"]: one["state"] for one in machine.json("runs", expect=0).result["runs"]}
    assert found[run] in ("interrupted", "ended")


def finish_backup(machine: Machine, run: str, into: Path) -> str:
    """Resume; the set is whole, was committed once, and restores to equal content."""
    unfinished(machine, run)
    machine("resume", run, expect=0)
    set_id = set_of(run)
    assert len(snapshots(machine, set_id, "manifest")) == 1
    sets = machine.json("backup", "list", expect=0).result["sets"]
    assert [one["state"] for one in sets if one["set"] == set_id] == ["good"]
    machine("restore", "set", "portal", "--set", set_id, "--into", str(into), expect=0)
    equal(machine, into)
    nothing_left(machine)
    return set_id


@pytest.mark.parametrize(("type", "change"), [("change.done", "source:files"), ("change.begin", "manifest")])
def test_promise_7_what_was_done_is_not_done_again_what_was_not_is(
    machine: Machine,
    restic: FaultyRestic,
    tmp_path: Path,
    type: str,
    change: str,
) -> None:
    furnish(machine)
    run = kill_at_line(machine, restic, ["backup", "run"], at(type, change=change))
    before = snapshots(machine, set_of(run), "source=files")
    set_id = finish_backup(machine, run, tmp_path / "back")
    assert snapshots(machine, set_id, "source=files") == before and len(before) == 1


def test_promise_7_a_manifest_that_nobody_wrote_down_is_seen(
    machine: Machine,
    restic: FaultyRestic,
    tmp_path: Path,
) -> None:
    furnish(machine)
    run, done = kill_at_call(machine, restic, ["backup", "run"], "--tag manifest", "after", "opsctl")
    assert restic.struck and done.code == -signal.SIGKILL
    assert len(snapshots(machine, set_of(run), "manifest")) == 1
    assert not any(
        line["type"] == "change.done" and line["data"]["change"] == "manifest" for line in lines(machine)
    )
    finish_backup(machine, run, tmp_path / "back")


@pytest.mark.parametrize("victim", ["opsctl", "restic"])
def test_promise_7_killed_while_data_is_on_its_way(
    machine: Machine,
    restic: FaultyRestic,
    tmp_path: Path,
    victim: str,
) -> None:
    furnish(machine)
    restic.brake()
    process = machine.start("--json", "backup", "run", env=restic.env)
    child = restic.pid("source=files")
    until(lambda: locked(machine), "a lock of restic")
    os.kill(process.pid if victim == "opsctl" else child, signal.SIGKILL)
    restic.release()
    done = faults.ended(process)
    faults.all_gone(machine, restic)
    if victim == "restic":
        # The other source is in, one is not: the set is not whole.
        assert done.code == 3 and done.document["errors"][0]["code"] == 20
    run = str(lines(machine)[-1]["run"])
    assert snapshots(machine, set_of(run), "source=files") == []
    finish_backup(machine, run, tmp_path / "back")


@pytest.mark.parametrize(
    ("moment", "victim"),
    [("after", "opsctl"), pytest.param("after", "restic", marks=pytest.mark.full), pytest.param("before", "restic", marks=pytest.mark.full)]
)
def test_promise_7_making_a_repository(
    machine: Machine,
    restic: FaultyRestic,
    tmp_path: Path,
    moment: str,
    victim: str,
) -> None:
    shutil.rmtree(machine.store)
    machine.forget()
    run, done = kill_at_call(machine, restic, ["backup", "init"], "init", moment, victim)
    assert restic.struck and done.code in (-signal.SIGKILL, 20)
    assert not (machine.state / "repositories" / "main.json").exists()
    machine("resume", run, expect=0)
    furnish(machine)
    set_id = machine.json("backup", "run", expect=0).result["backups"]["portal"]["set"]
    machine("restore", "set", "portal", "--set", set_id, "--into", str(tmp_path / "back"), expect=0)
    equal(machine, tmp_path / "back")
    nothing_left(machine)


@pytest.mark.parametrize(("left", "how"), [
    pytest.param(left, how, marks=() if (left, how) in (("a key", "anew"), ("half a key", "resume")) else pytest.mark.full)
    for left in ("a key", "half a key", "folders") for how in ("resume", "anew")])
def test_promise_7_a_repository_that_was_begun(
    machine: Machine, restic: FaultyRestic, left: str, how: str
) -> None:
    """restic makes folders, then writes a key, and the config last. Killed before that it leaves no repository."""
    shutil.rmtree(machine.store)
    machine.forget()
    run, _ = kill_at_call(machine, restic, ["backup", "init"], "init", "after", "opsctl")
    (machine.store / "config").unlink()
    key = next((machine.store / "keys").iterdir())
    if left == "half a key":
        key.rename(key.with_name(f"{key.name}-tmp-1234"))
    elif left == "folders":
        key.unlink()
    machine(*(["resume", run] if how == "resume" else ["backup", "init"]), expect=0)
    assert len(list((machine.store / "keys").iterdir())) == 1
    machine.restic("check")
    nothing_left(machine)


def test_a_key_that_is_not_ours_is_left_alone(machine: Machine, restic: FaultyRestic) -> None:
    """A repository without its config is damage, not an attempt of ours: its key may still be worth something."""
    (machine.store / "config").unlink()
    key = next((machine.store / "keys").iterdir())
    content = key.read_bytes()
    machine.forget()
    for _ in range(2):
        machine("backup", "init", expect=23)
    assert key.read_bytes() == content


def verifications(machine: Machine, run: str) -> int:
    return sum("verification" in one["tags"] for one in machine.snapshots())


@pytest.mark.parametrize("victim", ["opsctl", "restic"])
def test_promise_7_killed_while_restic_checks(with_a_set: Machine, restic: FaultyRestic, victim: str) -> None:
    machine = with_a_set
    restic.brake()
    process = machine.start("--json", "verify", "--level", "data", "--share", "all", env=restic.env)
    child = restic.pid("check")
    until(lambda: locked(machine), "a lock of restic")
    os.kill(process.pid if victim == "opsctl" else child, signal.SIGKILL)
    restic.release()
    done = faults.ended(process)
    faults.all_gone(machine, restic)
    if victim == "restic":
        assert done.code == 20 and "signal 9" in done.document["errors"][0]["message"]
    run = str(lines(machine)[-1]["run"])
    assert verifications(machine, run) == 0
    found = machine.json("resume", run, expect=0).result["steps"]
    assert [step["outcome"] for step in found] == ["ok", "changed"]
    assert verifications(machine, run) == 1
    nothing_left(machine)


def test_promise_7_a_verification_is_recorded_once(with_a_set: Machine, restic: FaultyRestic) -> None:
    machine = with_a_set
    run, done = kill_at_call(machine, restic, ["verify"], "--tag verification", "after", "opsctl")
    assert restic.struck and done.code == -signal.SIGKILL and verifications(machine, run) == 1
    machine("resume", run, expect=0)
    assert verifications(machine, run) == 1
    nothing_left(machine)


@pytest.mark.parametrize("change", ["files:tax", "show"])
def test_promise_7_restoring_a_set(
    with_a_set: Machine, restic: FaultyRestic, tmp_path: Path, change: str
) -> None:
    machine = with_a_set
    into = tmp_path / "back"
    run = kill_at_line(
        machine,
        restic,
        ["restore", "set", "portal", "--into", str(into)],
        at("change.done" if change == "files:tax" else "change.begin", change=change),
    )
    if into.exists():  # renamed in the instant between the line and the kill
        equal(machine, into)
    machine("resume", run, expect=0)
    equal(machine, into)
    assert hidden(tmp_path) == []
    nothing_left(machine)


@pytest.mark.parametrize("victim", ["opsctl", "restic"])
@pytest.mark.parametrize("what", ["set", "files"])
def test_promise_7_killed_while_files_come_back(
    with_a_set: Machine,
    restic: FaultyRestic,
    tmp_path: Path,
    what: str,
    victim: str,
) -> None:
    machine = with_a_set
    into = tmp_path / "into" / "back"
    asked = [
        "restore",
        what,
        "portal",
        *([str(machine.data)] if what == "files" else []),
        "--into",
        str(into),
    ]
    restic.brake()
    process = machine.start("--json", *asked, env=restic.env)
    child = restic.pid("restore --json")
    until(lambda: any(tmp_path.glob(f"into/**{machine.data}/below")), "a folder that comes back")
    os.kill(process.pid if victim == "opsctl" else child, signal.SIGKILL)
    restic.release()
    faults.ended(process)
    faults.all_gone(machine, restic)
    assert in_view(into) == []
    run = str(lines(machine)[-1]["run"])
    machine("resume", run, expect=0)
    if what == "set":
        equal(machine, into)
    else:
        assert tree(into / machine.data.name) == tree(machine.data)
    assert hidden(tmp_path / "into") == []
    nothing_left(machine)


def test_promise_7_one_file_over_another(with_a_set: Machine, restic: FaultyRestic, tmp_path: Path) -> None:
    """Killed when the old file has just been set aside: both are there in the end."""
    machine = with_a_set
    into = tmp_path / "into"
    into.mkdir()
    (into / "scan.bin").write_bytes(b"of today")
    wanted = machine.data / "scan.bin"
    run, _ = kill_at_call(
        machine,
        restic,
        ["restore", "files", "portal", str(wanted), "--into", str(into), "--replace"],
        "restore --json",
        "after",
        "opsctl",
    )
    assert (into / "scan.bin").read_bytes() == b"of today"
    os.rename(
        into / "scan.bin", into / f"scan.bin.before-{run}"
    )  # as far as it would have come a moment later
    machine("resume", run, expect=0)
    assert (into / "scan.bin").read_bytes() == wanted.read_bytes()
    assert (into / f"scan.bin.before-{run}").read_bytes() == b"of today"
    assert hidden(into) == []


# Every point, for --full.


def copies(machine: Machine, tmp_path: Path) -> Iterator[Machine]:
    """Machines like this one, without end."""
    for number in count(1):
        root = tmp_path / f"copy-{number}"
        shutil.copytree(machine.root, root, symlinks=True)
        copy = Machine(root)
        with_both(copy)
        yield copy
        shutil.rmtree(root)


COMMANDS = ("backup run", "backup init", "verify", "restore set", "restore files")


def ready(machine: Machine, command: str) -> None:
    """What stands before the command."""
    furnish(machine)
    if command == "backup init":
        shutil.rmtree(machine.store)
        machine.forget()
    elif command != "backup run":
        machine("backup", "run", expect=0)


def asked(machine: Machine, command: str, into: Path) -> list[str]:
    return {
        "restore set": ["restore", "set", "portal", "--into", str(into)],
        "restore files": ["restore", "files", "portal", str(machine.data), "--into", str(into)],
    }.get(command, command.split())


def finish(machine: Machine, command: str, run: str, into: Path, data: Path) -> None:
    """Resume, or begin anew where nothing was written down; then all is as if nothing had happened."""
    assert in_view(into) == [] or tree(into)
    if run:
        machine("resume", run, expect=0)
    else:
        machine(*asked(machine, command, into), expect=0)
    if command == "backup init":
        machine("backup", "run", expect=0)
    if command in ("backup run", "backup init"):
        manifests = [one for one in machine.snapshots() if "manifest" in one["tags"]]
        assert len(manifests) == 1
        machine("restore", "set", "portal", "--into", str(into), expect=0)
    if command == "verify":
        assert verifications(machine, run) == 1
    elif command == "restore files":
        assert tree(into / data.name) == tree(data)
    else:
        assert tree(Path(f"{into}/files{data}")) == tree(data)
    machine("verify", expect=0)
    nothing_left(machine)
    assert hidden(into.parent) == []


@pytest.mark.full
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("victim", ["opsctl", "restic"])
def test_promise_7_every_restic_call(
    machine: Machine,
    restic: FaultyRestic,
    tmp_path: Path,
    command: str,
    moment: str,
    victim: str,
) -> None:
    ready(machine, command)
    for number, copy in enumerate(copies(machine, tmp_path / "copies"), 1):
        into = copy.root / "into" / "back"
        run, _ = kill_at_call(
            copy,
            restic,
            asked(machine if "restore" in command else copy, command, into),
            number,
            moment,
            victim,
        )
        if not restic.struck:
            assert number > 2
            break
        finish(copy, command, run, into, copy.data if command.startswith("backup") else machine.data)


@pytest.mark.full
@pytest.mark.parametrize("command", COMMANDS)
def test_promise_7_every_line(machine: Machine, restic: FaultyRestic, tmp_path: Path, command: str) -> None:
    ready(machine, command)
    for number, copy in enumerate(copies(machine, tmp_path / "copies"), 1):
        into = copy.root / "into" / "back"
        seen: list[int] = []

        def strikes(line: dict[str, Any], number: int = number, seen: list[int] = seen) -> bool:
            if line["seq"] not in seen:
                seen.append(line["seq"])
            return len(seen) == number

        run = kill_at_line(
            copy, restic, asked(machine if "restore" in command else copy, command, into), strikes
        )
        finish(copy, command, run, into, copy.data if command.startswith("backup") else machine.data)
        if len(seen) < number:
            assert number > 5
            break
