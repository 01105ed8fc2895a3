"""``opsctl status``: what is backed up, what is overdue or unverified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsctl.cli.copies import Copies
from opsctl.cli.report import Column, Mark, Out, Report, Table, Tone
from opsctl.cli.session import of
from opsctl.errors import OpsError, Overdue

if TYPE_CHECKING:
    from opsctl.repositories.standing import Standing, Verdict
    from opsctl.wiring import Site

_TONES = {"ok": Tone.GOOD, "due": Tone.GOOD}
_ORDER = ("never", "damaged", "overdue", "unverified", "undrilled", "unknown", "due", "ok")


def status(
    context: typer.Context,
    refresh: Annotated[bool, typer.Option("--refresh", help="ask the repositories instead of the catalogue")] = False,
    nagios: Annotated[bool, typer.Option("--nagios", help="one line and exit codes 0 to 3, as monitors expect")] = False,
) -> Report:
    """What is backed up, what is overdue, never ran, or is unverified for too long (exit 5)."""
    from opsctl.cli.work import open_site

    session = of(context)
    try:
        site = open_site(session)
    except OpsError as error:
        if not nagios:
            raise
        return _nagios([], [], [error])
    errors: list[OpsError] = []
    if refresh and not session.dry_run:
        from opsctl.cli.backup import remember

        errors = remember(site, list(site.config.backups))
    found = _stand(site)
    late = [(name, verdict) for name, _, verdict in found if verdict.late]
    if nagios:
        return _nagios(found, late, errors)
    copies = _copies(site)
    late_copies = [error for found_copies in copies.values() for error in found_copies.late()]
    problems = [*(Overdue(f"{name}: {verdict.because}", where=name) for name, verdict in late), *late_copies]
    code = 5 if problems else None

    def text(out: Out) -> None:
        _write(out, site, found, copies)

    result = {"backups": {name: {**_as_json(site, name, standing, verdict), "copies": copies[name].as_json()}
                          for name, standing, verdict in found}}
    shown = problems if session.json else problems[:5]
    return Report(result=result, text=text, errors=[*errors, *shown],
                  exit_code=errors[0].code if errors and not problems else code, warnings=[*site.said, *site.config.warnings])


def _stand(site: Site) -> list[tuple[str, Standing | None, Verdict]]:
    from opsctl.repositories.standing import from_dict, verdict

    kept = site.catalogue.standing()
    now = site.clock()
    found = []
    for name, plan in site.config.backups.items():
        raw = kept.get(name)
        standing = from_dict(raw) if raw and raw.get("repository") == plan.repository else None
        found.append((name, standing, verdict(standing, plan.every, plan.verify.read_all_within, now, plan.verify.drill)))
    return sorted(found, key=lambda one: (_ORDER.index(one[2].word), one[0]))


def _copies(site: Site) -> dict[str, Copies]:
    kept = site.catalogue.standing()
    return {name: Copies(site, name, kept) for name in site.config.backups}


def _write(out: Out, site: Site, found: list[tuple[str, Standing | None, Verdict]], copies: Mapping[str, Copies]) -> None:
    from opsctl.cli.work import local_time
    from opsctl.model.quantities import format_duration, format_size
    from opsctl.model.snapshots import parse_time

    def row(name: str, standing: Standing | None, verdict: Verdict) -> tuple[Any, ...]:
        newest = parse_time(standing.newest_time) if standing and standing.newest_time else None
        good = standing.states.get("good", 0) if standing else 0
        return (name, Mark(verdict.word, _TONES.get(verdict.word, Tone.BAD)), local_time(site, newest),
                format_duration(site.config.backups[name].every), str(good), copies[name].summary(),
                format_size(standing.bytes) if standing else "", verdict.because)

    out.table(Table(
        ("backup", "state", "newest set", "every", Column("sets", right=True), "copies", Column("size", right=True),
         Column("remark", flexible=True)),
        [row(*one) for one in found], empty="the configuration holds no backup",
    ))
    for name, standing, _ in found:
        out.lines(copies[name].lines())
        if standing is not None and standing.drills:
            out.line(Mark(_drills(site, name, standing.drills), Tone.QUIET if standing.drills[-1]["ok"] else Tone.BAD))
    checked = [standing.checked for _, standing, _ in found if standing]
    if checked:
        out.line(Mark(f"as last seen on {local_time(site, parse_time(min(checked)))}; --refresh asks the repositories",
                      Tone.QUIET))


def _drills(site: Site, name: str, drills: Sequence[Mapping[str, Any]]) -> str:
    from opsctl.cli.work import local_time
    from opsctl.model.snapshots import parse_time

    last = drills[-1]
    times = " → ".join(f"{drill['seconds']:.0f} s" if drill["ok"] else "failed" for drill in drills)
    how = "was proven" if last["ok"] else "FAILED"
    return (f"{name}: the last drill, {local_time(site, parse_time(last['time']))}, of set {last['set']}, {how}"
            + (f"; time to restore and prove: {times}" if len(drills) > 1 else f" in {last['seconds']:.0f} s"))


def _as_json(site: Site, name: str, standing: Standing | None, verdict: Verdict) -> dict[str, Any]:
    from opsctl.repositories.standing import as_dict

    return {"state": verdict.word, "because": verdict.because, "late": verdict.late,
            "every_seconds": int(site.config.backups[name].every.total_seconds()),
            **(as_dict(standing) if standing else {"newest": None, "newest_time": None})}


def _nagios(found: list[Any], late: list[Any], errors: list[OpsError]) -> Report:
    if late:
        code, word = 2, "CRITICAL"
        rest = f"{len(late)} of {len(found)} backups: " + "; ".join(f"{name} {v.word}" for name, v in late[:5])
    elif errors:
        code, word, rest = 3, "UNKNOWN", errors[0].message
    elif not found:
        code, word, rest = 3, "UNKNOWN", "no backup is configured"
    elif any(verdict.word == "due" for _, _, verdict in found):
        code, word, rest = 1, "WARNING", "a backup is due"
    else:
        code, word, rest = 0, "OK", f"{len(found)} backups"
    line = f"OPSCTL {word} - {rest}"
    return Report(result={"state": word, "line": line}, text=lambda out: out.line(line), exit_code=code)
