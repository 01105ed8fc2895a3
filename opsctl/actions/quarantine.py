"""quarantine: files that a scan found, moved out of a clean room before anything of it comes into production."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from opsctl.actions.accepting import read
from opsctl.actions.interface import Change, Outcome, Params, StateAction, World
from opsctl.actions.removing import KIND, QUARANTINE, REMOVED, drop, is_kept
from opsctl.actions.restore import rooms_folder
from opsctl.actions.restoring import find_set, refuse_small_disk
from opsctl.errors import SafetyRefusal, UsageError
from opsctl.model.part import AfterValidator
from opsctl.model.quantities import format_size
from opsctl.proofs.content import of_file
from opsctl.scanning.interface import path_of

_BUFFER = 1 << 20


class QuarantineParams(Params):
    """``restoration``: the run whose scan found them; ``findings``: each as id, rule, SHA-256 and path; ``room``: the set's id where empty."""

    restoration: str
    backup: str
    set: str
    findings: tuple[str, ...]
    reason: str
    room: str = ""
    place: Annotated[str, AfterValidator(rooms_folder)] = ""
    copy_in: str = ""


@dataclass(frozen=True)
class File:
    """One file that was found: where it lies in the room, and where it goes. ``there``: whether it lies in the room still."""

    source: str
    shown: str
    rule: str
    sha256: str
    size: int
    at: Path
    kept: Path
    there: bool


@dataclass(frozen=True)
class Seen:
    """The files, each once."""

    files: tuple[File, ...]


class Quarantine(StateAction[QuarantineParams, Seen]):
    """Moves files that a scan found out of the clean room of a restoration into a quarantine, so that it goes on without them.

    with:
      restoration  the run whose scan found them
      backup, set  which set it was of
      findings     each as id, rule, SHA-256 and path, as the scan told it
      reason       why they can be left out
      room, place  the clean room, as for `restore`
      copy_in      the repository that the set was read from, instead of the backup's own

    Nothing is deleted: each goes into `runs/RUN/kept/quarantine` of the state directory, named by its SHA-256, readable by
    its owner alone, and stands in the journal with path, content, rule, reason and who did it. The set stays as it is. The
    restoration goes on by `opsctl resume`: its scan is repeated, its proofs name what is missing as removed on purpose, those who approve are
    told, and what comes into production comes without them.

    Refused (23): what is of a database or a dump, of which one file is everything; what is all that a source has; and once
    the scan is settled, since then people may have approved what was there.
    """

    word = "quarantine"
    Params = QuarantineParams
    break_glass = False

    def locks(self, params: QuarantineParams) -> Sequence[str]:
        return (f"room-{params.room or params.set}",)

    def observe(self, params: QuarantineParams, world: World) -> Seen:
        if not params.reason.strip():
            raise UsageError("the reason is empty", hint="say why the service does without these files")
        room = world.clean_room(params.room or params.set, params.place)
        if not room.there:
            raise SafetyRefusal(f"there is no clean room {room.name} any more", hint=f"opsctl show {params.restoration} tells how that ended")
        room.enter()
        view, _ = find_set(world, params.backup, params.set, params.copy_in)
        noted = {data["path"]: data["sha256"] for _, data in world.entries((REMOVED,))}
        seen: dict[Path, File] = {}
        for text in params.findings:
            one = _file(text, room, params.set, view.sources, world.keep(QUARANTINE), noted)
            seen.setdefault(one.at, one)
        files = tuple(seen.values())
        if any(one.there for one in files):
            _refuse_settled(params, world)
            refuse_small_disk(world.keep(QUARANTINE), sum(one.size for one in files if one.there), hint="free some space in the state directory")
        return Seen(files)

    def plan(self, params: QuarantineParams, seen: Seen) -> list[Change]:
        return [Change(f"move:{one.shown}", f"move {one.shown} ({format_size(one.size)}, SHA-256 {one.sha256}, rule {one.rule}) into {one.kept.parent}")
                for one in seen.files if one.there]

    def apply(self, params: QuarantineParams, change: Change, world: World) -> None:
        shown = change.key.partition(":")[2]
        one = next(file for file in self.observe(params, world).files if file.shown == shown)
        if not is_kept(one.kept, one.sha256):
            _copy(one)
        world.note(REMOVED, {"restoration": params.restoration, "backup": params.backup, "set": params.set, "source": one.source, "path": one.shown,
                             "sha256": one.sha256, "bytes": one.size, "rule": one.rule, "reason": params.reason.strip()})
        drop(one.at)

    def result(self, params: QuarantineParams, seen: Seen) -> Mapping[str, Any]:
        return {"restoration": params.restoration, "backup": params.backup, "set": params.set, "reason": params.reason,
                "files": [{"source": one.source, "path": one.shown, "rule": one.rule, "sha256": one.sha256, "bytes": one.size,
                           "removed": not one.there, "kept": str(one.kept)} for one in seen.files]}


