"""Completion for the three shells: lazy groups, options that work everywhere, the scripts themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli import samples

SHELLS = ("bash", "zsh", "fish")


def complete(shell: str, line: str) -> str:
    """What the shell is told at the end of a line."""
    done = subprocess.run(
        [sys.executable, "-m", "opsctl"],
        cwd=samples.ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=samples.environment(
            _OPSCTL_COMPLETE=f"complete_{shell}",
            _TYPER_COMPLETE_ARGS=line,
            COMP_WORDS=line,
            COMP_CWORD=str(len(line.split(" ")) - 1),
            _TYPER_COMPLETE_FISH_ACTION="get-args",
        ),
    )
    assert done.stderr == ""
    return done.stdout


def offered(shell: str, line: str) -> set[str]:
    """The words that the shell is offered."""
    text = complete(shell, line)
    if shell == "zsh":
        return {part.split('"')[0] for part in text.replace("((", "\n").split('\n"') if '":"' in part}
    return {found.split("\t")[0] for found in text.split("\n") if found}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("opsctl ba", {"backup"}),
        ("opsctl re", {"readiness", "report", "restore", "resume"}),
        ("opsctl backup ru", {"run"}),
        ("opsctl playbooks ", {"list", "show", "check", "sign"}),
        ("opsctl --json backup ru", {"run"}),
        ("opsctl --config /x --yes backup ru", {"run"}),
        ("opsctl backup --json ru", {"run"}),
        ("opsctl backup --config=/x ru", {"run"}),
        ("opsctl --dr", {"--dry-run"}),
        ("opsctl backup run --dr", {"--dry-run"}),
        ("opsctl backup run --du", {"--due"}),
        ("opsctl journal sh", {"show"}),
        ("opsctl nothing x", set()),
    ],
)
def test_words(shell: str, line: str, words: set[str]) -> None:
    assert offered(shell, line) == words


@pytest.mark.parametrize("shell", SHELLS)
def test_descriptions_come_along(shell: str) -> None:
    text = complete(shell, "opsctl ba")
    assert ("take backups" in text) == (shell != "bash")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_asks_back(shell: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "opsctl", "--show-completion", shell],
        cwd=samples.ROOT,
        env=samples.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"_OPSCTL_COMPLETE=complete_{shell}" in done.stdout


@pytest.mark.parametrize("asked", ["complete_tcsh", "nonsense"])
def test_an_unknown_wish_ends_quietly(asked: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "opsctl"],
        cwd=samples.ROOT,
        capture_output=True,
        text=True,
        env=samples.environment(_OPSCTL_COMPLETE=asked),
        check=False,
    )
    assert done.returncode == 1 and done.stdout == "" and "Traceback" not in done.stderr


def test_bash_itself(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    program = tmp_path / "opsctl"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m opsctl "$@"\n')
    program.chmod(0o700)
    script = """
        eval "$(opsctl --show-completion bash)"
        COMP_WORDS=(opsctl --json backup ru) COMP_CWORD=3
        _opsctl_completion opsctl
        printf '<%s>' "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        [bash, "--norc", "-c", script],
        cwd=samples.ROOT,
        capture_output=True,
        text=True,
        check=True,
        env=samples.environment(PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}"),
    )
    assert (done.stdout, done.stderr) == ("<run>", "")


def test_installing_it_writes_into_the_home(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "opsctl", "--install-completion", "fish"],
        cwd=samples.ROOT,
        capture_output=True,
        text=True,
        check=True,
        env=samples.environment(HOME=str(tmp_path)),
    )
    path = tmp_path / ".config/fish/completions/opsctl.fish"
    assert str(path) in done.stdout and "complete_fish" in path.read_text()
