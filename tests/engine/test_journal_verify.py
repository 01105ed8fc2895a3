"""Promise 6: a change to the journal shows, at the right line, and what vouches for each part is said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opsctl.engine import journal as journal_module
from opsctl.engine import journal_verify
from opsctl.engine.journal import Journal
from opsctl.engine.journal_lines import Entry, seal, write_body
from opsctl.engine.journal_verify import Anchor, Verdict, verify
from opsctl.errors import ProgramFailed
from tests.engine.journals import NOON, at_noon

LINES = 20
SEGMENT = 6      # lines in each of the files 1 to 3; the fourth has 2

Edit = Callable[[list[bytes]], list[bytes]]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("original") / "journal"
    with pytest.MonkeyPatch.context() as patch:
        journal = Journal(directory, at_noon)
        write_lines(journal, 1)
        size = (directory / "000001.jsonl").stat().st_size
        patch.setattr(journal_module, "SEGMENT_BYTES", size * SEGMENT + SEGMENT)
        for n in range(2, LINES + 1):
            write_lines(journal, n)
    assert [path.read_bytes().count(b"\n") for path in sorted(directory.glob("*.jsonl"))] == [6, 6, 6, 2]
    return directory


@pytest.fixture
def place(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "journal"))


def write_lines(journal: Journal, *numbers: int) -> None:
    for n in numbers:
        journal.append("step.begin", {"n": f"{n:04}", "step": "dump"}, run="r")


def change(directory: Path, segment: int, edit: Edit) -> None:
    path = directory / f"{segment:06d}.jsonl"
    path.write_bytes(b"".join(edit(path.read_bytes().splitlines(keepends=True))))


def places(verdict: Verdict) -> list[tuple[str, int]]:
    return [(problem.file, problem.line) for problem in verdict.problems]


def anchor(directory: Path, seq: int, by: str = "set portal/7") -> Anchor:
    found = next(entry for entry in Journal(directory, at_noon).read() if entry.seq == seq)
    return Anchor(seq, found.hash, by)


def rehash(line: bytes, **fields: Any) -> bytes:
    """The line with other data, and a hash that is right again."""
    found = json.loads(line)
    found.update(fields)
    body = write_body(found["type"], found["data"], found["run"], NOON)
    return seal(body, found["seq"], found["prev"])[0]


def at(index: int, replacement: Callable[[bytes], bytes]) -> Edit:
    return lambda lines: [*lines[:index], replacement(lines[index]), *lines[index + 1:]]


def test_an_untouched_journal_has_no_problem(original: Path) -> None:
    last = list(Journal(original, at_noon).read())[-1]
    assert verify(original) == Verdict(LINES, LINES, last.hash, [], 0, None)


def test_an_anchor_vouches_for_all_lines_up_to_its_own(original: Path) -> None:
    anchors = [anchor(original, 4), anchor(original, 15, "set portal/9"), anchor(original, 9)]
    verdict = verify(original, anchors)
    assert verdict.problems == []
    assert (verdict.vouched_from, verdict.vouched_seq, verdict.vouched_by) == (1, 15, "set portal/9")


@pytest.mark.parametrize("segment", [1, 2, 4])
@pytest.mark.parametrize("index", [0, 1])
def test_an_edited_line_is_named(place: Path, segment: int, index: int) -> None:
    for old, new in ((b"dump", b"pump"), (b'"run":"r"', b'"run":"s"'), (b"12:00", b"11:00"),
                     (b'"v":1', b'"v":2'), (b"step.begin", b"step.end")):
        before = (place / f"{segment:06d}.jsonl").read_bytes()
        change(place, segment, at(index, lambda line, old=old, new=new: line.replace(old, new)))
        verdict = verify(place)
        assert places(verdict)[0] == (f"{segment:06d}.jsonl", index + 1), (old, verdict.problems)
        assert "was edited" in verdict.problems[0].message
        assert len(verdict.problems) == 1
        (place / f"{segment:06d}.jsonl").write_bytes(before)


@pytest.mark.parametrize("field", ["seq", "prev", "hash"])
@pytest.mark.parametrize("index", [0, 2, 5])
def test_an_edited_number_or_hash_is_named_once(place: Path, field: str, index: int) -> None:
    def edit(line: bytes) -> bytes:
        found = json.loads(line)
        old = f'"{field}":{json.dumps(found[field])}'.encode()
        return line.replace(old, f'"{field}":{json.dumps(13 if field == "seq" else "f" * 64)}'.encode())

    change(place, 2, at(index, edit))
    verdict = verify(place)
    assert places(verdict) == [("000002.jsonl", index + 1)], verdict.problems


@pytest.mark.parametrize(
    "text", [b"\n", b"{}\n", b"not a line\n", b"\xff\n", b"\0\0\n", b"[1,2]\n", b"[" * 9999 + b"\n"])
def test_a_line_made_unreadable_is_named(place: Path, text: bytes) -> None:
    for segment, index in ((1, 0), (2, 3), (4, 1)):
        before = (place / f"{segment:06d}.jsonl").read_bytes()
        change(place, segment, at(index, lambda _: text))
        assert places(verify(place)) == [(f"{segment:06d}.jsonl", index + 1)]
        (place / f"{segment:06d}.jsonl").write_bytes(before)


@pytest.mark.parametrize("text", [b"\n", b"{}\n", b"not a line\n"])
@pytest.mark.parametrize("index", [0, 3])
def test_rubbish_put_in_is_named(place: Path, text: bytes, index: int) -> None:
    change(place, 2, lambda lines: [*lines[:index], text, *lines[index:]])
    assert places(verify(place)) == [("000002.jsonl", index + 1)]


def test_a_reformatted_line_is_an_edited_one(place: Path) -> None:
    change(place, 2, at(2, lambda line: json.dumps(json.loads(line)).encode() + b"\n"))
    assert places(verify(place)) == [("000002.jsonl", 3)]


@pytest.mark.parametrize(("segment", "index", "file", "line", "says"), [
    (1, 0, "000001.jsonl", 1, "seq 1 is missing before this line"),
    (1, 2, "000001.jsonl", 3, "seq 3 is missing before this line"),
    (2, 0, "000001.jsonl", 6, "seq 7 is missing after this line"),
    (2, 5, "000002.jsonl", 5, "seq 12 is missing after this line"),
    (4, 0, "000003.jsonl", 6, "seq 19 is missing after this line"),
    (4, 1, "000004.jsonl", 1, "cut after this line: HEAD knows of seq 20"),
])
def test_a_removed_line_is_named(
        place: Path, segment: int, index: int, file: str, line: int, says: str) -> None:
    change(place, segment, lambda lines: lines[:index] + lines[index + 1:])
    verdict = verify(place)
    assert places(verdict) == [(file, line)] and says in verdict.problems[0].message


def test_several_removed_lines_are_one_problem(place: Path) -> None:
    change(place, 2, lambda lines: lines[:1] + lines[4:])
    assert [str(problem) for problem in verify(place).problems] == [
        "000002.jsonl:2: seq 8 to 10 are missing before this line"]


@pytest.mark.parametrize(("segment", "index"), [(1, 0), (1, 2), (2, 0), (2, 3), (2, 4), (4, 0)])
def test_swapped_lines_are_named(place: Path, segment: int, index: int) -> None:
    anchors = [anchor(place, seq) for seq in range(1, LINES + 1)]
    change(place, segment, lambda lines: [*lines[:index], lines[index + 1], lines[index], *lines[index + 2:]])
    verdict = verify(place, anchors)
    assert places(verdict) == [(f"{segment:06d}.jsonl", index + 1)]
    assert "out of order" in verdict.problems[0].message


def test_a_moved_line_is_named_where_it_lacks_and_where_it_is(place: Path) -> None:
    line = (place / "000001.jsonl").read_bytes().splitlines(keepends=True)[2]
    change(place, 1, lambda lines: lines[:2] + lines[3:])
    change(place, 3, lambda lines: [*lines[:4], line, *lines[4:]])
    assert places(verify(place)) == [("000001.jsonl", 3), ("000003.jsonl", 5)]


def test_a_copied_line_is_named(place: Path) -> None:
    line = (place / "000001.jsonl").read_bytes().splitlines(keepends=True)[2]
    change(place, 2, lambda lines: [*lines[:3], line, *lines[3:]])
    verdict = verify(place)
    assert places(verdict) == [("000002.jsonl", 4)] and "copied" in verdict.problems[0].message
    change(place, 2, lambda lines: lines[:3] + lines[4:])
    change(place, 1, lambda lines: [*lines[:3], line, *lines[3:]])      # right behind itself
    assert places(verify(place)) == [("000001.jsonl", 4)]


@pytest.mark.parametrize(("segment", "index"), [(1, 1), (2, 0), (2, 3), (4, 1)])
def test_a_forged_line_put_in_with_a_right_hash_is_named(place: Path, segment: int, index: int) -> None:
    change(place, segment, lambda lines: [
        *lines[:index], rehash(lines[index], data={"n": "forged"}), *lines[index:]])
    verdict = verify(place)
    assert places(verdict)[0] == (f"{segment:06d}.jsonl", index + 1), verdict.problems


@pytest.mark.parametrize(("segment", "index"), [(1, 0), (1, 3), (2, 0), (2, 5), (4, 0)])
def test_a_line_changed_and_hashed_anew_is_named(place: Path, segment: int, index: int) -> None:
    change(place, segment, at(index, lambda line: rehash(line, data={"n": "changed"})))
    verdict = verify(place)
    assert places(verdict) == [(f"{segment:06d}.jsonl", index + 1)]
    assert "new hash" in verdict.problems[0].message


def test_the_last_line_changed_and_hashed_anew_is_known_to_head(place: Path) -> None:
    change(place, 4, at(1, lambda line: rehash(line, data={"n": "changed"})))
    verdict = verify(place)
    assert places(verdict) == [("000004.jsonl", 2)] and "HEAD" in verdict.problems[0].message


def rewrite_from(directory: Path, seq: int, *, head: bool) -> None:
    """What an attacker who has this machine can do: every hash from a changed line on made right again."""
    prev = None
    end = None
    for path in sorted(directory.glob("*.jsonl")):
        fresh = b""
        for line in path.read_bytes().splitlines(keepends=True):
            found = json.loads(line)
            if found["seq"] >= seq:
                data = {"n": "changed"} if found["seq"] == seq else found["data"]
                body = write_body(found["type"], data, found["run"], NOON)
                line, prev = seal(body, found["seq"], prev or found["prev"])
            else:
                prev = found["hash"]
            fresh += line
            end = (path.name, len(fresh), found["seq"])
        path.write_bytes(fresh)
    if head and end:
        place = directory / "HEAD"
        known = json.loads(place.read_bytes())
        known.update(segment=end[0], offset=end[1], seq=end[2], hash=prev)
        place.write_text(json.dumps(known))


def test_a_rewrite_of_all_that_follows_shows_in_head_and_in_the_first_anchor_behind_it(
        place: Path, original: Path) -> None:
    rewrite_from(place, 9, head=False)
    verdict = verify(place)
    assert places(verdict) == [("000004.jsonl", 2)] and "HEAD" in verdict.problems[0].message
    rewrite_from(place, 9, head=True)
    assert verify(place).problems == [] and verify(place).vouched_seq == 0
    anchors = [anchor(original, seq, f"set {seq}") for seq in (3, 8, 14, 17)]
    verdict = verify(place, anchors)
    assert places(verdict) == [("000003.jsonl", 2), ("000003.jsonl", 5)]
    assert verdict.problems[0].message == (
        "is not the line that set 14 vouches for: it, or lines before it (after seq 8), were rewritten")
    assert (verdict.vouched_from, verdict.vouched_seq, verdict.vouched_by) == (1, 8, "set 8")


@pytest.mark.parametrize("keep", [0, 1])
def test_a_journal_cut_at_the_end_is_known_to_head(place: Path, keep: int) -> None:
    change(place, 4, lambda lines: lines[:keep])
    verdict = verify(place)
    assert places(verdict) == [("000004.jsonl", 1) if keep else ("000003.jsonl", 6)]
    assert "HEAD knows of seq 20" in verdict.problems[0].message


def test_a_last_line_cut_in_half_is_no_torn_line_where_head_knows_it(place: Path) -> None:
    change(place, 4, lambda lines: [lines[0], lines[1][:-20]])
    verdict = verify(place)
    assert verdict.problems and {problem.file for problem in verdict.problems} == {"000004.jsonl"}
    assert verdict.notes == []


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_missing_segment_is_named(place: Path, number: int) -> None:
    (place / f"{number:06d}.jsonl").unlink()
    assert [str(problem) for problem in verify(place).problems] == [
        f"{number:06d}.jsonl: the file is missing"]


def test_the_last_segment_missing_is_named(place: Path) -> None:
    (place / "000004.jsonl").unlink()
    assert [str(problem) for problem in verify(place).problems] == [
        "000004.jsonl: the file is missing; HEAD ends in it, at seq 20"]


def test_everything_but_head_missing_is_named(place: Path) -> None:
    for path in place.glob("*.jsonl"):
        path.unlink()
    assert places(verify(place)) == [("000004.jsonl", 0)]


def test_yesterdays_file_put_back_is_known_to_head_and_with_its_head_to_an_anchor(
        place: Path, tmp_path: Path) -> None:
    yesterday = Path(shutil.copytree(place, tmp_path / "yesterday"))
    write_lines(Journal(place, at_noon), *range(21, 31))
    sealed = anchor(place, 27)
    assert verify(place, [sealed]).problems == []
    for name in ("000004.jsonl", "HEAD"):
        shutil.copy(yesterday / name, place / name)
        verdict = verify(place, [sealed])
        assert places(verdict)[-1] == ("000004.jsonl", 2)
        assert "set portal/7 knows of seq 27" in verdict.problems[-1].message
        told = any("HEAD knows of seq 30" in problem.message for problem in verdict.problems)
        assert told == (name != "HEAD")
    assert verify(place).problems == [], "without an anchor nobody can tell"


def test_a_journal_put_back_and_written_on_is_known_to_the_anchor(place: Path, tmp_path: Path) -> None:
    yesterday = Path(shutil.copytree(place, tmp_path / "yesterday"))
    write_lines(Journal(place, at_noon), 21, 22)
    sealed = anchor(place, 22)
    write_lines(Journal(yesterday, at_noon), 31, 32, 33)
    verdict = verify(yesterday, [sealed])
    assert places(verdict) == [("000004.jsonl", 4)] and "rewritten" in verdict.problems[0].message


def test_a_journal_deleted_and_begun_anew_is_known_to_the_anchor(place: Path) -> None:
    sealed = anchor(place, 12)
    shutil.rmtree(place)
    assert places(verify(place, [sealed])) == [("000001.jsonl", 0)]
    write_lines(Journal(place, at_noon), 1)
    assert places(verify(place, [sealed])) == [("000001.jsonl", 1)]


@pytest.mark.parametrize(("field", "value"), [("seq", 25), ("seq", 19), ("hash", "a" * 64), ("offset", 5),
                                              ("segment", "000003.jsonl"), ("format", 7)])
def test_an_edited_head_is_a_problem(place: Path, field: str, value: Any) -> None:
    path = place / "HEAD"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), field: value}))
    verdict = verify(place)
    assert len(verdict.problems) == 1 and "HEAD" in str(verdict.problems[0])


def test_the_part_behind_the_last_problem_is_what_an_anchor_vouches_for(place: Path) -> None:
    sealed = anchor(place, 11)
    change(place, 1, at(2, lambda line: line.replace(b"dump", b"pump")))
    verdict = verify(place, [sealed])
    assert places(verdict) == [("000001.jsonl", 3)]
    assert (verdict.vouched_from, verdict.vouched_seq) == (4, 11)
    assert verify(place, [Anchor(3, "0" * 64, "set x")]).vouched_seq == 0


def test_problems_are_counted_but_not_kept_without_limit(
        place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_verify, "MOST_PROBLEMS", 3)
    for segment in (1, 2):
        change(place, segment, lambda lines: [line.replace(b"dump", b"pump") for line in lines])
    verdict = verify(place)
    assert (len(verdict.problems), verdict.more_problems) == (3, 9)


def test_it_reads_a_copy_that_it_cannot_write_to(place: Path) -> None:
    (place / "lock").unlink()
    before = sorted((path.name, path.stat().st_mtime_ns) for path in place.iterdir())
    assert verify(place).problems == []
    assert sorted((path.name, path.stat().st_mtime_ns) for path in place.iterdir()) == before


def test_a_directory_that_is_none_says_so(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("")
    with pytest.raises(ProgramFailed, match="Not a directory"):
        verify(tmp_path / "journal")


def mutations() -> st.SearchStrategy[tuple[str, int, int]]:
    return st.tuples(st.sampled_from(["flip", "drop", "double", "swap", "insert byte", "cut"]),
                     st.integers(1, 4), st.integers(0, 10**6))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mutations())
def test_no_change_of_any_byte_or_line_goes_unseen(
        original: Path, place: Path, mutation: tuple[str, int, int]) -> None:
    how, segment, where = mutation
    path = place / f"{segment:06d}.jsonl"
    content = (original / path.name).read_bytes()
    pieces = content.splitlines(keepends=True)
    index = where % len(pieces)
    offset = where % len(content)
    changed = {
        "flip": content[:offset] + bytes([content[offset] ^ 1 << where % 7]) + content[offset + 1:],
        "insert byte": content[:offset] + bytes([32 + where % 90]) + content[offset:],
        "drop": b"".join(pieces[:index] + pieces[index + 1:]),
        "double": b"".join(pieces[:index + 1] + pieces[index:]),
        "swap": b"".join([*pieces[:index], *pieces[index:index + 2][::-1], *pieces[index + 2:]]),
        "cut": content[:offset],
    }[how]
    try:
        path.write_bytes(changed)
        verdict = verify(place)
        assert changed == content or verdict.problems
        if how in ("flip", "insert byte"):
            line = content[:offset].count(b"\n") + 1
            assert any(problem.line in (line, line - 1) for problem in verdict.problems), verdict.problems
    finally:
        path.write_bytes(content)


def test_entries_compare_by_value(original: Path) -> None:
    first = next(Journal(original, at_noon).read())
    assert first == Entry(1, first.hash, "0" * 64, NOON, "step.begin", "r", {"n": "0001", "step": "dump"})
