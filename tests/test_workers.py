"""Tests that share what a module or a group made run in one worker, which makes it once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]
MODULE = """\
import pytest
@pytest.fixture(scope="module")
def server(): return 1
@pytest.mark.parametrize("n", range(6))
def test_of_the_module(server, n): pass
@pytest.mark.xdist_group("hosts")
@pytest.mark.parametrize("n", range(6))
def test_of_a_group(n): pass
"""


def test_what_is_shared_is_made_by_one_worker(tmp_path: Path) -> None:
    for name in ("test_a.py", "test_b.py"):
        (tmp_path / name).write_text(MODULE)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p tests.conftest -p no:cacheprovider\n")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run([sys.executable, "-m", "pytest", "-v", "-n", "2", "--dist", "loadgroup", "--basetemp", str(tmp_path / "base")], cwd=tmp_path, capture_output=True, text=True,
                          env={**clean, "PYTHONPATH": os.pathsep.join([str(PROJECT), *sys.path])}, check=False)
    ran = re.findall(r"\[(gw\d)\].*PASSED (test_.)\.py::test_of_(the_module|a_group)", done.stdout)
    assert len(ran) == 24, done.stdout + done.stderr
    for module in ("test_a", "test_b"):
        assert len({worker for worker, found, kind in ran if (found, kind) == (module, "the_module")}) == 1, done.stdout
    assert len({worker for worker, _, kind in ran if kind == "a_group"}) == 1, done.stdout
