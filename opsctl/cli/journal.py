"""`opsctl journal`: what happened here, and whether it is still what was written."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsctl.cli import session as sessions
from opsctl.cli.report import Column, Mark, Out, Report, Table, Tone
from opsctl.errors import DamagedData, OpsError, UsageError
from opsctl.model.quantities import counted

if TYPE_CHECKING:
    from opsctl.engine.journal_lines import Entry
    from opsctl.engine.journal_verify import Anchor, Verdict
    from opsctl.wiring import Site

app = typer.Typer(help="What happened here, and whether it is still what was written.")

LONGEST = 200
"""Characters of a line's data that the table shows; ``--json`` gives all."""

MOST_SHOWN = 20
"""Problems of a journal that are errors of their own; ``result`` has all of them."""


@app.command()
def show(
    context: typer.Context,
    run: Annotated[str | None, typer.Option("--run", metavar="RUN", help="only the lines of a run")] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="WHEN", help="a time (2026-12-01T06:00) or an age (12h, 3d)"),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", help="only the newest N lines; 0: all")] = 50,
) -> Report:
    """Show the lines of the journal, oldest first.

    A line that is not what was written is left out and named; the exit code is then 22.
    """
    from opsctl.cli.work import open_site

    session = sessions.of(context)
    if limit < 0:
        raise UsageError("--limit must not be negative", hint="0 shows all lines")
    site = open_site(session)
    zone = site.config.organisation.tz
    start = moment_of(since, site.clock(), zone) if since else None
    damage: list[DamagedData] = []
    entries = site.journal.read(run=run, on_damage=damage.append)
    newest = list(_newest((entry for entry in entries if start is None or entry.time >= start), limit))

    def text(out: Out) -> None:
        out.table(Table(
            (Column("seq", right=True), "time", "run", "type", Column("what", flexible=True)),
            [(str(entry.seq), f"{entry.time.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}", entry.run or "", entry.type,
              _short(entry.data)) for entry in newest],
            empty="no lines",
        ))

    return Report(result={"lines": [_line(entry) for entry in newest]}, text=text, errors=damage)


@app.command()
def verify(
    context: typer.Context,
    offline: Annotated[bool, typer.Option("--offline", help="ask no repository what it vouches for")] = False,
) -> Report:
    """Say whether the journal is whole, and who vouches for it.

    Every line is held against its hash and its neighbours. The signed manifests in the repositories name lines
    of this journal: up to the newest of these, a change cannot hide, even from someone who owns this machine.
    Anything wrong is named with its file and line; exit code 22.
    """
    from opsctl.cli.work import open_site
    from opsctl.engine import journal_verify

    session = sessions.of(context)
    site = open_site(session)
    warnings: list[str] = []
    anchors = [] if offline else list(_anchors(site, warnings))
    verdict = journal_verify.verify(site.place / "journal", anchors)
    if verdict.adopted:
        from opsctl.cli.adopt import problems_of_signatures

        wrong = problems_of_signatures(site, verdict.adopted, verdict.notes)
        verdict = replace(verdict, problems=[*verdict.problems, *wrong])
    return Report(
        result={
            "lines": verdict.lines, "last_seq": verdict.last_seq, "last_hash": verdict.last_hash,
            "vouched_from": verdict.vouched_from, "vouched_to": verdict.vouched_seq,
            "vouched_by": verdict.vouched_by, "notes": verdict.notes,
            "problems": [{"file": found.file, "line": found.line, "seq": found.seq, "message": found.message}
                         for found in verdict.problems],
            "more_problems": verdict.more_problems, "adopted": [seq for seq, _ in verdict.adopted],
        },
        text=lambda out: _write_verdict(out, verdict), errors=_errors(verdict), warnings=warnings,
        exit_code=DamagedData.code if verdict.problems else 0,
    )


@app.command()
def adopt(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="the journal that --break-glass kept elsewhere")],
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="who takes it in: a name under `people`")],
    key: Annotated[Path | None, typer.Option(
        "--key", metavar="FILE", help="your SSH private key, or the .pub of one that your agent holds")] = None,
) -> Report:
    """Take in the journal of break-glass runs, signed by you.

    Its lines are held against each other (22 where one was changed), become one hashed segment of this journal, and
    count from then on: its runs are listed and can be resumed. Adopting it again is refused (23).
    """
    from opsctl.cli.adopt import adopt as carry_out

    return carry_out(sessions.of(context), file, by, key)


