"""``opsctl restore plan|run|status``: services brought back in stages, in the order in which they need each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsctl.cli import for_incident
from opsctl.cli.report import Column, Mark, Out, Report, Table, Tone
from opsctl.cli.rooms import write_left
from opsctl.cli.session import of
from opsctl.errors import SafetyRefusal
from opsctl.model.quantities import format_size, rough_duration

if TYPE_CHECKING:
    from opsctl.cli.session import Session
    from opsctl.cli.stages import Choice
    from opsctl.engine.runs import Tally
    from opsctl.model.plan import BoundPlan
    from opsctl.model.stages import Course, Stage
    from opsctl.wiring import Site

#: The name of a run in stages, which is composed of a playbook for each.
RUN = "staged-restoration"

Services = Annotated[list[str] | None, typer.Argument(metavar="SERVICE", help="names of services; what they need comes with them")]
Sets = Annotated[list[str] | None, typer.Option(
    "--set", metavar="BACKUP=SET", help="bring it back from this set; otherwise the newest clean one")]
Before = Annotated[str | None, typer.Option(
    "--before", metavar="TIME", help="when the data first went bad: only sets from before it are chosen")]
CopyIn = Annotated[str | None, typer.Option("--from", metavar="NAME", help="read the sets from this repository")]
Alone = Annotated[bool, typer.Option("--alone", help="without what they need, which runs already")]


def plan(
    context: typer.Context, services: Services = None, sets: Sets = None, before: Before = None, copy_in: CopyIn = None,
    alone: Alone = False,
) -> Report:
    """What would come back, in which order, from when, and how long.

    Reads only. Times are those of the drills in the repositories; what opsctl does not back up is listed for the people
    who have to bring it. Exit 22 or 23 where a service cannot be brought back as asked.
    """
    from opsctl.cli.stages import choice, gather, problems
    from opsctl.cli.work import open_site

    site = open_site(of(context))
    chosen = choice(site, sets or (), before, copy_in)
    found = gather(site, services or (), chosen, alone=alone)
    command = _command(services or (), found, chosen, alone)
    told = problems(found)
    result = {"stages": [one.as_json() for one in found], "ready_after_seconds": _whole(found),
              "next": None if told else command}
    return Report(result=result, text=lambda out: _write_plan(out, site, found, chosen, None if told else command), errors=told,
                  warnings=site.said)


def _whole(found: Sequence[Stage]) -> int | None:
    from opsctl.model.stages import seconds

    spans = [one.ready for one in found]
    return None if None in spans else seconds(max((span for span in spans if span is not None), default=None))


def _command(asked: Sequence[str], found: Sequence[Stage], chosen: Choice, alone: bool) -> str:
    """The command that does what was shown, with its sets named, so that a newer one does not change it."""
    sets = dict.fromkeys(f"--set {one.backup}={one.set}" for one in found if one.set)
    words = [*asked, *sets, *([f"--from {chosen.copy_in}"] if chosen.copy_in else []), *(["--alone"] if alone else []),
             *([f"--before {chosen.before.isoformat()}"] if chosen.before else [])]
    return " ".join(["opsctl restore run", *words])


def _write_plan(out: Out, site: Site, found: Sequence[Stage], chosen: Choice, command: str | None) -> None:
    from opsctl.cli.work import local_time

    out.table(Table(
        (Column("", right=True), "service", "after", Column("from", flexible=True), Column("size", right=True), "lost", "expected", "back after"),
        [(str(number), one.service, ", ".join(one.needs), _origin(site, one), format_size(one.bytes) if one.set else "",
          _against(one.loss, one.rpo, "RPO"), _span(one.expected) if one.set else "", _against(one.ready, one.rto, "RTO"))
         for number, one in enumerate(found, 1)],
    ))
    if chosen.before is not None:
        out.line(f"lost: from the set to the first bad time, {local_time(site, chosen.before)}; what was entered after it is bad as well")
    undrilled = [one.backup for one in found if one.set and one.expected is None]
    if undrilled:
        out.line(Mark(f"no drill tells how long {', '.join(dict.fromkeys(undrilled))} takes: opsctl verify {undrilled[0]} --level drill", Tone.WARN))
    for one in found:
        others = [place for place in one.places if place.repository != one.read_from]
        if others:
            out.line(f"{one.service}: " + "; ".join(
                f"{place.repository} could serve it as well" if place.why is None else f"{place.repository} could not: {place.why}" for place in others))
    out.heading("What people have to bring")
    brought = [(one.service, line) for one in found for line in one.bring]
    for service, line in brought:
        out.line(f"{service}: {line}")
    if not brought:
        out.line(Mark("nothing is written down: accounts, application servers, certificates, DNS? services: NAME: not_backed_up: lists them", Tone.WARN))
    if command is not None:
        out.line("")
        out.line(f"next: {command}")


def _origin(site: Site, one: Stage) -> Mark | str:
    from opsctl.cli.work import local_time

    if one.problem is not None:
        return Mark("cannot be brought back", Tone.BAD)
    if not one.set:
        return "nothing to restore"
    signals = f", changes {one.signals}" if one.signals else ""
    signals += f", {one.trusting}" if one.trusting else ""
    signals += f", chosen by {' and '.join(one.chosen_by)}" if one.chosen_by else ""
    return f"{one.backup} {one.set}, {local_time(site, one.point)}{signals}, in {one.read_from}"


def _span(span: timedelta | None) -> str:
    return "unknown" if span is None else rough_duration(span)


def _against(span: timedelta | None, target: timedelta | None, name: str) -> Mark | str:
    if span is None:
        return f"{name} {rough_duration(target)}" if target else ""
    if target is None:
        return rough_duration(span)
    return Mark(f"{rough_duration(span)} ({name} {rough_duration(target)})", Tone.BAD if span > target else Tone.GOOD)


def run(
    context: typer.Context, services: Services = None, sets: Sets = None, before: Before = None, copy_in: CopyIn = None,
    alone: Alone = False, incident: for_incident.Named = "",
) -> Report:
    """Bring services back, in stages that are proven and approved.

    For each, in the order of their needs: its set into a clean room, searched, proven, approved by two, brought into
    production, started and proven from outside. It stops at what waits (4); `opsctl resume RUN` goes on, also after a kill.
    """
    from opsctl.actions.registry import action
    from opsctl.cli.stages import choice, gather, problems
    from opsctl.cli.work import go, open_site, refuse_hopeless

    session = of(context)
    site = open_site(session)
    ours = for_incident.meant(site, incident)
    chosen = choice(site, sets or (), before, copy_in)
    found = gather(site, services or (), chosen, alone=alone)
    if told := problems(found):
        return Report(result={"stages": [one.as_json() for one in found]}, errors=told, warnings=site.said,
                      text=lambda out: _write_plan(out, site, found, chosen, None))
    bound = bound_run(site, found, ours)
    refuse_hopeless(bound, action, site.config)
    _announce(session, site, found, bound)
    result = None if session.dry_run else lambda tally: _result(site, bound)
    return go(session, site, bound, text=stages_writer(site), result=result)


def bound_run(site: Site, found: Sequence[Stage], incident: str = "") -> BoundPlan:
    """All stages as one plan, with every set, place and name fixed."""
    from opsctl.actions.registry import action
    from opsctl.cli.work import who
    from opsctl.engine.bind import run_id
    from opsctl.engine.playbooks import find
    from opsctl.engine.stages import Part, compose

    now = site.clock().replace(second=0, microsecond=0)
    ident = run_id(now, "restore", site.token())
    parts = [_part(one, ident, Part, find("staged-restoration" if one.backup else "staged-start", site.config)) for one in found]
    told = [{**_fixed(one), "steps": [step.id for step in part.playbook.steps]} for one, part in zip(found, parts, strict=True)]
    backups = list(dict.fromkeys(one.backup for one in found if one.backup))
    inputs: dict[str, Any] = {"services": [one.service for one in found], "stages": told, "incident": incident}
    if len(backups) == 1:
        inputs["backup"] = backups[0]
    return compose(parts, playbook=RUN, title="Bring services back in stages", inputs=inputs, config=site.config, registry=action,
                   run=ident, now=now, started_by=who())


def _part(one: Stage, run: str, part: Any, playbook: Any) -> Any:
    if not one.backup:
        return part(one.service, playbook, {"service": one.service}, one.needs)
    inputs = {"service": one.service, "backup": one.backup, "set": one.set, "sources": list(one.sources), "room": f"{run}-{one.service}",
              "copy_in": "" if one.read_from == one.home else one.read_from}
    if "doubt" in playbook.inputs:  # a site's own may have no words for it
        inputs["doubt"] = f", which {one.doubt}," if one.doubt else f", clean as it was {one.trusting}," if one.trusting else ""
    into = dict(one.into)
    more: dict[tuple[str, str | None], dict[str, Any]] = {("promote", source): {"into": place} for source, place in into.items()}
    if into:
        more["outside", None] = {"into": into}
    return part(one.service, playbook, inputs, one.needs, more)


def _fixed(one: Stage) -> dict[str, Any]:
    """What the journal has of a stage, so that its status needs nothing else."""
    from opsctl.model.stages import seconds

    return {"service": one.service, "needs": list(one.needs), "backup": one.backup, "set": one.set, "read_from": one.read_from,
            "point": one.point.isoformat() if one.point else None, "bytes": one.bytes, "expected": seconds(one.expected),
            "loss": seconds(one.loss), "rto": seconds(one.rto), "rpo": seconds(one.rpo)}


def _announce(session: Session, site: Site, found: Sequence[Stage], bound: BoundPlan) -> None:
    if session.quiet or session.json:
        return
    from opsctl.cli import render

    for one in found:
        needs = f", after {', '.join(one.needs)}" if one.needs else ""
        render.complain(render.shown(f"{one.service}: {_plainly(_origin(site, one))}{needs}"))


def _plainly(cell: Mark | str) -> str:
    return cell.text if isinstance(cell, Mark) else cell


def _result(site: Site, bound: BoundPlan) -> dict[str, Any]:
    from opsctl.model.stages import courses

    return {"stages": [one.as_json() for one in courses(list(site.journal.read(run=bound.run)))]}


def in_stages(plan: BoundPlan) -> bool:
    """Whether a run is one of several stages."""
    return any(step.stage for step in plan.steps)


def stages_writer(site: Site) -> Callable[[Out, Tally, BoundPlan], None]:
    """What writes, after a run, how its stages stand by the journal."""
    from opsctl.model.stages import courses

    def write(out: Out, tally: Tally, plan: BoundPlan) -> None:
        write_courses(out, plan.run, courses(list(site.journal.read(run=plan.run))), site_standing(site, plan.run))
        write_left(out, tally, plan)

    return write


def status(
    context: typer.Context,
    run: Annotated[str | None, typer.Argument(metavar="RUN", help="the newest restoration where none is named")] = None,
) -> Report:
    """How each stage of a restoration stands, by the journal alone.

    Its outcome, its time against its target (RTO), its recovery point against its target (RPO), and whom it waits for.
    """
    from opsctl.cli.work import open_site
    from opsctl.model.stages import courses

    site = open_site(of(context))
    run = run or _newest(site)
    entries = list(site.journal.read(run=run))
    found = courses(entries)
    if not found:
        from opsctl.model.unknown import unknown

        raise unknown("restoration", run, _runs(site), hint="opsctl runs")
    word = site_standing(site, run)
    undone = [str(entry.run) for entry in site.journal.read(types=("run.bound",)) if entry.data.get("inputs", {}).get("promoted") == run]

    def text(out: Out) -> None:
        write_courses(out, run, found, word)
        if undone:
            out.line(Mark(f"it was rolled back since; how that ended: opsctl show {undone[-1]}", Tone.WARN))

    return Report(result={"run": run, "state": word, "stages": [one.as_json() for one in found], "rolled_back": undone}, text=text, run=run)


def site_standing(site: Site, run: str) -> str:
    from opsctl.engine.runs import Runs

    return Runs(site.place, site.journal, site.locks).standing(run)


def _runs(site: Site) -> list[str]:
    return [str(entry.run) for entry in site.journal.read(types=("run.bound",)) if entry.data.get("inputs", {}).get("stages")]


def _newest(site: Site) -> str:
    found = _runs(site)
    if not found:
        raise SafetyRefusal("there was no restoration in stages here", hint="opsctl restore plan shows what one would do")
    return found[-1]


_TONES = {"done": Tone.GOOD, "failed": Tone.BAD, "waiting": Tone.WARN, "running": Tone.STRONG, "open": Tone.QUIET}


def write_courses(out: Out, run: str, found: Sequence[Course], word: str) -> None:
    """Each stage with its outcome and its targets."""
    rows: list[tuple[Any, ...]] = []
    for one in found:
        step = next((name for name, outcome in one.steps.items() if outcome not in ("ok", "changed")), "")
        said = f"{one.outcome} at {step}" if step and one.outcome in ("failed", "waiting", "running") else one.outcome
        rows.append((one.service, Mark(said, _TONES[one.outcome]), f"{one.backup} {one.set}".strip(), "" if one.took is None else rough_duration(one.took),
                     _against(one.after, one.rto, "RTO"), _against(one.loss, one.rpo, "RPO"), "; ".join(one.waits) or one.because))
    out.table(Table(("service", "stage", "set", "took", "back after", "lost", Column("waits for", flexible=True)), rows))
    if word in ("waiting", "interrupted"):
        out.line(f"go on with: opsctl resume {run}")
