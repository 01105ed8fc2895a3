"""Promise 6: what happened is in the journal, a change to it shows, and something outside vouches for it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.badluck.faults import FaultyRestic, all_gone, lines
from tests.badluck.faults import ended as end_of
from tests.badluck.scene import equal, furnish, nothing_left, set_of, snapshots
from tests.machine import PACKAGE, Machine

Change = Callable[[list[bytes]], list[bytes]]


@pytest.fixture
def kept(machine: Machine) -> Machine:
    """A machine with two runs in its journal."""
    (machine.data / "a").write_text("a")
    machine("backup", "run", expect=0)
    machine.at("2026-12-15T02:30:00+05:30")
    machine("backup", "run", "--due", expect=0)
    return machine


def segment(machine: Machine) -> Path:
    return sorted((machine.state / "journal").glob("*.jsonl"))[-1]


def edited(line: bytes) -> bytes:
    found = json.loads(line)
    found["data"]["started_by" if "started_by" in found["data"] else "outcome"] = "someone else"
    return json.dumps(found, separators=(",", ":"), sort_keys=True).encode() + b"\n"


CHANGES: dict[str, Change] = {
    "edited": lambda lines: [*lines[:4], edited(lines[4]), *lines[5:]],
    "removed": lambda lines: [*lines[:4], *lines[5:]],
    "swapped": lambda lines: [*lines[:4], lines[5], lines[4], *lines[6:]],
    "cut": lambda lines: lines[:4],
}


def test_promise_6_every_change_to_the_world_was_written_down_first(kept: Machine) -> None:
    types = [line["type"] for line in kept.json("journal", "show", "--limit", "0", expect=0).result["lines"]]
    for begun, done in (("run.bound", "run.end"), ("step.begin", "step.end"), ("change.begin", "change.done")):
        assert types.count(begun) == types.count(done) >= 2
        assert types.index(begun) < types.index(done)
    kept("journal", "verify", expect=0)


@pytest.mark.parametrize("how", CHANGES)
def test_promise_6_a_change_to_the_journal_shows_with_its_line(kept: Machine, how: str) -> None:
    path = segment(kept)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(CHANGES[how](lines)))
    found = kept.json("journal", "verify", expect=22)
    assert found.result["problems"][0]["file"].endswith(path.name)
    assert found.result["problems"][0]["line"] in (4, 5, 6)
    assert f"{path.name}:" in found.errors[0]["where"]


def test_promise_6_a_cut_journal_holds_runs_up_until_someone_says_go_on_and_the_damage_stays(kept: Machine) -> None:
    path = segment(kept)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:4]))
    damage = path.read_bytes()
    kept.at("2026-12-18T02:30:00+05:30")
    held = kept.json("backup", "run", "--due", expect=22)
    assert "opsctl journal go-on" in held.errors[0]["hint"]
    assert kept.json("journal", "go-on", "--reason", "x").code == 4, "a question, and nobody is there"
    kept("--yes", "journal", "go-on", "--reason", "the disk was at fault", expect=0)
    kept("backup", "run", "--due", expect=0)
    assert path.read_bytes() == damage
    found = kept.json("journal", "verify", expect=22)
    assert "seq 5 to" in found.result["problems"][0]["message"]


def test_going_on_in_a_whole_journal_does_nothing(kept: Machine) -> None:
    before = segment(kept).read_bytes()
    assert kept.json("--yes", "journal", "go-on", "--reason", "x", expect=0).result == {"went_on": False}
    assert segment(kept).read_bytes() == before


def test_promise_6_yesterdays_journal_put_back_is_found_by_what_the_manifests_say(kept: Machine, tmp_path: Path) -> None:
    shutil.copytree(kept.state / "journal", tmp_path / "yesterday")
    kept.at("2026-12-18T02:30:00+05:30")
    kept("backup", "run", "--due", expect=0)
    shutil.rmtree(kept.state / "journal")
    shutil.copytree(tmp_path / "yesterday", kept.state / "journal")
    assert kept("journal", "verify", "--offline").code == 0, "by itself it is whole: files and HEAD agree"
    found = kept.json("journal", "verify", expect=22)
    assert "vouche" in json.dumps(found.result) and found.errors


def test_promise_6_verify_says_what_vouches_for_each_part(kept: Machine) -> None:
    found = kept.json("journal", "verify", expect=0).result
    assert 1 <= found["vouched_to"] < found["last_seq"]
    assert "main" in str(found["vouched_by"])


# A last line that was cut off

_MID_APPEND = """
import os, signal
write = os.write
def write_half(descriptor, content):
    if b'"type":"TYPE"' in bytes(content):
        written = write(descriptor, bytes(content)[:len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    return write(descriptor, content)
os.write = write_half
"""


@pytest.mark.parametrize("type", ["change.begin", "change.done", "step.end"])
def test_promise_7_killed_in_the_middle_of_a_line(
    machine: Machine, restic: FaultyRestic, tmp_path: Path, type: str
) -> None:
    furnish(machine)
    (tmp_path / "fault").mkdir()
    (tmp_path / "fault" / "sitecustomize.py").write_text(_MID_APPEND.replace("TYPE", type))
    process = machine.start("backup", "run", env={**restic.env, "PYTHONPATH": f"{tmp_path / 'fault'}:{PACKAGE}"})
    assert end_of(process).code == -9
    all_gone(machine, restic)
    path = segment(machine)
    whole, torn = path.read_bytes().rsplit(b"\n", 1)
    assert torn and whole, "half of a line lies at the end"
    run = str(lines(machine)[-1]["run"])
    assert machine.json("runs", expect=0).result["runs"][0]["state"] == "interrupted"
    machine("show", run, expect=0)
    machine("journal", "verify", expect=0)

    said = machine("resume", run, expect=0)
    assert "the journal's last line was cut short by a crash" in said.err
    assert "cut short" not in machine("resume", run, expect=0).err
    repaired = machine.json("journal", "show", "--limit", "0", expect=0).result["lines"]
    (line,) = [line for line in repaired if line["type"] == "journal.repaired"]
    assert line["data"]["what"] == "torn line" and path.read_bytes().startswith(whole + b"\n")
    (kept,) = line["data"]["kept"]
    assert (path.parent / kept).read_bytes() == torn
    machine("journal", "verify", expect=0)
    assert len(snapshots(machine, set_of(run), "manifest")) == 1
    machine("restore", "set", "portal", "--into", str(tmp_path / "back"), expect=0)
    equal(machine, tmp_path / "back")
    nothing_left(machine)


def test_promise_6_a_last_line_cut_short_that_was_once_whole_is_damage(kept: Machine) -> None:
    path = segment(kept)
    path.write_bytes(path.read_bytes()[:-20])
    kept("journal", "verify", expect=22)
    kept("backup", "run", expect=22)
