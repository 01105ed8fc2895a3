"""Incidents as tables: what is due first, what happened, what has to be reported."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from opsctl.cli.report import Column, Mark, Out, Report, Table, Tone
from opsctl.errors import Overdue, UsageError
from opsctl.model.clocks import Clock, clocks, next_due
from opsctl.model.incident import Incident
from opsctl.model.moments import in_zone
from opsctl.model.quantities import counted

if TYPE_CHECKING:
    from opsctl.cli.session import Session
    from opsctl.wiring import Site

_TONES = {"overdue": Tone.BAD, "late": Tone.WARN, "running": Tone.STRONG, "met": Tone.GOOD, "decided": Tone.QUIET, "coming": Tone.QUIET}
_LAST = 20
"""Entries of the timeline that are shown; --all shows all of them, and --json has them."""


def of_incident(site: Site, found: Incident) -> tuple[Clock, ...]:
    """Its clocks, by the shipped protocol and this site's configuration."""
    from opsctl.protocols.cert_in import protocol

    return clocks(found, protocol().duties, site.clock(), protected=site.config.organisation.protected_system)


def list_incidents(session: Session) -> Report:
    from opsctl.cli.work import local_time, open_site

    site = open_site(session)
    every = list(site.incidents.all().values())
    rows = [(one, next_due(of_incident(site, one))) for one in every]

    def text(out: Out) -> None:
        out.table(Table(
            ("incident", "state", "noticed", Column("title", flexible=True), "in charge", Column("next duty", flexible=True)),
            [(one.id, Mark("closed", Tone.QUIET) if one.closed else Mark("DRILL" if one.drill else "open", Tone.WARN), local_time(site, one.noticed),
              one.title, one.in_charge, due_words(site, clock)) for one, clock in rows], empty="no incident was ever opened here"))

    return Report(result={"incidents": [{**_short(one), "next": _clock_json(clock) if clock else None} for one, clock in rows]}, text=text,
                  errors=late(site), exit_code=5 if late(site) else 0, warnings=[*site.said])


def show_incident(session: Session, name: str, *, every: bool = False) -> Report:
    from opsctl.cli.work import local_time, open_site
    from opsctl.engine.incidents import as_json

    site = open_site(session)
    found = _meant(site, name)
    problems = [] if found.closed else _overdue(site, found)

    def text(out: Out) -> None:
        out.line(Mark(f"{'DRILL: ' if found.drill else ''}{found.id}: {found.title}", Tone.STRONG))
        out.line(f"noticed {both(site, found.noticed)} by {found.first.by} ({found.first.signal}); in charge: {found.in_charge}")
        out.line(f"types: {', '.join(found.types) or 'none yet'}; zones: {', '.join(found.zones) or 'none'}"
                 + (f"; closed {local_time(site, found.closed)}" if found.closed else ""))
        write_clocks(out, site, found)
        from opsctl.cli import incident_keep

        out.lines(runs(site, found))
        out.lines(incident_keep.lines(site, found))
        for said in found.statements:
            out.line(f"{said.by} states on {said.subject}, {local_time(site, said.at)}: {said.text} (basis: {said.basis})")
        left = 0 if every else max(len(found.timeline) - _LAST, 0)
        if left:
            out.line(Mark(f"… {counted(left, 'earlier entry', 'earlier entries')}: opsctl incident show {found.id} --all", Tone.QUIET))
        for event in found.timeline[left:]:
            out.line(f"{local_time(site, event.at)}  {in_zone(event.text, site.config.organisation.tz)} [{event.by}]")

    return Report(result={**as_json(found), "clocks": clocks_json(site, found), "kept": site.incidents.content(name).kept}, text=text, errors=problems, exit_code=5 if problems else 0,
                  warnings=[*site.said])


