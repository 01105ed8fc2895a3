"""Real repositories to try things on: made once, copied for each test (making one costs seconds)."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from opsctl.model.secrets import SecretRef
from opsctl.repositories.interface import Identity
from opsctl.repositories.restic import Restic
from opsctl.shells import local
from opsctl.shells.local import LocalShell
from tests.lab.quick_key import make_quick

PASSWORD = "correct horse battery staple"


@dataclass(frozen=True)
class Template:
    """A repository with two snapshots of ``source`` (about 20 MB in packs of 4 MiB) and one document."""

    root: Path
    source: Path
    password: Path
    identity: Identity
    first: str
    second: str
    document: str


@dataclass(frozen=True)
class Copy:
    """A copy of the template that a test may break."""

    root: Path
    template: Template

    def flip(self, where: str, offset: int) -> None:
        """Change one bit of a stored object."""
        path = self.path(where)
        path.chmod(0o600)
        content = bytearray(path.read_bytes())
        content[offset] ^= 1
        path.write_bytes(content)

    def path(self, where: str) -> Path:
        kind, _, name = where.partition("/")
        return self.root / kind / name[:2] / name if kind == "data" else self.root / where

    def names(self, kind: str) -> list[str]:
        pattern = "*/*" if kind == "data" else "*"
        return sorted(path.name for path in (self.root / kind).glob(pattern))

    def open(self, **more: Any) -> Restic:
        return make_restic(self.root, self.template.password, **more)


def make_restic(
    url: Path | str, password: Path, *, name: str = "main", pin: Identity | None = None, **more: Any
) -> Restic:
    more.setdefault("shell", LocalShell())
    more.setdefault("cache_dir", password.parent / "cache")
    more.setdefault("environment", {"RESTIC_PACK_SIZE": "4"})
    repository = Restic(name, str(url), password=SecretRef("password of main", file=str(password)), **more)
    repository.pin(pin)
    return repository


@pytest.fixture(autouse=True)
def _commands_allowed() -> None:
    local.reset()


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    base = tmp_path_factory.mktemp("template")
    password = base / "password"
    password.write_text(PASSWORD + "\n")
    password.chmod(0o600)
    chance = random.Random(2023)
    source = base / "source"
    for directory in ("uploads", "scans"):
        (source / directory).mkdir(parents=True)
        for number in range(12):
            size = chance.choice([300_000, 700_000, 1_500_000])
            (source / directory / f"{directory}-{number}").write_bytes(chance.randbytes(size))
    repository = make_restic(base / "repository", password)
    repository.create()
    make_quick(base / "repository", PASSWORD)
    identity = repository.identity()
    repository.pin(identity)
    first = repository.backup_paths([str(source)], tags=["opsctl", "set=1"], host="portal").snapshot
    (source / "uploads" / "uploads-0").write_bytes(chance.randbytes(900_000))
    (source / "new").write_text("new\n")
    assert first is not None
    second = repository.backup_paths(
        [str(source)], tags=["opsctl", "set=2"], host="portal", parent=first
    ).snapshot
    document = repository.backup_bytes(
        b'{"set": 2}\n', filename="manifest.json", tags=["manifest"], host="portal"
    ).snapshot
    assert second is not None and document is not None
    return Template(base / "repository", source, password, identity, first, second, document)


@pytest.fixture
def copy(template: Template, tmp_path: Path) -> Copy:
    """The template's repository, for this test alone."""
    root = tmp_path / "repository"
    shutil.copytree(template.root, root)
    return Copy(root, template)


@pytest.fixture
def empty(template: Template, tmp_path: Path) -> Callable[..., Restic]:
    """Open something that is not there yet, with the template's password."""
    return lambda name="new", **more: make_restic(tmp_path / name, template.password, name=name, **more)


def as_root() -> bool:
    return os.geteuid() == 0
