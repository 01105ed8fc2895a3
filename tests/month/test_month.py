"""Issue 4's own end: the department's backups, by their cron line, for a month in which every day something goes wrong."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.places import open_folder
from tests.lab.s3server import S3Server
from tests.lab.sshd import Lab
from tests.month import faults_of_hosts, faults_of_machine, faults_of_sources, faults_of_stores
from tests.month.department import Department
from tests.month.inspector import Inspector
from tests.month.month import Month

as_root = pytest.mark.as_root("mount namespaces and small disks need root")


@pytest.fixture
def place() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


@pytest.mark.long
@as_root
def test_promises_1_and_2_hold_for_some_days_of_faults_by_inspection_of_the_stores_alone(place: Path) -> None:
    assert live(place, int(os.environ.get("OPSCTL_TEST_SEED", "20261201")), days=4) == []


@as_root
@pytest.mark.full
def test_promises_1_and_2_hold_for_every_fault_with_three_hosts_and_a_locked_copy(place: Path, s3_server: S3Server) -> None:
    with Lab(3) as lab:
        assert live(place, int(os.environ.get("OPSCTL_TEST_SEED", "20261201")), s3=s3_server, lab=lab) == []


def live(place: Path, seed: int, days: int | None = None, s3: S3Server | None = None, lab: Lab | None = None) -> list[str]:
    """Live through so many days, or until every fault has struck; what the stores then say against the promises."""
    print(f"OPSCTL_TEST_SEED={seed}")
    chance = random.Random(seed)
    chosen = os.environ.get("OPSCTL_TEST_FAULTS", "")
    modules = (faults_of_sources, faults_of_stores, faults_of_machine, *((faults_of_hosts,) if s3 and lab else ()))
    deck = [fault() for module in modules for fault in module.ALL if not chosen or fault.__name__ in chosen.split(",")]
    chance.shuffle(deck)
    with Department(place, chance, s3, lab) as department:
        month = Month(department, deck, chance)
        month.run(days)
        inspector = Inspector((department.keys / "controller.pub").read_text().strip(), place / "inspector")
        found = list(month.inspect(inspector))
    if found:
        print(month.history())
    return found
