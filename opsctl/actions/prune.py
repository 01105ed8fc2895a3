"""prune: sets that `keep` does not ask for given up and their data removed, on the store's side, when two people agreed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any

from opsctl.actions.consenting import with_consent
from opsctl.actions.interface import Change, Params, StateAction, World
from opsctl.actions.pruning import Matter, snapshots_of
from opsctl.errors import DamagedData, SafetyRefusal
from opsctl.model.consent import FEWEST
from opsctl.model.part import Strict
from opsctl.model.quantities import counted
from opsctl.model.records import PRUNE
from opsctl.model.sets import WHOLE, SetView
from opsctl.model.values import value
from opsctl.repositories.history import Holdings

_Names = Annotated[tuple[str, ...], Strict(False)]


class PruneParams(Params):
    """``sets``: ids of the sets that go; ``forget``: ids of all their snapshots, manifests among them; ``accept``: ids of
    sets that shall be no reason against it. All are fixed when the run is bound."""

    backup: str
    repository: str
    sets: _Names
    forget: _Names
    accept: _Names = ()


@value
class Seen:
    """How it stands. ``recorded``: whether the record that people agreed to this stands in the repository; ``there``: the
    snapshots that are still in the store; ``unneeded``: blobs that nothing needs any more, once none of them is;
    ``refused``: why nothing may be done now, each with what to do; ``bytes``: of all objects, and ``before`` it began.
    """

    recorded: bool
    there: tuple[str, ...]
    unneeded: int
    refused: tuple[tuple[str, str], ...]
    stays: Mapping[str, tuple[str, ...]]
    bytes: int
    before: int


class Prune(StateAction[PruneParams, Seen]):
    """Gives up sets of a backup that `keep` does not ask for, and removes their data from the store.

    with:
      backup      the name of a backup in the configuration, with `keep`
      repository  its own repository, or one of its copies, with `maintenance` in the configuration of this machine
      sets        the ids of the sets that go
      forget      the ids of all their snapshots
      accept      ids of suspect sets, and of such from the future, that people know to be harmless

    `opsctl backup prune` binds these. It works on the machine that holds the store, through `maintenance` and no other door.
    First a signed record is written into the repository: which snapshots go, and the plan with the signatures of the people
    who approved it. From then on the sets count for nothing, on any machine, and what is missing of them is explained;
    without it a missing set is a deleted one. Then the manifests are forgotten, the snapshots, and the data that nothing
    needs is removed. Each time the store is looked at: what restic says about it is not believed.

    Refused (23), all reasons at once, before each of these: while an incident is open on this machine; while the repository, or of
    a copy the backup's own one, is frozen; while a set is missing, something is damaged, or somebody forged a record; where a set that `keep` asks for
    would go; where none would stay that was ever drilled; while a set is suspect or from the future, unless people accepted
    it by name; while no new sets are taken; where a store locks its objects; and without the approval of two people behind
    an `approve` step, whatever the playbook says.
    """

    word = "prune"
    Params = PruneParams
    break_glass = False

    def locks(self, params: PruneParams) -> Sequence[str]:
        return (f"prune-{params.repository}",)

    def people(self, params: Mapping[str, Any], config: Any) -> int:
        return FEWEST

    def observe(self, params: PruneParams, world: World) -> Seen:
        matter = _matter(params, world)
        holdings = matter.look()
        upkeep = world.upkeep(params.repository)
        agreed = _agreed(params, holdings)
        there = tuple(sorted(upkeep.left_of(params.forget), key=params.forget.index))
        refused, choice = matter.against(holdings, params.sets, params.forget, params.accept)
        refused += _incidents(world)
        unneeded = upkeep.unneeded() if agreed is not None and not there else 0
        if agreed is not None and not there and not unneeded:
            _require_sound(params, upkeep)
        size = upkeep.size()
        return Seen(agreed is not None, there, unneeded, tuple(refused), choice.stays, size, size if agreed is None else agreed)

    def plan(self, params: PruneParams, seen: Seen) -> list[Change]:
        changes = _changes(params, seen)
        if changes and seen.refused:
            raise refusal(params, seen.refused)
        return changes

    def apply(self, params: PruneParams, change: Change, world: World) -> None:
        matter = _matter(params, world)
        holdings = matter.look()
        refused, choice = matter.against(holdings, params.sets, params.forget, params.accept)
        refused += _incidents(world)
        if refused:
            raise refusal(params, refused)
        upkeep = world.upkeep(params.repository)
        if change.key == "record":
            _record(params, holdings, upkeep.size(), world)
        elif _agreed(params, holdings) is None:
            raise SafetyRefusal(f"the record of what is given up does not stand in {params.repository}", where=params.repository,
                                hint=f"opsctl verify {params.repository}")
        elif change.key == "forget":
            # The manifests first: no version of opsctl takes a set without one for whole.
            manifests = {view.manifest for view in holdings.judgement.of(params.backup)}
            upkeep.forget([name for name in params.forget if name in manifests])
            upkeep.forget(params.forget)
        else:
            upkeep.sweep()
            _require_whole(params, choice.stays, world)

    def missing(self, params: PruneParams, seen: Seen, changes: Sequence[Change]) -> str:
        if not seen.recorded:
            return f"the record of the prune is not in {params.repository}, or counts for nothing there"
        return (f"{counted(len(seen.there), 'snapshot')} still in {params.repository}" if seen.there else
                f"{params.repository} still holds {counted(seen.unneeded, 'blob')} that nothing needs")

    def result(self, params: PruneParams, seen: Seen) -> Mapping[str, Any]:
        gone = seen.recorded and not seen.there
        return {"backup": params.backup, "repository": params.repository, "sets": list(params.sets), "gone": gone,
                "stays": {name: list(why) for name, why in seen.stays.items()}, "bytes": seen.bytes,
                "freed": max(0, seen.before - seen.bytes) if gone else 0}


def refusal(params: PruneParams, found: Sequence[tuple[str, str]]) -> SafetyRefusal:
    """One error for all reasons."""
    return SafetyRefusal(f"nothing is pruned from {params.repository}: {'; '.join(why for why, _ in found)}", where=params.backup,
                         hint="; ".join(dict.fromkeys(hint for _, hint in found)), details={"reasons": [why for why, _ in found]})


def _incidents(world: World) -> list[tuple[str, str]]:
    """What this machine knows of open incidents, whether or not their freezes stand in the repository."""
    return [(f"incident {name} is open", f"when it is over: opsctl incident close {name}") for name in world.open_incidents()]


def _matter(params: PruneParams, world: World) -> Matter:
    return Matter(params.backup, params.repository, world.config, world.repository, world.clock())


def _changes(params: PruneParams, seen: Seen) -> list[Change]:
    sets = f"{counted(len(params.sets), 'set')} of {params.backup}"
    record = Change("record", f"write into {params.repository} that {sets} {'is' if len(params.sets) == 1 else 'are'} given up: {', '.join(params.sets)}")
    forget = Change("forget", f"forget {counted(len(seen.there), 'snapshot')} in {params.repository}, by id", after=("record",))
    sweep = Change("sweep", f"remove from {params.repository} what nothing needs any more", after=("forget",))
    if seen.there:
        return [forget, sweep] if seen.recorded else [record, forget, sweep]
    return [sweep] if seen.unneeded else []


def _agreed(params: PruneParams, holdings: Holdings) -> int | None:
    """How many bytes the store held when people agreed, by records in it, to every snapshot that goes; None where they did not."""
    prunes = [prune for prune in holdings.prunes if prune.backup == params.backup and prune.ids & {*params.forget}]
    whole = {*params.forget} <= frozenset().union(*(prune.ids for prune in prunes))
    return prunes[0].bytes if prunes and whole else None


def _record(params: PruneParams, holdings: Holdings, size: int, world: World) -> None:
    history = world.repository(params.repository)
    going = [view for view in holdings.judgement.of(params.backup) if view.id in params.sets and {*snapshots_of([view])} <= {*params.forget}]
    record = {
        "format": PRUNE, "repository": history.identity().id, "run": world.run, "time": world.clock().isoformat(),
        "host": world.host, "by": world.by, "backup": params.backup, "accepted": list(params.accept), "bytes": size,
        "forgotten": [_forgotten(view) for view in going],
    }
    history.write(with_consent(record, history, world), tags=(f"backup={params.backup}",), filename=f"opsctl-prune-{world.run}.json",
                  host=world.host)


def _forgotten(view: SetView) -> dict[str, Any]:
    return {"set": view.id, "manifest": view.manifest, "time": view.time.isoformat() if view.time else None,
            "snapshots": dict(view.snapshots)}


def _require_sound(params: PruneParams, upkeep: Any) -> None:
    """When all is done: the structure of what is left."""
    broken = upkeep.check()
    if broken:
        raise DamagedData(f"{params.repository} after the prune: {broken[0].message}", hint=f"opsctl verify {params.repository}",
                          where=params.repository)


def _require_whole(params: PruneParams, stays: Collection[str], world: World) -> None:
    """After the data was removed: every set that had to stay."""
    sets = world.repository(params.repository).look(world.clock()).judgement.of(params.backup)
    if lost := {*stays} - {view.id for view in sets if view.word in WHOLE}:
        raise DamagedData(f"{', '.join(sorted(lost))} had to stay in {params.repository}, and is not whole after the prune",
                          where=params.repository, hint=f"opsctl verify {params.repository}")
