"""Issue 4's own end: the department's backups, by their cron line, for a month in which every day something goes wrong."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.month import faults_of_machine, faults_of_sources, faults_of_stores
from tests.month.department import Department, made
from tests.month.inspector import Inspector
from tests.month.month import Month

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mount namespaces and small disks need root")


@pytest.fixture
def place() -> Iterator[Path]:
    yield from made(Path(tempfile.mkdtemp(prefix="opsctl-month-")))


@as_root
def test_promises_1_and_2_hold_for_some_days_of_faults_by_inspection_of_the_stores_alone(place: Path) -> None:
    seed = int(os.environ.get("OPSCTL_TEST_SEED", "20261201"))
    live(place, seed, 7)


def live(place: Path, seed: int, days: int) -> None:
    chance = random.Random(seed)
    print(f"OPSCTL_TEST_SEED={seed}")
    deck = [fault() for module in (faults_of_sources, faults_of_stores, faults_of_machine) for fault in module.ALL]
    if chosen := os.environ.get('OPSCTL_TEST_FAULTS'):
        deck = [fault for fault in deck if fault.name in chosen.split(',')]
    chance.shuffle(deck)
    with Department(place, chance) as department:
        month = Month(department, deck, chance)
        month.run(days)
        inspector = Inspector((department.keys / "controller.pub").read_text().strip(), place / "inspector")
        found = list(month.inspect(inspector))
    assert not found, "\n".join([f"seed {seed}", *found, month.history()])
