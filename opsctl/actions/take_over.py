"""take_over: an incident of another controller, from what repositories keep of it, so that this one goes on with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from opsctl.actions.interface import Change, Params, StateAction, World
from opsctl.errors import OpsError, SafetyRefusal
from opsctl.model.fields import Incident
from opsctl.model.incident import OPENED, TAKEN_OVER
from opsctl.model.incident_kept import Entry, Kept, gather, lost, pack
from opsctl.model.moments import local
from opsctl.model.part import Strict
from opsctl.model.quantities import counted
from opsctl.model.records import Record
from opsctl.model.values import value


class TakeOverParams(Params):
    """``repositories``: those that are asked for it."""

    incident: Incident
    repositories: Annotated[tuple[str, ...], Strict(False)]


@value
class Seen:
    """``fresh``: the entries that are not here yet; ``noted``: that it was taken over is written down here, with what is lost of it;
    ``here``: the files of its folder are."""

    kept: Kept
    fresh: tuple[Entry, ...]
    lost: tuple[str, ...]
    noted: bool
    here: bool
    files: int


class TakeOver(StateAction[TakeOverParams, Seen]):
    """Takes an incident over from a controller that is lost: its entries and its files, as repositories keep them.

    with:
      incident      its id
      repositories  the names of the repositories that are asked

    Only what a key signed counts that somebody here vouched for (`--trust`). Clocks go on from their own moments. What is lost is
    written down with it: what came after the last record, and what entries name that no repository holds.
    """

    word = "take_over"
    Params = TakeOverParams
    break_glass = False

    def locks(self, params: TakeOverParams) -> Sequence[str]:
        return (f"incident {params.incident}",)

    def observe(self, params: TakeOverParams, world: World) -> Seen:
        counting, mute = look(world, params)
        kept = gather(counting)
        if kept is None:
            raise SafetyRefusal(f"no repository that can be asked keeps anything of incident {params.incident}: {'; '.join(mute) or 'none was named'}",
                                hint=f"what is known of it can be written down anew: opsctl incident open {params.incident}")
        lines = world.incidents.lines(params.incident)
        known = {line.hash for line in lines}
        fresh = tuple(one for one in kept.entries if one.hash not in known)
        if not any(line.type == OPENED for line in [*lines, *fresh]):
            raise SafetyRefusal(f"what is kept of incident {params.incident} does not tell how it was opened: its first entries are in no repository",
                                hint=f"opsctl incident open {params.incident}, then take it over again")
        before = [line for line in lines if line.type == TAKEN_OVER]
        here = world.incidents.content(params.incident).has(kept.files, also_changed=not fresh and not before)
        words = [*lost(kept, [*lines, *fresh], local(kept.until, world.config.organisation.tz)), *mute]
        return Seen(kept, fresh, tuple(words), not fresh and (here or bool(before)), here, len(kept.files))

    def plan(self, params: TakeOverParams, seen: Seen) -> list[Change]:
        by = " and ".join(seen.kept.by)
        found = [] if seen.noted else [Change("entries", f"take over {counted(len(seen.fresh), 'entry', 'entries')} of incident "
                                                         f"{params.incident}, signed by {by}")]
        if not seen.here:
            found.append(Change("files", f"restore {counted(seen.files, 'file')} of incident {params.incident}",
                                after=("entries",) if found else ()))
        return found

    def apply(self, params: TakeOverParams, change: Change, world: World) -> None:
        seen = self.observe(params, world)
        if change.key == "entries":
            world.incidents.write(TAKEN_OVER, {
                "incident": params.incident, "by": world.by, "host": world.host, "signed_by": list(seen.kept.by), "lost": list(seen.lost),
                "repository": seen.kept.repository, "until": seen.kept.until.isoformat(),
                "entries": [pack(one) for one in seen.fresh]}, run=world.run)
            return
        content = world.incidents.content(params.incident)
        aside: list[str] = []
        for folder in seen.kept.folders:
            with content.coming() as place:
                world.repository(folder.repository).repository.restore(folder.snapshot, place, on_progress=world.progress)
                aside += content.bring(folder.files, place)
        if aside:
            world.warn(f"{counted(len(aside), 'file')} of the other controller, such as {aside[0]}, whose names are taken here, went into `taken-over`")

    def result(self, params: TakeOverParams, seen: Seen) -> Mapping[str, Any]:
        return {"incident": params.incident, "entries": len(seen.kept.entries), "files": seen.files, "lost": list(seen.lost),
                "signed_by": list(seen.kept.by), "until": seen.kept.until.isoformat()}


def look(world: Any, params: TakeOverParams) -> tuple[list[tuple[str, Record]], list[str]]:
    """What counts of one incident in these repositories, and which of them say nothing, in words.

    SafetyRefusal where only keys signed it that nobody here vouched for.
    """
    counting: list[tuple[str, Record]] = []
    mute: list[str] = []
    foreign: dict[str, str] = {}
    for name in params.repositories:
        history = world.repository(name)
        try:
            history.require_here()
            records = history.look(world.clock()).kept
        except OpsError as error:
            mute.append(f"what {name} keeps of it: {error.message}")
            continue
        ours = [one for one in records if one.record["incident"] == params.incident]
        counting += [(name, one) for one in ours if one.signer in history.trusted]
        foreign |= {str(one.signer): name for one in ours if one.signer not in history.trusted}
    for key, name in foreign.items():
        if not counting:
            raise SafetyRefusal(f"what {name} keeps of incident {params.incident} was signed by {key}, which nobody here vouched for", where=name,
                                hint=f"if that is the key of the lost controller (it stands in the kit): --trust {key}")
        mute.append(f"what {name} keeps of it under the key {key}, which nobody here vouched for")
    return counting, mute
