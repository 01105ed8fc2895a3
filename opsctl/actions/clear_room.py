"""clear_room: a clean room removed, with all that was restored into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from opsctl.actions.interface import Change, Params, StateAction, World
from opsctl.actions.restore import rooms_folder
from opsctl.model.part import AfterValidator


class ClearRoomParams(Params):
    """``room`` is the name of a clean room, ``place`` the folder below which it is, where that is not the configured one."""

    room: str
    place: Annotated[str, AfterValidator(rooms_folder)] = ""


@dataclass(frozen=True)
class Seen:
    """``there``: whether its folder is."""

    there: bool
    place: str


class ClearRoom(StateAction[ClearRoomParams, Seen]):
    """Ends everything that runs in a clean room, and removes it with all that was restored into it.

    with:
      room   the name of the room, as `opsctl restore rooms` lists it
      place  the folder below which it is, instead of what `clean_room: {place: …}` says

    What was promoted out of it is not in it any more. A room that another run works in is left alone (11).
    """

    word = "clear_room"
    Params = ClearRoomParams
    puts_away = True

    def locks(self, params: ClearRoomParams) -> Sequence[str]:
        return (f"room-{params.room}",)

    def observe(self, params: ClearRoomParams, world: World) -> Seen:
        room = world.clean_room(params.room, params.place)
        return Seen(room.there, str(room.place))

    def plan(self, params: ClearRoomParams, seen: Seen) -> list[Change]:
        return [Change("clear", f"remove the clean room {params.room}, {seen.place}, and all that is in it")] if seen.there else []

    def apply(self, params: ClearRoomParams, change: Change, world: World) -> None:
        room = world.clean_room(params.room, params.place)
        room.enter()
        room.remove()

    def result(self, params: ClearRoomParams, seen: Seen) -> Mapping[str, Any]:
        return {"room": params.room, "place": seen.place, "there": seen.there}
