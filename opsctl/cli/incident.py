"""``opsctl incident``: what happened, who is in charge, and which duty is due when."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opsctl.cli import places
from opsctl.cli.report import Report
from opsctl.cli.session import of

if TYPE_CHECKING:
    from opsctl.cli.work import Given

app = typer.Typer(help="What happened, who is in charge, and which duty is due when.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="id of the incident")]
By = Annotated[str, typer.Option("--by", metavar="WHO", help="who says so; you, if not given")]
Signer = Annotated[str, typer.Option("--by", metavar="NAME", help="who decides: a name under `people`, who signs it")]
Key = Annotated[Path | None, typer.Option("--key", metavar="FILE", help="their SSH private key, or the .pub of one that an agent holds")]
At = Annotated[str | None, typer.Option("--at", metavar="TIME", help="when, with the time zone: 2026-12-21T02:30+05:30")]


@app.command("open")
def open_(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="[ID]", help="its id; one is made if not given")] = "",
    title: Annotated[str | None, typer.Option("--title", metavar="TEXT", help="what it is about, in a line")] = None,
    noticed: Annotated[str | None, typer.Option(
        "--noticed-at", metavar="TIME", help="when anyone first noticed, or was told, with the time zone: 2026-12-21T02:30+05:30")] = None,
    noticed_by: Annotated[str | None, typer.Option("--noticed-by", metavar="WHO", help="who that was")] = None,
    signal: Annotated[str | None, typer.Option("--signal", metavar="TEXT", help="what they noticed it by")] = None,
    in_charge: Annotated[str | None, typer.Option("--in-charge", metavar="WHO", help="the one person in charge")] = None,
    types: Annotated[list[str] | None, typer.Option(
        "--type", metavar="TYPE", help="suspected type (`incident types`); may be given again, and corrected later")] = None,
    zones: Annotated[list[str] | None, typer.Option("--zone", metavar="ZONE", help="a zone that is hit; may be given again")] = None,
    drill: Annotated[bool, typer.Option("--drill", help="an exercise: every page of it says so")] = False,
) -> Report:
    """Open an incident: start the clocks, freeze retention.

    The clock starts at the first notice, not when it is opened: it is asked for, and never guessed. Retention is frozen in
    every repository that can be reached. Nothing of this waits for anything technical.
    """
    from opsctl.cli.incident_open import open_incident

    return open_incident(of(context), name, {
        "title": title, "noticed_at": noticed, "noticed_by": noticed_by, "signal": signal, "in_charge": in_charge,
        "types": types or [], "zones": zones or [], "nature": "drill" if drill else "real"})


@app.command("list")
def list_(context: typer.Context) -> Report:
    """The incidents, and what is due next for each. Exit 5 where a duty is overdue."""
    from opsctl.cli.incident_show import list_incidents

    return list_incidents(of(context))


@app.command("show")
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="[ID]", help="id of the incident; the open one, if there is only one")] = "",
    every: Annotated[bool, typer.Option("--all", help="the whole timeline, not only its newest entries")] = False,
) -> Report:
    """One incident: its clocks, orders, and timeline. Exit 5 where a duty is overdue."""
    from opsctl.cli.incident_show import show_incident

    return show_incident(of(context), name, every=every)


@app.command("types")
def types(context: typer.Context) -> Report:
    """The types of incident that have to be reported."""
    from opsctl.cli.incident_show import list_types

    return list_types(of(context))


@app.command("note")
def note(
    context: typer.Context,
    name: Id,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="what happened, or was done")],
    by: By = "",
) -> Report:
    """Write something into the timeline."""
    from opsctl.cli import incident_write
    from opsctl.model.incident import NOTED

    return incident_write.write(of(context), name, NOTED, {"text": text}, by=by)


@app.command("correct")
def correct(
    context: typer.Context,
    name: Id,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="what this is known by now")],
    noticed: Annotated[str | None, typer.Option("--noticed-at", metavar="TIME", help="an earlier first notice; the clock moves to it")] = None,
    noticed_by: Annotated[str, typer.Option("--noticed-by", metavar="WHO", help="who noticed it then; whoever says so, if not given")] = "",
    types: Annotated[list[str] | None, typer.Option("--type", metavar="TYPE", help="all types, from now on; may be given again")] = None,
    zones: Annotated[list[str] | None, typer.Option("--zone", metavar="ZONE", help="all zones that are hit; may be given again")] = None,
    in_charge: Annotated[str | None, typer.Option("--in-charge", metavar="WHO", help="who is in charge from now on")] = None,
    by: By = "",
) -> Report:
    """Correct what was written down; both stay on record.

    No clock is ever reset: an earlier notice moves them, a later one is kept and changes nothing.
    """
    from opsctl.cli.incident_write import correct as carry_out

    return carry_out(of(context), name, why, {"noticed_at": noticed, "types": types, "zones": zones, "in_charge": in_charge},
                     noticed_by=noticed_by, by=by)


@app.command("clock")
def clock(
    context: typer.Context,
    name: Id,
    anchor: Annotated[str, typer.Argument(metavar="WHAT", help="became-aware, money-moved, complaint-filed, or reopen-requested")],
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="what it is known by; asked for if not given")] = "",
    at: At = None,
    by: By = "",
) -> Report:
    """Start another clock, from its own moment.

    `became-aware`: that personal data is concerned; `money-moved`: a fraudulent transfer was found; `complaint-filed`: with the
    police, electronically; `reopen-requested`: it was decided to put the application back on a public network.
    """
    from opsctl.cli.incident_write import start_clock

    return start_clock(of(context), name, anchor, why, at, by=by)


@app.command("order")
def order(
    context: typer.Context,
    name: Id,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="what CERT-In orders, in its words")],
    ident: Annotated[str, typer.Option("--order", metavar="NUMBER", help="its number or reference")],
    received: Annotated[str | None, typer.Option("--received-at", metavar="TIME", help="when it came, with the time zone")] = None,
    due: Annotated[str | None, typer.Option("--due-at", metavar="TIME", help="until when it asks for an answer, if it says so")] = None,
    by: By = "",
) -> Report:
    """Take in an order of CERT-In, which gets a clock of its own."""
    from opsctl.cli.incident_write import order as carry_out

    return carry_out(of(context), name, ident, text, received, due, by=by)


@app.command("met")
def met(
    context: typer.Context,
    name: Id,
    duty: Annotated[str, typer.Argument(metavar="DUTY", help="what was done: an id from `incident show`")],
    channel: Annotated[str, typer.Option("--channel", metavar="TEXT", help="how: e-mail, telephone, in person")],
    by: Annotated[str, typer.Option("--by", metavar="WHO", help="who did it")],
    at: At = None,
    reference: Annotated[str, typer.Option("--reference", metavar="TEXT", help="the number that was given for it")] = "",
    files: Annotated[list[Path] | None, typer.Option("--file", metavar="FILE", help="what went with it; may be given again")] = None,
) -> Report:
    """Record that a duty was done: when, by whom, on which channel.

    Only this ends a duty, or a decision. Files are kept by their hashes.
    """
    from opsctl.cli.incident_write import met as carry_out

    return carry_out(of(context), name, duty, channel, by, at, reference, files or [])


@app.command("decide")
def decide(
    context: typer.Context,
    name: Id,
    duty: Annotated[str, typer.Argument(metavar="DUTY", help="which does not apply: an id from `incident show`")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="why it does not apply")],
    by: Signer,
    key: Key = None,
) -> Report:
    """Record a signed decision that a duty does not apply."""
    from opsctl.cli.incident_write import decide as carry_out

    return carry_out(of(context), name, duty, reason, by, key)


@app.command("missed")
def missed(
    context: typer.Context,
    name: Id,
    duty: Annotated[str, typer.Argument(metavar="DUTY", help="whose time has passed")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="why; asked for if not given")] = "",
    by: By = "",
) -> Report:
    """Say why a duty was missed.

    It stays on record and goes into reports.
    """
    from opsctl.cli.incident_write import missed as carry_out

    return carry_out(of(context), name, duty, reason, by=by)


@app.command("state")
def state(
    context: typer.Context,
    name: Id,
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="such as `leak` or `payments`")],
    text: Annotated[str, typer.Option("--says", metavar="TEXT", help="the statement: no evidence of a leak was found until now")] = "",
    basis: Annotated[str, typer.Option("--basis", metavar="TEXT", help="on what it rests")] = "",
    by: Annotated[str, typer.Option("--by", metavar="WHO", help="whose statement it is")] = "",
) -> Report:
    """Record a statement with its author, time and basis.

    That nothing points to a leak is such a statement, and never a default. What is not given is asked for.
    """
    from opsctl.cli.incident_write import state as carry_out

    return carry_out(of(context), name, subject, text, basis, by)


@app.command("fill")
def fill(
    context: typer.Context,
    name: Id,
    values: Annotated[list[str], typer.Argument(metavar="FIELD=VALUE", help="a field of the report form, and what is known of it")],
    by: By = "",
) -> Report:
    """Fill in fields of the report form, as far as they are known."""
    from opsctl.cli.incident_write import fill as carry_out

    return carry_out(of(context), name, values, by=by)


@app.command("paper")
def paper(
    context: typer.Context,
    name: Id,
    kind: Annotated[str, typer.Argument(metavar="KIND", help="what it is: auditor-certificate, data-centre-acceptance")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="the document")],
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="what is to be known of it: number, date, who signed")] = "",
    by: By = "",
) -> Report:
    """Take in a document, which a playbook may wait for.

    It is copied into the incident's `papers/` with its SHA-256. A newer one of its kind stands for the older, which stays.
    """
    from opsctl.cli.incident_papers import take_in

    return take_in(of(context), name, kind, file, note, by=by)


@app.command("close")
def close(
    context: typer.Context,
    name: Id,
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="by which criteria recovery is complete")] = "",
    by: By = "",
) -> Report:
    """Close an incident. Refused (23) while a duty is open, by name."""
    from opsctl.cli.incident_write import close as carry_out

    return carry_out(of(context), name, note, by=by)


@app.command("export")
def export(
    context: typer.Context,
    name: Id,
    into: Annotated[Path, typer.Argument(metavar="DIR", help="a new folder, best on a disk that goes to them")],
    by: By = "",
) -> Report:
    """Pack all of an incident into a folder, to be handed over.

    Reports, evidence, papers, its entries in the journal, what people signed, each run with what it restored and proved, and a
    first page. `sha256sum -c SHA256SUMS` checks it, the controller signs the list; no opsctl is needed. Exit 3 names what is not in it.
    """
    from opsctl.cli.incident_export import export as carry_out

    return carry_out(of(context), name, into, by)


@app.command("keep")
def keep(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="[ID]", help="id of the incident; all that are open if not given")] = "",
    what: Annotated[str, typer.Option("--what", metavar="WHAT", help="`entries`, which is quick, or `all`: the files too")] = "all",
    to: Annotated[list[str] | None, typer.Option("--to", metavar="REPOSITORY", help="only there; may be given again")] = None,
    background: Annotated[bool, typer.Option("--background", hidden=True, help="wait for one at work, and leave it to one that waits")] = False,
) -> Report:
    """Keep incidents in the repositories, for a new controller.

    Entries go there by themselves, in the background, as they are written, and all of it with each backup while an incident is
    open; this does it now, and says what came of it. Repositories that a host opens itself are left out.
    """
    from opsctl.cli.incident_keep import keep as carry_out
    from opsctl.errors import UsageError

    if what not in ("entries", "all"):
        raise UsageError(f"--what {what}: neither `entries` nor `all`")
    return carry_out(of(context), name, what, to or [], background=background)


@app.command("take-over")
@places.from_anywhere
def take_over(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="[ID]", help="its id; the only one that a repository keeps if not given")] = "",
    source: Annotated[list[str] | None, typer.Option(
        "--from", metavar="NAME", help="a repository to ask; may be given again; all that are here if not given")] = None,
    given: Given | None = None,
    trust: Sequence[str] = (),
) -> Report:
    """Go on with the incident of a controller that is lost.

    Its entries and files come from the repositories, by the lost one's signature: --trust FINGERPRINT where its key is not known
    here. Clocks go on as they ran, and what is lost is named and written down.
    """
    from opsctl.cli.incident_take_over import take_over as carry_out

    return carry_out(of(context), name, source or [], given, trust)
