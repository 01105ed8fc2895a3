"""A lock is held by one at a time, says by whom, and is free when its holder is gone, however it went."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opsctl.engine import lock
from opsctl.engine.lock import Holder, Locks, file_name
from opsctl.engine.runtime_directory import runtime_directory
from opsctl.errors import Busy, ProgramFailed, SafetyRefusal

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)

HOLD = """
import sys
from pathlib import Path
from opsctl.engine.lock import Locks
with Locks(Path(sys.argv[1])).hold(sys.argv[2], run="20261124-0230-portal-7f3a", purpose="backup run"):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(
    locks: Locks, name: str = "x", *, purpose: str = "p", wait: float = 0
) -> contextlib.AbstractContextManager[None]:
    return locks.hold(name, run=None, purpose=purpose, wait=wait)


@pytest.fixture
def locks(tmp_path: Path) -> Locks:
    return Locks(tmp_path / "locks", lambda: NOW)


@contextlib.contextmanager
def another(
    locks: Locks, name: str = "backup portal", script: str = HOLD
) -> Iterator[subprocess.Popen[bytes]]:
    argv = [sys.executable, "-c", script, str(locks.directory), name]
    child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None and child.stdout.readline() == b"held\n"
        yield child
    finally:
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout):
            stream.close()  # type: ignore[union-attr]


def test_the_message_names_pid_person_time_and_run(locks: Locks) -> None:
    with another(locks) as child, pytest.raises(Busy) as raised, \
            locks.hold("backup portal", run=None, purpose="backup run"):
        pass
    assert re.fullmatch(rf"backup portal: pid {child.pid} \(\S+\) has been at work since [\d: -]+ \S+ "
                        r"for run 20261124-0230-portal-7f3a: backup run", raised.value.message)
    told = raised.value.details["holder"]
    assert (told["pid"], told["host"], told["purpose"]) == (child.pid, os.uname().nodename, "backup run")
    assert raised.value.code == 11 and raised.value.where == "backup portal"


def test_the_time_is_shown_with_its_day_where_it_is_another_one() -> None:
    holder = Holder(4711, "db-1", "asha", NOW, "r", "")
    now = NOW.astimezone(ZoneInfo("Asia/Kolkata"))
    assert holder.sentence(now) == "pid 4711 (asha) has been at work since 17:30 IST for run r"
    assert holder.sentence(now + timedelta(days=2)) == "pid 4711 (asha) has been at work since 2026-11-24 17:30 IST for run r"
    assert holder.sentence(now - timedelta(days=30)).endswith("2026-11-24 17:30 IST for run r")


def test_the_holder_is_seen_without_taking_and_gone_afterwards(locks: Locks) -> None:
    assert locks.holder("backup portal") is None
    with locks.hold("backup portal", run="r", purpose="p"):
        seen = locks.holder("backup portal")
        assert seen == Holder(os.getpid(), os.uname().nodename, seen.user, NOW, "r", "p")  # type: ignore
        assert locks.holder("backup other") is None
    assert locks.holder("backup portal") is None
    with locks.hold("backup portal", run="r2", purpose="p"):
        pass


def test_the_directory_is_empty_when_the_last_lock_is_gone(locks: Locks) -> None:
    with hold(locks, "a"):
        with hold(locks, "b"):
            assert len(list(locks.directory.iterdir())) == 2
        assert [path.name for path in locks.directory.iterdir()] == [file_name("a")]
    assert list(locks.directory.iterdir()) == []
    assert locks.holder("a") is None
    with hold(locks, "a"):
        pass
    assert list(locks.directory.iterdir()) == []


def test_two_threads_exclude_each_other_too(locks: Locks) -> None:
    with hold(locks), pytest.raises(Busy, match=rf"x: pid {os.getpid()} .* for p$"), \
            hold(locks, purpose="q"):
        pass


