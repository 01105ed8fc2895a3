"""Promise 6: what happened is in the journal."""

from __future__ import annotations

import enum
import json
import os
import threading
from datetime import timedelta, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from opsctl.engine import journal as journal_module
from opsctl.engine.journal import Journal
from opsctl.engine.journal_files import Head
from opsctl.engine.journal_lines import GENESIS, canonical
from opsctl.engine.journal_verify import verify
from opsctl.errors import Busy, ProgramFailed
from tests.engine.journals import NOON, at_noon, child, lines, texts, write


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "state" / "journal", at_noon)


def test_a_line_is_what_the_format_says(journal: Journal) -> None:
    entry = journal.append("step.begin", {"step": "घर", "n": 1}, run="20261124-0230-portal-7f3a")
    raw = (journal.directory / "000001.jsonl").read_bytes()
    found = json.loads(raw)
    digest = found.pop("hash")
    assert raw == rfc8785.dumps({**found, "hash": digest}) + b"\n"
    assert digest == entry.hash == sha256(rfc8785.dumps(found)).hexdigest()
    assert found == {"v": 1, "seq": 1, "time": "2026-11-24T12:00:00.000000Z", "prev": GENESIS,
                     "type": "step.begin", "run": "20261124-0230-portal-7f3a", "data": {"step": "घर", "n": 1}}
    assert json.loads((journal.directory / "HEAD").read_bytes()) == {
        "format": 1, "segment": "000001.jsonl", "offset": len(raw), "seq": 1, "hash": digest,
        "time": "2026-11-24T12:00:00.000000Z"}


def test_nothing_is_made_before_the_first_line_and_then_for_this_user_only(journal: Journal) -> None:
    assert list(journal.read()) == [] and journal.head() is None
    journal.flush()
    assert not journal.directory.parent.exists()
    write(journal, 1)
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in journal.directory.iterdir()} == {
        "000001.jsonl": "0o600", "HEAD": "0o600", "lock": "0o600"}
    assert oct(journal.directory.stat().st_mode & 0o777) == "0o700"
    assert oct(journal.directory.parent.stat().st_mode & 0o777) == "0o700"


def test_append_gives_and_read_finds_the_same_entries(journal: Journal) -> None:
    first = journal.append("run.begin", {"playbook": "backup"}, run="a")
    second = journal.append("note", {"text": "\x1b[31m\n", "list": [1, None, True, 1.5]})
    assert list(journal.read()) == [first, second]
    assert second.prev == first.hash
    head = journal.head()
    assert head is not None and (head.seq, head.hash) == (2, second.hash)


def test_read_filters_by_run_type_and_seq(journal: Journal) -> None:
    journal.append("run.begin", {"run": "b", "type": "note"}, run="a")
    journal.append("run.begin", {}, run="b")
    journal.append("note", {"type": "run.begin"}, run="a")
    journal.append("note", {})
    assert [entry.seq for entry in journal.read(run="a")] == [1, 3]
    assert [entry.seq for entry in journal.read(run="b")] == [2]
    assert [entry.seq for entry in journal.read(types=["note"])] == [3, 4]
    assert [entry.seq for entry in journal.read(types=["note", "run.begin"], since_seq=2)] == [3, 4]
    assert [entry.seq for entry in journal.read(run="a", types=["run.begin"])] == [1]


def test_a_line_that_is_not_durable_goes_out_before_the_next_durable_one(journal: Journal) -> None:
    assert journal.append("a", {"n": 1}, durable=False) is None
    assert journal.append("a", {"n": 2}, durable=False) is None
    assert not journal.directory.exists()
    assert journal.append("a", {"n": 3}).seq == 3
    assert [line["data"]["n"] for line in lines(journal)] == [1, 2, 3]


def test_lines_that_are_not_durable_go_out_by_number_by_flush_and_by_close(
        journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "_QUEUE_SECONDS", 1e9)
    for n in range(1000):
        assert not journal.directory.exists()
        journal.append("a", {"n": n}, durable=False)
    assert len(lines(journal)) == 1000
    journal.append("a", {}, durable=False)
    journal.flush()
    assert len(lines(journal)) == 1001
    with journal:
        journal.append("a", {}, durable=False)
    assert len(lines(journal)) == 1002


def test_lines_that_are_not_durable_go_out_with_the_first_append_after_a_while(
        journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "_QUEUE_SECONDS", 1e9)
    journal.append("a", {}, durable=False)
    monkeypatch.setattr(journal_module, "_QUEUE_SECONDS", -1)
    journal.append("a", {}, durable=False)
    assert len(lines(journal)) == 2


def test_reading_sees_what_this_process_has_queued(journal: Journal) -> None:
    journal.append("a", {"n": 1}, durable=False)
    assert texts(journal) == [1]


