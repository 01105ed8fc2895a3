"""backup: one set of a backup, whole, in its repository, with the proofs it will be restored against."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from opsctl import __version__
from opsctl.actions import signalling
from opsctl.actions.interface import Change, Params, StateAction, World
from opsctl.errors import (
    DamagedData,
    Interrupted,
    OpsError,
    Partial,
    ProgramFailed,
    Refused,
    SafetyRefusal,
    Unreachable,
)
from opsctl.model.due import due
from opsctl.model.limits import waits
from opsctl.model.moments import local
from opsctl.model.records import MANIFEST
from opsctl.model.sets import FUTURE, GOOD, Judgement, SetView, taken_until
from opsctl.model.signals import SUSPECT, reasons, together, unknown
from opsctl.model.snapshots import Snapshot
from opsctl.model.taken_with import changed, settings
from opsctl.model.values import value
from opsctl.proofs import shows
from opsctl.repositories.history import History
from opsctl.repositories.patience import patiently
from opsctl.repositories.whole import write_whole
from opsctl.sources.hooks import Hooks
from opsctl.sources.interface import Captured, Context, Problem

Made = TypeVar("Made")


class BackupParams(Params):
    """``set`` is the id of the set to be made, fixed when the run is bound; ``accept`` names sources taken as they are."""

    backup: str
    set: str
    when: str = "always"
    accept: tuple[str, ...] = ()


@value
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
    counted. What was captured before a kill is used again by `opsctl resume`, unless its source has other settings now (23).
    The set is dated by the start of its run, however late that was resumed: it never looks newer than its oldest data. Hooks run before and after each source; one
    that fails or takes too long fails its source. A repository that does not answer is tried again as `retries` says.
    """

    word = "backup"
    Params = BackupParams

    def locks(self, params: BackupParams) -> Sequence[str]:
        return (f"backup-{params.backup}",)

    def skip_when_busy(self, params: BackupParams) -> bool:
        return params.when == "due"

    def observe(self, params: BackupParams, world: World) -> Seen:
        return _patiently(lambda: self._look(params, world), params, world)

    def _look(self, params: BackupParams, world: World) -> Seen:
        history = world.repository(world.home(params.backup))
        history.require_known()
        plan = world.config.backups[params.backup]
        judgement = history.look(world.clock()).judgement
        this = next((view for view in judgement.of(params.backup) if view.id == params.set), None)
        present = set(this.snapshots.values()) if this else set()
        captured = {}
        for name in plan.sources:
            kept = _kept(world, params, name)
            if kept and kept["snapshot"] in present and not _open_problems(kept, name, params):
                if this is not None and this.state != GOOD:
                    _refuse_other_settings(params, name, kept, world)
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
        return [*changes, Change("manifest", f"sign and store the manifest of set {params.set}", after=after, commit=True)]

    def apply(self, params: BackupParams, change: Change, world: World) -> None:
        word, _, name = change.key.partition(":")
        if word == "source":
            _capture(params, name, world)
        else:
            _patiently(lambda: _commit(params, world), params, world)

    def asked(self, params: BackupParams, seen: Seen) -> int:
        return len(seen.sources) + 1  # and the manifest

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
            "signals": {"verdict": seen.this.verdict, "reasons": reasons(seen.this.signals)} if seen.this else None,
            "newest": newest.id if newest else None,
            "newest_time": newest.record["time"] if newest else None,
            "due": due(newest.time if newest else None, seen.every, seen.now),
        }
        entries = seen.this.sources if seen.this and seen.this.record else seen.captured
        found["sources"] = {
            name: {**{key: entry[key] for key in ("snapshot", "files", "bytes", "data_added_packed", "seconds")},
                   "shows": shows(entry["proof"]), **_hooks_said(seen.captured.get(name))}
            for name, entry in entries.items()
        }
        return found


