"""Who is shut out at the machine of the backup store, read there once for all hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opsctl.isolation.gateway import standing
from opsctl.model.isolation import Mark, Standing
from opsctl.model.nft_gate import Gate
from opsctl.model.nft_gateway import Member
from opsctl.model.values import value


@value
class Doors:
    """``shut``: who is shut out at ``store``, by name; what belongs to nobody who is known, by its address."""

    store: str
    shut: Mapping[str, Shut]

    def as_json(self) -> dict[str, Any]:
        return {"host": self.store, "doors": {name: one.as_json() for name, one in self.shut.items()}}


@value
class Shut:
    """How a host stands at the store; ``left``: seconds until that lifts itself; ``mark``: who shut it out."""

    standing: Standing
    left: float | None = None
    mark: Mark | None = None

    def as_json(self) -> dict[str, Any]:
        return {"standing": self.standing, "left": self.left, "mark": {**vars(self.mark)} if self.mark is not None else None}


def doors(store: str, gate: Gate, known: Mapping[str, Sequence[Member]]) -> Doors:
    """By what stands there (``gate``), and by what each host is known."""
    found: dict[str, Shut] = {}
    left: set[Member] = set(gate.notes)
    for name, own in known.items():
        if mine := gate.of(own):
            said = gate.written(own)
            found[name] = Shut(*standing(gate, mine), said.mark if said is not None else None)
            left.difference_update(mine)
    for each in sorted(left, key=str):
        if all(note.part_of is None for note in gate.notes[each]):
            said = gate.written([each])
            found[str(each)] = Shut(*standing(gate, [each, *gate.parts.get(each.text, ())]), said.mark if said is not None else None)
    return Doors(store, found)
