"""What a crash, a full disk or a damaged file does to the journal, and what it does about it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opsctl.engine import journal as journal_module
from opsctl.engine.journal import Journal
from opsctl.engine.journal_verify import verify
from opsctl.errors import DamagedData, OpsError, ProgramFailed
from tests.engine.journals import at_noon, child, lines, texts, write


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "state" / "journal", at_noon)


def test_kill_at_any_moment_leaves_a_chain_that_holds(tmp_path: Path) -> None:
    script = """
n = 0
while True:
    entry = journal.append("a", {"n": n, "filling": "x" * (n * 37 % 5000)})
    print(entry.seq, flush=True)
    n += 1
"""
    directory = tmp_path / "journal"
    acknowledged = 0
    for turn in range(12):
        writer = child(script, str(directory))
        assert writer.stdout is not None
        for _ in range(turn * 2 + 1):
            acknowledged = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        rest, _ = writer.communicate(timeout=60)
        seen = [int(number) for number in rest.split(b"\n")[:-1] if number]
        acknowledged = seen[-1] if seen else acknowledged
        entry = Journal(directory, at_noon).append("look", {"turn": turn})
        assert entry.seq > acknowledged
        verdict = verify(directory)
        assert verdict.problems == [] and verdict.notes == [] and verdict.last_seq == entry.seq


@pytest.mark.parametrize("torn", [b'{"data":{"n":9},"hash":"01', b"\0" * 300, b'{"data":{}}\n',
                                  b"\xff\xfe\n", b"\0" * 10 + b'rest"}\n{"data":{}}\n'])
def test_a_torn_last_line_is_cut_off_kept_and_said(journal: Journal, torn: bytes) -> None:
    write(journal, 1, 2)
    segment = journal.directory / "000001.jsonl"
    with segment.open("ab") as file:
        file.write(torn)
    assert [entry.seq for entry in journal.read(on_damage=lambda _: None)] == [1, 2]
    found = verify(journal.directory)
    if torn.count(b"\n") < 2:
        assert found.problems == [] and "torn" in found.notes[0] and found.last_seq == 2
    for again in (journal, Journal(journal.directory, at_noon)):
        again.append("step.end", {"n": 3})
    kinds = [(entry.seq, entry.type) for entry in journal.read()]
    assert kinds == [(1, "step.begin"), (2, "step.begin"), (3, "journal.repaired"), (4, "step.end"),
                     (5, "step.end")]
    assert (journal.directory / "torn-3").read_bytes() == torn
    said = next(journal.read(types=["journal.repaired"])).data
    assert said["what"] == "torn line" and said["kept"] == ["torn-3"] and said["segment"] == "000001.jsonl"
    assert verify(journal.directory).problems == []


def test_a_repair_that_was_cut_short_is_still_said(journal: Journal) -> None:
    write(journal, 1)
    (journal.directory / "torn-2").write_bytes(b"half")      # killed after the cut, before its line
    with (journal.directory / "000001.jsonl").open("ab") as file:
        file.write(b"half again")
    write(Journal(journal.directory, at_noon), 2)
    assert next(journal.read(types=["journal.repaired"])).data["kept"] == ["torn-2", "torn-2.1"]


def test_lines_after_head_are_taken_in(journal: Journal) -> None:
    write(journal, 1)
    old = (journal.directory / "HEAD").read_bytes()
    write(journal, 2, 3)
    (journal.directory / "HEAD").write_bytes(old)
    found = verify(journal.directory)
    assert found.problems == [] and "behind" in found.notes[0] and found.last_seq == 3
    write(Journal(journal.directory, at_noon), 4)
    assert texts(journal) == [1, 2, 3, 4]
    assert verify(journal.directory).notes == []


def test_head_behind_by_whole_segments_is_caught_up_with(
        journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "SEGMENT_BYTES", 600)
    write(journal, 1)
    old = (journal.directory / "HEAD").read_bytes()
    write(journal, *range(2, 10))
    (journal.directory / "HEAD").write_bytes(old)
    write(journal, 10)
    assert texts(journal) == list(range(1, 11)) and verify(journal.directory).problems == []


@pytest.mark.parametrize("head", [None, b"", b"\0" * 100, b"{}", b'{"format":9}', b'{"format":1,"seq":"2"}'])
@pytest.mark.parametrize("torn", [b"", b'{"half', b"{}\n"])
def test_head_gone_or_unreadable_is_made_anew_and_said(
        journal: Journal, head: bytes | None, torn: bytes) -> None:
    write(journal, 1, 2)
    place = journal.directory / "HEAD"
    place.unlink() if head is None else place.write_bytes(head)
    with (journal.directory / "000001.jsonl").open("ab") as file:
        file.write(torn)
    assert [problem.file for problem in verify(journal.directory).problems] == ["HEAD"]
    write(journal, 3)
    said = [entry.data["what"] for entry in journal.read(types=["journal.repaired"])]
    assert said == ["HEAD", "torn line"] if torn else said == ["HEAD"]
    assert verify(journal.directory).problems == []


def test_an_empty_new_segment_of_a_dead_process_is_used(journal: Journal) -> None:
    write(journal, 1)
    (journal.directory / "000002.jsonl").touch()
    assert verify(journal.directory).problems == []
    for again in (journal, Journal(journal.directory, at_noon)):
        write(again, 2)
    assert len(lines(journal, "000002.jsonl")) == 2
    assert verify(journal.directory).problems == []
    (journal.directory / "HEAD").unlink()
    (journal.directory / "000003.jsonl").touch()
    write(journal, 3)
    assert verify(journal.directory).problems == []


def damage(journal: Journal, change: Any) -> None:
    path = journal.directory / "000001.jsonl"
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


def test_old_damage_holds_no_append_up_and_stays_a_finding(journal: Journal) -> None:
    write(journal, 1, 2, 3)
    damage(journal, lambda lines: [lines[0].replace(b'"n":1', b'"n":7'), *lines[1:]])
    for again in (journal, Journal(journal.directory, at_noon)):
        write(again, 4)
    assert [str(problem) for problem in verify(journal.directory).problems] == [
        "000001.jsonl:1: was edited: its content does not match its hash"]
    with pytest.raises(DamagedData, match=r"000001.jsonl line 1"):
        list(journal.read())
    met: list[DamagedData] = []
    assert [entry.seq for entry in journal.read(on_damage=met.append)] == [2, 3, 4, 5] and len(met) == 1


@pytest.mark.parametrize(("change", "line", "says"), [
    (lambda lines: lines[:-1], 2, "HEAD knows of seq 3"),
    (lambda lines: [*lines[:-1], lines[-1][:-9]], 2, "HEAD knows of seq 3"),
    (lambda lines: [*lines[:-1], lines[-1].replace(b'"n":3', b'"n":30')], 3, "not the line of seq 3"),
    (lambda lines: [lines[0], lines[2]], 2, "HEAD knows of seq 3"),
])
def test_lines_that_do_not_lead_to_head_stop_an_append(
        journal: Journal, change: Any, line: int, says: str) -> None:
    write(journal, 1, 2, 3)
    damage(journal, change)
    before = (journal.directory / "000001.jsonl").read_bytes()
    for again in (journal, Journal(journal.directory, at_noon)):
        with pytest.raises(DamagedData, match=says) as raised:
            again.append("a", {})
        assert raised.value.details["line"] == line
        assert raised.value.where == f"{journal.directory}/000001.jsonl:{line}"
    assert (journal.directory / "000001.jsonl").read_bytes() == before


def test_damage_after_head_stops_an_append(journal: Journal) -> None:
    write(journal, 1)
    old = (journal.directory / "HEAD").read_bytes()
    write(journal, 2, 3, 4)
    (journal.directory / "HEAD").write_bytes(old)
    damage(journal, lambda lines: [lines[0], lines[2], lines[3]])
    with pytest.raises(DamagedData, match="line 2: seq 3 does not follow seq 1"):
        write(journal, 5)
    damage(journal, lambda lines: [lines[0], b"{}\n", lines[2]])
    with pytest.raises(DamagedData, match="line 2: it is no journal line"):
        write(journal, 5)


def test_a_missing_segment_stops_an_append(journal: Journal) -> None:
    write(journal, 1)
    (journal.directory / "000001.jsonl").unlink()
    with pytest.raises(DamagedData, match="the file is missing"):
        write(journal, 2)


def test_going_on_after_damage_is_a_decision_that_stays_visible(journal: Journal) -> None:
    write(journal, 1, 2, 3)
    damage(journal, lambda lines: lines[:-1])
    said = journal.go_on("asha: disk replaced")
    assert (said.seq, said.type) == (4, "journal.damaged")
    write(journal, 5)
    write(Journal(journal.directory, at_noon), 6)
    assert [entry.seq for entry in journal.read()] == [1, 2, 4, 5, 6]
    assert [entry.data for entry in journal.read(types=["journal.damaged"])] == [
        {"reason": "asha: disk replaced", "after": 3}]
    assert [str(problem) for problem in verify(journal.directory).problems] == [
        "000001.jsonl:2: seq 3 is missing after this line"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]).returncode:
        pytest.skip("mounting is not allowed here, even to root")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> Path:
    filling = disk / "filling"
    with filling.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return filling


def test_a_full_disk_leaves_no_half_line_and_says_what_was_needed(small_disk: Path) -> None:
    journal = Journal(small_disk / "journal", at_noon)
    write(journal, 1)
    filling = fill(small_disk)
    before = (journal.directory / "000001.jsonl").read_bytes()
    with pytest.raises(ProgramFailed, match="full") as raised:
        for _ in range(100):        # the page that is begun may still have room
            journal.append("a", {"filling": "y" * 3000})
            before = (journal.directory / "000001.jsonl").read_bytes()
    assert raised.value.details["needed"] > 3000 and raised.value.details["free"] < 4096
    assert (journal.directory / "000001.jsonl").read_bytes() == before
    assert verify(journal.directory).problems == []
    filling.unlink()
    journal.append("a", {"room": True})
    assert verify(journal.directory).problems == [] and verify(journal.directory).notes == []
    assert not list(journal.directory.glob("torn*"))


def test_lines_nobody_waits_for_outlive_a_full_disk(
        small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "_QUEUE_SECONDS", 1e9)
    monkeypatch.setattr(journal_module, "_QUEUE_LINES", 50)
    journal = Journal(small_disk / "journal", at_noon)
    write(journal, 0)
    filling = fill(small_disk)
    taken: list[int] = []
    refused = 0
    for n in range(1, 200):
        try:
            journal.append("a", {"n": n, "filling": "y" * 500}, durable=False)
            taken.append(n)
        except OpsError:
            refused += 1
    assert refused and len(journal._queue) <= 50
    with pytest.raises(ProgramFailed):
        journal.flush()
    filling.unlink()
    journal.flush()
    assert texts(journal) == [0, *taken]


def test_a_new_segment_on_a_full_disk_is_taken_back(
        small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "SEGMENT_BYTES", 300)
    journal = Journal(small_disk / "journal", at_noon)
    write(journal, 1)
    filling = fill(small_disk)
    with pytest.raises(ProgramFailed):
        journal.append("a", {"filling": "y" * 9000})
    assert verify(journal.directory).problems == []
    filling.unlink()
    write(journal, 2)
    assert texts(journal) == [1, 2] and verify(journal.directory).problems == []
