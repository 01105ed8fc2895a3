"""custody: who has a medium, where it is, and until when."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import tzinfo
from typing import Any, Literal

from opsctl.actions.carrying import MediumParams
from opsctl.actions.interface import Change, StateAction, World
from opsctl.errors import Unreachable
from opsctl.model.media import Custody as Held
from opsctl.model.media import Medium, whereabouts
from opsctl.model.moments import in_zone
from opsctl.model.values import value


class CustodyParams(MediumParams):
    """``back`` is RFC 3339 or empty. ``checked``: only where this run has looked at what came back."""

    where: Literal["here", "out"]
    holder: str = ""
    place: str = ""
    back: str = ""
    checked: bool = False


@value
class Seen:
    """Who has it, as it was last written down; ``zone``: in which its days are told."""

    medium: Medium
    mine: bool
    zone: tzinfo | None = None


class Custody(StateAction[CustodyParams, Seen]):
    """Writes down where a medium is. The journal keeps every change: the chain of custody.

    with:
      medium   the name that it is registered under
      where    `here` or `out`
      holder   who has it; of one that came back, who brought it
      place    where it lies
      back     when it is to be back, RFC 3339
      checked  write down as well what the look at it found (the step `check_medium` of the same run)
    """

    word = "custody"
    Params = CustodyParams

    def locks(self, params: CustodyParams) -> Sequence[str]:
        return (f"medium-{params.medium}",)

    def observe(self, params: CustodyParams, world: World) -> Seen:
        entry = world.media.get(params.medium)
        return Seen(entry, (entry.custody.run, entry.custody.where) == (world.run, params.where), world.config.organisation.tz)

    def plan(self, params: CustodyParams, seen: Seen) -> list[Change]:
        if seen.mine:
            return []
        held = _held(params)
        who = f", brought by {params.holder}" if params.where == "here" and params.holder else ""
        until = f", until {in_zone(params.back, seen.zone)}" if params.back else ""
        return [Change("custody", f"write down that {params.medium} is {whereabouts(held)}{who}{until}")]

    def apply(self, params: CustodyParams, change: Change, world: World) -> None:
        entry = world.media.get(params.medium)
        wrong = entry.wrong
        if params.checked:
            path = world.keep("media") / f"{params.medium}.json"
            if not path.exists():
                raise Unreachable(f"{params.medium} was not looked at, so it is not taken in", where=params.medium,
                                  hint=f"opsctl media in {params.medium}")
            found = json.loads(path.read_text())["wrong"]
            wrong = f"came back with {found}" if found else None
        held = replace(_held(params), since=world.now.isoformat(), by=world.by, run=world.run)
        world.media.put(replace(entry, custody=held, wrong=wrong))

    def result(self, params: CustodyParams, seen: Seen) -> Mapping[str, Any]:
        held = seen.medium.custody
        return {"medium": params.medium, "where": held.where, "holder": held.holder, "place": held.place, "since": held.since,
                "back": held.back, "wrong": seen.medium.wrong}


def _held(params: CustodyParams) -> Held:
    return Held(params.where, since="", by="", holder=params.holder or None, place=params.place or None, back=params.back or None)
