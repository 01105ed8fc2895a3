"""scan: what an attacker leaves behind, found in restored files and dumps before anything of them is used."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from opsctl.actions.accepting import accepted_of
from opsctl.actions.interface import CheckAction, Params, World
from opsctl.actions.restoring import RECORD, plain
from opsctl.errors import DamagedData, OpsError, Partial, SafetyRefusal, UsageError
from opsctl.model.part import AfterValidator
from opsctl.model.quantities import counted, format_size
from opsctl.model.values import value
from opsctl.scanning.interface import Finding, Scanned, Unread, not_scanned

#: How many findings become errors of their own; the number of the rest is said.
_TOLD = 50


def _folder(value: str) -> str:
    return plain(value) if value else value


class ScanParams(Params):
    """``room``: the set's id where it and ``folder`` are empty. ``folder``: an absolute path, in place of a room; each folder in it is a source."""

    room: str = ""
    place: Annotated[str, AfterValidator(_folder)] = ""
    folder: Annotated[str, AfterValidator(_folder)] = ""
    backup: str = ""
    set: str = ""
    sources: tuple[str, ...] = ()


@value
class Seen:
    """What the scan came to; ``accepted``: of the ids found those that enough people have signed for, with the run in which."""

    backup: str
    set: str
    scanned: Scanned
    accepted: Mapping[str, str]
    refused: tuple[str, ...]


class Scan(CheckAction[ScanParams, Seen]):
    """Searches restored files and database dumps with YARA rules: those that opsctl brings (ransom notes, names and marks
    of encrypted files, web shells, jobs and keys that bring an attacker back, miners, the EICAR test file) and the
    site's own (`scan: {rules: DIR}`).

    with:
      backup, set  which set it is
      room     the clean room that it was restored into; the set's id where it is left out
      place    the folder below which that was made, as for `restore`
      sources  only these sources of it (all that lie there, where left out)
      folder   in place of a clean room, any folder of this machine

    Every regular file is read whole, a dump as what it is; links are not followed and archives not unpacked. A finding names
    the set, the file and the rule, and is 22. What is larger than `scan: {largest: …}`, takes longer than `timeout` or
    cannot be read is told as not scanned (3), and stops what comes next as a finding does.

    A finding has an id made of its rule, its file and the file's content. It is gone when the file is: delete it in a folder that you
    restored into; `opsctl restore remove RUN ID --reason TEXT` takes it out of a restoration's clean room and out of what is
    promoted, and keeps it in quarantine (word `quarantine`). Or two people
    accept exactly this id in this set, with a reason: `opsctl restore accept RUN ID --reason TEXT` begins that, and each of
    them signs it by `opsctl approve`. Another content, another rule or another set is a finding anew. Then `opsctl resume`
    goes on with what was stopped. Of a dump nothing can be removed: take an older set.
    """

    word = "scan"
    Params = ScanParams

    def observe(self, params: ScanParams, world: World) -> Seen:
        roots, backup, set_id = _roots(params, world)
        scanned = world.scanner().scan(roots, on_progress=world.progress)
        ids = {one.id for one in (*scanned.findings, *scanned.unread)}
        accepted, refused = accepted_of(backup, set_id, ids, world) if ids and backup else ({}, ())
        return Seen(backup, set_id, scanned, accepted, tuple(refused))

    def findings(self, params: ScanParams, seen: Seen) -> Sequence[OpsError]:
        found = [one for one in seen.scanned.findings if one.id not in seen.accepted]
        unread = [one for one in seen.scanned.unread if one.id not in seen.accepted]
        errors: list[OpsError] = [_finding(seen, one) for one in found[:_TOLD]]
        rest = len(found) - len(errors) + seen.scanned.more
        if rest > 0:
            errors.append(DamagedData(f"{_set(seen)}and {counted(rest, 'more finding')}", hint="opsctl show RUN --json lists them"))
        errors += [_unread(seen, one) for one in unread[:_TOLD]]
        if len(unread) > _TOLD:
            errors.append(Partial(f"{_set(seen)}and {counted(len(unread) - _TOLD, 'more file')} not scanned"))
        return errors

    def result(self, params: ScanParams, seen: Seen) -> Mapping[str, Any]:
        scanned = seen.scanned
        return {
            "backup": seen.backup, "set": seen.set, "files": scanned.files, "bytes": scanned.bytes, "others": scanned.others,
            "rule_files": scanned.rules, "more": scanned.more, "not_counted": list(seen.refused),
            "findings": [{"id": one.id, "source": one.source, "path": one.path, "rule": one.rule, "description": one.description,
                          "rule_file": one.file, "offset": one.offset, "size": one.size, "sha256": one.sha256,
                          "accepted": seen.accepted.get(one.id)} for one in scanned.findings],
            "not_scanned": [{"id": one.id, "source": one.source, "path": one.path, "rule": not_scanned(one.kind), "why": one.why, "sha256": one.sha256,
                             "accepted": seen.accepted.get(one.id)} for one in scanned.unread],
        }


