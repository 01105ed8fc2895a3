"""Change signals of sets, taken when a set is: with real restic, through the command line."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Iterator
from typing import Any

from tests.actions.planting import plant
from tests.machine import Machine

CHANCE = random.Random(6)


def fill(machine: Machine) -> None:
    for number in range(30):
        (machine.data / f"plan-{number}.pdf").write_bytes(b"%PDF-1.7\n" + b"a plan of ward %d\n" % number * 300)
        (machine.data / f"note-{number}.txt").write_text(f"paid by house {number}\n" * 200)


def taken(machine: Machine, day: int) -> dict[str, Any]:
    """Take a set on a day of December; what is signed of its signals."""
    machine.at(f"2026-12-{day}T02:30:00+05:30")
    made = machine.json("backup", "run", expect=0).result["backups"]["portal"]
    record = machine.json("backup", "show", made["set"], expect=0).result["sets"][0]["record"]
    assert record["signals"]["verdict"] == made["signals"]["verdict"]
    return record["signals"]


def older(machine: Machine) -> None:
    """Store every manifest again as an older version wrote it, without signals, signed by the same key."""
    for one in machine.json("backup", "list", expect=0).result["sets"]:
        record = machine.json("backup", "show", one["set"], expect=0).result["sets"][0]["record"]
        machine.restic("forget", one["manifest"])
        plant(machine, {key: value for key, value in record.items() if key != "signals"}, machine.etc / "keys" / "controller")
    machine.forget()
    machine("backup", "init", expect=0)


@contextlib.contextmanager
def restic_without(machine: Machine, refused: str) -> Iterator[None]:
    """A restic that crashes where it is told this word."""
    programs = machine.root / "programs"
    programs.mkdir()
    script = programs / "restic"
    script.write_text(f'#!/bin/sh\nfor word; do [ "$word" != {refused} ] || exit 2; done\nexec {shutil.which("restic")} "$@"\n')
    script.chmod(0o755)
    machine.environ["PATH"] = f"{programs}:{os.environ['PATH']}"
    yield
    del machine.environ["PATH"]


def test_a_set_is_judged_when_it_is_taken_and_the_clean_point_is_named(machine: Machine) -> None:
    fill(machine)
    first = taken(machine, 12)
    assert first["verdict"] == "unknown" and "first set" in str(first)
    (machine.data / "note-1.txt").write_text("paid late\n" * 200)
    calm = taken(machine, 15)
    assert calm["verdict"] == "clean"
    numbers = calm["sources"]["files"]["numbers"]
    assert (numbers["changed"], numbers["added"], numbers["removed"], numbers["sample"]) == (1, 0, 0, {"right": 1})
    clean = machine.json("restore", "points", "portal", expect=0).result["clean"]
    for number in range(5):
        (machine.data / f"plan-{number}.pdf").write_bytes(CHANCE.randbytes(5000))
    machine.at("2026-12-18T02:30:00+05:30")
    said = machine("backup", "run", expect=0)
    assert "is whole and signed, in main, and SUSPECT" in said.out
    assert "SUSPECT" in said.err and "5 of 5 changed files looked into are noise" in said.err
    newest = machine("backup", "show", "newest", expect=0).out
    assert "files: changes are suspect; files: 5 changed" in newest and f"{machine.data}/plan-3.pdf: noise" in newest
    bad = machine.json("backup", "show", "newest", expect=0).result["sets"][0]["set"]
    back = machine("restore", "set", "portal", "--into", str(machine.root / "back"), expect=0).err
    assert f"set {bad} may hold an attack (suspect: " in back and f"; the newest clean one is {clean} (--set)" in back
    assert "attack" not in machine("restore", "set", "portal", "--set", clean, "--into", str(machine.root / "before"), expect=0).err
    (machine.data / "note-2.txt").write_text("paid late\n" * 200)
    with restic_without(machine, "diff"):
        lame = taken(machine, 21)
    assert lame["verdict"] == "unknown" and "looking at what changed failed: restic could not compare" in str(lame), "and the backup stands"
    status = machine("status", expect=5)
    assert "suspect" in status.out and "may show an attack" in status.err

    found = machine.json("restore", "points", "portal", expect=0).result
    assert found["clean"] == clean
    suspect, after = found["points"][2:]
    assert after["verdict"] == "clean", "a later look at the repository makes up for it"
    assert suspect["verdict"] == "suspect" and after["refused"] == f"holds what changed in suspect set {suspect['set']}"
    early = machine.json("restore", "points", "portal", "--before", "2026-12-14", expect=3)
    assert early.result["clean"] is None and early.result["points"][0]["set"] in early.errors[0]["hint"]

    older(machine)
    again = machine.json("restore", "points", "portal", "--known", expect=3).result
    assert {one["verdict"] for one in again["points"]} == {"unknown"}
    again = machine.json("restore", "points", "portal", expect=0).result
    assert [one["verdict"] for one in again["points"]] == ["unknown", "clean", "suspect", "clean"]
    assert again["points"][2]["signals"]["sources"] == suspect["signals"]["sources"], "the same from the repository alone"

    machine("restore", "looked", "portal", suspect["set"], "--attack", "--note", "plans cannot be opened", expect=0)
    assert machine.json("restore", "points", "portal", expect=0).result["clean"] == clean
    machine("restore", "looked", "portal", suspect["set"], expect=2)
    (machine.state / "catalogue.sqlite").unlink()
    machine("--yes", "restore", "looked", "portal", suspect["set"], "--innocent", expect=0)
    assert machine.json("restore", "points", "portal", expect=0).result["clean"] == after["set"]


def test_where_the_run_was_cut_off_before_its_manifest_the_repository_tells_what_changed(machine: Machine) -> None:
    fill(machine)
    taken(machine, 12)
    for number in range(5):
        (machine.data / f"plan-{number}.pdf").write_bytes(CHANCE.randbytes(5000))
    machine.at("2026-12-15T02:30:00+05:30")
    with restic_without(machine, "manifest"):
        run = machine.json("backup", "run", expect=20).document["run"]
    for number in range(5):
        (machine.data / f"plan-{number}.pdf").write_bytes(b"%PDF-1.7\n" + b"put back\n" * 300)
    machine("resume", run, expect=0)
    record = machine.json("backup", "show", "newest", expect=0).result["sets"][0]["record"]
    assert record["signals"]["verdict"] == "suspect", "of what was captured, not of what lies there since"
    assert record["signals"]["sources"]["files"]["numbers"]["sample"] == {"scrambled": 5}
    assert "put_off" not in str(record)
