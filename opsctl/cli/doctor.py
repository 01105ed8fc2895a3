"""`opsctl doctor`: is everything here that opsctl needs, and bring what is missing.

Standard library only, so that `bootstrap.py` can call it before anything is installed.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opsctl import apt, programs

OLDEST_PYTHON = (3, 11)
LEAST_FREE = 1 << 30
"""Bytes below which the state directory is called nearly full: a run's journal and papers must fit."""

Say = Callable[[str], None]


OK, WARNING, WRONG, UNCHECKED = "ok", "warning", "wrong", "not checked"


@dataclass(frozen=True)
class Check:
    """One thing looked at: `state` is one of the four words, `detail` says what was seen, `hint` what to do.

    A warning is what somebody may have meant so; only what is wrong makes `doctor` end with 3.
    """

    name: str
    state: str
    detail: str
    hint: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong here, as far as it was looked at."""
        return self.state != WRONG

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {"name": self.name, "state": self.state, "ok": self.ok, "detail": self.detail, "hint": self.hint}


def right(name: str, ok: bool, detail: str, hint: str = "") -> Check:
    """A check that knows only right and wrong."""
    return Check(name, OK if ok else WRONG, detail, hint)


@dataclass(frozen=True)
class Seen:
    """What the checks judge. `state` is the state directory if one is known, `free` its free bytes."""

    programs: tuple[programs.Found, ...]
    python: tuple[int, ...]
    root: bool
    state: str | None = None
    free: int | None = None


def observe(purpose: str, config: Any = None) -> Seen:
    """Look at this machine. `config` is the loaded configuration, or None; its `state` and `sources` are read."""
    kinds = {source.kind for source in getattr(config, "sources", {}).values()}
    state = getattr(config, "state", None)
    return Seen(
        programs=programs.survey(purpose, kinds),
        python=tuple(sys.version_info[:3]),
        root=os.geteuid() == 0,
        state=None if state is None else str(state),
        free=None if state is None else _free(Path(state)),
    )


def judge(seen: Seen) -> list[Check]:
    """The checks, in the order in which they are shown."""
    recent = seen.python >= OLDEST_PYTHON
    hint = "" if recent else f"opsctl needs Python {programs.show(OLDEST_PYTHON)} or newer"
    checks = [right("python", recent, programs.show(seen.python), hint)]
    for found in seen.programs:
        detail = found.problem or (f"{programs.show(found.version)} ({found.path})" if found.version else str(found.path))
        checks.append(right(found.program.name, found.ok, detail, programs.advice(found)))
    if seen.state is not None and seen.free is None:
        hint = "does it exist, and may you enter it?"
        checks.append(Check("state", WRONG, f"{seen.state} cannot be looked at", hint))
    elif seen.state is not None and seen.free is not None:
        enough = seen.free >= LEAST_FREE
        detail = f"{seen.free / (1 << 30):.1f} GiB free in {seen.state}"
        hint = "" if enough else "free some space: at least 1 GiB is wanted"
        checks.append(right("state", enough, detail, hint))
    if seen.root:
        checks.append(Check("user", OK, "root"))
    else:
        hint = "restore as root where it counts who owns a file"
        checks.append(Check("user", WARNING, "an ordinary user: the owners of restored files would be lost", hint))
    return checks


def checks(purpose: str, config: Any = None) -> list[Check]:
    """Look and judge in one step. `purpose` is one of `programs.PURPOSES`."""
    return judge(observe(purpose, config))


def exit_code(found: Sequence[Check]) -> int:
    """0 when all is well, 3 when something is missing."""
    return 0 if all(check.ok for check in found) else 3


def run_doctor(
    *, fix: bool, purpose: str, say: Say, config: Any = None, also: Sequence[str] = ()
) -> list[Check]:
    """Check; with `fix` as root install what is missing and check again, otherwise say the line that does.

    `also` names packages wanted beside the programs' own. Raises `ProgramFailed` when apt says no.
    """
    seen = observe(purpose, config)
    packages = (*also, *programs.packages_for(seen.programs))
    for found in seen.programs:
        if not found.ok:
            say(f"{found.problem}{f'; {programs.advice(found)}' if found.shadows else ''}")
    if not packages:
        return judge(seen)
    if not shutil.which("apt-get"):
        say(f"install with this system's own package manager (the names are Debian's): {' '.join(packages)}")
        return judge(seen)
    facts = apt.read_facts(packages)
    plan = apt.plan(packages, facts)
    for package in plan.cannot:
        say(apt.why_not(package, facts))
    if not plan.steps:
        return judge(seen)
    if not (fix and seen.root):
        sudo = not seen.root and shutil.which("sudo") is not None
        say(f"to install what is missing, run{'' if sudo or seen.root else ' as root'}:")
        say(apt.one_line(plan.steps, sudo=sudo))
        return judge(seen)
    say(f"installing {', '.join(packages)}")
    for note in plan.notes:
        say(f"  {note}")
    try:
        apt.carry_out(plan.steps, say)
    except (apt.AptFailed, OSError) as error:
        from opsctl.errors import ProgramFailed

        hint = "set right what apt complains of, and run it again"
        raise ProgramFailed(f"installing programs failed: {error}", hint=hint) from error
    after = observe(purpose, config)
    packages = programs.packages_for(after.programs)
    # Only after its first update does apt know that what it has is too old as well.
    facts = apt.read_facts(packages)
    for package in apt.plan(packages, facts).cannot:
        say(apt.why_not(package, facts))
    return judge(after)


def _free(folder: Path) -> int | None:
    for place in (folder, *folder.parents):
        # Before the first run the folder is not there yet; what counts is where it will be.
        try:
            return shutil.disk_usage(place).free
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None
