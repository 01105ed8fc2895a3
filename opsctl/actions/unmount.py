"""unmount: a registered disk let go of, so that it can be unplugged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opsctl.actions.carrying import MediumParams, disk, mounted
from opsctl.actions.interface import Change, StateAction, World
from opsctl.errors import ProgramFailed
from opsctl.model.media import Medium
from opsctl.model.values import value
from opsctl.shells import mounting


@value
class Seen:
    """``held``: processes of other mount namespaces, containers mostly, in which it is mounted still."""

    medium: Medium
    mounted: bool
    held: Sequence[int] = ()


class Unmount(StateAction[MediumParams, Seen]):
    """Writes everything to a registered disk and lets go of it.

    with:
      medium  the name that it is registered under
    """

    word = "unmount"
    Params = MediumParams

    def locks(self, params: MediumParams) -> Sequence[str]:
        return (f"medium-{params.medium}",)

    def observe(self, params: MediumParams, world: World) -> Seen:
        entry = disk(params, world)
        there, found = mounted(entry, world) is not None, mounting.device(world.shell, entry.ident)
        return Seen(entry, there, mounting.holders(found) if found is not None else ())

    def plan(self, params: MediumParams, seen: Seen) -> list[Change]:
        return [Change("unmount", f"unmount {params.medium} from {seen.medium.mount}")] if seen.mounted or seen.held else []

    def apply(self, params: MediumParams, change: Change, world: World) -> None:
        seen = self.observe(params, world)
        if seen.mounted:
            mounting.unmount(world.shell, str(seen.medium.mount))
        if seen.held:
            raise ProgramFailed(f"{params.medium} is still mounted in another mount namespace, a container perhaps: do not unplug it",
                                hint="end what belongs to process " + ", ".join(map(str, seen.held)), where=params.medium)

    def result(self, params: MediumParams, seen: Seen) -> Mapping[str, Any]:
        return {"medium": params.medium, "mounted": seen.mounted}
