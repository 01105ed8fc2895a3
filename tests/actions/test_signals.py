"""Change signals of sets, taken when a set is: with real restic, through the command line."""

from __future__ import annotations

import random

from tests.machine import Machine

CHANCE = random.Random(6)


def fill(machine: Machine) -> None:
    for number in range(30):
        (machine.data / f"plan-{number}.pdf").write_bytes(b"%PDF-1.7\n" + b"a plan of ward %d\n" % number * 300)
        (machine.data / f"note-{number}.txt").write_text(f"paid by house {number}\n" * 200)


def taken(machine: Machine, day: int) -> dict[str, object]:
    """Take a set on a day of December; what is signed of its signals."""
    machine.at(f"2026-12-{day}T02:30:00+05:30")
    made = machine.json("backup", "run", expect=0).result["backups"]["portal"]
    record = machine.json("backup", "show", made["set"], expect=0).result["sets"][0]["record"]
    assert record["signals"]["verdict"] == made["signals"]["verdict"]
    return record["signals"]


def test_a_set_is_judged_when_it_is_taken_and_what_it_says_is_signed(machine: Machine) -> None:
    fill(machine)
    first = taken(machine, 12)
    assert first["verdict"] == "unknown" and "first set" in str(first)
    (machine.data / "note-1.txt").write_text("paid late\n" * 200)
    calm = taken(machine, 15)
    assert calm["verdict"] == "clean"
    numbers = calm["sources"]["files"]["numbers"]  # type: ignore[index]
    assert (numbers["changed"], numbers["added"], numbers["removed"], numbers["sample"]) == (1, 0, 0, {"right": 1})
    for number in range(5):
        (machine.data / f"plan-{number}.pdf").write_bytes(CHANCE.randbytes(5000))
    machine.at("2026-12-18T02:30:00+05:30")
    said = machine("backup", "run", expect=0)
    assert "is whole and signed, in main, and SUSPECT" in said.out
    assert "SUSPECT" in said.err and "5 of 5 changed files looked into are noise" in said.err
    newest = machine("backup", "show", "newest", expect=0).out
    assert "files: suspect; files: 5 changed" in newest and f"{machine.data}/plan-3.pdf: noise" in newest
