"""A rotation of the signing key and an escrow that are killed at any boundary come to their end, once: one key signs, one set of shares opens."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from opsctl.engine.journal import Journal
from tests.actions.planting import name_of
from tests.badluck.faults import lines
from tests.lab.promotion import struck_before
from tests.machine import Kept, Machine


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, with_a_file: Machine) -> Kept:
    """A machine with one set."""
    machine = with_a_file
    machine("backup", "run", expect=0)
    machine.at("2026-12-13T02:30:00+05:30")
    return Kept(machine, tmp_path_factory.mktemp("kept") / "m")


@pytest.fixture
def machine(made: Kept) -> Machine:
    return made.again()


def struck(machine: Machine, number: int, words: Sequence[str]) -> bool:
    """Run a command line in a process that is killed (-9) behind the journal's line of this number (from 1); whether it came to that."""
    child = os.fork()
    if not child:
        write, seen = Journal.append, 0

        def append(self: Journal, *given: Any, **more: Any) -> Any:
            nonlocal seen
            entry = write(self, *given, **more)
            seen += 1
            if seen == number:
                self.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            return entry

        Journal.append = append  # type: ignore[method-assign]
        machine.json(*words)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def go_on(machine: Machine, words: Sequence[str]) -> None:
    """Take up what was begun; what was never bound is begun anew."""
    bound = [line["run"] for line in lines(machine) if line["type"] == "run.bound" and line["data"]["playbook"].startswith("keys-")]
    machine(*(("resume", bound[-1]) if bound else words), expect=0)


def rotated(machine: Machine, before: str) -> None:
    keys = machine.etc / "keys"
    now = name_of(keys / "controller")
    assert now != before and machine.json("keys", "list", expect=0).result["signs"] == now
    assert not (keys / "next").exists() and not (keys / "next.pub").exists()
    machine("backup", "run", "--force", expect=0)
    assert [one["state"] for one in machine.json("backup", "list", expect=0).result["sets"]] == ["good", "good"]
    told = [one for one in machine.snapshots() if "rotation" in (one.get("tags") or ())]
    assert len(told) == 1 and len(list((keys / "rotations").glob("*.json"))) == 1
    machine("journal", "verify", expect=0)


def kept_in_parts(machine: Machine, folder: Path, number: int) -> None:
    into = machine.root / f"password-{number}"
    shares = [str(folder / f"share-{one}.txt") for one in (1, 3)]
    assert len(machine.json("keys", "recover", *shares, "--into", str(into), "--repository", str(machine.store), expect=0).result["opens"]) == 1
    listed = machine.json("keys", "list", expect=0).result["repositories"]["main"]
    assert len([one for one in listed if one["user"].startswith("escrow-")]) == 1 and len(listed) == 2
    machine("journal", "verify", expect=0)


#: Lines of the journal: bound, begun, of each change that it begins and is done, the step's end and the run's.
SOME, ALL = (5,), range(1, 12)


@pytest.mark.parametrize("number", [pytest.param(one, marks=() if one in SOME else pytest.mark.full) for one in ALL])
def test_promise_7_a_rotation_that_is_killed_at_any_line_ends_with_one_key_that_signs(machine: Machine, number: int) -> None:
    before = name_of(machine.etc / "keys" / "controller")
    words = ("keys", "rotate")
    if struck(machine, number, words):
        go_on(machine, words)
    else:
        assert number > 9
    rotated(machine, before)


@pytest.mark.parametrize("number", [pytest.param(one, marks=() if one in SOME else pytest.mark.full) for one in ALL])
def test_promise_7_an_escrow_that_is_killed_at_any_line_ends_with_one_set_of_shares(machine: Machine, number: int) -> None:
    folder = machine.root / "paper"
    words = ("keys", "escrow", "--shares", "3", "--need", "2", "--into", str(folder))
    if struck(machine, number, words):
        go_on(machine, words)
    else:
        assert number > 7
    kept_in_parts(machine, folder, number)


@pytest.mark.full
@pytest.mark.parametrize("what", ["rotate", "escrow"])
def test_promise_7_killed_before_any_rename_or_link_of_keys_and_shares(made: Kept, what: str) -> None:
    number = 0
    while True:
        number += 1
        machine = made.again()
        before, folder = name_of(machine.etc / "keys" / "controller"), machine.root / "paper"
        words = ("keys", "rotate") if what == "rotate" else ("keys", "escrow", "--shares", "3", "--need", "2", "--into", str(folder))
        killed = struck_before(number, lambda: machine.json(*words), ("os.rename", "os.link"))  # noqa: B023
        if killed:
            go_on(machine, words)
        rotated(machine, before) if what == "rotate" else kept_in_parts(machine, folder, number)
        if not killed:
            break
    assert number > 3
