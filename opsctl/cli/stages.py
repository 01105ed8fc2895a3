"""The stages of a restoration as the configuration, the repositories and their drills have them now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from opsctl.cli import places
from opsctl.errors import DamagedData, OpsError, SafetyRefusal, UsageError
from opsctl.model import stages
from opsctl.model.config_restores import home_of
from opsctl.model.config_services import in_order
from opsctl.model.points import Candidate, Point, weigh
from opsctl.model.signals import SUSPECT
from opsctl.model.stages import Place, Stage
from opsctl.model.unknown import unknown
from opsctl.model.values import value
from opsctl.wiring.looked import said_of

if TYPE_CHECKING:
    from opsctl.model.sets import SetView
    from opsctl.repositories.history import Holdings
    from opsctl.wiring import Site


@value
class Choice:
    """What was asked: the set of a backup by its name, the first bad time, one repository to read from."""

    sets: Mapping[str, str]
    before: datetime | None = None
    copy_in: str | None = None


def choice(site: Site, sets: Sequence[str], before: str | None, copy_in: str | None) -> Choice:
    """Read ``--set BACKUP=SET``, ``--before`` and ``--from``. UsageError where they are not that."""
    from opsctl.cli.journal import moment_of

    found: dict[str, str] = {}
    for pair in sets:
        backup, equals, name = pair.partition("=")
        if not (backup and equals and name):
            raise UsageError(f"--set {pair}: not BACKUP=SET", hint="such as --set portal=20261124-0230-7f3a")
        if backup not in site.config.backups:
            raise unknown("backup", backup, site.config.backups)
        if found.setdefault(backup, name) != name:
            raise UsageError(f"--set: two sets of {backup} were given")
    if copy_in is not None and copy_in not in site.config.repositories:
        raise unknown("repository", copy_in, site.config.repositories)
    moment = moment_of(before, site.clock(), site.config.organisation.tz, "--before") if before else None
    return Choice(found, moment, copy_in)


def gather(site: Site, asked: Sequence[str], chosen: Choice, *, alone: bool = False) -> list[Stage]:
    """The stages of these services and of all that they need, in order; of all services where none is named.

    ``alone``: without what they need. Raises UsageError and SafetyRefusal for what is not in the configuration.
    """
    services = site.config.services
    if not services:
        raise SafetyRefusal("there are no services in the configuration", hint="services: with restores: says what comes back, and in which order")
    for name in asked:
        if name not in services:
            raise unknown("service", name, services)
    names = in_order(asked or list(services), services)
    if alone:
        names = [name for name in names if name in asked]
    unused = set(chosen.sets) - {_backup(site, name) for name in names}
    if unused:
        raise UsageError(f"--set: nothing is restored from {', '.join(sorted(unused))} for these services")
    seen = _Repositories(site)
    found: list[Stage] = []
    for name in names:
        stage = _stage(site, name, [one for one in services[name].needs if one in names], chosen, seen)
        found.append(replace(stage, ready=stages.ready(stage.needs, stage.expected, {one.service: one.ready for one in found})))
    return found


def _backup(site: Site, service: str) -> str:
    spec = site.config.services[service]
    return spec.backup or next(iter(home_of(spec.restores, {name: one.sources for name, one in site.config.backups.items()})), "")


class _Repositories:
    """What stands in each repository, looked at once; or why that cannot be seen."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.found: dict[str, Holdings | OpsError] = {}

    def look(self, name: str) -> Holdings | OpsError:
        if name not in self.found:
            try:
                self.found[name] = places.look(self.site, name)
            except OpsError as error:
                if error.code in (130, 143):
                    raise
                self.found[name] = error
        return self.found[name]


def _stage(site: Site, name: str, needs: Sequence[str], chosen: Choice, seen: _Repositories) -> Stage:
    spec = site.config.services[name]
    bare = Stage(name, tuple(needs), rto=spec.rto, rpo=spec.rpo, bring=spec.not_backed_up)
    if not spec.restores:
        return replace(bare, expected=timedelta(0))
    backup = _backup(site, name)
    home = site.config.backups[backup].repository
    known = (chosen.copy_in,) if chosen.copy_in else (home, *site.config.backups[backup].copies)
    bare = replace(bare, sources=spec.restores, backup=backup, home=home, into=tuple(spec.into.items()))
    views: dict[str, dict[str, SetView]] = {}
    unseen: list[Place] = []
    for repository in known:
        found = seen.look(repository)
        if isinstance(found, OpsError):
            unseen.append(Place(repository, "not seen", found.message))
        else:
            views[repository] = {view.id: view for view in found.judgement.of(backup)}
    everywhere = [view for here in views.values() for view in here.values()]
    wanted = asked = chosen.sets.get(backup)
    candidates = _candidates(site, backup, views)
    people: tuple[str, ...] = ()
    if wanted is None:
        point = stages.choose(candidates, chosen.before)
        decision = stages.decided(_choices(seen, known), backup, point)
        if decision is not None:
            wanted, people = decision.set, decision.people
            chosen = replace(chosen, before=chosen.before or decision.before)
        elif point is not None:
            wanted = point.set.id
    view = next((one for one in everywhere if one.id == wanted and stages.refusal(one) is None), None)
    if view is None:
        return replace(bare, set=wanted or "", places=(*_places(views, wanted, spec.restores), *unseen),
                       problem=_none(backup, asked, everywhere, unseen, chosen))
    found_in = (*_places(views, view.id, spec.restores), *unseen)
    weighed = weigh(candidates)
    reads = next((one.repository for one in found_in if one.why is None), "")
    now = site.clock()
    return replace(
        bare, set=view.id, point=view.time, read_from=reads, places=found_in,
        signals=next(one.verdict for one in candidates if one.id == view.id), doubt=_doubt(weighed, view.id), trusting=_trusting(site, weighed, view.id), chosen_by=people,
        bytes=sum(view.sources[one].get("bytes", 0) for one in spec.restores if one in view.sources),
        expected=stages.expected(view.sources, spec.restores, _drills(backup, seen, known)),
        loss=stages.loss(view.time, chosen.before, now),
        problem=None if reads else f"set {view.id} cannot be read from anywhere: {'; '.join(f'{one.repository}: {one.why}' for one in found_in)}",
    )