def test_a_process_that_ends_without_closing_loses_nothing(tmp_path: Path) -> None:
    done = child("journal.append('a', {'n': 1}, durable=False)", str(tmp_path / "journal"))
    done.communicate(timeout=60)
    assert texts(Journal(tmp_path / "journal", at_noon)) == [1]


@pytest.mark.parametrize(
    "data", [{"x": {1, 2}}, {"x": float("nan")}, {"x": 2**53}, {"x": {1: 2}}, {"x": b""}])
def test_what_json_cannot_hold_is_refused_and_leaves_nothing(journal: Journal, data: dict[str, Any]) -> None:
    for durable in (True, False):
        with pytest.raises(ValueError):
            journal.append("a", data, durable=durable)
    assert journal.append("a", {}).seq == 1


def test_a_name_that_is_no_utf8_is_written_readably(journal: Journal) -> None:
    name = os.fsdecode(b"caf\xe9 \xe0\xa4\x98")
    journal.append("a", {os.fsdecode(b"k\xfe"): name, "deep": [os.fsdecode(b"\xff")]})
    assert next(journal.read()).data == {"k\\udcfe": "caf\\udce9 घ", "deep": ["\\udcff"]}
    assert verify(journal.directory).problems == []


class Colour(enum.StrEnum):
    RED = "red"


keys = st.text() | st.sampled_from(["a", "B", "é", "€", "\U0001f600", "\ufb33", "\r", "1"])
scalars = (st.none() | st.booleans() | st.integers(-2**53 + 1, 2**53 - 1) | st.just(Colour.RED)
           | st.floats(allow_nan=False, allow_infinity=False)
           | st.text(st.characters(exclude_categories=["Cs"])))
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.lists(inner, max_size=3).map(tuple)
    | st.dictionaries(keys, inner, max_size=4), max_leaves=12)


@settings(max_examples=300, deadline=None)
@given(values)
def test_the_quick_way_to_canonical_json_gives_what_rfc8785_gives(value: Any) -> None:
    assert canonical(value).encode() == rfc8785.dumps(value)


def test_time_is_utc_and_a_clock_that_goes_back_matters_to_nothing(tmp_path: Path) -> None:
    kolkata = timezone(timedelta(hours=5.5))
    moments = [NOON, NOON + timedelta(days=365), NOON - timedelta(days=30), NOON.astimezone(kolkata)]
    times = iter([moment for moment in moments for _ in range(2)])      # of the line, of the commit
    journal = Journal(tmp_path / "journal", lambda: next(times))
    write(journal, 1, 2, 3, 4)
    assert [line["time"] for line in lines(journal)] == [
        "2026-11-24T12:00:00.000000Z", "2027-11-24T12:00:00.000000Z", "2026-10-25T12:00:00.000000Z",
        "2026-11-24T12:00:00.000000Z"]
    assert [entry.time for entry in journal.read()] == moments
    assert verify(journal.directory).problems == []


def test_a_full_segment_is_followed_by_the_next(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "SEGMENT_BYTES", 1000)
    write(journal, *range(20))
    sizes = {path.name: path.stat().st_size for path in sorted(journal.directory.glob("*.jsonl"))}
    assert len(sizes) > 4 and all(size <= 1000 for size in sizes.values())
    assert texts(journal) == list(range(20))
    assert verify(journal.directory).problems == []
    for since in range(21):
        assert [entry.seq for entry in journal.read(since_seq=since)] == list(range(since + 1, 21))
    assert [entry.seq for entry in Journal(journal.directory, at_noon).read()] == list(range(1, 21))


def test_memory_and_queue_stay_flat_over_many_lines(tmp_path: Path) -> None:
    grown = child("""
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
def append(count):
    for n in range(count):
        data = {"step": "s", "item": "host-1", "outcome": "ok", "n": n}
        journal.append("step.end", data, run="r", durable=False)
    journal.flush()
    return peak()
first = append(2000)
last = append(20000)
read = sum(1 for _ in journal.read())
from opsctl.engine.journal_verify import verify
verdict = verify(journal.directory)
print(last - first, peak() - first, read, verdict.lines,
      len(verdict.problems))
""", str(tmp_path / "journal"))
    out, _ = grown.communicate(timeout=120)
    after_append, after_all, read, checked, problems = map(int, out.split())
    assert (read, checked, problems) == (22000, 22000, 0)
    assert after_append < 1024 and after_all < 3072      # KiB; the lines themselves are 6 MiB


