"""``opsctl evidence``: what hosts show of an attack, collected, sealed, verified, handed over."""

from __future__ import annotations

from typing import Annotated

import typer

from opsctl.cli.report import Report
from opsctl.cli.session import of

app = typer.Typer(help="Evidence of an attack: collected, hashed, sealed, in custody.", no_args_is_help=True)

IncidentOf = Annotated[str, typer.Option("--incident", metavar="ID", help="id of the incident; the open one, if there is only one")]


@app.command("collect")
def collect(
    context: typer.Context,
    hosts: Annotated[list[str] | None, typer.Argument(metavar="HOST", help="configured hosts; localhost: this machine")] = None,
    zone: Annotated[list[str] | None, typer.Option("--zone", metavar="ZONE", help="the hosts of this zone; may be given again")] = None,
    profile: Annotated[str, typer.Option("--profile", metavar="NAME", help="volatile, full, or one of the configuration")] = "volatile",
    window: Annotated[str, typer.Option("--window", metavar="DURATION", help="how far back logs are taken, such as 7d")] = "",
    since: Annotated[str, typer.Option("--since", metavar="MOMENT", help="in place of it: from then on, 2026-12-18T00:00+05:30")] = "",
    file: Annotated[list[str] | None, typer.Option(
        "--file", metavar="PATTERN", help="a file, folder or pattern besides, in quotes, whole; may be given again")] = None,
    incident: IncidentOf = "",
) -> Report:
    """Collect what hosts show of an attack, the most fleeting first.

    One bag for each host, beside the incident: every file hashed as it arrives, with a custody record, sealed by this
    controller's key. Nothing is written on the host. Exit 3 where something failed or was cut off by a limit.
    """
    from opsctl.cli.evidence_collect import collect as carry_out

    return carry_out(of(context), hosts or [], zone or [], {"what": profile, "incident": incident, "window": window, "since": since,
                                                          "files": file or []})


@app.command("list")
def list_(context: typer.Context, incident: IncidentOf = "") -> Report:
    """The bags of an incident, half ones too.

    How many items of each ended how, whether it is sealed, and who has it.
    """
    from opsctl.cli.evidence_show import listing

    return listing(of(context), incident)


@app.command("verify")
def verify(
    context: typer.Context,
    bags: Annotated[list[str] | None, typer.Argument(metavar="BAG", help="names of bags; all of the incident, if none is given")] = None,
    incident: IncidentOf = "",
) -> Report:
    """Find whatever was changed since the bags were sealed.

    Every file is read and held against the lists, the seal, the custody record and the journal; whatever is changed, missing, added or renamed is named (22).
    """
    from opsctl.cli.evidence_show import verify as look

    return look(of(context), incident, bags or [])


@app.command("hand")
def hand(
    context: typer.Context,
    bag: Annotated[str, typer.Argument(metavar="BAG", help="name of the bag")],
    to: Annotated[str, typer.Option("--to", metavar="WHO", help="who has it from now on")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="why it is handed over")],
    by: Annotated[str, typer.Option("--by", metavar="WHO", help="who hands it over; you, if not given")] = "",
    incident: IncidentOf = "",
) -> Report:
    """Write down that a bag goes to somebody else.

    Every file is read and hashed again first; a bag that is not as it was sealed is not handed over (22). The entry is
    signed, and stands in the bag and in the incident.
    """
    from opsctl.cli.evidence_keep import hand as carry_out

    return carry_out(of(context), incident, bag, to, reason, by)


@app.command("certificate")
def certificate(
    context: typer.Context,
    bags: Annotated[list[str] | None, typer.Argument(metavar="BAG", help="names of bags; every whole one of the incident, if none is given")] = None,
    incident: IncidentOf = "",
) -> Report:
    """Pre-fill the certificate that goes with evidence to a court.

    Parts A and B of the form of BSA section 63: facts of the device and hashes only; every statement, tick and signature is
    left to those who sign. With the hash report, as text, page, PDF and JSON beside the incident.
    """
    from opsctl.cli.evidence_keep import certificate as draft

    return draft(of(context), incident, bags or [])
