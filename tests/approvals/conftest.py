"""A machine with a playbook that takes two people, and the people with their keys."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from opsctl.shells import local
from tests.approvals.site import Site, make_keys, spools


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_keys(tmp_path_factory.mktemp("people"))


@pytest.fixture
def site(tmp_path: Path, keys: Path) -> Iterator[Site]:
    found = Site(tmp_path / "m", keys)
    yield found
    for place in spools(found):
        shutil.rmtree(place)
    local.reset()
