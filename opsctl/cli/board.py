"""``opsctl status --html``: what the status board shows, gathered from what this machine has written down."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsctl.errors import OpsError, SafetyRefusal
from opsctl.model.board import (
    ARMED,
    FREE,
    HELD,
    OPENING,
    UNCONFIRMED,
    UNKNOWN,
    UNPROVEN,
    Backup,
    Board,
    Cut,
    Duty,
    Opened,
    Restoration,
    Step,
    Waiting,
    Zone,
)
from opsctl.model.config import UNNAMED
from opsctl.model.moments import in_zone
from opsctl.model.snapshots import parse_time

if TYPE_CHECKING:
    from opsctl.cli.copies import Copies
    from opsctl.cli.session import Session
    from opsctl.isolation.register import Entry
    from opsctl.model.clocks import Clock
    from opsctl.model.incident import Incident
    from opsctl.model.plan import BoundPlan
    from opsctl.repositories.standing import Standing, Verdict
    from opsctl.wiring import Site

_LATEST = 5
_TRIED_AGAIN = timedelta(minutes=3)
"""For so long a host that does not answer is tried again (``isolate``: ``retry_for``)."""
_COURSES = {"running": "begun", "open": "idle"}


@contextlib.contextmanager
def troubles(session: Session, path: Path, lang: str | None) -> Iterator[None]:
    """What stops ``status`` stands on the page too: one that was written before must not stand for how it is now."""
    try:
        yield
    except OpsError as error:
        if not session.dry_run:
            from opsctl.cli.work import clock

            now = clock(session)()
            with contextlib.suppress(OpsError):
                _put(path, Board("", now, ahead=_ahead(now), trouble=f"{error.message}{f' ({error.hint})' if error.hint else ''}"), UTC, _languages(lang, ("en", "hi")))
        raise


def write(
    site: Site, path: Path, lang: str | None, *, found: Sequence[tuple[str, Standing | None, Verdict]], copies: Mapping[str, Copies], remarks: Sequence[str],
) -> None:
    """Write the page whole. UsageError for another language, SafetyRefusal, ProgramFailed where the system says no."""
    from opsctl.cli import readiness_look

    now = site.clock()
    incidents = site.incidents.open_ones()
    checked = [parse_time(one.checked) for _, one, _ in found if one is not None]
    open_runs = _open_runs(site)
    readiness = readiness_look.look(site, offline=True)
    board = Board(
        "" if (name := site.config.organisation.name) == UNNAMED else name, now, ahead=_ahead(now), incidents=[_incident(site, one) for one in incidents], zones=_zones(site, incidents, now),
        restorations=[_restoration(site, plan, word) for plan, _, word in open_runs if any(step.stage for step in plan.steps)],
        backups=[_backup(site, *one, copies[one[0]]) for one in found], waiting=[one for plan, result, _ in open_runs for one in _waiting(site, plan, result)],
        lacking=[(one.item.title, one.seen) for one in readiness if not one.fine], ready=sum(one.fine for one in readiness), remarks=remarks, checked=min(checked, default=None))
    _put(path, board, site.config.organisation.tz, _languages(lang, site.config.organisation.languages))


def _languages(lang: str | None, usual: Sequence[str]) -> Sequence[str]:
    if lang is None:
        return usual
    if lang not in ("en", "hi", "both"):
        from opsctl.errors import UsageError

        raise UsageError(f"--lang {lang}: there are en, hi and both")
    return ("en", "hi") if lang == "both" else (lang,)


def _ahead(now: datetime) -> int:
    """Seconds by which opsctl's clock is ahead of this machine's: 0 but in exercises that play at another time."""
    found = round(now.timestamp() - time.time())
    return found if abs(found) > 1 else 0


def _put(path: Path, board: Board, zone: Any, languages: Sequence[str]) -> None:
    from opsctl.reports.board import board_page
    from opsctl.repositories.whole import write_whole

    mode = _mode(path)
    write_whole(path, board_page(board, zone=zone, languages=languages), mode)


def _mode(path: Path) -> int:
    """Who may read it: its owner alone, until they say otherwise (``chmod``); a page that is ours and there already keeps that.

    SafetyRefusal where another user could have laid something in its place.
    """
    from opsctl.repositories.whole import system_said_no

    folder = path.absolute().parent
    try:
        if os.stat(folder).st_uid not in (0, os.geteuid()):
            raise SafetyRefusal(f"{folder} is somebody else's folder", where=str(path), hint="name a file in a folder of your own, or of root")
        before = os.lstat(path) if os.path.lexists(path) else None
    except OSError as error:
        raise system_said_no(error, folder) from error
    if before is None:
        return 0o600
    if not stat.S_ISREG(before.st_mode) or before.st_uid != os.geteuid():
        raise SafetyRefusal(f"{path} is {'no file' if not stat.S_ISREG(before.st_mode) else 'a file of somebody else'}, and stays as it is",
                            where=str(path), hint="name a file that is not there yet, or one that opsctl wrote")
    return stat.S_IMODE(before.st_mode) & 0o644 | 0o600


def _incident(site: Site, found: Incident) -> Opened:
    from opsctl.cli.incident_show import of_incident

    latest = [(one.at, one.by, in_zone(one.text, site.config.organisation.tz)) for one in reversed(found.timeline[-_LATEST:])]
    return Opened(found.id, found.title, found.drill, found.noticed, found.first.by, found.first.signal, found.in_charge, found.types, found.zones,
                  [_duty(site, one) for one in of_incident(site, found)], latest, len(found.timeline))


def _duty(site: Site, clock: Clock) -> Duty:
    from opsctl.cli.incident_show import due_words
    from opsctl.protocols.cert_in import protocol

    duties = protocol().duties
    to = duties[clock.duty].channel if clock.duty in duties else clock.recipient
    said = clock.reason or "" if clock.state in ("overdue", "running") else due_words(site, clock)
    return Duty(clock.duty, clock.obligation, to, clock.state, clock.due, clock.since, said)


def _zones(site: Site, incidents: Sequence[Incident], now: datetime) -> list[Zone]:
    """The zones that open incidents name or in which something is cut off, with all their hosts; then hosts without a zone that are cut off."""
    register = site.isolations.register
    entries = list(register.all())
    proven = _proven(site, entries)
    cut: dict[str, Cut] = {entry.host: _cut(entry, now, proven=entry.host in proven and (entry.shown is None or entry.shown.verdict != "open"))
                           for entry in entries}
    cut |= {host: Cut(host, UNKNOWN) for host in register.unreadable()}
    hosts = site.config.hosts
    named = {zone for one in incidents for zone in one.zones}
    found = []
    for name, zone in site.config.zones.items():
        inside = [host for host, spec in hosts.items() if spec.zone == name]
        if name in named or any(host in cut for host in inside):
            found.append(Zone(name, zone.title, [cut.get(host) or Cut(host, FREE) for host in inside]))
    rest = [one for host, one in cut.items() if host not in hosts or hosts[host].zone not in site.config.zones]
    return [*found, *([Zone("", "", rest)] if rest else [])]


def _proven(site: Site, entries: Sequence[Entry]) -> set[str]:
    """The hosts of which the run that cut them off found, by its probes, that nothing gets through."""
    from opsctl.wiring import load_plan

    found = set()
    for run in {entry.order.mark.run for entry in entries}:
        if run != Path(run).name:  # it stands on the host, where others can write
            continue
        with contextlib.suppress(OpsError):
            asked = {(step.id, item.item): item.params["host"] for step in load_plan(site, run).steps if step.uses == "isolate" for item in step.items}
            ended = {(entry.data["step"], entry.data["item"]): entry.data["outcome"] for entry in site.journal.read(run=run, types=("step.end",))}
            found |= {host for key, host in asked.items() if ended.get(key) in ("ok", "changed")}
    return found


def _cut(entry: Entry, now: datetime, *, proven: bool) -> Cut:
    mark = entry.order.mark
    try:
        since = parse_time(mark.at)
    except (ValueError, OverflowError):
        since = None
    if entry.stage == "confirmed":
        return Cut(entry.host, HELD if proven else UNPROVEN, since, mark.by, mark.incident or "")
    if entry.stage == "releasing":
        return Cut(entry.host, OPENING, since, mark.by, mark.incident or "")
    lifts = since + timedelta(seconds=entry.order.seconds) if since is not None and entry.order.seconds is not None else None
    waits = since is not None and now < (lifts or since) + _TRIED_AGAIN
    return Cut(entry.host, ARMED if waits and lifts is not None and now < lifts else UNCONFIRMED, since, mark.by, mark.incident or "", lifts if waits else None)


def _open_runs(site: Site) -> list[tuple[BoundPlan, Mapping[str, Any] | None, str]]:
    from opsctl.engine.runs import Runs

    return list(Runs(site.place, site.journal, site.locks).unended())


def _restoration(site: Site, plan: BoundPlan, word: str) -> Restoration:
    from opsctl.model.stages import courses

    entries = list(site.journal.read(run=plan.run))
    began = next((one.time for one in entries if one.type == "run.bound"), plan.now)
    return Restoration(plan.run, _COURSES.get(word, word), began, [
        Step(one.service, _COURSES.get(one.outcome, one.outcome), next((name for name, outcome in one.steps.items() if outcome not in ("ok", "changed", "open")), ""),
             f"{one.backup} {one.set}".strip(), began + one.rto if one.rto is not None else None, one.after, one.rto, one.loss, one.rpo,
             "; ".join(one.waits) or one.because) for one in courses(entries)])


def _waiting(site: Site, plan: BoundPlan, result: Mapping[str, Any] | None) -> Iterator[Waiting]:
    """What a run waits for, in the plan's order. The commands are those of its gates, never taken from a text, which may come from anywhere."""
    waits = {(one["step"], one.get("item")): one["for"] for one in (result or {}).get("waiting", ())}
    told: dict[tuple[str, str | None], Mapping[str, Any]] = {}
    if waits:
        told = {(entry.data["step"], entry.data["item"]): entry.data.get("result") or {}
                for entry in site.journal.read(run=plan.run, types=("step.end",), on_damage=lambda _: None)}
    for step in plan.steps:
        for item in step.items:
            key = (step.id, item.item)
            if key not in waits:
                continue
            usual = f"opsctl approve {plan.run} {step.id} --by NAME" if step.uses == "approve" else f"opsctl resume {plan.run}"
            yield Waiting(plan.run, plan.title, f"{step.id}{f' {item.item}' if item.item else ''}", str(told.get(key, {}).get("say") or waits[key]),
                          [str(one) for one in told.get(key, {}).get("how", ())] or [usual])


def _backup(site: Site, name: str, standing: Standing | None, verdict: Verdict, copies: Copies) -> Backup:
    newest = parse_time(standing.newest_time) if standing and standing.newest_time else None
    every = site.config.backups[name].every
    drill = standing.drills[-1] if standing and standing.drills else None
    there = [(place, parse_time(one["newest_time"]) if one["newest_time"] else None, one["because"] or "" if one["late"] else "")
             for place, one in copies.as_json().items()]
    suspects = standing.suspects if standing else ()
    return Backup(name, verdict.word, verdict.late, newest, every, newest + every if newest else None, there, ", ".join(one["set"] for one in suspects[:3]),
                "" if verdict.word == "ok" else verdict.because, parse_time(drill["time"]) if drill else None, bool(drill["ok"]) if drill else True)
