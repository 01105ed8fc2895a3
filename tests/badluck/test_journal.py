"""Promise 6: what happened is in the journal, a change to it shows, and something outside vouches for it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.machine import Machine

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
