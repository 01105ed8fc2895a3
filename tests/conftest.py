"""Fixtures that many tests share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from opsctl.shells import local
from tests.lab.places import open_folder
from tests.lab.quick_key import make_quick
from tests.lab.s3server import S3Server
from tests.machine import Machine


@pytest.fixture(scope="session")
def _made_machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine with a pinned repository and no set; made once, since making a repository takes seconds."""
    root = tmp_path_factory.mktemp("machine") / "m"
    machine = Machine(root)
    machine.make_key()
    machine.configure()
    machine("backup", "init", expect=0)
    make_quick(machine.store, "for tests only", machine.state / "repositories" / "main.json")
    return root


@pytest.fixture
def machine(_made_machine: Path, tmp_path: Path) -> Iterator[Machine]:
    """A machine of its own with a pinned, empty repository, one folder as source, and the clock at 12 December."""
    root = tmp_path / "m"
    shutil.copytree(_made_machine, root, symlinks=True)
    found = Machine(root)
    found.configure()
    yield found
    local.reset()


@pytest.fixture(scope="session")
def server_place() -> Iterator[Path]:
    """A folder that the accounts of servers can reach, whoever runs the tests; each server takes a name of its own in it."""
    with open_folder() as place:
        yield place


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """One S3 server for all tests of this process that ask for it, started by the first; each makes a bucket of its own."""
    with S3Server() as server:
        yield server


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One worker runs all tests that share what their module made, as the other would make it once more; the longest begin first."""
    for item in items:
        made = item._fixtureinfo.name2fixturedefs.values() if isinstance(item, pytest.Function) else ()
        if any(each.scope == "module" for several in made for each in several) and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(f"{item.path.parent.name}-{item.path.stem}"))
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    marker = item.get_closest_marker("as_root")
    if marker is not None and os.geteuid() != 0:
        pytest.skip(*marker.args)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a test that cannot run fails: a lab that is skipped rots unnoticed."""
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, which is a failure in CI: {report.longrepr}"
    return report
