"""``opsctl restore promote``, ``rollback`` and ``kept``: one source into production, and back what it replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from opsctl.cli import for_incident, places
from opsctl.cli.report import Column, Mark, Out, Report, Table, Tone
from opsctl.cli.rooms import write_left
from opsctl.cli.session import of
from opsctl.errors import SafetyRefusal, UsageError

if TYPE_CHECKING:
    from opsctl.engine.runs import Tally
    from opsctl.model.plan import BoundPlan
    from opsctl.model.sets import SetView
    from opsctl.wiring import Site


def promote(
    context: typer.Context,
    backup: Annotated[str, typer.Argument(metavar="BACKUP", help="name of the backup")],
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="the source of its set that comes into production")],
    set_id: places.SetId = None,
    copy_in: places.From = None,
    into: Annotated[str, typer.Option("--into", metavar="PLACE", help="folder, file or database that it becomes, if not its own")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="keep what is there under a dated name; otherwise data there is refused")] = False,
    people: Annotated[int, typer.Option("--people", metavar="N", min=2, max=20, help="how many people have to approve it")] = 2,
    role: Annotated[str, typer.Option("--role", metavar="ROLE", help="the role that they need")] = "",
    incident: for_incident.Named = "",
) -> Report:
    """Bring one source into production, proven and approved.

    Restored in a clean room, scanned and proven there, approved by two, then restored beside its place and renamed.
    Nothing stops what uses it: that is `restore run`, or `stop` before and `start` after.
    """
    from opsctl.cli.restore import choose
    from opsctl.cli.work import carry_out, open_site

    session = of(context)
    site = open_site(session)
    ours = for_incident.meant(site, incident)
    view = choose(session, site, backup, set_id, copy_in)
    if source not in view.sources:
        raise UsageError(f"set {view.id} holds no source {source}", hint=f"it holds {', '.join(view.sources)}")
    doubt = _doubt(site, backup, copy_in, view.id)
    if doubt and (set_id is None or set_id in places.NEWEST):
        raise SafetyRefusal(f"set {view.id}, the newest of {backup}, {doubt}: nothing is brought back from it without naming it",
                            hint=f"opsctl restore points {backup} names the clean one; --set ID takes one all the same")
    word = _word(site, backup, copy_in, view.id)
    inputs = {"backup": backup, "set": view.id, "doubt": f", which {doubt}," if doubt else f", clean as it was {word}," if word else "", "source": source, "into": into, "replace": "yes" if replace else "no",
              "copy_in": copy_in or "", "room": f"promote-{view.id}-{source}"[:127].rstrip("-"), "people": people, "role": role, "incident": ours}
    return carry_out(session, site, "promote", inputs, subject=backup, text=write_promoted, once=True)


def _doubt(site: Site, backup: str, copy_in: str | None, set_id: str) -> str:
    """What the change signals say against a set, in words that follow its name; empty where they do not."""
    from opsctl.cli.stages import doubt_of

    return doubt_of(site, backup, _views(site, backup, copy_in), set_id)


def _word(site: Site, backup: str, copy_in: str | None, set_id: str) -> str:
    """On whose word a set is clean."""
    from opsctl.cli.stages import trusting

    return trusting(site, backup, _views(site, backup, copy_in), set_id)


def _views(site: Site, backup: str, copy_in: str | None) -> dict[str, dict[str, SetView]]:
    found = places.look(site, copy_in or places.home(site, backup)).judgement.of(backup)
    return {copy_in or site.home(backup): {view.id: view for view in found}}


def write_promoted(out: Out, tally: Tally, plan: BoundPlan) -> None:
    """What stands where now, and what was kept as what; steps before that which did not end well."""
    for one in tally.results:
        for found in one.result.get("places", ()):
            if found.get("promoted"):
                kept = f"; what was there is {found['kept']}" if found["kept"] else ""
                out.line(Mark(f"in production: {found['place']}{kept}", Tone.GOOD))
                out.line(Mark(f"  back again: opsctl restore rollback {plan.run}", Tone.QUIET))
    write_left(out, tally, plan)


def write_resumed(out: Out, tally: Tally, plan: BoundPlan) -> None:
    """The same of a run that was taken up again, with how each of its steps ended."""
    from opsctl.cli.work import write_steps

    write_steps(out, tally.results)
    write_promoted(out, tally, plan)


def rollback(
    context: typer.Context,
    promoted: Annotated[str, typer.Argument(metavar="RUN", help="id of the run that brought it into production")],
    service: Annotated[str | None, typer.Argument(metavar="SERVICE", help="only what this service restores")] = None,
) -> Report:
    """Put back what a run replaced in production.

    Nothing is deleted: what had been brought is kept under a dated name in its turn. A run that was killed half-way is
    undone from where it stands.
    """
    from opsctl.cli.work import carry_out, open_site
    from opsctl.model.unknown import unknown

    session = of(context)
    site = open_site(session)
    if service is not None and service not in site.config.services:
        raise unknown("service", service, site.config.services)
    sources = list(site.config.services[service].restores) if service is not None else []
    return carry_out(session, site, "rollback", {"promoted": promoted, "sources": sources}, subject="rollback", text=write_back)


def write_back(out: Out, tally: Tally, plan: BoundPlan) -> None:
    """What is back in its place, and what is kept of what had come there."""
    for one in tally.results:
        for found in one.result.get("places", ()):
            if found["back"]:
                out.line(Mark(f"as it was before: {found['place']}", Tone.GOOD))
                if found["kept"]:
                    out.line(f"  what had been brought there is {found['kept']}")


def kept(
    context: typer.Context,
    remove: Annotated[str | None, typer.Option("--remove", metavar="NAME", help="remove this one for good; its name has to be typed once more")] = None,
) -> Report:
    """List what was kept when it was replaced, and how big it is."""
    from opsctl.actions.promoting.kept import kept as there
    from opsctl.cli.work import carry_out, open_site
    from opsctl.model.plan import BoundPlan
    from opsctl.model.quantities import format_size
    from opsctl.model.unknown import unknown
    from opsctl.wiring import World

    session = of(context)
    site = open_site(session)
    runs = sorted(path.parent.parent.name for path in (site.place / "runs").glob("*/kept/promote"))
    world = World(site, BoundPlan("look", "look", "", site.clock(), "", {}, ()))
    found = list(there(runs, world))
    if remove is not None:
        one = next((one for one in found if one.name == remove), None)
        if one is None:
            raise unknown("kept thing", remove, [one.name for one in found], hint="opsctl restore kept")
        if not session.dry_run and session.typed(f"{one.name} ({format_size(one.piece.size(one.name))}) is removed for good; type its name") != one.name:
            raise UsageError("that is not its name; nothing was removed")
        return carry_out(session, site, "discard", {"kept": one.name, "run": one.run, "said": one.name}, subject="discard")
    rows = [(one.name, format_size(one.piece.size(one.name)), one.place, one.source,
             "replaced by" if one.before else "brought by", one.run) for one in found]
    table = Table((Column("kept", flexible=True), Column("size", right=True), Column("of", flexible=True), "source", "", "run"), rows,
                  empty="nothing was kept")
    result = {"kept": [{"name": one.name, "bytes": one.piece.size(one.name), "place": one.place, "source": one.source,
                        "before": one.before, "run": one.run} for one in found]}
    return Report(result=result, text=lambda out: out.table(table), warnings=site.said)
