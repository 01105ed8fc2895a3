"""Mending a damaged pack by the words of the finding's own hint, with restic itself."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.actions.test_verify import fill, flip
from tests.machine import Machine, tree


def repair(machine: Machine, hint: str, folder: Path) -> None:
    """Run restic as the hint says, in a folder of its own."""
    words = re.search(r"restic (repair (?:packs [0-9a-f]{64}|index))", hint)
    assert words is not None, hint
    env = {**os.environ, "RESTIC_REPOSITORY": str(machine.store), "RESTIC_CACHE_DIR": str(folder / "cache"),
           "RESTIC_PASSWORD_FILE": str(machine.etc / "keys" / "repository-password")}
    folder.mkdir()
    done = subprocess.run(["restic", *words[1].split()], env=env, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("how", ["flipped", "cut", "gone"])
def test_the_hint_of_a_damaged_pack_mends_it(machine: Machine, tmp_path: Path, how: str) -> None:
    fill(machine, 3)
    machine("backup", "run", expect=0)
    pack = flip(machine)
    if how == "cut":
        os.truncate(pack, pack.stat().st_size * 2 // 3)
    if how == "gone":
        pack.unlink()
    said = machine.json("verify", "--level", "data", "--share", "all", expect=22)
    (error,) = [one for one in said.errors if one["details"]["object"] == f"data/{pack.name}"]
    assert ("repair packs" in error["hint"]) is (how != "gone")
    repair(machine, error["hint"], tmp_path / "mending")
    machine.at("2026-12-15T02:30:00+05:30")
    healed = machine("backup", "run", expect=0)
    assert "could not be read" not in healed.err
    assert "read at the source and stored again" in healed.err
    assert "nothing wrong (sets: 2 good" in machine("verify", "--level", "data", "--share", "all", expect=0).out
    back = machine.root / "back"
    machine("restore", "set", "portal", "--set", "newest", "--into", str(back), expect=0)
    restored = {Path(name).name: content for name, content in tree(back).items() if name.endswith(".bin")}
    assert restored == tree(machine.data)
