"""``opsctl report``: drafts for a named person to send."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.cli.session import of
from opsctl.errors import OpsError, UsageError
from opsctl.model.quantities import counted

if TYPE_CHECKING:
    from opsctl.model.incident import Incident
    from opsctl.reports.cert_in import Reporter
    from opsctl.wiring import Site

app = typer.Typer(help="Reports: opsctl drafts, a named person sends.", no_args_is_help=True)

Incidents = Annotated[str, typer.Option("--incident", metavar="ID", help="id of the incident; the open one, if there is only one")]


@app.command("draft")
def draft(
    context: typer.Context,
    which: Annotated[str, typer.Argument(metavar="WHICH", help="cert-in")],
    incident: Incidents = "",
    person: Annotated[str, typer.Option("--person", metavar="NAME", help="who reports: a name under `people`; who is in charge, if not given")] = "",
) -> Report:
    """Draft a report from what is known by now.

    As text (to be read out, too), JSON and a message that is ready to send, beside the incident. What is not known says
    so; nothing blocks a draft, and older ones are kept. `opsctl incident met` records that it was sent.
    """
    from opsctl.cli.incident_show import of_incident
    from opsctl.cli.work import open_site
    from opsctl.model.unknown import unknown
    from opsctl.protocols.cert_in import protocol
    from opsctl.reports import cert_in
    from opsctl.repositories.whole import write_whole

    if which != "cert-in":
        raise unknown("report", which, ["cert-in"])
    session = of(context)
    site = open_site(session)
    found = _incident(site, incident)
    known, zone, now = protocol(), site.config.organisation.tz, site.clock()
    reporter = _reporter(site, found, person)
    filled = cert_in.fill(found, reporter, known, zone, _hosts(site, found))
    clock = next((one for one in of_incident(site, found) if one.duty == "certin-initial-report"), None)
    text = cert_in.as_text(found, filled, clock, zone)
    folder = site.incidents.folder(found.id) / "reports"
    number, before = _last(folder, "cert-in")
    changes = cert_in.changed(before, filled) if number else []
    files = {".txt": text.encode(), ".json": json.dumps(cert_in.as_json(found, filled, now), indent=1, ensure_ascii=False).encode() + b"\n",
             ".eml": cert_in.as_mail(found, text, reporter, known, now)}
    paths = [folder / f"cert-in-{number + 1}{ending}" for ending in files]
    errors: list[OpsError] = []
    if not session.dry_run:
        for path, content in zip(paths, files.values(), strict=True):
            try:
                write_whole(path, content)
            except OpsError as error:  # it is shown all the same, and can be read out
                errors.append(error)
    missing = [one.field.label for one in filled if one.value is None and one.field.tool_minimum]
    doubts = [f"{one.field.label}: {one.doubt}" for one in filled if one.doubt]

    def write(out: Out) -> None:
        for line in text.splitlines():
            out.line(line)
        out.line()
        if number:
            out.line(Mark(f"since draft {number}: {', '.join(changes) or 'nothing'} changed", Tone.QUIET))
        if missing:
            out.line(Mark(f"not yet known, and asked for in a first report: {', '.join(missing)}: opsctl incident fill {found.id} FIELD=VALUE", Tone.WARN))
        if not session.dry_run and not errors:
            out.line(Mark(f"in {paths[0]}, .json and .eml; send it by {known.duties['certin-initial-report'].channel}", Tone.GOOD))
        out.line(f"when it was sent: opsctl incident met {found.id} certin-initial-report --channel e-mail --by WHO --reference NUMBER --file {paths[0]}")

    result: dict[str, Any] = {**cert_in.as_json(found, filled, now), "files": [str(path) for path in paths], "text": text, "changed": changes,
                              "missing": missing}
    return Report(result=result, text=write, errors=errors, exit_code=3 if errors else 0, warnings=[*doubts, *site.said])


@app.command("list")
def list_(context: typer.Context, incident: Incidents = "") -> Report:
    """The drafts of an incident, and what was sent."""
    from opsctl.cli.work import local_time, open_site

    site = open_site(of(context))
    found = _incident(site, incident)
    drafts = sorted((site.incidents.folder(found.id) / "reports").glob("*.txt"))

    def text(out: Out) -> None:
        for path in drafts:
            out.line(str(path))
        for met in found.met:
            out.line(Mark(f"{met.duty}: sent {local_time(site, met.at)} by {met.by}, {met.channel} {met.reference}".rstrip(), Tone.GOOD))
        if not drafts and not found.met:
            out.line(f"nothing was drafted yet: opsctl report draft cert-in --incident {found.id}")

    return Report(result={"incident": found.id, "drafts": [str(path) for path in drafts],
                          "sent": [{"duty": one.duty, "at": one.at.isoformat(), "by": one.by, "channel": one.channel, "reference": one.reference}
                                   for one in found.met]}, text=text, warnings=[*site.said])


def _incident(site: Site, name: str) -> Incident:
    if name:
        found: Incident = site.incidents.get(name)
        return found
    open_ones: list[Incident] = site.incidents.open_ones()
    if len(open_ones) != 1:
        raise UsageError(f"{counted(len(open_ones), 'incident')} {'is' if len(open_ones) == 1 else 'are'} open: which one?",
                         hint="--incident ID; opsctl incident list")
    return open_ones[0]


def _reporter(site: Site, found: Incident, person: str) -> Reporter:
    from opsctl.model.unknown import unknown
    from opsctl.reports.cert_in import Reporter

    people = site.config.people
    if person and person not in people:
        raise unknown("person", person, people)
    spec = people.get(person) or people.get(found.in_charge) or next((one for one in people.values() if one.name == found.in_charge), None)
    if spec is None:
        return Reporter(found.in_charge, site.config.organisation.name)
    return Reporter(", ".join([spec.name, *spec.roles]), site.config.organisation.name, spec.phone, spec.email)


def _hosts(site: Site, found: Incident) -> dict[str, str]:
    return {name: host.address for name, host in site.config.hosts.items() if host.zone in found.zones}


def _last(folder: Path, which: str) -> tuple[int, dict[str, Any]]:
    """Number and content of the last draft; 0 where there is none."""
    numbers = [int(rest) for path in folder.glob(f"{which}-*.json") if (rest := path.stem.removeprefix(f"{which}-")).isdigit()]
    if not numbers:
        return 0, {}
    try:
        return max(numbers), json.loads((folder / f"{which}-{max(numbers)}.json").read_text())
    except (OSError, ValueError):
        return max(numbers), {}