def list_types(session: Session) -> Report:
    from opsctl.engine.playbooks_table import responses
    from opsctl.protocols.cert_in import protocol

    known = protocol()
    facts = known.raw["incident_types_source"]
    answers = responses()
    named = {type_: [one.name for one in answers if type_ in one.incident_types] for type_ in known.types}

    def text(out: Out) -> None:
        out.table(Table(("type", "Annexure I", Column("what", flexible=True), Column("playbook", flexible=True)),
                        [(one.id, one.annexure or "", one.summary, ", ".join(named[one.id])) for one in known.types.values()]))
        out.line(Mark(f"source: {facts['source']} ({facts['confidence']}); opsctl is no legal advice", Tone.QUIET))

    return Report(result={"types": [{"id": one.id, "annexure": one.annexure, "summary": one.summary, "explain": one.explain,
                                     "playbooks": named[one.id]} for one in known.types.values()], "source": facts["source"]}, text=text)


def write_clocks(out: Out, site: Site, found: Incident) -> None:
    """A line for each clock, what is due first standing first."""
    from opsctl.protocols.cert_in import protocol

    duties = protocol().duties
    out.table(Table(
        ("duty", "force", "state", Column("due", flexible=True), Column("to", flexible=True)),
        [(one.duty, one.force.replace("_", " "), Mark(one.state, _TONES.get(one.state, Tone.QUIET)), due_words(site, one),
          f"{'nobody (DRILL); in earnest: ' if found.drill else ''}{duties[one.duty].channel if one.duty in duties and not one.ended else one.recipient}")
         for one in of_incident(site, found)]))


def due_words(site: Site, clock: Clock | None) -> str:
    """``in 3 h, 21 Dec 08:30 IST (03:00 UTC)``, ``overdue since 2 h, …``, or how it was met."""
    from opsctl.model.due import elapsed, words

    if clock is None:
        return "nothing"
    now = site.clock()
    if clock.met is not None:
        by = f" by {words(elapsed(clock.due, clock.met.at))}" if clock.due and clock.met.at > clock.due else ""
        late = f"; MISSED{by}: {clock.reason or 'nobody said why yet'}" if clock.missed else ""
        late += f"; recorded {both(site, clock.met.recorded)}, AFTER it was due" if clock.recorded_late else ""
        late += f"; one of {both(site, clock.earlier.at)} was recorded only {both(site, clock.earlier.recorded)}" if clock.earlier else ""
        return f"done {both(site, clock.met.at)}, {clock.met.channel}" + (f", {clock.met.reference}" if clock.met.reference else "") + late
    if clock.state == "decided":
        return str(clock.reason)
    if clock.state == "coming":
        return f"in force from {clock.in_force_from:%d %b %Y}; voluntary before"
    reason = f"; {clock.reason}" if clock.reason else ""
    if clock.due is None:
        asks = f"; asked again {both(site, clock.prompt)} (our own wish)" if clock.prompt else ""
        return f"no time is fixed, {words(elapsed(clock.since, now))} since it began{asks}{reason}"
    if clock.state == "overdue":
        if clock.due == clock.since:
            return f"at once: {words(elapsed(clock.since, now))} have passed{reason}"
        return f"OVERDUE by {words(elapsed(clock.due, now))}: was due {both(site, clock.due)}{reason}"
    return f"in {words(elapsed(now, clock.due))}, {both(site, clock.due)}"


def both(site: Site, moment: datetime) -> str:
    """A moment in the organisation's zone and in UTC: ``21 Dec 2026 08:30 IST (03:00 UTC)``."""
    here, there = moment.astimezone(site.config.organisation.tz), moment.astimezone(UTC)
    if here.utcoffset() == there.utcoffset():
        return f"{there:%d %b %Y %H:%M} UTC"
    day = f"{there:%d %b }" if there.date() != here.date() else ""
    return f"{here:%d %b %Y %H:%M %Z} ({day}{there:%H:%M} UTC)"


def late(site: Site) -> list[Overdue]:
    """An error for each overdue duty of an open incident."""
    return [error for one in site.incidents.open_ones() for error in _overdue(site, one)]


