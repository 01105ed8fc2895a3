"""record_drill: that a drill took place, and how it went, written into the repository and signed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from opsctl.actions.interface import Change, Params, StateAction, World
from opsctl.model.records import DRILL
from opsctl.repositories.history import History


class RecordDrillParams(Params):
    """``backup`` is the one that this run has drilled; ``copy_in`` the repository that it read, if another one."""

    backup: str
    copy_in: str = ""


@dataclass(frozen=True)
class Seen:
    """``found``: what the drill of this run kept; ``stored``: whether its record stands in the repository."""

    found: Mapping[str, Any] | None
    stored: bool
    repository: str


class RecordDrill(StateAction[RecordDrillParams, Seen]):
    """Writes how this run's `drill` went into the repository that it read, signed by this controller.

    with:
      backup   the name of a backup
      copy_in  the repository that was read, where it is not the backup's own

    `opsctl status` shows the last drill and the trend of its time from there, on any machine.
    """

    word = "record_drill"
    Params = RecordDrillParams

    def observe(self, params: RecordDrillParams, world: World) -> Seen:
        history = _history(params, world)
        if world.config.directory is None:
            world.warn("without a configuration there is no key to sign with: the drill is not recorded")
            return Seen(None, False, history.name)
        found = _found(params, world)
        stored = found is not None and any(record["run"] == world.run and record["backup"] == params.backup
                                           for record in history.look(world.clock()).drills)
        return Seen(found, stored, history.name)

    def plan(self, params: RecordDrillParams, seen: Seen) -> list[Change]:
        if seen.found is None or seen.stored:
            return []
        return [Change("record", f"record the drill of {params.backup} in {seen.repository}")]

    def apply(self, params: RecordDrillParams, change: Change, world: World) -> None:
        history = _history(params, world)
        found = _found(params, world) or {}
        record = {
            "format": DRILL, "repository": history.identity().id, "run": world.run, "time": world.now.isoformat(),
            "host": world.host, **found,
        }
        history.write(record, tags=(f"backup={params.backup}",), filename=f"opsctl-drill-{world.run}.json", host=world.host)

    def result(self, params: RecordDrillParams, seen: Seen) -> Mapping[str, Any]:
        return {"backup": params.backup, "repository": seen.repository, "recorded": seen.stored}


def _history(params: RecordDrillParams, world: World) -> History:
    history: History = world.repository(params.copy_in or world.home(params.backup))
    return history


def _found(params: RecordDrillParams, world: World) -> Mapping[str, Any] | None:
    try:
        found: Mapping[str, Any] = json.loads((world.keep("drill") / f"{params.backup}.json").read_text())
    except (FileNotFoundError, ValueError):
        return None
    return found
