"""Locks: who holds them, whether they are alive, what waits for them and what does not."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from opsctl.errors import Busy, Interrupted
from opsctl.model.snapshots import LockInfo
from opsctl.repositories.restic_locks import is_stale
from opsctl.shells import local
from tests.lab.waiting import until
from tests.repositories.conftest import PASSWORD, Copy

DEAD = 2**22 - 1  # above what Linux gives out by default


def locks(copy: Copy) -> list[str]:
    """Names of complete locks: restic writes each beside its name first."""
    return [name for name in copy.names("locks") if "-tmp-" not in name]


@contextmanager
def holding(copy: Copy, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A restic that holds a lock and stands still; it is killed afterwards."""
    env = {
        "PATH": os.environ["PATH"],
        "RESTIC_PASSWORD": PASSWORD,
        "RESTIC_REPOSITORY": str(copy.root),
        "HOME": "/nonexistent",
    }
    with subprocess.Popen(
        ["restic", "--no-cache", *words],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            until(lambda: len(locks(copy)) == 1)
            process.send_signal(signal.SIGSTOP)
            assert locks(copy), "it ended before it could be held"
            yield process
        finally:
            process.kill()


def test_a_live_lock_is_named(copy: Copy) -> None:
    with holding(copy, "backup", "--stdin", "--force") as process:
        repository = copy.open(pin=copy.template.identity)
        (lock,) = repository.locks()
        assert (lock.pid, lock.hostname, lock.exclusive) == (process.pid, socket.gethostname(), False)
        repository.backup_bytes(
            b"beside it", filename="x", tags=["x"], host="h"
        )  # shared locks do not hinder each other
        with pytest.raises(Busy) as caught:
            repository.check()
        assert repository.unlock_stale() == [] and len(locks(copy)) == 1
    (fact,) = caught.value.details["locks"]
    assert fact["pid"] == process.pid and fact["host"] == socket.gethostname() and fact["age"] < 600
    assert f"process {process.pid}" in caught.value.message and socket.gethostname() in caught.value.message


def test_reading_works_under_an_exclusive_lock(copy: Copy, tmp_path: Path) -> None:
    with holding(copy, "check", "--read-data") as process:
        repository = copy.open(pin=copy.template.identity)
        assert repository.locks()[0].exclusive
        assert len(repository.snapshots()) == 3
        assert repository.read(copy.template.document, "manifest.json")
        assert list(repository.ls(copy.template.document))
        repository.restore(copy.template.document, tmp_path / "out")
        repository.dump_to(copy.template.document, "/manifest.json", tmp_path / "dumped")
        with pytest.raises(Busy, match=f"process {process.pid}"):
            repository.backup_bytes(b"x", filename="x", tags=["x"], host="h")


def test_waiting_until_the_lock_goes(copy: Copy) -> None:
    with holding(copy, "check", "--read-data") as process:
        repository = copy.open(pin=copy.template.identity, wait=60)
        found: list[str | None] = []
        worker = threading.Thread(
            target=lambda: found.append(
                repository.backup_bytes(b"x", filename="x", tags=["x"], host="h").snapshot
            )
        )
        worker.start()
        until(lambda: repository.calls >= 2)  # it was refused and has asked whose lock that is
        process.send_signal(signal.SIGCONT)
        worker.join(60)
        assert found and found[0] in copy.names("snapshots")


def test_waiting_can_be_interrupted(copy: Copy) -> None:
    with holding(copy, "check", "--read-data"):
        repository = copy.open(pin=copy.template.identity, wait=600)
        raised: list[BaseException] = []

        def work() -> None:
            try:
                repository.backup_bytes(b"x", filename="x", tags=["x"], host="h")
            except Interrupted as error:
                raised.append(error)

        worker = threading.Thread(target=work)
        worker.start()
        until(lambda: repository.calls >= 2)
        local.stop(signal.SIGINT)
        worker.join(30)
        assert [error.exit_code for error in raised] == [130]


def test_the_lock_of_a_dead_process_is_removed_and_said(copy: Copy) -> None:
    with holding(copy, "check", "--read-data") as process:
        pass
    assert len(locks(copy)) == 1
    repository = copy.open(pin=copy.template.identity)
    assert repository.backup_bytes(b"x", filename="x", tags=["x"], host="h").snapshot
    assert locks(copy) == []
    assert any(f"process {process.pid}" in note for note in repository.notes)


def test_killed_in_the_middle_of_a_backup(copy: Copy, tmp_path: Path) -> None:
    """kill -9 of our own process: restic and the dump below it end, and the lock is taken away."""
    go = tmp_path / "dump-runs"
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.repositories.conftest import make_restic\n"
        "repository = make_restic(sys.argv[1], Path(sys.argv[2]))\n"
        f"script = 'echo half; echo $$ >{go}; exec sleep 1000'\n"
        "repository.backup_command(['sh', '-c', script], filename='x', tags=['x'], host='h')\n"
    )
    argv = [sys.executable, "-c", program, str(copy.root), str(copy.template.password)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    before = copy.names("snapshots")
    with subprocess.Popen(argv, env=env) as process:
        until(lambda: go.exists() and bool(go.read_text().strip()) and len(locks(copy)) == 1)
        process.kill()
    until(lambda: locks(copy) == [])
    until(lambda: not Path(f"/proc/{go.read_text().strip()}").exists())
    assert copy.names("snapshots") == before


def test_no_lock_costs_no_call(copy: Copy) -> None:
    repository = copy.open(pin=copy.template.identity)
    assert repository.locks() == [] and repository.unlock_stale() == [] and repository.calls == 0


def lock(**changes: object) -> LockInfo:
    facts = {
        "id": "0" * 64,
        "time": datetime.now(UTC),
        "exclusive": True,
        "hostname": socket.gethostname(),
        "username": "root",
        "pid": os.getpid(),
        **changes,
    }
    return LockInfo(**facts)  # type: ignore[arg-type]


def test_which_locks_are_stale() -> None:
    assert is_stale(lock(pid=DEAD), "restic")
    assert not is_stale(lock(pid=DEAD, hostname="another-host"), "restic")
    assert not is_stale(lock(pid=0), "restic")
    assert not is_stale(lock(), "restic")
    assert not is_stale(lock(pid=1), "restic") or os.getpid() == 1


def test_a_process_number_that_is_anothers_by_now() -> None:
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    with subprocess.Popen(["sleep", "1000"]) as process:
        try:
            until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n")
            assert is_stale(lock(pid=process.pid, time=hour_ago), "restic")
            # After the clock was set every process looks young: one that is a restic is believed.
            assert not is_stale(lock(pid=process.pid, time=hour_ago), "sleep")
        finally:
            process.kill()
