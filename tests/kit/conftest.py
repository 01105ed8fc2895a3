"""A machine that keys are kept for, as most of these tests begin."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.machine import Machine


@pytest.fixture(scope="module")
def with_a_file(tmp_path_factory: pytest.TempPathFactory, _made_machine: Path) -> Machine:
    """A machine that lost its state directory and pinned its repository anew; one file, no set."""
    root = tmp_path_factory.mktemp("keys") / "m"
    shutil.copytree(_made_machine, root, symlinks=True)
    machine = Machine(root)
    machine.configure()
    machine.forget()
    machine("backup", "init", expect=0)
    (machine.data / "a").write_text("a")
    return machine
