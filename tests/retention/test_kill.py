"""kill -9 at any boundary of a prune: no set looks whole when part of it is gone, none looks deleted, and a resume finishes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.badluck import faults
from tests.badluck.faults import FaultyRestic, at, kill_at_call, kill_at_line
from tests.retention.people import Shared
from tests.retention.test_prune import ids, planned


@pytest.fixture
def restic(filled: Shared, tmp_path: Path) -> Iterator[FaultyRestic]:
    found = FaultyRestic(tmp_path / "faulty")
    found.install()
    yield found
    faults.end_all(filled, found)


def finish(machine: Shared, run: str, before: dict[str, set[str]]) -> None:
    """What is seen between the kill and the resume, and after it."""
    first, second, third, fourth = sorted(before)
    there, states = ids(machine), machine.states()
    recorded = any("prune" in one["tags"] for one in machine.snapshots())
    for name in (first, second):
        whole = there.get(name) == before[name]
        assert states.get(name, "gone") in (("pruned", "gone") if recorded else ("good",)), "never deleted, never incomplete"
        assert whole or recorded, "nothing goes before its record stands"
        assert states.get(name) != "gone" or name not in there
    assert (states[third], states[fourth]) == ("good", "good")
    machine("resume", run, expect=0)
    assert ids(machine) == {third: before[third], fourth: before[fourth]}
    assert machine.states() == {third: "good", fourth: "good"}
    assert sum("prune" in one["tags"] for one in machine.snapshots()) == 1
    assert "total prune:           0 blobs" in machine.restic("prune", "--dry-run")
    machine("verify", "--level", "data", "--share", "all", expect=0)
    assert not faults.locked(machine)


def approved(machine: Shared) -> str:
    run, _ = planned(machine)
    machine.approve(run, "asha", "imran")
    return run


SWEEP = "--no-cache prune"
QUICK = [("forget", "after", "opsctl")]


@pytest.mark.parametrize(("which", "moment", "victim"), [
    *QUICK, *[pytest.param(which, moment, victim, marks=pytest.mark.full)
              for which in ("--tag prune", "forget", SWEEP) for moment in ("before", "after") for victim in ("opsctl", "restic")
              if (which, moment, victim) not in QUICK],
])
def test_promise_7_killed_at_a_call(filled: Shared, restic: FaultyRestic, which: str, moment: str, victim: str) -> None:
    before = ids(filled)
    run = approved(filled)
    _, done = kill_at_call(filled, restic, ["resume", run], which, moment, victim)
    # A restic that dies when its work is done has done it: the second look finds so.
    assert restic.struck and (done.code != 0 or (victim, moment) == ("restic", "after"))
    finish(filled, run, before)


@pytest.mark.full
@pytest.mark.parametrize("change", ["record", "forget", "sweep"])
@pytest.mark.parametrize("type", ["change.begin", "change.done"])
def test_promise_7_killed_at_a_line(filled: Shared, restic: FaultyRestic, type: str, change: str) -> None:
    before = ids(filled)
    run = approved(filled)
    kill_at_line(filled, restic, ["resume", run], at(type, change=change))
    finish(filled, run, before)


@pytest.mark.full
def test_promise_7_what_was_begun_can_be_finished_when_its_run_is_lost(filled: Shared, restic: FaultyRestic) -> None:
    before = ids(filled)
    run = approved(filled)
    kill_at_call(filled, restic, ["resume", run], "forget", "after", "opsctl")
    filled.forget()
    filled("backup", "init", expect=0)
    run, found = planned(filled)
    assert found["goes"] == sorted(before)[:2]
    filled.approve(run, "imran", "meena")
    filled("resume", run, expect=0)
    assert set(ids(filled)) == set(sorted(before)[2:]) == set(filled.states())
