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
            history.create()
        else:
            history.adopt(history.repository.identity())

    def result(self, params: RepositoryParams, seen: Seen) -> Mapping[str, Any]:
        return {"repository": params.repository, "id": seen.found, "place": seen.place, "sets": seen.sets}
