"""Commands on this machine: read without deadlock, ended with all their children, told apart by their end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from opsctl.errors import Interrupted, ProgramFailed, Unreachable
from opsctl.shells import local
from opsctl.shells.complaints import BEGINNING, END
from opsctl.shells.local import LocalSession, LocalShell
from tests.lab.waiting import alive, until


@pytest.fixture
def shell() -> Iterator[LocalShell]:
    local.reset()
    yield LocalShell()
    local.reset()


def pids(path: Path, count: int) -> list[int]:
    """Process ids that a script wrote, one a line, once there are ``count`` of them."""
    until(lambda: path.exists() and len(path.read_text().split()) == count)
    return [int(line) for line in path.read_text().split()]


def family(path: Path) -> list[str]:
    """A command with a child that both never end and write their process ids."""
    script = f'echo $$ >>{path}; sh -c "echo \\$\\$ >>{path}; exec sleep 1000" & exec sleep 1000'
    return ["sh", "-c", script]


def test_streams_and_exit_code(shell: LocalShell) -> None:
    result = shell.run(["sh", "-c", "echo out; echo err >&2; exit 3"], accept=(3,))
    assert (result.code, result.stdout, result.stderr) == (3, b"out\n", b"err\n")
    assert result.text == "out\n" and result.errors == "err\n"


def test_a_full_error_pipe_is_no_deadlock(shell: LocalShell) -> None:
    """Half a megabyte of complaints while somebody reads standard output line by line."""
    lines: list[bytes] = []
    script = (
        "i=0; while [ $i -lt 6000 ]; do"
        " echo 'a complaint of about a hundred bytes, more or less, on a file that we may not read' >&2;"
        " i=$((i+1)); [ $((i % 1000)) = 0 ] && echo line $i; done"
    )
    result = shell.run(["sh", "-c", script], on_line=lines.append, timeout=60)
    assert lines == [b"line %d" % number for number in range(1000, 7000, 1000)]
    assert len(result.stderr) > 450_000 and result.stdout == b""


def test_of_a_gigabyte_of_complaints_the_beginning_and_the_end_are_kept_and_no_memory_is_taken(shell: LocalShell) -> None:
    script = "echo the beginning >&2; head -c 1G /dev/zero >&2; echo; read -r go; echo the end >&2; exit 3"
    with shell.open(["sh", "-c", script]) as session:
        assert isinstance(session, LocalSession) and session.stdout.readline() == b"\n"
        memory = session._child.complaints.descriptor
        assert os.fstat(memory).st_size > 1 << 30
        until(lambda: os.fstat(memory).st_blocks * 512 <= BEGINNING + END + (2 << 20), "the memory given back")
        session.stdin.write(b"go\n")
        session.stdin.flush()
        result = session.close(60)
    assert result.code == 3 and len(result.stderr) < BEGINNING + END + 100
    assert result.stderr.startswith(b"the beginning\n") and result.stderr.endswith(b"\0the end\n")
    assert b" bytes are left out here" in result.stderr


def test_lines_come_while_the_command_runs(shell: LocalShell, tmp_path: Path) -> None:
    go = tmp_path / "go"
    seen: list[bytes] = []

    def take(line: bytes) -> None:
        seen.append(line)
        go.touch()

    shell.run(
        ["sh", "-c", f"echo first; while [ ! -e {go} ]; do sleep 0.01; done; printf 'second\\nrest'"],
        on_line=take,
        timeout=30,
    )
    assert seen == [b"first", b"second", b"rest"]


def test_an_error_of_the_reader_ends_the_command(shell: LocalShell, tmp_path: Path) -> None:
    def refuse(line: bytes) -> None:
        raise ZeroDivisionError(line)

    with pytest.raises(ZeroDivisionError):
        shell.run(["sh", "-c", f"echo $$ >{tmp_path}/pid; echo x; exec sleep 1000"], on_line=refuse)
    assert not alive(int((tmp_path / "pid").read_text()))


def test_input(shell: LocalShell) -> None:
    content = os.urandom(3_000_000)
    assert shell.run(["cat"], stdin=content).stdout == content
    assert shell.run(["cat"]).stdout == b""  # closed, not ours
    assert shell.run(["true"], stdin=content).code == 0  # who does not read it is no failure


def test_words_are_bytes(shell: LocalShell) -> None:
    assert shell.run(["printf", "%s|", b"new\nline", b"\xff\xfe"]).stdout == b"new\nline|\xff\xfe|"


def test_environment_is_built_from_nothing(shell: LocalShell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "from outside")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:3128")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    seen = dict(line.split("=", 1) for line in shell.run(["env"], env={"GIVEN": "yes"}).text.splitlines())
    assert "PGPASSWORD" not in seen
    assert seen["XDG_RUNTIME_DIR"] == "/run/user/7" and seen["HTTPS_PROXY"] == "http://proxy.invalid:3128"
    assert seen["LANG"] == "C.UTF-8" and seen["GIVEN"] == "yes" and seen["PATH"]


def test_directory(shell: LocalShell, tmp_path: Path) -> None:
    assert shell.run(["pwd"], cwd=str(tmp_path)).text.strip() == str(tmp_path.resolve())
    with pytest.raises(ProgramFailed, match="nowhere is not there"):
        shell.run(["pwd"], cwd=str(tmp_path / "nowhere"))


def test_failure_says_program_and_last_words(shell: LocalShell) -> None:
    with pytest.raises(ProgramFailed) as caught:
        shell.run(
            ["sh", "-c", "echo first >&2; printf 'the \\033[31mreason\\n\\n' >&2; exit 4"],
            env={"SECRET": "hunter2"},
        )
    assert caught.value.message == "sh failed (4): the  [31mreason"
    assert caught.value.details == {"exit_code": 4}
    assert "hunter2" not in repr(caught.value) + str(caught.value.as_dict())


def test_signals_have_names(shell: LocalShell) -> None:
    with pytest.raises(ProgramFailed, match="sh was ended by SIGKILL"):
        shell.run(["sh", "-c", "kill -9 $$"])


@pytest.mark.parametrize("name", ["no-such-program", "/no/such/program"])
def test_a_program_that_is_not_there(shell: LocalShell, name: str) -> None:
    with pytest.raises(ProgramFailed) as caught:
        shell.run([name])
    assert name in caught.value.message and "install" in (caught.value.hint or "")


def test_time_limit_ends_the_whole_family(shell: LocalShell, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"sh did not finish within 0\.5 seconds"):
        shell.run(family(tmp_path / "pids"), timeout=0.5)
    assert not any(alive(pid) for pid in pids(tmp_path / "pids", 2))


def test_what_ignores_the_polite_signal_is_killed(shell: LocalShell, tmp_path: Path) -> None:
    with pytest.raises(Unreachable):
        shell.run(
            ["sh", "-c", f"trap '' TERM; echo $$ >{tmp_path}/pid; while :; do sleep 0.1; done"], timeout=0.3
        )
    assert not alive(int((tmp_path / "pid").read_text()))


def test_children_do_not_outlive_the_command(shell: LocalShell, tmp_path: Path) -> None:
    """A dump whose restic was killed must not go on alone, nor hold us up by its open output."""
    script = (
        f'sh -c "echo \\$\\$ >{tmp_path}/pid; exec sleep 1000" &'
        f" while [ ! -s {tmp_path}/pid ]; do sleep 0.01; done; echo done"
    )
    assert shell.run(["sh", "-c", script], timeout=60).stdout == b"done\n"
    pid = int((tmp_path / "pid").read_text())
    until(lambda: not alive(pid))


def test_stop_ends_everything_and_lets_nothing_begin(shell: LocalShell, tmp_path: Path) -> None:
    raised: list[BaseException] = []

    def work() -> None:
        try:
            shell.run(family(tmp_path / "pids"))
        except Interrupted as error:
            raised.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    session = shell.open(["cat"])
    children = pids(tmp_path / "pids", 2)
    local.stop(signal.SIGTERM)
    worker.join(30)
    assert [error.exit_code for error in raised] == [143]
    assert not any(alive(pid) for pid in children)
    assert session.stdout.read() == b"" and session.close().code == -signal.SIGTERM
    for begin in (lambda: shell.run(["true"]), lambda: shell.open(["true"]), shell.check):
        with pytest.raises(Interrupted):
            begin()
    local.reset()
    assert shell.run(["true"]).code == 0


def test_stop_from_a_signal_handler(tmp_path: Path) -> None:
    """As the command line does it: the main thread itself waits for the command."""
    program = (
        "import signal, sys\n"
        "from opsctl.errors import Interrupted\n"
        "from opsctl.shells import local\n"
        "signal.signal(signal.SIGINT, lambda number, frame: local.stop(number))\n"
        "try: local.LocalShell().run(sys.argv[1:])\n"
        "except Interrupted as error: sys.exit(error.exit_code)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, *family(tmp_path / "pids")],
        cwd=os.getcwd(),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        children = pids(tmp_path / "pids", 2)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert not any(alive(pid) for pid in children)


@pytest.mark.parametrize("how", ["run", "open"])
def test_nothing_outlives_a_parent_that_is_killed(tmp_path: Path, how: str) -> None:
    """kill -9: no handler runs, and the children end all the same, also those of a thread that is gone."""
    program = (
        "import sys, threading, time\n"
        "from opsctl.shells import local\n"
        "kept = []\n"
        "def begin():\n"
        f"    kept.append(local.LocalShell().{how}(sys.argv[1:]))\n"
        "worker = threading.Thread(target=begin)\n"
        "worker.start(); worker.join(); time.sleep(1000)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, *family(tmp_path / "pids")],
        cwd=os.getcwd(),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        children = pids(tmp_path / "pids", 2)
        assert all(alive(pid) for pid in children)
        process.kill()
    until(lambda: not any(alive(pid) for pid in children))


def test_many_at_once(shell: LocalShell) -> None:
    found: list[bytes] = []

    def work(number: int) -> None:
        for each in range(10):
            found.append(shell.run(["echo", f"{number}/{each}"]).stdout)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert sorted(found) == sorted(b"%d/%d\n" % (number, each) for number in range(8) for each in range(10))


def test_session(shell: LocalShell) -> None:
    with shell.open(
        ["sh", "-c", "read x; echo got $x; echo complaint >&2; read y; echo got $y; exit 5"]
    ) as session:
        session.stdin.write(b"one\n")
        session.stdin.flush()
        assert session.stdout.readline() == b"got one\n"
        session.stdin.write(b"two\n")
        result = session.close()
    assert (result.code, result.stdout, result.stderr) == (5, b"got two\n", b"complaint\n")
    assert session.close() is result


def test_a_session_that_does_not_end_is_ended(shell: LocalShell, tmp_path: Path) -> None:
    session = shell.open(family(tmp_path / "pids"))
    children = pids(tmp_path / "pids", 2)
    assert session.close(timeout=0.1).code == -signal.SIGTERM
    until(lambda: not any(alive(pid) for pid in children))


def test_closing_does_not_wait_for_unread_output(shell: LocalShell) -> None:
    session = shell.open(["sh", "-c", "head -c 1000000 /dev/zero; exit 0"])
    assert len(session.close().stdout) == 1_000_000
