"""restore_controller: the configuration and the journal that a set carries, proven against its signed manifest."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from opsctl.actions.interface import Change, Params, StateAction, World
from opsctl.actions.restoring import (
    RECORD,
    find_set,
    in_the_way,
    make_staging,
    plain,
    refuse_own_places,
    settle,
    show,
    staging,
)
from opsctl.errors import DamagedData, SafetyRefusal
from opsctl.model.part import AfterValidator
from opsctl.model.sets import UNVOUCHED, SetView
from opsctl.repositories.whole import write_whole


class RestoreControllerParams(Params):
    """``into`` is the folder to make."""

    backup: str
    set: str
    into: Annotated[str, AfterValidator(plain)]
    copy_in: str = ""


@dataclass(frozen=True)
class Seen:
    """``found``: what lies in ``into``, once it is in view and ours."""

    host: str
    signer: str | None
    found: Mapping[str, Any] | None


class RestoreController(StateAction[RestoreControllerParams, Seen]):
    """Restores the configuration and the journal of the controller that made a set, into a new folder.

    with:
      backup   the name of a backup
      set      the id of the set that carries them
      into     the folder to make; it must not exist, or be empty
      copy_in  the repository that holds a copy to restore from, instead of the backup's own

    Each file of the configuration is held against the hash in the signed manifest, and the journal against the line that the
    manifest vouches for; only then it comes into view. Secrets are in no set: what the configuration names in `*_file` has to
    be brought.
    """

    word = "restore_controller"
    Params = RestoreControllerParams

    def locks(self, params: RestoreControllerParams) -> Sequence[str]:
        return (f"into-{params.into}",)

    def observe(self, params: RestoreControllerParams, world: World) -> Seen:
        target = Path(params.into)
        refuse_own_places(world, target)
        view, _ = find_set(world, params.backup, params.set, params.copy_in)
        _refuse_empty(view)
        found = _ours(target, world.run)
        if found is None and in_the_way(target):
            raise SafetyRefusal(f"{target} exists and is not empty", hint="choose a new folder for --into")
        return Seen(str(view.record.get("host", "")), view.signer, found)

    def plan(self, params: RestoreControllerParams, seen: Seen) -> list[Change]:
        if seen.found is not None:
            return []
        return [Change("controller", f"restore the configuration and the journal of {seen.host} into {params.into}")]

    def apply(self, params: RestoreControllerParams, change: Change, world: World) -> None:
        view, history = find_set(world, params.backup, params.set, params.copy_in)
        target = Path(params.into)
        place = staging(target, world.run)
        make_staging(place, anew=True)
        history.repository.restore(str(view.manifest), place, on_progress=world.progress)
        _refuse_other_files(view, place)
        journal = world.vouch_for(place / "journal", view, history)
        settle(world, place)
        record = {"set": view.id, "backup": view.backup, "run": world.run, "time": world.now.isoformat(), "signed_by": view.signer,
                  "set_time": view.record["time"], "files": sorted(view.record["carried"]["files"]),
                  "left_out": view.record["carried"].get("left_out", {}), "journal": journal}
        write_whole(place / RECORD, json.dumps(record, indent=1).encode() + b"\n")
        show(place, target)

    def result(self, params: RestoreControllerParams, seen: Seen) -> Mapping[str, Any]:
        return {"backup": params.backup, "set": params.set, "host": seen.host, "signed_by": seen.signer,
                "into": params.into if seen.found is not None else None, **(seen.found or {})}


def _refuse_empty(view: SetView) -> None:
    if view.state in UNVOUCHED:
        raise SafetyRefusal(
            f"set {view.id} is {view.state}, and a configuration that nobody vouched for is not restored: it names programs to run",
            hint=f"if you know this key: --trust {view.signer}", where=f"{view.backup}/{view.id}")
    carried = view.record.get("carried")
    if carried is None:
        raise SafetyRefusal(f"set {view.id} was made by a version that put no configuration into sets",
                            hint="choose a newer one", where=f"{view.backup}/{view.id}")
    if hosts := carried.get("kept_from"):
        raise SafetyRefusal(
            f"set {view.id} carries no configuration: {', '.join(hosts)} can open its repository, and would read it there",
            hint="take a set of another repository, or the kit", where=f"{view.backup}/{view.id}")


def _refuse_other_files(view: SetView, place: Path) -> None:
    """DamagedData where the configuration that came back is not the one that was signed."""
    wanted = view.record["carried"]["files"]
    root = place / "configuration"
    there = {str(path.relative_to(root)): path for path in root.rglob("*") if not path.is_dir() or path.is_symlink()}
    wrong = [f"{name} is missing" for name in wanted if name not in there]
    for name, path in there.items():
        if name not in wanted:
            wrong.append(f"{name} is not named in the manifest")
        elif not path.is_file() or path.is_symlink() or hashlib.sha256(path.read_bytes()).hexdigest() != wanted[name]:
            wrong.append(f"{name} is not the file that was signed")
    if wrong:
        raise DamagedData(f"the configuration in set {view.id} is not what its manifest says: {'; '.join(sorted(wrong)[:5])}",
                          hint=f"it lies in {place}, not in view; take another set", where=f"{view.backup}/{view.id}")


def _ours(target: Path, run: str) -> Mapping[str, Any] | None:
    try:
        found = json.loads((target / RECORD).read_text())
        if found["run"] != run or not os.path.isdir(target / "configuration"):
            return None
        return {key: found[key] for key in ("files", "left_out", "journal")}
    except (OSError, ValueError, KeyError, TypeError):
        return None
