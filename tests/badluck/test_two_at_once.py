"""Two people, or cron and a person, start the same thing: one works, the other says who is at it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.badluck.faults import FaultyRestic, ended, kill_at_line
from tests.badluck.scene import equal, furnish, nothing_left
from tests.machine import Machine


def manifests(machine: Machine) -> int:
    return sum("manifest" in one["tags"] for one in machine.snapshots())


@contextmanager
def at_work(machine: Machine, restic: FaultyRestic, *words: str, source: str = "files") -> Iterator[subprocess.Popen[str]]:
    """A process of opsctl whose restic stands still in the middle of its work; it goes on after the block."""
    restic.brake(1024)  # slow enough to be caught
    process = machine.start("--json", *words, env=restic.env)
    child = restic.pid(f"source={source}")
    os.kill(child, signal.SIGSTOP)
    restic.release()
    try:
        yield process
    finally:
        os.kill(child, signal.SIGCONT)


def test_two_that_are_due_make_one_set(machine: Machine, restic: FaultyRestic, tmp_path: Path) -> None:
    furnish(machine)
    both = [machine.start("--json", "backup", "run", "--due") for _ in range(2)]
    done = [ended(process) for process in both]
    assert [one.code for one in done] == [0, 0]
    found = [one.document["result"]["backups"]["portal"] for one in done]
    # The other one either met the first at work or came when nothing was due any more.
    assert sorted(one["outcome"] for one in found) in (["changed", "skipped"], ["changed", "ok"])
    assert manifests(machine) == 1
    machine("restore", "set", "portal", "--into", str(tmp_path / "back"), expect=0)
    equal(machine, tmp_path / "back")
    nothing_left(machine)


def test_who_is_at_work_is_said(machine: Machine, restic: FaultyRestic) -> None:
    furnish(machine)
    with at_work(machine, restic, "backup", "run", "--due") as first:
        due = machine.json("backup", "run", "--due", expect=0).result["backups"]["portal"]
        assert due["outcome"] == "skipped" and f"pid {first.pid} " in due["because"]
        told = machine("backup", "run", "--due", expect=0)
        assert f"portal: left alone: backup-portal: pid {first.pid} (" in told.out
        busy = machine.json("backup", "run", expect=11)
        assert busy.errors[0]["details"]["holder"]["pid"] == first.pid
        assert busy.errors[0]["details"]["holder"]["run"] in busy.errors[0]["message"]
        assert manifests(machine) == 0
        later = machine.start("--json", "backup", "run", "--wait", "10m")
    assert ended(first).code == 0
    assert ended(later).document["result"]["backups"]["portal"]["outcome"] == "changed"
    assert manifests(machine) == 2
    nothing_left(machine)


def test_two_resumes_of_one_run(machine: Machine, restic: FaultyRestic, tmp_path: Path) -> None:
    furnish(machine)
    run = kill_at_line(machine, restic, ["backup", "run"], lambda line: line["type"] == "step.begin")
    restic.forget_calls()
    with at_work(machine, restic, "resume", run) as first:
        second = machine.json("resume", run, expect=11)
        assert second.errors[0]["details"]["holder"]["pid"] == first.pid
        assert machine.json("runs", expect=0).result["runs"][0]["state"] == "running"
    assert ended(first).code == 0
    assert manifests(machine) == 1
    machine("restore", "set", "portal", "--into", str(tmp_path / "back"), expect=0)
    equal(machine, tmp_path / "back")
    nothing_left(machine)
