"""Tapes by the site's own programs: a stand-in library that keeps each tape as a file, and does what real ones do wrong."""

from __future__ import annotations

import io
import json
import random
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.lab.quick_key import make_quick
from tests.machine import Kept, Machine, tree

PASSWORD = "for tests only"
# A drive that is told to misbehave by files beside the tapes.
LIBRARY = """#!/bin/sh
case $1 in
    write) cat >"{place}/$2.new" || exit 1
           if [ -e "{place}/full" ]; then echo "no space left on medium $2" >&2; exit 28; fi
           mv "{place}/$2.new" "{place}/$2" ;;
    short) head -c 100000 >"{place}/$2"; cat >/dev/null ;;
    read) [ -e "{place}/$2" ] || {{ echo "no tape $2 in any slot" >&2; exit 3; }}
          cat "{place}/$2" ;;
esac
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    root = tmp_path_factory.mktemp("tapes") / "m"
    machine = Machine(root)
    machine.configure()
    tapes = root / "tapes"
    tapes.mkdir()
    (root / "robot").write_text(LIBRARY.format(place=tapes))
    (root / "robot").chmod(0o755)
    path = machine.etc / "opsctl.yaml"
    path.write_text(path.read_text() + f"""
libraries:
  lto: {{write: [{root}/robot, write, "{{barcode}}"], read: [{root}/robot, read, "{{barcode}}"], limit: 1m}}
  hasty: {{write: [{root}/robot, short, "{{barcode}}"], read: [{root}/robot, read, "{{barcode}}"]}}
""")
    machine.make_key()
    (machine.data / "ledger.csv").write_bytes(random.Random(1).randbytes(300_000))
    machine("backup", "init", expect=0)
    make_quick(machine.store, PASSWORD, machine.state / "repositories" / "main.json")
    machine("backup", "run", expect=0)
    return Kept(machine, tmp_path_factory.mktemp("kept") / "m")


@pytest.fixture
def machine(made: Kept) -> Machine:
    return made.again()


def write(machine: Machine, *more: str, library: str = "lto", expect: int = 0) -> str:
    said = machine("--yes", "media", "write", "t1", "--library", library, "--barcode", "A00001L6", "--repository", "main", *more, expect=expect)
    return said.out + said.err


def stored(machine: Machine) -> dict[str, bytes]:
    return {path: content for path, content in tree(machine.store).items() if not path.startswith("locks/")}


def test_a_repository_goes_to_a_tape_and_comes_back_and_restores(machine: Machine) -> None:
    assert "read back and compared" in write(machine)
    assert len((machine.state / "media" / "t1.sha256").read_text().splitlines()) == len(stored(machine))
    into = machine.root / "from-tape"
    said = machine("media", "read", "t1", "--into", str(into), expect=0)
    assert f"all {len(stored(machine))} files are what was written" in said.out
    assert tree(into) == stored(machine)
    back = machine.root / "back"
    machine("restore", "set", "portal", "--repository", str(into), "--password-file", str(machine.etc / "keys" / "repository-password"),
            "--trust", _fingerprint(machine), "--into", str(back), expect=0)
    assert tree(back / "files" / str(machine.data).lstrip("/")) == {"ledger.csv": random.Random(1).randbytes(300_000)}


def _fingerprint(machine: Machine) -> str:
    shown = subprocess.run(["ssh-keygen", "-lf", machine.etc / "keys" / "controller.pub"], capture_output=True, text=True, check=True)
    return shown.stdout.split()[1]


def test_it_asks_before_what_is_on_the_tape_is_gone(machine: Machine) -> None:
    said = machine("media", "write", "t1", "--library", "lto", "--barcode", "A00001L6", "--repository", "main", expect=4)
    assert "What is on it will be gone" in said.err
    assert not list((machine.root / "tapes").iterdir())


def test_a_full_tape_is_the_programs_no(machine: Machine) -> None:
    (machine.root / "tapes" / "full").touch()
    assert "no space left on medium A00001L6" in write(machine, expect=20)
    assert not (machine.state / "media" / "t1.json").exists()


def test_a_drive_that_drops_the_end_and_says_nothing_is_found_out_by_reading_back(machine: Machine) -> None:
    assert "is not what opsctl writes" in write(machine, library="hasty", expect=22)
    assert not (machine.state / "media" / "t1.json").exists()


def test_a_tape_that_changed_in_the_vault_is_22_by_name(machine: Machine) -> None:
    write(machine)
    machine("media", "out", "t1", "--to", "Asha", "--place", "vault", expect=0)
    tape = machine.root / "tapes" / "A00001L6"
    content = bytearray(tape.read_bytes())
    content[len(content) // 2] ^= 1
    tape.write_bytes(content)
    said = machine.json("media", "in", "t1", "--from", "Asha", expect=22)
    assert "1 file changed" in said.errors[0]["message"] or "is not what opsctl writes" in said.errors[0]["message"]
    assert machine("media", "read", "t1", "--into", str(machine.root / "x"), expect=22)
    assert not (machine.root / "x").exists()


def test_one_that_is_not_there_is_the_programs_no_and_stays_out(machine: Machine) -> None:
    write(machine)
    machine("media", "out", "t1", "--to", "Asha", "--place", "vault", expect=0)
    (machine.root / "tapes" / "A00001L6").unlink()
    said = machine.json("media", "in", "t1", "--from", "Asha")
    assert said.code in (3, 13, 20) and "no tape A00001L6 in any slot" in json.dumps(said.errors)
    assert machine.json("media", "list").result["media"][0]["custody"]["where"] == "out"


def test_hostile_names_on_a_tape_leave_its_folder_alone(machine: Machine, tmp_path: Path) -> None:
    write(machine)
    with tarfile.open(machine.root / "tapes" / "A00001L6", "w") as made:
        for name in ("../../escaped", "/escaped"):
            entry = tarfile.TarInfo(name)
            entry.size = 4
            made.addfile(entry, io.BytesIO(b"evil"))
    said = machine("media", "read", "t1", "--into", str(machine.root / "in" / "x"), expect=22)
    assert "is not what opsctl writes" in said.err
    assert not (machine.root / "escaped").exists() and not Path("/escaped").exists()


def test_a_mistake_in_the_names_is_told_with_the_near_one(machine: Machine) -> None:
    said = machine("media", "write", "t1", "--library", "lta", "--barcode", "x", "--repository", "main", expect=2)
    assert "did you mean lto?" in said.err
