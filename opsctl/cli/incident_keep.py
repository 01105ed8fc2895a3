"""``opsctl incident keep``: what is known of incidents, put into repositories; by itself in the background, and with every backup."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.errors import Busy, OpsError
from opsctl.model.incident import CLOSED, DRAFTED, PAPERED, SEALED
from opsctl.model.incident_kept import waiting

if TYPE_CHECKING:
    from opsctl.cli.session import Session
    from opsctl.engine.runs import Tally
    from opsctl.model.incident import Incident
    from opsctl.model.plan import BoundPlan
    from opsctl.wiring import Site

_LATER = frozenset({DRAFTED})
"""Entries that go with the next one of another kind, or the next backup."""
_WITH_FILES = frozenset({SEALED, PAPERED, CLOSED})
_PATIENCE = 3600.0  # seconds for the one before, which may be storing evidence


def keep(session: Session, name: str, what: str, repositories: Sequence[str], *, background: bool = False) -> Report:
    """Keep one incident, or all that are open. Exit 3 where one of several repositories did not take it."""
    from opsctl.cli.backup import known
    from opsctl.cli.work import open_site
    from opsctl.wiring import refuse_unsigned

    site = open_site(session, wait="10m" if background else None)
    chosen = known(repositories, site.config.repositories, "repository") if repositories else places(site)
    incidents = [site.incidents.get(name).id] if name else [one.id for one in site.incidents.open_ones()]
    if not session.dry_run:
        refuse_unsigned(site)
    if not incidents or not chosen:
        why = "no incident is open" if not incidents else "there is no repository here that could keep it"
        return Report(result={"incidents": {}}, text=lambda out: out.line(why), warnings=site.said)
    if not background:
        return _together([_keep(session, site, one, chosen, what) for one in incidents])
    with contextlib.ExitStack() as stack:
        try:  # one at work and one that waits are enough: whoever waits takes along what came after
            with site.locks.hold(f"incident {incidents[0]} to be kept, {what}", run=None, purpose="keeping it next"):
                stack.enter_context(site.locks.hold(f"incident {incidents[0]} kept", run=None, purpose="keeping it", wait=_PATIENCE))
        except Busy:
            return Report(result={"incidents": {}})
        return _together([_keep(session, site, one, chosen, what) for one in incidents])


def _keep(session: Session, site: Site, name: str, repositories: Sequence[str], what: str) -> Report:
    from opsctl.cli.work import carry_out

    def result(tally: Tally) -> Mapping[str, Any]:
        if not session.dry_run:
            for one in tally.results:
                _note(site, name, str(one.item), one.result if one.outcome in ("ok", "changed") else {}, one.because)
        return {"incident": name, "repositories": {one.item: {**one.result, "outcome": one.outcome, "because": one.because} for one in tally.results}}

    return carry_out(session, site, "incident-keep", {"incident": name, "repositories": list(repositories), "what": what}, subject="keep",
                     text=_write, result=result)


def _together(reports: Sequence[Report]) -> Report:
    from opsctl.errors import worst

    def text(out: Out) -> None:
        for one in reports:
            if one.text is not None:
                one.text(out)

    found = {str(one.result["incident"]): one.result for one in reports if isinstance(one.result, Mapping)}
    return Report(result={"incidents": found}, text=text, exit_code=worst([one.code for one in reports]), run=reports[-1].run,
                  errors=[error for one in reports for error in one.errors],
                  warnings=list(dict.fromkeys(said for one in reports for said in one.warnings)))


def _note(site: Site, name: str, repository: str, found: Mapping[str, Any], because: str) -> None:
    content = site.incidents.content(name)
    if found:
        content.note_kept(repository, entries=found["entries"], at=site.clock().isoformat(), trouble=None,
                          **({"files": found["files"]} if found["files"] else {}))
    else:
        content.note_kept(repository, trouble=because)


def _write(out: Out, tally: Tally, plan: BoundPlan) -> None:
    from opsctl.model.quantities import counted

    for one in tally.results:
        if one.outcome in ("ok", "changed"):
            files = f" and {counted(one.result['files'], 'file')}" if one.result["files"] else ""
            out.line(Mark(f"{one.result['incident']}: {counted(one.result['entries'], 'entry', 'entries')}{files} kept in {one.item}", Tone.GOOD))
        else:
            out.line(Mark(f"{plan.inputs['incident']} is NOT kept in {one.item}: {one.because}", Tone.BAD))


def places(site: Site) -> list[str]:
    """The repositories that keep incidents: those that are here, and that no host opens, since whoever has one of them reads them."""
    from opsctl.engine.carried import opened_by_hosts

    return [name for name in site.config.repositories if not opened_by_hosts(site.config, name) and not site.history(name).is_away()]


def written(session: Session, site: Site, kind: str, name: str) -> None:
    """After an entry: have it kept by a process of its own, which holds nothing and nobody up. Raises nothing.

    Not with the clock of a test: what is at work behind its back would outlive it.
    """
    from opsctl.cli.work import CLOCK

    directory = site.config.directory
    if kind in _LATER or directory is None or session.environ.get(CLOCK) or not site.config.repositories:
        return
    words = [sys.executable, "-P", "-m", "opsctl", "--config", str(directory), "--quiet", *(["--break-glass"] if session.break_glass else []),
             "incident", "keep", name, "--what", "all" if kind in _WITH_FILES else "entries", "--background"]
    own = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join([own, *filter(None, [session.environ.get("PYTHONPATH")])])
    with contextlib.suppress(OSError):
        subprocess.Popen(words, env={**session.environ, "PYTHONPATH": paths}, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL, start_new_session=True)


def with_backup(session: Session, site: Site) -> list[str]:
    """After a backup, while an incident is open: keep it, and say what was not to be had. Raises nothing."""
    if session.dry_run or session.break_glass or site.config.directory is None:
        return []
    try:
        chosen = places(site)
        reports = [(one.id, _keep(session, site, one.id, chosen, "all")) for one in site.incidents.open_ones() if chosen]
    except OpsError as error:
        return [f"open incidents were not kept in repositories: {error.message}"]
    return [f"incident {name} was not kept: {error.message}" for name, one in reports for error in one.errors]


def behind(site: Site, found: Incident) -> list[tuple[str, str]]:
    """What repositories lack of an incident, as last tried: their names, with that in words."""
    total, kept = len(found.timeline), site.incidents.content(found.id).kept
    return [(repository, words) for repository in site.config.repositories if repository in kept and (words := waiting(total, kept[repository]))]


def lines(site: Site, found: Incident) -> list[Mark]:
    """What ``incident show`` says of where it is kept."""
    from opsctl.cli.work import local_time
    from opsctl.model.quantities import counted
    from opsctl.model.snapshots import parse_time

    name, kept, late = found.id, site.incidents.content(found.id).kept, dict(behind(site, found))
    good = [f"{one} ({counted(int(kept[one].get('files', 0)), 'file')}, {local_time(site, parse_time(kept[one]['at']))})"
            for one in site.config.repositories if one in kept and one not in late and kept[one].get("at")]
    said = [Mark(f"kept in {', '.join(good)}", Tone.QUIET)] if good else []
    said += [Mark(f"{repository} still lacks {words}: opsctl incident keep {name}", Tone.WARN) for repository, words in late.items()]
    if not kept and site.config.repositories:
        said.append(Mark(f"not kept in any repository yet: opsctl incident keep {name}", Tone.WARN))
    return said
