"""Completion for bash, zsh and fish, by typer's own mechanism."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from opsctl.cli.report import Out, Report
from opsctl.errors import UsageError

PROGRAM = "opsctl"
VARIABLE = "_OPSCTL_COMPLETE"
"""The variable by which the shell's script asks; typer derives it from the program's name."""

SHELLS = ("bash", "zsh", "fish")


def asked() -> bool:
    """Whether it is a shell that calls, and no person."""
    return bool(os.environ.get(VARIABLE))


def answer(words: Sequence[str]) -> int:
    """Print the completions that the environment asks for; 1, and no error, where that cannot be done."""
    from typer.completion import completion_init

    from opsctl.cli import lazy

    completion_init()
    _leave_rich_alone()
    # A trace between the words of a half-typed command line helps nobody.
    with suppress(Exception):
        try:
            lazy.make_root().main(args=list(words), prog_name=PROGRAM)
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 1
    return 1


def show(shell: str) -> Report:
    """The script for a shell. Raises UsageError for another shell than bash, zsh and fish."""
    from typer.completion import get_completion_script

    script = get_completion_script(prog_name=PROGRAM, complete_var=VARIABLE, shell=_known(shell))

    def text(out: Out) -> None:
        out.lines(script.splitlines())

    return Report(result={"shell": shell, "script": script}, text=text)


def install(shell: str) -> Report:
    """Write the script where the shell of this user finds it. Raises UsageError likewise."""
    from typer.completion import install as install_script

    _, path = install_script(shell=_known(shell), prog_name=PROGRAM, complete_var=VARIABLE)

    def text(out: Out) -> None:
        out.line(f"completion for {shell} is in {path}; a new shell has it")

    return Report(result={"shell": shell, "path": str(path)}, text=text)


def _known(shell: str) -> str:
    if shell not in SHELLS:
        raise UsageError(f"no completion for {shell!r}", hint=f"there is one for {', '.join(SHELLS)}")
    return shell


def _leave_rich_alone() -> None:
    # typer imports rich at every press of TAB, a tenth of a second, to strip markup that our helps do not
    # have.
    module: Any = None
    with suppress(ImportError):
        from typer import _completion_classes as module
    if hasattr(module, "_sanitize_help_text"):
        module._sanitize_help_text = str
