"""No byte free: said with numbers, nothing half-written, and what is in the repository still comes out."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from opsctl.errors import ProgramFailed
from tests.repositories.conftest import Copy, Template, make_restic


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)], capture_output=True, check=False
    ).returncode:
        pytest.skip("only root may make a file system that is small enough to fill")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path) -> None:
    with suppress(OSError), open(place / "filler", "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_a_full_repository(template: Template, small: Path, tmp_path: Path) -> None:
    repository = make_restic(
        small / "repository", template.password, environment={"RESTIC_PROGRESS_FPS": "60"}
    )
    repository.pin(repository.create())
    saved = repository.backup_bytes(b"saved before", filename="document", tags=["x"], host="h").snapshot
    (tmp_path / "large").write_bytes(random.Random(1).randbytes(40_000_000))
    with pytest.raises(ProgramFailed, match="no space left") as caught:
        repository.backup_paths([str(tmp_path / "large")], tags=["x"], host="h", on_progress=lambda _: None)
    assert caught.value.details["free"] < 24 << 20 and "\n" not in caught.value.message
    assert saved is not None and [each.id for each in repository.snapshots()] == [saved]

    fill(small)
    assert shutil.disk_usage(small).free == 0
    with pytest.raises(ProgramFailed, match="no space left") as caught:
        repository.backup_bytes(b"not even this", filename="document", tags=["x"], host="h")
    assert caught.value.details["free"] == 0
    assert repository.read(saved, "document") == b"saved before"
    repository.restore(saved, tmp_path / "out")
    assert (tmp_path / "out" / "document").read_bytes() == b"saved before"
    assert {found.kind for found in repository.check((1, 1))} <= {"pack-unreferenced"}
    assert os.listdir(small / "repository" / "locks") == []


def test_a_full_target(copy: Copy, small: Path) -> None:
    repository = copy.open(pin=copy.template.identity)
    wanted = copy.template.source / "scans" / "scans-3"
    fill(small)
    with pytest.raises(ProgramFailed, match="no space left") as caught:
        repository.restore(copy.template.second, small / "out", on_progress=lambda _: None)
    assert caught.value.details["free"] == 0
    with pytest.raises(ProgramFailed, match="no space left") as caught:
        repository.dump_to(copy.template.second, str(wanted), small / "dumped")
    assert caught.value.details == {"needed": wanted.stat().st_size, "free": 0}
    assert not any(path.name.startswith((".dumped", "dumped")) for path in small.iterdir())
