"""What promotions and rollbacks have kept beside production, found by what is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from opsctl.actions.interface import World
from opsctl.actions.promoting import pieces
from opsctl.actions.promoting.notes import PROMOTE, ROLLBACK, Notes
from opsctl.actions.promoting.piece import Piece
from opsctl.model.values import value


@value
class Kept:
    """``name`` is what it is called, ``identity`` what tells it, ``place`` where it stood in production.

    ``before``: it was replaced by the run; otherwise the run had brought it, and it was taken back.
    """

    name: str
    identity: str
    place: str
    source: str
    run: str
    before: bool
    piece: Piece


def kept(runs: list[str], world: World) -> Iterator[Kept]:
    """Of these runs, whatever is still there. Raises what looking raises."""
    for run in runs:
        for note in Notes(world.kept_by(run, PROMOTE)).all():
            if note.get("by_site"):
                continue  # its own commands know what they keep
            piece = pieces.placed(note, world)
            for name, identity, before in _names(note, world):
                if identity is not None and piece.look(name) == identity:
                    yield Kept(name, identity, note["place"], note["source"], run, before, piece)


def _names(note: Mapping[str, Any], world: World) -> Iterator[tuple[str, str | None, bool]]:
    yield note["kept"], note["old"], True
    if note.get("rolled_back"):
        own = Notes(world.kept_by(note["rolled_back"], ROLLBACK), note["source"]).read(note["key"])
        if own:
            yield own["kept"], note["new"], False
