"""record: that a verification took place, written into the repository and signed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from opsctl.actions.interface import Change, Params, StateAction, World
from opsctl.model.records import VERIFICATION
from opsctl.model.shares import NOT_OF_PACKS


class RecordParams(Params):
    """``repository`` is the one that this run has verified."""

    repository: str


@dataclass(frozen=True)
class Seen:
    """``found``: what the verification of this run kept; ``stored``: whether its record stands in the repository.

    A machine without a configuration has no key to sign with, and records nothing.
    """

    found: Mapping[str, Any] | None
    stored: bool


class Record(StateAction[RecordParams, Seen]):
    """Writes what this run's `verify` read and found into the repository, signed by this controller.

    with:
      repository  the name of a repository in the configuration

    The next verification, on any machine, reads from there which share of the data is due.
    """

    word = "record"
    Params = RecordParams

    def observe(self, params: RecordParams, world: World) -> Seen:
        try:
            found = json.loads((world.keep("verify") / f"{params.repository}.json").read_text())
        except (FileNotFoundError, ValueError):
            found = None
        if world.config.directory is None:
            world.warn("without a configuration there is no key to sign with: what was read and found is not recorded")
            return Seen(None, False)
        history = world.repository(params.repository)
        records = history.look(world.clock()).verifications
        return Seen(found, any(record.get("run") == world.run for record in records))

    def plan(self, params: RecordParams, seen: Seen) -> list[Change]:
        if seen.found is None or seen.stored:
            return []
        return [Change("record", f"record the verification in {params.repository}")]

    def apply(self, params: RecordParams, change: Change, world: World) -> None:
        found = json.loads((world.keep("verify") / f"{params.repository}.json").read_text())
        history = world.repository(params.repository)
        record = {
            "format": VERIFICATION,
            "repository": history.identity().id,
            "run": world.run,
            "time": world.now.isoformat(),
            "host": world.host,
            "level": found["level"],
            "shares": found["read"],
            "total": found["total"],
            "damaged": any(finding["kind"] not in NOT_OF_PACKS for finding in found["findings"]),
            "findings": [{key: finding[key] for key in ("kind", "object", "sets", "of", "reaches_all") if key in finding}
                         for finding in found["findings"]],
        }
        history.write(record, tags=(f"level={found['level']}",), filename=f"opsctl-verification-{world.run}.json",
                      host=world.host)

    def result(self, params: RecordParams, seen: Seen) -> Mapping[str, Any]:
        return {"repository": params.repository, "recorded": seen.stored}
