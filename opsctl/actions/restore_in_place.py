"""restore_in_place: a folder where it is used, made what it was: by content, file by file, with nothing thrown away."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from opsctl.actions import in_incident, into_view
from opsctl.actions.interface import Change, Params, StateAction, World
from opsctl.actions.promoting.pieces import stamp
from opsctl.actions.restore_files import measure
from opsctl.actions.restoring import (
    find_set,
    make_staging,
    plain,
    refuse_own_places,
    refuse_small_disk,
    settle,
    short,
    staging,
)
from opsctl.errors import SafetyRefusal, UsageError
from opsctl.model.part import AfterValidator
from opsctl.model.quantities import counted
from opsctl.model.sets import UNVOUCHED, SetView
from opsctl.proofs import hashes
from opsctl.repositories.private import remove_tree
from opsctl.repositories.whole import write_whole

#: Paths that a change of many is told by.
_NAMED = 5


class RestoreInPlaceParams(Params):
    """``path``: the absolute path of a folder; ``keep``: absolute paths in it that stay as they are, with all below them."""

    backup: str
    set: str
    path: Annotated[str, AfterValidator(plain)]
    keep: tuple[Annotated[str, AfterValidator(plain)], ...] = ()
    copy_in: str = ""
    step: str = ""


@dataclass(frozen=True)
class Seen:
    """Paths below the folder: ``wrong`` ones are missing or not what the set holds, with how they are; ``strange`` ones it does not hold;
    ``kept`` ones would be one of both. ``left_over``: a staging place that nobody needs any more.
    """

    place: str
    quarantine: str
    wrong: Mapping[str, str]
    strange: tuple[str, ...]
    kept: tuple[str, ...]
    left_over: str | None


class RestoreInPlace(StateAction[RestoreInPlaceParams, Seen]):
    """Makes a folder in its place what it was in a set. Each file is judged by its content, hashed chunk by chunk, and never by
    its size and time, which an attacker can set.

    with:
      backup   the name of a backup
      set      the id of the set
      path     the folder, as it was when it was backed up
      keep     paths in it that stay as they are
      copy_in  the repository that holds a copy to restore from, instead of the backup's own

    What is missing or differs is restored beside the folder, verified, and put in its place in one step. What it replaces,
    and files that the set does not hold, go to `NAME.quarantine-20261220-1402` beside it; nothing is deleted. What is as in
    the set is not touched. Where links lead, and owners and modes of files whose content is right, are not compared. More than
    a thousand differences are refused: then `promote` brings the whole folder back, by one rename.

    Refused (23) is a set that nobody here vouched for; and, while an incident is open, what this run has not scanned by name and
    two people have not signed for at a step `approve` before this one: then too `promote` is the way.
    """

    word = "restore_in_place"
    Params = RestoreInPlaceParams

    def locks(self, params: RestoreInPlaceParams) -> Sequence[str]:
        return (f"into-{params.path}",)

    def observe(self, params: RestoreInPlaceParams, world: World) -> Seen:
        place = Path(params.path)
        refuse_own_places(world, place)
        view, history = find_set(world, params.backup, params.set, params.copy_in)
        if place.is_symlink() or not place.is_dir():
            raise UsageError(f"{place} is no folder", hint=f"restore it anew: opsctl restore files {params.backup} {place} --into {place.parent}")
        _refuse_unvouched(view)
        kept = measure(params.path, view, history.repository)
        in_incident.refuse_unscanned(params, (kept["source"],), (params.path,), world)
        found = hashes.compare(history.repository, kept["snapshot"], place, below=kept["inside"], check=world.shell.check,
                               on_progress=world.progress)
        refuse_many(found, place)
        differing = {one.where: f"{one.found}, where the set has {one.expected}" for one in found.differences}
        strange = {one.where for one in found.differences if one.expected == hashes.NOTHING}
        stay = {path for path in differing if _stays(f"{place}{path}", params.keep)}
        if odd := [path for path in differing if "\ufffd" in path and path not in stay]:
            raise SafetyRefusal(f"{len(odd)} of what differs in {place} cannot be told by its name, which is no UTF-8: {odd[0]}",
                                hint="bring the whole folder back: opsctl restore promote")
        wrong = {path: how for path, how in differing.items() if path not in strange | stay}
        beside = staging(place, world.run)
        if wrong:
            write_whole(_noted(params, world), json.dumps(list(wrong)).encode())
            refuse_small_disk(place, kept["bytes"] if len(wrong) > 1 else 0, [beside])
        return Seen(str(place), str(_quarantine(place, world)), wrong, tuple(sorted(strange - stay)), tuple(sorted(stay)),
                    str(beside) if beside.exists() and not wrong else None)

    def plan(self, params: RestoreInPlaceParams, seen: Seen) -> list[Change]:
        changes = []
        if seen.wrong:
            changes.append(Change("bring", f"restore {counted(len(seen.wrong), 'path')} of {seen.place} beside it and verify"))
        changes += [Change(f"put:{path}", f"put back {seen.place}{path} ({how})", ("bring",)) for path, how in sorted(seen.wrong.items())]
        changes += [Change(f"strange:{path}", f"move {seen.place}{path}, which the set does not hold, to {seen.quarantine}")
                    for path in seen.strange]
        if seen.wrong:
            changes.append(Change("clear", f"remove what was restored beside {seen.place}",
                                  tuple(change.key for change in changes if change.key.startswith("put:"))))
        elif seen.left_over:
            changes.append(Change("clear", f"remove {seen.left_over}, which a killed restore left"))
        return changes

    def apply(self, params: RestoreInPlaceParams, change: Change, world: World) -> None:
        word, _, path = change.key.partition(":")
        place = Path(params.path)
        beside = staging(place, world.run)
        if word == "clear":
            with suppress(FileNotFoundError):
                remove_tree(beside)
            return
        if word == "strange":
            _refuse_leading_out(place, path)
            if os.path.lexists(f"{place}{path}"):  # it may have gone with the folder that it was in
                into_view.move(Path(f"{place}{path}"), _way_to(_quarantine(place, world), path))
            return
        view, history = find_set(world, params.backup, params.set, params.copy_in)
        kept = measure(params.path, view, history.repository)
        if word == "bring":
            make_staging(beside, anew=True)
            wanted = [f"{kept['inside']}{one}" for one in json.loads(_noted(params, world).read_text())]
            history.repository.restore(kept["snapshot"], beside, include=wanted, on_progress=world.progress)
            settle(world, beside)
            return
        _refuse_leading_out(place, path)
        _put(Path(f"{beside}{kept['inside']}{path}"), Path(f"{place}{path}"), _quarantine(place, world), path)

    def asked(self, params: RestoreInPlaceParams, seen: Seen) -> int:
        return len(seen.wrong) + len(seen.strange)

    def result(self, params: RestoreInPlaceParams, seen: Seen) -> Mapping[str, Any]:
        return {"backup": params.backup, "set": params.set, "path": params.path, "differing": dict(seen.wrong),
                "strange": list(seen.strange), "kept": list(seen.kept),
                "quarantine": seen.quarantine if os.path.lexists(seen.quarantine) else None}


def _refuse_unvouched(view: SetView) -> None:
    if view.state in UNVOUCHED:
        raise SafetyRefusal(f"set {view.id} is {view.state} ({'; '.join(view.reasons)}), and what nobody vouched for is not put where it is used",
                            where=f"{view.backup}/{view.id}", hint="restore it elsewhere and look at it: opsctl restore files … --into DIR")


def _noted(params: RestoreInPlaceParams, world: World) -> Path:
    """Where it is noted what the newest look found wrong, so that not everything is read again to restore it."""
    return world.keep("in-place") / f"{hashlib.sha256(os.fsencode(params.path)).hexdigest()}.json"


def refuse_many(found: hashes.Hashed, place: Path) -> None:
    """SafetyRefusal for more differences than are told one by one."""
    if found.more:
        raise SafetyRefusal(f"{len(found.differences) + found.more:,} files of {place} are not as in the set",
                            hint="bring the whole folder back, by one rename: opsctl restore promote", where=str(place))


def _stays(path: str, keep: Sequence[str]) -> bool:
    return any(path == one or path.startswith(one.rstrip("/") + "/") for one in keep)


def _quarantine(place: Path, world: World) -> Path:
    return place.parent / f"{short(place.name)}.quarantine-{stamp(world)}"


def _refuse_leading_out(place: Path, path: str) -> None:
    """SafetyRefusal where a link on the way leads somewhere else: nothing outside of the folder is touched."""
    folder = os.path.dirname(f"{place}{path}")
    if os.path.realpath(folder) != os.path.normpath(os.path.realpath(place) + os.path.dirname(path)):
        raise SafetyRefusal(f"{folder} leads out of {place} by a link", hint="look at the link, remove it, then resume", where=str(place))


def _way_to(quarantine: Path, path: str) -> Path:
    """Where something goes in the quarantine; folders on the way are made, for us alone."""
    first = to = Path(f"{quarantine}{path}")
    for folder in (quarantine, *reversed([one for one in to.parents if quarantine in one.parents])):
        folder.mkdir(mode=0o700, exist_ok=True)
    number = 1
    while os.path.lexists(to):
        number += 1
        to = first.with_name(f"{first.name}-{number}")
    return to


def _put(staged: Path, target: Path, quarantine: Path, path: str) -> None:
    """Never a moment without either where both are files; what is replaced stays in the quarantine."""
    mode = os.lstat(staged).st_mode
    if os.path.lexists(target):
        if stat.S_ISREG(os.lstat(target).st_mode) and stat.S_ISREG(mode):
            kept = Path(f"{quarantine}{path}")
            if not (os.path.lexists(kept) and os.path.samestat(os.lstat(kept), os.lstat(target))):
                os.link(target, _way_to(quarantine, path), follow_symlinks=False)
            if not into_view.exchange(staged, target):
                os.rename(staged, target)
            return
        into_view.move(target, _way_to(quarantine, path))
    if stat.S_ISDIR(mode):
        os.mkdir(target)
        found = os.stat(staged)
        with suppress(PermissionError):
            os.chown(target, found.st_uid, found.st_gid)
        shutil.copystat(staged, target)
        return
    into_view.move(staged, target)
