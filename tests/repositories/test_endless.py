"""What is no file in a repository's folder, as a disk may bring it: restic would read it for ever; it is named, and nobody waits."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.quick_key import make_quick
from tests.machine import Kept, Machine
from tests.within import within


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    machine = Machine(tmp_path_factory.mktemp("endless") / "m")
    machine.configure()
    machine.make_key()
    (machine.data / "file").write_bytes(os.urandom(100_000))
    machine("backup", "init", expect=0)
    make_quick(machine.store, "for tests only", machine.state / "repositories" / "main.json")
    machine("backup", "run", expect=0)
    return Kept(machine, tmp_path_factory.mktemp("kept") / "m")


@pytest.mark.parametrize("where", ["config", "keys", "index", "snapshots", "data", "planted"])
def test_a_repository_with_a_pipe_or_an_endless_file_is_named_as_damaged_and_nobody_waits(made: Kept, where: str) -> None:
    machine = made.again()
    place = next(path for path in sorted((machine.store / where).rglob("*")) if path.is_file()) if where not in ("config", "planted") else (
        machine.store / ("config" if where == "config" else f"data/00/{'0' * 64}"))
    kept = machine.root / "kept-aside"
    if place.exists():
        place.rename(kept)
    makes: list[Callable[[Path], None]] = [os.mkfifo, lambda path: path.symlink_to("/dev/zero")]
    for make in makes:
        make(place)
        for words in (("verify", "main"), ("verify", "main", "--level", "data"), ("restore", "set", "portal", "--into", str(machine.root / "back")),
                      ("backup", "run"), ("backup", "list"), ("status",)):
            with within():
                said = machine.json(*words)
            if words[0] == "verify":
                assert said.code == 22 and str(place.relative_to(machine.store)) in str(said.errors), (words, said.out)
            assert said.code != 1, said.out
        place.unlink()
    if kept.exists():
        kept.rename(place)
    shutil.rmtree(machine.root / "back", ignore_errors=True)
    machine("verify", "main", "--level", "data", expect=0)
