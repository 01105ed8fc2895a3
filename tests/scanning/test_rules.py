"""The shipped rules: each finds what it is for, and none finds anything in ordinary files."""

from __future__ import annotations

import sysconfig
import tomllib
from pathlib import Path

import pytest

from opsctl.scanning.interface import Scanned
from opsctl.scanning.yara import SHIPPED, Scanner
from opsctl.shells.local import LocalShell
from tests.scanning.samples import ORDINARY, SAMPLES

CHECKOUT = Path(__file__).parent.parent.parent


def scan(folder: Path) -> Scanned:
    return Scanner(LocalShell(), largest=1 << 30, timeout=60).scan({"": folder})


def test_every_rule_finds_its_samples_and_nothing_else_in_them(tmp_path: Path) -> None:
    wanted = set()
    for number, (rule, name, content) in enumerate(SAMPLES):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / name).write_bytes(content)
        wanted.add((rule, f"{number}/{name}"))
    found = {(one.rule, one.path) for one in scan(tmp_path).findings}
    assert wanted - found == set()
    # One sample may rightly be found by two rules that are about the same thing.
    assert {path for _, path in found - wanted} <= {path for rule, path in wanted if rule in ("webshell_jsp", "webshell_jsp_known")}
    named = {line.split()[1] for file in SHIPPED.glob("*.yar") for line in file.read_text().splitlines() if line.startswith("rule ")}
    assert named == {rule for rule, _, _ in SAMPLES}, "a rule without a sample"


def test_ordinary_files_that_look_a_little_like_it_are_not_found(tmp_path: Path) -> None:
    for name, content in ORDINARY:
        (tmp_path / name).write_bytes(content)
    assert scan(tmp_path).findings == ()


@pytest.mark.parametrize("folder", [
    pytest.param(CHECKOUT / "opsctl", id="opsctl"), pytest.param(CHECKOUT / "tests", id="tests"),
    pytest.param(Path("/usr/share/doc"), id="documentation"),
    pytest.param(Path(sysconfig.get_path("stdlib")), id="the standard library", marks=pytest.mark.full),
])
def test_there_are_no_false_alarms(folder: Path) -> None:
    found = scan(folder)
    assert found.files > 100
    assert [(one.rule, one.path) for one in found.findings] == []


def test_the_rules_are_in_the_wheel() -> None:
    patterns = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-data"]["*"]
    taken = {path for pattern in patterns for path in SHIPPED.parent.glob(pattern)}
    assert set(SHIPPED.rglob("*.yar")) <= taken