def _file(text: str, room: Any, set_id: str, entries: Mapping[str, Any], kept: Path, noted: Mapping[str, str]) -> File:
    """``noted``: the content of those that this run removed before, by their paths as shown."""
    if read(text) is None:
        raise UsageError(f"{text!r} is no finding", hint="id, rule, SHA-256 and path, as the scan told them")
    _, rule, sha256, shown = text.split(" ", 3)
    source = shown.partition("/")[0]
    held = room.record.get("sources", {}).get(source, {})
    if held.get("set") != set_id or source not in entries:
        raise SafetyRefusal(f"{source} of set {set_id} does not lie in the clean room {room.name}", where=source)
    if entries[source]["kind"] != KIND:
        raise SafetyRefusal(f"{shown} is of a source of kind {entries[source]['kind']}, which is not left in pieces", where=source,
                            hint="take the set from before, or have it accepted by two: opsctl restore accept")
    path = path_of(source, shown)
    if f"/{path}" in entries[source]["paths"]:
        raise SafetyRefusal(f"{shown} is all that its source has at this path", where=source, hint="take the set from before")
    at = room.files(source) / path
    if not os.path.lexists(at):
        sha256 = noted.get(shown, sha256)
        if not is_kept(kept / sha256, sha256):
            raise SafetyRefusal(f"{shown} is neither in the clean room {room.name} nor in {kept}", where=source,
                                hint="somebody else removed it; a new restoration begins anew")
        return File(source, shown, rule, sha256, (kept / sha256).stat().st_size, at, kept / sha256, there=False)
    found = of_file(at)
    if sha256 not in ("-", found.sha256):
        raise SafetyRefusal(f"{shown} is not what the scan found: its content is another one", where=source, hint="scan it again: opsctl resume")
    return File(source, shown, rule, found.sha256, found.bytes, at, kept / found.sha256, there=True)


def _refuse_settled(params: QuarantineParams, world: World) -> None:
    """SafetyRefusal unless the newest scan of this set in that run found something."""
    other = world.run_of(params.restoration)
    scans = [outcome for _, asked, outcome in other.outcomes("scan") if asked.get("backup") == params.backup and asked.get("set") == params.set
             and (asked.get("room") or asked["set"]) == (params.room or params.set)]
    if not scans:
        raise SafetyRefusal(f"run {params.restoration} did not scan set {params.set} of {params.backup} in this clean room",
                            hint=f"opsctl show {params.restoration}")
    if Outcome.FAILED not in scans:
        raise SafetyRefusal(f"run {params.restoration} is not stopped by its scan, and what goes on is not changed under those who approve it",
                            hint="remove the file in production before anybody is let in, or begin a new restoration")


def _copy(one: File) -> None:
    """Durably, for its owner alone, and under its name only when it is whole."""
    part = one.kept.with_name(f"{one.kept.name}.part")
    part.unlink(missing_ok=True)
    with open(os.open(one.at, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as old, \
            open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400), "wb") as new:
        while piece := old.read(_BUFFER):
            new.write(piece)
        new.flush()
        os.fsync(new.fileno())
    if of_file(part).sha256 != one.sha256:
        raise SafetyRefusal(f"{one.shown} changed while it was moved", where=one.source, hint="resume when nobody writes there")
    os.replace(part, one.kept)
    handle = os.open(one.kept.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
