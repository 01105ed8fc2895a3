"""Runs that SIGKILL ends at a chosen moment of a chosen step, in a process of their own."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from typing import Any

from opsctl.engine.perform import Performer
from tests.machine import Machine

#: When it was written down that a step begins (of those that change something), when it was done, and when that was written down.
MOMENTS = ("begun", "done", "ended")


def struck(machine: Machine, step: str, moment: str, words: Sequence[str]) -> bool:
    """Run a command line until that moment; whether it came to that."""
    child = os.fork()
    if not child:
        _strike(step, moment)
        machine.json(*words)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def _strike(step: str, moment: str) -> None:
    note, end = Performer._note, Performer._end

    def kill(at: str, one: Any) -> None:
        if moment == at and one.id == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def noted(self: Performer, type: str, one: Any, *more: Any, **options: Any) -> None:
        note(self, type, one, *more, **options)
        if type == "step.begin":
            kill("begun", one)

    def ended(self: Performer, one: Any, result: Any) -> None:
        if result.outcome != "waiting":
            kill("done", one)
        end(self, one, result)
        if result.outcome != "waiting":
            kill("ended", one)

    Performer._note, Performer._end = noted, ended  # type: ignore[method-assign]
