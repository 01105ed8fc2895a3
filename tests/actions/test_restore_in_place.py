"""A folder made what it was, in its place: by content and not by size and time, with nothing thrown away or touched besides."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.actions import planting
from tests.actions.test_promote import again, fill, set_of
from tests.lab.promotion import CHANGES, RENAMES, STAMP, perform, struck_before
from tests.machine import Machine, tree

GOOD = {"index.php": b"<?php echo 'tax';\n", "lib/a.php": b"a\n" * 30, "lib/b.php": b"b\n" * 30, "gone/x.txt": b"x\n"}


@pytest.fixture
def struck(machine: Machine) -> tuple[Machine, dict[str, Any]]:
    """What an attacker left: a file of the same size and time with other content, one that is gone, a strange one, a link in
    place of a folder; and one changed on purpose.
    """
    fill(machine.data, GOOD)
    machine("backup", "run", expect=0)
    same = os.stat(machine.data / "lib/a.php")
    (machine.data / "lib/a.php").write_bytes(b"z\n" * 30)
    os.utime(machine.data / "lib/a.php", ns=(same.st_atime_ns, same.st_mtime_ns))
    shutil.rmtree(machine.data / "gone")
    os.symlink("/etc", machine.data / "gone")
    (machine.data / "lib/shell.php").write_bytes(b"strange\n")
    (machine.data / "index.php").write_bytes(b"changed on purpose\n")
    return machine, {"backup": "portal", "set": set_of(machine), "path": str(machine.data), "keep": [f"{machine.data}/index.php"]}


def quarantine(machine: Machine) -> Path:
    return machine.data.with_name(f"{machine.data.name}.quarantine-{STAMP}")


def as_it_was(machine: Machine) -> None:
    assert tree(machine.data) == {**GOOD, "index.php": b"changed on purpose\n"}
    found = quarantine(machine)
    assert tree(found) == {"lib/a.php": b"z\n" * 30, "lib/shell.php": b"strange\n"} and os.readlink(found / "gone") == "/etc"
    assert not [path for path in machine.root.iterdir() if path.name.startswith(f".{machine.data.name}.opsctl")]


def test_what_differs_is_put_back_what_is_strange_goes_aside_and_nothing_else_is_touched(struck: tuple[Machine, dict[str, Any]]) -> None:
    machine, asked = struck
    untouched = [os.stat(machine.data / name).st_ctime_ns for name in ("lib/b.php", "index.php")]
    found = perform(machine, "restore_in_place", asked)
    assert found.outcome == "changed", found.because
    as_it_was(machine)
    assert [os.stat(machine.data / name).st_ctime_ns for name in ("lib/b.php", "index.php")] == untouched
    assert found.result["kept"] == ["/index.php"]
    assert perform(machine, "restore_in_place", asked).outcome == "ok"


@pytest.mark.parametrize("changes", [RENAMES, pytest.param(CHANGES, marks=pytest.mark.full)], ids=["renames", "everything"])
def test_promise_7_killed_before_every_change_in_place(
    struck: tuple[Machine, dict[str, Any]], changes: tuple[str, ...], tmp_path: Path
) -> None:
    machine, asked = struck
    shutil.copytree(machine.root, tmp_path / "kept", symlinks=True)
    for number in range(1, 200):
        if not struck_before(number, lambda: perform(machine, "restore_in_place", asked), changes):
            break
        assert (machine.data / "lib/a.php").read_bytes() in (GOOD["lib/a.php"], b"z\n" * 30), "never none"
        assert perform(machine, "restore_in_place", asked).outcome in ("changed", "ok")
        as_it_was(machine)
        again(machine, tmp_path / "kept")
    assert number > 4


def test_without_the_option_it_is_refused_and_listed(struck: tuple[Machine, dict[str, Any]]) -> None:
    machine, _ = struck
    before = tree(machine.data)
    said = machine.json("restore", "files", "portal", str(machine.data), "--into", str(machine.data.parent), expect=23)
    details = said.errors[0]["details"]
    assert details["strange"] == ["/lib/shell.php"]
    assert details["changed"] == ["/gone", "/gone/x.txt", "/index.php", "/lib/a.php"]
    assert "--in-place" in said.errors[0]["hint"] and tree(machine.data) == before
    planned = machine("--dry-run", "restore", "files", "portal", str(machine.data), "--in-place", expect=0)
    assert f"would put back {machine.data}/lib/a.php" in planned.out and "shell.php, which the set does not hold" in planned.out
    assert tree(machine.data) == before
    done = machine("restore", "files", "portal", str(machine.data), "--in-place", "--keep", f"{machine.data}/index.php", expect=0)
    assert "as in the set, by content" in done.out and "left as they are: /index.php" in done.out
    machine("restore", "files", "portal", str(machine.data), "--in-place", "--into", "/x", expect=2)
    machine("restore", "files", "portal", str(machine.data), expect=2)


def test_more_than_is_told_one_by_one_is_refused(struck: tuple[Machine, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    machine, asked = struck
    monkeypatch.setattr("opsctl.proofs.hashes.MOST", 2)
    before = tree(machine.data)
    found = perform(machine, "restore_in_place", asked)
    assert found.codes == (23,) and "restore promote" in (found.errors[0].hint or "") and tree(machine.data) == before


def test_promise_9_one_alone_puts_nothing_back_in_an_incident_and_nobody_what_a_stranger_signed(
    struck: tuple[Machine, dict[str, Any]], tmp_path: Path
) -> None:
    machine, _ = struck
    before = tree(machine.data)
    words = ("restore", "files", "portal", str(machine.data), "--in-place")
    planting.plant(machine, {**planting.newest(machine), "set": "20261211-2101-beef"}, planting.make_key(tmp_path / "stranger"))
    said = machine.json(*words, "--set", "20261211-2101-beef", expect=23)
    assert "what nobody vouched for is not put where it is used" in said.errors[0]["message"]
    told = ("--title", "T", "--noticed-at", "2026-12-12T02:00+05:30", "--noticed-by", "a", "--signal", "b", "--in-charge", "c")
    machine("incident", "open", "inc-9", *told, expect=0)
    assert "while incident inc-9 is open" in machine.json(*words, expect=23).errors[0]["message"]
    assert tree(machine.data) == before
