"""discard: what a promotion or a rollback had kept, removed for good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opsctl.actions.interface import Change, Params, StateAction, World
from opsctl.actions.promoting.kept import Kept, kept
from opsctl.errors import SafetyRefusal


class DiscardParams(Params):
    """``kept``: the dated name; ``run``: the run that brought something in its place; ``said``: the name as a person typed it in full."""

    kept: str
    run: str
    said: str = ""


@dataclass(frozen=True)
class Seen:
    """``there``: what has the name is what was kept; ``place`` stood it at; ``midst``: how the run stands that is not over yet."""

    there: bool
    place: str
    midst: str = ""


class Discard(StateAction[DiscardParams, Seen]):
    """Removes for good what a promotion replaced, or what a rollback took back, and kept under a dated name.

    with:
      kept  that name, as `opsctl restore kept` lists it
      run   the run that brought something into production
      said  that name once more, as a person typed it; anything else is refused (23)

    Only what is the very thing that was kept is removed, only while production has something in its place, and not while that run
    is at work or was cut off: it may still have to be put back.
    """

    word = "discard"
    Params = DiscardParams
    break_glass = False

    def observe(self, params: DiscardParams, world: World) -> Seen:
        found = _find(params, world)
        if found is not None and found.piece.look(found.place) is None:
            raise SafetyRefusal(f"there is nothing at {found.place}, and {params.kept} stood there",
                                hint=f"finish that first: opsctl resume {params.run}, or opsctl restore rollback {params.run}")
        midst = world.standing(params.run) if found is not None and found.before else ""
        return Seen(found is not None, found.place if found is not None else "", midst if midst in ("running", "interrupted") else "")

    def plan(self, params: DiscardParams, seen: Seen) -> list[Change]:
        if not seen.there:
            return []
        if params.said != params.kept:
            raise SafetyRefusal(f"{params.kept} is removed for good, so its name has to be typed in full", where=params.kept,
                                hint=f"at a terminal: opsctl restore kept --remove {params.kept}")
        if seen.midst:
            raise SafetyRefusal(f"run {params.run} is {seen.midst}, and {params.kept} is what it would be taken back to", where=params.kept,
                                hint=f"finish that first: opsctl resume {params.run}, or opsctl restore rollback {params.run}")
        return [Change("discard", f"remove {params.kept}, which stood at {seen.place}, for good")]

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
