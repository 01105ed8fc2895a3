"""drill: a set restored into a clean room that is thrown away, with every proof compared and the time taken."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from opsctl.actions.interface import CheckAction, Params, World
from opsctl.actions.restoring import bring, find_set, load_in_room, refuse_small_disk, refuse_unvouched
from opsctl.errors import DamagedData, OpsError, SafetyRefusal
from opsctl.model.drill_target import Target, target
from opsctl.model.sets import WHOLE, SetView
from opsctl.proofs import shows
from opsctl.repositories.history import History
from opsctl.repositories.private import remove_tree
from opsctl.repositories.standing import drill_due, standing
from opsctl.repositories.whole import write_whole
from opsctl.sources.interface import Database

CHANCE, NEWEST = "chance", "newest"


class DrillParams(Params):
    """``set``: an id, ``newest``, or ``chance``; ``copy_in`` a repository with a copy; ``scratch`` an absolute path.

    ``when``: ``always``, or ``due`` by the backup's ``verify: {drill: …}``.
    """

    backup: str
    set: str = CHANCE
    copy_in: str = ""
    scratch: str = ""
    when: Literal["always", "due"] = "always"


@dataclass(frozen=True)
class Drilled:
    """One source: seconds to restore and to load it, what differs, and the error that stopped it."""

    name: str
    kind: str
    bytes: int
    shows: str
    restored: float
    loaded: float | None
    differences: tuple[str, ...]
    error: OpsError | None


@dataclass(frozen=True)
class Seen:
    """The drill of one set. ``seconds``: from the first byte asked for to the last proof compared.

    ``set`` is empty where none was due. ``error``: why nothing of it could be restored at all. ``target``:
    how long it may take.
    """

    backup: str
    set: str
    set_time: str
    repository: str
    seconds: float
    sources: tuple[Drilled, ...]
    target: Target | None
    error: OpsError | None = None


class Drill(CheckAction[DrillParams, Seen]):
    """Restores a whole set into a clean room of its own, loads its databases into a server started in it, compares every proof,
    measures how long it took, and throws everything away.

    with:
      backup   the name of a backup
      set      the id of a set, `newest`, or `chance`: any whole set, another one in each run
      copy_in  the repository that holds a copy to drill from, instead of the backup's own
      scratch  a folder for it, with room for the set; where it is left out, what `clean_room: {place: …}` says
      when     `always`, or `due`: only where the newest drill in the repository failed, or is as old as the backup's
               `verify: {drill: …}` says

    Nothing of production is touched: databases go into a server of the drill's own, started from its own programs in the
    room, which has no network and no sight of this machine's sockets and files. The repository is read and no cache. What
    differs is 22; the word `record_drill` keeps the result in the repository, so that it survives this machine. How long it
    took is held against the shortest `rto:` of the services that the backup brings back.
    """

    word = "drill"
    Params = DrillParams

    def locks(self, params: DrillParams) -> Sequence[str]:
        return (f"drill-{params.backup}",)

    def skip_when_busy(self, params: DrillParams) -> bool:
        return params.when == "due"

    def observe(self, params: DrillParams, world: World) -> Seen:
        history = world.repository(params.copy_in or world.home(params.backup))
        if params.when == "due" and not _is_due(params, history, world):
            return Seen(params.backup, "", "", history.name, 0.0, (), None)
        history.repository.use_no_cache()
        chosen = _choose(params, history, world)
        begun = time.monotonic()
        try:
            view, history = find_set(world, params.backup, chosen, params.copy_in)
        except DamagedData as error:
            return _unreadable(params, chosen, history, error, time.monotonic() - begun, world)
        refuse_unvouched(view)
        begun = time.monotonic()
        sources = _in_room(params, view, history, world)
        seen = Seen(params.backup, view.id, str(view.record["time"]), history.name, time.monotonic() - begun, sources,
                    target(world.config, params.backup))
        _keep(seen, world)
        return seen

    def findings(self, params: DrillParams, seen: Seen) -> Sequence[OpsError]:
        if seen.error is not None:
            return [seen.error]
        return [_finding(seen, found) for found in seen.sources if found.error is not None or found.differences]

    def result(self, params: DrillParams, seen: Seen) -> Mapping[str, Any]:
        return _kept(seen) if seen.set else {}


def _is_due(params: DrillParams, history: History, world: World) -> bool:
    """By the records in the repository that is read, whoever made them."""
    plan = world.config.backups.get(params.backup)
    if plan is None or plan.verify.drill is None:
        return False
    copy = bool(params.copy_in)
    found = standing(params.backup, history.name, history.look(world.clock()), plan.verify.read_all_within, world.now, copy=copy)
    return drill_due(found, plan.verify.drill, world.now) is not None


def _unreadable(
    params: DrillParams, chosen: str, history: History, error: DamagedData, seconds: float, world: World,
) -> Seen:
    """The drill of a set of which not even the manifest can be read: it failed, and is recorded as one that did."""
    known = next(view for view in history.look(world.clock()).judgement.of(params.backup) if view.id == chosen)
    seen = Seen(params.backup, chosen, str(known.record["time"]), history.name, seconds, (),
                target(world.config, params.backup), error)
    _keep(seen, world)
    return seen


def _keep(seen: Seen, world: World) -> None:
    write_whole(world.keep("drill") / f"{seen.backup}.json", json.dumps(_kept(seen)).encode())


def _kept(seen: Seen) -> dict[str, Any]:
    return {
        "backup": seen.backup, "set": seen.set, "set_time": seen.set_time, "read_from": seen.repository,
        "seconds": round(seen.seconds, 3),
        "target": {"seconds": seen.target.rto.total_seconds(), "shown": str(seen.target)} if seen.target else None, "error": seen.error.message if seen.error else None,
        "ok": seen.error is None and not any(found.error or found.differences for found in seen.sources),
        "sources": {found.name: {
            "kind": found.kind, "bytes": found.bytes, "equal": found.shows, "restore_seconds": round(found.restored, 3),
            "load_seconds": None if found.loaded is None else round(found.loaded, 3),
            "differences": list(found.differences[:50]), "error": found.error.message if found.error else None,
        } for found in seen.sources},
    }


def _finding(seen: Seen, found: Drilled) -> OpsError:
    where = f"{seen.backup}/{found.name}"
    if found.error is not None:
        return type(found.error)(f"drill of set {seen.set}: {found.name}: {found.error.message}", hint=found.error.hint,
                                 where=where, details=found.error.details)
    more = f" and {len(found.differences) - 5} more" if len(found.differences) > 5 else ""
    return DamagedData(
        f"drill of set {seen.set}: {found.name} is not what was backed up: {'; '.join(found.differences[:5])}{more}",
        hint="try another set, and `opsctl verify --level data`", where=where,
        details={"differences": list(found.differences[:200])},
    )


def _choose(params: DrillParams, history: History, world: World) -> str:
    if params.set not in (CHANCE, NEWEST):
        return params.set
    judgement = history.look(world.clock()).judgement
    if params.set == NEWEST:
        newest = judgement.newest_whole(params.backup)
        whole = [newest] if newest else []
    else:
        whole = [view for view in judgement.of(params.backup) if view.state in WHOLE]
    if not whole:
        raise SafetyRefusal(f"there is no whole set of {params.backup} in {history.name} to drill",
                            hint=f"opsctl backup list {params.backup}")
    # By the run's id, so that a resumed drill is of the same set.
    chance = hashlib.sha256(f"{world.run}/{params.backup}".encode()).digest()
    return whole[int.from_bytes(chance[:8]) % len(whole)].id


def _in_room(params: DrillParams, view: SetView, history: History, world: World) -> tuple[Drilled, ...]:
    name = f"drill-{world.run}-{params.backup}"
    _tell_of_others(world, params, name)
    room = world.clean_room(name, params.scratch)
    if room.there:  # this run was cut off in it
        room.enter()
        room.remove()
    # A database is there twice for a moment: as its dump and as tables.
    needed = sum(entry["bytes"] * (1 if entry["kind"] == "paths" else 3) for entry in view.sources.values())
    refuse_small_disk(room.place, needed, hint="free some space, or choose another --scratch")
    room.enter(purpose="drill", backup=params.backup, set=view.id)
    try:
        return tuple(_drill(source, view, history, room, world) for source in view.sources)
    finally:
        room.remove()


def _tell_of_others(world: World, params: DrillParams, name: str) -> None:
    """Of rooms of drills that were killed: nobody else would ever remove them."""
    for left in world.clean_rooms(params.scratch):
        if left.record.get("purpose") == "drill" and not left.busy and left.name != name:
            world.warn(f"a drill that was cut off (run {left.record.get('run')}) left {left.place}: `opsctl restore clear {left.name}` removes it")


def _drill(name: str, view: SetView, history: History, room: Any, world: World) -> Drilled:
    entry = view.sources[name]
    begun, restored, loaded = time.monotonic(), 0.0, None
    differences: list[str] = []
    error: OpsError | None = None
    target = room.files(name)
    try:
        source = world.source(name, entry)
        differences += map(str, bring(source, entry, target, history, world))
        restored = time.monotonic() - begun
        if isinstance(source, Database) and not differences:
            loading = time.monotonic()
            differences += map(str, load_in_room(room, name, entry))
            loaded = time.monotonic() - loading
    except OpsError as found:
        if found.code in (130, 143):
            raise
        error = found
    if target.exists():
        remove_tree(target)
    room.forget_server(name)
    return Drilled(name, entry["kind"], entry["bytes"], shows(entry["proof"]), restored or time.monotonic() - begun, loaded,
                   tuple(differences), error)
