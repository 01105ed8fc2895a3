"""copy: the sets of a backup in its other repositories, each copy whole and under the same signature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime, timedelta
from typing import Any, Literal

from opsctl.actions.interface import Change, Params, StateAction, World
from opsctl.errors import DamagedData, OpsError, SafetyRefusal, UsageError, concerning
from opsctl.model.due import due
from opsctl.model.quantities import counted
from opsctl.model.sets import COPY, GOOD, SetView
from opsctl.model.values import value
from opsctl.repositories.history import History, is_of_all


class CopyParams(Params):
    """``to``: names of repositories; all that the backup's ``copies`` names where it is empty."""

    backup: str
    to: tuple[str, ...] = ()
    when: Literal["always", "due"] = "always"


@value
class There:
    """How one copy stands. ``missing``: ids of sets to copy, oldest first; ``away``: the disk is not here.

    ``trouble``: why it could not be looked at; ``behind``: sets are not there that are not due yet. ``paused``: sets whose
    data was found damaged when they were last copied, with what was said; within a day only a person tries them again.
    """

    name: str
    newest: str | None
    newest_time: datetime | None
    missing: tuple[str, ...]
    away: bool = False
    removable: bool = False
    because: str | None = None
    sets: int = 0
    trouble: str | None = None
    behind: bool = False
    paused: Mapping[str, str] = field(default_factory=dict)


@value
class Seen:
    """``home``: the backup's own repository, and what each copy has and lacks of it."""

    home: str
    newest: str | None
    places: tuple[There, ...]
    bytes: Mapping[str, int]
    now: datetime


class Copy(StateAction[CopyParams, Seen]):
    """Copies the sets of a backup from its own repository into others, and looks whether they arrived whole.

    with:
      backup  the name of a backup in the configuration
      to      names of repositories; all of the backup's `copies` where it is left out
      when    `always`, or `due`: a copy with an `every` of its own only where its newest set is as old as that; on a
              removable disk whenever it is here, and without a word where it is away; a set whose data turned out
              damaged only once a day

    Only good sets are copied: whole, and signed by a key that we trust. A copy is made of everything that is newer than
    the oldest set already there, the manifest last, so that a killed copy is never taken for a whole one. The signed
    manifest goes along unchanged; a copied snapshot has to hold the very tree that was signed. A copy that fails does
    not stop the others.
    """

    word = "copy"
    Params = CopyParams

    def locks(self, params: CopyParams) -> Sequence[str]:
        return (f"copy-{params.backup}",)

    def skip_when_busy(self, params: CopyParams) -> bool:
        return params.when == "due"

    def observe(self, params: CopyParams, world: World) -> Seen:
        plan = world.config.backups[params.backup]
        for name in params.to:
            if name not in plan.copies:
                known = f"it has {', '.join(plan.copies)}" if plan.copies else "it has none"
                raise UsageError(f"{params.backup} has no copy in {name}", hint=f"{known}; see copies: in the configuration")
        home = world.repository(plan.repository)
        home.require_known()
        good = _good(home, params.backup, world)
        newest = home.seen(world.clock()).judgement.newest_good(params.backup)
        return Seen(
            home=plan.repository,
            newest=newest.id if newest else None,
            places=tuple(_there_or_trouble(name, params, good, world) for name in params.to or plan.copies),
            bytes={view.id: view.added for view in good},
            now=world.now,
        )

    def plan(self, params: CopyParams, seen: Seen) -> list[Change]:
        changes = []
        for place in seen.places:
            if place.trouble is not None:
                changes.append(Change(place.name, f"copy {params.backup} to {place.name}, if it can be reached"))
            elif place.away and not (place.removable and params.when == "due"):
                changes.append(Change(place.name, f"copy {params.backup} to {place.name}, where nothing is now"))
            elif place.missing and not place.away:
                sets = place.missing[0] if len(place.missing) == 1 else counted(len(place.missing), 'set')
                changes.append(Change(place.name, f"copy {sets} of {params.backup} from {seen.home} to {place.name}"))
        return changes

    def apply(self, params: CopyParams, change: Change, world: World) -> None:
        with concerning(change.key):
            self._copy(params, change, world)

    def _copy(self, params: CopyParams, change: Change, world: World) -> None:
        plan = world.config.backups[params.backup]
        home, target = world.repository(plan.repository), world.repository(change.key)
        _require_there(target, plan.repository)
        if world.config.repositories[change.key].object_lock is not None:
            from opsctl.actions.lock import require_locks  # what speaks S3 is much to load

            require_locks(change.key, world)
        good = _good(home, params.backup, world)
        wanted = _there(change.key, params, good, world).missing
        views = {view.id: view for view in good}
        target.repository.unlock_stale()
        failed: list[OpsError] = []
        for name in wanted:
            try:
                target.repository.limited(plan.limits).copy_from(home.repository, _snapshots(views[name], home), expected=views[name].added,
                                            on_progress=world.progress)
            except DamagedData as error:
                if is_of_all(error):
                    raise
                failed.append(error)  # one damaged set must not keep the ones after it from being copied
                target.attempts.failed(params.backup, name, error.message, world.now, world.run)
            else:
                target.attempts.succeeded(params.backup, name)
        if failed:
            raise failed[0]
        _look_again(target, params.backup, wanted, world)
        target.repository.unlock_stale()

    def asked(self, params: CopyParams, seen: Seen) -> int:
        return len(seen.places)

    def missing(self, params: CopyParams, seen: Seen, changes: Sequence[Change]) -> str:
        return f"{params.backup}: not in {', '.join(change.key for change in changes)} yet"

    def result(self, params: CopyParams, seen: Seen) -> Mapping[str, Any]:
        return {
            "backup": params.backup, "home": seen.home, "newest": seen.newest,
            "copies": {place.name: {
                "newest": place.newest, "newest_time": _stamp(place.newest_time), "sets": place.sets,
                "state": _state(place),
                "missing": list(place.missing), "paused": dict(place.paused),
                "because": place.trouble or place.because,
            } for place in seen.places},
        }


