"""``opsctl backup freeze`` and ``thaw``: nothing is pruned while an incident is open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.cli.session import of

if TYPE_CHECKING:
    from opsctl.engine.runs import Tally
    from opsctl.model.plan import BoundPlan
    from opsctl.wiring import Site

Repositories = Annotated[list[str] | None, typer.Argument(metavar="REPOSITORY", help="names of repositories; all if none is given")]
Incident = Annotated[str, typer.Option("--incident", metavar="ID", help="the incident that it is for")]


def freeze(context: typer.Context, incident: Incident, repositories: Repositories = None) -> Report:
    """Freeze retention: nothing more is pruned until two people agree.

    The freeze is written into each repository, for every machine that shares it. A disk that is away is frozen when it is
    here; before that, the freeze of the backup's own repository holds for it as well.
    """
    from opsctl.cli.backup import known
    from opsctl.cli.work import carry_out, open_site
    from opsctl.wiring import refuse_unsigned

    session = of(context)
    site = open_site(session)
    chosen = known(repositories, site.config.repositories, "repository")
    if not repositories:
        away = [name for name in chosen if site.history(name).is_away()]
        site.notes += [f"{name} is away; freeze it when it is here: opsctl backup freeze {name} --incident {incident}" for name in away]
        chosen = [name for name in chosen if name not in away]
    if not session.dry_run:
        refuse_unsigned(site)
    report = carry_out(session, site, "freeze", {"repositories": chosen, "incident": incident}, subject="freeze", text=write)
    if not session.dry_run:
        _remember(site, chosen)
    return report


def thaw(context: typer.Context, incident: Incident, repositories: Repositories = None) -> Report:
    """Lift a freeze, once two people have signed for that.

    It lifts the freezes that stand now and no later one. Exit 4 while it waits for the signatures.
    """
    from opsctl.cli import looks
    from opsctl.cli.backup import known
    from opsctl.cli.work import carry_out, open_site
    from opsctl.wiring import refuse_unsigned

    session = of(context)
    site = open_site(session)
    frozen: dict[str, list[str]] = {}
    for name in known(repositories, site.config.repositories, "repository"):
        if not repositories and site.history(name).is_away():
            site.notes.append(f"{name} is away, and stays as it is")
            continue
        lifts = [one.id for one in looks.look(site, name).freezes if one.incident == incident]
        if lifts:
            frozen[name] = lifts
    if not frozen:
        return Report(result={"steps": []}, text=lambda out: out.line(f"nothing is frozen for incident {incident}"), warnings=site.said)
    if not session.dry_run:
        refuse_unsigned(site)
    inputs = {"repositories": list(frozen), "incident": incident, "lifts": [one for lifts in frozen.values() for one in lifts]}
    report = carry_out(session, site, "thaw", inputs, subject="thaw", text=write, once=True)
    if not session.dry_run:
        _remember(site, list(frozen))
    return report


def write(out: Out, tally: Tally, plan: BoundPlan) -> None:
    """A line for each repository."""
    for one in tally.results:
        if one.step not in ("freeze", "thaw"):
            continue
        found = one.result.get("frozen")
        if found is None:
            out.line(Mark(f"{one.item}: {one.because}", Tone.QUIET if one.outcome == "skipped" else Tone.BAD))
        elif found:
            for each in found:
                out.line(Mark(f"{one.item}: frozen for incident {each['incident']}; nothing is pruned there", Tone.WARN))
        else:
            out.line(Mark(f"{one.item}: not frozen", Tone.GOOD))


def _remember(site: Site, repositories: Sequence[str]) -> None:
    from opsctl.cli.backup import remember

    remember(site, [name for name, plan in site.config.backups.items() if {plan.repository, *plan.copies} & {*repositories}])


def frozen(site: Site) -> dict[str, Sequence[Mapping[str, Any]]]:
    """The repositories that were frozen at the last look, each with its freezes (``incident since``)."""
    return {one["repository"]: one["frozen"] for one in site.catalogue.standing().values()
            if one.get("frozen") and one.get("repository") in site.config.repositories}


def lines(site: Site, frozen: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Mark]:
    """What ``status`` says: which repositories are frozen, since when and for which incident."""
    from opsctl.cli.work import local_time
    from opsctl.model.snapshots import parse_time

    return [Mark(f"repository {name}: frozen since {local_time(site, parse_time(one['since'])) if one['since'] else 'an unknown time'} "
                 f"for incident {one['incident']}: nothing is pruned there (opsctl backup thaw --incident {one['incident']})", Tone.WARN)
            for name, freezes in frozen.items() for one in freezes]
