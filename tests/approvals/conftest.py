"""A machine with a playbook that takes two people, and the people with their keys."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from opsctl.shells import local
from tests.approvals.site import PEOPLE, Site


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a key pair for each of the people, and one of a stranger."""
    place = tmp_path_factory.mktemp("people")
    for name in (*PEOPLE, "stranger"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(place / name)], check=True,
                       stdin=subprocess.DEVNULL)
    return place


@pytest.fixture
def site(tmp_path: Path, keys: Path) -> Iterator[Site]:
    yield Site(tmp_path / "m", keys)
    local.reset()
