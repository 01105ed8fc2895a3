"""repository: a repository that exists and is pinned, made on purpose and never again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from opsctl.actions.interface import Change, Params, StateAction, World


class RepositoryParams(Params):
    """``repository`` is a name in the configuration."""

    repository: str


@dataclass(frozen=True)
class Seen:
    """``pinned`` and ``found`` are restic repository ids, None where there is none."""

    pinned: str | None
    found: str | None
    place: str
    sets: int


class MakeRepository(StateAction[RepositoryParams, Seen]):
    """Makes a repository where there is none yet, and pins its id, so that no other one is ever taken for it.

    with:
      repository  the name of a repository in the configuration

    One that takes or gives copies cuts data up as the others do, so that a copy holds nothing twice.

    Nothing else in opsctl ever creates one. A repository that this machine knows and that is gone is damage (22), never a
    fresh start. One that is there but not known to this machine (a new controller) is pinned as it is.
    """

    word = "repository"
    Params = RepositoryParams

    def locks(self, params: RepositoryParams) -> tuple[str, ...]:
        return (f"repository-{params.repository}",)

    def observe(self, params: RepositoryParams, world: World) -> Seen:
        history = world.repository(params.repository)
        pinned = history.pinned()
        found = history.find()
        if found is not None:
            _warn_of_other_chunks(params.repository, found.chunker, world)
        return Seen(
            pinned=pinned.id if pinned else None,
            found=found.id if found else None,
            place=history.repository.url,
            sets=len((history.ledger.load() or {}).get("sets", [])),
        )

    def plan(self, params: RepositoryParams, seen: Seen) -> list[Change]:
        if seen.found is None:
            return [Change("create", f"create repository {params.repository} at {seen.place}"),
                    Change("pin", "pin its id", after=("create",))]
        if seen.pinned is None:
            return [Change("pin", f"pin the repository {seen.found[:8]} that is already at {seen.place}")]
        return []

    def apply(self, params: RepositoryParams, change: Change, world: World) -> None:
        history = world.repository(params.repository)
        if change.key == "create":
            if world.config.repositories[params.repository].object_lock is not None:
                from opsctl.actions.lock import require_locks  # what speaks S3 is much to load

                require_locks(params.repository, world)
            history.create(chunker_from=_pattern(params.repository, world))
        else:
            history.adopt(history.repository.identity())

    def result(self, params: RepositoryParams, seen: Seen) -> Mapping[str, Any]:
        return {"repository": params.repository, "id": seen.found, "place": seen.place, "sets": seen.sets}


def related(config: Any, repository: str) -> list[str]:
    """The repositories that sets are copied between, the ones that backups live in first; this one among them."""
    family = {repository}
    groups = [{plan.repository, *plan.copies} for plan in config.backups.values()]
    while True:
        more = family.union(*(group for group in groups if group & family))
        if more == family:
            break
        family = more
    homes = {plan.repository for plan in config.backups.values()}
    return sorted(family, key=lambda name: (name not in homes, list(config.repositories).index(name)))


def _pattern(repository: str, world: World) -> Any:
    """The repository whose chunker parameters a new one takes: only then do copies share what they have in common."""
    for name in related(world.config, repository):
        history = world.repository(name)
        if name != repository and history.pinned() is not None and not history.repository.is_away():
            return history.repository
    return None


def _warn_of_other_chunks(repository: str, chunker: str, world: World) -> None:
    for name in related(world.config, repository):
        known = world.repository(name).pinned() if name != repository else None
        if known is not None and known.chunker != chunker:
            world.warn(f"repository {repository} cuts data up in another way than {name}: sets cannot be copied between "
                       f"them; make {repository} anew in an empty place")
            return
