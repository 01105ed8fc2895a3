"""What people add to an incident: each an entry of the journal, with its author."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.errors import DamagedData, SafetyRefusal, UsageError
from opsctl.model.incident import ANCHORED, CLOSED, CORRECTED, DECIDED, EXPLAINED, FILED, MET, ORDERED, STATED
from opsctl.model.moments import FIRST_YEAR, LAST_YEAR, in_zone, local

if TYPE_CHECKING:
    from opsctl.cli.session import Session
    from opsctl.model.clocks import Clock
    from opsctl.model.incident import Incident
    from opsctl.wiring import Site

NAMESPACE = "decide@opsctl"
_CLOCKS = {"became-aware": "became_aware_at", "money-moved": "money_moved_at", "complaint-filed": "complaint_filed_at",
           "reopen-requested": "reopen_requested_at"}
_AFTER_CLOSING = (MET, DECIDED, EXPLAINED)
"""What is written down of a closed incident as well: the clock of the lessons learned starts with its closing."""


def write(session: Session, name: str, kind: str, data: Mapping[str, Any], *, by: str = "", at: str = "") -> Report:
    """Add one entry to an open incident. ``at``: the key of ``data`` that gets the present moment."""
    from opsctl.cli.work import open_site

    return write_entry(session, open_site(session), name, kind, data, by=by, at=at)


def write_entry(session: Session, site: Site, name: str, kind: str, data: Mapping[str, Any], *, by: str = "", at: str = "",
                check: Callable[[Incident], None] | None = None) -> Report:
    """``check``: what speaks against the entry, asked again while nobody else writes."""
    from opsctl.cli.incident_show import clocks_json, write_clocks
    from opsctl.cli.work import who

    _find(site, name, kind)
    said = {"incident": name, **data, "by": by or who(), **({at: site.clock().isoformat()} if at else {})}
    if not session.dry_run:
        site.incidents.write(kind, said, check=lambda found: _still(found, kind, check))
    found = site.incidents.get(name)

    def text(out: Out) -> None:
        if session.dry_run:
            out.line(f"would write into {name}: {kind.partition('.')[2]}")
            return
        out.line(Mark(f"{name}: {in_zone(found.timeline[-1].text, site.config.organisation.tz)}", Tone.GOOD))
        if kind not in ("incident.noted", "incident.stated", "incident.filed"):
            write_clocks(out, site, found)

    return Report(result={"incident": name, "entry": said, "clocks": clocks_json(site, found)}, text=text, warnings=[*site.said])


def _find(site: Site, name: str, kind: str) -> Incident:
    found: Incident = site.incidents.get(name) if kind in _AFTER_CLOSING else site.incidents.require_open(name)
    return found


def _still(found: Incident, kind: str, check: Callable[[Incident], None] | None) -> None:
    """Somebody may have closed it, or written the same, since it was looked at."""
    from opsctl.engine.incidents import refuse_closed

    if kind not in _AFTER_CLOSING:
        refuse_closed(found)
    if check is not None:
        check(found)


def correct(session: Session, name: str, why: str, values: Mapping[str, Any], *, noticed_by: str, by: str) -> Report:
    """One entry for each thing that is corrected."""
    from opsctl.actions.incident import doubts
    from opsctl.cli.incident_open import moment
    from opsctl.cli.work import open_site
    from opsctl.model.unknown import unknown

    given = {key: value for key, value in values.items() if value}
    if not given:
        raise UsageError("what is to be corrected?", hint="--noticed-at, --type, --zone or --in-charge")
    site = open_site(session)
    for zone in given.get("zones", ()):
        if zone not in site.config.zones:
            raise unknown("zone", zone, site.config.zones)
    report = None
    for what, value in given.items():
        if what == "noticed_at":
            value = moment(session, site, value, "", "--noticed-at").isoformat()
        if what == "types":
            site.notes += doubts(value, site.clock(), site.clock())
        who = {"noticed_by": noticed_by} if what == "noticed_at" and noticed_by else {}
        report = write_entry(session, site, name, CORRECTED, {"what": what, "value": value, "why": why, **who}, by=by)
    assert report is not None
    return report


def start_clock(session: Session, name: str, what: str, why: str, at: str | None, *, by: str) -> Report:
    from opsctl.cli.incident_open import moment
    from opsctl.cli.work import open_site
    from opsctl.model.unknown import unknown

    if what not in _CLOCKS:
        raise unknown("clock", what, _CLOCKS)
    site = open_site(session)
    found = moment(session, site, at, "when was that?", "--at")
    why = why or session.ask("by what is it known?", option="--why TEXT")
    return write_entry(session, site, name, ANCHORED, {"anchor": _CLOCKS[what], "at": found.isoformat(), "why": why}, by=by)


def order(session: Session, name: str, ident: str, text: str, received: str | None, due: str | None, *, by: str) -> Report:
    from datetime import datetime

    from opsctl.cli.incident_open import moment
    from opsctl.cli.work import open_site

    site = open_site(session)

    def check(found: Incident) -> None:
        if any(one.id == ident for one in found.orders):
            raise SafetyRefusal(f"{name} has an order {ident} already", hint=f"opsctl incident show {name}")

    check(site.incidents.require_open(name))
    came = moment(session, site, received, "when did it come?", "--received-at")
    until = None
    if due:
        try:
            until = datetime.fromisoformat(due)
        except ValueError as error:
            raise UsageError(f"--due-at {due} is no moment", hint="write it as 2026-12-21T18:00+05:30") from error
        if until.tzinfo is None:
            raise UsageError(f"--due-at {due} has no time zone", hint=f"{due}+05:30 is in IST")
        if not FIRST_YEAR <= until.year <= LAST_YEAR:
            raise UsageError(f"--due-at {due} lies in the year {until.year}", hint="write it as 2026-12-21T18:00+05:30")
    return write_entry(session, site, name, ORDERED, {"order": ident, "text": text, "received_at": came.isoformat(),
                                                "due_at": until.isoformat() if until else None}, by=by, check=check)


def met(session: Session, name: str, duty: str, channel: str, by: str, at: str | None, reference: str, files: Sequence[Path]) -> Report:
    from opsctl.cli.incident_open import moment
    from opsctl.cli.work import open_site

    site = open_site(session)
    _refuse_unknown(site, name, duty)
    when = moment(session, site, at, "", "--at") if at else site.clock().replace(microsecond=0)
    return record_met(session, site, name, duty, {"channel": channel, "at": when.isoformat(), "reference": reference,
                                                  "files": [_hashed(path) for path in files]}, by=by)


def record_met(session: Session, site: Site, name: str, duty: str, data: Mapping[str, Any], *, by: str) -> Report:
    """A duty was done. Where that was late and nobody has said why, the reason is asked for; it holds nothing up."""
    report = write_entry(session, site, name, MET, {"duty": duty, **data}, by=by)
    clock = _clock(site, name, duty)
    if clock is not None and clock.met is not None and clock.met.at < clock.since:
        early = f"{duty} is written down as done {local(clock.met.at, site.config.organisation.tz)}, before its clock began: was that --at meant?"
        report = replace(report, warnings=[*report.warnings, early])
    if clock is not None and clock.recorded_late:
        after = f"{duty} was due before now: that it was done in time is recorded with the time of this entry beside it, in every report"
        return replace(report, warnings=[*report.warnings, after])
    if clock is None or not clock.missed or clock.reason:
        return report
    if session.interactive and not session.dry_run and not session.json:
        reason = session.ask(f"{duty} was done late: why?", option=f"opsctl incident missed {name} {shlex.quote(duty)}")
        return write_entry(session, site, name, EXPLAINED, {"duty": duty, "reason": reason}, by=by)
    asked = f"{duty} was late, and the reason goes into the reports: opsctl incident missed {name} {shlex.quote(duty)} --reason TEXT"
    return replace(report, warnings=[*report.warnings, asked])


def decide(session: Session, name: str, duty: str, reason: str, by: str, key: Path | None) -> Report:
    """Signed over incident, duty, reason, author and time, so that nobody can put it into another mouth."""
    from opsctl.cli.signing import sign_as
    from opsctl.cli.work import open_site
    from opsctl.model.records import canonical

    site = open_site(session)
    _refuse_unknown(site, name, duty)
    said = {"format": "opsctl-decide/1", "incident": name, "duty": duty, "reason": reason, "by": by, "time": site.clock().isoformat()}
    signature, signer = sign_as(site, by, key, canonical(said), NAMESPACE)
    return write_entry(session, site, name, DECIDED, {"duty": duty, "reason": reason, "statement": said, "signature": signature, "key": signer}, by=by)


def state(session: Session, name: str, subject: str, text: str, basis: str, by: str) -> Report:
    """What was not given is asked for: a statement without its basis or its author is none."""
    text = text or session.ask(f"what is stated on {subject}?", option="--says TEXT")
    basis = basis or session.ask("on what does it rest?", option="--basis TEXT")
    by = by or session.ask("whose statement is it?", option="--by WHO")
    return write(session, name, STATED, {"subject": subject, "text": text, "basis": basis}, by=by, at="at")


def missed(session: Session, name: str, duty: str, reason: str, *, by: str) -> Report:
    """The reason is asked for where it was not given."""
    from opsctl.cli.work import open_site

    site = open_site(session)
    _refuse_unknown(site, name, duty)
    clock = _clock(site, name, duty)
    if clock is not None and not clock.missed and not clock.recorded_late:
        raise SafetyRefusal(f"{duty} was not missed: it is {clock.state}", where=name, hint=f"opsctl incident show {name}")
    reason = reason or session.ask(f"why was {duty} missed?", option="--reason")
    return write_entry(session, site, name, EXPLAINED, {"duty": duty, "reason": reason}, by=by)


def fill(session: Session, name: str, values: Sequence[str], *, by: str) -> Report:
    """Fields of reports; a value that a form does not know is taken, and told with the nearest that it does."""
    from opsctl.cli.work import open_site
    from opsctl.model.fields import meant
    from opsctl.protocols.report_fields import fillable
    from opsctl.reports.doubts import doubt

    site = open_site(session)
    known = fillable()
    given = {}
    for one in values:
        key, sign, value = one.partition("=")
        if not sign:
            raise UsageError(f"{one} is no FIELD=VALUE", hint="operating_system='Debian 12'; opsctl report fields")
        if key not in known:
            raise UsageError(f"no report has a field {key}{meant(key, known)}", hint="opsctl report fields")
        if odd := doubt(known[key], value):
            site.notes.append(f"{key}: {odd}; it is written down as it is")
        given[key] = value
    return write_entry(session, site, name, FILED, {"fields": given}, by=by)


def close(session: Session, name: str, note: str, *, by: str) -> Report:
    """Refused while something is open, all of it named."""
    from opsctl.cli.incident_show import of_incident
    from opsctl.cli.work import open_site

    site = open_site(session)

    def check(found: Incident) -> None:
        _refuse_open(site, found)

    found = site.incidents.require_open(name)
    check(found)
    site.notes += [f"{one.duty} was missed, and nobody said why: opsctl incident missed {name} {one.duty}" for one in of_incident(site, found)
                   if one.missed and not one.reason]
    made = write_entry(session, site, name, CLOSED, {"note": note}, by=by, check=check)
    from opsctl.cli import freezing

    frozen = [repository for repository, freezes in freezing.frozen(site).items() if any(one["incident"] == name for one in freezes)]

    def text(out: Out) -> None:
        if made.text is not None:
            made.text(out)
        if frozen:
            out.line(f"retention stays frozen in {', '.join(frozen)}, until two have signed: opsctl backup thaw --incident {name}")
        out.line(f"all of it in one folder, to be handed over: opsctl incident export {name} DIR")

    return replace(made, text=text)


def _refuse_open(site: Site, found: Incident) -> None:
    """SafetyRefusal with everything that is open."""
    from opsctl.cli.incident_show import due_words, of_incident
    from opsctl.model.incident_ends import open_ends

    left = [f"{one.duty} ({due_words(site, one)})" for one in of_incident(site, found) if not one.ended]
    left += [f"{duty} (the decision that it does not apply is {why})" for duty, why in _forged(site, found)]
    ends = open_ends(found)
    if left or ends:
        hints = ["record what was done with `opsctl incident met`, or a signed decision with `opsctl incident decide`"] if left else []
        raise SafetyRefusal(f"incident {found.id} stays open: " + "; ".join([*left, *(one.what for one in ends)]), where=found.id,
                            hint="; ".join(dict.fromkeys([*hints, *(f"`{one.how}`" for one in ends)])))


def _forged(site: Site, found: Incident) -> Iterator[tuple[str, str]]:
    """Duties that a decision ended which nobody of the configuration has signed as it stands, and what is wrong with it."""
    from opsctl.model.records import canonical

    last = {line.data.get("duty"): line for line in site.incidents.lines(found.id) if line.type == DECIDED}
    for line in last.values():
        said, person = line.data.get("statement") or {}, site.config.people.get(str(line.data.get("by")))
        told = {"incident": found.id, "duty": line.data.get("duty"), "reason": line.data.get("reason"), "by": line.data.get("by")}
        if person is None or person.ssh_key is None:
            yield str(told["duty"]), f"by {told['by']}, who has no key under `people`"
            continue
        try:
            signer = site.signatures.check(canonical(said), str(line.data.get("signature")), NAMESPACE)
        except DamagedData as error:
            yield str(told["duty"]), error.message
        else:
            if signer != site.fingerprint(person.ssh_key) or any(said.get(key) != value for key, value in told.items()):
                yield str(told["duty"]), f"not what {told['by']} signed"


def _clock(site: Site, name: str, duty: str) -> Clock | None:
    from opsctl.cli.incident_show import of_incident

    return next((one for one in of_incident(site, site.incidents.get(name)) if one.duty == duty), None)


def _refuse_unknown(site: Site, name: str, duty: str) -> None:
    from opsctl.cli.incident_show import of_incident
    from opsctl.model.unknown import unknown
    from opsctl.protocols.cert_in import protocol

    known = [one.duty for one in of_incident(site, site.incidents.get(name))]
    if duty not in known and duty not in protocol().duties:
        raise unknown("duty", duty, known, hint=f"opsctl incident show {name}")


def _hashed(path: Path) -> dict[str, Any]:
    from opsctl.repositories.papers import copy_hashed

    with open(os.devnull, "wb") as nowhere:
        sha256, size = copy_hashed(path, nowhere)
    return {"name": path.name, "sha256": sha256, "bytes": size}
