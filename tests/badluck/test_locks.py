"""Locks in a repository: of somebody at work, of somebody dead, of another machine."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.badluck import faults
from tests.badluck.faults import FaultyRestic, locked, until
from tests.badluck.scene import equal, nothing_left
from tests.machine import Machine


@contextmanager
def another(machine: Machine, *words: str, before: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[bytes]]:
    """A restic of somebody else that holds its lock when the block begins; ended and reaped after it."""
    env = {
        **os.environ,
        **machine.environ,
        "RESTIC_REPOSITORY": str(machine.store),
        "RESTIC_PASSWORD_FILE": str(machine.etc / "keys" / "repository-password"),
        "RESTIC_CACHE_DIR": str(machine.root / "cache-of-another"),
    }
    with subprocess.Popen(
        [*before, "restic", *words],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            until(lambda: locked(machine), "a lock of another restic")
            yield process
        finally:
            for number in (signal.SIGCONT, signal.SIGKILL):
                process.send_signal(number)
            process.wait(faults.LIMIT)


@contextmanager
def checking(machine: Machine) -> Iterator[int]:
    """An exclusive lock of a living process that does not get on; its number."""
    with another(machine, "check") as process:
        process.send_signal(signal.SIGSTOP)
        yield process.pid


def removed(document: dict[str, Any], pid: int) -> list[str]:
    """What a person is told of a lock that was taken away."""
    return [said for said in document["warnings"] if f"removed the lock of process {pid} " in said]


def test_a_living_one_is_waited_for_and_named(
    with_a_set: Machine, restic: FaultyRestic, tmp_path: Path
) -> None:
    machine = with_a_set
    before = machine.snapshots()
    with checking(machine) as pid:
        busy = machine.json("backup", "run", "--wait", "2s", expect=11)
        held = busy.errors[0]["details"]["locks"]
        assert [(one["pid"], one["host"], one["exclusive"]) for one in held] == [
            (pid, socket.gethostname(), True)
        ]
        assert held[0]["age"] >= 2
        message = busy.errors[0]["message"]
        assert f"process {pid} of " in message and re.search(
            rf" on {socket.gethostname()} \(exclusive, for \d+ s\)", message
        )
        assert re.search(r"after waiting \d+ s", message)
        assert machine("verify", expect=11).err.count(f"process {pid} of ") == 1
        # Reading needs no lock: a hung check holds no emergency up.
        assert [one["state"] for one in machine.json("backup", "list", expect=0).result["sets"]] == ["good"]
        machine("status", "--refresh", expect=0)
        machine("restore", "set", "portal", "--into", str(tmp_path / "set"), expect=0)
        equal(machine, tmp_path / "set")
        wanted = machine.data / "scan.bin"
        machine("restore", "files", "portal", str(wanted), "--into", str(tmp_path / "files"), expect=0)
        assert (tmp_path / "files" / "scan.bin").read_bytes() == wanted.read_bytes()
        assert locked(machine)
        assert machine.snapshots() == before


def test_a_dead_ones_lock_is_removed_and_said(with_a_set: Machine, restic: FaultyRestic) -> None:
    machine = with_a_set
    machine.at("2026-12-15T02:30:00+05:30")
    with checking(machine) as pid:
        pass
    assert locked(machine)
    done = machine.json("backup", "run", "--due", expect=0)
    assert done.result["backups"]["portal"]["outcome"] == "changed"
    assert len(removed(done.document, pid)) == 1
    nothing_left(machine)


def test_the_dead_one_need_not_be_reaped(with_a_set: Machine, restic: FaultyRestic) -> None:
    """In a container the init process may leave the dead as they are for ever."""
    machine = with_a_set
    with checking(machine) as pid:
        os.kill(pid, signal.SIGKILL)
        state = Path(f"/proc/{pid}/stat")
        until(lambda: state.read_text().rpartition(")")[2].split()[0] == "Z", "its end")
        done = machine.json("backup", "run", expect=0)
        assert len(removed(done.document, pid)) == 1
    nothing_left(machine)


def test_a_lock_that_dies_while_it_is_waited_for(with_a_set: Machine, restic: FaultyRestic) -> None:
    machine = with_a_set
    with checking(machine) as pid:
        waiting = machine.start("--json", "verify", "--wait", "10m", env=restic.env)
        restic.pid("check")
    done = faults.ended(waiting)
    assert done.code == 0, done
    assert len(removed(done.document, pid)) == 1
    nothing_left(machine)


def test_a_backup_of_somebody_else_is_no_hindrance(with_a_set: Machine, restic: FaultyRestic) -> None:
    machine = with_a_set
    with another(machine, "backup", "--stdin", "--tag", "somebody") as other:
        assert machine.json("backup", "run", expect=0).result["backups"]["portal"]["state"] == "good"
        busy = machine.json("verify", "--wait", "1s", expect=11)
        assert [one["pid"] for one in busy.errors[0]["details"]["locks"]] == [other.pid]
        assert locked(machine)


def test_a_lock_of_another_machine_stays(with_a_set: Machine, restic: FaultyRestic) -> None:
    """Nobody here can know whether its owner lives, so it is named and left alone."""
    if os.geteuid() or shutil.which("unshare") is None:
        pytest.skip("only root can make a restic believe that it is on another machine")
    machine = with_a_set
    words = ("unshare", "--uts", "sh", "-c", 'hostname elsewhere && exec "$@"', "sh")
    with another(machine, "check", before=words) as process:
        pid = process.pid
        process.send_signal(signal.SIGSTOP)
    busy = machine.json("backup", "run", "--wait", "1s", expect=11)
    assert [(one["pid"], one["host"]) for one in busy.errors[0]["details"]["locks"]] == [(pid, "elsewhere")]
    assert "elsewhere" in busy.errors[0]["message"]
    assert locked(machine)
