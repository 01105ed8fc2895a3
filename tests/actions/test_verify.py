"""Verification: a rotating share, recorded in the repository, and what is damaged by name."""

from __future__ import annotations

import os
from pathlib import Path

from tests.machine import Machine


def fill(machine: Machine, megabytes: int = 12) -> None:
    for number in range(megabytes):
        (machine.data / f"scan-{number}.bin").write_bytes(os.urandom(1 << 20))


def flip(machine: Machine) -> Path:
    pack = max((path for path in (machine.store / "data").glob("*/*")), key=lambda path: path.stat().st_size)
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 0xFF
    pack.chmod(0o600)
    pack.write_bytes(content)
    return pack


def shares(machine: Machine, *words: str, expect: int = 0) -> list[str]:
    return list(machine.json("verify", "--level", "data", *words, expect=expect).result["steps"][0]["result"]["shares"])


def test_the_next_share_comes_from_the_repository_not_from_this_machine(machine: Machine) -> None:
    fill(machine, 1)
    machine("backup", "run", expect=0)
    assert shares(machine) == ["1/30"]
    machine.at("2026-12-13T02:30:00+05:30")
    assert shares(machine) == ["2/30"]
    machine.forget()
    machine("backup", "init", expect=0)
    machine.at("2026-12-16T02:30:00+05:30")
    assert shares(machine) == ["3/30", "4/30", "5/30"], "three days were missed"


def test_a_flipped_byte_names_the_sets_and_the_files_that_it_reaches(machine: Machine) -> None:
    fill(machine)
    first = machine.json("backup", "run", expect=0).result["backups"]["portal"]["set"]
    machine.at("2026-12-15T02:30:00+05:30")
    (machine.data / "later").write_text("later")
    second = machine.json("backup", "run", expect=0).result["backups"]["portal"]["set"]
    pack = flip(machine)
    machine("verify", expect=0)
    said = machine.json("verify", "--level", "data", "--share", "all", expect=22)
    error = said.errors[0]
    assert pack.name in error["details"]["object"]
    assert set(error["details"]["sets"]) == {first, second}
    files = error["details"]["files"]
    assert files and all(Path(path).name.startswith("scan-") for path in files)
    assert error["hint"]
    assert machine.json("status", expect=5).result["backups"]["portal"]["state"] == "damaged"
    assert "scan-" in machine("verify", "--level", "data", "--share", "all", expect=22).out


def test_a_backup_that_is_unverified_for_too_long_is_overdue(machine: Machine) -> None:
    fill(machine, 1)
    machine("backup", "run", expect=0)
    for day in (15, 18, 21, 24, 27, 30):
        machine.at(f"2026-12-{day}T02:30:00+05:30")
        machine("backup", "run", "--due", expect=0)
    assert machine.json("status", expect=0).result["backups"]["portal"]["state"] == "ok"
    for moment in ("2027-01-02", "2027-01-05", "2027-01-08", "2027-01-11", "2027-01-14"):
        machine.at(f"{moment}T02:30:00+05:30")
        machine("backup", "run", "--due", expect=0)
    assert machine.json("status", expect=5).result["backups"]["portal"]["state"] == "unverified"
    assert shares(machine, "--share", "all") == ["1/1"]
    assert machine.json("status", expect=0).result["backups"]["portal"]["state"] == "ok"


def test_a_bad_share_is_wrong_usage(machine: Machine) -> None:
    for word in ("0/3", "4/3", "a/b", "some", "1/257"):
        assert machine("verify", "--share", word).code == 2
    assert machine("verify", "nothing").code == 2
