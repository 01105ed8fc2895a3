"""The packaged playbooks belong to the program: they are trusted as its code is, and no further."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.machine import PACKAGE, Machine

pytestmark = pytest.mark.as_root("only root is told whom it may believe")
OTHER = 65534


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the program as a umask of 002 leaves one: the group can write to all of it."""
    place = tmp_path / "checkout"
    ignored = shutil.ignore_patterns("__pycache__", ".*")
    for name in ("opsctl", "playbooks"):
        shutil.copytree(PACKAGE / name, place / name, ignore=ignored)
    _change(place, 0o020)
    return place


def _change(place: Path, bits: int, *, owner: int | None = None) -> None:
    for path in [place, *place.rglob("*")]:
        path.chmod(path.stat().st_mode | bits)
        if owner is not None:
            os.chown(path, owner, owner)


def run(checkout: Path, machine: Machine, *words: str) -> subprocess.CompletedProcess[str]:
    """This copy of the program, with a machine's configuration."""
    return subprocess.run(
        [sys.executable, "-m", "opsctl", "--config", str(machine.etc), *words], cwd=checkout, text=True, capture_output=True,
        stdin=subprocess.DEVNULL, timeout=120,
        env={**os.environ, **machine.environ, "PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"})


def check(checkout: Path, machine: Machine) -> tuple[int, str]:
    done = run(checkout, machine, "playbooks", "check", "backup")
    return done.returncode, done.stdout + done.stderr


def test_a_checkout_that_its_group_can_write_to_works_as_root(checkout: Path, machine: Machine) -> None:
    (machine.data / "a").write_text("a")
    code, said = check(checkout, machine)
    assert code == 0 and str(checkout) in said
    assert run(checkout, machine, "backup", "run").returncode == 0
    assert run(checkout, machine, "backup", "run", "--due").returncode == 0
    assert len([one for one in machine.snapshots() if "manifest" in one["tags"]]) == 1


def test_a_checkout_of_another_user_is_as_much_his_as_its_playbooks(checkout: Path, machine: Machine) -> None:
    _change(checkout, 0, owner=OTHER)
    assert check(checkout, machine)[0] == 0


@pytest.mark.parametrize("who", ["everybody", "a foreign group", "another user", "a group that cannot write the code"])
def test_who_cannot_write_the_code_must_not_write_a_playbook(checkout: Path, machine: Machine, who: str) -> None:
    path = checkout / "playbooks" / "backup.yaml"
    if who == "everybody":
        _change(checkout, 0o002)
    elif who == "a foreign group":
        os.chown(path, 0, OTHER)
    elif who == "another user":
        os.chown(path, OTHER, 0)
    else:
        for code in (checkout / "opsctl").rglob("*.py"):
            code.chmod(0o644)
    code, said = check(checkout, machine)
    assert code == 10 and str(path) in said and "refused" in said
    assert run(checkout, machine, "backup", "run").returncode == 10
    assert machine.snapshots() == []


def test_a_sites_own_playbook_stays_strict(checkout: Path, machine: Machine) -> None:
    own = machine.etc / "playbooks"
    own.mkdir(mode=0o700)
    shutil.copy(checkout / "playbooks" / "backup.yaml", own / "backup.yaml")
    (own / "backup.yaml").chmod(0o664)
    code, said = check(checkout, machine)
    assert code == 10 and f"chmod go-w {own}/backup.yaml" in said
