"""``opsctl report``: drafts for a named person to send."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from opsctl.cli.report import Report
from opsctl.cli.session import of

app = typer.Typer(help="Reports: opsctl drafts, a named person sends.", no_args_is_help=True)

Incidents = Annotated[str, typer.Option("--incident", metavar="ID", help="id of the incident; the open one, if there is only one")]
WHICH = "cert-in, supplementary, police, dpdp-board, dpdp-person, nciipc, nic-cert, or closing"


@app.command("draft")
def draft(
    context: typer.Context,
    which: Annotated[str, typer.Argument(metavar="WHICH", help=WHICH)],
    incident: Incidents = "",
    person: Annotated[str, typer.Option("--person", metavar="NAME", help="who reports: a name under `people`; who is in charge, if not given")] = "",
    language: Annotated[str, typer.Option("--lang", metavar="LANGUAGE", help="en, hi, or both; those of the organisation, if not given")] = "",
) -> Report:
    """Draft a report from what is known by now.

    As text (to be read out, too), page, PDF, JSON and a message that is ready to send, beside the incident. What is not
    known says so; nothing blocks a draft, and older ones are kept. `opsctl report sent` records that it was sent.
    """
    from opsctl.cli.report_draft import draft as carry_out

    return carry_out(of(context), which, incident, person, language)


@app.command("sent")
def sent(
    context: typer.Context,
    which: Annotated[str, typer.Argument(metavar="WHICH|DUTY", help="the report, as in `report draft`; or the duty, as in `incident show`")],
    channel: Annotated[str, typer.Option("--channel", metavar="HOW", help="email, phone, fax, post, or portal")],
    by: Annotated[str, typer.Option("--by", metavar="WHO", help="who sent it")],
    incident: Incidents = "",
    at: Annotated[str | None, typer.Option("--at", metavar="TIME", help="when, with the time zone: 2026-12-21T07:10+05:30; now, if not given")] = None,
    reference: Annotated[str, typer.Option("--reference", metavar="TEXT", help="the number that was given for it")] = "",
    number: Annotated[int, typer.Option("--draft", metavar="NUMBER", help="which draft; the last, if not given", min=0)] = 0,
    files: Annotated[list[Path] | None, typer.Option("--file", metavar="FILE", help="what went with it; may be given again")] = None,
    late: Annotated[str, typer.Option("--late-reason", metavar="TEXT", help="why it was late, if it was")] = "",
) -> Report:
    """Record that a person has sent a report.

    When, by which channel, with which reference: its duty ends with that, as with `opsctl incident met`. The draft and
    the files that went with it are copied beside the incident, with their hashes in the journal.
    """
    from opsctl.cli.report_sent import sent as carry_out

    return carry_out(of(context), which, incident, channel=channel, by=by, at=at, reference=reference, number=number, files=files or [], late=late)


@app.command("list")
def list_(context: typer.Context, incident: Incidents = "") -> Report:
    """The drafts of an incident, and what was sent. Exit 22 where a draft was changed since."""
    from opsctl.cli.report_list import list_reports

    return list_reports(of(context), incident)


@app.command("fields")
def fields(
    context: typer.Context,
    which: Annotated[str, typer.Argument(metavar="[WHICH]", help=f"{WHICH}; all, if not given")] = "",
) -> Report:
    """The fields of reports, as `opsctl incident fill` takes them."""
    from opsctl.cli.report_list import list_fields

    return list_fields(of(context), which)
