"""What the tests of bad luck share; nothing that they start outlives them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.badluck import faults
from tests.badluck.faults import FaultyRestic
from tests.badluck.scene import furnish, with_both
from tests.machine import Machine


@pytest.fixture
def restic(machine: Machine, tmp_path: Path) -> Iterator[FaultyRestic]:
    """The real restic behind a program that can be made slow or struck down; ends whatever is left."""
    found = FaultyRestic(tmp_path / "faulty")
    found.install()
    yield found
    faults.end_all(machine, found)


@pytest.fixture(scope="session")
def _made_set(_made_machine: Path, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """The machine of all tests with a set in its repository; made once."""
    root = tmp_path_factory.mktemp("set") / "m"
    shutil.copytree(_made_machine, root, symlinks=True)
    made = Machine(root)
    furnish(made)
    made("backup", "run", expect=0)
    return made


@pytest.fixture
def with_a_set(machine: Machine, restic: FaultyRestic, _made_set: Machine) -> Machine:
    """A machine with a set; what was backed up lies where it was."""
    for place in ("state", "store"):
        shutil.rmtree(machine.root / place)
        shutil.copytree(_made_set.root / place, machine.root / place, symlinks=True)
    machine.data = _made_set.data
    with_both(machine)
    return machine
