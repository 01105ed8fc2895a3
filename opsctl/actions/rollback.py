"""rollback: what a promotion replaced, back in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opsctl.actions.interface import Change, Params, StateAction, World
from opsctl.actions.promoting import pieces
from opsctl.actions.promoting.exchange import Exchange, Missing
from opsctl.actions.promoting.notes import PROMOTE, ROLLBACK, Notes
from opsctl.errors import SafetyRefusal


class RollbackParams(Params):
    """``promoted`` is the id of the run that brought into production; ``sources`` only these of it."""

    promoted: str
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class PieceSeen:
    """One piece: the exchange that puts back what was there, what of it is missing, and whether what was brought is kept."""

    key: str
    source: str
    wanted: Exchange
    missing: Missing
    kept: bool


@dataclass(frozen=True)
class Seen:
    """All pieces, last promoted first."""

    pieces: tuple[PieceSeen, ...]


class Rollback(StateAction[RollbackParams, Seen]):
    """Puts back what a promotion replaced. Nothing is deleted: what had been brought is kept under a dated name in its turn.

    with:
      promoted  the id of the run that brought it into production
      sources   only these of its sources (all, where left out)

    It goes by what is there: a promotion that was cut off half-way is undone from where it stands, and a rollback that was cut
    off is finished. What was brought is kept as `NAME.promoted-20261220-1510`; where nothing had been there, nothing is
    there afterwards. What has come into the place since, by somebody else, is refused.
    """

    word = "rollback"
    Params = RollbackParams
    break_glass = False

    def locks_there(self, params: RollbackParams, world: World) -> Sequence[str]:
        return sorted({f"promote-{note['source']}" for note in _promoted(params, world)})

    def observe(self, params: RollbackParams, world: World) -> Seen:
        return Seen(tuple(_look(note, world) for note in reversed(_promoted(params, world))))

    def plan(self, params: RollbackParams, seen: Seen) -> list[Change]:
        return [Change(f"{one.source}:{one.key}", _text(one.wanted)) for one in seen.pieces if one.missing is not Missing.NOTHING]

    def apply(self, params: RollbackParams, change: Change, world: World) -> None:
        note = next(note for note in _promoted(params, world) if _key(note) == change.key)
        one = _look(note, world)
        Notes(world.keep(ROLLBACK), one.source).write(one.key, {"source": one.source, "number": note["number"], "kept": one.wanted.kept})
        Notes(world.kept_by(params.promoted, PROMOTE), one.source).add(one.key, rolled_back=world.run)
        piece = pieces.placed(note, world)
        piece.swap(one.wanted)
        piece.sweep(note)

    def result(self, params: RollbackParams, seen: Seen) -> Mapping[str, Any]:
        return {
            "promoted": params.promoted,
            "places": [{"place": one.wanted.place, "source": one.source, "back": one.missing is Missing.NOTHING,
                        "kept": one.wanted.kept if one.kept else None} for one in seen.pieces],
        }


def _promoted(params: RollbackParams, world: World) -> list[dict[str, Any]]:
    """The notes of the promotion. SafetyRefusal where there are none."""
    notes = [note for note in Notes(world.kept_by(params.promoted, PROMOTE)).all()
             if not params.sources or note["source"] in params.sources]
    if not notes:
        of = f" of {', '.join(params.sources)}" if params.sources else ""
        raise SafetyRefusal(f"run {params.promoted} brought nothing{of} into production", hint="`opsctl runs` lists them")
    return notes


def _look(note: Mapping[str, Any], world: World) -> PieceSeen:
    piece = pieces.placed(note, world)
    kept = Notes(world.keep(ROLLBACK), note["source"]).read(note["key"]).get("kept") or piece.free_name("promoted", pieces.stamp(world))
    # A promotion that was cut off has not given its dated name to what it replaced.
    staged = note["old"] is not None and piece.look(note["staged"]) == note["old"]
    wanted = Exchange(place=note["place"], source=note["staged"] if staged else note["kept"], kept=kept, new=note["old"],
                      old=note["new"])
    # Before it was brought back nothing was renamed.
    left = piece.missing(wanted) if note["new"] is not None else Missing.NOTHING
    return PieceSeen(note["key"], note["source"], wanted, left, note["new"] is not None and piece.look(kept) == note["new"])


def _key(note: Mapping[str, Any]) -> str:
    return f"{note['source']}:{note['key']}"


def _text(wanted: Exchange) -> str:
    kept = f"keep what was brought to {wanted.place} as {wanted.kept}"
    return kept if wanted.new is None else f"{kept}, and put back {wanted.source}" if wanted.old else f"put back {wanted.source}"