def _at(view: SetView) -> datetime:
    assert view.time is not None, "a good set has a time: it is read from its manifest"
    return view.time


def _state(place: There) -> str:
    if place.trouble is not None:
        return "unknown"
    if place.away:
        return "away"
    if place.paused:
        return "paused"
    return "behind" if place.missing else "resting" if place.behind else "current"


def _good(home: History, backup: str, world: World) -> list[SetView]:
    sets = home.seen(world.clock()).judgement.of(backup)
    return [view for view in sets if view.state == GOOD and _at(view) <= world.now]


def _there_or_trouble(name: str, params: CopyParams, good: Sequence[SetView], world: World) -> There:
    try:
        return _there(name, params, good, world)
    except OpsError as error:
        return There(name, None, None, (), trouble=error.message)


def _there(name: str, params: CopyParams, good: Sequence[SetView], world: World) -> There:
    spec = world.config.repositories[name]
    history = world.repository(name)
    if history.is_away():
        return There(name, None, None, (), away=True, removable=True, because="the disk is not here")
    history.require_known()
    holdings = history.look(world.clock())
    judgement = holdings.judgement
    copies = [view for view in judgement.of(params.backup) if view.state == COPY]
    newest = judgement.newest_whole(params.backup)
    time = newest.time if newest else None
    # What people have given up here is not brought back.
    given_up = {one["set"] for prune in holdings.prunes if prune.backup == params.backup for one in prune.forgotten}
    held = {view.id for view in copies} | given_up
    first = min((_at(view) for view in copies), default=None)
    wanted = [view for view in sorted(good, key=_at) if view.id not in held and (first is None or _at(view) >= first)]
    # A removable disk that is here now may be away again when its copy has become as old as it may.
    because = _due(None if spec.removable else spec.every, time, params.when, world.now)
    paused = history.attempts.paused(params.backup, world.now, world.run) if params.when == "due" and because else {}
    paused = {view.id: paused[view.id] for view in wanted if view.id in paused}
    return There(name, newest.id if newest else None, time,
                 tuple(view.id for view in wanted if view.id not in paused) if because else (),
                 removable=spec.removable, because=because, sets=len(copies), behind=bool(wanted), paused=paused)


def _due(every: timedelta | None, newest: datetime | None, when: str, now: datetime) -> str | None:
    if when == "always" or every is None:
        return "every set is copied"
    return due(newest, every, now)


def _require_there(target: History, home: str) -> None:
    target.require_here()
    # One that is pinned is known again when it is looked at next, by its config, mostly without restic.
    if target.pinned() is None and target.find() is None:
        raise SafetyRefusal(f"there is no repository at {target.repository.url} ({target.name}) yet",
                            hint=f"opsctl backup init {target.name} (it cuts data up as {home} does)", where=target.name)
    target.require_known()


def _snapshots(view: SetView, home: History) -> list[str]:
    """The snapshots of a set in the order in which they are copied: the manifest last, since it is the commit."""
    assert view.manifest is not None, "a good set has its manifest"
    home.confirm(view)
    return [*view.snapshots.values(), view.manifest]


def _look_again(target: History, backup: str, wanted: Sequence[str], world: World) -> None:
    there = {view.id: view for view in target.look(world.clock()).judgement.of(backup)}
    errors: list[OpsError] = []
    for name in wanted:
        view = there.get(name)
        if view is None or view.state != COPY:
            why = "; ".join(view.reasons) if view else "it is not there"
            errors.append(DamagedData(f"the copy of set {name} of {backup} in {target.name} is not whole: {why}",
                                      hint=f"opsctl verify {target.name}", where=target.name))
    if errors:
        raise errors[0]


def _stamp(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
