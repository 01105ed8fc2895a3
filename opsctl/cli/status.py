"""``opsctl status``: what is backed up, what is overdue or unverified."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsctl.cli import doctor_kit, freezing, incident_show, isolate_status, looks, media_list, readiness_look
from opsctl.cli.copies import Copies
from opsctl.cli.drill_times import drilled
from opsctl.cli.report import Column, Mark, Out, Report, Table, Tone
from opsctl.cli.session import of
from opsctl.errors import OpsError, Overdue
from opsctl.model.drill_target import target

if TYPE_CHECKING:
    from datetime import datetime

    from opsctl.cli.session import Session
    from opsctl.repositories.standing import Standing, Verdict
    from opsctl.wiring import Site

_TONES = {"ok": Tone.GOOD, "due": Tone.GOOD}
_ORDER = ("never", "damaged", "suspect", "overdue", "unverified", "undrilled", "unknown", "due", "ok")


def status(
    context: typer.Context,
    refresh: Annotated[bool, typer.Option(
        "--refresh", help="ask the repositories, each with its password, instead of the catalogue")] = False,
    nagios: Annotated[bool, typer.Option("--nagios", help="one line and exit codes 0 to 3, as monitors expect")] = False,
    prometheus: Annotated[Path | None, typer.Option(
        "--prometheus", metavar="FILE", help="also write it for node_exporter's textfile collector, whole")] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="also write the status board, a page for a screen or the wall, whole")] = None,
    lang: Annotated[str | None, typer.Option("--lang", metavar="LANGUAGE", help="of the page: en, hi or both; as under organisation: languages")] = None,
) -> Report:
    """What is backed up, what is overdue, never ran, or is unverified for too long (exit 5)."""
    session = of(context)
    if html is None:
        return _status(session, refresh, nagios, prometheus, None, lang)
    from opsctl.cli import board

    with board.troubles(session, html, lang):
        return _status(session, refresh, nagios, prometheus, html, lang)


def _status(session: Session, refresh: bool, nagios: bool, prometheus: Path | None, html: Path | None, lang: str | None) -> Report:
    from opsctl.cli import metrics, ticks
    from opsctl.cli.work import clock, open_site

    try:
        site = open_site(session)
    except OpsError as error:
        if prometheus is not None and not session.dry_run:
            # What was written before must not stand for how it is now; nor may a full disk hide why.
            with contextlib.suppress(OpsError):
                metrics.write(prometheus, [], code=error.code, now=clock(session)(), plans={}, stamp=None, copies={}, looked={})
        if not nagios:
            raise
        return metrics.nagios_report([], [error], plans={}, now=clock(session)())
    errors: list[OpsError] = []
    if refresh and not session.dry_run:
        from opsctl.cli.backup import remember

        errors = remember(site, list(site.config.backups), ask=True)
    found = stand(site)
    wrong = looks.wrong(site)
    # What was found wrong just now is told as it was found.
    told = {name for name, one in wrong.items() if one.message in {error.message for error in errors}}
    late = [(name, verdict) for name, _, verdict in found
            if verdict.late and not (verdict.wrong and site.config.backups[name].repository in told)]
    plans = site.config.backups
    copies = _copies(site)
    late_copies = [error for one in copies.values() for error in one.late()]
    problems = [*_overdue(site, late), *incident_show.late(site), *media_list.late(site), *(one for one in late_copies if (one.where or "").rpartition("/")[2] not in told)]
    code = 5 if problems else errors[0].code if errors else 0
    if prometheus is not None and not session.dry_run:
        try:
            metrics.write(prometheus, found, code=code, now=site.clock(), plans=plans, stamp=ticks.read(site.state),
                          copies={name: one.as_json() for name, one in copies.items()},
                          looked={name: wrong[name].code if name in wrong else 0 for name in site.config.repositories})
        except OpsError as error:
            errors.append(error)
            code = code or error.code
    silent = [one.words(site) for name, one in wrong.items() if not one.late and name not in told]
    failed, by_hand = _last_attempts(site)
    if html is not None and not session.dry_run:
        from opsctl.cli import board

        marks = [*freezing.lines(site, freezing.frozen(site)), *media_list.lines(site)]
        remarks = [*filter(None, (failed, by_hand)), *(f"repository {one.repository}: {one.words(site)}" for one in wrong.values()), *(one.text for one in marks)]
        board.write(site, html, lang, found=found, copies=copies, remarks=remarks)
    if nagios:
        return metrics.nagios_report(found, errors, plans=plans, now=site.clock(), late_copies=late_copies,
                                     failed=failed or "; ".join(silent) or None)

    def text(out: Out) -> None:
        out.lines(incident_show.lines(site))
        _write(out, site, found, copies)
        for one in wrong.values():
            out.line(Mark(f"repository {one.repository}: {one.words(site)}", Tone.BAD))
        out.lines(freezing.lines(site, freezing.frozen(site)))
        if isolated := isolate_status.summary(site):
            out.line(Mark(isolated, Tone.WARN))
        out.lines(media_list.lines(site))
        out.lines(doctor_kit.lines(site))
        if gap := readiness_look.line(site):
            out.line(Mark(gap, Tone.QUIET))

    result = {"backups": {name: {**_as_json(site, name, standing, verdict), "copies": copies[name].as_json()}
                          for name, standing, verdict in found},
              "repositories": {name: one.as_json() for name, one in wrong.items()},
              "frozen": freezing.frozen(site),
              "media": {one.name: {**asdict(one.custody), "wrong": one.wrong} for one in site.media.all()},
              "isolated": {entry.host: entry.stage for entry in site.isolations.register.all()}}
    shown = problems if session.json else problems[:5]
    return Report(result=result, text=text, errors=[*errors, *shown], exit_code=code,
                  warnings=[*filter(None, (failed, by_hand)), *silent, *site.said, *site.config.warnings])


def _last_attempts(site: Site) -> tuple[str | None, str | None]:
    """That the last call of a timer failed, and of a person: until something is late, nothing else here would show it."""
    from opsctl.cli import ticks

    stamp = ticks.read(site.state)
    return _failed(site, "the last `backup run --due`", stamp.failed), _failed(site, "the last `backup run` by hand", stamp.by_hand)


def _failed(site: Site, what: str, calls: Mapping[str, Mapping[str, Any]]) -> str | None:
    from opsctl.cli.work import local_time
    from opsctl.model.snapshots import parse_time

    failed = {name: one for name, one in calls.items() if name in site.config.backups}
    if not failed:
        return None
    latest = max(failed.values(), key=lambda one: parse_time(one["began"]))
    more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
    return (f"{what} of {', '.join(list(failed)[:3])}{more}, {local_time(site, parse_time(latest['began']))}, ended with "
            f"{latest['exit_code']}; `opsctl runs` says which run")


def late(site: Site) -> list[Overdue]:
    """Everything that makes ``status`` exit 5, as last seen, but sets that are suspect and nothing else."""
    backups = [(name, verdict) for name, _, verdict in stand(site) if verdict.late and verdict.word != "suspect"]
    return [*_overdue(site, backups), *incident_show.late(site), *media_list.late(site), *(error for one in _copies(site).values() for error in one.late())]


def _overdue(site: Site, late: Sequence[tuple[str, Verdict]]) -> list[Overdue]:
    wrong = looks.wrong(site)
    hints = {name: wrong[site.config.backups[name].repository].hint for name, verdict in late if verdict.wrong}
    hints |= {name: "opsctl incident open" if "is an attack, says" in verdict.because else
              f"look at its files: opsctl restore points {name}; then opsctl restore looked {name} SET --innocent --by NAME, or --attack"
              for name, verdict in late if verdict.word == "suspect"}
    return [Overdue(f"{name}: {verdict.because}", where=name, hint=hints.get(name)) for name, verdict in late]


def suspects(site: Site) -> list[tuple[str, Mapping[str, Any]]]:
    """The suspect sets that nobody has looked at, by backup, each as in its standing."""
    return [(name, one) for name, standing, _ in stand(site) if standing is not None for one in standing.suspects]


def stand(site: Site) -> list[tuple[str, Standing | None, Verdict]]:
    from opsctl.repositories.standing import as_of, from_dict, verdict, with_suspects

    kept = site.catalogue.standing()
    wrong = looks.wrong(site)
    now = site.clock()
    found = []
    for name, plan in site.config.backups.items():
        raw = kept.get(name)
        standing = from_dict(raw) if raw and raw.get("repository") == plan.repository else None
        standing = _unseen(site, as_of(standing, now)) if standing else None
        judged = verdict(standing, plan.every, plan.verify.read_all_within, now, plan.verify.drill)
        found.append((name, standing, with_suspects(looks.judged(site, judged, wrong.get(plan.repository)), standing)))
    return sorted(found, key=lambda one: (_ORDER.index(one[2].word), one[0]))


def _unseen(site: Site, found: Standing) -> Standing:
    """Without the suspect sets that a person has looked at; one that is called an attack stays until an incident was opened for it."""
    from opsctl.model.points import ATTACK
    from opsctl.model.snapshots import parse_time

    looked = site.catalogue.looked(found.backup)
    left = [one for one in found.suspects if one["set"] not in looked]
    for name, said in looked.items():
        if said["word"] == ATTACK and not _opened_since(site, parse_time(said["time"])):
            left.append({"set": name, "time": None, "why": f"it is an attack, says {said['by']}, and no incident was opened since", "attack": True})
    return replace(found, suspects=left)


def _opened_since(site: Site, moment: datetime) -> bool:
    """Whether an incident that is no drill was open at that moment, or any time later."""
    return any(one.closed is None or one.closed > moment for one in site.incidents.all().values() if not one.drill)


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
                format_size(standing.bytes) if standing else "",
                "its repository is not as it should be, see below" if verdict.wrong else verdict.because)

    out.table(Table(
        ("backup", "state", "newest set", "every", Column("sets", right=True), "copies", Column("size", right=True),
         Column("remark", flexible=True)),
        [row(*one) for one in found], empty="the configuration holds no backup",
    ))
    for name, standing, _ in found:
        out.lines(copies[name].lines())
        if dumps := _only_bytes(site, name):
            out.line(Mark(f"{name}: {', '.join(dumps)}: bytes proven, rows not", Tone.QUIET))
        if standing is not None and standing.drills:
            out.line(drilled(site, name, name, standing.drills))
    checked = [standing.checked for _, standing, _ in found if standing]
    if checked:
        out.line(Mark(f"as last seen on {local_time(site, parse_time(min(checked)))}; --refresh asks the repositories",
                      Tone.QUIET))


def _only_bytes(site: Site, name: str) -> list[str]:
    """The sources of a backup whose dumps nobody can look into."""
    return [source for source in site.config.backups[name].sources if site.config.sources[source].kind == "command"]


def _as_json(site: Site, name: str, standing: Standing | None, verdict: Verdict) -> dict[str, Any]:
    from opsctl.repositories.standing import as_dict

    aim = target(site.config, name)
    return {"state": verdict.word, "because": verdict.because, "late": verdict.late,
            "rto_seconds": round(aim.rto.total_seconds()) if aim else None,
            "every_seconds": int(site.config.backups[name].every.total_seconds()),
            "only_bytes": _only_bytes(site, name),
            **({key: one for key, one in as_dict(standing).items() if key != "earlier"} if standing else
               {"newest": None, "newest_time": None})}
