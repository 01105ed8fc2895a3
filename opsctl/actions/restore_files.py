"""restore_files: single files or folders of a set, beside what is there, never over it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from opsctl.actions import in_incident, restoring
from opsctl.actions.interface import Change, Params, StateAction, World
from opsctl.actions.restoring import (
    find_set,
    in_the_way,
    let_go,
    make_staging,
    plain,
    refuse_own_places,
    refuse_small_disk,
    settle,
    show,
    staging,
)
from opsctl.errors import DamagedData, Interrupted, OpsError, SafetyRefusal, UsageError
from opsctl.model.part import AfterValidator
from opsctl.model.quantities import counted
from opsctl.model.sets import origin_of
from opsctl.proofs import hashes
from opsctl.proofs.files import count
from opsctl.repositories.interface import Repository
from opsctl.repositories.private import remove_tree
from opsctl.repositories.whole import write_whole


def _below_root(path: str) -> str:
    if path == "/":
        raise ValueError("/ has no name to land under; restore what is below it, or the whole set")
    return plain(path)


class RestoreFilesParams(Params):
    """``paths`` are absolute paths as they were when they were backed up; ``into`` is the folder they land in."""

    backup: str
    set: str
    paths: tuple[Annotated[str, AfterValidator(_below_root)], ...]
    into: Annotated[str, AfterValidator(plain)]
    replace: bool = False
    copy_in: str = ""
    step: str = ""


@dataclass(frozen=True)
class Item:
    """One path: where it is ``inside`` the snapshot of which source, what it holds, where it lands, and whether ours is in view
    there.
    """

    path: str
    inside: str
    source: str
    snapshot: str
    files: int
    bytes: int
    target: str
    aside: str | None
    in_view: bool
    left_over: str | None


@dataclass(frozen=True)
class Seen:
    """All paths asked for, in order."""

    items: tuple[Item, ...]
    signer: str | None


class RestoreFiles(StateAction[RestoreFilesParams, Seen]):
    """Restores files or folders of a set into a folder, each under its own last name, verified, then renamed into view.

    with:
      backup   the name of a backup
      set      the id of the set
      paths    absolute paths as they were when they were backed up
      into     the folder they land in; it is made where it is missing
      replace  true: what is in the way is kept as `NAME.before-RUN`; otherwise it is refused
      copy_in  the repository that holds a copy to restore from, instead of the backup's own

    While an incident is open, what is production by the configuration (a path of a source, or what a service is brought back
    into) is refused (23) unless the run scanned it and two approved: `restore run` and `restore promote` do that.
    """

    word = "restore_files"
    Params = RestoreFilesParams

    def locks(self, params: RestoreFilesParams) -> Sequence[str]:
        return (f"into-{params.into}",)

    def observe(self, params: RestoreFilesParams, world: World) -> Seen:
        refuse_own_places(world, Path(params.into))
        view, history = find_set(world, params.backup, params.set, params.copy_in)
        items = []
        for path in params.paths:
            kept = _note(world, path)
            if kept is None:
                kept = measure(path, view, history.repository)
                write_whole(_note_path(world, path), json.dumps(kept).encode())
            items.append(_item(path, kept, params, world, history.repository))
        twice = {item.target for item in items if [other.target for other in items].count(item.target) > 1}
        if twice:
            raise UsageError(f"two of the paths would land in {sorted(twice)[0]}", hint="restore them one by one")
        missing = [item for item in items if not item.in_view]
        in_incident.refuse_unscanned(params, {item.source for item in missing},
                                     in_incident.places_in_use([item.target for item in missing], world), world)
        refuse_small_disk(Path(params.into), sum(item.bytes for item in missing), [staging(Path(item.target), world.run) for item in missing])
        return Seen(tuple(items), view.signer)

    def plan(self, params: RestoreFilesParams, seen: Seen) -> list[Change]:
        changes = []
        for item in seen.items:
            if not item.in_view:
                kept = f" (what is there is kept as {item.aside})" if item.aside else ""
                changes.append(Change(item.path, f"restore {item.path} as {item.target}{kept}"))
            elif item.left_over:
                changes.append(Change(f"clear:{item.path}", f"remove {item.left_over}, which a killed restore left"))
        return changes

    def apply(self, params: RestoreFilesParams, change: Change, world: World) -> None:
        if change.key.startswith("clear:"):
            remove_tree(staging(Path(params.into) / os.path.basename(change.key), world.run))
            return
        _, history = find_set(world, params.backup, params.set, params.copy_in)
        item = _item(change.key, _note(world, change.key) or {}, params, world, history.repository)
        target = Path(item.target)
        place = staging(target, world.run)
        make_staging(place, anew=True)
        staged = Path(str(place) + item.inside)
        try:
            history.repository.restore(item.snapshot, place, include=(item.inside,), on_progress=world.progress)
            _refuse_less(item, staged)
        except Interrupted:
            raise
        except OpsError as error:
            _leave(place, staged, error)
            raise
        settle(world, place)
        write_whole(world.keep("restore") / f"{_key(change.key)}.inode", _inode(staged).encode())
        mode = let_go(staged, place)
        show(staged, target, aside=Path(item.aside) if item.aside else None)
        if mode is not None:
            os.chmod(target, mode)
        remove_tree(place)

    def result(self, params: RestoreFilesParams, seen: Seen) -> Mapping[str, Any]:
        return {
            "backup": params.backup, "set": params.set, "signed_by": seen.signer,
            "paths": [{"path": item.path, "source": item.source, "files": item.files, "bytes": item.bytes,
                       "target": item.target, "in_view": item.in_view} for item in seen.items],
        }


def _refuse_less(item: Item, staged: Path) -> None:
    back = count(staged)
    if (back.files, back.bytes) != (item.files, item.bytes):
        raise DamagedData(
            f"{item.path} holds {counted(item.files, 'file')} with {counted(item.bytes, 'byte')} in the set; "
            f"{counted(back.files, 'file')} with {counted(back.bytes, 'byte')} came back",
            hint="try an older set", where=item.path,
        )


def _leave(place: Path, staged: Path, error: OpsError) -> None:
    """After a failure: what came back stays where it is, and the error says where; nothing stays where nothing came back.

    Of damaged data the rest may be all that there is, but a program that was stopped by a full disk leaves only rubble.
    """
    if isinstance(error, DamagedData) and os.path.lexists(staged) and count(staged).files:
        left = f"what came back, unproven, lies in {staged}; remove {place} when you have looked"
        error.hint = f"{error.hint}; {left}" if error.hint else left
        return
    with contextlib.suppress(OSError):
        remove_tree(place)


def _key(path: str) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()


def _note_path(world: World, path: str) -> Path:
    return world.keep("restore") / f"{_key(path)}.json"


def _note(world: World, path: str) -> dict[str, Any] | None:
    try:
        return json.loads(_note_path(world, path).read_text())
    except (FileNotFoundError, ValueError):
        return None


def measure(path: str, view: Any, repository: Any) -> dict[str, Any]:
    """Which source holds the path and how much is below it: the one that is it, before those that only hold the file.

    ``source snapshot inside files bytes``.
    """
    for name, entry in sorted(view.sources.items(), key=lambda source: path not in origin_of(source[1])):
        own, origin = origin_of(entry)
        if path == origin:
            inside = own
        elif any(path == root or path.startswith(root.rstrip("/") + "/") for root in entry["paths"]):
            inside = path
        else:
            continue
        files = size = 0
        found = False
        for node in repository.ls(entry["snapshot"], inside):
            found = True
            if node.type == "file":
                files += 1
                size += node.size
        if found:
            return {"source": name, "snapshot": entry["snapshot"], "inside": inside, "files": files, "bytes": size}
    roots = [root for entry in view.sources.values() for root in (origin_of(entry)[1], *entry["paths"][1:])]
    raise UsageError(f"set {view.id} holds no {path}", hint=f"it holds what was below {', '.join(roots[:8])}", where=path)


def _item(path: str, kept: Mapping[str, Any], params: RestoreFilesParams, world: World, repository: Repository) -> Item:
    kept = {"inside": path, **kept}  # a run of an earlier version did not note it
    target = Path(params.into) / os.path.basename(path.rstrip("/"))
    in_view = _in_view(path, kept["inside"], target, world)
    aside = None
    if not in_view and in_the_way(target):
        if not params.replace:
            raise _in_the_way(target, kept, repository, world)
        aside = str(restoring.aside(target, world.run))
    place = staging(target, world.run)
    return Item(path=path, target=str(target), aside=aside, in_view=in_view,
                left_over=str(place) if in_view and place.exists() else None, **kept)


def _in_the_way(target: Path, kept: Mapping[str, Any], repository: Repository, world: World) -> SafetyRefusal:
    """The refusal, which of a folder tells what in it is not as in the set."""
    hint = "choose another --into, or --replace to keep the old one aside"
    if target.is_symlink() or not target.is_dir():
        return SafetyRefusal(f"{target} exists", hint=hint)
    found = hashes.compare(repository, kept["snapshot"], target, below=kept["inside"], check=world.shell.check,
                           on_progress=world.progress)
    strange = sorted(one.where for one in found.differences if one.expected == hashes.NOTHING)
    changed = sorted(one.where for one in found.differences if one.expected != hashes.NOTHING)
    told = [f"{counted(len(names), 'path')} {how} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
            for names, how in ((changed, "not as in the set"), (strange, "that it does not hold")) if names]
    return SafetyRefusal(f"{target} exists; in it are {' and '.join(told) or 'exactly the files of the set'}",
                         hint=f"{hint}; --in-place puts back those that differ, in their own place",
                         details={"changed": changed, "strange": strange, "more": found.more})


def _in_view(path: str, inside: str, target: Path, world: World) -> bool:
    """Whether what stands at the target is the very file that this run staged and renamed."""
    try:
        noted = (world.keep("restore") / f"{_key(path)}.inode").read_text()
        staged = Path(str(staging(target, world.run)) + inside)
        # Where a file got its place by a second name, a kill can leave both.
        return _inode(target) == noted and (not os.path.lexists(staged) or _inode(staged) == noted)
    except OSError:
        return False


def _inode(path: Path) -> str:
    found = os.lstat(path)
    return f"{found.st_dev}:{found.st_ino}"