def _roots(params: ScanParams, world: World) -> tuple[dict[str, Path], str, str]:
    """Where each source lies, and which set it is of."""
    if not params.folder:
        return _in_room(params, world), params.backup, params.set
    folder = Path(params.folder)
    if params.room:
        raise UsageError("scan looks into a room or into a folder, not both")
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder", hint="name the folder that a set was restored into")
    backup, set_id = _restored(folder)
    if not params.sources:
        return {"": folder}, backup or params.backup, set_id if backup else params.set if params.backup else ""
    missing = [name for name in params.sources if not (folder / name).is_dir()]
    if missing:
        raise UsageError(f"{folder} holds no source {', '.join(missing)}")
    return {name: folder / name for name in params.sources}, backup or params.backup, set_id or params.set


def _in_room(params: ScanParams, world: World) -> dict[str, Path]:
    if not (params.backup and params.set):
        raise UsageError("scan needs the backup and the set that lie in a clean room, or a folder")
    room = world.clean_room(params.room or params.set, params.place)
    if not room.there:
        raise UsageError(f"there is no clean room {room.name}", hint="`opsctl restore room` restores a set into one")
    room.enter()
    held = room.record.get("sources", {})
    for name in params.sources or held:
        if held.get(name, {}).get("set") != params.set:
            raise SafetyRefusal(f"{name} of set {params.set} does not lie in the clean room {room.name}", where=name,
                                hint="restore it there first")
    return {name: room.files(name) for name in params.sources or held}


def _restored(folder: Path) -> tuple[str, str]:
    """The backup and the set that a folder was restored from, as `restore set` wrote it down; empty where it was not."""
    try:
        record = json.loads((folder / RECORD).read_text())
        return str(record["backup"]), str(record["set"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", ""


def _set(seen: Seen) -> str:
    return f"set {seen.set}: " if seen.set else ""


def _finding(seen: Seen, one: Finding) -> OpsError:
    at = f", at byte {one.offset:,}" if one.offset else ""
    what = f" ({one.description})" if one.description else ""
    return DamagedData(
        f"{_set(seen)}{one.path}: rule {one.rule}{what}{at}; finding {one.id}",
        hint="look at it where it can do no harm; then leave it out (opsctl restore remove), take the set from before, or have it accepted "
        "by two: opsctl explain scan",
        where=f"{seen.backup}/{one.source}" if seen.backup and one.source else None,
        details={"finding": one.id, "rule": one.rule, "rule_file": one.file, "path": one.path, "sha256": one.sha256, "set": seen.set},
    )


def _unread(seen: Seen, one: Unread) -> OpsError:
    return Partial(
        f"{_set(seen)}{one.path} was not scanned: {one.why}; finding {one.id}",
        hint="scan: {largest: …, timeout: …} say how much is read" if one.kind in ("large", "slow") else
        "look at it where it can do no harm",
        details={"finding": one.id, "path": one.path, "kind": one.kind, "sha256": one.sha256, "set": seen.set},
    )


def described(found: Mapping[str, Any]) -> str:
    """What was read, in words."""
    return f"{counted(found['files'], 'file')}, {format_size(found['bytes'])}, scanned with the rules of {counted(found['rule_files'], 'file')}"
