"""How processes are measured: wall time, processor time with all children, and in which order."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

PACKAGE = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Cost:
    """What one run took, in seconds; ``cpu`` with every child that was waited for."""

    wall: float
    cpu: float
    code: int = 0


class Failed(Exception):
    """A benchmark could not be measured; its text goes into the row."""


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    codes: Sequence[int] | None = (0,),
    out: Path | None = None,
) -> Cost:
    """Run a program to its end and measure it; ``out`` takes what it prints.

    Raises Failed for an exit code that is not in ``codes``; with None all are taken.
    """
    said = out or Path(os.devnull)
    with open(said, "wb") as stdout, open(os.devnull if out is None else f"{out}.errors", "wb") as errors:
        begun = time.perf_counter()
        child = subprocess.Popen(argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=stdout, stderr=errors)
        try:
            _, status, used = os.wait4(child.pid, 0)
        except BaseException:
            child.kill()
            child.wait()
            raise
        wall = time.perf_counter() - begun
    child.returncode = os.waitstatus_to_exitcode(status)
    if codes is not None and child.returncode not in codes:
        raise Failed(f"{' '.join(argv[:6])} ended with {child.returncode}{_words(out)}")
    return Cost(wall, used.ru_utime + used.ru_stime, child.returncode)


def _words(out: Path | None) -> str:
    if out is None:
        return ""
    text = (Path(f"{out}.errors").read_text(errors="replace") + out.read_text(errors="replace")).strip()
    return f": {text[-400:]}"


def python(*words: str) -> list[str]:
    """An argv for the interpreter that runs the benchmarks, so that nothing compared runs on another one."""
    return [sys.executable, *words]


def opsctl(*words: str) -> list[str]:
    return python("-m", "opsctl", *words)


Measured = TypeVar("Measured")


def turns(rounds: int, **what: Callable[[], Measured]) -> dict[str, list[Measured]]:
    """Measure things in turn, A B A B …, so that whatever else the machine does meets all of them alike."""
    found: dict[str, list[Measured]] = {name: [] for name in what}
    for _ in range(rounds):
        for name, measure in what.items():
            found[name].append(measure())
    return found


def wall(costs: Sequence[Cost]) -> float:
    """The median wall time."""
    return statistics.median(cost.wall for cost in costs)


def cpu(costs: Sequence[Cost]) -> float:
    """The median processor time."""
    return statistics.median(cost.cpu for cost in costs)


def peak_memory() -> int:
    """The most resident bytes this process ever had.

    Not ``ru_maxrss``, which a process inherits from its starter and which then says how big that one was.
    """
    return _status("VmHWM")


def memory() -> int:
    """The resident bytes of this process now."""
    return _status("VmRSS")


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise Failed(f"/proc/self/status has no {field}")
