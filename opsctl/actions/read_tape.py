"""read_tape: what a tape holds, held against what was written to it; and, where a folder is named, put in there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from opsctl.actions.carrying import MediumParams, says
from opsctl.actions.interface import CheckAction, World
from opsctl.actions.restoring import (
    in_the_way,
    make_staging,
    plain,
    refuse_own_places,
    refuse_small_disk,
    show,
    staging,
)
from opsctl.errors import DamagedData, OpsError, SafetyRefusal
from opsctl.model.media import Differences, Medium, differences, read_list
from opsctl.model.part import AfterValidator
from opsctl.model.snapshots import Progress
from opsctl.model.values import value
from opsctl.repositories.tape import Tape
from opsctl.repositories.whole import write_whole


def _into(text: str) -> str:
    return plain(text) if text else text


class ReadTapeParams(MediumParams):
    """``into``: an absolute path, or empty where nothing is to be kept."""

    into: Annotated[str, AfterValidator(_into)] = ""


@value
class Seen:
    """Every file was read and compared; ``into``: the folder that is in view."""

    medium: Medium
    files: int
    differences: Differences
    into: str | None


class ReadTape(CheckAction[ReadTapeParams, Seen]):
    """Reads a tape by the site's own program, and compares every file with the hash that was kept when it was written.

    with:
      medium  what the tape is called here
      into    a new folder for the repository that is on it; it comes into view only where every file is right

    What is changed, missing or new is 22, by name.
    """

    word = "read_tape"
    Params = ReadTapeParams

    def locks(self, params: ReadTapeParams) -> Sequence[str]:
        return (f"medium-{params.medium}", *((f"into-{params.into}",) if params.into else ()))

    def observe(self, params: ReadTapeParams, world: World) -> Seen:
        entry: Medium = world.media.get(params.medium)
        if entry.kind != "tape" or entry.library not in world.config.libraries:
            raise SafetyRefusal(f"{entry.name} is no tape of a library in the configuration", where=entry.name)
        sealed = read_list(world.media.sealed_list(entry))
        tape = Tape(world.config.libraries[entry.library], entry.name, entry.ident, world.shell)
        done, total = 0, entry.sealed.bytes if entry.sealed else None

        def on_bytes(count: int) -> None:
            nonlocal done
            done += count
            world.progress(Progress(f"read {entry.name}", bytes_done=done, bytes_total=total))

        place = None
        if params.into:
            target = Path(params.into)
            refuse_own_places(world, target)
            if in_the_way(target):
                raise SafetyRefusal(f"{target} exists and is not empty", hint="choose a new folder for --into")
            place = staging(target, world.run)
            make_staging(place, anew=os.path.lexists(place))
            refuse_small_disk(target, total or 0)
        found = tape.read(on_bytes, place)
        seen = Seen(entry, len(found), differences(sealed, found), params.into or None)
        if place is not None and not seen.differences:
            show(place, Path(params.into))
        write_whole(world.keep("media") / f"{entry.name}.json", json.dumps({"wrong": says(seen.differences) or None}).encode())
        return seen

    def findings(self, params: ReadTapeParams, seen: Seen) -> Sequence[OpsError]:
        return [DamagedData(f"the tape {params.medium} holds {says(seen.differences)}", where=params.medium, hint="take another tape, or another copy")] \
            if seen.differences else []

    def result(self, params: ReadTapeParams, seen: Seen) -> Mapping[str, Any]:
        return {"medium": params.medium, "files": seen.files, "into": seen.into if not seen.differences else None,
                "changed": len(seen.differences.changed), "missing": len(seen.differences.missing), "new": len(seen.differences.new)}

