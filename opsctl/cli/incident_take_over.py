"""``opsctl incident take-over``: which incident, from where, and what it came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.errors import OpsError, SafetyRefusal, UsageError
from opsctl.model.quantities import counted

if TYPE_CHECKING:
    from opsctl.cli.session import Session
    from opsctl.cli.work import Given
    from opsctl.engine.runs import Tally
    from opsctl.model.plan import BoundPlan
    from opsctl.wiring import Site


def take_over(session: Session, name: str, source: Sequence[str], given: Given | None, trust: Sequence[str]) -> Report:
    """Find the incident where none was named, take it over, and show its clocks and what is lost."""
    from opsctl.cli.backup import known
    from opsctl.cli.work import carry_out, open_site

    site = open_site(session, trust=trust, given=given)
    chosen = known(source, site.config.repositories, "repository") if source else [
        one for one in site.config.repositories if not site.history(one).is_away()]
    incident = name or _only(site, chosen)

    def text(out: Out, tally: Tally, plan: BoundPlan) -> None:
        _write(out, site, tally, incident)

    def result(tally: Tally) -> Mapping[str, Any]:
        from opsctl.cli.incident_show import clocks_json

        found = site.incidents.all().get(incident)
        return {"incident": incident, **(tally.results[0].result if tally.results else {}), "clocks": clocks_json(site, found) if found else []}

    return carry_out(session, site, "incident-take-over", {"incident": incident, "repositories": chosen}, subject="incident", text=text, result=result)


def _only(site: Site, repositories: Sequence[str]) -> str:
    """The only incident that is kept there and not closed here."""
    found: dict[str, None] = {}
    trouble = []
    for name in repositories:
        try:
            found |= dict.fromkeys(one.record["incident"] for one in site.history(name).look(site.clock()).kept)
        except OpsError as error:
            trouble.append(f"{name}: {error.message}")
    here = site.incidents.all()
    left = [one for one in found if one not in here or here[one].closed is None]
    if len(left) == 1:
        return left[0]
    if left:
        raise UsageError(f"which incident? {', '.join(left)} are kept there", hint=f"opsctl incident take-over {left[-1]}")
    raise SafetyRefusal("no repository that can be asked keeps an open incident" + (f"; {'; '.join(trouble)}" if trouble else ""),
                        hint="opsctl incident open")


def _write(out: Out, site: Site, tally: Tally, incident: str) -> None:
    from opsctl.cli.incident_show import both, write_clocks
    from opsctl.model.snapshots import parse_time

    found = site.incidents.all().get(incident)
    for one in tally.results:
        if found is None or not one.result:
            continue
        done = "is led here already" if one.outcome == "ok" else "was taken over"
        out.line(Mark(f"{'DRILL: ' if found.drill else ''}incident {incident} {done}: {found.title}; in charge: {found.in_charge}", Tone.GOOD))
        out.line(f"{counted(one.result['entries'], 'entry', 'entries')} and {counted(one.result['files'], 'file')}, last kept "
                 f"{both(site, parse_time(one.result['until']))}, signed by {', '.join(one.result['signed_by'])}")
        write_clocks(out, site, found)
        if one.outcome != "ok":
            out.lines([Mark(f"lost: {said}", Tone.WARN) for said in one.result["lost"]])
            out.lines([f"take its key for good, so that its seals of evidence count here too: opsctl backup init --trust {key}" for key in site.trust
                       if key in one.result["signed_by"] and site.config.directory is not None])
            out.line(f"next: write down what people remember since: opsctl incident note {incident} TEXT; then opsctl incident show {incident}")