def _warn_of_clock(judgement: Judgement, backup: str, world: World) -> None:
    ahead = [view for view in judgement.of(backup) if view.state == FUTURE]
    if ahead:
        dated = f" is dated {local(ahead[-1].time, world.config.organisation.tz)}" if ahead[-1].time else " is"
        world.warn(f"set {ahead[-1].id} of {backup}{dated}, in the future: was a clock wrong? It is not counted")
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


def _refuse_other_settings(params: BackupParams, name: str, kept: Mapping[str, Any], world: World) -> None:
    others = changed(kept["settings"], settings(world.config.sources[name])) if "settings" in kept else []
    if others:
        raise SafetyRefusal(
            f"{params.backup}/{name}: this run captured it before {', '.join(others)} of the source changed in the "
            f"configuration; one set does not hold both",
            hint=f"`opsctl backup run {params.backup}` takes a new set; with the old settings put back, "
                 f"`opsctl resume {world.run}` goes on",
            where=f"{params.backup}/{name}",
        )


def _hooks_said(kept: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the hooks of a source said, for the journal; the manifest does not hold it."""
    return {"hooks": kept["hooks"]} if kept and kept.get("hooks") else {}


def _patiently(work: Callable[[], Made], params: BackupParams, world: World) -> Made:
    plan = world.config.backups.get(params.backup)  # a resume may meet another configuration, which `home` refuses
    retries = plan.retries if plan is not None else 0
    return patiently(work, waits(retries), shell=world.shell, say=world.warn)


def _capture(params: BackupParams, name: str, world: World) -> None:
    spec = world.config.sources[name]
    hooks = Hooks(spec.before, spec.after, spec.hook_limit.total_seconds())
    log: list[dict[str, Any]] = []
    env = {"OPSCTL_BACKUP": params.backup, "OPSCTL_SET": params.set, "OPSCTL_SOURCE": name}
    try:
        kept = hooks.around(lambda: _patiently(lambda: _take(params, name, world), params, world),
                            shell=world.shell, source=name, env=env, log=log)
    except Interrupted:
        if spec.after:
            world.warn(f"{name}: the hook after it has not run; `opsctl resume {world.run}` takes it anew, hooks and all")
        raise
    except OpsError as error:
        # Many a source has one database's server, or one host, and notices tell troubles apart by this.
        if error.where in (None, name, spec.host):
            error.where = f"{params.backup}/{name}"
        raise
    # Last, so that a resume after a kill takes for captured only what the hook after it has followed.
    write_whole(_keep_path(world, params, name), json.dumps({**kept, "hooks": log}).encode())


def _take(params: BackupParams, name: str, world: World) -> dict[str, Any]:
    history = world.repository(world.config.backups[params.backup].repository)
    limits = world.config.backups[params.backup].limits
    repository = history.repository.limited(limits)
    repository.unlock_stale()
    judgement = history.seen(world.clock()).judgement
    newest = judgement.newest_good(params.backup)
    previous = newest.sources.get(name) if newest else None
    source = world.source(name)
    taken = world.clock().isoformat(timespec="seconds")
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
            limits=limits,
        ))
    for note in captured.notes:
        world.warn(f"{name}: {note}")
    problems = [*before, *(found for found in captured.problems if found not in before)]
    kept = {**_plain(captured), "kind": source.kind, "problems": [asdict(found) for found in problems], "taken": taken,
            "settings": settings(world.config.sources[name])}
    left = _open_problems(json.loads(json.dumps(kept)), name, params)
    if not left and name == world.config.backups[params.backup].sources[-1] and not world.config.sources[name].after:
        return {**kept, "put_off": signalling.put_off(world, captured.snapshot, captured.touched)}
    kept["signals"] = signalling.just_taken(source, name, kept, signalling.before(judgement.of(params.backup)), repository, world,
                                            captured.touched)
    if left:
        write_whole(_keep_path(world, params, name), json.dumps(kept).encode())
        raise _error(f"{params.backup}/{name}", left)
    return kept


def _plain(captured: Captured) -> dict[str, Any]:
    found = asdict(captured)
    found.pop("problems")
    found.pop("touched")
    if captured.origin is None:
        found.pop("origin")
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
        hint = f"{hint}{' ' if hint.endswith('?') else '; '}{accept}" if hint else accept
    return kinds.get(first.code, Partial)(
        f"{where}: {'; '.join(found.message for found in problems)}", hint=hint, where=where, details=details
    )


def _refuse_lost(params: BackupParams, name: str, kept: Mapping[str, Any], snapshot: Snapshot, world: World) -> None:
    fields = {key: value for key, value in kept.items() if key not in ("kind", "problems", "taken", "settings", "hooks", "signals", "put_off")}
    lost = world.source(name).look_again(Captured(**fields), snapshot)
    left = [found for found in lost if not (found.acceptable and name in params.accept)]
    if left:
        raise _error(f"{params.backup}/{name}", left)


def _commit(params: BackupParams, world: World) -> None:
    history = world.repository(world.config.backups[params.backup].repository)
    made: dict[str, Any] = {}
    with world.scratch() as beside:
        journal = dict(world.journal_head())  # before the journal is copied: the copy reaches at least to here
        carried = world.carry(history.name, beside)

        def make() -> Mapping[str, Any]:
            made.update(_record(params, history, world), journal=journal, carried=carried)
            _say_late(made, world)
            return made

        history.write_made(MANIFEST, make, tags=(f"backup={params.backup}", f"set={params.set}"),
                           filename=f"opsctl-manifest-{params.backup}-{params.set}.json", host=world.host, beside=beside)
    history.repository.unlock_stale()
    if made["signals"]["verdict"] == SUSPECT:
        world.warn(f"SUSPECT: set {params.set} of {params.backup} is whole, and what changed in it looks like an attack: "
                   f"{'; '.join(reasons(made['signals']))}. Look at these files now; `opsctl restore points {params.backup}` "
                   "names the newest set before it that is clean")


def _record(params: BackupParams, history: History, world: World) -> dict[str, Any]:
    """The manifest, of sources whose snapshots are surely there."""
    plan = world.config.backups[params.backup]
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(_late_signals, params, history, history.seen(world.clock()).judgement, world)
        holdings = history.look(world.clock())
        signals = dict(late.result())
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
        signals.setdefault(name, kept.pop("signals", None) or unknown("captured by a version that looks at no changes").as_json())
        for key in ("hooks", "settings", "put_off"):
            kept.pop(key, None)
        accepted = [raw["message"] for raw in kept.pop("problems")]
        sources[name] = {**kept, "tree": snapshot.tree, "accepted": accepted}
    newest = holdings.judgement.newest_good(params.backup)
    return {
        "format": MANIFEST,
        "backup": params.backup,
        "set": params.set,
        "run": world.run,
        "time": world.now.isoformat(),
        "repository": history.identity().id,
        "host": world.host,
        "every_seconds": int(plan.every.total_seconds()),
        "sources": sources,
        "signals": together(signals),
        "previous": {"set": newest.id, "manifest": newest.manifest} if newest else None,
        "versions": {"opsctl": __version__, **world.versions()},
    }


def _late_signals(params: BackupParams, history: History, judgement: Judgement, world: World) -> dict[str, Any]:
    """The change signals of what was captured last: they wait for the commit, which asks the repository at the same time."""
    plan = world.config.backups[params.backup]
    kept = {name: _kept(world, params, name) or {} for name in plan.sources}
    earlier = signalling.before(judgement.of(params.backup))
    return {name: signalling.made_up_for(world.source(name), name, entry, earlier, history.repository.limited(plan.limits), world)
            for name, entry in kept.items() if "put_off" in entry}


def _say_late(record: Mapping[str, Any], world: World) -> None:
    late = taken_until(record)
    if late is not None:
        dated, until = (local(moment, world.config.organisation.tz) for moment in (world.now, late))
        world.warn(f"set {record['set']} of {record['backup']} was captured until {until}, and counts as one of {dated}, "
                   "when its run began: the next one is due by that")