def test_different_names_do_not_disturb_each_other(locks: Locks) -> None:
    with hold(locks, "backup a", purpose="p"), hold(locks, "backup b", purpose="q"):
        seen = [locks.holder(name) for name in ("backup a", "backup b", "backup c")]
    assert [one and one.purpose for one in seen] == ["p", "q", None]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_dead_holder_holds_nothing(locks: Locks, number: signal.Signals) -> None:
    with another(locks) as child:
        os.kill(child.pid, number)
        child.wait(30)
        assert (locks.directory / file_name("backup portal")).read_bytes() != b"", "it could not clean up"
        assert locks.holder("backup portal") is None
        with locks.hold("backup portal", run=None, purpose="p"):
            seen = locks.holder("backup portal")
            assert seen is not None and seen.pid == os.getpid()


def test_a_program_that_was_started_does_not_inherit_the_lock(locks: Locks) -> None:
    script = HOLD.replace("    print(", """
    import subprocess
    child = subprocess.Popen(['sleep', '600'], close_fds=False, stdout=subprocess.DEVNULL)
    Path(sys.argv[1], 'child').write_text(str(child.pid))
    print(""")
    with another(locks, script=script) as holder:
        orphan = int((locks.directory / "child").read_text())
        try:
            holder.kill()
            holder.wait(30)
            os.kill(orphan, 0)
            assert locks.holder("backup portal") is None
            with locks.hold("backup portal", run=None, purpose="p"):
                pass
        finally:
            os.kill(orphan, signal.SIGKILL)


def test_waiting_ends_when_the_holder_does(locks: Locks) -> None:
    with another(locks) as child:
        waited = threading.Event()

        def release() -> None:
            waited.wait(30)
            assert child.stdin is not None
            child.stdin.close()

        helper = threading.Thread(target=release)
        helper.start()
        with pytest.raises(Busy), locks.hold("backup portal", run=None, purpose="p", wait=0.15):
            pass
        waited.set()
        with locks.hold("backup portal", run=None, purpose="p", wait=60):
            assert locks.holder("backup portal").pid == os.getpid()  # type: ignore[union-attr]
        helper.join()


def test_looking_never_makes_taking_fail(locks: Locks) -> None:
    with hold(locks):
        pass
    stop = threading.Event()
    purposes: set[str] = set()

    def look() -> None:
        while not stop.is_set():
            if (seen := locks.holder("x")) is not None:
                purposes.add(seen.purpose)

    lookers = [threading.Thread(target=look) for _ in range(3)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(100):
            with hold(locks):
                pass
        with hold(locks, purpose="the last one"):
            while "the last one" not in purposes:
                assert all(looker.is_alive() for looker in lookers)
    finally:
        stop.set()
        for looker in lookers:
            looker.join()
    assert locks.holder("x") is None


def test_one_at_a_time_among_many_processes(locks: Locks, tmp_path: Path) -> None:
    script = """
import os, sys
from pathlib import Path
from opsctl.engine.lock import Locks
locks, marker, count = Locks(Path(sys.argv[1])), Path(sys.argv[2]), 0
for _ in range(25):
    with locks.hold("x", run=None, purpose="p", wait=60):
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        os.unlink(marker)
"""
    argv = [sys.executable, "-c", script, str(locks.directory), str(tmp_path / "marker")]
    children = [subprocess.Popen(argv) for _ in range(4)]
    assert [child.wait(120) for child in children] == [0] * 4


def test_a_lock_file_that_was_cleaned_away_is_not_locked_beside_the_new_one(locks: Locks) -> None:
    with hold(locks):
        taken = threading.Event()

        def take() -> None:
            with hold(locks, purpose="second", wait=60):
                taken.set()

        waiting = threading.Thread(target=take)
        waiting.start()
        assert not taken.wait(0.1)
        (locks.directory / file_name("x")).unlink()
        assert taken.wait(30)
        waiting.join()
    with hold(locks, purpose="third"):
        seen = locks.holder("x")
        assert seen is not None and seen.purpose == "third"


def test_a_host_is_held_for_every_configuration_and_in_one_network_alone(locks: Locks, tmp_path: Path) -> None:
    mine, other = (Locks(locks.directory, scope=scope) for scope in ("aaaaaaaa", "bbbbbbbb"))
    with hold(mine, "host 10.0.0.1 port 22"), hold(mine, "backup portal"), hold(mine, "door 10.0.0.1 port 22"):
        for name in ("host 10.0.0.1 port 22", "door 10.0.0.1 port 22"):
            with pytest.raises(Busy, match=f"^{name}: "), hold(other, name):
                pass
        with hold(other, "backup portal"), hold(other, "host 10.0.0.1 port 2222"):
            pass
        here = os.stat("/proc/self/ns/net").st_ino
        assert sorted(path.name.partition("-host")[0] for path in locks.directory.glob("*host*")) == [f"net-{here}"]


def test_an_unnamed_holder_is_busy_too(locks: Locks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_DOUBT", 0.1)
    with another(locks):
        (locks.directory / file_name("backup portal")).write_bytes(b"")
        with pytest.raises(Busy, match="their name could not be written"), \
                locks.hold("backup portal", run=None, purpose="p"):
            pass
        seen = locks.holder("backup portal")
        assert seen is not None and seen.user == "unknown"


@settings(deadline=None)
@given(st.text(), st.text())
def test_names_stay_in_the_directory_and_apart(one: str, other: str) -> None:
    for name in (one, other):
        assert re.fullmatch(r"[A-Za-z0-9_.:@+%-]*\.lock", file_name(name), re.ASCII)
        assert len(file_name(name)) <= 255
    assert (file_name(one) == file_name(other)) == (one == other)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "", ".", "a\nb", "x" * 5000, "नगर", os.fsdecode(b"\xff")])