def lines(site: Site) -> list[Mark]:
    """A line for ``status`` on each open incident, with the next duty first, and on those that others lead."""
    from opsctl.cli import freezing
    from opsctl.cli.incident_keep import behind
    from opsctl.model.freezes import UNREADABLE

    found = []
    for one in site.incidents.open_ones():
        clock = next_due(of_incident(site, one))
        late_one = clock is not None and clock.state == "overdue"
        next_ = f"next: {clock.duty} {due_words(site, clock)}" if clock is not None else "no duty with a number is left"
        found.append(Mark(f"{'DRILL: ' if one.drill else ''}incident {one.id} ({one.title}) is open; {next_}", Tone.BAD if late_one else Tone.WARN))
        found += [Mark(f"  {'missed' if each.missed else 'recorded late'}: {each.duty}, {due_words(site, each)}", Tone.WARN)
                  for each in of_incident(site, one) if (each.state == "late" and each.missed) or each.recorded_late]
        found += [Mark(f"  {said.text}", said.tone) for said in runs(site, one)]
        found += [Mark(f"  {repository} still lacks {words}: opsctl incident keep {one.id}", Tone.WARN) for repository, words in behind(site, one)]
    known = site.incidents.all()
    strange = {freeze["incident"]: name for name, freezes in freezing.frozen(site).items() for freeze in freezes if freeze["incident"] not in known}
    found += [Mark(f"incident {one}, for which {name} is frozen, is not led here; where its controller is lost: opsctl incident take-over {one}", Tone.WARN)
              for one, name in strange.items() if one != UNREADABLE]
    return found


def runs(site: Site, found: Incident) -> list[Mark]:
    """A line for each run of an incident that waits or was interrupted, with the command that goes on with it."""
    from opsctl.engine.runs import Runs

    said = []
    for plan, result, word in Runs(site.place, site.journal, site.locks).unended():
        if plan.inputs.get("incident") != found.id or word == "running":
            continue
        named = {one["step"] for one in (result or {}).get("waiting", ())} if word == "waiting" else set()
        steps = [step.id for step in plan.steps if step.id in named]
        waits = f"waits for people: {', '.join(steps)}" if steps else f"is {word}"
        said.append(Mark(f"run of {plan.playbook} {waits}: opsctl resume {plan.run}", Tone.WARN))
    return said


def _meant(site: Site, name: str) -> Incident:
    """The incident of that name, or the only one that is open."""
    open_ones: list[Incident] = site.incidents.open_ones()
    if name or len(open_ones) == 1:
        found: Incident = site.incidents.get(name or open_ones[0].id)
        return found
    raise UsageError(f"{counted(len(open_ones), 'incident')} are open: which one?" if open_ones else "no incident is open", hint="opsctl incident list names all")


def clocks_json(site: Site, found: Incident) -> list[dict[str, Any]]:
    return [_clock_json(one) for one in of_incident(site, found)]


def _overdue(site: Site, found: Incident) -> Sequence[Overdue]:
    return [Overdue(f"incident {found.id}: {one.duty} {due_words(site, one)}", where=f"{found.id}/{one.duty}",
                    hint=f"when it is done: opsctl incident met {found.id} {shlex.quote(one.duty)} --channel … --by WHO"
                         + (f"; why it was missed: opsctl incident missed {found.id} {shlex.quote(one.duty)}" if one.missed and not one.reason else ""))
            for one in of_incident(site, found) if one.state == "overdue"]


def _short(one: Incident) -> dict[str, Any]:
    return {"incident": one.id, "title": one.title, "drill": one.drill, "noticed_at": one.noticed.isoformat(), "in_charge": one.in_charge,
            "types": list(one.types), "closed": one.closed.isoformat() if one.closed else None}


def _clock_json(clock: Clock) -> dict[str, Any]:
    return {"duty": clock.duty, "obligation": clock.obligation, "recipient": clock.recipient, "force": clock.force, "state": clock.state,
            "since": clock.since.isoformat(), "due": clock.due.isoformat() if clock.due else None,
            "prompt": clock.prompt.isoformat() if clock.prompt else None, "missed": clock.missed,
            "met": {"at": clock.met.at.isoformat(), "by": clock.met.by, "channel": clock.met.channel, "reference": clock.met.reference,
                    "recorded_at": clock.met.recorded.isoformat()}
            if clock.met else None, "recorded_late": clock.recorded_late, "reason": clock.reason,
            "earlier": {"at": clock.earlier.at.isoformat(), "recorded_at": clock.earlier.recorded.isoformat()} if clock.earlier else None,
            "in_force_from": clock.in_force_from.isoformat() if clock.in_force_from else None}
