"""Help, version, completion and wrong usage load nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli import samples
from tests.machine import Machine

HEAVY = {"boto3", "paramiko", "dbos", "pydantic", "yaml", "typst", "yara_x", "sqlite3", "rich", "rfc8785"}


def imported(*words: str, **environ: str) -> set[str]:
    """The top-level modules that a call imports, by the interpreter's own account."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "opsctl", *words],
        cwd=samples.ROOT,
        env=samples.environment(**environ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "opsctl: a bug" not in done.stderr
    lines = [
        line.rpartition("|")[2].strip()
        for line in done.stderr.splitlines()
        if line.startswith("import time:")
    ]
    return {name.partition(".")[0] for name in lines}


@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("--version",),
        ("--json", "--version"),
        ("backup", "--help"),
        ("restore", "files", "--help"),
        ("journal", "verify", "--help"),
        ("run", "--help"),
        (),
        ("backup",),
        ("bakup",),
        ("--bogus",),
        ("backup", "bogus"),
        ("backup", "show"),
        ("backup", "run", "--bogus"),
        ("verify", "--level", "bogus"),
        ("journal", "show", "--limit", "many"),
        ("--show-completion", "zsh"),
    ],
    ids=" ".join,
)
def test_calls_that_do_no_work(words: tuple[str, ...]) -> None:
    found = imported(*words)
    assert "opsctl" in found
    assert not found & HEAVY


def test_work_with_files_that_are_right_needs_no_pydantic(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.make_key()
    machine.configure()
    machine("backup", "init", expect=0)
    for words in (("backup", "run"), ("status",), ("verify",), ("backup", "list"), ("runs",)):
        found = imported("--config", str(machine.etc), *words, **machine.environ)
        assert "yaml" in found
        assert "pydantic" not in found, words
    with open(machine.etc / "opsctl.yaml", "a", encoding="utf-8") as file:
        file.write("nonsense: 1\n")
    assert "pydantic" in imported("--config", str(machine.etc), "status", **machine.environ)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    found = imported(
        _OPSCTL_COMPLETE=f"complete_{shell}",
        _TYPER_COMPLETE_ARGS="opsctl backup r",
        COMP_WORDS="opsctl backup r",
        COMP_CWORD="2",
        _TYPER_COMPLETE_FISH_ACTION="get-args",
    )
    assert "typer" in found
    assert not found & HEAVY


def test_the_version_needs_no_typer() -> None:
    assert not imported("--version") & {"typer", "click"}


def test_the_root_help_imports_no_command() -> None:
    code = (
        "import sys; from opsctl.cli import main; main(['--help']);"
        "print(*[name for name in sys.modules if name.startswith('opsctl.cli.')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=samples.ROOT,
        env=samples.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.splitlines()[-1].split()) == {
        f"opsctl.cli.{name}"
        for name in ("coerce", "completion", "everywhere", "lazy", "render", "report", "session")
    }


def test_bootstrap_can_use_the_package_before_anything_is_installed() -> None:
    code = "import sys; import opsctl.cli; print(*[name for name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=samples.ROOT,
        env=samples.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "opsctl.cli" in done.stdout.split()