def test_four_processes_at_once_lose_nothing_and_share_one_chain(tmp_path: Path) -> None:
    script = """
import threading
def work(thread):
    for n in range(125):
        journal.append("a", {"who": sys.argv[2], "thread": thread, "n": n}, durable=n % 3 > 0)
threads = [threading.Thread(target=work, args=(t,)) for t in range(4)]
for t in threads: t.start()
for t in threads: t.join()
journal.close()
"""
    writers = [child(script, str(tmp_path / "journal"), str(number)) for number in range(4)]
    for writer in writers:
        writer.communicate(timeout=120)
    assert [writer.returncode for writer in writers] == [0] * 4
    verdict = verify(tmp_path / "journal")
    assert (verdict.lines, verdict.last_seq, verdict.problems) == (2000, 2000, [])
    written: dict[tuple[str, int], list[int]] = {}
    for entry in Journal(tmp_path / "journal", at_noon).read():
        written.setdefault((entry.data["who"], entry.data["thread"]), []).append(entry.data["n"])
    assert len(written) == 16 and all(numbers == list(range(125)) for numbers in written.values())


def test_threads_share_one_flush(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed, gate, flush = [], threading.Event(), os.fdatasync

    def slow(descriptor: int) -> None:
        if not flushed:
            flushed.append(1)
            assert gate.wait(30)
        else:
            flushed.append(1)
        flush(descriptor)

    monkeypatch.setattr(os, "fdatasync", slow)
    threads = [threading.Thread(target=write, args=(journal, n)) for n in range(9)]
    threads[0].start()
    while not flushed:
        threads[0].join(0.001)
    for thread in threads[1:]:
        thread.start()
    while len(journal._queue) < 8:
        threads[0].join(0.001)
    gate.set()
    for thread in threads:
        thread.join(30)
    assert len(flushed) == 2
    assert sorted(texts(journal)) == list(range(9))


def test_an_unusable_directory_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ProgramFailed, match="Not a directory"):
        write(Journal(tmp_path / "file" / "journal", at_noon), 1)


def test_one_process_that_sits_on_the_journal_is_not_waited_for_for_ever(
        journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    write(journal, 1)
    monkeypatch.setattr(journal_module, "_PATIENCE", 0.05)
    other = child("with journal._locked():\n    print('held', flush=True)\n    sys.stdin.read()",
                  str(journal.directory))
    try:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        with pytest.raises(Busy):
            write(journal, 2)
    finally:
        other.kill()
        other.communicate()
    write(journal, 3)
    assert texts(journal) == [1, 3]


def test_a_lock_file_that_was_deleted_does_not_let_two_write_at_once(journal: Journal) -> None:
    write(journal, 1)
    with journal._locked():
        (journal.directory / "lock").unlink()
        with journal._locked():
            there = (journal.directory / "lock").stat().st_ino
    with journal._locked():
        assert (journal.directory / "lock").stat().st_ino == there
    write(journal, 2)


def test_an_interrupted_writer_loses_no_line_of_another_thread(
        journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    flush, first = os.fdatasync, threading.Event()

    def interrupt_once(descriptor: int) -> None:
        if not first.is_set():
            first.set()
            raise KeyboardInterrupt
        flush(descriptor)

    journal.append("a", {"n": 1}, durable=False)
    monkeypatch.setattr(os, "fdatasync", interrupt_once)
    with pytest.raises(KeyboardInterrupt):
        write(journal, 2)
    write(journal, 3)
    assert texts(journal) == [1, 3] and verify(journal.directory).problems == []


def test_a_writer_that_is_interrupted_when_all_was_written_writes_nothing_twice(
        journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    replace, first = journal_module.replace_head, threading.Event()

    def interrupt_once(directory: Path, head: Head) -> None:
        replace(directory, head)
        if not first.is_set():
            first.set()
            raise KeyboardInterrupt

    journal.append("a", {"n": 1}, durable=False)
    monkeypatch.setattr(journal_module, "replace_head", interrupt_once)
    with pytest.raises(KeyboardInterrupt):
        journal.append("a", {"n": 2})
    journal.append("a", {"n": 3})
    assert texts(journal) == [1, 2, 3] and verify(journal.directory).problems == []


def test_who_is_interrupted_before_he_writes_leaves_that_to_the_next(journal: Journal) -> None:
    class Interrupting:
        """A lock whose first holder is interrupted as he lets go of it."""

        def __init__(self) -> None:
            self.lock, self.first = threading.Lock(), True

        def __enter__(self) -> None:
            self.lock.acquire()

        def __exit__(self, *_: object) -> None:
            self.lock.release()
            if self.first:
                self.first = False
                raise KeyboardInterrupt

    journal._guard = Interrupting()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        write(journal, 1)
    other = threading.Thread(target=write, args=(journal, 2), daemon=True)
    other.start()
    other.join(30)
    assert not other.is_alive() and texts(journal) == [1, 2]
