"""freeze: nothing more is pruned from a repository while an incident is open; the freeze is written into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from opsctl.actions.consenting import with_consent
from opsctl.actions.interface import Change, Params, StateAction, World
from opsctl.errors import Refused
from opsctl.model.consent import FEWEST
from opsctl.model.fields import Incident
from opsctl.model.freezes import FROZEN, THAWED, Freeze
from opsctl.model.part import Strict
from opsctl.model.records import FREEZE
from opsctl.model.values import value


class FreezeParams(Params):
    """``lifts``: of a thaw the freezes that it ends, by their ids, so that it ends no later one."""

    repository: str
    incident: Incident
    state: Literal["frozen", "thawed"] = "frozen"
    lifts: Annotated[tuple[str, ...], Strict(False)] = ()


@value
class Seen:
    """The freezes of the repository that nobody lifted."""

    freezes: tuple[Freeze, ...]


class FreezeAction(StateAction[FreezeParams, Seen]):
    """Freezes the retention of a repository, or lifts the freeze.

    with:
      repository  the name of a repository in the configuration
      incident    the incident that it is for
      state       `frozen`, or `thawed`
      lifts       of a thaw: the ids of the freezes that it lifts, fixed when the run is bound

    The freeze is a signed record in the repository, so that every machine that shares it sees it, also one that has lost
    its state. While there is one nothing is pruned there. A thaw carries the plan and the signatures of two people behind an
    `approve` step; every machine checks them again against its own `people`, so that a stolen controller's key lifts nothing.
    """

    word = "freeze"
    Params = FreezeParams

    def people(self, params: Mapping[str, Any], config: Any) -> int:
        return FEWEST if params.get("state") == THAWED else 0

    def observe(self, params: FreezeParams, world: World) -> Seen:
        history = world.repository(params.repository)
        history.require_here()
        return Seen(history.look(world.clock()).freezes)

    def plan(self, params: FreezeParams, seen: Seen) -> list[Change]:
        if params.state == FROZEN:
            if any(one.incident == params.incident and one.known for one in seen.freezes):
                return []
            return [Change("freeze", f"freeze {params.repository} for incident {params.incident}: nothing is pruned there")]
        lifted = [one for one in seen.freezes if one.id in params.lifts]
        return [Change("thaw", f"lift the freeze of {params.repository} for incident {params.incident}")] if lifted else []

    def apply(self, params: FreezeParams, change: Change, world: World) -> None:
        if world.config.directory is None:
            raise Refused("without a configuration there is no key to sign with", hint="opsctl init")
        history = world.repository(params.repository)
        record: dict[str, Any] = {
            "format": FREEZE, "repository": history.identity().id, "run": world.run, "time": world.clock().isoformat(),
            "host": world.host, "by": world.by, "incident": params.incident, "state": params.state,
        }
        if params.state == THAWED:
            here = {one.id for one in history.seen(world.clock()).freezes}
            record = with_consent({**record, "lifts": [one for one in params.lifts if one in here]}, history, world)
        history.write(record, tags=(f"incident={params.incident}", f"state={params.state}"),
                      filename=f"opsctl-freeze-{world.run}.json", host=world.host)

    def missing(self, params: FreezeParams, seen: Seen, changes: Sequence[Change]) -> str:
        return f"{params.repository} is {'not frozen' if params.state == FROZEN else 'frozen still'} after the record was written"

    def result(self, params: FreezeParams, seen: Seen) -> Mapping[str, Any]:
        return {"repository": params.repository, "frozen": [as_json(one) for one in seen.freezes]}


def as_json(one: Freeze) -> dict[str, Any]:
    """A freeze for ``--json``."""
    return {"id": one.id, "incident": one.incident, "since": one.since.isoformat() if one.since else None, "by": one.by,
            "known": one.known}
