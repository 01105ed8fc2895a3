"""``opsctl paper``: services that go on on paper, the receipts given out for it, and what was entered held against them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from opsctl.cli.report import Report
from opsctl.cli.session import of

app = typer.Typer(help="Services that go on on paper: orders, receipts, and that nobody gets a wrong bill.", no_args_is_help=True)

Incidents = Annotated[str, typer.Option("--incident", metavar="ID", help="id of the incident; the open one, if there is only one")]
Order = Annotated[str, typer.Option("--order", metavar="ORDER", help="the order; the last one, if not given")]
By = Annotated[str, typer.Option("--by", metavar="WHO", help="who says so; you, if not given")]


@app.command("order")
def order(
    context: typer.Context,
    since: Annotated[str | None, typer.Option("--since", metavar="TIME", help="from when on, with the time zone: 2026-12-21T10:00+05:30")] = None,
    services: Annotated[list[str] | None, typer.Option(
        "--service", metavar="NAME", help="a service to the public; those of the incident's zones, if not given")] = None,
    bodies: Annotated[list[str] | None, typer.Option("--body", metavar="BODY", help="a municipal body; all, if not given")] = None,
    number: Annotated[str, typer.Option("--number", metavar="TEXT", help="the number that your office gives the order")] = "",
    until: Annotated[str, typer.Option("--until", metavar="DAY", help="the last day on paper, if one is set")] = "",
    extend: Annotated[list[str] | None, typer.Option(
        "--extend", metavar="SERVICE=DAY", help="to which day due dates of a service are moved; may be given again")] = None,
    which: Annotated[str, typer.Option("--order", metavar="ORDER", help="the order that this is the next version of; `new` for another")] = "",
    incident: Incidents = "",
    by: By = "",
) -> Report:
    """Draft the order to work on paper, in Hindi and English.

    As text, page and PDF beside the incident, a page for each body. What is not known is left blank; a person signs and sends it. What was
    said before stands until it is said anew.
    """
    from opsctl.cli.paper_order import give_order

    return give_order(of(context), incident, since, {
        "services": tuple(services or ()), "bodies": tuple(bodies or ()), "number": number, "until": until, "order": which}, extend or [], by=by)


@app.command("receipts")
def receipts(
    context: typer.Context,
    body: Annotated[str, typer.Argument(metavar="BODY", help="the body that gets receipts")] = "",
    series: Annotated[str, typer.Argument(metavar="SERIES", help="their series")] = "",
    numbers: Annotated[str, typer.Argument(metavar="FIRST-LAST", help="their numbers, such as 1-500")] = "",
    file: Annotated[Path | None, typer.Option("--from", metavar="FILE.csv", help="many at once: body, series, first, last")] = None,
    restored: Annotated[Path | None, typer.Option(
        "--restored", metavar="FILE.csv", help="the last receipts in the restored data: body, series, number, date")] = None,
    cut: Annotated[Path | None, typer.Option(
        "--cut", metavar="FILE.csv", help="the last receipts before the cut, as the bodies know them: body, series, number, date")] = None,
    room: Annotated[str, typer.Option("--room", metavar="ROOM", help="ask the database in this clean room for the last receipts")] = "",
    live: Annotated[bool, typer.Option("--restored-database", help="ask the database itself for them, once it is restored and in use")] = False,
    which: Order = "",
    incident: Incidents = "",
    by: By = "",
) -> Report:
    """Give out numbers, and learn the last receipts before the cut.

    Without numbers: who has which. A number that somebody has already is refused (23). The last receipts in the restored data and the
    last before the cut leave the window that is lost, which is entered again from counterfoils.
    """
    from opsctl.cli import paper_receipts

    return paper_receipts.receipts(of(context), incident, which, body, series, numbers, file, restored, cut, room, live, by=by)


@app.command("import")
def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", help="number, date and amount; body, series, service, payer, account, …")],
    body: Annotated[str, typer.Option("--body", metavar="BODY", help="whose receipts they are, where no column says so")] = "",
    which: Order = "",
    incident: Incidents = "",
    by: By = "",
) -> Report:
    """Take in what was typed in from paper, whole or not at all.

    The first line names the columns, in English or Hindi; `paper: {columns: …}` of the configuration knows more names. Amounts such as 1,23,456.50, days
    such as 21/12/2026. Every bad row is said at once. The same list twice adds nothing.
    """
    from opsctl.cli.paper_import import take_in

    return take_in(of(context), incident, which, file, body, by=by)


@app.command("reconcile")
def reconcile(
    context: typer.Context,
    body: Annotated[str, typer.Argument(metavar="BODY", help="one body; all, if not given")] = "",
    settle: Annotated[list[str] | None, typer.Option(
        "--settle", metavar="FINDING", help="its id, or `rest` or `unknown` for all of them; may be given again")] = None,
    listed: Annotated[Path | None, typer.Option(
        "--settle-from", metavar="FILE.csv", help="many at once: findings.csv with its last column filled in, or body, finding, note")] = None,
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="how it was settled, or with whom the balances were agreed")] = "",
    done: Annotated[bool, typer.Option("--done", help="record bodies with nothing open as reconciled")] = False,
    into: Annotated[Path | None, typer.Option("--csv", metavar="DIR", help="findings.csv and sums.csv go there; beside the incident, if not given")] = None,
    which: Order = "",
    incident: Incidents = "",
    by: By = "",
) -> Report:
    """Hold what was entered against what was given out.

    Gaps, doubles, numbers that nobody gave out, days outside the time on paper, receipts of the lost window. Exit 3 while something is open.
    Each is settled by a person with a note; `--done` records the bodies that are.
    """
    from opsctl.cli.paper_reconcile import reconcile as carry_out

    return carry_out(of(context), incident, which, body, settle or [], listed, note, done, into, by=by)


@app.command("bodies")
def bodies(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(metavar="FILE.csv", help="id, name, name_hi, counters, series")] = None,
) -> Report:
    """List the bodies, or take many in from a CSV file."""
    from opsctl.cli.paper_bodies import bodies as carry_out

    return carry_out(of(context), file)
