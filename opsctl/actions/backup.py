"""backup: one set of a backup, whole, in its repository, with the proofs it will be restored against."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from opsctl import __version__
from opsctl.actions.interface import Change, Params, StateAction, World
from opsctl.errors import DamagedData, OpsError, Partial, ProgramFailed, Refused, Unreachable
from opsctl.model.due import due
from opsctl.model.records import MANIFEST
from opsctl.model.sets import FUTURE, GOOD, Judgement, SetView
from opsctl.model.snapshots import Snapshot
from opsctl.repositories.history import write_whole
from opsctl.sources.interface import Captured, Context, Problem


class BackupParams(Params):
    """``set`` is the id of the set to be made, fixed when the run is bound; ``accept`` names sources taken as they are."""

    backup: str
    set: str
    when: str = "always"
    accept: tuple[str, ...] = ()


@dataclass(frozen=True)
class Seen:
    """What stands in the repository. ``captured``: sources whose snapshot and proof of this set are there."""

    sources: tuple[str, ...]
    kinds: Mapping[str, str]
    repository: str
    every: timedelta
    now: datetime
    newest: SetView | None
    this: SetView | None
    captured: Mapping[str, Mapping[str, Any]]


class Backup(StateAction[BackupParams, Seen]):
    """Takes one set of a backup: a snapshot of each source, and last a signed manifest, which is the commit.

    with:
      backup  the name of a backup in the configuration
      set     the id of the set; the run's own where it is left out
      when    `always`, or `due`: only where the newest good set in the repository is as old as `every`
      accept  names of sources that may lack something this once (a missing path, a tree that shrank)

    A source that fails does not stop the others, but then there is no manifest, and the set is incomplete and is not
    counted. What was captured before a kill is used again by `opsctl resume`.
    """

    word = "backup"
    Params = BackupParams

    def locks(self, params: BackupParams) -> Sequence[str]:
        return (f"backup-{params.backup}",)

    def skip_when_busy(self, params: BackupParams) -> bool:
        return params.when == "due"

    def observe(self, params: BackupParams, world: World) -> Seen:
        history = world.repository(world.home(params.backup))
        history.require_known()
        plan = world.config.backups[params.backup]
        judgement = history.look(world.now).judgement
        this = next((view for view in judgement.of(params.backup) if view.id == params.set), None)
        present = set(this.snapshots.values()) if this else set()
        captured = {}
        for name in plan.sources:
            kept = _kept(world, params, name)
            if kept and kept["snapshot"] in present and not _open_problems(kept, name, params):
                captured[name] = kept
        _warn_of_clock(judgement, params.backup, world)
        return Seen(
            sources=tuple(plan.sources),
            kinds={name: world.source(name).kind for name in plan.sources},
            repository=plan.repository,
            every=plan.every,
            now=world.now,
            newest=judgement.newest_good(params.backup),
            this=this,
            captured=captured,
        )

    def plan(self, params: BackupParams, seen: Seen) -> list[Change]:
        if seen.this is not None and seen.this.state == GOOD:
            return []
        if params.when == "due" and due(seen.newest.time if seen.newest else None, seen.every, seen.now) is None:
            return []
        missing = [name for name in seen.sources if name not in seen.captured]
        changes = [Change(f"source:{name}", f"back up {name} ({seen.kinds[name]}) into {seen.repository}")
                   for name in missing]
        after = tuple(change.key for change in changes)
        return [*changes, Change("manifest", f"sign and store the manifest of set {params.set}", after=after)]

    def apply(self, params: BackupParams, change: Change, world: World) -> None:
        word, _, name = change.key.partition(":")
        if word == "source":
            _capture(params, name, world)
        else:
            _commit(params, world)

    def missing(self, params: BackupParams, seen: Seen, changes: Sequence[Change]) -> str:
        why = "; ".join(seen.this.reasons) if seen.this else "nothing of it is in the repository"
        return f"set {params.set} of {params.backup} is not whole: {why}"

    def result(self, params: BackupParams, seen: Seen) -> Mapping[str, Any]:
        newest = seen.newest
        found: dict[str, Any] = {
            "backup": params.backup,
            "repository": seen.repository,
            "set": params.set if seen.this else None,
            "state": seen.this.state if seen.this else None,
            "newest": newest.id if newest else None,
            "newest_time": newest.record["time"] if newest else None,
            "due": due(newest.time if newest else None, seen.every, seen.now),
        }
        entries = seen.this.sources if seen.this and seen.this.record else seen.captured
        found["sources"] = {
            name: {key: entry[key] for key in ("snapshot", "files", "bytes", "data_added_packed", "seconds")}
            for name, entry in entries.items()
        }
        return found


def _warn_of_clock(judgement: Judgement, backup: str, world: World) -> None:
    ahead = [view for view in judgement.of(backup) if view.state == FUTURE]
    if ahead:
        world.warn(f"set {ahead[-1].id} of {backup} is dated {ahead[-1].time:%Y-%m-%d %H:%M}, in the future: was a "
                   f"clock wrong? It is not counted")
        return
    newest = judgement.newest_good(backup)
    every = world.config.backups[backup].every
    if newest is not None and newest.time is not None and world.now - newest.time > max(10 * every, timedelta(days=60)):
        world.warn(f"the newest set of {backup} is {(world.now - newest.time).days} days old: is this machine's "
                   f"clock right? Nothing is deleted because of it")


def _keep_path(world: World, params: BackupParams, source: str) -> Path:
    return world.keep("sets", params.backup) / f"{source}.json"


def _kept(world: World, params: BackupParams, source: str) -> Mapping[str, Any] | None:
    try:
        return json.loads(_keep_path(world, params, source).read_text())
    except (FileNotFoundError, ValueError):
        return None


def _open_problems(kept: Mapping[str, Any], source: str, params: BackupParams) -> list[Problem]:
    problems = [Problem(**{**raw, "paths": tuple(raw["paths"])}) for raw in kept["problems"]]
    return [found for found in problems if not (found.acceptable and source in params.accept)]


def _capture(params: BackupParams, name: str, world: World) -> None:
    history = world.repository(world.config.backups[params.backup].repository)
    repository = history.repository
    repository.unlock_stale()
    newest = history.seen(world.now).judgement.newest_good(params.backup)
    previous = newest.sources.get(name) if newest else None
    source = world.source(name)
    before = source.check(previous)
    with world.scratch() as scratch:
        captured = source.capture(Context(
            repository=repository,
            tags=("opsctl", f"backup={params.backup}", f"set={params.set}", f"source={name}"),
            host=world.host,
            now=world.now,
            scratch=scratch,
            parent=previous["snapshot"] if previous else None,
            previous=previous,
            on_progress=world.progress,
        ))
    problems = [*before, *(found for found in captured.problems if found not in before)]
    kept = {**_plain(captured), "kind": source.kind, "problems": [asdict(found) for found in problems]}
    write_whole(_keep_path(world, params, name), json.dumps(kept).encode())
    left = _open_problems(json.loads(json.dumps(kept)), name, params)
    if left:
        raise _error(f"{params.backup}/{name}", left)


def _plain(captured: Captured) -> dict[str, Any]:
    found = asdict(captured)
    found.pop("problems")
    return found


def _error(where: str, problems: Sequence[Problem]) -> OpsError:
    first = problems[0]
    kinds: dict[int, type[OpsError]] = {12: Refused, 13: Unreachable, 20: ProgramFailed}
    paths = [path for found in problems for path in found.paths]
    more = sum(found.more_paths for found in problems)
    details: dict[str, Any] = {"paths": paths, "more_paths": more} if paths else {}
    hint = first.hint
    if all(found.acceptable for found in problems):
        accept = f"if that is as it should be: opsctl backup run {where.partition('/')[0]} --accept {where.partition('/')[2]}"
        hint = f"{hint}; {accept}" if hint else accept
    return kinds.get(first.code, Partial)(
        f"{where}: {'; '.join(found.message for found in problems)}", hint=hint, where=where, details=details
    )


def _refuse_lost(params: BackupParams, name: str, kept: Mapping[str, Any], snapshot: Snapshot, world: World) -> None:
    fields = {key: value for key, value in kept.items() if key not in ("kind", "problems")}
    lost = world.source(name).look_again(Captured(**fields), snapshot)
    left = [found for found in lost if not (found.acceptable and name in params.accept)]
    if left:
        raise _error(f"{params.backup}/{name}", left)


def _commit(params: BackupParams, world: World) -> None:
    plan = world.config.backups[params.backup]
    history = world.repository(plan.repository)
    holdings = history.look(world.now)
    snapshots = {snapshot.id: snapshot for snapshot in holdings.snapshots}
    sources: dict[str, Any] = {}
    for name in plan.sources:
        kept = dict(_kept(world, params, name) or {})
        if kept.get("snapshot") not in snapshots:
            raise DamagedData(
                f"the snapshot of {name} that restic reported is not in {plan.repository}",
                hint="run the backup again, and `opsctl verify` to see what else is missing",
                where=f"{params.backup}/{name}",
            )
        snapshot = snapshots[kept["snapshot"]]
        _refuse_lost(params, name, kept, snapshot, world)
        accepted = [raw["message"] for raw in kept.pop("problems")]
        sources[name] = {**kept, "tree": snapshot.tree, "accepted": accepted}
    newest = holdings.judgement.newest_good(params.backup)
    record = {
        "format": MANIFEST,
        "backup": params.backup,
        "set": params.set,
        "run": world.run,
        "time": world.now.isoformat(),
        "repository": history.identity().id,
        "host": world.host,
        "every_seconds": int(plan.every.total_seconds()),
        "sources": sources,
        "previous": {"set": newest.id, "manifest": newest.manifest} if newest else None,
        "journal": dict(world.journal_head()),
        "versions": {"opsctl": __version__, **world.versions()},
    }
    history.write(record, tags=(f"backup={params.backup}", f"set={params.set}"),
                  filename=f"opsctl-manifest-{params.backup}-{params.set}.json", host=world.host)
    history.repository.unlock_stale()
