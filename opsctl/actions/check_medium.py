"""check_medium: whether a disk came back with what it had left with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from opsctl.actions.carrying import MediumParams, disk, read_whole, require_mounted, says
from opsctl.actions.interface import CheckAction, World
from opsctl.errors import DamagedData, OpsError, SafetyRefusal
from opsctl.model.media import Differences, Medium, differences, read_list
from opsctl.model.values import value
from opsctl.repositories.whole import write_whole

_NAMED = 200


@value
class Seen:
    """Everything was read and held against the sealed list."""

    medium: Medium
    files: int
    differences: Differences


class CheckMedium(CheckAction[MediumParams, Seen]):
    """Reads everything in the repositories on a disk, and holds it against the list that was sealed when it left.

    with:
      medium  the name that it is registered under

    What is changed, missing, or new is 22, by name.
    """

    word = "check_medium"
    Params = MediumParams

    def locks(self, params: MediumParams) -> Sequence[str]:
        return (f"medium-{params.medium}",)

    def observe(self, params: MediumParams, world: World) -> Seen:
        entry = disk(params, world)
        if entry.sealed is None:
            raise SafetyRefusal(f"{entry.name} was never sealed, so nobody knows what it left with", where=entry.name,
                                hint=f"opsctl verify {' '.join(entry.repositories)} --level data; `media out` seals it")
        root = require_mounted(entry, world)
        sealed = read_list(world.media.sealed_list(entry))
        found, _ = read_whole(entry, root, world)
        seen = Seen(entry, len(found), differences(sealed, dict(found)))
        write_whole(world.keep("media") / f"{entry.name}.json", json.dumps({"wrong": says(seen.differences) or None}).encode())
        return seen

    def findings(self, params: MediumParams, seen: Seen) -> Sequence[OpsError]:
        found = seen.differences
        return [DamagedData(f"{params.medium} came back with {says(seen.differences)}", where=params.medium,
                            hint=f"keep it as it is: it may be evidence. opsctl verify {' '.join(seen.medium.repositories)} --level data says what it "
                                 "means for the backups; then copy to another disk",
                            details={"changed": list(found.changed[:_NAMED]), "missing": list(found.missing[:_NAMED]),
                                     "new": list(found.new[:_NAMED])})] if found else []

    def result(self, params: MediumParams, seen: Seen) -> Mapping[str, Any]:
        return {"medium": params.medium, "files": seen.files, "changed": len(seen.differences.changed),
                "missing": len(seen.differences.missing), "new": len(seen.differences.new)}

