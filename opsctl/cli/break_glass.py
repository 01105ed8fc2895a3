"""``--break-glass``: say where the journal goes while the state directory cannot be used, and find runs there again."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from opsctl.cli import render
from opsctl.engine.runtime_directory import next_spool, open_spool, spool_file
from opsctl.errors import OpsError, ProgramFailed, SafetyRefusal
from opsctl.model.safe_text import shown

if TYPE_CHECKING:
    from opsctl.actions.interface import Action
    from opsctl.cli.session import Session
    from opsctl.model.plan import BoundPlan
    from opsctl.wiring import Site

#: Where a plan can lie when not even the spool can be written, besides the usual places for temporary files.
_SHARED_MEMORY = "/dev/shm"


def enter(session: Session, site: Site) -> None:
    """Before a command works: with ``--break-glass`` choose where the journal goes; tell of a spool that lies there."""
    if session.break_glass and session.dry_run:
        _go(site, next_spool(site.runtime, site.scope))  # it is only read
        return
    if session.break_glass:
        from opsctl.engine.spool import trouble

        found = trouble(site.state, site.journal)
        if found is not None:
            _break(session, site, found)
            return
    left = open_spool(site.runtime, site.scope)
    if left is not None:
        site.notes.append(f"the journal of what was done with --break-glass lies in {spool_file(left)}, and {_loses()} it: "
                          f"{_take_in(spool_file(left))}")


def follow(session: Session, site: Site, run: str, *, only_look: bool = False) -> None:
    """Before a run is taken up again: go where it lies, in the spool or in the state directory.

    SafetyRefusal where it lies in the spool and ``--break-glass`` was not given. ``only_look``: also the part of it that
    lies in the state directory will do.
    """
    there, here = site.state / "runs" / run, site.place / "runs" / run
    if site.place != site.state:
        if not here.is_dir() and there.is_dir() and not session.dry_run:
            import shutil

            with contextlib.suppress(OSError):
                shutil.copytree(there, here)
        return
    place = open_spool(site.runtime, site.scope)
    if place is None or not (place / "runs" / run).is_dir() or (only_look and there.is_dir() and not session.break_glass):
        return
    if not session.break_glass:
        raise SafetyRefusal(f"run {run} was begun or went on with --break-glass, and lies in {place}",
                            hint=f"{_take_in(spool_file(place))}; or go on there with --break-glass")
    _go(site, place)
    _say(session, site, f"run {run} lies in {place} and goes on there", spool_file(place))


def refuse(plan: BoundPlan, registry: Callable[[str], Action]) -> None:
    """SafetyRefusal for words that have to wait until the state directory is back."""
    for step in plan.steps:
        if not registry(step.uses).break_glass:
            raise SafetyRefusal(f"{step.uses} is not done with --break-glass", where=step.id,
                                hint="bring the state directory back first; what was kept there has to be known for this")


def _break(session: Session, site: Site, trouble: OpsError) -> None:
    from opsctl.engine.journal_files import try_room
    from opsctl.engine.spool import Spoken

    place = next_spool(site.runtime, site.scope)
    try:
        site.locks.prepare()
        try_room(place / "runs")
    except (OSError, ProgramFailed):
        place = _temporary()
        site.go_elsewhere(place, Spoken(place, site.clock, site.journal, render.spell_out))
        _say(session, site, f"{trouble.message}, and {site.runtime} neither. The plan lies in {place}, the journal is said "
                            "on standard error", None)
        return
    _go(site, place)
    _say(session, site, trouble.message, spool_file(place))


def _go(site: Site, place: Path) -> None:
    """SafetyRefusal where another user could have laid the spool there."""
    from opsctl.engine.spool import Spool

    if site.runtime.exists():
        site.locks.prepare()
    site.go_elsewhere(place, Spool(place, site.clock, site.journal))


def _temporary() -> Path:
    """A folder for the plan of this call alone. ProgramFailed where nothing at all can be written."""
    import tempfile

    from opsctl.engine.journal_files import try_room

    last: Exception | None = None
    for directory in (None, _SHARED_MEMORY):
        try:
            place = Path(tempfile.mkdtemp(prefix="opsctl-break-glass-", dir=directory))
            try_room(place / "runs")
        except (OSError, ProgramFailed) as error:
            last = error
        else:
            return place
    raise ProgramFailed("no folder of this machine can be written, not even a temporary one",
                        hint="set TMPDIR to one that can") from last


def _say(session: Session, site: Site, why: str, file: Path | None) -> None:
    where = f". The journal goes to {file}, and {_loses()} it: {_take_in(file)}" if file else ""
    line = f"BREAK-GLASS: {why}{where}"
    render.complain(f"opsctl: {shown(line)}")
    if session.json:
        site.notes.append(line)


def _loses() -> str:
    """What empties the directory of spools; that of an ordinary user goes with their last session."""
    return ("a restart of this machine" if os.geteuid() == 0 else "a restart of this machine, or your logging out,") + " loses"


def _take_in(file: Path) -> str:
    return f"`opsctl journal adopt {file} --by NAME` takes it in"

