"""People with keys, and a machine whose repository is made once."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from opsctl.shells import local
from tests.machine import Kept
from tests.retention.people import DAY, PEOPLE, Shared


@pytest.fixture(scope="session")
def people_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a key pair for each of the people."""
    place = tmp_path_factory.mktemp("people")
    for name in PEOPLE:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(place / name)], check=True,
                       stdin=subprocess.DEVNULL)
    return place


@pytest.fixture
def shared(_made_machine: Path, tmp_path: Path, people_keys: Path) -> Iterator[Shared]:
    """A machine with a pinned, empty repository that knows three people."""
    root = tmp_path / "m"
    shutil.copytree(_made_machine, root, symlinks=True)
    machine = Shared(root, people_keys)
    machine.setting()
    yield machine
    local.reset()


@pytest.fixture
def other(shared: Shared, tmp_path: Path) -> Shared:
    """A second machine that shares the repository; each trusts the other's key."""
    machine = Shared(tmp_path / "other", shared.people_keys, store=shared.store)
    machine.setting()
    machine("backup", "init", expect=0)
    machine.trusts(shared)
    shared.trusts(machine)
    return machine


@pytest.fixture(scope="session")
def _with_sets(_made_machine: Path, tmp_path_factory: pytest.TempPathFactory, people_keys: Path) -> Kept:
    """Four sets, of the first four days of December; the newest was drilled."""
    root = tmp_path_factory.mktemp("retention") / "m"
    shutil.copytree(_made_machine, root, symlinks=True)
    machine = Shared(root, people_keys)
    machine.setting()
    machine.sets(1, 2, 3, 4)
    machine("verify", "portal", "--level", "drill", "--set", "newest", expect=0)
    return Kept(machine, tmp_path_factory.mktemp("kept") / "m")


@pytest.fixture
def filled(_with_sets: Kept, tmp_path: Path, people_keys: Path) -> Iterator[Shared]:
    """A machine with these sets that may keep two days, and that holds its own store."""
    root = tmp_path / "m"
    shutil.copytree(_with_sets._place, root, symlinks=True)
    machine = Shared(root, people_keys)
    machine.at(DAY.format(4))
    machine.setting(repository=f", maintenance: {{url: {machine.store}}}")
    yield machine
    local.reset()