@app.command("go-on")
def go_on(
    context: typer.Context,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="why; it stands in the journal")],
) -> Report:
    """Go on after damage at the end of the journal.

    It holds every run up otherwise. All files stay as they are and a new one is begun; the damage stays a
    finding of `journal verify` for ever.
    """
    from opsctl.cli.work import open_site
    from opsctl.engine import journal_verify

    session = sessions.of(context)
    site = open_site(session)
    verdict = journal_verify.verify(site.place / "journal", [])
    if not verdict.problems:
        return Report(result={"went_on": False}, text=lambda out: out.line("the journal is whole; nothing was done"))
    if session.dry_run or not session.confirm(f"go on after {verdict.problems[0]}?"):
        return Report(result={"went_on": False}, text=lambda out: out.line("nothing was done"))
    entry = site.journal.go_on(reason)
    return Report(result={"went_on": True, "seq": entry.seq},
                  text=lambda out: out.line(f"the journal goes on with seq {entry.seq}"))


def moment_of(text: str, now: datetime, zone: tzinfo, option: str = "--since") -> datetime:
    """An age before ``now``, or a time, which without an offset is one of ``zone``."""
    from opsctl.model.quantities import parse_duration

    try:
        age: timedelta | None = parse_duration(text)
    except ValueError:
        age = None
    if age is not None:
        return now - age
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{option} {text}: neither a time nor an age",
                         hint="such as 2026-12-01, 2026-12-01T06:00 or 12h") from error
    return found if found.tzinfo else found.replace(tzinfo=zone)


def _newest(entries: Iterable[Entry], limit: int) -> Iterable[Entry]:
    return deque(entries, maxlen=limit or None)


def _line(entry: Entry) -> dict[str, Any]:
    return {"seq": entry.seq, "time": entry.time, "run": entry.run, "type": entry.type, "data": entry.data,
            "hash": entry.hash}


def _short(data: Any) -> str:
    text = ", ".join(f"{name} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
                     for name, value in data.items())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _anchors(site: Site, warnings: list[str]) -> Iterator[Anchor]:
    """What the signed sets in the repositories say about the journal; who cannot be asked is warned of."""
    from opsctl.engine.journal_verify import Anchor

    for name in site.config.repositories:
        try:
            sets = site.history(name).look(site.clock()).judgement.sets
        except OpsError as error:
            warnings.append(f"repository {name} was not asked what it vouches for: {error.message}")
            continue
        for found in sets:
            said = found.record.get("journal")
            if said and found.signer in site.history(name).trusted:
                yield Anchor(said["seq"], said["hash"],
                             f"set {found.backup}/{found.id} in {name}, signed by {found.signer}")


def _errors(verdict: Verdict) -> list[OpsError]:
    errors: list[OpsError] = [
        DamagedData(found.message, where=f"{found.file}:{found.line}" if found.line else found.file)
        for found in verdict.problems[:MOST_SHOWN]
    ]
    more = len(verdict.problems) + verdict.more_problems - len(errors)
    if more:
        errors.append(DamagedData(f"and {more} more", hint="--json lists them in `result`"))
    return errors


def _write_verdict(out: Out, verdict: Verdict) -> None:
    problems = len(verdict.problems) + verdict.more_problems
    out.facts([
        ("lines", str(verdict.lines)),
        ("whole", Mark(f"no: {problems} found wrong", Tone.BAD) if problems else Mark("yes", Tone.GOOD)),
        ("vouched for", _vouched(verdict)),
        ("on this machine's word alone", _alone(verdict)),
        *([("took in", f"{counted(len(verdict.adopted), 'spool')}: {', '.join(f'seq {seq}' for seq, _ in verdict.adopted)}")]
          if verdict.adopted else ()),
    ])
    out.lines(verdict.notes)


def _vouched(verdict: Verdict) -> str:
    if not verdict.vouched_seq:
        return "no line"
    return f"lines {verdict.vouched_from} to {verdict.vouched_seq}, by {verdict.vouched_by}"


def _alone(verdict: Verdict) -> str:
    if verdict.last_seq <= verdict.vouched_seq:
        return "no line"
    return f"lines {verdict.vouched_seq + 1} to {verdict.last_seq}"
