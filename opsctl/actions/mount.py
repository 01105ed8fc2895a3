"""mount: a registered disk in its place, for reading only unless something is to be written."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from opsctl.actions.carrying import MediumParams, disk, mounted
from opsctl.actions.interface import Change, StateAction, World
from opsctl.errors import Unreachable
from opsctl.model.media import Medium, whereabouts
from opsctl.model.values import value
from opsctl.shells import mounting

_LOOK = 1.0  # seconds between two looks whether it was plugged in


class MountParams(MediumParams):
    """``wait``: seconds for which it is waited for that somebody plugs it in."""

    mode: Literal["read", "write"] = "read"
    wait: float | int = 0


@value
class Seen:
    """``writable`` is None where it is not mounted."""

    medium: Medium
    writable: bool | None


class Mount(StateAction[MountParams, Seen]):
    """Mounts a registered disk in its place, by the UUID of its file system, so that no other one is taken for it.

    with:
      medium  the name that it is registered under
      mode    `read`, as a restore wants it, or `write`
      wait    seconds to wait until somebody has plugged it in (0)

    Nothing on it can be run, and no device file or set-uid program of it counts.
    """

    word = "mount"
    Params = MountParams

    def locks(self, params: MountParams) -> Sequence[str]:
        return (f"medium-{params.medium}",)

    def observe(self, params: MountParams, world: World) -> Seen:
        entry = disk(params, world)
        found = mounted(entry, world)
        return Seen(entry, found.writable if found is not None else None)

    def plan(self, params: MountParams, seen: Seen) -> list[Change]:
        how = "for writing" if params.mode == "write" else "for reading only"
        if seen.writable is None:
            return [Change("mount", f"mount {params.medium} at {seen.medium.mount} {how}")]
        return [] if seen.writable == (params.mode == "write") else [Change("remount", f"mount {params.medium} {how}")]

    def apply(self, params: MountParams, change: Change, world: World) -> None:
        entry = disk(params, world)
        if change.key == "remount":
            mounting.remount(world.shell, str(entry.mount), write=params.mode == "write")
            return
        until = time.monotonic() + params.wait
        if (found := mounting.device(world.shell, entry.ident)) is None and params.wait:
            world.tell(f"plug {entry.name} in (label {entry.label or 'none'}; {whereabouts(entry.custody)})")
        while found is None and time.monotonic() < until:
            world.shell.check()
            time.sleep(_LOOK)
            found = mounting.device(world.shell, entry.ident)
        if found is None:
            raise Unreachable(f"{entry.name} is not plugged in: no disk has the file system {entry.ident} (label {entry.label or 'none'})",
                              hint=f"it is {whereabouts(entry.custody)}; plug it in" if entry.custody.where == "out" else "plug it in",
                              where=entry.name, details={"kind": "away"})
        mounting.mount(world.shell, found, str(entry.mount), write=params.mode == "write")

    def result(self, params: MountParams, seen: Seen) -> Mapping[str, Any]:
        return {"medium": params.medium, "mount": seen.medium.mount, "writable": seen.writable}
