"""SIGINT and SIGTERM: the work ends at once with everything that it started, and can be taken up again."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.badluck import faults
from tests.badluck.faults import FaultyRestic, lines, locked, until
from tests.badluck.scene import equal, furnish, hidden, in_view, nothing_left, set_of, snapshots
from tests.machine import Machine

CODES = [pytest.param(signal.SIGINT, 130, id="SIGINT"), pytest.param(signal.SIGTERM, 143, id="SIGTERM")]
LIMIT = 30.0
"""Seconds for a process to end by itself: a limit for what hangs, no measurement of the two it may take."""


def stop(machine: Machine, restic: FaultyRestic, process: subprocess.Popen[str], number: int) -> faults.Ended:
    """Send the signal; the process and all that it started are gone."""
    process.send_signal(number)
    done = faults.ended(process, LIMIT)
    faults.all_gone(machine, restic)
    restic.release()
    return done


def told_as_document(done: faults.Ended, code: int) -> str:
    """Exactly one document on standard output, and what goes on where it stopped; the id of the run."""
    document = done.document
    assert (done.code, document["exit_code"], done.err) == (code, code, "")
    assert [error["code"] for error in document["errors"]] == [code]
    return str(document["run"])


@pytest.mark.parametrize(("number", "code"), CODES)
@pytest.mark.parametrize("source", ["files", "tax"])
def test_a_backup_is_stopped_and_taken_up_again(
    machine: Machine,
    restic: FaultyRestic,
    tmp_path: Path,
    source: str,
    number: int,
    code: int,
) -> None:
    furnish(machine)
    if source == "tax":
        restic.brake(1, at="source=tax")
    else:
        restic.brake(64)
    process = machine.start("--json", "backup", "run", env=restic.env)
    restic.pid(f"source={source}")
    until(lambda: locked(machine), "a lock of restic")
    run = told_as_document(stop(machine, restic, process, number), code)
    set_id = set_of(run)
    assert snapshots(machine, set_id, f"source={source}") == []
    assert machine.json("backup", "list", expect=0).result["sets"] == [] or source == "tax"
    machine("resume", run, expect=0)
    machine("restore", "set", "portal", "--set", set_id, "--into", str(tmp_path / "back"), expect=0)
    equal(machine, tmp_path / "back")
    assert len(snapshots(machine, set_id, "manifest")) == 1
    nothing_left(machine)


@pytest.mark.parametrize(("number", "code"), CODES)
def test_a_restore_is_stopped_and_taken_up_again(
    with_a_set: Machine,
    restic: FaultyRestic,
    tmp_path: Path,
    number: int,
    code: int,
) -> None:
    machine, into = with_a_set, tmp_path / "into" / "back"
    restic.brake(64)
    process = machine.start("--json", "restore", "set", "portal", "--into", str(into), env=restic.env)
    restic.pid("restore --json")
    until(lambda: any(tmp_path.glob(f"into/**{machine.data}/below")), "a folder that comes back")
    run = told_as_document(stop(machine, restic, process, number), code)
    assert in_view(into) == []
    machine("resume", run, expect=0)
    equal(machine, into)
    assert hidden(tmp_path) == []
    nothing_left(machine)


def test_a_person_is_told_how_to_go_on(machine: Machine, restic: FaultyRestic) -> None:
    furnish(machine)
    restic.brake(64)
    process = machine.start("backup", "run", env=restic.env)
    restic.pid("source=files")
    until(lambda: locked(machine), "a lock of restic")
    done = stop(machine, restic, process, signal.SIGINT)
    run = lines(machine)[-1]["run"]
    assert (done.code, done.out) == (130, "")
    assert done.err.endswith(f"opsctl: interrupted; `opsctl resume {run}` goes on\n")
    assert "Traceback" not in done.err
    assert machine.json("runs", expect=0).result["runs"][0]["state"] == "interrupted"
    machine("resume", run, expect=0)
    assert [one["state"] for one in machine.json("backup", "list", expect=0).result["sets"]] == ["good"]
    nothing_left(machine)


def test_a_wait_for_a_lock_is_stopped(machine: Machine, restic: FaultyRestic) -> None:
    """Waiting for somebody else's lock is work that can be interrupted too."""
    furnish(machine)
    restic.brake(64)
    first = machine.start("backup", "run", env=restic.env)
    child = restic.pid("source=files")
    until(lambda: locked(machine), "a lock of restic")
    second = machine.start("--json", "verify", "--wait", "10m", env=restic.env)
    assert child != restic.pid("check")
    second.send_signal(signal.SIGTERM)
    done = faults.ended(second, LIMIT)
    assert (done.code, done.document["exit_code"]) == (143, 143)
    assert first.poll() is None
    stop(machine, restic, first, signal.SIGTERM)