def _choices(seen: _Repositories, known: Sequence[str]) -> list[Any]:
    return [choice for name in known if not isinstance(found := seen.look(name), OpsError) for choice in found.choices]


def _candidates(site: Site, backup: str, views: Mapping[str, Mapping[str, SetView]]) -> list[Candidate]:
    """Every set once, oldest first, with what is known of its changes and what people said of them."""
    looked = said_of(site, backup)
    best: dict[str, SetView] = {}
    kept: dict[str, Mapping[str, Any]] = {}
    for repository, here in views.items():
        known = site.catalogue.signals(site.history(repository).identity().id)
        for view in here.values():
            if view.id not in best or stages.refusal(best[view.id]) is not None:
                best[view.id] = view
                kept[view.id] = known.get(str(view.manifest), {}) or view.signals
    ordered = sorted(best.values(), key=lambda view: view.time.timestamp() if view.time else 0.0)
    return [Candidate(view.id, view.time, view.taken_until if view.record else None, stages.refusal(view), kept[view.id], looked.get(view.id))
            for view in ordered]


def doubt_of(site: Site, backup: str, views: Mapping[str, Mapping[str, SetView]], set_id: str) -> str:
    """What the change signals of the sets in these repositories say against one, in words that follow its name; empty where they do not."""
    return _doubt(weigh(_candidates(site, backup, views)), set_id)


def trusting(site: Site, backup: str, views: Mapping[str, Mapping[str, SetView]], set_id: str) -> str:
    """On whose word one of these sets is clean; empty where on nobody's."""
    return _trusting(site, weigh(_candidates(site, backup, views)), set_id)


def _trusting(site: Site, points: Sequence[Point], set_id: str) -> str:
    return next((one.words(site.config.organisation.tz) for one in points if one.set.id == set_id), "")


def _doubt(points: Sequence[Point], set_id: str) -> str:
    point = next((one for one in points if one.set.id == set_id), None)
    if point is None or point.refused is None or point.unknown or point.set.trouble is not None:
        return ""
    return "looks like an attack" if point.set.verdict == SUSPECT else point.refused


def _places(views: Mapping[str, Mapping[str, SetView]], set_id: str | None, sources: Sequence[str]) -> list[Place]:
    if not set_id:
        return []
    found = []
    for repository, here in views.items():
        view = here.get(set_id)
        if view is None:
            found.append(Place(repository, "absent", "the set is not there"))
            continue
        lacking = [one for one in sources if one not in view.sources]
        why = stages.refusal(view) or (f"it does not hold {', '.join(lacking)}" if lacking else None)
        found.append(Place(repository, view.word, why))
    return found


def _none(backup: str, wanted: str | None, everywhere: Sequence[SetView], unseen: Sequence[Place], chosen: Choice) -> str:
    blind = "".join(f"; {one.repository} cannot be seen: {one.why}" for one in unseen)
    if wanted is not None:
        there = [view for view in everywhere if view.id == wanted]
        if there:
            return f"set {wanted} of {backup} cannot be used: {stages.refusal(there[0])}{blind}"
        return f"there is no set {wanted} of {backup}{blind}"
    if not everywhere:
        return f"there is no set of {backup}{blind}"
    when = " from before the first bad time" if chosen.before else ""
    return f"no set of {backup}{when} is whole, undamaged and not suspect{blind}"


def _drills(backup: str, seen: _Repositories, known: Sequence[str]) -> list[Mapping[str, Any]]:
    found = [record for name in known if not isinstance(holdings := seen.look(name), OpsError)
             for record in holdings.drills if record["backup"] == backup]
    return sorted(found, key=lambda record: str(record["time"]))


def problems(found: Sequence[Stage]) -> list[OpsError]:
    """What stands in the way of bringing these back, an error for each: 22 where sets are there and none is whole, else 23."""
    errors: list[OpsError] = []
    for one in found:
        if one.problem is not None:
            kind = DamagedData if any("damaged" in (place.why or "") for place in one.places) else SafetyRefusal
            errors.append(kind(f"{one.service}: {one.problem}", where=one.service,
                               hint=f"opsctl backup list {one.backup} shows the sets; --set {one.backup}=SET takes another one, --from another repository"))
    return errors