def test_any_name_can_be_held(locks: Locks, name: str) -> None:
    with locks.hold(name, run=None, purpose="p"):
        assert locks.holder(name) is not None
        assert len(list(locks.directory.iterdir())) == 1


def test_where_locks_lie(tmp_path: Path) -> None:
    assert runtime_directory(0, {"XDG_RUNTIME_DIR": str(tmp_path)}) == Path("/run/opsctl")
    assert runtime_directory(4242, {"XDG_RUNTIME_DIR": str(tmp_path)}) == tmp_path / "opsctl"
    assert runtime_directory(4242, {}) == Path("/tmp/opsctl-4242")
    assert runtime_directory(4242, {"XDG_RUNTIME_DIR": "relative"}) == Path("/tmp/opsctl-4242")
    assert runtime_directory(4242, {"XDG_RUNTIME_DIR": str(tmp_path / "gone")}) == Path("/tmp/opsctl-4242")


def test_a_directory_that_others_could_have_laid_there_is_refused(locks: Locks, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    locks.directory.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SafetyRefusal, match="is not a directory"), hold(locks):
        pass
    locks.directory.unlink()
    locks.directory.mkdir()
    locks.directory.chmod(0o777)
    with pytest.raises(SafetyRefusal, match="can be written by others"), hold(locks):
        pass
    locks.directory.chmod(0o700)
    if os.geteuid() == 0:
        os.chown(locks.directory, 4242, 4242)
        with pytest.raises(SafetyRefusal, match="belongs to user 4242"), hold(locks):
            pass
        os.chown(locks.directory, 0, 0)
    target = tmp_path / "victim"
    target.write_text("whole")
    (locks.directory / file_name("x")).symlink_to(target)
    with pytest.raises(ProgramFailed), hold(locks):
        pass
    assert target.read_text() == "whole" and not list((tmp_path / "elsewhere").iterdir())


def test_locks_are_for_this_user_only(locks: Locks) -> None:
    with hold(locks):
        assert oct(locks.directory.stat().st_mode & 0o777) == "0o700"
        assert oct((locks.directory / file_name("x")).stat().st_mode & 0o777) == "0o600"


def test_an_unusable_directory_says_why(tmp_path: Path) -> None:
    with pytest.raises(ProgramFailed, match="No such file"), \
            Locks(tmp_path / "no" / "locks").hold("x", run=None, purpose="p"):
        pass


def test_what_the_work_raises_comes_out_and_frees_the_lock(locks: Locks) -> None:
    with pytest.raises(OSError, match="of the work"), hold(locks):
        raise OSError("of the work")
    assert locks.holder("x") is None
