"""What the tests of bad luck share; nothing that they start outlives them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.badluck import faults
from tests.badluck.faults import FaultyRestic
from tests.machine import Machine


@pytest.fixture
def restic(machine: Machine, tmp_path: Path) -> Iterator[FaultyRestic]:
    """The real restic behind a program that can be made slow or struck down; ends whatever is left."""
    found = FaultyRestic(tmp_path / "faulty")
    found.install()
    yield found
    faults.end_all(machine, found)
