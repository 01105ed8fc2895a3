"""Trying again where a store does not answer, and only there: a refusal or damage does not go away by waiting."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TypeVar

from opsctl.errors import Unreachable
from opsctl.model.quantities import rough_duration
from opsctl.shells.interface import Shell

Made = TypeVar("Made")

_LOOK = 0.2  # seconds between two looks whether we were told to stop


def patiently(work: Callable[[], Made], waits: Sequence[float], *, shell: Shell, say: Callable[[str], None]) -> Made:
    """The result of ``work``, which is tried again after each of ``waits`` (seconds) while it raises Unreachable.

    The last failure is raised as it is; Interrupted while waiting.
    """
    for number, seconds in enumerate(waits, 1):
        try:
            return work()
        except Unreachable as error:
            after = rough_duration(timedelta(seconds=seconds))
            say(f"{error.message}; tried again after {after} ({number} of {len(waits)})")
        _wait(seconds, shell)
    return work()


def _wait(seconds: float, shell: Shell) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        shell.check()
        time.sleep(min(_LOOK, left))
    shell.check()
