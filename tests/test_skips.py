"""A test that cannot run here is skipped at a developer's desk, and fails in CI."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
CANNOT_RUN = """\
import os, pytest
os.geteuid = lambda: 1000
@pytest.mark.as_root("network namespaces need root")
def test_by_mark(): raise AssertionError("it ran")
@pytest.fixture
def server(): pytest.skip("no server here")
def test_by_fixture(server): pass
"""


@pytest.mark.parametrize(("environment", "code", "word"), [({}, 0, "skipped"), ({"CI": "true"}, 1, "error")], ids=["desk", "CI"])
def test_what_cannot_run(tmp_path: Path, environment: dict[str, str], code: int, word: str) -> None:
    (tmp_path / "test_it.py").write_text(CANNOT_RUN)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = as_root(reason): x\naddopts = -p tests.conftest -p no:cacheprovider\n")
    clean = {name: value for name, value in os.environ.items() if name != "CI" and not name.startswith("PYTEST")}
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-rsE", "test_it.py"], cwd=tmp_path, capture_output=True, text=True,
                          env={**clean, **environment, "PYTHONPATH": str(PROJECT)}, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert f"2 {word}" in done.stdout
    for reason in ("network namespaces need root", "no server here"):
        assert reason in done.stdout
