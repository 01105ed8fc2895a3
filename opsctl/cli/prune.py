"""``opsctl backup prune``: what goes, what stays and why, and then, when two people agreed, the prune."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsctl.cli.report import Column, Mark, Out, Report, Table, Tone
from opsctl.cli.session import of
from opsctl.errors import UsageError
from opsctl.model.quantities import counted

if TYPE_CHECKING:
    from opsctl.engine.runs import Tally
    from opsctl.model.plan import BoundPlan
    from opsctl.model.pruning import Choice
    from opsctl.model.sets import SetView
    from opsctl.wiring import Site, World


def prune(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="name of a backup")],
    repository: Annotated[str | None, typer.Option(
        "--repository", metavar="REPOSITORY", help="one that holds its copies, instead of its own")] = None,
    accept: Annotated[list[str] | None, typer.Option(
        "--accept", metavar="SET", help="a suspect set, or one from the future, that is harmless; may be given again")] = None,
    unfinished: Annotated[bool, typer.Option("--unfinished", help="also sets without a manifest that nobody will finish")] = False,
) -> Report:
    """Give up sets that `keep` does not ask for.

    Run it on the machine that holds the store. It shows what goes and what stays, and why; waits (4) until two people have
    approved exactly that; and removes it. Nothing else ever prunes. Refused (23) while anything speaks against it.
    """
    from opsctl.cli.backup import known, remember
    from opsctl.cli.work import carry_out, open_site
    from opsctl.wiring import refuse_unsigned

    session = of(context)
    site = open_site(session)
    known([name], site.config.backups, "backup")
    plan = site.config.backups[name]
    place = repository or plan.repository
    if place not in (plan.repository, *plan.copies):
        raise UsageError(f"{name} has nothing in {place}", hint=f"it is in {', '.join((plan.repository, *plan.copies))}")
    if not session.dry_run:
        refuse_unsigned(site)
    choice, views = _choice(site, name, place, unfinished, accept or ())
    if not views:
        return Report(result={"backup": name, "repository": place, **_shown(choice, views)}, warnings=site.said,
                      text=lambda out: _write_choice(out, site, choice, views, place))
    from opsctl.actions.pruning import snapshots_of

    inputs = {"backup": name, "repository": place, "sets": [view.id for view in views], "forget": snapshots_of(views),
              "accept": list(accept or ())}

    def result(tally: Tally) -> Mapping[str, Any]:
        done = next((one.result for one in tally.results if one.step == "prune" and one.result), {})
        return {"backup": name, "repository": place, **_shown(choice, views), "freed": done.get("freed", 0), "gone": done.get("gone", False)}

    report = carry_out(session, site, "prune", inputs, subject=name, before=_refuse, text=write, result=result)
    if not session.dry_run:
        remember(site, [name])

    def text(out: Out) -> None:
        _write_choice(out, site, choice, views, place)
        if report.text is not None:
            report.text(out)

    return replace(report, text=text)


def _choice(site: Site, backup: str, repository: str, unfinished: bool, accept: Sequence[str]) -> tuple[Choice, list[SetView]]:
    """What stays, and the sets that go."""
    from opsctl.actions.pruning import Matter
    from opsctl.model.unknown import unknown

    matter = Matter(backup, repository, site.config, site.history, site.clock())
    holdings = matter.look()
    places = matter.places(holdings)
    ids = {view.id for one in places for view in one.sets}
    for name in accept:
        if name not in ids:
            raise unknown("set", name, ids, hint="opsctl backup list")
    choice = matter.choice(places)
    return choice, [*matter.begun(holdings), *(choice.unfinished if unfinished else ()), *choice.goes]


def _refuse(bound: BoundPlan, world: World) -> None:
    """Nobody is asked to approve what would be refused afterwards."""
    from opsctl.actions.prune import Prune, PruneParams

    params = PruneParams.model_validate(dict(bound.step("prune").items[0].params))
    action = Prune()
    action.plan(params, action.observe(params, world))


def _shown(choice: Choice, views: list[SetView]) -> dict[str, Any]:
    return {"goes": [view.id for view in views], "stays": {name: list(why) for name, why in choice.stays.items()},
            "unfinished": [view.id for view in choice.unfinished]}


def _write_choice(out: Out, site: Site, choice: Choice, views: list[SetView], place: str) -> None:

    going = {view.id: view for view in views}
    rows: list[tuple[Any, ...]] = [(name, "stays", ", ".join(why)) for name, why in choice.stays.items()]
    rows += [(name, Mark("goes", Tone.WARN), _why(site, choice, view))
             for name, view in reversed(going.items())]
    out.table(Table(("set", f"in {place}", Column("why", flexible=True)), rows, empty="no sets"))
    left = [view.id for view in choice.unfinished if view.id not in going]
    if left:
        out.line(Mark(f"{counted(len(left), 'set')} without a manifest that nobody will finish: {', '.join(left[:5])}; --unfinished gives "
                      "them up as well", Tone.QUIET))
    if not views:
        out.line(f"nothing to prune: `keep` asks for every set of it in {place}")


def _why(site: Site, choice: Choice, view: SetView) -> str:
    from opsctl.cli.work import local_time

    if view.state == "pruned":
        return view.reasons[0]
    return "no manifest" if view in choice.unfinished else f"of {local_time(site, view.time)}"


def write(out: Out, tally: Tally, plan: BoundPlan) -> None:
    """What the prune came to."""
    from opsctl.model.quantities import format_size

    for one in tally.results:
        if one.step != "prune":
            continue
        if one.result.get("gone"):
            out.line(Mark(f"{one.result['backup']}: {counted(len(one.result['sets']), 'set')} given up in {one.result['repository']}, "
                          f"{format_size(one.result['freed'])} freed; {counted(len(one.result['stays']), 'set')} stay", Tone.GOOD))
        elif one.outcome != "skipped":
            out.line(Mark(f"{plan.inputs['backup']}: not pruned: {one.because}", Tone.BAD))
