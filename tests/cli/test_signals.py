"""Signals during work: exit code, children gone, the run named, one document."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.cli import samples

CODES = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
LINE = "opsctl: interrupted; `opsctl resume RUN-1` goes on\n"


def work(folder: Path, how: str, *words: str, ignore: tuple[int, ...] = ()) -> Any:
    return samples.program("sample", "work", "--how", how, "--folder", str(folder), *words, ignore=ignore)


def interrupt(running: subprocess.Popen[str], folder: Path, number: int) -> tuple[str, str]:
    samples.wait_for(folder / "begun", running)
    running.send_signal(number)
    return running.communicate(timeout=samples.LONGEST)


def alive(group: int) -> list[str]:
    """The processes of a group that still run; one that nobody has reaped yet does not."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            name, _, rest = path.read_text().rpartition(")")
            state, _, leader = rest.split()[:3]
            if int(leader) == group and state != "Z":
                found.append(name)
    return found


@pytest.mark.parametrize(("number", "code"), CODES)
def test_a_running_command_is_ended(tmp_path: Path, number: int, code: int) -> None:
    with work(tmp_path, "child") as running:
        out, err = interrupt(running, tmp_path, number)
    assert (running.returncode, out) == (code, "")
    assert err.endswith(LINE) and err.count("\n") == 1
    assert alive(int((tmp_path / "pid").read_text())) == []


def test_as_a_document(tmp_path: Path) -> None:
    with work(tmp_path, "child", "--json") as running:
        out, err = interrupt(running, tmp_path, signal.SIGTERM)
    assert (running.returncode, err) == (143, "")
    found = json.loads(out)
    assert (found["command"], found["run"], found["errors"][0]["code"]) == ("sample work", "RUN-1", 143)


@pytest.mark.parametrize(("number", "code"), CODES)
def test_work_that_polls(tmp_path: Path, number: int, code: int) -> None:
    with work(tmp_path, "polls") as running:
        assert interrupt(running, tmp_path, number) == ("", LINE)
    assert running.returncode == code


@pytest.mark.parametrize(
    ("number", "code", "words"), [(signal.SIGINT, 130, ()), (signal.SIGTERM, 143, ("--json",))]
)
def test_work_that_hangs_is_ended_with_last_words(tmp_path: Path, number: int, code: int, words: Any) -> None:
    with work(tmp_path, "hangs", *words) as running:
        out, err = interrupt(running, tmp_path, number)
    assert running.returncode == code
    if words:
        assert err == "" and json.loads(out)["exit_code"] == code
    else:
        assert (out, err) == ("", LINE)


def test_a_thread_that_hangs_does_not_keep_the_process(tmp_path: Path) -> None:
    with work(tmp_path, "thread") as running:
        assert interrupt(running, tmp_path, signal.SIGTERM) == ("", LINE)
    assert running.returncode == 143


def test_the_second_signal_ends_at_once(tmp_path: Path) -> None:
    with work(tmp_path, "hangs") as running:
        samples.wait_for(tmp_path / "begun", running)
        running.send_signal(signal.SIGINT)
        running.send_signal(signal.SIGTERM)
        out, err = running.communicate(timeout=samples.LONGEST)
    # Of two signals that are delivered together, the kernel runs the handler of the later one first.
    assert running.returncode in (130, 143)
    assert (out, err) == ("", "")


def test_a_signal_that_was_ignored_stays_so(tmp_path: Path) -> None:
    with work(tmp_path, "polls", ignore=(signal.SIGINT,)) as running:
        samples.wait_for(tmp_path / "begun", running)
        running.send_signal(signal.SIGINT)
        running.send_signal(signal.SIGTERM)
        assert running.communicate(timeout=samples.LONGEST) == ("", LINE)


class Person:
    """Someone at a terminal of 80 by 24."""

    def __init__(self, *words: str) -> None:
        self.terminal, inner = pty.openpty()
        self.running = subprocess.Popen(
            [sys.executable, "-m", "tests.cli.samples", *words],
            cwd=samples.ROOT,
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env=samples.environment(TERM="xterm", COLUMNS="80", LINES="24"),
            start_new_session=True,
            preexec_fn=samples.heed_sigint,
        )
        os.close(inner)
        self.seen = ""

    def __enter__(self) -> Person:
        return self

    def __exit__(self, *raised: object) -> None:
        self.running.kill()
        self.running.wait()
        os.close(self.terminal)

    def read_until(self, text: str) -> None:
        """Read until a text was shown; fails where the program ends before."""
        while text not in self.seen:
            assert self._read(), self.seen

    def rest(self) -> str:
        while self._read():
            pass
        return self.seen

    def _read(self) -> bool:
        ready, _, _ = select.select([self.terminal], [], [], samples.LONGEST)
        assert ready, f"nothing more came after {self.seen!r}"
        try:
            block = os.read(self.terminal, 4096)
        except OSError:  # how Linux says that nobody has the other side any more
            return False
        self.seen += block.decode("utf-8", "replace")
        return bool(block)

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())


class TestQuestionsAtATerminal:
    def test_answers(self) -> None:
        with Person("sample", "ask", "--default", "tax") as person:
            person.read_until("Sure? [y/N] ")
            person.type("perhaps\n")
            person.read_until("perhaps\r\nSure? [y/N] ")
            person.type("y\n")
            person.read_until("Which word [tax]: ")
            person.type("\n")
            assert "sure True, word tax" in person.rest()
            assert person.running.wait() == 0

    def test_no_answer_is_no(self) -> None:
        with Person("sample", "ask") as person:
            person.read_until("Sure? [y/N] ")
            person.type("\n")
            person.read_until("Which word: ")
            person.type("\nwater\n")
            assert "sure False, word water" in person.rest()

    def test_the_end_of_the_terminal_is_4(self) -> None:
        with Person("sample", "ask") as person:
            person.read_until("Sure? [y/N] ")
            person.type("\x04")
            assert "no answer: Sure?" in person.rest()
            assert person.running.wait() == 4

    @pytest.mark.parametrize(("number", "code"), CODES)
    def test_a_signal_during_work_ends_a_question(self, number: int, code: int) -> None:
        with Person("sample", "work", "--how", "question") as person:
            person.read_until("Which word: ")
            person.running.send_signal(number)
            assert "opsctl: interrupted; `opsctl resume RUN-1` goes on" in person.rest()
            assert person.running.wait() == code

    def test_a_table_on_a_terminal_is_coloured_and_fits(self) -> None:
        with Person("sample", "tell") as person:
            lines = person.rest().splitlines()
        assert any("\x1b[1m" in line for line in lines)
        assert any("20261124-0230-portal-0000" in line and "\\x1b[31m" in line for line in lines)
