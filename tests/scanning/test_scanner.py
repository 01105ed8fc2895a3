"""The scanner: what it reads, what it says it has not read, and that no file holds it up."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from opsctl.errors import ConfigError, Interrupted, ProgramFailed
from opsctl.model.snapshots import Progress
from opsctl.scanning import yara_reader
from opsctl.scanning.interface import mark
from opsctl.scanning.yara import Scanner
from opsctl.shells import local
from opsctl.shells.local import LocalShell
from tests.lab.waiting import alive
from tests.scanning.samples import EICAR


def scanner(rules: Path | None = None, *, largest: int = 1 << 30, timeout: float = 60) -> Scanner:
    return Scanner(LocalShell(), rules=rules, largest=largest, timeout=timeout)


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    (tmp_path / "rules").mkdir()
    return tmp_path / "rules"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def test_a_finding_has_the_same_id_as_long_as_rule_file_and_content_are_the_same(data: Path) -> None:
    (data / "a").write_bytes(EICAR)
    first, = scanner().scan({"files": data}).findings
    assert (first.source, first.path, first.rule, first.offset) == ("files", "files/a", "eicar_test_file", 0)
    assert first.id == mark("eicar_test_file", "files/a", first.sha256)
    again, = scanner().scan({"files": data}).findings
    assert again == first
    (data / "a").write_bytes(b" " + EICAR)
    other, = scanner().scan({"files": data}).findings
    assert other.id != first.id and other.offset == 1
    (data / "a").rename(data / "b")
    moved, = scanner().scan({"files": data}).findings
    assert moved.sha256 == other.sha256 and moved.id != other.id


def test_odd_names_are_read_and_told_apart_and_links_are_not_followed(data: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(EICAR)
    for name in (b"\xff\xfe", b"\\xff", b"a\nb", b"\x1b[31m", "बिल".encode(), b"x" * 250):
        with open(os.path.join(os.fsencode(data), name), "wb") as file:
            file.write(EICAR)
    (data / "link").symlink_to(tmp_path / "outside")
    (data / "folder").symlink_to(tmp_path)
    os.mkfifo(data / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(data / "socket"))
        found = scanner().scan({"": data})
    assert len({one.id for one in found.findings}) == 6
    assert {one.path for one in found.findings} == {"\\udcff\\udcfe", "\\\\xff", "a\\nb", "\\x1b[31m", "बिल", "x" * 250}
    assert (found.files, found.others) == (6, 4)


def test_what_is_too_large_or_cannot_be_read_is_told_and_not_passed_over(data: Path) -> None:
    with open(data / "large", "wb") as file:
        file.write(EICAR)
        file.truncate(2 << 20)
    (data / "small").write_bytes(b"x")
    found = scanner(largest=1 << 20).scan({"": data})
    assert found.findings == () and [(one.path, one.kind) for one in found.unread] == [("large", "large")]
    assert len(found.unread[0].sha256) == 64
    whole = scanner(largest=2 << 20).scan({"": data})
    assert [one.path for one in whole.findings] == ["large"] and whole.unread == ()


def test_what_lies_too_deep_to_be_opened_is_told(data: Path) -> None:
    handle = os.open(data, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=handle)
        inner = os.open("d" * 250, os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
    os.close(handle)
    found = scanner().scan({"": data})
    assert [one.kind for one in found.unread] == ["unreadable"] and "folder: File name too long" in found.unread[0].why


def test_a_file_that_takes_too_long_is_told_as_not_scanned(data: Path, rules: Path) -> None:
    (rules / "slow.yar").write_text('rule slow { condition: for all i in (0..99999999999) : (uint8(i % filesize) != 7) }')
    (data / "a").write_bytes(b"x" * 100)
    found = scanner(rules, timeout=1).scan({"": data})
    assert [(one.path, one.kind) for one in found.unread] == [("a", "slow")]


def test_a_file_that_breaks_the_reading_process_is_told_and_the_others_are_read(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        (data / name).write_bytes(EICAR)
    program = tmp_path / "reader.py"
    breaking = "        if shown == 'b': os.abort()\n        try:\n            if not stat.S_ISREG"
    program.write_text(Path(yara_reader.__file__).read_text().replace("        try:\n            if not stat.S_ISREG", breaking, 1))
    monkeypatch.setattr(yara_reader, "__file__", str(program))
    found = scanner().scan({"": data})
    assert [one.path for one in found.findings] == ["a", "c"] and found.files == 3
    assert [(one.path, one.kind) for one in found.unread] == [("b", "broken")]


def test_a_reading_process_that_cannot_start_is_a_failure_and_no_clean_scan(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "reader.py"
    program.write_text("raise SystemExit('no module named yara_x')")
    monkeypatch.setattr(yara_reader, "__file__", str(program))
    with pytest.raises(ProgramFailed, match="no module named yara_x"):
        scanner().scan({"": data})


def test_rules_of_the_site_are_read_beside_ours(data: Path, rules: Path) -> None:
    (rules / "deep").mkdir()
    (rules / "deep" / "own.yara").write_text('rule own { meta: description = "ours" condition: filename == "a.txt" and extension == ".txt" and filesize == 0 }')
    (rules / "notes.txt").write_text("no rules")
    (data / "a.txt").touch()
    (data / "b").write_bytes(EICAR)
    found = scanner(rules).scan({"": data})
    assert [(one.rule, one.path) for one in found.findings] == [("own", "a.txt"), ("eicar_test_file", "b")]
    assert found.findings[0].description == "ours" and found.findings[0].offset is None


def test_rules_that_do_not_compile_are_told_by_file_and_line_all_at_once(data: Path, rules: Path) -> None:
    (rules / "a.yar").write_text("rule a {\n  condition:\n    $missing\n}\n")
    (rules / "b.yar").write_text("rule b { condition: true }\nrule b { condition: true }\n")
    (rules / "c.yar").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError) as error:
        scanner(rules).scan({"": data})
    told = error.value.problems
    assert any(one.startswith(f"{rules}/a.yar:3: unknown pattern `$missing`") for one in told)
    assert any(one.startswith(f"{rules}/b.yar:2: ") for one in told)
    assert any(one.startswith(f"{rules}/c.yar:1: cannot be read") for one in told)
    with pytest.raises(ConfigError):
        scanner(rules).check()
    with pytest.raises(ConfigError, match="cannot be read"):
        scanner(rules / "nowhere").check()


@pytest.mark.as_root("an ordinary user has no rights to give up")
def test_who_reads_hostile_files_may_read_everything_and_nothing_else(data: Path, rules: Path) -> None:
    (rules / "slow.yar").write_text("rule slow { condition: filename == \"z\" and for all i in (0..99999999999) : (uint8(i % filesize) != 7) }")
    for name, owner in (("a", 0), ("b", 12345), ("z", 0)):
        (data / name).write_bytes(EICAR)
        (data / name).chmod(0)
        os.chown(data / name, owner, owner)
    with open(data / "b", "ab") as file:
        file.truncate(20 << 20)  # more than is read into memory by ourselves
    (data / "folder").mkdir(mode=0)
    seen: list[dict[str, str]] = []

    def look(progress: Progress) -> None:
        for pid in local._live:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            seen.append(dict(line.split(":\t", 1) for line in lines if ":\t" in line))

    found = scanner(rules, timeout=1).scan({"": data}, on_progress=look)
    assert [one.path for one in found.findings] == ["a", "b"] and [one.kind for one in found.unread] == ["slow"]
    status, = seen
    assert (status["Uid"].split(), status["NoNewPrivs"]) == (["65534"] * 4, "1")
    assert {int(status[name], 16) for name in ("CapPrm", "CapEff")} == {1 << 2}


def test_an_interruption_ends_the_reading_process(data: Path, rules: Path) -> None:
    (rules / "slow.yar").write_text("rule slow { condition: for all i in (0..99999999999) : (uint8(i % filesize) != 7) }")
    (data / "a").write_bytes(b"x" * 100)
    met: list[int] = []

    def end(progress: Progress) -> None:
        met.extend(local._live)
        local.stop()

    try:
        with pytest.raises(Interrupted):
            scanner(rules, timeout=300).scan({"": data}, on_progress=end)
    finally:
        local.reset()
    assert met and not any(alive(pid) for pid in met)
