"""The guard: exit 0 only for a dump that is whole."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from opsctl.sources import guard
from tests.lab.waiting import alive, until

TRAILER = "-- the end"


def run(tmp_path: Path, *words: str, **more: object) -> subprocess.CompletedProcess[bytes]:
    argv = [sys.executable, "-I", "-S", guard.__file__, "--report", str(tmp_path / "report"), *words]
    return subprocess.run(argv, capture_output=True, check=False, timeout=60, **more)  # type: ignore[call-overload]


def start(tmp_path: Path, *words: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-I", "-S", guard.__file__, "--report", str(tmp_path / "report"), *words]
    return subprocess.Popen(argv, stdout=stdout, stderr=subprocess.PIPE)


def report(tmp_path: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((tmp_path / "report").read_bytes())
    return found


def script(text: str) -> Sequence[str]:
    return ("--", "/bin/sh", "-c", text)


def test_a_whole_dump_passes_with_its_prefix_and_a_report(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"header\n")
    (tmp_path / "two").write_bytes(b"\0\xff\n")
    done = run(
        tmp_path,
        "--trailer",
        TRAILER,
        "--sha256",
        "--prefix",
        str(tmp_path / "one"),
        "--prefix",
        str(tmp_path / "two"),
        *script(f"echo content; echo '{TRAILER}'; echo warning >&2"),
    )
    expected = b"header\n\0\xff\ncontent\n-- the end\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, b"")
    found = report(tmp_path)
    assert found["bytes"] == len(expected) and found["sha256"] == hashlib.sha256(expected).hexdigest()
    assert (found["ok"], found["exit_code"], found["errors"]) == (True, 0, "warning\n")


def test_output_of_many_buffers_arrives_unchanged(tmp_path: Path) -> None:
    content = os.urandom(1 << 20) * 5 + b"odd end"
    (tmp_path / "content").write_bytes(content)
    done = run(tmp_path, "--sha256", "--", "cat", str(tmp_path / "content"))
    assert (done.returncode, done.stdout) == (0, content)
    assert run(tmp_path, "--file", str(tmp_path / "content")).stdout == content


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (script("echo half; exit 7"), guard.FAILED, "sh failed (7)"),
        (script("echo half; kill -9 $$"), guard.FAILED, "sh was ended by SIGKILL"),
        (script(":"), guard.EMPTY, "sh wrote nothing"),
        (("--trailer", TRAILER, *script("echo half")), guard.CUT, "stopped before its end"),
        (
            ("--trailer", TRAILER, *script(f"echo '{TRAILER}'; head -c 1024 /dev/zero")),
            guard.CUT,
            "stopped before its end",
        ),
        (("--at-least", "100", *script("echo half")), guard.EMPTY, "wrote only 5 bytes"),
        (("--", "no-such-program"), guard.UNREADABLE, "no-such-program could not be started: No such file"),
        (("--file", "/nowhere"), guard.UNREADABLE, "/nowhere: No such file"),
        (("--prefix", "/nowhere", *script("echo x")), guard.UNREADABLE, "/nowhere: No such file"),
        (("--nonsense", "x"), guard.USAGE, "unknown option"),
        ((), guard.USAGE, "give either"),
    ],
)
def test_anything_less_than_a_whole_dump_is_no_success(
    tmp_path: Path,
    words: Sequence[str],
    code: int,
    says: str,
) -> None:
    done = run(tmp_path, *words)
    assert done.returncode == code
    assert says in done.stderr.decode() and done.stderr.count(b"\n") == 1
    if code != guard.USAGE:
        assert report(tmp_path)["ok"] is False


def test_a_trailer_in_the_prefix_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "prefix").write_text(TRAILER)
    assert (
        run(
            tmp_path, "--trailer", TRAILER, "--prefix", str(tmp_path / "prefix"), *script("echo x")
        ).returncode
        == guard.CUT
    )


def test_a_talkative_dump_does_not_block(tmp_path: Path) -> None:
    done = run(tmp_path, *script("head -c 300000 /dev/zero | tr '\\0' e >&2; echo x; printf end >&2"))
    assert done.returncode == 0
    errors = str(report(tmp_path)["errors"])
    assert errors.endswith("eend") and len(errors) <= 8192


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_stopping_the_guard_ends_the_dump(tmp_path: Path, number: signal.Signals) -> None:
    with start(tmp_path, *script("echo $$; exec sleep 300")) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.send_signal(number)
        code = process.wait(30)
        until(lambda: not alive(child), "the dump's end")
    assert code == (-signal.SIGKILL if number == signal.SIGKILL else guard.STOPPED)


def test_children_of_the_dump_end_too_even_stubborn_ones(tmp_path: Path) -> None:
    with start(tmp_path, *script("trap '' TERM; sleep 300 & echo $! $$; wait; wait")) as process:
        assert process.stdout is not None
        children = [int(word) for word in process.stdout.readline().split()]
        process.terminate()
        assert process.wait(30) == guard.STOPPED
    for child in children:
        until(lambda child=child: not alive(child), "the end of a child")  # type: ignore[misc]


def test_a_silent_dump_ends_when_nobody_reads_any_more(tmp_path: Path) -> None:
    with start(tmp_path, *script("echo $$; exec sleep 300")) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.stdout.close()
        assert process.wait(30) == guard.STOPPED
    until(lambda: not alive(child), "the dump's end")


@pytest.mark.parametrize(("word", "code"), [(b"1", 0), (b"0", guard.NO_CONSENT), (b"", guard.NO_CONSENT)])
def test_a_dump_that_is_done_waits_for_consent(tmp_path: Path, word: bytes, code: int) -> None:
    fifo = tmp_path / "consent"
    os.mkfifo(fifo)
    writer = os.open(fifo, os.O_RDWR)
    with start(tmp_path, "--consent", str(fifo), *script("echo done")) as process:
        assert process.stdout is not None and process.stdout.readline() == b"done\n"
        assert process.poll() is None
        os.write(writer, word)
        os.close(writer)
        assert process.wait(30) == code


def test_refused_consent_ends_a_dump_in_the_middle(tmp_path: Path) -> None:
    fifo = tmp_path / "consent"
    os.mkfifo(fifo)
    writer = os.open(fifo, os.O_RDWR)
    with start(tmp_path, "--consent", str(fifo), *script("echo $$; exec sleep 300")) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        os.write(writer, b"0")
        assert process.wait(30) == guard.NO_CONSENT
    os.close(writer)
    until(lambda: not alive(child), "the dump's end")


def test_refused_consent_ends_the_reading_of_a_file(tmp_path: Path) -> None:
    fifo, content = tmp_path / "consent", tmp_path / "content"
    os.mkfifo(fifo)
    with open(content, "wb") as file:
        file.truncate(50 << 20)
    writer = os.open(fifo, os.O_RDWR)
    os.write(writer, b"0")
    done = run(tmp_path, "--consent", str(fifo), "--file", str(content))
    os.close(writer)
    assert done.returncode == guard.NO_CONSENT and len(done.stdout) < 50 << 20


def test_names_in_messages_are_harmless(tmp_path: Path) -> None:
    done = run(tmp_path, "--", "/bin/\x1b[31mred\nline")
    assert done.returncode == guard.UNREADABLE
    assert b"\x1b" not in done.stderr and done.stderr.count(b"\n") == 1
