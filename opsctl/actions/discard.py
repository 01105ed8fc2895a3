"""discard: what a promotion or a rollback had kept, removed for good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opsctl.actions.interface import Change, Params, StateAction, World
from opsctl.actions.promoting.kept import Kept, kept
from opsctl.errors import SafetyRefusal


class DiscardParams(Params):
    """``kept``: the dated name; ``run``: the run that brought something in its place."""

    kept: str
    run: str


@dataclass(frozen=True)
class Seen:
    """``there``: what has the name is what was kept; ``place`` stood it at."""

    there: bool
    place: str


class Discard(StateAction[DiscardParams, Seen]):
    """Removes for good what a promotion replaced, or what a rollback took back, and kept under a dated name.

    with:
      kept  that name, as `opsctl restore kept` lists it
      run   the run that brought something into production

    Only what is the very thing that was kept is removed, and only while production has something in its place.
    """

    word = "discard"
    Params = DiscardParams
    break_glass = False

    def observe(self, params: DiscardParams, world: World) -> Seen:
        found = _find(params, world)
        if found is not None and found.piece.look(found.place) is None:
            raise SafetyRefusal(f"there is nothing at {found.place}, and {params.kept} stood there",
                                hint=f"finish that first: opsctl resume {params.run}, or opsctl restore rollback {params.run}")
        return Seen(found is not None, found.place if found is not None else "")

    def plan(self, params: DiscardParams, seen: Seen) -> list[Change]:
        return [Change("discard", f"remove {params.kept}, which stood at {seen.place}, for good")] if seen.there else []

    def apply(self, params: DiscardParams, change: Change, world: World) -> None:
        found = _find(params, world)
        if found is not None:
            found.piece.discard(found.name)

    def locks(self, params: DiscardParams) -> Sequence[str]:
        return (f"discard-{params.run}",)

    def result(self, params: DiscardParams, seen: Seen) -> Mapping[str, Any]:
        return {"kept": params.kept, "there": seen.there}


def _find(params: DiscardParams, world: World) -> Kept | None:
    return next((one for one in kept([params.run], world) if one.name == params.kept), None)
