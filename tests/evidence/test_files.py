"""Files as evidence: logs of a window, what changes or cannot be read meanwhile, and names that want to do harm."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from opsctl.model.evidence import in_bag, percent
from tests.badluck.faults import small_disk
from tests.evidence.test_local import OPEN
from tests.machine import Machine

NOW = 1_766_266_200  # 2025-12-21T03:00:00+05:30, long ago for the files of this machine
HOUR = 3600


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """What the host of these tests has: logs of three ages, and files of every bad kind."""
    made = tmp_path / "site"
    (made / "log").mkdir(parents=True)
    for name, age, content in (("access.log", 1, b"GET /\n" * 50), ("access.log.1", 30, b"older\n"), ("access.log.2.gz", 40, gzip.compress(b"packed\n")),
                               ("access.log.3.gz", 24 * 9, gzip.compress(b"too old\n"))):
        (made / "log" / name).write_bytes(content)
        os.utime(made / "log" / name, (NOW - age * HOUR, NOW - age * HOUR))
    return made


def collect(tmp_path: Path, config: str, *words: str, code: int = 0) -> tuple[Machine, dict[str, dict[str, Any]], Path]:
    machine = Machine(tmp_path / "m")
    machine.configure(f"state: {machine.state}\norganisation: {{name: Urban Development, timezone: Asia/Kolkata}}\nevidence:\n{config}\n")
    machine.make_key()
    machine.at("2025-12-21T03:00:00+05:30")
    machine(*(word.replace("2026", "2025") for word in OPEN), expect=0)
    machine("evidence", "collect", "localhost", *words, expect=code)
    (folder,) = (machine.state / "incidents" / "inc-1" / "evidence").iterdir()
    found = [json.loads(line) for line in (folder / "custody.jsonl").read_text().splitlines()]
    return machine, {one.get("path", one["name"]): one for one in found if "outcome" in one}, folder


def test_logs_of_the_window_come_whole_rotated_and_packed_ones_too(tmp_path: Path, site: Path) -> None:
    _, found, folder = collect(tmp_path, f"  profiles: {{web: {{extends: nothing, logs: ['{site}/log/access.log*']}}}}", "--profile", "web", "--window", "3d")
    names = {Path(path).name: one for path, one in found.items() if path.startswith("/")}
    assert [*names] == ["access.log", "access.log.1", "access.log.2.gz"]
    for name, one in names.items():
        content = (site / "log" / name).read_bytes()
        assert (folder / "data" / one["file"]).read_bytes() == content
        assert one["sha256"] == one["other_hashes"]["sha256_at_source"] == hashlib.sha256(content).hexdigest()
        assert one["source"]["before"]["bytes"] == len(content) and one["retain_until"] == "2026-12-21" and one["log_type"] == "application"
    assert found["own-logs"]["outcome"] == "empty" and "1 file left out: last written to more than 3 days before" in found["own-logs"]["because"]
    _, more, _ = collect(tmp_path / "again", f"  profiles: {{web: {{extends: nothing, logs: ['{site}/log/access.log*']}}}}",
                         "--profile", "web", "--since", "2025-12-01T00:00:00Z")
    assert sum(1 for path in more if path.startswith("/")) == 4


def test_whatever_is_wrong_with_a_file_is_recorded_and_the_rest_is_collected(tmp_path: Path, site: Path) -> None:
    with (site / "huge").open("wb") as file:
        file.truncate(50 << 30)
    (site / "empty").touch()
    os.mkfifo(site / "pipe")
    (site / "loose").symlink_to("nowhere")
    (site / "linked").symlink_to(site / "log" / "access.log")
    (site / "private").write_text("x")
    (site / "zz-last").write_text("the last one")
    files = [f"{site}/{name}" for name in ("huge", "empty", "pipe", "loose", "linked", "absent", "zz-last")]
    machine, found, folder = collect(tmp_path, "  item: 1MiB\n  profiles: {own: {extends: nothing, commands: {image: {argv: [cat, /dev/zero], about: "
                                     "An image of the memory, size: 2MiB}, slow: {argv: [sleep, '60'], about: Never ends, limit: 1s}}}}",
                                     *(word for name in files for word in ("--file", name)), "--profile", "own", code=3)
    at = {Path(path).name: one for path, one in found.items()}
    assert at["huge"]["outcome"] == "collected" and at["huge"]["cut"] and at["huge"]["size_bytes"] == 1 << 20
    assert "cut off at the limit of 1,048,576 bytes: it has 53,687,091,200" in at["huge"]["because"]
    assert at["huge"]["sha256"] == hashlib.sha256(bytes(1 << 20)).hexdigest() == at["huge"]["other_hashes"]["sha256_at_source"]
    assert (at["empty"]["outcome"], at["empty"]["file"]) == ("empty", "")
    assert (at["pipe"]["outcome"], at["pipe"]["because"]) == ("failed", "it is no plain file")
    assert at["loose"]["outcome"] == "failed" and at["loose"]["source"]["link"] == "nowhere"
    assert at["linked"]["outcome"] == "collected" and at["linked"]["source"]["link"] == f"{site}/log/access.log"
    assert at["absent"]["outcome"] == "missing"
    assert (folder / "data" / at["zz-last"]["file"]).read_text() == "the last one"
    assert at["own-image"]["cut"] and at["own-image"]["size_bytes"] == 2 << 20
    assert at["own-slow"]["outcome"] == "failed" and "cut off after 1 seconds" in at["own-slow"]["because"]
    assert machine("evidence", "verify", expect=0)
    subprocess.run([sys.executable, "-m", "bagit", "--validate", folder], check=True, capture_output=True)


@pytest.mark.as_root("another account to be refused")
def test_a_file_that_may_not_be_read_is_failed_with_the_reason(tmp_path: Path, site: Path) -> None:
    from opsctl.actions import fetching
    from opsctl.actions.collecting import Limits
    from opsctl.shells.local import LocalShell
    from opsctl.vault import Arriving

    class Nobody(LocalShell):
        def run(self, argv: Any, **more: Any) -> Any:
            return super().run(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", *argv], **more)

    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    (site / "private").write_text("secret")
    (site / "private").chmod(0o600)
    (site / "inside").mkdir(mode=0o700)
    (site / "inside" / "file").write_text("secret")
    limits = Limits(1 << 20, lambda: 1 << 20, float("inf"))
    for name in ("private", "inside/file"):
        into = Arriving(tmp_path / "arrived" / name)
        ended = fetching.take(Nobody(), os.fsencode(site / name), into, limits)
        assert ended.outcome == "failed" and "ermission denied" in ended.because, ended


def test_a_file_that_is_written_to_meanwhile_is_said_to_have_changed(tmp_path: Path, site: Path) -> None:
    busy, growing = site / "busy", site / "growing"
    for file in (busy, growing):
        file.write_bytes(bytes(48 << 20))
    ended = threading.Event()

    def write() -> None:
        with busy.open("r+b") as one, growing.open("ab") as other:
            while not ended.wait(0.0005):
                os.pwrite(one.fileno(), os.urandom(64), 0)
                other.write(b"another line\n")
                other.flush()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        _, found, folder = collect(tmp_path, "  profiles: {own: {extends: nothing}}", "--profile", "own", "--file", str(busy), "--file", str(growing), code=3)
    finally:
        ended.set()
        writer.join()
    at = {Path(path).name: one for path, one in found.items()}
    assert at["busy"]["changed_while_read"] and "changed while read" in at["busy"]["because"] and at["busy"]["outcome"] == "collected"
    grown = at["growing"]
    assert not grown["changed_while_read"] and "grew by" in grown["because"]
    assert grown["sha256"] == grown["other_hashes"]["sha256_at_source"]
    assert (folder / "data" / grown["file"]).stat().st_size == grown["source"]["before"]["bytes"] >= 48 << 20


HOSTILE = (b"new\nline", b"\x1b[31mred\x07", b"no-utf8-\xff\xfe", "उपद्रव".encode(), b"100%0Agone", b"<script>alert(1)", b"=cmd|' C calc'!A0",
           b"..", b"-rf", b"a b  c ", b"#set page(width: 1pt)", b"\xe2\x80\xaegpj.exe", b"x" * 250, b"COM1", b"\\back", b"$(touch pwned)`id`")


def test_names_that_want_to_do_harm_are_kept_whole_and_shown_harmless(tmp_path: Path, site: Path) -> None:
    for name in HOSTILE:
        if name != b"..":
            with open(os.path.join(os.fsencode(site), b"log", name), "wb") as file:
                file.write(name)
    machine, found, folder = collect(tmp_path, "  profiles: {own: {extends: nothing}}", "--profile", "own", "--file", f"{site}/log")
    for name in HOSTILE:
        if name == b"..":
            continue
        one = found[percent(os.path.join(os.fsencode(site), b"log", name))]
        assert (folder / "data" / one["file"]).read_bytes() == name and one["file"].isascii() and one["file"].isprintable() and "%" not in one["file"]
        assert one["description"].isprintable() and one["method_and_tool"].startswith(
            "read whole by dd" if b"\\" in name else "read whole by tar")  # which takes a backslash for a quoting of its own
        assert one["other_hashes"]["sha256_at_source"] == one["sha256"]
    said = machine("evidence", "list", expect=0).out + machine("incident", "show", "inc-1", expect=0).out
    assert "\x1b" not in said and "\u202e" not in said
    assert machine("evidence", "verify", expect=0)
    subprocess.run([sys.executable, "-m", "bagit", "--validate", folder], check=True, capture_output=True)
    subprocess.run(["sha256sum", "--strict", "--quiet", "-c", "manifest-sha256.txt"], cwd=folder, check=True)


def test_no_name_leads_out_of_the_bag_and_no_two_become_one() -> None:
    names = [b"/a/../../etc/passwd", b"/a/./b", b"//a//b", b"/.hidden", *(b"/" + name for name in HOSTILE), b"/a=2Eb", b"/a.b", b"/" + b"d/" * 2000 + b"f",
             b"/" + b"d/" * 2001 + b"f", b"/" + b"y" * 250 + b"1", b"/" + b"y" * 250 + b"2"]
    made = [in_bag(name) for name in names]
    assert len(set(made)) == len(names)
    for path in made:
        assert path.startswith("files/") and ".." not in path.split("/") and all(0 < len(part) <= 200 for part in path.split("/"))


def test_nothing_is_called_collected_that_the_disk_did_not_take(tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from opsctl import vault

    flush = vault._flush

    def failing(path: Path) -> None:
        if path.name in ("access.log", "alone"):
            raise OSError(errno.EIO, "Input/output error", str(path))
        flush(path)

    monkeypatch.setattr(vault, "_flush", failing)
    (site / "alone").write_bytes(os.urandom(2 << 20))
    _, found, _ = collect(tmp_path, "  profiles: {own: {extends: nothing}}", "--profile", "own", "--file", f"{site}/log", "--file", f"{site}/alone", code=3)
    at = {Path(path).name: (one["outcome"], one["because"]) for path, one in found.items() if path.startswith("/")}
    assert [outcome for outcome, _ in at.values()].count("collected") == 3
    for name in ("access.log", "alone"):
        assert at[name][0] == "failed" and "could not be kept" in at[name][1]


@pytest.mark.as_root("a small disk is mounted")
def test_a_disk_that_runs_full_here_keeps_what_there_was_room_for(tmp_path: Path, site: Path) -> None:
    from opsctl.errors import ProgramFailed
    from opsctl.vault import Arriving

    for name in ("a", "b"):
        (site / name).write_bytes(os.urandom(12 << 20))
    with small_disk(tmp_path / "m" / "state", "24M"):
        machine, found, folder = collect(tmp_path, "  free: 4MiB\n  profiles: {own: {extends: nothing}}", "--profile", "own", "--file", f"{site}/a",
                                         "--file", f"{site}/b", "--file", f"{site}/log", code=3)
        at = {Path(path).name: one for path, one in found.items()}
        assert at["a"]["outcome"] == "collected" and not at["a"]["cut"]
        assert at["b"]["cut"] and 0 < at["b"]["size_bytes"] < 12 << 20
        machine("evidence", "verify", expect=0)
        into = Arriving(folder.parent / "more")
        with pytest.raises(ProgramFailed, match="no space left"):
            for _ in range(32):
                into.write(bytes(1 << 20))
            into.close()
        with pytest.raises(ProgramFailed, match="no space left"):
            into.close()
        kept = into.path.read_bytes()
        assert (len(kept), hashlib.sha256(kept).hexdigest()) == (into.size, into.sha256)
