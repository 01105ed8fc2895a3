"""``opsctl incident open``: asking for what only people know, and carrying it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from opsctl.cli import render
from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.errors import UsageError, worst
from opsctl.model.safe_text import shown

if TYPE_CHECKING:
    from opsctl.cli.session import Session
    from opsctl.engine.runs import Tally
    from opsctl.model.plan import BoundPlan
    from opsctl.wiring import Site

_ASKED = (("title", "what is it about, in a line?", "--title"), ("noticed_by", "who noticed it, or was told?", "--noticed-by"),
          ("signal", "what did they notice it by?", "--signal"), ("in_charge", "who is in charge?", "--in-charge"))


def open_incident(session: Session, name: str, said: Mapping[str, Any]) -> Report:
    """Ask for what is missing, bind the playbook, carry it out, and show what is due first."""
    from opsctl.cli.work import carry_out, open_site

    site = open_site(session)
    _refuse_unknown(site, said)
    values = dict(said)
    values["noticed_at"] = moment(session, site, said["noticed_at"], "when did anyone first notice, or was told?", "--noticed-at").isoformat()
    for key, question, option in _ASKED:
        values[key] = said[key] or session.ask(question, option=option)
    incident = name or site.incidents.new_id()
    inputs = {**values, "incident": incident, "repositories": _reachable(site)}

    def text(out: Out, tally: Tally, plan: BoundPlan) -> None:
        _write(out, site, tally, incident)

    def result(tally: Tally) -> Mapping[str, Any]:
        from opsctl.cli.incident_show import clocks_json

        found = site.incidents.all().get(incident)
        return {"incident": incident, "clocks": clocks_json(site, found) if found is not None else [],
                "frozen": [one.item for one in tally.results if one.step == "freeze" and one.outcome in ("ok", "changed")]}

    report = carry_out(session, site, "incident-open", inputs, subject="incident", text=text, result=result)
    # It is open, whatever did not answer.
    return replace(report, exit_code=worst([0, report.code])) if report.code and incident in site.incidents.all() and site.written else report


def moment(session: Session, site: Site, said: str | None, question: str, option: str) -> datetime:
    """A moment of the past with its time zone; asked again, with the reading in both zones, until it is one.

    UsageError where it is none and nobody can be asked, Waiting where none was given.
    """
    from opsctl.actions.incident import reading
    from opsctl.model.moments import FIRST_YEAR

    while True:
        text = said or session.ask(f"{question} (with the time zone: 2026-12-21T02:30+05:30)", option=option)
        try:
            found = datetime.fromisoformat(text.strip())
            problem, hint = ("has no time zone", f"{text.strip()}+05:30 is in IST; {text.strip()}Z in UTC") if found.tzinfo is None else ("", "")
            if not problem and found.year < FIRST_YEAR:
                problem, hint = f"lies in the year {found.year}", "write it as 2026-12-21T02:30+05:30"
            if not problem and found > site.clock():
                problem, hint = "lies in the future", reading(found, site.config.organisation.tz)
        except ValueError:
            problem, hint = "is no moment", "write it as 2026-12-21T02:30+05:30"
        if not problem:
            if said is None and session.interactive:
                render.complain(shown(reading(found, site.config.organisation.tz)))
            return found
        if not session.interactive:
            raise UsageError(f"{option} {text} {problem}", hint=hint)
        render.complain(shown(f"{text} {problem}: {hint}"))
        said, question = None, question or f"{option}: when?"


def _refuse_unknown(site: Site, said: Mapping[str, Any]) -> None:
    """Zones that the configuration does not have are a mistake."""
    from opsctl.model.unknown import unknown

    for zone in said["zones"]:
        if zone not in site.config.zones:
            raise unknown("zone", zone, site.config.zones, hint="an incident can be opened without --zone")


def _reachable(site: Site) -> list[str]:
    """The repositories that are here; a disk that is away is frozen with its backup's own repository."""
    return [name for name in site.config.repositories if not site.history(name).is_away()]


def _write(out: Out, site: Site, tally: Tally, incident: str) -> None:
    from opsctl.cli.incident_show import write_clocks
    from opsctl.engine.spool import Spoken

    for one in tally.results:
        if one.step == "declare" and one.outcome in ("ok", "changed"):
            found = site.incidents.get(incident)
            out.line(Mark(f"{'DRILL: ' if found.drill else ''}incident {incident} is open: {found.title}; in charge: {found.in_charge}", Tone.GOOD))
            write_clocks(out, site, found)
        elif one.step == "freeze" and one.outcome not in ("ok", "changed"):
            out.line(Mark(f"retention of {one.item} is NOT frozen: {one.because}; once that is mended: opsctl backup freeze {one.item} --incident {incident}", Tone.BAD))
    frozen = [str(one.item) for one in tally.results if one.step == "freeze" and one.outcome in ("ok", "changed")]
    if frozen:
        out.line(f"nothing is pruned any more from {', '.join(frozen)}")
    if site.config.notify is None:
        out.line(Mark("nobody else was told: the configuration names nobody under `notify`", Tone.WARN))
    if isinstance(site.journal, Spoken):  # no later command will know of it
        for line in site.reports.draft("cert-in", incident, by="", dry=True).draft.text.splitlines():
            out.line(line)
        return
    out.line(f"next: opsctl report draft cert-in --incident {incident}; opsctl isolate apply --zone ZONE --incident {incident}")
