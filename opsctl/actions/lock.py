"""lock: everything in a repository locked by its S3 store for the time that the configuration says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from opsctl.actions.interface import Change, Params, StateAction, World
from opsctl.errors import ConfigError
from opsctl.model.moments import local
from opsctl.model.sets import WHOLE, SetView
from opsctl.model.snapshots import Progress
from opsctl.model.values import value

if TYPE_CHECKING:  # most sites have no bucket
    from opsctl.repositories.objectlock import Held
    from opsctl.repositories.s3_place import S3Place

#: How many objects that were stored anew are named; the number of the rest is said.
_NAMED = 5


class LockParams(Params):
    """``repository`` is one with ``object_lock`` in the configuration."""

    repository: str


@value
class Seen:
    """How the locks stand; None where the repository was not made yet. ``weak``: what the bucket lacks."""

    held: Held | None
    weak: tuple[str, ...]
    mode: str
    term: timedelta
    now: datetime


class Lock(StateAction[LockParams, Seen]):
    """Renews the locks of a repository in an S3 bucket with Object Lock.

    with:
      repository  the name of a repository with `object_lock` in the configuration

    Everything that the repository holds is locked until `days` from now, since a new set needs packs that older ones
    brought, and these outlive their first lock. It is done after each new set, and when a tenth of the time is over.
    A bucket that cannot lock at all is refused (23); a default retention that is weaker than the configuration is
    said, and opsctl's own locks make up for it.
    """

    word = "lock"
    Params = LockParams

    def locks(self, params: LockParams) -> Sequence[str]:
        return (f"lock-{params.repository}",)

    def skip_when_busy(self, params: LockParams) -> bool:
        """Two timers at once: whoever is at it renews the same locks, and what it missed the next one finds due."""
        return True

    def observe(self, params: LockParams, world: World) -> Seen:
        from opsctl.repositories import objectlock

        spec = world.config.repositories[params.repository]
        place = locked_place(params.repository, world)
        history = world.repository(params.repository)
        found = objectlock.facts(place)
        objectlock.require(found, params.repository)
        weak = tuple(objectlock.weaknesses(found, spec.object_lock.mode, spec.object_lock.term))
        for each in weak:
            world.warn(f"{params.repository}: {each}")
        held = None
        if history.pinned() is not None:
            held = objectlock.held(place, newest_snapshots(history.look(world.clock()).judgement.sets))
        return Seen(held, weak, spec.object_lock.mode, spec.object_lock.term,
                    world.clock().astimezone(world.config.organisation.tz))

    def plan(self, params: LockParams, seen: Seen) -> list[Change]:
        from opsctl.repositories import objectlock

        if seen.held is None or not objectlock.is_due(seen.held, seen.term, seen.now):
            return []
        return [Change("extend", f"lock the {seen.held.objects} objects of {params.repository} for {seen.term.days} days "
                                 f"from now ({seen.mode})")]

    def apply(self, params: LockParams, change: Change, world: World) -> None:
        from opsctl.repositories import objectlock

        lock = world.config.repositories[params.repository].object_lock
        until = world.clock().replace(microsecond=0) + lock.term + timedelta(seconds=1)

        def on_progress(done: int, total: int) -> None:
            world.shell.check()
            world.progress(Progress(f"lock {params.repository}", files_done=done, files_total=total))

        done = objectlock.extend(locked_place(params.repository, world), lock.mode, until, on_progress)
        if done.overwritten:
            named = ", ".join(done.overwritten[:_NAMED]) + (" …" if len(done.overwritten) > _NAMED else "")
            world.warn(f"{params.repository}: {len(done.overwritten)} objects were replaced after they were stored, which "
                       f"restic never does ({named}): opsctl verify {params.repository} --level data, then "
                       f"opsctl backup rewind {params.repository}")

    def missing(self, params: LockParams, seen: Seen, changes: Sequence[Change]) -> str:
        until = f"only until {local(seen.held.until, seen.now.tzinfo)}" if seen.held and seen.held.until else "not at all"
        return f"{params.repository}: something in it is locked {until}, after its lock was renewed"

    def result(self, params: LockParams, seen: Seen) -> Mapping[str, Any]:
        return {"repository": params.repository, "weak": list(seen.weak),
                "locked": seen.held.as_dict() if seen.held else None}


def locked_place(repository: str, world: World) -> S3Place:
    """Where a repository lies in an S3 store. ConfigError where it lies elsewhere."""
    from opsctl.repositories.s3_store import S3Store

    store = world.repository(repository).repository.store
    if not isinstance(store, S3Store):
        raise ConfigError(f"{repository} is not in an S3 store", hint="its url has to be s3:https://host/bucket/prefix")
    return store.place


def require_locks(repository: str, world: World) -> None:
    """SafetyRefusal where a store that is said to lock what is stored there cannot, any more or at all."""
    from opsctl.repositories import objectlock

    objectlock.require(objectlock.facts(locked_place(repository, world)), repository)


def newest_snapshots(sets: Sequence[SetView]) -> list[str]:
    """The snapshots and the manifest of the newest whole set of each backup."""
    newest: dict[str, SetView] = {}
    for view in sets:
        if view.state in WHOLE and view.time is not None:
            before = newest.get(view.backup)
            if before is None or before.time is None or view.time > before.time:
                newest[view.backup] = view
    return [each for view in newest.values() for each in (*view.snapshots.values(), view.manifest) if each]
