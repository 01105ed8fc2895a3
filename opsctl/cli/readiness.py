"""``opsctl readiness``: what has to stand before an incident, each with its source, and what of it stands."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsctl.cli.report import Column, Mark, Out, Report, Table, Tone
from opsctl.cli.session import Session, of
from opsctl.errors import UsageError

if TYPE_CHECKING:
    from opsctl.model.readiness import Stand

_TONES = {"ok": Tone.GOOD, "recorded": Tone.GOOD}


def readiness(
    context: typer.Context,
    what: Annotated[str, typer.Argument(metavar="WORD", help="`record` what a person looked at, or `contacts`: the sheet to print")] = "",
    item: Annotated[str, typer.Argument(metavar="ITEM", help="what was looked at: a name from the list")] = "",
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="record: who looked")] = "",
    on: Annotated[str, typer.Option("--on", metavar="DATE", help="record: when")] = "",
    until: Annotated[str, typer.Option("--until", metavar="DATE", help="record: until when that holds; then it is asked for again")] = "",
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="record: what was seen")] = "",
    into: Annotated[Path | None, typer.Option("--into", metavar="DIR", help="contacts: where the sheet is written")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="ask nothing beyond this machine")] = False,
) -> Report:
    """What has to stand before an incident, and what of it does; exit 3 when something is missing.

    Each item with its source and force. What a machine can see is looked at; the rest is recorded by a person, and asked for again when its
    time is over: `opsctl readiness record ITEM --by NAME --on DATE --until DATE`. `opsctl readiness contacts` is the sheet to print.
    """
    session = of(context)
    if what == "record":
        return _record(session, item, by, on, until, note)
    if what == "contacts":
        return _contacts(session, into)
    if what:
        from opsctl.model.unknown import unknown

        raise unknown("word", what, ["record", "contacts"])
    return _show(session, offline)


def _show(session: Session, offline: bool) -> Report:
    from opsctl.cli.readiness_look import look
    from opsctl.cli.signals import working
    from opsctl.cli.work import open_site

    site = open_site(session)
    with working(session):
        found = look(site, offline=offline)
    missing = [one for one in found if not one.fine]

    def text(out: Out) -> None:
        out.table(Table(("item", "", "force", "source", Column("seen", flexible=True)),
                        [(one.item.id, Mark(one.state, _TONES.get(one.state, Tone.BAD)), one.item.force.replace("_", " "), ", ".join(one.item.sources) or "ours",
                          f"{one.item.title}: {one.seen}") for one in found]))
        for one in missing:
            out.line(Mark(f"{one.item.id}: {one.hint}", Tone.WARN))
        out.line(Mark(f"{len(found) - len(missing)} of {len(found)} stand; opsctl is no legal advice", Tone.WARN if missing else Tone.GOOD))

    return Report(result={"items": [_as_json(one) for one in found], "missing": [one.item.id for one in missing]}, text=text,
                  exit_code=3 if missing else 0, warnings=[*site.said])


def _as_json(one: Stand) -> dict[str, Any]:
    return {"item": one.item.id, "title": one.item.title, "force": one.item.force, "sources": list(one.item.sources), "asked": one.item.asked,
            "state": one.state, "seen": one.seen, "hint": one.hint, "details": dict(one.details or {})}


def _record(session: Session, item: str, by: str, on: str, until: str, note: str) -> Report:
    from opsctl.cli.readiness_look import about
    from opsctl.cli.work import open_site
    from opsctl.model.paper_cells import day
    from opsctl.model.readiness import RECORDED
    from opsctl.model.unknown import unknown
    from opsctl.protocols.readiness import items

    known = [one.id for one in items()]
    if item not in known:
        raise unknown("item", item, known) if item else UsageError("which item?", hint=f"one of {', '.join(known)}")
    site = open_site(session)
    today = site.clock().astimezone(site.config.organisation.tz).date()
    days = {}
    for option, given, question in (("--on", on, "on which day was it looked at?"), ("--until", until, "until which day does that hold?")):
        try:
            days[option] = date.fromisoformat(day(given or session.ask(question, option=option)))
        except ValueError as error:
            raise UsageError(f"{option} {given} {error}", hint="such as 2026-12-01 or 01/12/2026") from error
    if days["--on"] > today:
        raise UsageError(f"--on {days['--on']} lies in the future; today is {today}")
    if days["--until"] < days["--on"]:
        raise UsageError(f"--until {days['--until']} lies before --on {days['--on']}")
    said = {"item": item, "by": by or session.ask("who looked?", option="--by"), "on": days["--on"].isoformat(), "until": days["--until"].isoformat(),
            "note": note, "digest": about(site, item)}
    if not session.dry_run:
        site.journal.append(RECORDED, said)

    def text(out: Out) -> None:
        word = "would be recorded" if session.dry_run else "is recorded"
        out.line(Mark(f"{item} {word}: by {said['by']}, {said['on']}, until {said['until']}", Tone.GOOD))

    return Report(result=said, text=text, warnings=[*site.said])


def _contacts(session: Session, into: Path | None) -> Report:
    from opsctl.cli.work import open_site
    from opsctl.protocols.cert_in import protocol
    from opsctl.reports.contacts import files
    from opsctl.repositories.whole import write_whole

    site = open_site(session)
    organisation = site.config.organisation
    made, errors = files(protocol(), site.config.people, organisation.name, languages=tuple(dict.fromkeys((*organisation.languages, "en", "hi"))),
                         zone=organisation.tz, at=site.clock())
    paths = [into / name for name in made] if into is not None and not session.dry_run else []
    for path in paths:
        write_whole(path, made[path.name])
    shown = made[f"contacts.{organisation.languages[0]}.txt"].decode()

    def text(out: Out) -> None:
        out.lines(shown.splitlines())
        out.line()
        if paths:
            out.line(f"in {into}: {', '.join(path.name for path in paths)}")
        out.line("once it is printed: opsctl readiness record contact-sheets --by NAME --on DATE --until DATE"
                 if paths else "as page and PDF, in English and Hindi: opsctl readiness contacts --into DIR")

    return Report(result={"files": [str(path) for path in paths], "text": shown}, text=text, errors=errors if paths else [],
                  exit_code=3 if errors and paths else 0, warnings=[*site.said])
